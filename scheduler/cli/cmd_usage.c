/* `usage`, `limits`, and the bill of one run. */
#include "common/base/check.h"
#include "scheduler/cli/api.h"
#include "scheduler/cli/bill.h"
#include "scheduler/cli/output.h"

#include <string.h>
#include <time.h>

enum { BILL_TRIES_N = 50, BILL_PAUSE_MS = 100 };

static const struct column usage_columns[] = {
	{"SANDBOX", "sandboxID", COLUMN_TEXT, false},
	{"TEMPLATE", "templateID", COLUMN_TEXT, false},
	{"STATE", "state", COLUMN_TEXT, false},
	{"STARTED", "startedAt", COLUMN_TEXT, false},
	{"ENDED", "endedAt", COLUMN_TEXT, true},
	{"SECONDS", "seconds", COLUMN_RIGHT, false},
	{"FREE", "unbilledSeconds", COLUMN_RIGHT, true},
	{"VCPUS", "vcpus", COLUMN_RIGHT, true},
	{"MIB", "memoryMiB", COLUMN_RIGHT, true},
	{"VCPU-S", "vcpuSeconds", COLUMN_RIGHT, false},
	{"GIB-S", "gibSeconds", COLUMN_RIGHT, false},
	{"AMOUNT", "amount", COLUMN_RIGHT, false},
	{"CAUSE", "cause", COLUMN_TEXT, false},
};
static const struct listing usage_listing = {"usage", "sandboxID", usage_columns,
					     ARRAY_N(usage_columns)};

static void add_query(char *path, const char *name, const char *value)
{
	size_t used = strlen(path);

	if (!value)
		return;
	snprintf(path + used, API_URL_MAX - used, "%c%s=", strchr(path, '?') ? '&' : '?', name);
	api_url_add(path, value);
}

/* A day alone means its first moment, in UTC as everything that is billed. */
static void add_time(char *path, const char *name, const char *value)
{
	char moment[32];

	if (value && strlen(value) == 10) {
		snprintf(moment, sizeof(moment), "%sT00:00:00Z", value);
		value = moment;
	}
	add_query(path, name, value);
}

int command_usage(struct cli *cli)
{
	const char *sandbox = args_value(&cli->args, "sandbox"), *format = cli->settings.output;
	char path[API_URL_MAX] = "/v1/usage";
	json_t *answer, *rows;
	int status;

	add_time(path, "from", args_value(&cli->args, "from"));
	add_time(path, "to", args_value(&cli->args, "to"));
	add_query(path, "sandbox", sandbox);
	status = api_get(cli, API_AS_TENANT, path, "usage", &answer);
	if (status != STATUS_OK)
		return status;
	rows = json_object_get(answer, "sandboxes");
	if (!json_is_array(rows)) {
		status = cli_fail(cli, STATUS_FAILED, "the answer has no list of sandboxes");
	} else if (strcmp(format, "json") == 0) {
		/* The whole document: it has the totals and the rule they follow. */
		output_object(cli, "usage", NULL, answer, NULL, stdout);
	} else {
		output_list(cli, &usage_listing, rows, stdout);
		if (strcmp(format, "table") == 0 || strcmp(format, "wide") == 0)
			printf("\ntotal %s %s\n", api_text(answer, "total"),
			       api_text(answer, "currency"));
	}
	json_decref(answer);
	return status;
}

int command_limits(struct cli *cli)
{
	json_t *answer;
	int status = api_get(cli, API_AS_TENANT, "/v1/limits", "limits", &answer);

	if (status == STATUS_OK)
		output_object(cli, "limits", "plan", answer, NULL, stdout);
	json_decref(answer);
	return status;
}

/* --- one sandbox's bill ---------------------------------------------------------------------- */

static int fetch(struct cli *cli, const char *sandbox_id, json_t **out_answer)
{
	char path[API_URL_MAX] = "/v1/usage";

	add_query(path, "sandbox", sandbox_id);
	return api_get(cli, API_AS_TENANT, path, "the bill", out_answer);
}

static json_t *line_of(const json_t *answer)
{
	return json_array_get(json_object_get(answer, "sandboxes"), 0);
}

/* Polls until the line says when the sandbox ended; the answer may still lack it in the end. */
static int fetch_ended(struct cli *cli, const char *sandbox_id, json_t **out_answer)
{
	const struct timespec pause = {.tv_nsec = BILL_PAUSE_MS * 1000000L};

	for (int tries = 0;; tries++) {
		int status = fetch(cli, sandbox_id, out_answer);

		if (status != STATUS_OK || tries == BILL_TRIES_N ||
		    api_text(line_of(*out_answer), "endedAt")[0])
			return status;
		json_decref(*out_answer);
		cli_progress(cli, "waiting for the bill ...");
		nanosleep(&pause, NULL);
	}
}

void bill_cause(struct cli *cli, const char *sandbox_id, char out_cause[64])
{
	struct cli quiet = *cli;
	json_t *answer = NULL;
	char path[API_URL_MAX] = "/v1/usage";
	struct api_call call = {.who = API_AS_TENANT,
				.method = "GET",
				.path = path,
				.what = "why the sandbox ended",
				.may_be_missing = true};
	const struct timespec pause = {.tv_nsec = BILL_PAUSE_MS * 1000000L};

	out_cause[0] = 0;
	add_query(path, "sandbox", sandbox_id);
	/* The shim's word travels by the agent's next poll, which is at most 2 s away. */
	for (int tries = 0; tries < 30 && !out_cause[0]; tries++) {
		if (tries)
			nanosleep(&pause, NULL);
		if (api_call(&quiet, &call, &answer) != STATUS_OK)
			return;
		snprintf(out_cause, 64, "%s", api_text(line_of(answer), "cause"));
		json_decref(answer);
	}
}

int bill_print(struct cli *cli, const char *sandbox_id)
{
	json_t *answer, *line;
	int status = fetch_ended(cli, sandbox_id, &answer);

	cli_progress(cli, NULL);
	if (status != STATUS_OK)
		return status;
	line = line_of(answer);
	if (!line) {
		status = cli_fail(cli, STATUS_TRY_AGAIN,
				  "the bill of %s is not there yet: flotilla usage --sandbox %s",
				  sandbox_id, sandbox_id);
	} else if (cli_prints_json(cli)) {
		output_object(cli, "bill", NULL, line, NULL, stderr);
	} else {
		json_int_t free_s = json_integer_value(json_object_get(line, "unbilledSeconds"));

		fprintf(stderr, "bill of %s: %lld s, %lld vCPU-seconds, %s GiB-seconds, %s %s\n",
			sandbox_id, (long long)json_integer_value(json_object_get(line, "seconds")),
			(long long)json_integer_value(json_object_get(line, "vcpuSeconds")),
			api_text(line, "gibSeconds"), api_text(line, "amount"),
			api_text(answer, "currency"));
		if (free_s > 0)
			fprintf(stderr, "free, because the platform failed it: %lld s\n",
				(long long)free_s);
	}
	json_decref(answer);
	return status;
}
