/*
 * Until when a sandbox may run, and that it does not run longer.  A scheduler that has not heard of
 * a node gives its sandboxes up when the lease is over, and may start them elsewhere: so the
 * machine stops by its own clock, whether or not an agent is there, and goes on when a later lease
 * comes.
 *
 *   RUNS --lease over--> FREEZING --QEMU has stopped--> FROZEN --later lease--> THAWING --> RUNS
 *
 * Being saved (save.c) stops it just so, for as long as that takes.
 *
 * One command to QEMU is under way at a time; what a lease says meanwhile is looked at when it is
 * answered.  A QEMU that does not answer is killed, because two of a sandbox must not run.
 *
 * What is billed lies inside what ran: an interval begins when QEMU has said that it runs, and ends
 * at the instant before it is asked to stop.  The milliseconds that it takes to obey are nobody's.
 */
#include "node-agent/shim/shim.h"

#include "common/base/check.h"
#include "common/base/units.h"
#include "common/io/log.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
	/* Less than what schedulers wait beyond a lease before they give a node up. */
	STOP_LIMIT_MS = 1500,
	/* To be saved: nothing is lost by waiting for a disk that is slow. */
	STOP_TO_SAVE_LIMIT_MS = 20 * 1000,
	CONT_LIMIT_MS = 10 * 1000,
};

static bool has_lease(const struct shim *shim)
{
	return shim->lease_mono_ns == 0 || shim_mono_ns() < shim->lease_mono_ns;
}

static bool may_run(const struct shim *shim)
{
	return has_lease(shim) && !shim->is_stop_wanted;
}

static void set_timer(struct shim *shim)
{
	struct itimerspec at = {{0, 0}, {0, 0}};

	if (shim->lease_mono_ns > 0)
		at.it_value = (struct timespec){shim->lease_mono_ns / NS_PER_S,
						shim->lease_mono_ns % NS_PER_S};
	CHECK(timerfd_settime(shim->lease_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0);
}

static void on_no_answer(uv_timer_t *timer)
{
	struct shim *shim = timer->data;

	shim_end(shim, CAUSE_VM_FAULT,
		 shim->freeze == SHIM_FREEZING ? "QEMU did not stop when it was to"
					       : "QEMU did not go on after it was stopped");
}

static void on_stopped(void *arg, const struct qmp_message *answer, const struct err *err)
{
	struct shim *shim = arg;

	(void)answer;
	if (shim->is_ending)
		return;
	if (err) {
		shim_end(shim, CAUSE_VM_FAULT, err->text);
		return;
	}
	uv_timer_stop(&shim->watchdog);
	shim->freeze = SHIM_FROZEN;
	shim->status.frozen_mono_ns = shim->freeze_mono_ns;
	log_info("shim",
		 shim->is_stop_wanted ? "stopped, to be saved" : "frozen: its lease is over");
	shim_tell(shim);
	shim_save_on_stopped(shim);
	shim_lease_look(shim);
}

static void on_thawed(void *arg, const struct qmp_message *answer, const struct err *err)
{
	struct wire_shim_status *status;
	struct shim *shim = arg;

	(void)answer;
	if (shim->is_ending)
		return;
	if (err) {
		shim_end(shim, CAUSE_VM_FAULT, err->text);
		return;
	}
	uv_timer_stop(&shim->watchdog);
	shim->freeze = SHIM_RUNS;
	status = &shim->status;
	status->ran_ns += (uint64_t)(status->frozen_mono_ns - status->resumed_mono_ns);
	status->resumed_mono_ns = shim_mono_ns();
	status->frozen_mono_ns = 0;
	log_info("shim", "thawed");
	shim_tell(shim);
	shim_save_on_thawed(shim);
	shim_lease_look(shim);
}

void shim_lease_look(struct shim *shim)
{
	if (shim->is_ending || shim->status.state != WIRE_SHIM_CLAIMED)
		return;
	if (shim->freeze == SHIM_RUNS && !may_run(shim)) {
		shim->freeze = SHIM_FREEZING;
		shim->freeze_mono_ns = shim_mono_ns();
		uv_timer_start(&shim->watchdog, on_no_answer,
			       has_lease(shim) ? STOP_TO_SAVE_LIMIT_MS : STOP_LIMIT_MS, 0);
		qmp_send(&shim->qmp, "stop", NULL, on_stopped, shim);
	} else if (shim->freeze == SHIM_FREEZING && !has_lease(shim) &&
		   uv_timer_get_due_in(&shim->watchdog) > STOP_LIMIT_MS) {
		/* It was to be saved, and now it must not run. */
		uv_timer_start(&shim->watchdog, on_no_answer, STOP_LIMIT_MS, 0);
	} else if (shim->freeze == SHIM_FROZEN && may_run(shim)) {
		shim->freeze = SHIM_THAWING;
		uv_timer_start(&shim->watchdog, on_no_answer, CONT_LIMIT_MS, 0);
		qmp_send(&shim->qmp, "cont", NULL, on_thawed, shim);
	}
}

static void on_lease_over(uv_poll_t *poll, int status, int events)
{
	struct shim *shim = poll->data;
	uint64_t times;

	(void)status;
	(void)events;
	if (read(shim->lease_fd, &times, sizeof(times)) != (ssize_t)sizeof(times))
		return;
	/* Still being claimed: nobody uses it yet, and QEMU runs already. */
	if (shim->is_claim_sent && shim->status.state != WIRE_SHIM_CLAIMED)
		shim_claim_failed(shim, CAUSE_PLATFORM, "its lease ended before it was claimed");
	else
		shim_lease_look(shim);
}

int shim_lease_open(struct shim *shim, struct err *err)
{
	shim->lease_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (shim->lease_fd < 0)
		return err_errno(err, errno, "timerfd");
	shim->lease.data = shim;
	if (uv_poll_init(&shim->loop, &shim->lease, shim->lease_fd) ||
	    uv_poll_start(&shim->lease, UV_READABLE, on_lease_over))
		return err_set(err, "timerfd: cannot be watched");
	return 0;
}

void shim_lease_close(struct shim *shim)
{
	uv_close((uv_handle_t *)&shim->lease, NULL);
	close(shim->lease_fd);
}

bool shim_lease_begin(struct shim *shim, int64_t lease_mono_ns)
{
	shim->lease_mono_ns = lease_mono_ns;
	if (!has_lease(shim)) {
		shim->lease_mono_ns = 0;
		return false;
	}
	set_timer(shim);
	return true;
}

/* Orders of two agents can cross, so an earlier lease changes nothing.  From none to some and back
 * is a change of the fleet's settings. */
void shim_lease_move(struct shim *shim, int64_t lease_mono_ns)
{
	if (!shim->is_claim_sent || shim->is_ending)
		return;
	if (shim->lease_mono_ns && lease_mono_ns && lease_mono_ns <= shim->lease_mono_ns)
		return;
	shim->lease_mono_ns = lease_mono_ns;
	set_timer(shim);
	shim_lease_look(shim);
}

void shim_lease_note_end(struct shim *shim)
{
	/* Asked to stop and not seen to: it may have run on, and that is not billed either. */
	if (shim->freeze == SHIM_FREEZING)
		shim->status.frozen_mono_ns = shim->freeze_mono_ns;
	uv_poll_stop(&shim->lease);
}
