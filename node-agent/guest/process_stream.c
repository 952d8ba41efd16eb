/* E2B's StreamInput: input for a process in as many pieces as its client likes, in one call. */
#include <stdlib.h>

#include "node-agent/guest/connect.h"
#include "node-agent/guest/guest.h"
#include "node-agent/guest/routes.h"

/* The work of the call between its messages; while one is being written the input holds it. */
struct input_stream {
	uint64_t number;  /* of the process; 0: no start yet */
	bool is_handling; /* inside on_data: what is written at once needs no resuming */
};

static void on_gone(struct conn *conn)
{
	free(conn->work);
}

static void keep(struct conn *conn, struct input_stream *stream)
{
	static const struct work_ops ops = {.on_gone = on_gone};

	conn->work = stream;
	conn->work_ops = &ops;
}

static void refuse(struct conn *conn, struct input_stream *stream, enum connect_code code,
		   const char *purpose, const char *refusal)
{
	free(stream);
	conn->work_ops = NULL;
	connect_refuse(conn, code, "%s: %s", purpose, refusal);
}

static void on_written(struct conn *conn, void *user, const char *refusal)
{
	struct input_stream *stream = user;
	bool is_handling = stream->is_handling;

	stream->is_handling = false;
	if (refusal)
		refuse(conn, stream, CONNECT_FAILED_PRECONDITION, "error writing input", refusal);
	else
		keep(conn, stream);
	if (is_handling)
		conn->is_held = false;
	else
		connect_resume(conn);
}

static void on_start(struct conn *conn, struct input_stream *stream, json_t *start)
{
	struct process *process;

	conn->work_ops = NULL;
	process = process_select_living(conn, start);
	if (!process) {
		free(stream);
		return;
	}
	stream->number = process->number;
	keep(conn, stream);
}

static void on_data(struct conn *conn, struct input_stream *stream, json_t *data)
{
	struct process *process = process_find_number(&conn->guest->processes, stream->number);
	const char *refusal;
	json_t *text;
	bool is_pty;

	text = process_input_read(data, &is_pty);
	if (!process) {
		refuse(conn, stream, CONNECT_NOT_FOUND, "data",
		       stream->number ? "the process has ended" : "start is wanted first");
		return;
	}
	if (!text) {
		refuse(conn, stream, CONNECT_UNIMPLEMENTED, "input",
		       "stdin or pty is wanted, as base64");
		return;
	}
	refusal = process_input_refusal(process, is_pty);
	if (refusal) {
		refuse(conn, stream, CONNECT_FAILED_PRECONDITION,
		       is_pty ? "error writing to tty" : "error writing to stdin", refusal);
		return;
	}
	connect_pause(conn);
	stream->is_handling = true;
	refusal = process_input_add(process, conn, text, on_written, stream);
	if (refusal) {
		conn->is_held = false;
		refuse(conn, stream, CONNECT_INVALID_ARGUMENT, "input", refusal);
	} else if (conn->is_held) {
		stream->is_handling = false;
	}
}

static json_t *present(json_t *message, const char *name)
{
	json_t *value = json_object_get(message, name);

	return json_is_null(value) ? NULL : value;
}

static struct input_stream *stream_of(struct conn *conn)
{
	struct input_stream *stream = conn->work_ops ? conn->work : calloc(1, sizeof(*stream));

	if (stream)
		keep(conn, stream);
	else
		connect_refuse(conn, CONNECT_RESOURCE_EXHAUSTED, "no memory");
	return stream;
}

void process_stream_input(struct conn *conn, json_t *message)
{
	struct input_stream *stream = stream_of(conn);
	json_t *start = present(message, "start"), *data = present(message, "data");

	if (!stream)
		return;
	if (!message) {
		free(stream);
		connect_answer(conn, json_object());
	} else if (start) {
		on_start(conn, stream, start);
	} else if (data) {
		on_data(conn, stream, data);
	} else if (!present(message, "keepalive")) {
		refuse(conn, stream, CONNECT_UNIMPLEMENTED, "message",
		       "start, data or keepalive is wanted");
	}
}
