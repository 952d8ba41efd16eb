/* See build_record.h. */
#include "node-agent/template/build_record.h"

#include "common/io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECORD_MAX = 2 * 1024 * 1024, FORMAT = 1 };

void build_record_free(struct build_record *record)
{
	build_context_free(&record->context);
	free(record->start_cmd);
	free(record->ready_cmd);
	memset(record, 0, sizeof(*record));
}

static char *copy_text(const json_t *root, const char *name)
{
	const char *text = json_string_value(json_object_get(root, name));

	return text ? strdup(text) : NULL;
}

static int parse(const json_t *root, struct build_record *out, struct err *err)
{
	const char *layer = json_string_value(json_object_get(root, "layer"));

	memset(out, 0, sizeof(*out));
	if (json_integer_value(json_object_get(root, "format")) != FORMAT || !layer ||
	    strlen(layer) != VM_ARTEFACT_ID_MAX - 1 ||
	    strspn(layer, "0123456789abcdef") != VM_ARTEFACT_ID_MAX - 1)
		return err_set(err, "of another format");
	if (build_context_parse(json_object_get(root, "context"), &out->context, err))
		return -1;
	strcpy(out->layer, layer);
	out->is_whole = json_is_true(json_object_get(root, "whole"));
	out->start_cmd = copy_text(root, "startCmd");
	out->ready_cmd = copy_text(root, "readyCmd");
	return 0;
}

int build_record_read(const char *dir, struct build_record *out_record, struct err *err)
{
	char path[PATH_MAX], *text;
	json_t *root;
	size_t n;
	int result;

	if (snprintf(path, sizeof(path), "%s/build.json", dir) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", dir);
	if (file_read(path, RECORD_MAX, &text, &n, err))
		return -1;
	root = json_loadb(text, n, 0, NULL);
	free(text);
	result = parse(root, out_record, err);
	json_decref(root);
	return result ? err_wrap(err, "%s", path) : 0;
}

int build_record_write(const char *dir, const struct build_record *record, struct err *err)
{
	json_t *root = json_pack("{s:i, s:s, s:b, s:o, s:s*, s:s*}", "format", FORMAT, "layer",
				 record->layer, "whole", record->is_whole, "context",
				 build_context_json(&record->context), "startCmd",
				 record->start_cmd, "readyCmd", record->ready_cmd);
	char path[PATH_MAX], *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	int result = -1;

	json_decref(root);
	if (!text)
		err_set(err, "build.json: a value is not UTF-8");
	else if (snprintf(path, sizeof(path), "%s/build.json", dir) >= PATH_MAX)
		err_set(err, "%s: the path is too long", dir);
	else
		result = file_write_atomic(path, text, strlen(text), 0644, err);
	free(text);
	return result;
}
