/* See layer.h. */
#include "node-agent/template/layer.h"

#include "common/io/file.h"
#include "node-agent/template/artefact.h"
#include "node-agent/vm/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TOOL_LIMIT_MS = 120 * 1000, MANIFEST_MAX = 1024 * 1024, FORMAT = 1 };

static int path_of(char out[PATH_MAX], struct err *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int path_of(char out[PATH_MAX], struct err *err, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(out, PATH_MAX, format, args);
	va_end(args);
	return n < PATH_MAX ? 0 : err_set(err, "%.100s...: the path is too long", out);
}

/* ---- files ---- */

int layer_image(const char *store_dir, const char *id, char out_path[PATH_MAX], struct err *err)
{
	return path_of(out_path, err, "%s/layer/%s/layer.qcow2", store_dir, id);
}

static bool is_id(const char *text)
{
	return text && strlen(text) == VM_ARTEFACT_ID_MAX - 1 &&
	       strspn(text, "0123456789abcdef") == VM_ARTEFACT_ID_MAX - 1;
}

static int manifest_parse(const json_t *root, struct layer *out, struct err *err)
{
	const char *id = json_string_value(json_object_get(root, "id"));
	const char *parent = json_string_value(json_object_get(root, "parent"));
	json_int_t depth = json_integer_value(json_object_get(root, "depth"));

	if (json_integer_value(json_object_get(root, "format")) != FORMAT || !is_id(id) ||
	    !parent || (parent[0] && !is_id(parent)) || depth < 0 || depth > INT32_MAX)
		return err_set(err, "of another format");
	memset(out, 0, sizeof(*out));
	strcpy(out->id, id);
	strcpy(out->parent, parent);
	out->depth = (unsigned)depth;
	out->is_whole = json_is_true(json_object_get(root, "whole"));
	return build_context_parse(json_object_get(root, "context"), &out->context, err);
}

int layer_read(const char *store_dir, const char *id, struct layer *out_layer, struct err *err)
{
	char path[PATH_MAX], *text;
	json_t *root;
	size_t n;
	int result;

	if (path_of(path, err, "%s/layer/%s/manifest.json", store_dir, id) ||
	    file_read(path, MANIFEST_MAX, &text, &n, err))
		return -1;
	root = json_loadb(text, n, 0, NULL);
	free(text);
	result = manifest_parse(root, out_layer, err);
	json_decref(root);
	return result ? err_wrap(err, "%s", path) : 0;
}

static int manifest_write(const char *dir, const struct layer *layer, struct err *err)
{
	json_t *root =
		json_pack("{s:i, s:s, s:s, s:I, s:b, s:o}", "format", FORMAT, "id", layer->id,
			  "parent", layer->parent, "depth", (json_int_t)layer->depth, "whole",
			  layer->is_whole, "context", build_context_json(&layer->context));
	char path[PATH_MAX], *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	int result = -1;

	json_decref(root);
	if (!text)
		err_set(err, "layer: a value is not UTF-8");
	else if (!path_of(path, err, "%s/manifest.json", dir))
		result = file_write_atomic(path, text, strlen(text), 0644, err);
	free(text);
	return result;
}

/* ---- finding ---- */

/* What is used comes last when room is needed, and what it lies upon comes after it. */
static void touch_all(const char *store_dir, struct layer layer)
{
	char path[PATH_MAX];
	struct err err;

	for (;;) {
		char parent[VM_ARTEFACT_ID_MAX];

		if (path_of(path, NULL, "%s/layer/%s", store_dir, layer.id))
			return;
		utimensat(AT_FDCWD, path, NULL, 0);
		if (!layer.parent[0])
			return;
		strcpy(parent, layer.parent);
		if (layer_read(store_dir, parent, &layer, &err))
			return;
		build_context_free(&layer.context);
	}
}

int layer_find(const char *store_dir, const char *key, struct layer *out_layer, bool *out_found,
	       struct err *err)
{
	char link[PATH_MAX], dir[PATH_MAX];

	*out_found = false;
	if (path_of(link, err, "%s/step/%s", store_dir, key))
		return -1;
	if (!realpath(link, dir))
		return errno == ENOENT ? 0 : err_errno(err, errno, "%s", link);
	if (layer_read(store_dir, strrchr(dir, '/') + 1, out_layer, err))
		return -1;
	touch_all(store_dir, *out_layer);
	*out_found = true;
	return 0;
}

/* ---- making ---- */

static int dir_make(const char *store_dir, char out_dir[PATH_MAX], struct err *err)
{
	if (path_of(out_dir, err, "%s/layer/new.XXXXXX", store_dir))
		return -1;
	return mkdtemp(out_dir) && chmod(out_dir, 0755) == 0 ? 0
							     : err_errno(err, errno, "%s", out_dir);
}

int layer_begin(const char *store_dir, const char *parent_id, uint32_t disk_mib,
		char out_dir[PATH_MAX], struct err *err)
{
	char image[PATH_MAX], backing[128], size[32];
	char *argv[] = {"qemu-img", "create", "-q",    "-f",  "qcow2", "-u", "-F",
			"qcow2",    "-b",     backing, image, size,    NULL};

	/* Beside the layers, so that the parent's name is right before and after the rename. */
	if (dir_make(store_dir, out_dir, err))
		return -1;
	if (path_of(image, err, "%s/layer.qcow2", out_dir))
		return -1;
	snprintf(backing, sizeof(backing), "../%s/layer.qcow2", parent_id);
	snprintf(size, sizeof(size), "%uM", disk_mib);
	return process_run(argv, TOOL_LIMIT_MS, NULL, 0, err);
}

void layer_id_make(char out_id[VM_ARTEFACT_ID_MAX])
{
	unsigned char random[(VM_ARTEFACT_ID_MAX - 1) / 2];

	randombytes_buf(random, sizeof(random));
	sodium_bin2hex(out_id, VM_ARTEFACT_ID_MAX, random, sizeof(random));
}

int layer_commit(const char *store_dir, const char *dir, const char *key, const struct layer *layer,
		 struct err *err)
{
	char to[PATH_MAX], link[PATH_MAX], target[PATH_MAX];

	if (manifest_write(dir, layer, err) ||
	    path_of(to, err, "%s/layer/%s", store_dir, layer->id) ||
	    path_of(link, err, "%s/step/%s", store_dir, key) ||
	    path_of(target, err, "../layer/%s", layer->id))
		return -1;
	if (rename(dir, to))
		return err_errno(err, errno, "%s", to);
	return vm_store_link(target, link, err);
}

int layer_ext4_make(const char *path, uint32_t disk_mib, struct err *err)
{
	char size[32];
	char *mke2fs[] = {"/sbin/mke2fs",
			  "-q",
			  "-F",
			  "-t",
			  "ext4",
			  "-m",
			  "0",
			  "-L",
			  "sandbox",
			  "-E",
			  "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
			  (char *)path,
			  size,
			  NULL};

	snprintf(size, sizeof(size), "%uM", disk_mib);
	return process_run(mke2fs, TOOL_LIMIT_MS, NULL, 0, err);
}

static int image_make(const char *dir, const char *raw, struct err *err)
{
	char image[PATH_MAX];
	char *convert[] = {"qemu-img", "convert",   "-f",  "raw", "-O",
			   "qcow2",    (char *)raw, image, NULL};

	return path_of(image, err, "%s/layer.qcow2", dir) ||
			       process_run(convert, TOOL_LIMIT_MS, NULL, 0, err)
		       ? -1
		       : 0;
}

static int blank_make(const char *dir, uint32_t disk_mib, struct err *err)
{
	char raw[PATH_MAX];

	if (path_of(raw, err, "%s/blank", dir) || layer_ext4_make(raw, disk_mib, err) ||
	    image_make(dir, raw, err))
		return -1;
	unlink(raw);
	return 0;
}

int layer_root(const char *store_dir, const char *rootfs_id, uint32_t disk_mib,
	       struct layer *out_layer, struct err *err)
{
	char key[VM_ARTEFACT_ID_MAX], dir[PATH_MAX];
	struct artefact_hash hash;
	bool is_found;

	artefact_hash_begin(&hash);
	artefact_hash_text(&hash, "blank");
	artefact_hash_text(&hash, rootfs_id);
	artefact_hash_number(&hash, disk_mib);
	artefact_hash_end(&hash, key);
	if (layer_find(store_dir, key, out_layer, &is_found, err))
		return -1;
	if (is_found)
		return 0;
	if (dir_make(store_dir, dir, err))
		return -1;
	memset(out_layer, 0, sizeof(*out_layer));
	layer_id_make(out_layer->id);
	strcpy(out_layer->context.user, "user");
	strcpy(out_layer->context.workdir, "/home/user");
	out_layer->context.env = json_object();
	return blank_make(dir, disk_mib, err) || layer_commit(store_dir, dir, key, out_layer, err)
		       ? -1
		       : 0;
}

int layer_from_disk(const char *store_dir, const char *disk, const struct layer *layer,
		    struct err *err)
{
	char dir[PATH_MAX], to[PATH_MAX];

	if (path_of(to, err, "%s/layer/%s", store_dir, layer->id) || dir_make(store_dir, dir, err))
		return -1;
	if (image_make(dir, disk, err) || manifest_write(dir, layer, err))
		return -1;
	return rename(dir, to) ? err_errno(err, errno, "%s", to) : 0;
}
