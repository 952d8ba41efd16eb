/* The life of processes: see process.h. */
#include "node-agent/guest/process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/check.h"
#include "node-agent/guest/guest.h"

static void process_free(struct process *process)
{
	json_decref(process->config);
	free(process->tag);
	free(process);
}

void process_handle_closed(uv_handle_t *handle)
{
	struct process *process = handle->data;

	if (!--process->handles_n && !process->is_listed)
		process_free(process);
}

/* Off the table.  It ends when the last of its handles has. */
static void process_remove(struct process *process)
{
	struct process **at = &process->table->first;

	while (*at != process)
		at = &(*at)->next;
	*at = process->next;
	process->table->n--;
	process->is_listed = false;
	uv_close((uv_handle_t *)&process->timer, process_handle_closed);
	uv_close((uv_handle_t *)&process->signal_timer, process_handle_closed);
}

static void process_forget(struct process *process)
{
	process_subscribers_drop(process);
	process_remove(process);
}

static void on_kept_long_enough(uv_timer_t *timer)
{
	process_forget(timer->data);
}

bool process_table_has_room(struct process_table *table)
{
	struct process *oldest = NULL;

	if (table->n < PROCESSES_MAX)
		return true;
	for (struct process *at = table->first; at; at = at->next)
		if (at->state == PROCESS_ENDED)
			oldest = at; /* the newest are first */
	if (oldest)
		process_forget(oldest);
	return oldest;
}

static void on_deadline(uv_timer_t *timer)
{
	struct process *process = timer->data;

	process_subscribers_expire(process);
	process_signal(process, SIGKILL, NULL);
}

void process_settle(struct process *process)
{
	for (int i = 0; i < PROCESS_OUTPUTS_N; i++)
		if (process->outputs[i].fd >= 0)
			return;
	if (process->state != PROCESS_DRAINING)
		return;
	process->state = PROCESS_ENDED;
	uv_timer_start(&process->timer, on_kept_long_enough, PROCESS_KEPT_MS, 0);
	process_subscribers_end(process);
}

static void held_close(struct process *process)
{
	if (process->held_fd >= 0)
		close(process->held_fd);
	process->held_fd = -1;
}

static void process_ended(struct process *process, int status)
{
	process->status = status;
	process->state = PROCESS_DRAINING;
	logbook_ended(&process->table->guest->logbook, process->pid, status);
	/* The kernel hangs a terminal up when the leader of its session ends: nobody can write to
	 * it any more, though somebody may hold it. */
	process->is_cut |= process->has_terminal;
	held_close(process);
	process_input_close(process);
	process_signal_answer(process);
	process_output_resume(process);
}

/* Reaps every child there is: as process 1 we inherit those whose parents have gone. */
static void on_child(uv_signal_t *handle, int number)
{
	struct process_table *table = handle->data;
	int status;
	pid_t pid;

	(void)number;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct process *process = process_find(table, pid, NULL);

		if (process && process->state == PROCESS_RUNNING)
			process_ended(process, status);
	}
}

int process_table_open(struct process_table *table, struct guest *guest)
{
	*table = (struct process_table){.guest = guest};
	if (uv_signal_init(&guest->loop, &table->child_signal))
		return -1;
	table->child_signal.data = table;
	return uv_signal_start(&table->child_signal, on_child, SIGCHLD) ? -1 : 0;
}

void process_table_close(struct process_table *table)
{
	while (table->first) {
		struct process *process = table->first;

		if (process->state == PROCESS_RUNNING)
			kill(-process->pid, SIGKILL);
		held_close(process);
		process_input_close(process);
		for (int i = 0; i < PROCESS_OUTPUTS_N; i++)
			process_output_close(&process->outputs[i]);
		process_remove(process);
	}
	uv_close((uv_handle_t *)&table->child_signal, NULL);
}

struct process *process_add(struct process_table *table, pid_t pid, const struct ends *ends,
			    json_t *config, const char *tag, uint64_t deadline_ms)
{
	struct process *process;

	process = table->n < PROCESSES_MAX ? calloc(1, sizeof(*process)) : NULL;
	if (!process)
		return NULL;
	if (tag && !(process->tag = strdup(tag))) {
		free(process);
		return NULL;
	}
	process->table = table;
	process->pid = pid;
	process->number = ++table->numbers_n;
	process->has_terminal = ends->terminal >= 0;
	process->held_fd = ends->held;
	process->config = config;
	process->is_listed = true;
	process->next = table->first;
	table->first = process;
	table->n++;
	uv_timer_init(&table->guest->loop, &process->timer);
	uv_timer_init(&table->guest->loop, &process->signal_timer);
	process->timer.data = process->signal_timer.data = process;
	process->handles_n = 2;
	if (deadline_ms)
		uv_timer_start(&process->timer, on_deadline, deadline_ms, 0);
	process_output_open(process, PROCESS_STDOUT, ends->output);
	process_output_open(process, PROCESS_STDERR, ends->error);
	process_output_open(process, PROCESS_PTY, ends->terminal);
	process_input_open(process, ends->input);
	logbook_started(&table->guest->logbook, pid, config);
	return process;
}

struct process *process_find(struct process_table *table, pid_t pid, const char *tag)
{
	struct process *ended = NULL;

	for (struct process *at = table->first; at; at = at->next) {
		bool same = tag ? at->tag && !strcmp(at->tag, tag) : at->pid == pid;

		if (same && at->state == PROCESS_RUNNING)
			return at;
		if (same && !ended)
			ended = at;
	}
	return ended;
}

struct process *process_find_number(struct process_table *table, uint64_t number)
{
	struct process *at = table->first;

	while (at && at->number != number)
		at = at->next;
	return at;
}

/* -- Signals ------------------------------------------------------------------------------------
 */

static void wait_forget(struct process_wait **list, struct process_wait *wait)
{
	while (*list != wait)
		list = &(*list)->next;
	*list = wait->next;
	free(wait);
}

static void on_signaller_gone(struct conn *conn)
{
	struct process_wait *wait = conn->work;

	wait_forget(&wait->process->signals, wait);
}

void process_signal_answer(struct process *process)
{
	while (process->signals) {
		struct process_wait *wait = process->signals;
		struct conn *conn = wait->conn;

		wait_forget(&process->signals, wait);
		conn_answer_json(conn, 200, json_object());
		conn_flush(conn);
	}
}

static void on_signal_timer(uv_timer_t *timer)
{
	process_signal_answer(timer->data);
}

void process_signal(struct process *process, int number, struct conn *conn)
{
	static const struct work_ops ops = {.on_gone = on_signaller_gone};
	uint64_t wait_ms = number == SIGKILL ? PROCESS_KILL_WAIT_MS : PROCESS_TERM_WAIT_MS;
	bool is_running = process->state == PROCESS_RUNNING;
	struct process_wait *wait = conn && is_running ? calloc(1, sizeof(*wait)) : NULL;

	process->is_cut = true;
	if (is_running)
		kill(process->pid, number);
	else
		process_output_resume(process);
	if (!wait) {
		if (conn)
			conn_answer_json(conn, 200, json_object());
		return;
	}
	/* Whoever hears that the signal was sent may look at once whether the process is gone. */
	wait->process = process;
	wait->conn = conn;
	wait->next = process->signals;
	process->signals = wait;
	conn->work = wait;
	conn->work_ops = &ops;
	/* A storm of signals puts nobody's answer off. */
	if (!uv_is_active((uv_handle_t *)&process->signal_timer))
		process->signal_wait_is_kill = false;
	if (!uv_is_active((uv_handle_t *)&process->signal_timer) ||
	    (number == SIGKILL && !process->signal_wait_is_kill))
		uv_timer_start(&process->signal_timer, on_signal_timer, wait_ms, 0);
	process->signal_wait_is_kill |= number == SIGKILL;
}
