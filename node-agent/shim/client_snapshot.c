/*
 * A snapshot out of the folder of the microVM that it was made of, or what was saved elsewhere,
 * into a folder of its own: as of a microVM that has ended by a pause, so that whoever finds it,
 * goes on from it or removes it needs to know nothing else.
 */
#include "node-agent/shim/client.h"

#include "common/io/file.h"
#include "node-agent/vm/saved.h"
#include "proto/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECORD_MAX = 4096 };

static int path_in(char out[PATH_MAX], const char *dir, const char *name, struct err *err)
{
	if (snprintf(out, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", dir);
	return 0;
}

static int sync_path(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int result = fd >= 0 && fsync(fd) == 0 ? 0 : err_errno(err, errno, "%s", path);

	if (fd >= 0)
		close(fd);
	return result;
}

/* What a shim writes that has paused its sandbox, but for what it ran. */
static int write_end(const char *dir, const struct vm_config *config, const struct vm_saved *saved,
		     struct err *err)
{
	struct wire_shim_status status = {
		.vm = config->vm,
		.state = WIRE_SHIM_ENDED,
		.cause = CAUSE_PAUSE,
		.ended_mono_ns = saved->stopped_mono_ns,
		.ended_wall_ns = saved->stopped_wall_ns,
		.saved_how = WIRE_SAVE_SNAPSHOT,
		.save = saved->save,
		.saved_bytes = saved->bytes,
		.detail = "saved before",
	};
	uint8_t frame[RECORD_MAX];
	char path[PATH_MAX];
	size_t n;

	if (path_in(path, dir, VM_FILE_END, err) ||
	    frame_encode(&wire_shape_shim_status, &status, frame, sizeof(frame), &n, err))
		return -1;
	return file_write_atomic(path, frame, n, 0600, err);
}

/* All but the snapshot itself, which is durable where it is. */
static int fill(const char *dir, const struct vm_config *config, const struct vm_saved *saved,
		struct err *err)
{
	char path[PATH_MAX];

	if (mkdir(dir, 0700))
		return err_errno(err, errno, "%s", dir);
	if (vm_config_write(dir, config, err) || path_in(path, dir, VM_FILE_CONFIG, err) ||
	    sync_path(path, err))
		return -1;
	return write_end(dir, config, saved, err);
}

static int sync_parent(const char *dir, struct err *err)
{
	char parent[PATH_MAX];

	snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(dir, '/') - dir), dir);
	return sync_path(parent, err);
}

int shim_dir_make_saved(const char *from, const struct vm_config *config, const char *new_dir,
			struct err *err)
{
	char making[PATH_MAX], to[PATH_MAX], store[PATH_MAX], id[VM_ARTEFACT_ID_MAX];
	struct vm_saved saved;

	if (snprintf(making, sizeof(making), "%s.making", from) >= PATH_MAX)
		return err_set(err, "%s: the path is too long", from);
	if (path_in(to, making, VM_DIR_SAVED, err) || vm_saved_read(from, &saved, err) ||
	    vm_store_of(config->template_dir, store, id, err))
		return -1;
	vm_store_remove_tree(making);
	if (fill(making, config, &saved, err))
		goto fail;
	if (rename(from, to) || rename(making, new_dir)) {
		err_errno(err, errno, "%s", new_dir);
		goto fail;
	}
	/* The template is kept by the microVM too, as long as that has its folder. */
	if (sync_path(new_dir, err) || sync_parent(new_dir, err) ||
	    vm_store_keep(store, VM_KEEP_SAVED, id, config->vm.text, new_dir, err)) {
		shim_dir_remove(new_dir);
		return -1;
	}
	return 0;
fail:
	vm_store_remove_tree(making);
	return -1;
}

int shim_dir_keep_snapshot(const char *dir, uint64_t save, const struct id *vm, const char *new_dir,
			   struct err *err)
{
	struct vm_config config;
	char from[PATH_MAX], name[64];

	snprintf(name, sizeof(name), VM_DIR_SNAPSHOTS "/%" PRIu64, save);
	if (path_in(from, dir, name, err) || vm_config_read(dir, &config, err))
		return -1;
	config.vm = *vm;
	config.resume[0] = 0;
	return shim_dir_make_saved(from, &config, new_dir, err);
}
