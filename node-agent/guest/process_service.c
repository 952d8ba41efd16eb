/* E2B's process.Process over Connect: the handlers. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node-agent/guest/base64.h"
#include "node-agent/guest/caller.h"
#include "node-agent/guest/connect.h"
#include "node-agent/guest/env.h"
#include "node-agent/guest/guest.h"
#include "node-agent/guest/path.h"
#include "node-agent/guest/routes.h"
#include "node-agent/guest/spawn.h"

/* The ends of the three pipes; -1: none. */
struct pipes {
	int ours[3];
	int theirs[3];
};

static void pipes_close(int ends[3])
{
	for (int i = 0; i < 3; i++) {
		if (ends[i] >= 0)
			close(ends[i]);
		ends[i] = -1;
	}
}

static int pipes_open(struct pipes *pipes, bool has_stdin)
{
	for (int i = 0; i < 3; i++)
		pipes->ours[i] = pipes->theirs[i] = -1;
	if (!has_stdin && (pipes->theirs[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
		return -1;
	for (int i = has_stdin ? 0 : 1; i < 3; i++) {
		int ends[2];

		if (pipe2(ends, O_CLOEXEC))
			return -1;
		pipes->ours[i] = ends[i == 0];
		pipes->theirs[i] = ends[i != 0];
		/* Each end has flags of its own: theirs stays as programs expect it. */
		if (fcntl(pipes->ours[i], F_SETFL, O_NONBLOCK))
			return -1;
	}
	return 0;
}

static char **argv_list(const struct process_request *request)
{
	size_t n = json_array_size(request->args);
	char **argv = calloc(n + 2, sizeof(*argv));

	if (!argv)
		return NULL;
	argv[0] = (char *)request->cmd;
	for (size_t i = 0; i < n; i++)
		argv[i + 1] = (char *)json_string_value(json_array_get(request->args, i));
	return argv;
}

static json_t *config_make(const struct process_request *request)
{
	return json_pack("{s:s,s:O?,s:O?,s:s*}", "cmd", request->cmd, "args", request->args, "envs",
			 request->envs, "cwd", request->cwd[0] ? request->cwd : NULL);
}

static int launch(struct conn *conn, const struct process_request *request, const struct user *user,
		  const char *cwd, const struct pipes *pipes, pid_t *out_pid, struct err *err)
{
	json_t *env = env_merge(user, conn->guest->settings.env, request->envs);
	char **argv = argv_list(request), **envp = env ? env_list(env) : NULL;
	int result;

	if (argv && envp) {
		struct spawn spawn = {
			.file = request->cmd,
			.search_path = json_string_value(json_object_get(env, "PATH")),
			.argv = argv,
			.env = envp,
			.cwd = cwd,
			.user = user,
			.stdio = {pipes->theirs[0], pipes->theirs[1], pipes->theirs[2]},
		};
		result = spawn_process(&spawn, out_pid, err);
	} else {
		result = err_set(err, "no memory");
	}
	free(argv);
	free(envp);
	json_decref(env);
	return result;
}

static uint64_t header_number(const struct conn *conn, const char *name, uint64_t otherwise)
{
	uint64_t value;

	return connect_timeout_parse(http_head_value(&conn->head, name), &value) && value
		       ? value
		       : otherwise;
}

static uint64_t keepalive_ms(const struct conn *conn)
{
	return 1000 * header_number(conn, "keepalive-ping-interval", PROCESS_KEEPALIVE_S);
}

/* Everything that can be refused before something is started. */
static bool start_check(struct conn *conn, json_t *message, struct process_request *out_request,
			struct user *out_user, char out_cwd[PATH_MAX])
{
	const char *problem = process_request_read(message, out_request);
	struct stat status;

	if (problem)
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "%s", problem);
	else if (out_request->has_pty)
		connect_refuse(conn, CONNECT_UNIMPLEMENTED,
			       "terminals are not available in this version");
	else if (!caller_find(conn, out_user) ||
		 !caller_path(conn, out_user, out_request->cwd, out_cwd))
		return false; /* answered */
	else if (stat(out_cwd, &status) || !S_ISDIR(status.st_mode))
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "cwd '%s' does not exist", out_cwd);
	else if (conn->guest->processes.n >= PROCESSES_MAX)
		connect_refuse(conn, CONNECT_RESOURCE_EXHAUSTED, "more than %d processes",
			       PROCESSES_MAX);
	else
		return true;
	return false;
}

void process_start(struct conn *conn, json_t *message)
{
	struct process_request request;
	struct process *process;
	struct pipes pipes;
	char cwd[PATH_MAX];
	struct user user;
	struct err err = {"no pipe"};
	json_t *config;
	pid_t pid;
	bool is_started;

	if (!start_check(conn, message, &request, &user, cwd))
		return;
	is_started = !pipes_open(&pipes, request.has_stdin) &&
		     !launch(conn, &request, &user, cwd, &pipes, &pid, &err);
	pipes_close(pipes.theirs);
	if (!is_started) {
		pipes_close(pipes.ours);
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "error starting process '%s': %s",
			       request.cmd, err.text);
		return;
	}
	config = config_make(&request);
	process = process_add(&conn->guest->processes, pid, pipes.ours + 1, pipes.ours[0], config,
			      request.tag, header_number(conn, "connect-timeout-ms", 0));
	if (!process) {
		kill(pid, SIGKILL);
		pipes_close(pipes.ours);
		json_decref(config);
		connect_refuse(conn, CONNECT_RESOURCE_EXHAUSTED, "no memory");
		return;
	}
	process_subscribe(process, conn, true, keepalive_ms(conn), 0);
}

/* The process that the request selects; NULL when refused, the call is then answered. */
static struct process *select_process(struct conn *conn, json_t *request)
{
	const char *tag, *problem;
	struct process *process;
	pid_t pid;

	problem = process_selector_read(request, &pid, &tag);
	if (problem) {
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "%s", problem);
		return NULL;
	}
	process = process_find(&conn->guest->processes, pid, tag);
	if (!process && tag)
		connect_refuse(conn, CONNECT_NOT_FOUND, "process with tag %s not found", tag);
	else if (!process)
		connect_refuse(conn, CONNECT_NOT_FOUND, "process with pid %d not found", pid);
	return process;
}

static struct process *select_living(struct conn *conn, json_t *request)
{
	struct process *process = select_process(conn, request);

	if (process && process->state == PROCESS_ENDED) {
		connect_refuse(conn, CONNECT_NOT_FOUND, "process with pid %d not found",
			       process->pid);
		return NULL;
	}
	return process;
}

void process_connect(struct conn *conn, json_t *request)
{
	struct process *process = select_process(conn, request);

	if (process)
		process_subscribe(process, conn, false, keepalive_ms(conn),
				  header_number(conn, "connect-timeout-ms", 0));
}

void process_list(struct conn *conn, json_t *request)
{
	json_t *list = json_array();

	(void)request;
	for (struct process *at = conn->guest->processes.first; at; at = at->next)
		if (at->state == PROCESS_RUNNING)
			json_array_append_new(list,
					      json_pack("{s:O,s:i,s:s*}", "config", at->config,
							"pid", at->pid, "tag", at->tag));
	connect_answer(conn, json_pack("{s:o}", "processes", list));
}

void process_send_input(struct conn *conn, json_t *request)
{
	struct process *process = select_living(conn, request);
	json_t *input = json_object_get(request, "input"), *text = json_object_get(input, "stdin");
	size_t bytes_n;
	char *bytes;

	if (!process)
		return;
	if (!json_is_string(text)) {
		connect_refuse(conn,
			       json_object_get(input, "pty") ? CONNECT_UNIMPLEMENTED
							     : CONNECT_INVALID_ARGUMENT,
			       "input.stdin: base64 is wanted");
		return;
	}
	if (process->input_fd < 0 || process->input_is_closing) {
		connect_refuse(conn, CONNECT_FAILED_PRECONDITION, "stdin not enabled or closed");
		return;
	}
	bytes = malloc(json_string_length(text) + 3);
	if (!bytes) {
		connect_refuse(conn, CONNECT_RESOURCE_EXHAUSTED, "no memory");
	} else if (!base64_decode(
			   (struct http_text){json_string_value(text), json_string_length(text)},
			   bytes, &bytes_n)) {
		free(bytes);
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "input.stdin: base64 is wanted");
	} else {
		process_input_add(process, conn, bytes, bytes_n);
	}
}

void process_close_stdin(struct conn *conn, json_t *request)
{
	struct process *process = select_living(conn, request);

	if (!process)
		return;
	process_input_end(process);
	connect_answer(conn, json_object());
}

void process_send_signal(struct conn *conn, json_t *request)
{
	struct process *process = select_living(conn, request);
	int number = process_signal_read(request);

	if (!process)
		return;
	if (!number)
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT,
			       "signal: SIGNAL_SIGKILL or "
			       "SIGNAL_SIGTERM is wanted");
	else
		process_signal(process, number, conn);
}
