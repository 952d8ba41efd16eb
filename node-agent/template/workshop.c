/* The machine's side. See workshop.h. */
#include "node-agent/template/workshop.h"

#include "common/base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	BOOT_LIMIT_MS = 150 * 1000,
	ORDER_LIMIT_MS = 60 * 1000,
	SAVE_LIMIT_MS = 60 * 1000,
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void fail(struct workshop *workshop, const char *problem)
{
	if (workshop->is_broken)
		return;
	workshop->is_broken = true;
	err_set(&workshop->fault, "the guest broke the protocol: %.200s", problem);
}

/* ---- waiting ---- */

static void on_timer(uv_timer_t *timer)
{
	struct workshop *workshop = timer->data;

	workshop->is_late = true;
}

static int explain_end(struct workshop *workshop, struct err *err)
{
	const struct emulator *emulator = &workshop->emulator;
	char how[48];

	if (emulator->is_out_of_memory)
		return err_set(err, "the microVM ran out of memory");
	if (emulator->panic[0])
		return err_set(err, "the microVM's kernel panicked: %s", emulator->panic);
	emulator_describe_exit(emulator, how, sizeof(how));
	return err_set(err, "the microVM ended: %s", how);
}

int workshop_wait(struct workshop *workshop, const bool *flag, int64_t limit_ms, bool may_pass,
		  struct err *err)
{
	int64_t left = workshop->end_ms - now_ms();
	bool is_last = left < limit_ms;

	if (is_last)
		limit_ms = left > 0 ? left : 0;
	workshop->is_late = false;
	uv_timer_start(&workshop->timer, on_timer, (uint64_t)limit_ms, 0);
	while (!*flag && !workshop->is_gone && !workshop->is_broken && !workshop->is_late)
		uv_run(&workshop->loop, UV_RUN_ONCE);
	uv_timer_stop(&workshop->timer);
	if (*flag)
		return 0;
	if (workshop->is_broken)
		return err_set(err, "%s", workshop->fault.text);
	if (workshop->is_gone)
		return explain_end(workshop, err);
	if (is_last)
		return err_set(err, "the build took longer than it may");
	return may_pass
		       ? 0
		       : err_set(err, "the microVM did not answer in %d s", (int)(limit_ms / 1000));
}

/* ---- the guest's stream ---- */

static void take_input(struct workshop *workshop)
{
	struct mux_event event;

	while (!workshop->is_broken && mux_next(workshop->mux, &event)) {
		if (event.kind == MUX_READY)
			workshop->is_ready = true;
		else if (event.kind == MUX_BROKEN)
			fail(workshop, event.problem);
		else if (event.owner)
			guest_call_event(event.owner, &event);
	}
	if (!workshop->is_broken && workshop->pipe)
		mux_link_flush(&workshop->link);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct workshop *workshop = handle->data;

	(void)suggested;
	*buf = uv_buf_init((char *)workshop->input, sizeof(workshop->input));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct workshop *workshop = stream->data;

	(void)buf;
	if (n < 0)
		uv_read_stop(stream); /* QEMU is going; its exit says more */
	if (n <= 0)
		return;
	mux_feed(workshop->mux, workshop->input, (size_t)n);
	take_input(workshop);
}

static void on_room(struct mux_link *link)
{
	take_input(link->arg);
}

static void on_link_fault(struct mux_link *link, int error)
{
	(void)link;
	(void)error; /* as above */
}

static int attach(struct workshop *workshop, struct err *err)
{
	const struct mux_config config = {
		.initiator = true, .open_max = 16, .output_max = 256 * 1024};
	int status;

	workshop->mux = mux_create(&config);
	workshop->pipe = malloc(sizeof(*workshop->pipe));
	CHECK(workshop->mux && workshop->pipe);
	uv_pipe_init(&workshop->loop, workshop->pipe, 0);
	workshop->pipe->data = workshop;
	workshop->link = (struct mux_link){.mux = workshop->mux,
					   .stream = (uv_stream_t *)workshop->pipe,
					   .on_room = on_room,
					   .on_fault = on_link_fault,
					   .arg = workshop};
	status = uv_pipe_open(workshop->pipe, workshop->emulator.mux_fd);
	if (status)
		close(workshop->emulator.mux_fd);
	else
		status = uv_read_start((uv_stream_t *)workshop->pipe, on_alloc, on_read);
	if (status)
		return err_set(err, "the guest's channel: %s", uv_strerror(status));
	mux_link_flush(&workshop->link);
	return 0;
}

/* ---- QEMU ---- */

static void on_exit_of_qemu(void *arg)
{
	struct workshop *workshop = arg;

	workshop->is_gone = true;
}

static void on_qmp_event(void *arg, const struct qmp_message *event)
{
	struct workshop *workshop = arg;

	if (event->event != QMP_EVENT_MIGRATION)
		return;
	if (strcmp(event->status, "completed") == 0)
		workshop->is_migrated = true;
	else if (strcmp(event->status, "failed") == 0) {
		workshop->is_broken = true;
		err_set(&workshop->fault, "QEMU could not save the snapshot");
	}
}

static void on_qmp_closed(void *arg, const struct err *why)
{
	(void)arg;
	(void)why; /* its exit follows */
}

struct order {
	bool is_answered;
	bool is_refused;
	struct err why;
};

static void on_answer(void *arg, const struct qmp_message *answer, const struct err *err)
{
	struct order *order = arg;

	(void)answer;
	order->is_answered = true;
	order->is_refused = err != NULL;
	if (err)
		order->why = *err;
}

static int order_wait(struct workshop *workshop, const struct order *order, struct err *err)
{
	if (workshop_wait(workshop, &order->is_answered, ORDER_LIMIT_MS, false, err))
		return -1;
	return order->is_refused ? err_set(err, "QEMU: %s", order->why.text) : 0;
}

int workshop_order(struct workshop *workshop, const char *command, const char *arguments,
		   struct err *err)
{
	/* Not on the stack: if we give up first, the answer may still come. */
	static struct order order;

	order = (struct order){0};
	qmp_send(&workshop->qmp, command, arguments, on_answer, &order);
	return order_wait(workshop, &order, err);
}

static const char capabilities[] =
	"{\"capabilities\":[{\"capability\":\"x-ignore-shared\",\"state\":true},"
	"{\"capability\":\"events\",\"state\":true}]}";

int workshop_save(struct workshop *workshop, struct err *err)
{
	static struct order order;

	order = (struct order){0};
	if (workshop_order(workshop, "stop", NULL, err) ||
	    workshop_order(workshop, "migrate-set-capabilities", capabilities, err) ||
	    qmp_send_fd(&workshop->qmp, "getfd", "{\"fdname\":\"state\"}", workshop->state_fd,
			on_answer, &order, err) ||
	    order_wait(workshop, &order, err) ||
	    workshop_order(workshop, "migrate", "{\"uri\":\"fd:state\"}", err))
		return -1;
	return workshop_wait(workshop, &workshop->is_migrated, SAVE_LIMIT_MS, false, err);
}

static int start(struct workshop *workshop, struct vm_launch *launch, const char *dir,
		 struct err *err)
{
	const struct qmp_callbacks callbacks = {on_qmp_event, on_qmp_closed, workshop};

	workshop->emulator.on_exit = on_exit_of_qemu;
	workshop->emulator.arg = workshop;
	if (emulator_start(&workshop->emulator, &workshop->loop, launch, dir, workshop->state_fd,
			   err))
		return -1;
	workshop->is_started = true;
	if (qmp_open(&workshop->qmp, &workshop->loop, workshop->emulator.qmp_fd, &callbacks, err))
		return -1;
	workshop->has_qmp = true;
	return attach(workshop, err);
}

int workshop_open(struct workshop *workshop, struct vm_launch *launch, const char *dir,
		  const char *state_path, int64_t limit_ms, struct err *err)
{
	memset(workshop, 0, sizeof(*workshop));
	CHECK(uv_loop_init(&workshop->loop) == 0);
	uv_timer_init(&workshop->loop, &workshop->timer);
	workshop->timer.data = workshop;
	workshop->end_ms = now_ms() + limit_ms;
	workshop->state_fd = open(state_path ? state_path : "/dev/null",
				  O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (workshop->state_fd < 0)
		return err_errno(err, errno, "%s", state_path ? state_path : "/dev/null");
	if (start(workshop, launch, dir, err) ||
	    workshop_order(workshop, "set_link", "{\"name\":\"" VM_NETWORK_CARD "\",\"up\":false}",
			   err) ||
	    workshop_order(workshop, "cont", NULL, err))
		return -1;
	return workshop_wait(workshop, &workshop->is_ready, BOOT_LIMIT_MS, false, err);
}

static void on_networked(void *arg, const struct err *err)
{
	struct workshop *workshop = arg;

	workshop->is_networked = true;
	if (err) {
		workshop->is_broken = true;
		workshop->fault = *err;
	}
}

int workshop_network(struct workshop *workshop, const char *host, struct err *err)
{
	static const struct wire_egress all; /* nothing is denied that is not barred anyway */
	uint8_t bytes[64];
	struct wire_bytes rules = {bytes, 0};

	if (wire_egress_encode(&all, bytes, sizeof(bytes), &rules.n, err))
		return -1;
	workshop->network.loop = &workshop->loop;
	workshop->network.qmp = &workshop->qmp;
	workshop->network.arg = workshop;
	network_open(&workshop->network);
	workshop->has_network = true;
	network_set(&workshop->network, host, &rules, on_networked);
	if (workshop_wait(workshop, &workshop->is_networked, ORDER_LIMIT_MS, false, err))
		return -1;
	return workshop->is_broken ? err_set(err, "%s", workshop->fault.text) : 0;
}

int workshop_shut(struct workshop *workshop, struct err *err)
{
	static struct order order;

	order = (struct order){0};
	qmp_send(&workshop->qmp, "quit", NULL, on_answer, &order);
	while (!workshop->is_gone)
		if (workshop_wait(workshop, &workshop->is_gone, ORDER_LIMIT_MS, false, err))
			return -1;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

void workshop_close(struct workshop *workshop)
{
	if (workshop->has_network)
		network_end(&workshop->network);
	/* Its end takes its consoles and its watch out of the loop. */
	if (workshop->is_started) {
		emulator_kill(&workshop->emulator);
		while (!workshop->is_gone)
			uv_run(&workshop->loop, UV_RUN_ONCE);
	}
	if (workshop->has_network)
		network_close(&workshop->network);
	if (workshop->has_qmp)
		qmp_close(&workshop->qmp);
	if (workshop->pipe)
		uv_close((uv_handle_t *)workshop->pipe, on_closed);
	workshop->pipe = NULL;
	uv_close((uv_handle_t *)&workshop->timer, NULL);
	uv_run(&workshop->loop, UV_RUN_DEFAULT);
	uv_loop_close(&workshop->loop);
	if (workshop->mux)
		mux_destroy(workshop->mux);
	if (workshop->state_fd >= 0)
		close(workshop->state_fd);
}
