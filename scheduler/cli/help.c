/* What is told about commands: the table itself, --help, and the shell's completion. */
#include "scheduler/cli/args.h"

#include "common/base/check.h"
#include "scheduler/cli/cli.h"
#include "scheduler/cli/settings.h"

#include <string.h>

const struct cli_row cli_rows[] = {
#define COMMAND(id, w, o, l, m, t, h)                                                              \
	{.words = (w),                                                                             \
	 .operands = (o),                                                                          \
	 .least = (l),                                                                             \
	 .most = (m),                                                                              \
	 .tail = (t),                                                                              \
	 .handler = command_##id,                                                                  \
	 .help = (h)},
#define FLAG(n, l, k, a, h)                                                                        \
	{.flag = (n), .letter = (l), .kind = FLAG_##k, .argument = (a), .help = (h)},
#include "scheduler/cli/commands.def"
#undef COMMAND
#undef FLAG
};
const size_t cli_rows_n = ARRAY_N(cli_rows);

enum { HELP_COLUMN = 32 };

static void print_entry(const char *left, const char *help, FILE *out)
{
	if (strlen(left) < HELP_COLUMN - 1)
		fprintf(out, "%-*s%s\n", HELP_COLUMN, left, help);
	else
		fprintf(out, "%s\n%-*s%s\n", left, HELP_COLUMN, "", help);
}

static void print_flag(char letter, const char *name, const char *argument, const char *help,
		       FILE *out)
{
	char left[128];

	if (letter)
		snprintf(left, sizeof(left), "  -%c, --%s %s", letter, name, argument);
	else
		snprintf(left, sizeof(left), "      --%s %s", name, argument);
	print_entry(left, help, out);
}

static void print_settings(FILE *out)
{
	fprintf(out,
		"\nFlags of every command (also FLOTILLA_* variables and keys of config.ini):\n");
	for (size_t i = 0; i < settings_program.rows_n; i++) {
		const struct option_spec *row = &settings_program.rows[i];
		char letter = i == SETTING_ROW_output ? 'o' : i == SETTING_ROW_quiet ? 'q' : 0;

		if (!(row->flags & OPTION_SECRET)) /* not taken as flags */
			print_flag(letter, row->name, row->argument, row->help, out);
	}
	print_flag('h', "help", "", "print this", out);
}

static void print_commands(const char *group, FILE *out)
{
	size_t group_n = group ? strlen(group) : 0;

	for (size_t i = 0; i < cli_rows_n; i++) {
		const struct cli_row *row = &cli_rows[i];
		char left[128];

		if (!row->words)
			continue;
		if (group &&
		    (strncmp(row->words, group, group_n) != 0 || row->words[group_n] != ' '))
			continue;
		snprintf(left, sizeof(left), "  %s%s%s%s", row->words, row->operands[0] ? " " : "",
			 row->operands, row->tail == TAIL ? " -- COMMAND..." : "");
		print_entry(left, row->help, out);
	}
}

void args_print_help(const struct cli_row *command, const char *group, FILE *out)
{
	size_t flags_n;
	const struct cli_row *flags;

	if (!command) {
		fprintf(out, "flotilla: sandboxes on a fleet of microVMs\n\n"
			     "Usage: flotilla COMMAND [flags]\n\n");
		print_commands(group, out);
		print_settings(out);
		fprintf(out,
			"\n`flotilla COMMAND --help` tells more. Exit status: 0 done, 1 failed, "
			"2 wrong usage,\n3 not found, 4 not allowed, 5 quota, 6 conflict, "
			"75 try again, 124 timed out,\n130 interrupted; run and exec pass the "
			"command's own.\n");
		return;
	}
	fprintf(out, "flotilla %s: %s\n\nUsage: flotilla %s [flags]%s%s%s\n", command->words,
		command->help, command->words, command->operands[0] ? " " : "", command->operands,
		command->tail == TAIL            ? " -- COMMAND..."
		: command->tail == TAIL_OPTIONAL ? " [-- ...]"
						 : "");
	flags = args_flags_of(command, &flags_n);
	if (flags_n)
		fputc('\n', out);
	for (size_t i = 0; i < flags_n; i++)
		print_flag(flags[i].letter, flags[i].flag, flags[i].argument, flags[i].help, out);
	print_settings(out);
}

/* --- completion ------------------------------------------------------------------------------ */

static void print_flag_words(const struct cli_row *command, FILE *out)
{
	size_t flags_n;
	const struct cli_row *flags = args_flags_of(command, &flags_n);

	for (size_t i = 0; i < flags_n; i++)
		fprintf(out, " --%s", flags[i].flag);
}

/* The second words of a group, or its first words when group is empty, each once. */
static void print_next_words(const char *group, FILE *out)
{
	const char *last = "";
	size_t group_n = strlen(group), last_n = 0;

	for (size_t i = 0; i < cli_rows_n; i++) {
		const char *words = cli_rows[i].words;
		size_t n;

		if (!words)
			continue;
		if (group_n && (strncmp(words, group, group_n) != 0 || words[group_n] != ' '))
			continue;
		words += group_n ? group_n + 1 : 0;
		n = strcspn(words, " ");
		if (n == last_n && memcmp(words, last, n) == 0)
			continue; /* a group's rows stand together */
		fprintf(out, " %.*s", (int)n, words);
		last = words;
		last_n = n;
	}
}

static void print_bash(FILE *out)
{
	char group[32] = "";

	fprintf(out, "_flotilla() {\n"
		     "\tlocal cur=${COMP_WORDS[COMP_CWORD]} words flags\n"
		     "\tcase \"${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in\n");
	for (size_t i = 0; i < cli_rows_n; i++) {
		const struct cli_row *row = &cli_rows[i];

		if (!row->words)
			continue;
		fprintf(out, "\t\"%s\"%s) flags=\"", row->words,
			strchr(row->words, ' ') ? "" : "\\ *");
		print_flag_words(row, out);
		fprintf(out, "\" ;;\n");
	}
	fprintf(out, "\tesac\n\tcase \"$COMP_CWORD:${COMP_WORDS[1]}\" in\n\t1:*) words=\"");
	print_next_words("", out);
	fprintf(out, "\" ;;\n");
	for (size_t i = 0; i < cli_rows_n; i++) {
		const char *words = cli_rows[i].words;
		const char *space = words ? strchr(words, ' ') : NULL;

		if (!space || strncmp(words, group, (size_t)(space - words) + 1) == 0)
			continue;
		snprintf(group, sizeof(group), "%.*s ", (int)(space - words), words);
		group[space - words] = 0;
		fprintf(out, "\t2:%s) words=\"", group);
		print_next_words(group, out);
		fprintf(out, "\" ;;\n");
		group[space - words] = ' ';
	}
	fprintf(out, "\t2:completion) words=\" bash\" ;;\n\tesac\n\tif [[ $cur == -* ]]; then\n"
		     "\t\twords=\"$flags --help");
	for (size_t i = 0; i < settings_program.rows_n; i++)
		if (!(settings_program.rows[i].flags & OPTION_SECRET))
			fprintf(out, " --%s", settings_program.rows[i].name);
	fprintf(out, "\"\n\tfi\n"
		     "\tif [[ ${COMP_WORDS[COMP_CWORD-1]} == -o ]]; then\n"
		     "\t\twords=\"table wide json jsonl csv name\"\n\tfi\n"
		     "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
		     "}\ncomplete -F _flotilla flotilla\n");
}

int command_completion(struct cli *cli)
{
	if (strcmp(cli->args.operand[0], "bash") != 0)
		return cli_fail(cli, STATUS_USAGE, "completion is there for bash only");
	print_bash(stdout);
	return STATUS_OK;
}
