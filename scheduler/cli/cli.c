#include "scheduler/cli/cli.h"

#include <jansson.h>
#include <stdarg.h>
#include <string.h>

bool cli_prints_json(const struct cli *cli)
{
	return strncmp(cli->settings.output, "json", 4) == 0;
}

int cli_fail(const struct cli *cli, int status, const char *format, ...)
{
	struct err why;
	va_list args;

	va_start(args, format);
	vsnprintf(why.text, sizeof(why.text), format, args);
	va_end(args);
	cli_progress(cli, NULL);
	if (cli_prints_json(cli)) {
		json_t *line = json_pack("{s:s, s:{s:i, s:s%}}", "kind", "error", "error", "status",
					 status, "message", why.text, strlen(why.text));

		/* Text that is no UTF-8 cannot be packed. */
		if (line)
			json_dumpf(line, stderr, JSON_COMPACT);
		else
			fprintf(stderr, "{\"kind\":\"error\",\"error\":{\"status\":%d}}", status);
		fputc('\n', stderr);
		json_decref(line);
	} else {
		fprintf(stderr, "flotilla: %s\n", why.text);
	}
	return status;
}

void cli_note(const struct cli *cli, const char *format, ...)
{
	va_list args;

	if (cli->settings.quiet)
		return;
	cli_progress(cli, NULL);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

void cli_progress(const struct cli *cli, const char *text)
{
	static bool is_shown;

	if (!cli->shows_progress || (!text && !is_shown))
		return;
	/* Back to the line's begin, and wipe to its end. */
	fprintf(stderr, "\r\033[K%s", text ? text : "");
	fflush(stderr);
	is_shown = text != NULL;
}
