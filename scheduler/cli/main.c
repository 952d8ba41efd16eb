/* flotilla: the command for tenants and operators. Reads arguments and settings, calls the handler
 * that commands.def names. */
#include "scheduler/cli/cli.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool wants_version(int argc, char **argv)
{
	return argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0);
}

/* On a terminal that can move its cursor. */
static bool can_show_progress(const struct settings *settings)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

	return !settings->quiet && isatty(2) && term && strcmp(term, "dumb") != 0 &&
	       !(no_color && no_color[0]);
}

int main(int argc, char **argv)
{
	static struct cli cli;
	struct err err = {""};
	int status;

	cli.interrupt_fd = -1;
	if (wants_version(argc, argv)) {
		printf("flotilla %s\n", FLOTILLA_VERSION);
		return STATUS_OK;
	}
	if (args_parse(argc, argv, &cli.args, &err))
		return cli_fail(&cli, STATUS_USAGE, "%s", err.text);
	if (cli.args.help) {
		args_print_help(cli.args.command, cli.args.group, stdout);
		return STATUS_OK;
	}
	if (settings_load(&cli.set, &cli.settings, &cli.args.settings, &err) ||
	    settings_api_key(&cli.settings, cli.api_key, &err) ||
	    settings_operator_key(&cli.settings, cli.operator_key, &err))
		return cli_fail(&cli, STATUS_USAGE, "%s", err.text);
	cli.shows_progress = can_show_progress(&cli.settings);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	status = cli.args.command->handler(&cli);
	if (fflush(stdout) || ferror(stdout))
		status = status ? status : cli_fail(&cli, STATUS_FAILED, "cannot write the output");
	curl_global_cleanup();
	return status;
}
