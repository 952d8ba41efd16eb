/* `secret ls`, `describe`, `set` and `rm`. A value comes from a file or from standard input, never
 * from the command line, which others on this host can read. */
#include "common/base/check.h"
#include "scheduler/cli/api.h"
#include "scheduler/cli/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { SECRET_VALUE_MAX = 16 * 1024 };

static const struct column secret_columns[] = {
	{"SECRET", "name", COLUMN_TEXT, false},
	{"ID", "secretID", COLUMN_TEXT, true},
	{"VERSION", "currentVersion", COLUMN_RIGHT, false},
	{"CREATED", "createdAt", COLUMN_TEXT, true},
	{"UPDATED", "updatedAt", COLUMN_TEXT, false},
	{"METADATA", "metadata", COLUMN_PAIRS, true},
};
static const struct listing secret_listing = {"secrets", "name", secret_columns,
					      ARRAY_N(secret_columns)};

/* "/secrets/NAME", and what messages call it. */
struct secret_path {
	char path[API_URL_MAX], what[160];
};

static struct secret_path secret_path(const char *name)
{
	struct secret_path at = {.path = "/secrets/"};

	api_url_add(at.path, name);
	snprintf(at.what, sizeof(at.what), "secret %.140s", name);
	return at;
}

int command_secret_ls(struct cli *cli)
{
	json_t *rows;
	int status = api_pages(cli, "/secrets?limit=100", "list of secrets", &rows);

	if (status != STATUS_OK)
		return status;
	output_list(cli, &secret_listing, rows, stdout);
	json_decref(rows);
	return STATUS_OK;
}

int command_secret_describe(struct cli *cli)
{
	struct secret_path at = secret_path(cli->args.operand[0]);
	json_t *answer;
	int status = api_get(cli, API_AS_TENANT, at.path, at.what, &answer);

	if (status == STATUS_OK)
		output_object(cli, "secret", "name", answer, NULL, stdout);
	json_decref(answer);
	return status;
}

int command_secret_rm(struct cli *cli)
{
	int worst = STATUS_OK;

	for (int i = 0; i < cli->args.operands_n; i++) {
		struct secret_path at = secret_path(cli->args.operand[i]);
		struct api_call call = {
			.who = API_AS_TENANT, .method = "DELETE", .path = at.path, .what = at.what};
		json_t *answer;
		int status = api_call(cli, &call, &answer);

		json_decref(answer);
		if (status == STATUS_OK)
			cli_note(cli, "%s is forgotten", at.what);
		else if (worst == STATUS_OK)
			worst = status;
	}
	return worst;
}

/* ---- set ---- */

/* What is typed is not shown, and nothing but its end ends it: else the terminal would stay so. */
static void read_unseen(char *out, int max)
{
	struct termios before, unseen;
	bool has_settings = tcgetattr(STDIN_FILENO, &before) == 0;

	unseen = before;
	unseen.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	if (has_settings)
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &unseen);
	fprintf(stderr, "value: ");
	if (!fgets(out, max, stdin))
		out[0] = 0;
	if (has_settings)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
	fputc('\n', stderr);
}

/* The whole value with its NUL, in SECRET_VALUE_MAX + 2 bytes. */
static int read_value(const struct cli *cli, char *out)
{
	const char *path = args_value(&cli->args, "from-file");
	bool asks = !path && isatty(STDIN_FILENO);
	FILE *file = path ? fopen(path, "r") : stdin;
	size_t n;

	if (!file)
		return cli_fail(cli, STATUS_USAGE, "%s: %s", path, strerror(errno));
	if (asks) {
		read_unseen(out, SECRET_VALUE_MAX + 2);
		n = strlen(out);
	} else {
		n = fread(out, 1, SECRET_VALUE_MAX + 1, file);
		out[n] = 0;
	}
	if (path)
		fclose(file);
	if (n && !path && out[n - 1] == '\n')
		out[--n] = 0;
	if (n == 0 || n > SECRET_VALUE_MAX || strlen(out) != n)
		return cli_fail(cli, STATUS_USAGE,
				"a value is 1 to %d bytes of text, from a file or standard input",
				SECRET_VALUE_MAX);
	return STATUS_OK;
}

/* The next version of one that is there, else the first of a new one. body is borrowed. */
static int set_value(struct cli *cli, const char *name, json_t *body)
{
	struct secret_path at = secret_path(name);
	struct api_call call = {.who = API_AS_TENANT,
				.method = "POST",
				.path = at.path,
				.body = body,
				.what = at.what,
				.may_be_missing = true};
	json_t *answer;
	int status = api_call(cli, &call, &answer);

	if (status == STATUS_NOT_FOUND) {
		json_object_set_new(body, "name", json_string(name));
		call.path = "/secrets";
		call.may_be_missing = false;
		status = api_call(cli, &call, &answer);
	}
	if (status == STATUS_OK)
		output_object(cli, "secret", "name", answer, NULL, stdout);
	json_decref(answer);
	return status;
}

int command_secret_set(struct cli *cli)
{
	char *value = malloc(SECRET_VALUE_MAX + 2);
	json_t *body = NULL, *metadata;
	int status;

	CHECK(value);
	status = read_value(cli, value);
	metadata = status == STATUS_OK ? args_pairs(cli, "metadata") : NULL;
	if (status == STATUS_OK && !metadata)
		status = STATUS_USAGE;
	if (status == STATUS_OK) {
		body = json_pack("{s:s}", "value", value);
		if (!body)
			status = cli_fail(cli, STATUS_USAGE, "the value is not in UTF-8");
		else if (json_object_size(metadata))
			json_object_set(body, "metadata", metadata);
	}
	if (status == STATUS_OK)
		status = set_value(cli, cli->args.operand[0], body);
	json_decref(body);
	json_decref(metadata);
	explicit_bzero(value, SECRET_VALUE_MAX + 2);
	free(value);
	return status;
}
