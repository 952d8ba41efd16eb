/* What every command works with: its arguments, its settings, and how it ends. */
#ifndef FLOTILLA_CLI_CLI_H
#define FLOTILLA_CLI_CLI_H

#include "common/io/options.h"
#include "scheduler/cli/args.h"
#include "scheduler/cli/settings.h"

#include <stdbool.h>

/* Exit statuses; run and exec also pass those of the command they ran. */
enum {
	STATUS_OK = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_NOT_FOUND = 3,
	STATUS_DENIED = 4,
	STATUS_QUOTA = 5,
	STATUS_CONFLICT = 6,
	STATUS_TRY_AGAIN = 75,
	STATUS_TIMED_OUT = 124,
	STATUS_NOT_EXECUTABLE = 126, /* run, exec: as shells have it */
	STATUS_NO_COMMAND = 127,     /* likewise */
	STATUS_INTERRUPTED = 130,
};

struct cli {
	struct args args;
	struct options_set set; /* where each setting came from */
	struct settings settings;
	char api_key[OPTION_TEXT_MAX];      /* empty: none */
	char operator_key[OPTION_TEXT_MAX]; /* empty: none */
	bool shows_progress;                /* standard error is a terminal, and not --quiet */
	int interrupt_fd;                   /* readable once interrupted; -1: signals end us */
};

/* The commands themselves: each returns the exit status. */
#define COMMAND(id, ...) int command_##id(struct cli *cli);
#define FLAG(...)
#include "scheduler/cli/commands.def"
#undef COMMAND
#undef FLAG

/* Prints the reason on standard error (as JSON with -o json) and returns status. */
int cli_fail(const struct cli *cli, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

bool cli_prints_json(const struct cli *cli);

/* A line on standard error, unless --quiet. */
void cli_note(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* On a terminal: a line that the next one replaces; NULL wipes it. Elsewhere: nothing. */
void cli_progress(const struct cli *cli, const char *text);

#endif
