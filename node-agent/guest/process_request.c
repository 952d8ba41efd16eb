/* What clients ask of processes, read from their JSON.  Pure. */
#include "node-agent/guest/process.h"

#include <signal.h>
#include <string.h>

/* Absent and null: *out stays. False when it is of another type, or has a NUL. */
static bool read_string(json_t *object, const char *name, const char **out)
{
	json_t *value = json_object_get(object, name);

	if (!value || json_is_null(value))
		return true;
	if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
		return false;
	*out = json_string_value(value);
	return true;
}

static bool args_are_good(json_t *args)
{
	json_t *value;
	size_t i;

	if (!json_is_array(args))
		return false;
	json_array_foreach(args, i, value) if (!json_is_string(value)) return false;
	return true;
}

static bool envs_are_good(json_t *envs)
{
	const char *name;
	json_t *value;

	if (!json_is_object(envs))
		return false;
	json_object_foreach(envs, name, value) if (!name[0] || strchr(name, '=') ||
						   !json_is_string(value)) return false;
	return true;
}

static json_t *present(json_t *object, const char *name)
{
	json_t *value = json_object_get(object, name);

	return json_is_null(value) ? NULL : value;
}

const char *process_request_read(json_t *request, struct process_request *out)
{
	json_t *process = json_object_get(request, "process"), *has_stdin;

	*out = (struct process_request){.cmd = "", .cwd = ""};
	if (!json_is_object(process))
		return "process: an object is wanted";
	if (!read_string(process, "cmd", &out->cmd) || !out->cmd[0])
		return "process.cmd: a program is wanted";
	if (!read_string(process, "cwd", &out->cwd))
		return "process.cwd: a path is wanted";
	if (!read_string(request, "tag", &out->tag))
		return "tag: a string is wanted";
	out->args = present(process, "args");
	if (out->args && !args_are_good(out->args))
		return "process.args: an array of strings is wanted";
	out->envs = present(process, "envs");
	if (out->envs && !envs_are_good(out->envs))
		return "process.envs: an object of strings is wanted";
	/* Clients from before the field was there expect to be able to send input. */
	has_stdin = present(request, "stdin");
	if (has_stdin && !json_is_boolean(has_stdin))
		return "stdin: true or false is wanted";
	out->has_stdin = !has_stdin || json_is_true(has_stdin);
	out->has_pty = present(request, "pty") != NULL;
	return NULL;
}

const char *process_selector_read(json_t *request, pid_t *out_pid, const char **out_tag)
{
	json_t *selector = json_object_get(request, "process"), *pid;

	*out_tag = NULL;
	*out_pid = 0;
	if (!json_is_object(selector))
		return "process: an object is wanted";
	pid = present(selector, "pid");
	if (pid) {
		json_int_t value = json_integer_value(pid);

		if (!json_is_integer(pid) || value <= 0 || value > INT32_MAX)
			return "process.pid: a number of a process is wanted";
		*out_pid = (pid_t)value;
		return NULL;
	}
	if (!read_string(selector, "tag", out_tag) || !*out_tag)
		return "process: a pid or a tag is wanted";
	return NULL;
}

int process_signal_read(json_t *request)
{
	json_t *value = json_object_get(request, "signal");
	const char *name = json_string_value(value);
	json_int_t number = json_integer_value(value);

	if ((name && !strcmp(name, "SIGNAL_SIGKILL")) || number == SIGKILL)
		return SIGKILL;
	if ((name && !strcmp(name, "SIGNAL_SIGTERM")) || number == SIGTERM)
		return SIGTERM;
	return 0;
}
