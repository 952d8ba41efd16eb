/* E2B's process.Process over Connect: what is asked of a process that runs.  The texts are those of
 * E2B's daemon. */
#include <signal.h>
#include <sys/ioctl.h>

#include "node-agent/guest/connect.h"
#include "node-agent/guest/guest.h"
#include "node-agent/guest/process.h"
#include "node-agent/guest/routes.h"

static void refuse_unknown(struct conn *conn, pid_t pid, const char *tag)
{
	if (tag)
		connect_refuse(conn, CONNECT_NOT_FOUND, "process with tag %s not found", tag);
	else
		connect_refuse(conn, CONNECT_NOT_FOUND, "process with pid %d not found", pid);
}

struct process *process_select(struct conn *conn, json_t *request)
{
	struct process *process;
	const char *problem, *tag;
	pid_t pid;

	problem = process_selector_read(request, &pid, &tag);
	if (problem) {
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "%s", problem);
		return NULL;
	}
	if (!tag && pid < 0) {
		connect_refuse(conn, CONNECT_UNIMPLEMENTED, "process: a pid or a tag is wanted");
		return NULL;
	}
	process = process_find(&conn->guest->processes, pid, tag);
	if (!process)
		refuse_unknown(conn, pid, tag);
	return process;
}

struct process *process_select_living(struct conn *conn, json_t *request)
{
	struct process *process = process_select(conn, request);

	if (process && process->state == PROCESS_ENDED) {
		refuse_unknown(conn, process->pid, NULL);
		return NULL;
	}
	return process;
}

static void on_written(struct conn *conn, void *user, const char *refusal)
{
	(void)user;
	if (refusal)
		connect_refuse(conn, CONNECT_FAILED_PRECONDITION, "error writing input: %s",
			       refusal);
	else
		connect_answer(conn, json_object());
	conn_flush(conn);
}

void process_send_input(struct conn *conn, json_t *request)
{
	struct process *process = process_select_living(conn, request);
	const char *refusal;
	json_t *text;
	bool is_pty;

	if (!process)
		return;
	text = process_input_read(request, &is_pty);
	if (!text) {
		connect_refuse(conn, CONNECT_UNIMPLEMENTED,
			       "input: stdin or pty is wanted, as base64");
		return;
	}
	refusal = process_input_refusal(process, is_pty);
	if (refusal) {
		connect_refuse(conn, CONNECT_FAILED_PRECONDITION, "error writing to %s: %s",
			       is_pty ? "tty" : "stdin", refusal);
		return;
	}
	refusal = process_input_add(process, conn, text, on_written, NULL);
	if (refusal)
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "input: %s", refusal);
}

void process_close_stdin(struct conn *conn, json_t *request)
{
	struct process *process = process_select_living(conn, request);

	if (!process)
		return;
	if (process->has_terminal) {
		connect_refuse(conn, CONNECT_FAILED_PRECONDITION,
			       "error closing stdin: cannot close stdin for PTY process — send "
			       "Ctrl+D (0x04) instead");
		return;
	}
	process_input_end(process);
	connect_answer(conn, json_object());
}

void process_send_signal(struct conn *conn, json_t *request)
{
	struct process *process = process_select_living(conn, request);
	int number = process_signal_read(request);

	if (!process)
		return;
	if (!number)
		connect_refuse(conn, CONNECT_UNIMPLEMENTED,
			       "invalid signal: SIGNAL_SIGKILL or SIGNAL_SIGTERM is wanted");
	else
		process_signal(process, number, conn);
}

void process_update(struct conn *conn, json_t *request)
{
	struct process *process = process_select_living(conn, request);
	struct winsize size;
	const char *problem;
	bool has_pty;

	if (!process)
		return;
	problem = process_pty_read(request, &has_pty, &size);
	if (problem)
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "%s", problem);
	else if (has_pty && !process->has_terminal)
		connect_refuse(conn, CONNECT_INTERNAL,
			       "error resizing tty: tty not assigned to process");
	else if (has_pty && ioctl(process->outputs[PROCESS_PTY].fd, TIOCSWINSZ, &size))
		connect_refuse(conn, CONNECT_FAILED_PRECONDITION,
			       "error resizing tty: the process has ended");
	else
		connect_answer(conn, json_object());
}
