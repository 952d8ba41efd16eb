/* What an agent says, taken apart. See control.h. */
#include "node-agent/shim/control.h"

#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_freed(uv_handle_t *handle)
{
	free(handle);
}

/* A message that does not decode costs the agent its connection: the two do not understand each
 * other, and it will find out by reading the status again. */
static void on_message(void *arg, const struct wire_shape *shape, const struct wire_bytes *body)
{
	struct control *control = arg;
	const struct control_callbacks *tell = &control->callbacks;
	union {
		struct wire_shim_claim claim;
		struct wire_shim_deadline deadline;
		struct wire_shim_lease lease;
		struct wire_shim_kill kill;
		struct wire_shim_ask ask;
		struct wire_shim_save save;
		struct wire_shim_network network;
	} message;
	struct wire_arena no_lists = {NULL, 0, 0};

	if (shape != &wire_shape_shim_claim && shape != &wire_shape_shim_deadline &&
	    shape != &wire_shape_shim_lease && shape != &wire_shape_shim_kill &&
	    shape != &wire_shape_shim_ask && shape != &wire_shape_shim_save &&
	    shape != &wire_shape_shim_network)
		return;
	if (wire_decode(shape, body->data, body->n, &no_lists, &message, NULL))
		wire_stream_close(&control->agent);
	else if (shape == &wire_shape_shim_claim)
		tell->on_claim(tell->arg, &message.claim);
	else if (shape == &wire_shape_shim_deadline)
		tell->on_deadline(tell->arg, message.deadline.end_mono_ns);
	else if (shape == &wire_shape_shim_lease)
		tell->on_lease(tell->arg, message.lease.lease_mono_ns);
	else if (shape == &wire_shape_shim_kill)
		tell->on_kill(tell->arg, message.kill.cause);
	else if (shape == &wire_shape_shim_save)
		tell->on_save(tell->arg, &message.save);
	else if (shape == &wire_shape_shim_network)
		tell->on_network(tell->arg, &message.network);
	else
		tell->on_ask(tell->arg);
}

static void on_closed(void *arg, const struct err *why)
{
	(void)arg;
	(void)why; /* agents come and go */
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct control *control = listener->data;
	const struct wire_stream_callbacks callbacks = {on_message, on_closed, control};
	uv_pipe_t *pipe;

	if (status < 0 || !control)
		return;
	pipe = malloc(sizeof(*pipe));
	CHECK(pipe);
	uv_pipe_init(listener->loop, pipe, 0);
	if (uv_accept(listener, (uv_stream_t *)pipe)) {
		uv_close((uv_handle_t *)pipe, on_freed);
		return;
	}
	wire_stream_close(&control->agent);
	wire_stream_open(&control->agent, pipe, &callbacks);
	control->callbacks.on_agent(control->callbacks.arg);
}

int control_open(struct control *control, uv_loop_t *loop, int fd,
		 const struct control_callbacks *callbacks, struct err *err)
{
	int status;

	memset(control, 0, sizeof(*control));
	control->callbacks = *callbacks;
	control->listener = malloc(sizeof(*control->listener));
	CHECK(control->listener);
	uv_pipe_init(loop, control->listener, 0);
	control->listener->data = control;
	status = uv_pipe_open(control->listener, fd);
	if (status)
		close(fd);
	else
		status = uv_listen((uv_stream_t *)control->listener, 4, on_connection);
	return status ? err_set(err, "control socket: %s", uv_strerror(status)) : 0;
}

void control_send(struct control *control, const struct wire_shape *shape, const void *message)
{
	wire_stream_send(&control->agent, shape, message);
}

bool control_has_agent(const struct control *control)
{
	return wire_stream_is_open(&control->agent);
}

void control_close(struct control *control)
{
	wire_stream_close(&control->agent);
	if (control->listener) {
		control->listener->data = NULL;
		uv_close((uv_handle_t *)control->listener, on_freed);
	}
	control->listener = NULL;
}
