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

/* A protobuf uint32 as its JSON may be written.  Absent and null: *out stays. */
static bool read_u32(json_t *object, const char *name, uint32_t *out)
{
	json_t *value = present(object, name);
	const char *text = json_string_value(value);
	json_int_t number = json_integer_value(value);
	struct http_text digits = {text, json_string_length(value)};
	uint64_t parsed;

	if (!value)
		return true;
	if (text) {
		if (!http_text_u64(digits, &parsed) || parsed > UINT32_MAX)
			return false;
		number = (json_int_t)parsed;
	} else if (!json_is_integer(value) || number < 0 || number > UINT32_MAX) {
		return false;
	}
	*out = (uint32_t)number;
	return true;
}

const char *process_pty_read(json_t *request, bool *out_has, struct winsize *out_size)
{
	json_t *pty = present(request, "pty"), *size = present(pty, "size");
	uint32_t cols = 0, rows = 0;

	*out_has = pty != NULL;
	*out_size = (struct winsize){0};
	if (pty && !json_is_object(pty))
		return "pty: an object is wanted";
	if (size && !json_is_object(size))
		return "pty.size: an object is wanted";
	if (!read_u32(size, "cols", &cols) || cols > UINT16_MAX)
		return "pty.size.cols: a number up to 65535 is wanted";
	if (!read_u32(size, "rows", &rows) || rows > UINT16_MAX)
		return "pty.size.rows: a number up to 65535 is wanted";
	out_size->ws_col = (unsigned short)cols;
	out_size->ws_row = (unsigned short)rows;
	return NULL;
}

json_t *process_input_read(json_t *holder, bool *out_is_pty)
{
	json_t *input = present(holder, "input"), *pty = present(input, "pty"),
	       *text = pty ? pty : present(input, "stdin");

	*out_is_pty = pty != NULL;
	return json_is_string(text) ? text : NULL;
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
	return process_pty_read(request, &out->has_pty, &out->size);
}

const char *process_selector_read(json_t *request, pid_t *out_pid, const char **out_tag)
{
	json_t *selector = present(request, "process");
	uint32_t pid = 0;

	*out_tag = NULL;
	*out_pid = -1;
	if (selector && !json_is_object(selector))
		return "process: an object is wanted";
	if (!read_u32(selector, "pid", &pid))
		return "process.pid: a number of a process is wanted";
	if (!read_string(selector, "tag", out_tag))
		return "process.tag: a string is wanted";
	if (present(selector, "pid") && *out_tag)
		return "process: either a pid or a tag is wanted";
	if (present(selector, "pid"))
		*out_pid = pid > INT32_MAX ? 0 : (pid_t)pid;
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
