/* Where a template begins: the root filesystem of a recipe, or another template. */
#include "node-agent/template/artefact.h"
#include "node-agent/template/build_internal.h"
#include "node-agent/template/progress.h"

#include "common/base/check.h"
#include "common/io/file.h"
#include "node-agent/vm/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HASH_LIMIT_MS = 60 * 1000 };

static int recipe_hash(const struct build_request *request, char out_id[VM_ARTEFACT_ID_MAX],
		       struct err *err)
{
	char *argv[] = {(char *)request->builder, "--inputs", (char *)request->recipe_dir, NULL};
	struct artefact_hash hash;
	static char inputs[64 * 1024];

	artefact_hash_begin(&hash);
	if (artefact_hash_file(&hash, request->builder, err) ||
	    process_run(argv, HASH_LIMIT_MS, inputs, sizeof(inputs), err))
		return -1;
	if (strlen(inputs) == sizeof(inputs) - 1)
		return err_set(err, "%s: too many files", request->recipe_dir);
	artefact_hash_text(&hash, inputs);
	artefact_hash_end(&hash, out_id);
	return 0;
}

static int rootfs_hash(const char *dir, char out_id[VM_ARTEFACT_ID_MAX], struct err *err)
{
	static const char *const names[] = {"rootfs.img", "vmlinux", "modules.cpio"};
	struct artefact_hash hash;
	char path[PATH_MAX];

	artefact_hash_begin(&hash);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		artefact_hash_text(&hash, names[i]);
		if (build_path(path, err, "%s/%s", dir, names[i]) ||
		    artefact_hash_file(&hash, path, err))
			return -1;
	}
	artefact_hash_end(&hash, out_id);
	return 0;
}

static int rootfs_make(const struct build_request *request, const char *dir,
		       char out_id[VM_ARTEFACT_ID_MAX], struct err *err)
{
	char *argv[] = {(char *)request->builder, (char *)request->recipe_dir, (char *)dir, NULL};
	char manifest[PATH_MAX], text[256], to[PATH_MAX];
	int n;

	if (process_run(argv, 0, NULL, 0, err) || rootfs_hash(dir, out_id, err) ||
	    build_path(manifest, err, "%s/manifest.json", dir))
		return -1;
	n = snprintf(text, sizeof(text), "{\n  \"format\": 1,\n  \"id\": \"%s\"\n}\n", out_id);
	if (file_write_atomic(manifest, text, (size_t)n, 0644, err) ||
	    build_path(to, err, "%s/rootfs/%s", request->store_dir, out_id))
		return -1;
	return build_move_into_place(dir, to, err);
}

int base_from_recipe(const struct build_request *request, char out_id[VM_ARTEFACT_ID_MAX],
		     struct err *err)
{
	char recipe[VM_ARTEFACT_ID_MAX], link[PATH_MAX], dir[PATH_MAX], target[PATH_MAX];
	int result;

	if (recipe_hash(request, recipe, err) ||
	    build_path(link, err, "%s/recipe/%s", request->store_dir, recipe))
		return -1;
	if (!request->is_fresh && realpath(link, dir)) {
		snprintf(out_id, VM_ARTEFACT_ID_MAX, "%s", strrchr(dir, '/') + 1);
		progress_say(PROGRESS_INFO, "root filesystem %.12s is there", out_id);
		return 0;
	}
	if (build_temporary_dir(request->store_dir, dir, err))
		return -1;
	result = rootfs_make(request, dir, out_id, err);
	vm_store_remove_tree(dir);
	if (result || build_path(target, err, "../rootfs/%s", out_id))
		return -1;
	return vm_store_link(target, link, err);
}

/* ---- another template ---- */

/* "e2bdev/base:latest" is "e2bdev/base". */
static const char *template_of_image(const char *image)
{
	static const struct {
		const char *image, *name;
	} rows[] = {
#define IMAGE(image, name) {image, name},
#include "node-agent/template/images.def"
#undef IMAGE
	};

	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		size_t n = strlen(rows[i].image);

		if (strncmp(image, rows[i].image, n) == 0 && (!image[n] || image[n] == ':'))
			return rows[i].name;
	}
	return NULL;
}

int base_from_template(const struct build_request *request, struct vm_template *out,
		       bool *out_is_image, struct err *err)
{
	const struct build_spec *spec = request->spec;
	const char *name = spec && spec->from_template ? spec->from_template : "base";
	const char *image = image_wanted(request);
	struct vm_template base;
	bool is_found;

	*out_is_image = image && (request->image.from || !template_of_image(image));
	if (image && !*out_is_image)
		name = template_of_image(image);
	if (*out_is_image && !request->image.from && image_check_allowed(request, image, err))
		return -1;
	if (vm_store_find(request->store_dir, name, &base, &is_found, err))
		return -1;
	if (!is_found)
		return err_set(err, "there is no template `%.64s` to build upon", name);
	/* The disk's size is that of the layers below. */
	if (!*out_is_image)
		out->shape.disk_mib = base.shape.disk_mib;
	strcpy(out->rootfs_id, base.rootfs_id);
	strcpy(out->dir, base.dir);
	if (*out_is_image)
		progress_say(PROGRESS_INFO, "building upon the image %s", image);
	else
		progress_say(PROGRESS_INFO, "building upon the template %s", name);
	return 0;
}
