/* The states of a microVM, its claim, its time limit and its end. See shim.h. */
#include "node-agent/shim/shim.h"

#include "common/base/check.h"
#include "common/base/units.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "proto/frame.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { RECORD_RETRY_MS = 1000 };

static int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t shim_mono_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

void shim_tell(struct shim *shim)
{
	if (!shim->has_control)
		return;
	/* Once asked to stop, nobody vouches any more that it runs. */
	shim->status.at_mono_ns =
		shim->freeze == SHIM_FREEZING ? shim->freeze_mono_ns : shim_mono_ns();
	shim->status.qemu_pid = (uint32_t)shim->emulator.pid;
	control_send(&shim->control, &wire_shape_shim_status, &shim->status);
}

void shim_set_state(struct shim *shim, enum wire_shim_state state)
{
	static const char *const words[] = {
		[WIRE_SHIM_RESTORING] = "restoring", [WIRE_SHIM_WARMING] = "warming",
		[WIRE_SHIM_READY] = "ready",         [WIRE_SHIM_CLAIMED] = "claimed",
		[WIRE_SHIM_ENDED] = "ended",
	};

	shim->status.state = state;
	log_info("shim", "state", LOG_TEXT("state", words[state]));
	shim_tell(shim);
}

/* ---- the end ---- */

static void on_relay_closed(void *arg)
{
	struct shim *shim = arg;

	channel_free(&shim->channel);
}

/* The loop ends by itself when nothing is left in it. */
static void close_all(struct shim *shim)
{
	control_close(&shim->control);
	channel_close(&shim->channel);
	if (shim->has_relay)
		relay_close(&shim->relay, on_relay_closed, shim);
	else
		channel_free(&shim->channel);
	qmp_close(&shim->qmp);
	uv_close((uv_handle_t *)&shim->watchdog, NULL);
	uv_close((uv_handle_t *)&shim->record_retry, NULL);
	uv_close((uv_handle_t *)&shim->deadline, NULL);
	close(shim->deadline_fd);
	shim_lease_close(shim);
	shim_save_close(shim);
	shim_observe_close(shim);
	network_close(&shim->network);
}

/* What happened outlives us: the agent may be away, and reads it when it comes back. */
static int record_write(struct shim *shim, struct err *err)
{
	static uint8_t frame[FRAME_HEAD_N + SHIM_CLAIM_MEMORY_MAX + SHIM_STATUS_REST_MAX];
	char path[PATH_MAX];
	size_t n;

	if (frame_encode(&wire_shape_shim_status, &shim->status, frame, sizeof(frame), &n, err) ||
	    snprintf(path, sizeof(path), "%s/%s", shim->dir, VM_FILE_END) >= PATH_MAX)
		return -1;
	return file_write_atomic(path, frame, n, 0600, err);
}

static void finish(struct shim *shim);

static void on_record_retry(uv_timer_t *timer)
{
	finish(timer->data);
}

/*
 * The record first: an agent that has been told may remove the folder.  Without a record we stay,
 * so that an agent which comes later can still be told; but not longer than there is a folder.
 */
static void finish(struct shim *shim)
{
	bool is_recorded = true;
	struct err err;

	if (shim->config.purpose == VM_PURPOSE_CLONE && access(shim->dir, F_OK) == 0)
		is_recorded = record_write(shim, &err) == 0;
	shim_tell(shim);
	if (is_recorded) {
		close_all(shim);
		return;
	}
	log_error("shim", "cannot write the end record", LOG_ERR(&err));
	uv_timer_start(&shim->record_retry, on_record_retry, RECORD_RETRY_MS, 0);
}

static void note_end(struct shim *shim, enum cause cause, const char *detail)
{
	shim->is_ending = true;
	network_end(&shim->network);
	shim_lease_note_end(shim);
	shim->status.cause = cause;
	snprintf(shim->status.detail, sizeof(shim->status.detail), "%.128s", detail);
	log_info("shim", "ending", LOG_INT("cause", (int)cause), LOG_TEXT("detail", detail));
}

void shim_gone(struct shim *shim)
{
	if (shim_work_holds_up_end(shim))
		return;
	shim->status.ended_mono_ns = shim_mono_ns();
	shim->status.ended_wall_ns = clock_ns(CLOCK_REALTIME);
	uv_timer_stop(&shim->watchdog);
	uv_poll_stop(&shim->deadline);
	if (shim->config.purpose == VM_PURPOSE_TEMPLATE)
		shim->exit_code = shim->status.cause == CAUSE_NONE ? 0 : 1;
	shim->status.state = WIRE_SHIM_ENDED;
	finish(shim);
}

void shim_end(struct shim *shim, enum cause cause, const char *detail)
{
	if (shim->is_ending)
		return;
	note_end(shim, cause, detail);
	if (shim->emulator.pid > 0)
		emulator_kill(&shim->emulator);
	else
		shim_gone(shim);
}

/* It ended by itself.  What a guest's kernel says about it is only trusted as far as to choose
 * between causes that are the guest's own affair. */
static void explain_exit(struct shim *shim)
{
	char how[48], detail[SHIM_DETAIL_MAX];

	emulator_describe_exit(&shim->emulator, how, sizeof(how));
	if (shim->emulator.is_out_of_memory) {
		note_end(shim, CAUSE_OOM_GUEST, "the guest ran out of memory");
	} else if (shim->emulator.panic[0]) {
		snprintf(detail, sizeof(detail), "the guest's kernel panicked: %.90s",
			 shim->emulator.panic);
		note_end(shim, CAUSE_GUEST_FAULT, detail);
	} else if (shim->was_shut_down && strcmp(shim->shutdown_reason, "guest-shutdown") == 0) {
		note_end(shim, CAUSE_GUEST_FAULT, "the guest switched itself off");
	} else if (shim->was_shut_down && strcmp(shim->shutdown_reason, "guest-reset") == 0) {
		note_end(shim, CAUSE_GUEST_FAULT, "the guest restarted itself");
	} else if (emulator_was_starved(&shim->emulator)) {
		note_end(shim, CAUSE_OOM_HOST, "the host ran out of memory and killed QEMU");
	} else {
		snprintf(detail, sizeof(detail), "QEMU ended: %s", how);
		note_end(shim, CAUSE_VM_FAULT, detail);
	}
}

static void on_emulator_exit(void *arg)
{
	struct shim *shim = arg;

	if (!shim->is_ending)
		explain_exit(shim);
	qmp_close(&shim->qmp);
	shim_gone(shim);
}

/* ---- the time limit ---- */

static void on_deadline(uv_poll_t *poll, int status, int events)
{
	struct shim *shim = poll->data;
	uint64_t times;

	(void)status;
	(void)events;
	if (read(shim->deadline_fd, &times, sizeof(times)) == (ssize_t)sizeof(times))
		shim_at_limit(shim);
}

/* On the clock that goes on while the host sleeps; an instant in the past fires at once. */
static void deadline_set(struct shim *shim, int64_t end_mono_ns)
{
	struct itimerspec at = {{0, 0}, {end_mono_ns / NS_PER_S, end_mono_ns % NS_PER_S}};

	if (end_mono_ns <= 0)
		at.it_value.tv_nsec = 1;
	shim->status.end_mono_ns = end_mono_ns;
	shim_save_limit_moved(shim);
	CHECK(timerfd_settime(shim->deadline_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0);
}

/* ---- the claim ---- */

static void answer_claim(struct shim *shim, uint64_t attempt, bool ok, const char *detail)
{
	struct wire_shim_claimed claimed = {.attempt = attempt, .ok = ok};

	if (ok)
		claimed.resumed_mono_ns = shim->status.resumed_mono_ns;
	snprintf(claimed.detail, sizeof(claimed.detail), "%.128s", detail);
	control_send(&shim->control, &wire_shape_shim_claimed, &claimed);
}

void shim_claim_failed(struct shim *shim, enum cause cause, const char *detail)
{
	if (shim->is_ending)
		return;
	answer_claim(shim, shim->status.attempt, false, detail);
	shim_end(shim, cause, detail);
}

static void claim_failed(struct shim *shim, const char *detail)
{
	shim_claim_failed(shim, CAUSE_VM_FAULT, detail);
}

static void claim_proceed(struct shim *shim)
{
	if (!shim->is_resumed || !shim->is_initialised || !shim->is_networked || shim->is_ending)
		return;
	uv_timer_stop(&shim->watchdog);
	answer_claim(shim, shim->status.attempt, true, "");
	shim_set_state(shim, WIRE_SHIM_CLAIMED);
	shim_observe_begin(shim);
}

static void on_resumed(void *arg, const struct qmp_message *answer, const struct err *err)
{
	struct shim *shim = arg;

	(void)answer;
	if (err) {
		claim_failed(shim, err->text);
		return;
	}
	shim->is_resumed = true;
	shim->status.resumed_mono_ns = shim_mono_ns();
	if (shim->claim_ttl_ms > 0) {
		int64_t end = shim->status.resumed_mono_ns + shim->claim_ttl_ms * NS_PER_MS;

		if (end < shim->status.end_mono_ns)
			deadline_set(shim, end);
	}
	claim_proceed(shim);
}

static void on_initialised(void *arg, int status)
{
	struct shim *shim = arg;
	char detail[SHIM_DETAIL_MAX];

	if (status != 204) {
		snprintf(detail, sizeof(detail), "the guest answered %d to its initialisation",
			 status);
		claim_failed(shim, detail);
		return;
	}
	shim->is_initialised = true;
	claim_proceed(shim);
}

static void on_networked(void *arg, const struct err *err)
{
	struct shim *shim = arg;

	if (err) {
		claim_failed(shim, err->text);
		return;
	}
	shim->is_networked = true;
	shim->has_network = shim->network.keeper != NULL;
	claim_proceed(shim);
}

static void on_claim_too_long(uv_timer_t *timer)
{
	claim_failed(timer->data, "the guest did not answer in time");
}

static void remember_claim(struct shim *shim, const struct wire_shim_claim *claim)
{
	shim->status.sandbox = claim->sandbox;
	shim->status.attempt = claim->attempt;
	shim->status.incarnation = claim->incarnation;
	memcpy(shim->claim_memory, claim->claim.data, claim->claim.n);
	shim->status.claim = (struct wire_bytes){shim->claim_memory, claim->claim.n};
	shim->claim_ttl_ms = (int64_t)claim->ttl_ms;
	shim->on_limit = claim->on_limit;
	if (claim->init.n)
		shim_request_token((const char *)claim->init.data, claim->init.n, shim->token);
	shim_envs_take(shim, (const char *)claim->init.data, claim->init.n);
	shim->is_claim_sent = true;
	log_info("shim", "claimed", LOG_TEXT("sandbox", claim->sandbox.text),
		 LOG_UINT("attempt", claim->attempt));
}

static void bind_relay(struct shim *shim, const struct wire_shim_claim *claim)
{
	struct ticket ticket;

	_Static_assert(sizeof(ticket.bytes) == sizeof(claim->ticket), "both are the ticket");
	_Static_assert((int)WIRE_INGRESS_MAX <= (int)TUNNEL_INGRESS_MAX, "what may be said fits");
	if (!shim->has_relay)
		return;
	memcpy(ticket.bytes, claim->ticket, sizeof(ticket.bytes));
	shim_dial(shim, claim->gateway);
	relay_bind(&shim->relay, &claim->sandbox, &ticket, claim->ingress.data, claim->ingress.n);
}

/* Everything at once: the gateway's word, QEMU's, the guest's and its network's keeper's take their
 * time side by side. */
static void on_claim(void *arg, const struct wire_shim_claim *claim)
{
	struct shim *shim = arg;
	char *request, *authority;
	size_t n;

	/* The same claim again: an agent that came back in its middle, or did not hear the answer.
	 */
	if (shim->is_claim_sent && claim->attempt == shim->status.attempt) {
		if (shim->status.state == WIRE_SHIM_CLAIMED)
			answer_claim(shim, claim->attempt, true, "");
		return;
	}
	if (shim->status.state != WIRE_SHIM_READY || shim->is_claim_sent || shim->is_ending) {
		answer_claim(shim, claim->attempt, false, "this microVM is not ready");
		return;
	}
	/* A guest that boots anew has forgotten its environment; the others remember. */
	authority = network_authority(&claim->egress);
	request = shim_request_init(
		(const char *)claim->init.data, claim->init.n, claim->sandbox.text,
		network_is_wanted(claim->egress_host, &claim->egress), authority,
		shim_is_resumed(shim) && !shim->resumed.has_memory ? shim->envs : NULL,
		shim->observer.token, &n);
	shim->has_authority = authority != NULL;
	free(authority);
	if (!request) {
		answer_claim(shim, claim->attempt, false, "init: not a JSON object, or too long");
		return;
	}
	if (!shim_lease_begin(shim, claim->lease_mono_ns)) {
		answer_claim(shim, claim->attempt, false, "its lease has ended");
		free(request);
		return;
	}
	remember_claim(shim, claim);
	deadline_set(shim, claim->end_mono_ns);
	uv_timer_start(&shim->watchdog, on_claim_too_long, SHIM_CLAIM_LIMIT_MS, 0);
	qmp_release(&shim->qmp, on_resumed, shim);
	channel_ask(&shim->channel, request, n, CHANNEL_STATUS, on_initialised, shim);
	network_set(&shim->network, claim->egress_host, &claim->egress, on_networked);
	bind_relay(shim, claim);
	free(request);
}

/* ---- the agent ---- */

static void on_agent(void *arg)
{
	shim_tell(arg);
}

static void on_deadline_order(void *arg, int64_t end_mono_ns)
{
	struct shim *shim = arg;

	if (shim->is_claim_sent && !shim->is_ending) {
		deadline_set(shim, end_mono_ns);
		shim_tell(shim);
	}
}

static void on_lease(void *arg, int64_t lease_mono_ns)
{
	shim_lease_move(arg, lease_mono_ns);
}

static void on_kill(void *arg, enum cause cause)
{
	shim_end(arg, cause, "ended by order");
}

static void on_ask(void *arg)
{
	struct shim *shim = arg;

	emulator_note_host(&shim->emulator);
	shim_tell(shim);
}

static void on_save(void *arg, const struct wire_shim_save *save)
{
	shim_save_order(arg, save);
}

/* The guest has its address by then, and believes its keeper, if it did not before. */
static void on_network_told(void *arg, int status)
{
	struct shim *shim = arg;
	struct wire_shim_networked networked = {.change = shim->network_change,
						.ok = status == 204};

	if (!networked.ok)
		snprintf(networked.detail, sizeof(networked.detail),
			 "the guest answered %d about its network", status);
	control_send(&shim->control, &wire_shape_shim_networked, &networked);
}

static void on_network_changed(void *arg, const struct err *err)
{
	struct shim *shim = arg;
	static const struct err being_saved = {"it is being saved"};
	const struct wire_bytes rules = {shim->network.rules, shim->network.rules_n};
	struct wire_shim_networked networked = {.change = shim->network_change, .ok = !err};
	char document[SHIM_TOKEN_MAX + 32];
	char *request, *authority = network_authority(&rules);
	bool is_news =
		shim->network.keeper && (!shim->has_network || (authority && !shim->has_authority));
	size_t n;

	/* Nothing is said to a guest that is brought to rest; the order comes again. */
	if (!err && is_news && shim->save.step != SHIM_SAVE_NONE)
		err = &being_saved;
	if (err || !is_news) {
		free(authority);
		if (err)
			snprintf(networked.detail, sizeof(networked.detail), "%.128s", err->text);
		control_send(&shim->control, &wire_shape_shim_networked, &networked);
		return;
	}
	shim->has_network = true;
	shim->has_authority |= authority != NULL;
	/* A token is letters and digits; one that a guest was never given says nothing. */
	snprintf(document, sizeof(document), "{\"accessToken\":\"%s\"}", shim->token);
	request = shim_request_init(document, strlen(document), NULL, true, authority, NULL, NULL,
				    &n);
	free(authority);
	CHECK(request);
	channel_ask(&shim->channel, request, n, CHANNEL_STATUS, on_network_told, shim);
	free(request);
}

static void on_network(void *arg, const struct wire_shim_network *network)
{
	struct shim *shim = arg;
	const struct wire_shim_networked no = {.change = network->change,
					       .detail = "it runs for no sandbox"};

	if (shim->status.state != WIRE_SHIM_CLAIMED || shim->is_ending) {
		control_send(&shim->control, &wire_shape_shim_networked, &no);
		return;
	}
	shim->network_change = network->change;
	network_set(&shim->network, network->egress_host, &network->egress, on_network_changed);
}

int shim_life_open(struct shim *shim, struct err *err)
{
	const struct control_callbacks callbacks = {on_agent, on_claim,   on_deadline_order,
						    on_lease, on_kill,    on_ask,
						    on_save,  on_network, shim};

	shim->status.vm = shim->config.vm;
	shim->status.state = WIRE_SHIM_RESTORING;
	shim->emulator.on_exit = on_emulator_exit;
	shim->emulator.arg = shim;
	uv_timer_init(&shim->loop, &shim->watchdog);
	uv_timer_init(&shim->loop, &shim->record_retry);
	shim_observe_open(shim);
	shim->network.loop = &shim->loop;
	shim->network.qmp = &shim->qmp;
	shim->network.arg = shim;
	shim->network.was_saved = shim_is_resumed(shim);
	network_open(&shim->network);
	shim->watchdog.data = shim->record_retry.data = shim;
	shim->deadline_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (shim->deadline_fd < 0)
		return err_errno(err, errno, "timerfd");
	shim->deadline.data = shim;
	if (uv_poll_init(&shim->loop, &shim->deadline, shim->deadline_fd) ||
	    uv_poll_start(&shim->deadline, UV_READABLE, on_deadline))
		return err_set(err, "timerfd: cannot be watched");
	if (shim_lease_open(shim, err) || shim_save_open(shim, err))
		return -1;
	if (shim->config.purpose == VM_PURPOSE_TEMPLATE)
		return 0;
	shim->has_control = true;
	return control_open(&shim->control, &shim->loop, SHIM_CONTROL_FD, &callbacks, err);
}
