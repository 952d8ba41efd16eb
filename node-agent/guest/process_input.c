/* Input of processes: written as the pipe or the terminal takes it, in the order in which it was
 * sent. */
#include "node-agent/guest/process.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "node-agent/guest/base64.h"
#include "node-agent/guest/guest.h"

static void on_writable(uv_poll_t *poll, int status, int events);

void process_input_open(struct process *process, int fd)
{
	process->input_fd = fd;
	if (fd < 0)
		return;
	uv_poll_init(&process->table->guest->loop, &process->input_poll, fd);
	process->input_poll.data = process;
	process->handles_n++;
}

static void wait_forget(struct process_wait *wait)
{
	struct process_wait **at = &wait->process->inputs;

	while (*at != wait)
		at = &(*at)->next;
	*at = wait->next;
	free(wait->input);
	free(wait);
}

/* The first one of the queue is done with. */
static void first_tell(struct process *process, const char *refusal)
{
	struct process_wait *first = process->inputs;
	process_input_fn *on_written = first->on_written;
	struct conn *conn = first->conn;
	void *user = first->user;

	conn->work_ops = NULL;
	wait_forget(first);
	on_written(conn, user, refusal);
}

void process_input_close(struct process *process)
{
	if (process->input_fd >= 0) {
		uv_close((uv_handle_t *)&process->input_poll, process_handle_closed);
		close(process->input_fd);
		process->input_fd = -1;
	}
	while (process->inputs)
		first_tell(process, "the process reads no more");
}

/* Writes what the pipe takes. */
static void write_some(struct process *process)
{
	while (process->inputs && process->input_fd >= 0) {
		struct process_wait *first = process->inputs;
		size_t left_n = first->input_n - first->input_at;
		ssize_t n =
			left_n ? write(process->input_fd, first->input + first->input_at, left_n)
			       : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			uv_poll_start(&process->input_poll, UV_WRITABLE, on_writable);
			return;
		}
		if (n < 0) {
			process_input_close(process);
			return;
		}
		first->input_at += (size_t)n;
		if (first->input_at == first->input_n)
			first_tell(process, NULL);
	}
	if (process->input_fd < 0)
		return;
	uv_poll_stop(&process->input_poll);
	if (process->input_is_closing)
		process_input_close(process);
}

static void on_writable(uv_poll_t *poll, int status, int events)
{
	(void)status; /* an error shows itself in write() */
	(void)events;
	write_some(poll->data);
}

/* What a client that left had not yet got written is not written. */
static void on_gone(struct conn *conn)
{
	struct process_wait *wait = conn->work;

	free(wait->user);
	wait_forget(wait);
}

const char *process_input_refusal(const struct process *process, bool is_pty)
{
	if (is_pty && !process->has_terminal)
		return "tty not assigned to process — input should be written to the stdin, not "
		       "the tty";
	if (!is_pty && process->has_terminal)
		return "tty assigned to process — input should be written to the pty, not the "
		       "stdin";
	if (process->input_fd < 0 || process->input_is_closing)
		return is_pty ? "the process reads no more" : "stdin not enabled or closed";
	return NULL;
}

const char *process_input_add(struct process *process, struct conn *conn, json_t *text,
			      process_input_fn *on_written, void *user)
{
	static const struct work_ops ops = {.on_gone = on_gone};
	struct http_text coded = {json_string_value(text), json_string_length(text)};
	struct process_wait *wait = calloc(1, sizeof(*wait));
	struct process_wait **at = &process->inputs;
	char *bytes = malloc(coded.n + 3);
	const char *refusal = NULL;
	size_t bytes_n = 0;

	if (!wait || !bytes)
		refusal = "no memory";
	else if (!base64_decode(coded, bytes, &bytes_n))
		refusal = "base64 is wanted";
	if (refusal) {
		free(wait);
		free(bytes);
		return refusal;
	}
	*wait = (struct process_wait){
		.process = process,
		.conn = conn,
		.input = bytes,
		.input_n = bytes_n,
		.on_written = on_written,
		.user = user,
	};
	while (*at)
		at = &(*at)->next;
	*at = wait;
	conn->work = wait;
	conn->work_ops = &ops;
	if (process->inputs == wait)
		write_some(process);
	return NULL;
}

void process_input_end(struct process *process)
{
	process->input_is_closing = true;
	if (!process->inputs)
		process_input_close(process);
}
