/* Input of processes: written as the pipe takes it, in the order in which it was sent. */
#include "node-agent/guest/process.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "node-agent/guest/connect.h"
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

/* Takes the first one off the queue, and gives back whom to answer. */
static struct conn *first_take(struct process *process)
{
	struct process_wait *first = process->inputs;
	struct conn *conn = first->conn;

	process->inputs = first->next;
	free(first->input);
	free(first);
	return conn;
}

void process_input_close(struct process *process)
{
	if (process->input_fd >= 0) {
		uv_close((uv_handle_t *)&process->input_poll, process_handle_closed);
		close(process->input_fd);
		process->input_fd = -1;
	}
	while (process->inputs) {
		struct conn *conn = first_take(process);

		connect_refuse(conn, CONNECT_FAILED_PRECONDITION, "the process reads no more");
		conn_flush(conn);
	}
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
		if (first->input_at == first->input_n) {
			struct conn *conn = first_take(process);

			conn_answer_json(conn, 200, json_object());
			conn_flush(conn);
		}
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
	struct process_wait **at = &wait->process->inputs;

	while (*at != wait)
		at = &(*at)->next;
	*at = wait->next;
	free(wait->input);
	free(wait);
}

void process_input_add(struct process *process, struct conn *conn, char *bytes, size_t bytes_n)
{
	static const struct work_ops ops = {.on_gone = on_gone};
	struct process_wait *wait = calloc(1, sizeof(*wait));
	struct process_wait **at = &process->inputs;

	if (!wait) {
		free(bytes);
		connect_refuse(conn, CONNECT_RESOURCE_EXHAUSTED, "no memory");
		return;
	}
	*wait = (struct process_wait){process, conn, NULL, bytes, 0, bytes_n};
	while (*at)
		at = &(*at)->next;
	*at = wait;
	conn->work = wait;
	conn->work_ops = &ops;
	if (process->inputs == wait)
		write_some(process);
}

void process_input_end(struct process *process)
{
	process->input_is_closing = true;
	if (!process->inputs)
		process_input_close(process);
}
