/*
 * From a spec to a template: the steps, each a layer of the disk, in one microVM from the first
 * that the cache does not have; then the snapshot, of a machine booted afresh from the last layer.
 */
#include "node-agent/template/layered_internal.h"
#include "node-agent/template/finish.h"
#include "node-agent/template/progress.h"
#include "node-agent/template/step.h"

#include "common/base/check.h"
#include "common/io/file.h"
#include "node-agent/vm/config.h"
#include "node-agent/vm/process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DESCRIPTION_MAX = 512 };

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- where it begins ---- */

static char *copy_text(const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	CHECK(copy || !text);
	return copy;
}

/* What the spec does not say is as in the template below. */
static void choose_commands(struct layered *build)
{
	const struct build_spec *spec = build->request->spec;

	if (!spec || (!spec->start_cmd && !spec->ready_cmd))
		return;
	free(build->record.start_cmd);
	free(build->record.ready_cmd);
	build->record.start_cmd = copy_text(spec->start_cmd);
	build->record.ready_cmd = copy_text(spec->ready_cmd);
}

/* The topmost layer of the template below.  One that was copied from another host came without. */
static int have_layer(struct layered *build, const char *base_dir, struct err *err)
{
	const char *store = build->request->store_dir, *id = build->record.layer;
	struct layer copied = {.is_whole = build->record.is_whole,
			       .context = build->record.context};
	char path[PATH_MAX], disk[PATH_MAX];
	struct layer layer;

	if (layer_image(store, id, path, err) || build_path(disk, err, "%s/disk.img", base_dir))
		return -1;
	strcpy(copied.id, id);
	if (access(path, F_OK) && layer_from_disk(store, disk, &copied, err))
		return -1;
	if (layer_read(store, id, &layer, err))
		return -1;
	build->depth = layer.depth;
	build_context_free(&layer.context);
	return 0;
}

static int begin(struct layered *build, const char *base_dir, struct err *err)
{
	const struct build_request *request = build->request;
	char path[PATH_MAX], folder[PATH_MAX];
	struct layer layer;

	if (build_path(folder, err, "%s/layer", request->store_dir) ||
	    file_make_dirs(folder, 0755, err) ||
	    build_path(folder, err, "%s/step", request->store_dir) ||
	    file_make_dirs(folder, 0755, err) ||
	    build_path(path, err, "%s/build.json", base_dir ? base_dir : ""))
		return -1;
	if (base_dir && access(path, F_OK) == 0) {
		if (build_record_read(base_dir, &build->record, err) ||
		    have_layer(build, base_dir, err))
			return err_wrap(err, "the template below");
	} else {
		if (layer_root(request->store_dir, build->template_->rootfs_id,
			       build->template_->shape.disk_mib, &layer, err))
			return -1;
		strcpy(build->record.layer, layer.id);
		build->record.context = layer.context;
	}
	choose_commands(build);
	return 0;
}

/* ---- steps ---- */

static void describe_machine(const struct layered *build, const struct vm_template_files *files,
			     struct vm_launch *out)
{
	*out = (struct vm_launch){
		.name = "build",
		.shape = build->template_->shape,
		.accel = build->template_->accel,
		.kernel = files->kernel,
		.rootfs = files->rootfs,
	};
}

/* It is the steps' alone: nothing of it stays in what they write. */
static void describe_network(json_t *identity)
{
	json_t *network = network_describe(NULL);

	json_object_set_new(network, "passing", json_true());
	json_object_set_new(identity, "network", network);
}

int layered_workshop_begin(struct layered *build, struct err *err)
{
	const struct build_request *request = build->request;
	char initrd[PATH_MAX], mem[PATH_MAX], image[PATH_MAX];
	json_t *identity = json_pack("{s:s}", "hostname", "sandbox");
	/* What unpacks an image has nothing to reach. */
	const char *network = build->image ? NULL : request->network;
	struct vm_template_files files;
	struct vm_launch launch;
	int result = -1;

	build->workshop = calloc(1, sizeof(*build->workshop));
	CHECK(build->workshop && identity);
	if (build_temporary_dir(request->store_dir, build->work_dir, err) ||
	    build_path(build->template_->dir, err, "%s", build->work_dir) ||
	    vm_template_files(build->template_, &files, err) ||
	    build_path(initrd, err, "%s/initrd", build->work_dir) ||
	    build_path(mem, err, "%s/mem", build->work_dir) ||
	    build_path(image, err, "%s/layer.qcow2", build->layer_dir) ||
	    build_initrd(request, build->template_, build->record.is_whole, initrd, err)) {
		free(build->workshop);
		build->workshop = NULL;
		goto done;
	}
	describe_machine(build, &files, &launch);
	launch.initrd = initrd;
	launch.mem = mem;
	launch.overlay = image;
	launch.archive = build->image ? build->image->path : NULL;
	build->disks_n = 0;
	if (network)
		describe_network(identity);
	result = workshop_open(build->workshop, &launch, build->work_dir, NULL,
			       build->end_ms - now_ms(), err) ||
				 (network && workshop_network(build->workshop, network, err)) ||
				 workshop_init(build->workshop, identity, err)
			 ? -1
			 : 0;
done:
	json_decref(identity);
	return result;
}

void layered_workshop_end(struct layered *build)
{
	if (!build->workshop)
		return;
	workshop_close(build->workshop);
	free(build->workshop);
	build->workshop = NULL;
	vm_store_remove_tree(build->work_dir);
}

/* What comes is written to a new layer, over the one with this id, while the machine runs on. */
static int switch_layer(struct layered *build, const char *id, char out_dir[PATH_MAX],
			struct err *err)
{
	char before[32], after[32];
	json_t *arguments;
	char *text;
	int result;

	if (layer_begin(build->request->store_dir, id, build->template_->shape.disk_mib, out_dir,
			err))
		return -1;
	snprintf(before, sizeof(before), build->disks_n ? "disk-%u" : "disk", build->disks_n);
	snprintf(after, sizeof(after), "disk-%u", ++build->disks_n);
	arguments = json_pack("{s:s, s:s+, s:s, s:s, s:s}", "node-name", before, "snapshot-file",
			      out_dir, "/layer.qcow2", "snapshot-node-name", after, "format",
			      "qcow2", "mode", "existing");
	text = json_dumps(arguments, JSON_COMPACT);
	json_decref(arguments);
	CHECK(text);
	result = workshop_order(build->workshop, "blockdev-snapshot-sync", text, err);
	free(text);
	return result;
}

static int flush_guest(struct layered *build, struct err *err)
{
	const struct workshop_command command = {"root", "/", NULL, "sync"};
	int exit_code;

	return step_command(build->workshop, &command, &exit_code, err);
}

int layered_seal_layer(struct layered *build, const char *key, bool is_last, struct err *err)
{
	struct layer layer = {.depth = build->depth + 1,
			      .is_whole = build->record.is_whole || build->image,
			      .context = build->record.context};
	char next_dir[PATH_MAX] = "";

	strcpy(layer.parent, build->record.layer);
	layer_id_make(layer.id);
	if (flush_guest(build, err))
		return -1;
	if (is_last ? workshop_shut(build->workshop, err)
		    : switch_layer(build, layer.id, next_dir, err))
		return -1;
	if (layer_commit(build->request->store_dir, build->layer_dir, key, &layer, err))
		return -1;
	strcpy(build->layer_dir, next_dir);
	strcpy(build->record.layer, layer.id);
	build->record.is_whole = layer.is_whole;
	build->depth = layer.depth;
	return 0;
}

static int carry_out(struct layered *build, const struct build_step *step, const char *key,
		     bool is_last, struct err *err)
{
	const struct build_request *request = build->request;

	if (!build->layer_dir[0] &&
	    layer_begin(request->store_dir, build->record.layer, build->template_->shape.disk_mib,
			build->layer_dir, err))
		return -1;
	if (!build->workshop && layered_workshop_begin(build, err))
		return -1;
	if (step_carry_out(build->workshop, step, &build->record.context, request->files_dir,
			   build->out_exit_code, err) ||
	    step_apply(step, &build->record.context, err))
		return -1;
	return layered_seal_layer(build, key, is_last, err);
}

int layered_take_cached(struct layered *build, const char *key, bool *out_found, struct err *err)
{
	struct layer layer;

	if (layer_find(build->request->store_dir, key, &layer, out_found, err) || !*out_found)
		return *out_found ? -1 : 0;
	strcpy(build->record.layer, layer.id);
	build->record.is_whole = layer.is_whole;
	build->depth = layer.depth;
	build_context_free(&build->record.context);
	build->record.context = layer.context;
	return 0;
}

static int take_steps(struct layered *build, struct err *err)
{
	const struct build_spec *spec = build->request->spec;

	for (size_t i = 0; spec && i < spec->steps_n; i++) {
		const struct build_step *step = &spec->steps[i];
		char key[VM_ARTEFACT_ID_MAX], text[DESCRIPTION_MAX];
		bool is_found = false;

		progress_at_step(i + 1);
		step_describe(step, text, sizeof(text));
		step_key(step, build->request->scope, build->record.layer, key);
		/* Once one was carried out the rest are: their layers would lie over another. */
		if (!spec->force && !step->force && !build->workshop &&
		    layered_take_cached(build, key, &is_found, err))
			return -1;
		progress_say(PROGRESS_INFO, "%s[%zu/%zu] %s", is_found ? "CACHED " : "", i + 1,
			     spec->steps_n, text);
		if (!is_found && carry_out(build, step, key, i + 1 == spec->steps_n, err))
			return -1;
	}
	return 0;
}

/* ---- the snapshot ---- */

static int flatten(const struct layered *build, const char *to, struct err *err)
{
	enum { LIMIT_MS = 10 * 60 * 1000 };
	char image[PATH_MAX];
	char *argv[] = {"qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, (char *)to, NULL};

	return layer_image(build->request->store_dir, build->record.layer, image, err) ||
			       process_run(argv, LIMIT_MS, NULL, 0, err)
		       ? -1
		       : 0;
}

static int snapshot(struct layered *build, struct err *err)
{
	struct vm_template *template_ = build->template_;
	char vm_dir[PATH_MAX], to[PATH_MAX];
	struct vm_template_files files;
	struct vm_launch launch;

	if (vm_template_files(template_, &files, err) || vm_template_write(template_, err) ||
	    build_record_write(template_->dir, &build->record, err) ||
	    build_initrd(build->request, template_, build->record.is_whole, files.initrd, err) ||
	    flatten(build, files.disk, err) || build_overlay(template_, files.overlay, err) ||
	    build_temporary_dir(build->request->store_dir, vm_dir, err))
		return -1;
	describe_machine(build, &files, &launch);
	launch.initrd = files.initrd;
	launch.disk = files.disk;
	launch.mem = files.mem;
	progress_say(PROGRESS_INFO, "booting %u vCPU, %u MiB, disk %u MiB (%s)",
		     template_->shape.vcpus, template_->shape.mem_mib, template_->shape.disk_mib,
		     vm_accel_text(template_->accel));
	if (finish_template(&launch, vm_dir, files.state, &build->record, build->end_ms - now_ms(),
			    build->out_exit_code, err)) {
		vm_store_remove_tree(vm_dir);
		return -1;
	}
	vm_store_remove_tree(vm_dir);
	return build_path(to, err, "%s/snapshot/%s", build->request->store_dir, template_->id) ||
			       build_move_into_place(template_->dir, to, err)
		       ? -1
		       : 0;
}

static int describe(struct layered *build, struct err *err)
{
	const struct build_record *record = &build->record;
	json_t *content = json_pack("{s:s, s:o, s:s*, s:s*}", "layer", record->layer, "context",
				    build_context_json(&record->context), "start",
				    record->start_cmd, "ready", record->ready_cmd);
	char *text = json_dumps(content, JSON_COMPACT | JSON_SORT_KEYS);
	int result;

	CHECK(text);
	result = build_describe(build->request, text, build->template_, err);
	free(text);
	json_decref(content);
	return result;
}

static int finish(struct layered *build, struct err *err)
{
	struct vm_template *template_ = build->template_;
	char dir[PATH_MAX];
	int result;

	progress_at_end();
	if (describe(build, err) ||
	    build_path(dir, err, "%s/snapshot/%s", build->request->store_dir, template_->id))
		return -1;
	if (access(dir, F_OK) == 0) {
		progress_say(PROGRESS_INFO, "snapshot %.12s is there", template_->id);
	} else {
		if (build_temporary_dir(build->request->store_dir, template_->dir, err))
			return -1;
		result = snapshot(build, err);
		vm_store_remove_tree(template_->dir);
		if (result)
			return -1;
	}
	return build_set_name(build->request, template_, err);
}

int layered_build(const struct build_request *request, const char *base_dir,
		  const struct image *image, struct vm_template *template_, int *out_exit_code,
		  struct err *err)
{
	struct layered build = {
		.request = request,
		.image = image,
		.template_ = template_,
		.end_ms = now_ms() + request->limit_ms,
		.out_exit_code = out_exit_code,
	};
	int result;

	result = begin(&build, base_dir, err) || layered_take_image(&build, err) ||
				 take_steps(&build, err)
			 ? -1
			 : 0;
	if (result && build.workshop && !*out_exit_code)
		build_show_log(build.work_dir, VM_FILE_KERNEL);
	layered_workshop_end(&build);
	if (build.layer_dir[0])
		vm_store_remove_tree(build.layer_dir);
	if (!result)
		result = finish(&build, err);
	build_record_free(&build.record);
	return result;
}
