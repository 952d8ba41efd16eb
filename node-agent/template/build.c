/* From a recipe to a template. See build.h. */
#include "node-agent/template/build_internal.h"

#include "common/base/units.h"
#include "common/io/file.h"
#include "node-agent/guest/boot.h"
#include "node-agent/template/artefact.h"
#include "node-agent/template/layer.h"
#include "node-agent/template/progress.h"
#include "node-agent/vm/config.h"
#include "node-agent/vm/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	TOOL_LIMIT_MS = 60 * 1000,
	SNAPSHOT_LIMIT_MS = 3 * 60 * 1000,
	REPLACED_KEEP_S = 6 * 3600,
};

int build_path(char out[PATH_MAX], struct err *err, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(out, PATH_MAX, format, args);
	va_end(args);
	return n < PATH_MAX ? 0 : err_set(err, "%.100s...: the path is too long", out);
}

/* Everything in it is on disk before its name is: a crash leaves a whole artefact or none. */
int build_move_into_place(const char *from, const char *to, struct err *err)
{
	int fd = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || syncfs(fd)) {
		err_errno(err, errno, "%s", from);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	close(fd);
	if (rename(from, to) && errno != ENOTEMPTY && errno != EEXIST)
		return err_errno(err, errno, "%s", to);
	return 0; /* there already: the same by its name */
}

int build_temporary_dir(const char *store_dir, char out[PATH_MAX], struct err *err)
{
	if (build_path(out, err, "%s/tmp/build.XXXXXX", store_dir))
		return -1;
	if (!mkdtemp(out) || chmod(out, 0755))
		return err_errno(err, errno, "%s", out);
	return 0;
}

/* ---- snapshot ---- */

/* Under KVM the guest sees the host's own processor, so that is part of the snapshot's name. */
static int hash_host_cpu(struct artefact_hash *hash, struct err *err)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[4096];

	if (!file)
		return err_errno(err, errno, "/proc/cpuinfo");
	while (fgets(line, sizeof(line), file) && line[0] != '\n')
		if (strncmp(line, "model", 5) == 0 || strncmp(line, "flags", 5) == 0 ||
		    strncmp(line, "stepping", 8) == 0)
			artefact_hash_text(hash, line);
	fclose(file);
	return 0;
}

int build_describe(const struct build_request *request, const char *content,
		   struct vm_template *out, struct err *err)
{
	struct artefact_hash hash;
	struct timespec now;

	artefact_hash_begin(&hash);
	if (artefact_hash_file(&hash, request->guest, err))
		return -1;
	artefact_hash_end(&hash, out->guest_hash);
	if (vm_qemu_version(out->qemu, err) ||
	    vm_machine_fingerprint(&out->shape, out->accel, out->machine, err))
		return -1;
	artefact_hash_begin(&hash);
	artefact_hash_text(&hash, out->machine);
	artefact_hash_text(&hash, out->rootfs_id);
	artefact_hash_text(&hash, out->guest_hash);
	artefact_hash_text(&hash, out->qemu);
	artefact_hash_number(&hash, out->shape.disk_mib);
	if (content)
		artefact_hash_text(&hash, content);
	if (out->accel == VM_ACCEL_KVM && hash_host_cpu(&hash, err))
		return -1;
	artefact_hash_end(&hash, out->id);
	snprintf(out->name, sizeof(out->name), "%s", request->name);
	clock_gettime(CLOCK_REALTIME, &now);
	out->created_wall_ns = now.tv_sec * NS_PER_S + now.tv_nsec;
	return 0;
}

/* The modules' archive and one with process 1 as /init: the kernel unpacks both, one after the
 * other. */
int build_initrd(const struct build_request *request, const struct vm_template *template_,
		 bool is_whole, const char *path, struct err *err)
{
	char modules[PATH_MAX];
	char *argv[] = {"sh",
			"-euc",
			"dir=$(mktemp -d); trap 'rm -rf \"$dir\"' EXIT\n"
			"install -m 0755 \"$1\" \"$dir/init\"; [ -z \"$4\" ] || : >\"$dir/$4\"\n"
			"touch -d @0 \"$dir\"/*\n"
			"{ cat \"$2\"; cd \"$dir\"; ls | "
			"cpio --quiet --reproducible -R 0:0 -H newc -o; } >\"$3\"",
			"sh",
			(char *)request->guest,
			modules,
			(char *)path,
			is_whole ? BOOT_WHOLE_MARK : "",
			NULL};

	if (build_path(modules, err, "%s/rootfs/%s/modules.cpio", request->store_dir,
		       template_->rootfs_id))
		return -1;
	return process_run(argv, TOOL_LIMIT_MS, NULL, 0, err);
}

int build_overlay(const struct vm_template *template_, const char *path, struct err *err)
{
	char size[32];
	char *argv[] = {"qemu-img", "create", "-q", "-f", "qcow2", (char *)path, size, NULL};

	snprintf(size, sizeof(size), "%uM", template_->shape.disk_mib);
	return process_run(argv, TOOL_LIMIT_MS, NULL, 0, err);
}

void build_show_log(const char *vm_dir, const char *name)
{
	char path[PATH_MAX];
	size_t text_n;
	char *text;

	if (build_path(path, NULL, "%s/%s", vm_dir, name) ||
	    file_read(path, 1 << 20, &text, &text_n, NULL))
		return;
	fprintf(stderr, "--- %s\n%s", name, text_n > 4000 ? text + text_n - 4000 : text);
	free(text);
}

static int run_shim(const struct build_request *request, const struct vm_template *template_,
		    struct err *err)
{
	static const uint8_t no_entropy[ID_RANDOM_BYTES];
	struct vm_config config = {.purpose = VM_PURPOSE_TEMPLATE, .warmth = VM_WARMTH_EXEC};
	char vm_dir[PATH_MAX];
	char *argv[] = {(char *)request->shim, vm_dir, NULL};

	config.vm = id_make("tpl_", no_entropy);
	snprintf(config.template_dir, sizeof(config.template_dir), "%s", template_->dir);
	if (build_path(vm_dir, err, "%s/vm", template_->dir))
		return -1;
	if (mkdir(vm_dir, 0700))
		return err_errno(err, errno, "%s", vm_dir);
	if (vm_config_write(vm_dir, &config, err))
		return -1;
	if (process_run(argv, SNAPSHOT_LIMIT_MS, NULL, 0, err)) {
		build_show_log(vm_dir, VM_FILE_KERNEL);
		build_show_log(vm_dir, VM_FILE_LOG);
		return -1;
	}
	vm_store_remove_tree(vm_dir);
	return 0;
}

static int snapshot_make(const struct build_request *request, struct vm_template *template_,
			 struct err *err)
{
	struct vm_template_files files;
	char to[PATH_MAX];

	if (vm_template_files(template_, &files, err) || vm_template_write(template_, err) ||
	    build_initrd(request, template_, false, files.initrd, err) ||
	    layer_ext4_make(files.disk, template_->shape.disk_mib, err) ||
	    build_overlay(template_, files.overlay, err))
		return -1;
	progress_say(PROGRESS_INFO,
		     "booting %u vCPU, %u MiB, disk %u MiB (%s) and taking its snapshot",
		     template_->shape.vcpus, template_->shape.mem_mib, template_->shape.disk_mib,
		     vm_accel_text(template_->accel));
	if (run_shim(request, template_, err) ||
	    build_path(to, err, "%s/snapshot/%s", request->store_dir, template_->id))
		return -1;
	return build_move_into_place(template_->dir, to, err);
}

static int snapshot_get(const struct build_request *request, struct vm_template *template_,
			struct err *err)
{
	char dir[PATH_MAX];

	if (build_path(dir, err, "%s/snapshot/%s", request->store_dir, template_->id))
		return -1;
	if (access(dir, F_OK) == 0) {
		progress_say(PROGRESS_INFO, "snapshot %.12s is there", template_->id);
	} else {
		int result;

		if (build_temporary_dir(request->store_dir, template_->dir, err))
			return -1;
		result = snapshot_make(request, template_, err);
		vm_store_remove_tree(template_->dir);
		if (result)
			return -1;
	}
	return build_set_name(request, template_, err);
}

int build_set_name(const struct build_request *request, struct vm_template *template_,
		   struct err *err)
{
	char target[PATH_MAX], link[PATH_MAX];

	if (build_path(template_->dir, err, "%s/snapshot/%s", request->store_dir, template_->id) ||
	    build_path(target, err, "../snapshot/%s", template_->id) ||
	    build_path(link, err, "%s/name/%s", request->store_dir, request->name))
		return -1;
	return vm_store_link(target, link, err);
}

/* What suits the accelerator: the second emulated processor costs more than it brings. */
static void choose_vcpus(struct vm_template *template_)
{
	if (template_->shape.vcpus == 0)
		template_->shape.vcpus = template_->accel == VM_ACCEL_KVM ? 2 : 1;
}

/* Only what a builder that died has left: whoever holds the lock is alone. */
static void clean_temporary(const char *store_dir)
{
	char path[PATH_MAX];

	if (build_path(path, NULL, "%s/tmp", store_dir))
		return;
	vm_store_remove_tree(path);
	mkdir(path, 0755);
}

/* Which accelerator and how many processors. */
static int choose_machine(const struct build_request *request, struct vm_template *out,
			  struct err *err)
{
	char kernel[PATH_MAX], reason[VM_ACCEL_REASON_MAX];

	if (build_path(kernel, err, "%s/rootfs/%s/vmlinux", request->store_dir, out->rootfs_id) ||
	    vm_accel_resolve(request->store_dir, kernel, request->accel, &out->accel, reason, err))
		return -1;
	progress_say(PROGRESS_INFO, "accelerator %s: %s", vm_accel_text(out->accel), reason);
	choose_vcpus(out);
	return vm_shape_check(&out->shape, err);
}

static int make(const struct build_request *request, struct vm_template *out, int *out_exit_code,
		struct err *err)
{
	char base_dir[PATH_MAX] = "";
	struct image image;
	bool is_image = false;
	int result;

	if (request->recipe_dir ? base_from_recipe(request, out->rootfs_id, err)
				: base_from_template(request, out, &is_image, err))
		return -1;
	if (!request->recipe_dir && !is_image)
		strcpy(base_dir, out->dir);
	if (choose_machine(request, out, err))
		return -1;
	if (is_image) {
		result = image_open(request, &image, err) || layered_build(request, NULL, &image,
									   out, out_exit_code, err)
				 ? -1
				 : 0;
		image_close(&image);
		return result;
	}
	if (request->spec)
		return layered_build(request, base_dir[0] ? base_dir : NULL, NULL, out,
				     out_exit_code, err);
	return build_describe(request, NULL, out, err) || snapshot_get(request, out, err) ? -1 : 0;
}

static int build_locked(const struct build_request *request, struct vm_template *out,
			int *out_exit_code, struct err *err)
{
	int result;

	clean_temporary(request->store_dir);
	memset(out, 0, sizeof(*out));
	out->shape = request->shape;
	result = make(request, out, out_exit_code, err);
	layer_sweep(request->store_dir, request->cache_age_s, request->cache_bytes);
	/* What was replaced is kept a while: agents may still be starting clones of it. */
	return result ? -1 : vm_store_sweep(request->store_dir, REPLACED_KEEP_S, err);
}

int build_template(const struct build_request *request, struct vm_template *out_template,
		   int *out_exit_code, struct err *err)
{
	char store[PATH_MAX];
	struct build_request real = *request;
	int lock, result;

	*out_exit_code = 0;
	if (!template_name_is_valid(request->name))
		return err_set(err, "template name `%.64s`: 1 to 63 of a-z 0-9 - _", request->name);
	if (vm_store_lock(request->store_dir, &lock, err))
		return -1;
	if (!realpath(request->store_dir, store)) {
		err_errno(err, errno, "%s", request->store_dir);
		close(lock);
		return -1;
	}
	real.store_dir = store;
	result = build_locked(&real, out_template, out_exit_code, err);
	close(lock);
	return result;
}
