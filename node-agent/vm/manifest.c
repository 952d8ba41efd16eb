/* manifest.json of a snapshot. See store.h. */
#include "common/io/file.h"
#include "node-agent/vm/store.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MANIFEST_FORMAT = 1, MANIFEST_MAX = 64 * 1024 };

static int manifest_path(const char *dir, char out[PATH_MAX], struct err *err)
{
	if (snprintf(out, PATH_MAX, "%s/manifest.json", dir) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", dir);
	return 0;
}

int vm_template_write(const struct vm_template *template_, struct err *err)
{
	const struct vm_shape *shape = &template_->shape;
	char path[PATH_MAX];
	json_t *root;
	char *text;
	int result;

	if (manifest_path(template_->dir, path, err))
		return -1;
	root = json_pack("{s:i, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:s, s:s, s:I}", "format",
			 MANIFEST_FORMAT, "name", template_->name, "id", template_->id, "rootfs",
			 template_->rootfs_id, "guest", template_->guest_hash, "vcpus",
			 (json_int_t)shape->vcpus, "mem_mib", (json_int_t)shape->mem_mib,
			 "disk_mib", (json_int_t)shape->disk_mib, "accel",
			 vm_accel_text(template_->accel), "qemu", template_->qemu, "machine",
			 template_->machine, "created_wall_ns",
			 (json_int_t)template_->created_wall_ns);
	text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	json_decref(root);
	if (!text)
		return err_set(err, "%s: a value is not UTF-8", path);
	result = file_write_atomic(path, text, strlen(text), 0644, err);
	free(text);
	return result;
}

static bool get_text(const json_t *root, const char *member, char *out, size_t out_n)
{
	const char *text = json_string_value(json_object_get(root, member));

	return text && text[0] && (size_t)snprintf(out, out_n, "%s", text) < out_n;
}

/* 40 hex digits: it becomes part of paths. */
static bool get_artefact_id(const json_t *root, const char *member, char *out)
{
	return get_text(root, member, out, VM_ARTEFACT_ID_MAX) &&
	       strlen(out) == VM_ARTEFACT_ID_MAX - 1 &&
	       strspn(out, "0123456789abcdef") == VM_ARTEFACT_ID_MAX - 1;
}

static bool get_number(const json_t *root, const char *member, uint32_t *out)
{
	json_int_t number = json_integer_value(json_object_get(root, member));

	if (number <= 0 || number > UINT32_MAX)
		return false;
	*out = (uint32_t)number;
	return true;
}

static int read_root(const json_t *root, struct vm_template *out, struct err *err)
{
	char accel[8];

	if (json_integer_value(json_object_get(root, "format")) != MANIFEST_FORMAT)
		return err_set(err, "of another format than %d", MANIFEST_FORMAT);
	if (!get_text(root, "name", out->name, sizeof(out->name)) ||
	    !get_artefact_id(root, "id", out->id) ||
	    !get_artefact_id(root, "rootfs", out->rootfs_id) ||
	    !get_artefact_id(root, "guest", out->guest_hash) ||
	    !get_text(root, "machine", out->machine, sizeof(out->machine)) ||
	    !get_text(root, "qemu", out->qemu, sizeof(out->qemu)) ||
	    !get_text(root, "accel", accel, sizeof(accel)) || !vm_accel_parse(accel, &out->accel) ||
	    !get_number(root, "vcpus", &out->shape.vcpus) ||
	    !get_number(root, "mem_mib", &out->shape.mem_mib) ||
	    !get_number(root, "disk_mib", &out->shape.disk_mib))
		return err_set(err, "a member is missing or wrong");
	out->created_wall_ns = json_integer_value(json_object_get(root, "created_wall_ns"));
	return vm_shape_check(&out->shape, err);
}

int vm_template_read(const char *dir, struct vm_template *out_template, struct err *err)
{
	json_error_t problem;
	char path[PATH_MAX];
	size_t text_n;
	json_t *root;
	char *text;
	int result;

	if (manifest_path(dir, path, err) || file_read(path, MANIFEST_MAX, &text, &text_n, err))
		return -1;
	root = json_loadb(text, text_n, 0, &problem);
	free(text);
	if (!root)
		return err_set(err, "%s: line %d: %s", path, problem.line, problem.text);
	memset(out_template, 0, sizeof(*out_template));
	strcpy(out_template->dir, dir);
	result = read_root(root, out_template, err);
	json_decref(root);
	return result ? err_wrap(err, "%s", path) : 0;
}

int vm_template_check(const struct vm_template *template_, const char *qemu, struct err *err)
{
	char machine[VM_FINGERPRINT_MAX];

	if (vm_machine_fingerprint(&template_->shape, template_->accel, machine, err))
		return -1;
	if (strcmp(machine, template_->machine) != 0)
		return err_set(err,
			       "template %s was made for the machine of another version: build it "
			       "anew",
			       template_->name);
	if (qemu && strcmp(qemu, template_->qemu) != 0)
		return err_set(err, "template %s was made by QEMU %s, here is %s: build it anew",
			       template_->name, template_->qemu, qemu);
	return 0;
}
