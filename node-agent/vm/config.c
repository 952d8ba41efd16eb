/* config.json. See config.h. */
#include "node-agent/vm/config.h"

#include "common/base/check.h"
#include "common/io/file.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const purpose_words[] = {
	[VM_PURPOSE_CLONE] = "clone",
	[VM_PURPOSE_TEMPLATE] = "template",
};
static const char *const warmth_words[] = {
	[VM_WARMTH_NONE] = "none",
	[VM_WARMTH_HEALTH] = "health",
	[VM_WARMTH_EXEC] = "exec",
};

static int word_of(const char *const words[], size_t words_n, const char *text)
{
	for (size_t i = 0; text && i < words_n; i++)
		if (strcmp(words[i], text) == 0)
			return (int)i;
	return -1;
}

int vm_config_format(const struct vm_config *config, char **out_text, struct err *err)
{
	json_t *root =
		json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "vm", config->vm.text, "purpose",
			  purpose_words[config->purpose], "warmth", warmth_words[config->warmth],
			  "template", config->template_dir, "gateway", config->gateway, "resume",
			  config->resume, "resumes_cold", config->resumes_cold);
	char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;

	json_decref(root);
	if (!text)
		return err_set(err, "config: a value is not UTF-8");
	*out_text = text;
	return 0;
}

static int read_root(const json_t *root, struct vm_config *out, struct err *err)
{
	const char *vm = json_string_value(json_object_get(root, "vm"));
	const char *dir = json_string_value(json_object_get(root, "template"));
	const char *gateway = json_string_value(json_object_get(root, "gateway"));
	const char *resume = json_string_value(json_object_get(root, "resume"));
	int purpose = word_of(purpose_words, ARRAY_N(purpose_words),
			      json_string_value(json_object_get(root, "purpose")));
	int warmth = word_of(warmth_words, ARRAY_N(warmth_words),
			     json_string_value(json_object_get(root, "warmth")));

	memset(out, 0, sizeof(*out));
	if (!vm || !id_parse(vm, strlen(vm), &out->vm))
		return err_set(err, "config: no microVM id in `vm`");
	if (!dir || dir[0] != '/' || strlen(dir) >= sizeof(out->template_dir))
		return err_set(err, "config: no absolute path in `template`");
	if (gateway && strlen(gateway) >= sizeof(out->gateway))
		return err_set(err, "config: `gateway` is too long");
	if (resume && resume[0] && (resume[0] != '/' || strlen(resume) >= sizeof(out->resume)))
		return err_set(err, "config: `resume` is not an absolute path");
	if (purpose < 0)
		return err_set(err, "config: `purpose` is neither clone nor template");
	if (warmth < 0)
		return err_set(err, "config: `warmth` is neither none, health nor exec");
	strcpy(out->template_dir, dir);
	strcpy(out->gateway, gateway ? gateway : "");
	strcpy(out->resume, resume ? resume : "");
	out->resumes_cold = json_is_true(json_object_get(root, "resumes_cold"));
	out->purpose = (enum vm_purpose)purpose;
	out->warmth = (enum vm_warmth)warmth;
	return 0;
}

int vm_config_parse(const char *text, size_t text_n, struct vm_config *out_config, struct err *err)
{
	json_error_t problem;
	json_t *root = json_loadb(text, text_n, 0, &problem);
	int result;

	if (!root)
		return err_set(err, "config: line %d: %s", problem.line, problem.text);
	result = read_root(root, out_config, err);
	json_decref(root);
	return result;
}

int vm_config_write(const char *dir, const struct vm_config *config, struct err *err)
{
	char path[PATH_MAX];
	char *text;
	FILE *file;
	bool is_written;

	if (vm_config_format(config, &text, err))
		return -1;
	snprintf(path, sizeof(path), "%s/%s", dir, VM_FILE_CONFIG);
	file = fopen(path, "we");
	is_written = file && fputs(text, file) >= 0;
	if (file && fclose(file))
		is_written = false;
	free(text);
	return is_written ? 0 : err_set(err, "%s: cannot be written", path);
}

int vm_config_read(const char *dir, struct vm_config *out_config, struct err *err)
{
	char path[PATH_MAX];
	size_t text_n;
	char *text;
	int result;

	snprintf(path, sizeof(path), "%s/%s", dir, VM_FILE_CONFIG);
	if (file_read(path, 64 * 1024, &text, &text_n, err))
		return -1;
	result = vm_config_parse(text, text_n, out_config, err);
	free(text);
	return result;
}
