/*
 * Saving a sandbox: a pause, of all of it or of its files, and a snapshot, after which it goes on.
 *
 *   NONE --files--> SYNCING --the guest has written its files--> STOPPING
 *   NONE --memory--> QUIETING --nothing is on its way in the channel--> STOPPING
 *   STOPPING --QEMU has stopped--> DEVICE --QEMU has written its devices' state--> WRITING
 *   WRITING --all of it is on disk, durably--> the end by `pause`, or NONE
 *
 * Whatever fails on the way leads back to NONE: what was written is removed and the machine goes
 * on, but that connections into the sandbox may have been reset.  Nothing is told before it is
 * durable, and the manifest that makes it valid comes last; so whoever dies in between leaves
 * nothing that looks like a saved sandbox.  Stopping and going on is lease.c's, and so is that
 * nobody pays for the time between.
 */
#include "node-agent/shim/shim.h"

#include "common/base/check.h"
#include "common/io/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	QUIET_LIMIT_MS = 1000,
	SYNC_LIMIT_MS = 10 * 1000,
	FDSET = 1, /* the device state's file, in QEMU */
};

#define DIR_SAVING "saving"

static bool is_pause(const struct shim *shim)
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

	if (!is_pause(shim))
		snprintf(name, sizeof(name), VM_DIR_SNAPSHOTS "/%" PRIu64, shim->save.number);
	path_in(shim, name, out);
}

/* ---- answers ---- */

static void answer(struct shim *shim, uint64_t number, bool ok, uint64_t bytes, const char *detail)
{
	struct wire_shim_saved saved = {.save = number, .ok = ok, .bytes = bytes};

	snprintf(saved.detail, sizeof(saved.detail), "%.128s", detail);
	shim->save.last = saved;
	control_send(&shim->control, &wire_shape_shim_saved, &saved);
}

static void remove_saving(const struct shim *shim)
{
	char path[PATH_MAX];

	path_in(shim, DIR_SAVING, path);
	vm_store_remove_tree(path);
}

/* The machine may go on, and so may whoever speaks with it. */
static void let_go_on(struct shim *shim)
{
	shim->save.step = SHIM_SAVE_NONE;
	uv_timer_stop(&shim->save.timer);
	channel_quiet_end(&shim->channel);
	shim->is_stop_wanted = false;
	shim_lease_look(shim);
}

static void fail(struct shim *shim, const char *why)
{
	bool is_at_limit = shim->save.is_at_limit;
	char detail[SHIM_DETAIL_MAX];

	if (shim->is_ending)
		return;
	log_warn("shim", "not saved", LOG_UINT("save", shim->save.number), LOG_TEXT("why", why));
	remove_saving(shim);
	if (shim->save.number)
		answer(shim, shim->save.number, false, 0, why);
	shim->save.is_at_limit = false;
	if (is_at_limit) {
		snprintf(detail, sizeof(detail), "its time limit was reached; not paused: %.80s",
			 why);
		shim_end(shim, CAUSE_TIMEOUT, detail);
		return;
	}
	let_go_on(shim);
}

/* ---- writing ---- */

static int64_t wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
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
	if (is_pause(shim) ? move_disk(disk, to, err) : vm_saved_copy_disk(disk, to, err))
		return -1;
	if (vm_saved_commit(saved, saving, final, err) == 0)
		return 0;
	if (is_pause(shim) && rename(to, disk))
		err_wrap(err, "and its disk is lost (%s)", strerror(errno));
	return -1;
}

/* Ended by something else in the meantime: then it was not paused. */
static void forget(struct shim *shim, int result)
{
	char final[PATH_MAX];

	final_path(shim, final);
	if (result == 0)
		vm_store_remove_tree(final);
	remove_saving(shim);
}

static void on_written(struct shim *shim, int result, const struct err *err)
{
	struct shim_save *save = &shim->save;

	if (shim->is_ending) {
		forget(shim, result);
		return;
	}
	if (result) {
		fail(shim, err->text);
		return;
	}
	log_info("shim", "saved", LOG_UINT("save", save->number),
		 LOG_UINT("bytes", save->saved.bytes),
		 LOG_UINT("pages", save->saved.memory.pages_n));
	if (is_pause(shim)) {
		shim->status.saved_how = save->how;
		shim->status.save = save->number;
		shim->status.saved_bytes = save->saved.bytes;
	}
	if (save->number)
		answer(shim, save->number, true, save->saved.bytes, "");
	if (is_pause(shim)) {
		shim_end(shim, CAUSE_PAUSE,
			 save->number ? "paused by order" : "paused at its time limit");
		return;
	}
	let_go_on(shim);
	if (save->is_limit_due) {
		save->is_limit_due = false;
		shim_at_limit(shim);
	}
}

static void begin_writing(struct shim *shim)
{
	struct vm_saved *saved = &shim->save.saved;

	shim->save.step = SHIM_SAVE_WRITING;
	memset(saved, 0, sizeof(*saved));
	vm_saved_describe(saved, &shim->template_);
	saved->vm = shim->config.vm;
	saved->save = shim->save.number;
	saved->has_memory = shim->save.how != WIRE_SAVE_PAUSE_FILES;
	saved->stopped_mono_ns = shim->status.frozen_mono_ns;
	saved->stopped_wall_ns = wall_ns() - (shim_mono_ns() - saved->stopped_mono_ns);
	shim_work_start(shim, write_all, on_written);
}

/* ---- QEMU's part ---- */

static void on_ignored(void *arg, const struct qmp_message *answer_, const struct err *err)
{
	(void)arg;
	(void)answer_;
	(void)err;
}

static void on_device_written(void *arg, const struct qmp_message *answer_, const struct err *err)
{
	struct shim *shim = arg;

	(void)answer_;
	if (shim->is_ending)
		return;
	qmp_send(&shim->qmp, "remove-fd", "{\"fdset-id\":1}", on_ignored, shim);
	if (err)
		fail(shim, err->text);
	else
		begin_writing(shim);
}

static void save_device(struct shim *shim)
{
	char path[PATH_MAX];
	struct err err;
	int fd, sent;

	_Static_assert(FDSET == 1, "the number in the commands");
	path_in(shim, DIR_SAVING "/" VM_SAVED_DEVICE, path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		err_errno(&err, errno, "%s", path);
		fail(shim, err.text);
		return;
	}
	sent = qmp_send_fd(&shim->qmp, "add-fd", "{\"fdset-id\":1}", fd, on_ignored, shim, &err);
	close(fd);
	if (sent) {
		fail(shim, err.text);
		return;
	}
	/* It has nothing to do with Xen but its origin.  live: the machine keeps its disks. */
	shim->save.step = SHIM_SAVE_DEVICE;
	qmp_send(&shim->qmp, "xen-save-devices-state",
		 "{\"filename\":\"/dev/fdset/1\",\"live\":true}", on_device_written, shim);
}

void shim_save_on_stopped(struct shim *shim)
{
	switch (shim->save.step) {
	case SHIM_SAVE_SYNCING:
	case SHIM_SAVE_QUIETING:
		fail(shim, "its lease ended");
		return;
	case SHIM_SAVE_STOPPING:
		if (shim->save.how == WIRE_SAVE_PAUSE_FILES)
			begin_writing(shim);
		else
			save_device(shim);
		return;
	case SHIM_SAVE_NONE:
	case SHIM_SAVE_DEVICE:
	case SHIM_SAVE_WRITING:
		return;
	}
}

static void stop(struct shim *shim)
{
	uv_timer_stop(&shim->save.timer);
	shim->save.step = SHIM_SAVE_STOPPING;
	shim->is_stop_wanted = true;
	shim_lease_look(shim);
}

/* ---- the guest's part ---- */

static void on_quiet(void *arg)
{
	struct shim *shim = arg;

	if (shim->save.step == SHIM_SAVE_QUIETING && !shim->is_ending)
		stop(shim);
}

static void on_not_quiet(uv_timer_t *timer)
{
	fail(timer->data, "the guest does not bring its channel to rest");
}

static void on_synced(void *arg, int status)
{
	struct shim *shim = arg;
	char why[64];

	if (shim->save.step != SHIM_SAVE_SYNCING || shim->is_ending)
		return;
	if (status == 204) {
		stop(shim);
		return;
	}
	snprintf(why, sizeof(why), "the guest answered %d when it was to write its files", status);
	fail(shim, why);
}

static void on_not_synced(uv_timer_t *timer)
{
	struct shim *shim = timer->data;

	channel_drop_asks(&shim->channel);
	fail(shim, "the guest does not get its files written");
}

static void ask_guest(struct shim *shim)
{
	size_t n;
	char *request;

	if (shim->save.how != WIRE_SAVE_PAUSE_FILES) {
		shim->save.step = SHIM_SAVE_QUIETING;
		uv_timer_start(&shim->save.timer, on_not_quiet, QUIET_LIMIT_MS, 0);
		channel_quiet_begin(&shim->channel, on_quiet, shim);
		return;
	}
	request = shim_request_sync(shim->token, &n);
	shim->save.step = SHIM_SAVE_SYNCING;
	uv_timer_start(&shim->save.timer, on_not_synced, SYNC_LIMIT_MS, 0);
	channel_drop_asks(&shim->channel);
	channel_ask(&shim->channel, request, n, CHANNEL_WHOLE, on_synced, shim);
	free(request);
}

/* ---- orders ---- */

static int make_folders(const struct shim *shim, struct err *err)
{
	char path[PATH_MAX];

	remove_saving(shim);
	path_in(shim, DIR_SAVING, path);
	if (mkdir(path, 0700))
		return err_errno(err, errno, "%s", path);
	path_in(shim, VM_DIR_SNAPSHOTS, path);
	if (!is_pause(shim) && mkdir(path, 0700) && errno != EEXIST)
		return err_errno(err, errno, "%s", path);
	return 0;
}

static void begin(struct shim *shim, uint64_t number, enum wire_save_how how)
{
	struct err err;

	shim->save.number = number;
	shim->save.how = how;
	shim->save.is_at_limit = number == 0;
	if (shim->freeze != SHIM_RUNS)
		fail(shim, "it is frozen: its lease is over");
	else if (make_folders(shim, &err))
		fail(shim, err.text);
	else
		ask_guest(shim);
}

/* The same order again: of an agent that came back, or did not hear the answer. */
static bool is_answered(struct shim *shim, uint64_t number)
{
	struct vm_saved done;
	char name[64], path[PATH_MAX];

	if (shim->save.last.save == number) {
		control_send(&shim->control, &wire_shape_shim_saved, &shim->save.last);
		return true;
	}
	snprintf(name, sizeof(name), VM_DIR_SNAPSHOTS "/%" PRIu64, number);
	path_in(shim, name, path);
	if (vm_saved_read(path, &done, NULL))
		return false;
	answer(shim, number, true, done.bytes, "");
	return true;
}

void shim_save_order(struct shim *shim, const struct wire_shim_save *order)
{
	if (shim->is_ending)
		return; /* its end is told, and says what became of a pause */
	if (shim->save.step != SHIM_SAVE_NONE) {
		const struct wire_shim_saved no = {.save = order->save,
						   .detail = "it is being saved already"};

		if (order->save != shim->save.number)
			control_send(&shim->control, &wire_shape_shim_saved, &no);
		return;
	}
	if (is_answered(shim, order->save))
		return;
	if (shim->status.state != WIRE_SHIM_CLAIMED)
		answer(shim, order->save, false, 0, "there is no sandbox in this microVM");
	else
		begin(shim, order->save, order->how);
}

void shim_at_limit(struct shim *shim)
{
	if (shim->on_limit == WIRE_ON_LIMIT_END || shim->status.state != WIRE_SHIM_CLAIMED) {
		shim_end(shim, CAUSE_TIMEOUT, "its time limit was reached");
		return;
	}
	if (shim->save.step == SHIM_SAVE_NONE) {
		begin(shim, 0,
		      shim->on_limit == WIRE_ON_LIMIT_PAUSE ? WIRE_SAVE_PAUSE
							    : WIRE_SAVE_PAUSE_FILES);
		return;
	}
	/* A pause under way is as good; if it fails, that is the end. */
	if (is_pause(shim))
		shim->save.is_at_limit = true;
	else
		shim->save.is_limit_due = true;
}

int shim_save_open(struct shim *shim, struct err *err)
{
	if (strlen(shim->dir) + 64 >= PATH_MAX)
		return err_set(err, "%s: the path is too long", shim->dir);
	uv_timer_init(&shim->loop, &shim->save.timer);
	shim->save.timer.data = shim;
	return 0;
}

void shim_save_close(struct shim *shim)
{
	uv_close((uv_handle_t *)&shim->save.timer, NULL);
}
