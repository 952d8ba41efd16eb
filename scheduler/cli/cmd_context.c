/* `env`, `context ls/use/set`, `version`. */
#include "common/base/check.h"
#include "scheduler/cli/cli.h"
#include "scheduler/cli/output.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* In single quotes, as a shell reads them back. */
static void print_export(const char *name, const char *value)
{
	printf("export %s='", name);
	for (; *value; value++) {
		if (*value == '\'')
			fputs("'\\''", stdout);
		else
			fputc(*value, stdout);
	}
	puts("'");
}

/* What E2B's programs are told, by name; a name without a value is to be unset, since it would win.
 */
enum { ENV_MAX = 7 };

struct env {
	size_t n;
	struct {
		const char *name, *value;
	} rows[ENV_MAX];
};

static void env_add(struct env *env, const char *name, const char *value)
{
	CHECK(env->n < ENV_MAX);
	env->rows[env->n].name = name;
	env->rows[env->n++].value = value;
}

/* ca_path: absolute, or "". */
static void env_collect(const struct cli *cli, const char *ca_path, struct env *out)
{
	bool has_domain = cli->settings.domain[0];

	*out = (struct env){0};
	env_add(out, "E2B_API_URL", has_domain ? NULL : cli->settings.api_url);
	env_add(out, "E2B_SANDBOX_URL", has_domain ? NULL : cli->settings.gateway_url);
	env_add(out, "E2B_VOLUME_API_URL", has_domain ? NULL : cli->settings.gateway_url);
	env_add(out, "E2B_DOMAIN", has_domain ? cli->settings.domain : NULL);
	env_add(out, "E2B_API_KEY", cli->api_key);
	if (!ca_path[0])
		return;
	env_add(out, "NODE_EXTRA_CA_CERTS", ca_path); /* beside the system's */
	env_add(out, "SSL_CERT_FILE", ca_path);       /* Python: instead of them */
}

static int env_print_json(struct cli *cli, const struct env *env)
{
	json_t *json = json_object();

	for (size_t i = 0; i < env->n; i++) {
		if (env->rows[i].value &&
		    json_object_set_new(json, env->rows[i].name, json_string(env->rows[i].value))) {
			json_decref(json);
			return cli_fail(cli, STATUS_USAGE, "a setting is not in UTF-8");
		}
	}
	output_object(cli, "env", NULL, json, NULL, stdout);
	json_decref(json);
	return STATUS_OK;
}

int command_env(struct cli *cli)
{
	char *ca_path = NULL;
	struct env env;
	int status = STATUS_OK;

	if (!cli->api_key[0])
		return cli_fail(cli, STATUS_DENIED,
				"no API key: give --api-key-file, FLOTILLA_API_KEY or a context "
				"that has one");
	if (cli->settings.ca_file[0] && !(ca_path = realpath(cli->settings.ca_file, NULL)))
		return cli_fail(cli, STATUS_USAGE, "%s: %s", cli->settings.ca_file,
				strerror(errno));
	env_collect(cli, ca_path ? ca_path : "", &env);
	if (cli_prints_json(cli)) {
		status = env_print_json(cli, &env);
	} else {
		for (size_t i = 0; i < env.n; i++) {
			if (env.rows[i].value)
				print_export(env.rows[i].name, env.rows[i].value);
			else
				printf("unset %s\n", env.rows[i].name);
		}
	}
	free(ca_path);
	return status;
}

/* --- contexts -------------------------------------------------------------------------------- */

static const struct column context_columns[] = {
	{"CONTEXT", "name", COLUMN_TEXT, false},
	{"CURRENT", "current", COLUMN_TEXT, false},
};
static const struct listing context_listing = {"contexts", "name", context_columns,
					       ARRAY_N(context_columns)};

static int is_context(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);
	char name[64];

	if (n < 5 || n >= sizeof(name) || strcmp(entry->d_name + n - 4, ".ini") != 0)
		return 0;
	snprintf(name, sizeof(name), "%.*s", (int)(n - 4), entry->d_name);
	return context_name_is_valid(name);
}

int command_context_ls(struct cli *cli)
{
	char path[SETTING_PATH_MAX];
	struct dirent **entries = NULL;
	json_t *rows = json_array();
	struct err err;
	int n;

	if (settings_path("contexts", path, &err)) {
		json_decref(rows);
		return cli_fail(cli, STATUS_FAILED, "%s", err.text);
	}
	n = scandir(path, &entries, is_context, alphasort);
	for (int i = 0; i < n; i++) {
		char name[64];

		snprintf(name, sizeof(name), "%.*s", (int)strlen(entries[i]->d_name) - 4,
			 entries[i]->d_name);
		json_array_append_new(rows, json_pack("{s:s, s:b}", "name", name, "current",
						      strcmp(name, cli->settings.context) == 0));
		free(entries[i]);
	}
	free(entries);
	output_list(cli, &context_listing, rows, stdout);
	json_decref(rows);
	return STATUS_OK;
}

int command_context_use(struct cli *cli)
{
	const char *name = cli->args.operand[0];
	struct options_flags flags = {.text = {[SETTING_ROW_context] = name}};
	struct settings settings;
	struct err err;

	/* Loading it says whether it is there and good. */
	if (settings_load(&cli->set, &settings, &flags, &err))
		return cli_fail(cli, STATUS_NOT_FOUND, "%s", err.text);
	if (context_use(name, &err))
		return cli_fail(cli, STATUS_FAILED, "%s", err.text);
	cli_note(cli, "the context is now %s", name);
	return STATUS_OK;
}

/* The defaults and what flags and environment say: nothing of the current context, whose keys are
 * not this one's. */
static struct settings given_settings(const struct cli *cli)
{
	static struct options_set set;
	struct settings settings;

	options_defaults(&set, &settings_program, &settings);
	for (size_t i = 0; i < settings_program.rows_n; i++) {
		const struct option_spec *row = &settings_program.rows[i];
		char text[OPTION_TEXT_MAX];

		if (cli->set.origin[i].source != OPTION_FROM_FLAG &&
		    cli->set.origin[i].source != OPTION_FROM_ENVIRONMENT)
			continue;
		option_format(row, &cli->settings, text);
		CHECK(option_parse(row, text, &settings, NULL) == 0);
	}
	return settings;
}

int command_context_set(struct cli *cli)
{
	const char *name = cli->args.operand[0];
	char api_key[OPTION_TEXT_MAX], operator_key[OPTION_TEXT_MAX];
	struct settings settings;
	struct err err;

	if (!context_name_is_valid(name))
		return cli_fail(cli, STATUS_USAGE,
				"\"%s\" is no name for a context: 1 to 40 of a-z 0-9 - _", name);
	settings = given_settings(cli);
	/* The keys themselves: their files may be somebody's temporary ones. */
	if (settings_api_key(&settings, api_key, &err) ||
	    settings_operator_key(&settings, operator_key, &err))
		return cli_fail(cli, STATUS_USAGE, "%s", err.text);
	memcpy(settings.api_key, api_key, sizeof(api_key));
	memcpy(settings.operator_key, operator_key, sizeof(operator_key));
	if (context_save(name, &settings, &err))
		return cli_fail(cli, STATUS_FAILED, "%s", err.text);
	if (!args_value(&cli->args, "use"))
		return STATUS_OK;
	if (context_use(name, &err))
		return cli_fail(cli, STATUS_FAILED, "%s", err.text);
	return STATUS_OK;
}

int command_version(struct cli *cli)
{
	json_t *version = json_pack("{s:s}", "version", FLOTILLA_VERSION);

	output_text(cli, "version", "flotilla " FLOTILLA_VERSION, version, stdout);
	json_decref(version);
	return STATUS_OK;
}
