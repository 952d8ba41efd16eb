/* The folder of what is saved, while it is made. See save.c. */
#include "node-agent/shim/shim.h"

#include "common/base/check.h"
#include "common/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DIR_SAVING "saving"

bool shim_save_is_pause(const struct shim *shim)
{
	return shim->save.how != WIRE_SAVE_SNAPSHOT;
}

static void path_in(const struct shim *shim, const char *name, char out[PATH_MAX])
{
	/* The folder's path has been checked to leave room for these. */
	CHECK(snprintf(out, PATH_MAX, "%s/%s", shim->dir, name) < PATH_MAX);
}

static void final_path(const struct shim *shim, char out[PATH_MAX])
{
	char name[64] = VM_DIR_SAVED;

	if (!shim_save_is_pause(shim))
		snprintf(name, sizeof(name), VM_DIR_SNAPSHOTS "/%" PRIu64, shim->save.number);
	path_in(shim, name, out);
}

bool shim_save_find_snapshot(const struct shim *shim, uint64_t number, struct vm_saved *out)
{
	char name[64], path[PATH_MAX];

	snprintf(name, sizeof(name), VM_DIR_SNAPSHOTS "/%" PRIu64, number);
	path_in(shim, name, path);
	return vm_saved_read(path, out, NULL) == 0;
}

void shim_save_folder_remove(const struct shim *shim)
{
	char path[PATH_MAX];

	path_in(shim, DIR_SAVING, path);
	vm_store_remove_tree(path);
}

int shim_save_folder_make(const struct shim *shim, struct err *err)
{
	char path[PATH_MAX];

	shim_save_folder_remove(shim);
	path_in(shim, DIR_SAVING, path);
	if (mkdir(path, 0700))
		return err_errno(err, errno, "%s", path);
	path_in(shim, VM_DIR_SNAPSHOTS, path);
	if (!shim_save_is_pause(shim) && mkdir(path, 0700) && errno != EEXIST)
		return err_errno(err, errno, "%s", path);
	return 0;
}

int shim_save_device_open(const struct shim *shim, struct err *err)
{
	char path[PATH_MAX];
	int fd;

	path_in(shim, DIR_SAVING "/" VM_SAVED_DEVICE, path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 ? err_errno(err, errno, "%s", path) : fd;
}

static int64_t wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int move_disk(const char *from, const char *to, struct err *err)
{
	return rename(from, to) ? err_errno(err, errno, "%s", to) : 0;
}

/* The disk's own pages begin to go out while the memory's are written. */
static void begin_writeback(const char *disk)
{
	int fd = open(disk, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	close(fd);
}

/* On a thread of its own.  A pause's disk is moved, though QEMU has it open: QEMU stands still, and
 * finds it again where it was if this fails. */
static int write_all(struct shim *shim, struct err *err)
{
	struct vm_saved *saved = &shim->save.saved;
	char disk[PATH_MAX], saving[PATH_MAX], to[PATH_MAX], memory[PATH_MAX], final[PATH_MAX];

	path_in(shim, VM_FILE_OVERLAY, disk);
	path_in(shim, DIR_SAVING, saving);
	path_in(shim, DIR_SAVING "/" VM_SAVED_DISK, to);
	path_in(shim, DIR_SAVING "/" VM_SAVED_MEMORY, memory);
	final_path(shim, final);
	if (shim_keep_template(shim, VM_KEEP_SAVED, err))
		return -1;
	begin_writeback(disk);
	if (saved->has_memory && vm_memory_save(shim->emulator.pid, shim->files.mem, memory,
						&shim->work.cancel, &saved->memory, err))
		return -1;
	if (shim_envs_write(shim, saving, err))
		return -1;
	if (shim_save_is_pause(shim) ? move_disk(disk, to, err) : vm_saved_copy_disk(disk, to, err))
		return -1;
	if (vm_saved_commit(saved, saving, final, err) == 0)
		return 0;
	if (shim_save_is_pause(shim) && rename(to, disk))
		err_wrap(err, "and its disk is lost (%s)", strerror(errno));
	return -1;
}

/* Ended by something else in the meantime: then it was not paused. */
void shim_save_forget(const struct shim *shim, int result)
{
	char final[PATH_MAX];

	final_path(shim, final);
	if (result == 0)
		vm_store_remove_tree(final);
	shim_save_folder_remove(shim);
}

void shim_save_write(struct shim *shim)
{
	struct vm_saved *saved = &shim->save.saved;

	memset(saved, 0, sizeof(*saved));
	vm_saved_describe(saved, &shim->template_);
	saved->vm = shim->config.vm;
	saved->save = shim->save.number;
	saved->has_memory = shim->save.how != WIRE_SAVE_PAUSE_FILES;
	saved->stopped_mono_ns = shim->status.frozen_mono_ns;
	saved->stopped_wall_ns = wall_ns() - (shim_mono_ns() - saved->stopped_mono_ns);
	shim_work_start(shim, write_all, shim_save_on_written);
}
