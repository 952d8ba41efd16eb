/* `sandbox ls`, `describe`, `kill`, `pause` and `resume`; `template ls` and `build`. */
#include "common/base/check.h"
#include "scheduler/cli/api.h"
#include "scheduler/cli/output.h"

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct column sandbox_columns[] = {
	{"SANDBOX", "sandboxID", COLUMN_TEXT, false},
	{"TEMPLATE", "templateID", COLUMN_TEXT, false},
	{"STATE", "state", COLUMN_TEXT, false},
	{"VCPUS", "cpuCount", COLUMN_RIGHT, false},
	{"MIB", "memoryMB", COLUMN_RIGHT, false},
	{"DISK-MIB", "diskSizeMB", COLUMN_RIGHT, true},
	{"STARTED", "startedAt", COLUMN_TEXT, false},
	{"ENDS", "endAt", COLUMN_TEXT, false},
	{"METADATA", "metadata", COLUMN_PAIRS, true},
};
static const struct listing sandbox_listing = {"sandboxes", "sandboxID", sandbox_columns,
					       ARRAY_N(sandbox_columns)};

/* E2B's filter is encoded twice before it is encoded as a query: its server decodes that often. */
static int metadata_query(struct cli *cli, char query[API_URL_MAX])
{
	const char *pair;

	query[0] = 0;
	for (size_t i = 0; (pair = args_value_at(&cli->args, "metadata", i)); i++) {
		const char *equals = strchr(pair, '=');
		char key[256], part[API_URL_MAX] = "", once[API_URL_MAX] = "";

		if (!equals || equals == pair || equals - pair >= (int)sizeof(key))
			return cli_fail(cli, STATUS_USAGE, "--metadata %s: write it as K=V", pair);
		snprintf(key, sizeof(key), "%.*s", (int)(equals - pair), pair);
		api_url_add(once, key);
		api_url_add(part, once);
		snprintf(query + strlen(query), API_URL_MAX - strlen(query), "%s",
			 i ? "%26" : "&metadata=");
		api_url_add(query, part);
		snprintf(query + strlen(query), API_URL_MAX - strlen(query), "%%3D");
		once[0] = part[0] = 0;
		api_url_add(once, equals + 1);
		api_url_add(part, once);
		api_url_add(query, part);
	}
	return STATUS_OK;
}

int command_sandbox_ls(struct cli *cli)
{
	char query[API_URL_MAX];
	json_t *rows;
	int status = metadata_query(cli, query);

	if (status == STATUS_OK)
		status = api_sandboxes(cli, query, &rows);
	if (status != STATUS_OK)
		return status;
	output_list(cli, &sandbox_listing, rows, stdout);
	json_decref(rows);
	return STATUS_OK;
}

int command_sandbox_describe(struct cli *cli)
{
	char id[64], path[128], what[96];
	json_t *answer;
	int status = api_sandbox_id(cli, cli->args.operand[0], id);

	if (status != STATUS_OK)
		return status;
	snprintf(path, sizeof(path), "/sandboxes/%s", id);
	snprintf(what, sizeof(what), "sandbox %s", id);
	status = api_get(cli, API_AS_TENANT, path, what, &answer);
	if (status == STATUS_OK)
		output_object(cli, "sandbox", "sandboxID", answer, "envdAccessToken", stdout);
	json_decref(answer);
	return status;
}

/* The same for each sandbox that is named; the first failure's status.  after: of the path. */
static int for_each(struct cli *cli, struct api_call call, const char *before, const char *after,
		    const char *done)
{
	int worst = STATUS_OK;

	for (int i = 0; i < cli->args.operands_n; i++) {
		char id[64], path[128], what[96];
		int status = api_sandbox_id(cli, cli->args.operand[i], id);
		json_t *answer = NULL;

		if (status == STATUS_OK) {
			snprintf(path, sizeof(path), "%s/sandboxes/%s%s", before, id, after);
			snprintf(what, sizeof(what), "sandbox %s", id);
			call.path = path;
			call.what = what;
			status = api_call(cli, &call, &answer);
			json_decref(answer);
		}
		if (status == STATUS_OK)
			cli_note(cli, "sandbox %s %s", id, done);
		else if (worst == STATUS_OK)
			worst = status;
	}
	return worst;
}

int command_sandbox_kill(struct cli *cli)
{
	struct api_call call = {.who = API_AS_TENANT, .method = "DELETE"};

	return for_each(cli, call, "", "", "has ended");
}

int command_sandbox_pause(struct cli *cli)
{
	json_t *body = json_pack("{s:b}", "memory", !args_value(&cli->args, "files-only"));
	struct api_call call = {.who = API_AS_TENANT, .method = "POST", .body = body};
	int status = for_each(cli, call, "", "/pause", "is paused");

	json_decref(body);
	return status;
}

int command_sandbox_resume(struct cli *cli)
{
	struct api_call call = {.who = API_AS_TENANT, .method = "POST"};
	const char *timeout = args_value(&cli->args, "timeout");
	int64_t timeout_s = 3600;
	int status;

	if (timeout && !api_seconds(timeout, &timeout_s))
		return cli_fail(cli, STATUS_USAGE, "--timeout %s: write it like 90s, 15m or 2h",
				timeout);
	call.body = json_pack("{s:I}", "timeout", (json_int_t)timeout_s);
	status = for_each(cli, call, "/v2", "/connect", "runs");
	json_decref(call.body);
	return status;
}

/* --- templates ------------------------------------------------------------------------------- */

static const struct column template_columns[] = {
	{"TEMPLATE", "name", COLUMN_TEXT, false},    {"ID", "templateID", COLUMN_TEXT, true},
	{"VCPUS", "vcpus", COLUMN_RIGHT, false},     {"MIB", "memoryMiB", COLUMN_RIGHT, false},
	{"DISK-MIB", "diskMiB", COLUMN_RIGHT, true}, {"NODES", "nodes", COLUMN_RIGHT, false},
	{"WARM", "warm", COLUMN_RIGHT, false},
};
static const struct listing template_listing = {"templates", "name", template_columns,
						ARRAY_N(template_columns)};

int command_template_ls(struct cli *cli)
{
	json_t *answer;
	int status = api_get(cli, API_AS_TENANT, "/v1/templates", "templates", &answer);

	if (status == STATUS_OK)
		output_list(cli, &template_listing, answer, stdout);
	json_decref(answer);
	return status;
}

/* `flotilla-template build NAME`, the one beside this program or in PATH; its exit status. */
static int build_one(struct cli *cli, char *const argv[])
{
	char beside[PATH_MAX + 32];
	ssize_t n = readlink("/proc/self/exe", beside, PATH_MAX - 1);
	int failed = ENOENT, status;
	pid_t child;

	if (n > 0) {
		beside[n] = 0;
		snprintf(strrchr(beside, '/') + 1, 32, "%s", argv[0]);
		failed = posix_spawn(&child, beside, NULL, NULL, argv, environ);
	}
	if (failed)
		failed = posix_spawnp(&child, argv[0], NULL, NULL, argv, environ);
	if (failed)
		return cli_fail(cli, STATUS_FAILED, "cannot start %s: %s", argv[0],
				strerror(failed));
	while (waitpid(child, &status, 0) < 0)
		CHECK(errno == EINTR);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The builder is a program of its own: it needs root and a host's tools, this one needs neither. */
int command_template_build(struct cli *cli)
{
	const struct args *args = &cli->args;
	int status = STATUS_OK;

	for (int i = 0; i < args->operands_n && status == STATUS_OK; i++) {
		char *argv[3 + ARGS_OPERANDS_MAX + 1] = {(char *)(uintptr_t) "flotilla-template",
							 (char *)(uintptr_t) "build",
							 (char *)(uintptr_t)args->operand[i]};

		if (args->tail_n > ARGS_OPERANDS_MAX)
			return cli_fail(cli, STATUS_USAGE, "too many words after --");
		for (int j = 0; j < args->tail_n; j++)
			argv[3 + j] = args->tail[j];
		status = build_one(cli, argv);
	}
	return status;
}
