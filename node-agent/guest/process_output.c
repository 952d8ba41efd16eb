/* The output of processes, on its way from their pipes to their subscribers: see process.h. */
#include "node-agent/guest/process.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "node-agent/guest/guest.h"

enum { READS_PER_EVENT = 4 }; /* then others get their turn */

static void on_readable(uv_poll_t *poll, int status, int events);

void process_output_open(struct process *process, enum process_output_kind kind, int fd)
{
	struct process_output *output = &process->outputs[kind];

	output->process = process;
	output->fd = fd;
	if (fd < 0)
		return;
	uv_poll_init(&process->table->guest->loop, &output->poll, fd);
	output->poll.data = process;
	process->handles_n++;
	output->is_polled = !uv_poll_start(&output->poll, UV_READABLE, on_readable);
}

void process_output_close(struct process_output *output)
{
	if (output->fd < 0)
		return;
	uv_close((uv_handle_t *)&output->poll, process_handle_closed);
	close(output->fd);
	output->fd = -1;
}

static void hold(struct process_output *output)
{
	uv_poll_stop(&output->poll);
	output->is_polled = false;
}

static enum process_output_kind kind_of(const struct process_output *output)
{
	return (enum process_output_kind)(output - output->process->outputs);
}

/* What one event may carry now; 0 when a subscriber has no room. */
static size_t read_max(const struct process_output *output)
{
	size_t room = process_subscribers_room(output->process);
	size_t most = kind_of(output) == PROCESS_PTY ? PROCESS_TERMINAL_MAX : PROCESS_OUTPUT_MAX;

	if (room < PROCESS_ROOM_MIN)
		return 0;
	return room < most ? room : most;
}

static bool is_late(const struct process_output *output)
{
	return output->process->is_cut && output->process->state == PROCESS_DRAINING;
}

/*
 * A process that was ended by a signal is not kept alive by those who inherited its pipes: what is
 * already written is read, nothing more is waited for.
 */
static bool is_over(const struct process_output *output)
{
	struct pollfd pending = {.fd = output->fd, .events = POLLIN};

	if (!is_late(output))
		return false;
	return output->late_n >= PROCESS_LATE_MAX || poll(&pending, 1, 0) <= 0 ||
	       !(pending.revents & POLLIN);
}

static void drain(struct process_output *output)
{
	/* Used up before anything else can be called. */
	static char bytes[PROCESS_OUTPUT_MAX];
	struct process *process = output->process;

	for (int i = 0; i < READS_PER_EVENT && output->fd >= 0; i++) {
		size_t max = read_max(output);
		ssize_t n;

		if (!max) {
			hold(output);
			process_subscribers_stall(process);
			return;
		}
		n = read(output->fd, bytes, max);
		if (n > 0) {
			output->late_n += is_late(output) ? (size_t)n : 0;
			logbook_output(&process->table->guest->logbook, process->pid,
				       kind_of(output) == PROCESS_STDERR, bytes, (size_t)n);
			process_subscribers_send(process, kind_of(output), bytes, (size_t)n);
		} else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			break;
		} else {
			process_output_close(output);
		}
	}
	if (output->fd >= 0 && is_over(output))
		process_output_close(output);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct process *process = poll->data;
	struct process_output *output = process->outputs;

	(void)status; /* an error shows itself in read() */
	(void)events;
	while (&output->poll != poll)
		output++;
	drain(output);
	process_settle(process);
}

void process_output_resume(struct process *process)
{
	for (int i = 0; i < PROCESS_OUTPUTS_N; i++) {
		struct process_output *output = &process->outputs[i];

		if (output->fd < 0)
			continue;
		if (is_over(output))
			process_output_close(output);
		else if (!output->is_polled)
			output->is_polled = !uv_poll_start(&output->poll, UV_READABLE, on_readable);
	}
	process_settle(process);
}
