/* The folder of what was saved, and its manifest. See saved.h. */
#include "node-agent/vm/saved.h"

#include "common/io/file.h"
#include "node-agent/vm/saved_sum.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SAVED_FORMAT = 1, MANIFEST_MAX = 64 * 1024, DEVICE_BYTES_MAX = 256 << 20 };

static int path_in(char out[PATH_MAX], const char *dir, const char *name, struct err *err)
{
	if (snprintf(out, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", dir);
	return 0;
}

void vm_saved_describe(struct vm_saved *saved, const struct vm_template *template_)
{
	memcpy(saved->template_id, template_->id, sizeof(saved->template_id));
	memcpy(saved->machine, template_->machine, sizeof(saved->machine));
	memcpy(saved->qemu, template_->qemu, sizeof(saved->qemu));
	saved->shape = template_->shape;
	saved->accel = template_->accel;
}

/* ---- writing ---- */

static int sync_path(const char *path, int flags, struct stat *out_stat, struct err *err)
{
	int fd = open(path, flags | O_RDONLY | O_CLOEXEC);
	int result = -1;

	if (fd >= 0 && fsync(fd) == 0 && fstat(fd, out_stat) == 0)
		result = 0;
	else
		err_errno(err, errno, "%s", path);
	if (fd >= 0)
		close(fd);
	return result;
}

static int file_sum(const char *path, uint64_t *out_sum, struct err *err)
{
	uint8_t rest[64] = {0};
	struct vm_sum sum;
	size_t text_n, whole;
	char *text;

	if (file_read(path, DEVICE_BYTES_MAX, &text, &text_n, err))
		return -1;
	whole = text_n / sizeof(rest) * sizeof(rest);
	vm_sum_begin(&sum);
	vm_sum_add(&sum, text, whole);
	memcpy(rest, text + whole, text_n - whole);
	vm_sum_add(&sum, rest, sizeof(rest));
	*out_sum = vm_sum_end(&sum);
	free(text);
	return 0;
}

static int write_manifest(const struct vm_saved *saved, const char *path, struct err *err)
{
	json_t *root = json_pack(
		"{s:i, s:s, s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, "
		"s:I, s:I, s:I, s:I}",
		"format", SAVED_FORMAT, "vm", saved->vm.text, "save", (json_int_t)saved->save,
		"template", saved->template_id, "machine", saved->machine, "qemu", saved->qemu,
		"accel", vm_accel_text(saved->accel), "vcpus", (json_int_t)saved->shape.vcpus,
		"mem_mib", (json_int_t)saved->shape.mem_mib, "disk_mib",
		(json_int_t)saved->shape.disk_mib, "has_memory", saved->has_memory, "pages_n",
		(json_int_t)saved->memory.pages_n, "runs_n", (json_int_t)saved->memory.runs_n,
		"memory_sum", (json_int_t)saved->memory.sum, "device_bytes",
		(json_int_t)saved->device_bytes, "device_sum", (json_int_t)saved->device_sum,
		"disk_bytes", (json_int_t)saved->disk_bytes, "bytes", (json_int_t)saved->bytes,
		"stopped_mono_ns", (json_int_t)saved->stopped_mono_ns, "stopped_wall_ns",
		(json_int_t)saved->stopped_wall_ns);
	char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
	int result;

	json_decref(root);
	if (!text)
		return err_set(err, "%s: a value is not UTF-8", path);
	/* Synced, and its folder with it, which makes the other names durable too. */
	result = file_write_atomic(path, text, strlen(text), 0600, err);
	free(text);
	return result;
}

static int sync_parent(const char *dir, struct err *err)
{
	char parent[PATH_MAX];
	struct stat unused;
	char *slash;

	if (snprintf(parent, sizeof(parent), "%s", dir) >= PATH_MAX ||
	    !(slash = strrchr(parent, '/')))
		return err_set(err, "%s: no such folder can be", dir);
	*slash = 0;
	return sync_path(parent, O_DIRECTORY, &unused, err);
}

/* The manifest comes last and the rename after it, so that a crash leaves no half of it that could
 * be taken for a whole. */
static int place(const char *dir, const char *final_dir, struct err *err)
{
	if (rename(dir, final_dir))
		return err_errno(err, errno, "%s", final_dir);
	if (sync_parent(final_dir, err) == 0)
		return 0;
	rename(final_dir, dir);
	return -1;
}

int vm_saved_commit(struct vm_saved *saved, const char *dir, const char *final_dir, struct err *err)
{
	char disk[PATH_MAX], memory[PATH_MAX], device[PATH_MAX], manifest[PATH_MAX];
	struct stat stat_;

	if (path_in(disk, dir, VM_SAVED_DISK, err) || path_in(memory, dir, VM_SAVED_MEMORY, err) ||
	    path_in(device, dir, VM_SAVED_DEVICE, err) ||
	    path_in(manifest, dir, VM_SAVED_MANIFEST, err))
		return -1;
	if (sync_path(disk, 0, &stat_, err))
		return -1;
	saved->disk_bytes = (uint64_t)stat_.st_size;
	saved->bytes = (uint64_t)stat_.st_blocks * 512;
	if (saved->has_memory) {
		if (sync_path(memory, 0, &stat_, err))
			return -1;
		saved->bytes += (uint64_t)stat_.st_blocks * 512;
		if (sync_path(device, 0, &stat_, err) || file_sum(device, &saved->device_sum, err))
			return -1;
		saved->bytes += (uint64_t)stat_.st_blocks * 512;
		saved->device_bytes = (uint64_t)stat_.st_size;
	}
	if (write_manifest(saved, manifest, err))
		return -1;
	return place(dir, final_dir, err);
}

/* ---- reading ---- */

static bool get_text(const json_t *root, const char *member, char *out, size_t out_n)
{
	const char *text = json_string_value(json_object_get(root, member));

	return text && text[0] && (size_t)snprintf(out, out_n, "%s", text) < out_n;
}

static bool get_number(const json_t *root, const char *member, uint64_t max, uint64_t *out)
{
	const json_t *value = json_object_get(root, member);

	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    (uint64_t)json_integer_value(value) > max)
		return false;
	*out = (uint64_t)json_integer_value(value);
	return true;
}

static bool get_u32(const json_t *root, const char *member, uint32_t *out)
{
	uint64_t number;

	if (!get_number(root, member, UINT32_MAX, &number))
		return false;
	*out = (uint32_t)number;
	return true;
}

static bool get_whole(const json_t *root, struct vm_saved *out)
{
	uint64_t pages_max = (uint64_t)out->shape.mem_mib << (20 - 12);
	const json_t *has_memory = json_object_get(root, "has_memory");
	uint64_t mono, wall;

	if (!json_is_boolean(has_memory) || !get_number(root, "save", INT64_MAX, &out->save) ||
	    !get_number(root, "pages_n", pages_max, &out->memory.pages_n) ||
	    !get_number(root, "runs_n", pages_max, &out->memory.runs_n) ||
	    !get_number(root, "memory_sum", INT64_MAX, &out->memory.sum) ||
	    !get_number(root, "device_bytes", DEVICE_BYTES_MAX, &out->device_bytes) ||
	    !get_number(root, "device_sum", INT64_MAX, &out->device_sum) ||
	    !get_number(root, "disk_bytes", INT64_MAX, &out->disk_bytes) ||
	    !get_number(root, "bytes", INT64_MAX, &out->bytes) ||
	    !get_number(root, "stopped_mono_ns", INT64_MAX, &mono) ||
	    !get_number(root, "stopped_wall_ns", INT64_MAX, &wall))
		return false;
	out->has_memory = json_is_true(has_memory);
	out->stopped_mono_ns = (int64_t)mono;
	out->stopped_wall_ns = (int64_t)wall;
	return true;
}

static int read_root(const json_t *root, struct vm_saved *out, struct err *err)
{
	const char *vm = json_string_value(json_object_get(root, "vm"));
	char accel[8];

	if (json_integer_value(json_object_get(root, "format")) != SAVED_FORMAT)
		return err_set(err, "of another format than %d", SAVED_FORMAT);
	if (!vm || !id_parse(vm, strlen(vm), &out->vm) ||
	    !get_text(root, "template", out->template_id, sizeof(out->template_id)) ||
	    !get_text(root, "machine", out->machine, sizeof(out->machine)) ||
	    !get_text(root, "qemu", out->qemu, sizeof(out->qemu)) ||
	    !get_text(root, "accel", accel, sizeof(accel)) || !vm_accel_parse(accel, &out->accel) ||
	    !get_u32(root, "vcpus", &out->shape.vcpus) ||
	    !get_u32(root, "mem_mib", &out->shape.mem_mib) ||
	    !get_u32(root, "disk_mib", &out->shape.disk_mib))
		return err_set(err, "a member is missing or wrong");
	if (vm_shape_check(&out->shape, err))
		return -1;
	return get_whole(root, out) ? 0 : err_set(err, "a member is missing or wrong");
}

static int check_length(const char *dir, const char *name, uint64_t bytes, struct err *err)
{
	char path[PATH_MAX];
	struct stat stat_;

	if (path_in(path, dir, name, err))
		return -1;
	if (stat(path, &stat_))
		return err_errno(err, errno, "%s", path);
	if (!S_ISREG(stat_.st_mode) || (uint64_t)stat_.st_size != bytes)
		return err_set(err, "%s is damaged: it is not %llu bytes long", path,
			       (unsigned long long)bytes);
	return 0;
}

int vm_saved_read(const char *dir, struct vm_saved *out_saved, struct err *err)
{
	json_error_t problem;
	char path[PATH_MAX];
	size_t text_n;
	json_t *root;
	char *text;
	int result;

	if (path_in(path, dir, VM_SAVED_MANIFEST, err) ||
	    file_read(path, MANIFEST_MAX, &text, &text_n, err))
		return -1;
	root = json_loadb(text, text_n, 0, &problem);
	free(text);
	if (!root)
		return err_set(err, "%s: line %d: %s", path, problem.line, problem.text);
	memset(out_saved, 0, sizeof(*out_saved));
	result = read_root(root, out_saved, err);
	json_decref(root);
	if (result)
		return err_wrap(err, "%s", path);
	if (check_length(dir, VM_SAVED_DISK, out_saved->disk_bytes, err))
		return -1;
	if (!out_saved->has_memory)
		return 0;
	return check_length(dir, VM_SAVED_MEMORY, vm_memory_file_bytes(&out_saved->memory), err) ||
			       check_length(dir, VM_SAVED_DEVICE, out_saved->device_bytes, err)
		       ? -1
		       : 0;
}

int vm_saved_check(const struct vm_saved *saved, const struct vm_template *template_,
		   struct err *err)
{
	if (strcmp(saved->template_id, template_->id) != 0)
		return err_set(err, "it was saved of template %.12s, and this is %.12s",
			       saved->template_id, template_->id);
	if (strcmp(saved->machine, template_->machine) != 0)
		return err_set(err, "it was saved of machine %s, and this is %s", saved->machine,
			       template_->machine);
	if (strcmp(saved->qemu, template_->qemu) != 0)
		return err_set(err, "it was saved by QEMU %s, and this is %s", saved->qemu,
			       template_->qemu);
	if (saved->accel != template_->accel || saved->shape.vcpus != template_->shape.vcpus ||
	    saved->shape.mem_mib != template_->shape.mem_mib ||
	    saved->shape.disk_mib != template_->shape.disk_mib)
		return err_set(err, "it was saved of a machine of another size or accelerator");
	return 0;
}

int vm_saved_check_device(const char *dir, const struct vm_saved *saved, struct err *err)
{
	char path[PATH_MAX];
	uint64_t sum;

	if (path_in(path, dir, VM_SAVED_DEVICE, err) || file_sum(path, &sum, err))
		return -1;
	return sum == saved->device_sum ? 0 : err_set(err, "%s is damaged", path);
}
