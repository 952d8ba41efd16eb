/* E2B's process.Process over Connect: starting, listening, listing. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "node-agent/guest/caller.h"
#include "node-agent/guest/connect.h"
#include "node-agent/guest/env.h"
#include "node-agent/guest/guest.h"
#include "node-agent/guest/path.h"
#include "node-agent/guest/routes.h"
#include "node-agent/guest/spawn.h"

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

/* -1 with err and errno set. */
static int launch(struct conn *conn, const struct process_request *request, const struct user *user,
		  const char *cwd, const struct ends *ends, pid_t *out_pid, struct err *err)
{
	json_t *env = env_merge(user, conn->guest->settings.has_authority,
				conn->guest->settings.env, request->envs);
	char **argv = argv_list(request), **envp = env ? env_list(env) : NULL;
	int result, number;

	if (argv && envp) {
		struct spawn spawn = {
			.file = request->cmd,
			.search_path = json_string_value(json_object_get(env, "PATH")),
			.argv = argv,
			.env = envp,
			.cwd = cwd,
			.user = user,
			.stdio = {ends->theirs[0], ends->theirs[1], ends->theirs[2]},
			.on_terminal = request->has_pty,
		};
		result = spawn_process(&spawn, out_pid, err);
	} else {
		result = err_set(err, "no memory");
		errno = ENOMEM;
	}
	number = errno;
	free(argv);
	free(envp);
	json_decref(env);
	errno = number;
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
	else if (!caller_find(conn, out_user) ||
		 !caller_path(conn, out_user, out_request->cwd, out_cwd))
		return false; /* answered */
	else if (stat(out_cwd, &status) && errno == ENOENT)
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "cwd '%s' does not exist", out_cwd);
	else if (!process_table_has_room(&conn->guest->processes))
		connect_refuse(conn, CONNECT_RESOURCE_EXHAUSTED, "more than %d processes",
			       PROCESSES_MAX);
	else
		return true;
	return false;
}

/* What will be different when it is tried again is not the request's fault. */
static enum connect_code start_code(int number)
{
	switch (number) {
	case EAGAIN:
	case ENOMEM:
	case EMFILE:
	case ENFILE:
	case ENOSPC:
		return CONNECT_RESOURCE_EXHAUSTED;
	default:
		return CONNECT_INVALID_ARGUMENT;
	}
}

/* The program runs; *out_ends is what joins it to us.  False when refused. */
static bool start_try(struct conn *conn, const struct process_request *request,
		      const struct user *user, const char *cwd, struct ends *out_ends,
		      pid_t *out_pid)
{
	struct err err = {""};
	int failed, number;

	failed = request->has_pty ? ends_open_terminal(out_ends, &request->size, user, &err)
				  : ends_open_pipes(out_ends, request->has_stdin, &err);
	failed = failed || launch(conn, request, user, cwd, out_ends, out_pid, &err);
	number = errno;
	ends_close_theirs(out_ends);
	if (!failed)
		return true;
	ends_close_ours(out_ends);
	connect_refuse(conn, start_code(number), "error starting %s '%s': %s",
		       request->has_pty ? "pty with command" : "process", request->cmd, err.text);
	return false;
}

void process_start(struct conn *conn, json_t *message)
{
	struct process_request request;
	struct process *process;
	char cwd[PATH_MAX];
	struct ends ends;
	struct user user;
	json_t *config;
	pid_t pid;

	if (!start_check(conn, message, &request, &user, cwd) ||
	    !start_try(conn, &request, &user, cwd, &ends, &pid))
		return;
	config = config_make(&request);
	process = process_add(&conn->guest->processes, pid, &ends, config, request.tag,
			      header_number(conn, "connect-timeout-ms", 0));
	if (!process) {
		kill(pid, SIGKILL);
		ends_close_ours(&ends);
		json_decref(config);
		connect_refuse(conn, CONNECT_RESOURCE_EXHAUSTED, "no memory");
		return;
	}
	process_subscribe(process, conn, true, keepalive_ms(conn), 0);
}

void process_connect(struct conn *conn, json_t *request)
{
	struct process *process = process_select(conn, request);

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
