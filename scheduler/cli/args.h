/*
 * The command line: which command, its flags, its operands and what follows "--".  Pure: made from
 * commands.def and the table of settings, whose flags every command has.
 */
#ifndef FLOTILLA_CLI_ARGS_H
#define FLOTILLA_CLI_ARGS_H

#include "common/base/err.h"
#include "common/io/options.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct cli;

enum flag_kind { FLAG_SWITCH, FLAG_VALUE, FLAG_REPEATED };
enum tail_kind { NO_TAIL, TAIL, TAIL_OPTIONAL };

/* A row of commands.def: a command (words is not NULL), or a flag of the command above it. */
struct cli_row {
	const char *words; /* "sandbox ls" */
	const char *operands;
	int least;
	int most;
	enum tail_kind tail;
	int (*handler)(struct cli *cli); /* returns the exit status */

	const char *flag; /* "env" */
	char letter;
	enum flag_kind kind;
	const char *argument;

	const char *help;
};

extern const struct cli_row cli_rows[];
extern const size_t cli_rows_n;

enum { ARGS_FLAGS_MAX = 64, ARGS_OPERANDS_MAX = 64 };

struct given_flag {
	const struct cli_row *row;
	const char *value; /* "" for a switch */
};

struct args {
	const struct cli_row *command; /* NULL with help: the whole program's help is wanted */
	const char *group;             /* with help: "sandbox", when only a group was named */
	bool help;
	struct given_flag flag[ARGS_FLAGS_MAX];
	size_t flags_n;
	const char *operand[ARGS_OPERANDS_MAX];
	int operands_n;
	char **tail; /* NULL-terminated, as argv is; NULL without "--" */
	int tail_n;
	struct options_flags settings; /* flags that every command has */
};

/* All texts are borrowed from argv. A fault says what is wrong with the command line. */
int args_parse(int argc, char **argv, struct args *out, struct err *err);

/* The value of a flag of the command, or NULL; the last one given. */
const char *args_value(const struct args *args, const char *flag);

/* The i-th value of a repeated flag, or NULL. */
const char *args_value_at(const struct args *args, const char *flag, size_t i);

/* Help for a command, a group of commands, or (both NULL) the program. */
void args_print_help(const struct cli_row *command, const char *group, FILE *out);

/* The flags of a command: the rows after it, up to *out_n. */
const struct cli_row *args_flags_of(const struct cli_row *command, size_t *out_n);

#endif
