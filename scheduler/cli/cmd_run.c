/* `run` and `sandbox exec`: commands in sandboxes. */
#include "common/base/check.h"
#include "scheduler/cli/api.h"
#include "scheduler/cli/bill.h"
#include "scheduler/cli/cli.h"
#include "scheduler/cli/process.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RUN_TIMEOUT_S = 3600 };

struct sandbox {
	char id[64];
	char token[256];
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The flags that run and exec share; false when one is wrong (told, then). */
static bool process_flags(const struct cli *cli, int64_t *out_timeout_s)
{
	const char *timeout = args_value(&cli->args, "timeout"), *pair;

	for (size_t i = 0; (pair = args_value_at(&cli->args, "env", i)); i++) {
		if (process_env_is_valid(pair))
			continue;
		cli_fail(cli, STATUS_USAGE, "--env %s: write it as NAME=value", pair);
		return false;
	}
	if (timeout && !api_seconds(timeout, out_timeout_s)) {
		cli_fail(cli, STATUS_USAGE, "--timeout %s: write it like 90s, 15m or 2h", timeout);
		return false;
	}
	return true;
}

/* Ours is sent on unless it is a terminal, which is only meant when asked for. */
static bool has_input(const struct cli *cli)
{
	return args_value(&cli->args, "interactive") || !isatty(0);
}

static int sandbox_create(struct cli *cli, int64_t timeout_s, struct sandbox *out)
{
	const char *template = cli->args.operand[0];
	json_t *metadata = args_pairs(cli, "metadata"), *secrets, *answer;
	char what[128], line[160];
	struct api_call call = {
		.who = API_AS_TENANT, .method = "POST", .path = "/v2/sandboxes", .what = what};
	int status;

	secrets = metadata ? args_pairs(cli, "secret") : NULL;
	if (!secrets) {
		json_decref(metadata);
		return STATUS_USAGE;
	}
	snprintf(what, sizeof(what), "template %.100s", template);
	snprintf(line, sizeof(line), "creating a sandbox from %.100s ...", template);
	call.body = json_pack("{s:s, s:I, s:o}", "templateID", template, "timeout",
			      (json_int_t)timeout_s, "metadata", metadata);
	if (call.body && json_object_size(secrets))
		json_object_set(call.body, "secretEnvs", secrets);
	json_decref(secrets);
	if (!call.body)
		return cli_fail(cli, STATUS_USAGE, "the template's name is not in UTF-8");
	cli_progress(cli, line);
	status = api_call(cli, &call, &answer);
	cli_progress(cli, NULL);
	json_decref(call.body);
	if (status != STATUS_OK)
		return status;
	snprintf(out->id, sizeof(out->id), "%s", api_text(answer, "sandboxID"));
	snprintf(out->token, sizeof(out->token), "%s", api_text(answer, "envdAccessToken"));
	json_decref(answer);
	return out->id[0] ? STATUS_OK : cli_fail(cli, STATUS_FAILED, "the answer names no sandbox");
}

static int sandbox_end(struct cli *cli, const char *id)
{
	char path[128];
	struct api_call call = {.who = API_AS_TENANT,
				.method = "DELETE",
				.path = path,
				.what = "ending the sandbox",
				.may_be_missing = true};
	json_t *answer;
	int status;

	snprintf(path, sizeof(path), "/sandboxes/%s", id);
	status = api_call(cli, &call, &answer);
	json_decref(answer);
	return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* The stream broke off: because the time was up, or why else? */
static int explain_loss(struct cli *cli, const char *id, int64_t left_ms)
{
	char cause[64];

	bill_cause(cli, id, cause);
	if (strcmp(cause, "timeout") == 0 || (!cause[0] && left_ms <= 0))
		return cli_fail(cli, STATUS_TIMED_OUT,
				"sandbox %s reached its time limit (--timeout)", id);
	if (cause[0])
		return cli_fail(cli, STATUS_FAILED, "sandbox %s has ended: %s", id, cause);
	return cli_fail(cli, STATUS_TRY_AGAIN, "lost the connection to sandbox %s", id);
}

int command_run(struct cli *cli)
{
	int64_t timeout_s = RUN_TIMEOUT_S, began_ms = now_ms();
	bool keeps = args_value(&cli->args, "keep");
	struct sandbox sandbox = {0};
	struct process_spec spec = {
		.sandbox_id = sandbox.id,
		.access_token = sandbox.token,
		.user = args_value(&cli->args, "user"),
		.cwd = args_value(&cli->args, "cwd"),
		.argv = cli->args.tail,
		.has_input = has_input(cli),
	};
	int status, ended;

	if (!process_flags(cli, &timeout_s))
		return STATUS_USAGE;
	process_catch_signals(cli);
	status = sandbox_create(cli, timeout_s, &sandbox);
	if (status != STATUS_OK)
		return status;
	if (process_run(cli, &spec, &status) == PROCESS_LOST)
		status = explain_loss(cli, sandbox.id, began_ms + timeout_s * 1000 - now_ms());
	/* From here on nothing is worth giving up for: a sandbox left behind costs money. */
	close(cli->interrupt_fd);
	cli->interrupt_fd = -1;
	if (keeps) {
		cli_note(cli, "sandbox %s keeps running; end it with: flotilla sandbox kill %s",
			 sandbox.id, sandbox.id);
		return status;
	}
	ended = sandbox_end(cli, sandbox.id);
	if (ended == STATUS_OK && args_value(&cli->args, "bill"))
		ended = bill_print(cli, sandbox.id);
	return status ? status : ended;
}

int command_sandbox_exec(struct cli *cli)
{
	struct sandbox sandbox = {0};
	struct process_spec spec = {
		.sandbox_id = sandbox.id,
		.access_token = sandbox.token,
		.user = args_value(&cli->args, "user"),
		.cwd = args_value(&cli->args, "cwd"),
		.argv = cli->args.tail,
		.has_input = has_input(cli),
	};
	char path[128];
	json_t *answer;
	int status;

	if (!process_flags(cli, &spec.timeout_s))
		return STATUS_USAGE;
	status = api_sandbox_id(cli, cli->args.operand[0], sandbox.id);
	if (status != STATUS_OK)
		return status;
	snprintf(path, sizeof(path), "/sandboxes/%s", sandbox.id);
	status = api_get(cli, API_AS_TENANT, path, sandbox.id, &answer);
	if (status != STATUS_OK)
		return status;
	snprintf(sandbox.token, sizeof(sandbox.token), "%s", api_text(answer, "envdAccessToken"));
	json_decref(answer);
	process_catch_signals(cli);
	if (process_run(cli, &spec, &status) == PROCESS_LOST)
		status = explain_loss(cli, sandbox.id, 1);
	return status;
}
