/* See progress.h. */
#include "node-agent/template/progress.h"

#include "common/base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

enum { MESSAGE_MAX = 4096 };

static bool is_json;
static char step[16] = "base";

void progress_use_json(void)
{
	is_json = true;
}

bool progress_is_json(void)
{
	return is_json;
}

void progress_at_step(size_t number)
{
	if (number == 0)
		snprintf(step, sizeof(step), "base");
	else
		snprintf(step, sizeof(step), "%u", (unsigned)number);
}

void progress_at_end(void)
{
	snprintf(step, sizeof(step), "finalize");
}

const char *progress_step(void)
{
	return step;
}

/* At once: whoever waits for it looks at every line. */
static void print_line(json_t *line)
{
	CHECK(line);
	json_dumpf(line, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(line);
}

void progress_say(enum progress_level level, const char *format, ...)
{
	static const char *const words[] = {"info", "warn", "error"};
	char message[MESSAGE_MAX], timestamp[64];
	struct timespec now;
	struct tm parts;
	json_t *text;
	va_list args;
	size_t n;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	if (!is_json) {
		fprintf(stderr, "flotilla-template: %s\n", message);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &parts);
	n = strftime(timestamp, sizeof(timestamp), "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(timestamp + n, sizeof(timestamp) - n, ".%03ldZ", now.tv_nsec / 1000000);
	/* Cut in the middle of a character it would be no text. */
	text = json_string(message);
	print_line(json_pack("{s:s, s:s, s:s, s:o}", "timestamp", timestamp, "level", words[level],
			     "step", step, "message", text ? text : json_string("(not UTF-8)")));
}

void progress_result(json_t *result)
{
	if (is_json)
		print_line(json_pack("{s:o}", "result", result));
	else
		json_decref(result);
}
