/*
 * Saving a sandbox: a pause, of all of it or of its files, and a snapshot, after which it goes on.
 *
 *   NONE --it goes on only now, after the save before--> THAWING --it runs--> as NONE
 *   NONE --files--> SYNCING --the guest has written its files--> STOPPING
 *   NONE --memory--> QUIETING --nothing is on its way in the channel--> STOPPING
 *   STOPPING --QEMU has stopped--> DEVICE --QEMU has written its devices' state--> WRITING
 *   WRITING --all of it is on disk, durably--> the end by `pause`, or NONE
 *
 * Whatever fails on the way leads back to NONE: what was written is removed and the machine goes
 * on, but that connections into the sandbox may have been reset.  Nothing is told before it is
 * durable, and the manifest that makes it valid comes last; so whoever dies in between leaves
 * nothing that looks like a saved sandbox.  What is written is save_write.c's.  Stopping and going
 * on is lease.c's, and so is that nobody pays for the time between.
 */
#include "node-agent/shim/shim.h"

#include "common/base/check.h"
#include "common/io/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	QUIET_LIMIT_MS = 10 * 1000, /* it only has to be scheduled: on a machine that is too busy,
				       that takes seconds */
	SYNC_LIMIT_MS = 10 * 1000,
	DEVICE_LIMIT_MS = 20 * 1000, /* for some 100 KiB; then QEMU hangs */
};

/* ---- answers ---- */

static void answer(struct shim *shim, uint64_t number, bool ok, uint64_t bytes, const char *detail)
{
	struct wire_shim_saved saved = {.save = number, .ok = ok, .bytes = bytes};

	snprintf(saved.detail, sizeof(saved.detail), "%.128s", detail);
	shim->save.last = saved;
	control_send(&shim->control, &wire_shape_shim_saved, &saved);
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
	shim_save_folder_remove(shim);
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

/* ---- the end of it ---- */

void shim_save_on_written(struct shim *shim, int result, const struct err *err)
{
	struct shim_save *save = &shim->save;

	if (shim->is_ending) {
		shim_save_forget(shim, result);
		return;
	}
	if (result) {
		fail(shim, err->text);
		return;
	}
	log_info("shim", "saved", LOG_UINT("save", save->number),
		 LOG_UINT("bytes", save->saved.bytes),
		 LOG_UINT("pages", save->saved.memory.pages_n));
	if (shim_save_is_pause(shim)) {
		shim->status.saved_how = save->how;
		shim->status.save = save->number;
		shim->status.saved_bytes = save->saved.bytes;
	}
	if (save->number)
		answer(shim, save->number, true, save->saved.bytes, "");
	if (shim_save_is_pause(shim)) {
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

/* ---- QEMU's part ---- */

static void begin_writing(struct shim *shim)
{
	shim->save.step = SHIM_SAVE_WRITING;
	shim_save_write(shim);
}

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
	uv_timer_stop(&shim->save.timer);
	qmp_send(&shim->qmp, "remove-fd", "{\"fdset-id\":1}", on_ignored, shim);
	if (err)
		fail(shim, err->text);
	else
		begin_writing(shim);
}

static void on_device_too_long(uv_timer_t *timer)
{
	shim_end(timer->data, CAUSE_VM_FAULT, "QEMU did not write its devices' state in time");
}

static void save_device(struct shim *shim)
{
	struct err err;
	int fd, sent;

	fd = shim_save_device_open(shim, &err);
	if (fd < 0) {
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
	uv_timer_start(&shim->save.timer, on_device_too_long, DEVICE_LIMIT_MS, 0);
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
	case SHIM_SAVE_THAWING:
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

static void take_up(struct shim *shim)
{
	struct err err;

	if (shim_save_folder_make(shim, &err))
		fail(shim, err.text);
	else
		ask_guest(shim);
}

static void begin(struct shim *shim, uint64_t number, enum wire_save_how how)
{
	shim->save.number = number;
	shim->save.how = how;
	shim->save.is_at_limit = number == 0;
	/* The save before is told as soon as it is durable, which is some moments earlier. */
	if (shim->freeze == SHIM_THAWING)
		shim->save.step = SHIM_SAVE_THAWING;
	else if (shim->freeze != SHIM_RUNS)
		fail(shim, "it is frozen: its lease is over");
	else
		take_up(shim);
}

void shim_save_on_thawed(struct shim *shim)
{
	if (shim->save.step == SHIM_SAVE_THAWING)
		take_up(shim);
}

/* The same order again: of an agent that came back, or did not hear the answer. */
static bool is_answered(struct shim *shim, uint64_t number)
{
	struct vm_saved done;

	if (shim->save.last.save == number) {
		control_send(&shim->control, &wire_shape_shim_saved, &shim->save.last);
		return true;
	}
	if (!shim_save_find_snapshot(shim, number, &done))
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
	if (shim_save_is_pause(shim))
		shim->save.is_at_limit = true;
	else
		shim->save.is_limit_due = true;
}

void shim_save_limit_moved(struct shim *shim)
{
	shim->save.is_limit_due = false;
	shim->save.is_at_limit = shim->save.is_at_limit && shim->save.number == 0;
}

int shim_save_open(struct shim *shim, struct err *err)
{
	if (strlen(shim->dir) + SHIM_SAVE_PATH_ROOM >= PATH_MAX)
		return err_set(err, "%s: the path is too long", shim->dir);
	uv_timer_init(&shim->loop, &shim->save.timer);
	shim->save.timer.data = shim;
	return 0;
}

void shim_save_close(struct shim *shim)
{
	uv_close((uv_handle_t *)&shim->save.timer, NULL);
}
