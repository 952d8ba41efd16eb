#include "scheduler/cli/args.h"

#include "common/base/check.h"
#include "common/io/nearest.h"
#include "scheduler/cli/settings.h"

#include <string.h>

/* What a word on the command line may mean, once it is known to be a flag. */
struct flag_meaning {
	const struct cli_row *row; /* a flag of the command */
	size_t setting;            /* or a setting's row; settings_program.rows_n: neither */
	bool is_help;
	bool is_switch;
};

const struct cli_row *args_flags_of(const struct cli_row *command, size_t *out_n)
{
	const struct cli_row *flag = command + 1;

	while (flag < cli_rows + cli_rows_n && flag->flag)
		flag++;
	*out_n = (size_t)(flag - command - 1);
	return command + 1;
}

/* --- flags ----------------------------------------------------------------------------------- */

static size_t setting_named(const char *name, char letter)
{
	if (letter)
		name = letter == 'o' ? "output" : letter == 'q' ? "quiet" : "";
	for (size_t i = 0; i < settings_program.rows_n; i++)
		if (strcmp(settings_program.rows[i].name, name) == 0)
			return i;
	return settings_program.rows_n;
}

/* name: without dashes and value; letter: 0 or the short form, then name is empty. */
static bool flag_find(const struct cli_row *command, const char *name, char letter,
		      struct flag_meaning *out)
{
	size_t flags_n = 0;
	const struct cli_row *flags = command ? args_flags_of(command, &flags_n) : NULL;

	*out = (struct flag_meaning){.setting = settings_program.rows_n};
	if (letter == 'h' || strcmp(name, "help") == 0) {
		out->is_help = out->is_switch = true;
		return true;
	}
	for (size_t i = 0; i < flags_n; i++) {
		if (letter ? flags[i].letter == letter : strcmp(flags[i].flag, name) == 0) {
			out->row = &flags[i];
			out->is_switch = flags[i].kind == FLAG_SWITCH;
			return true;
		}
	}
	out->setting = setting_named(name, letter);
	if (out->setting == settings_program.rows_n)
		return false;
	out->is_switch = settings_program.rows[out->setting].type == OPTION_TYPE_BOOL;
	return true;
}

static int flag_refuse(const struct cli_row *command, const char *word, const char *name,
		       struct err *err)
{
	size_t flags_n = 0;
	const struct cli_row *flags = command ? args_flags_of(command, &flags_n) : NULL;
	struct nearest near = nearest_begin(name);

	for (size_t i = 0; i < flags_n; i++)
		nearest_offer(&near, flags[i].flag);
	for (size_t i = 0; i < settings_program.rows_n; i++)
		nearest_offer(&near, settings_program.rows[i].name);
	if (near.best)
		return err_set(err, "unknown flag %.64s; did you mean --%s?", word, near.best);
	return err_set(err, "unknown flag %.64s", word);
}

static int flag_keep(struct args *args, const struct flag_meaning *meaning, const char *value,
		     struct err *err)
{
	if (meaning->is_help) {
		args->help = true;
		return 0;
	}
	if (!meaning->row) {
		args->settings.text[meaning->setting] = meaning->is_switch ? "yes" : value;
		return 0;
	}
	if (args->flags_n == ARGS_FLAGS_MAX)
		return err_set(err, "more than %d flags", ARGS_FLAGS_MAX);
	args->flag[args->flags_n++] = (struct given_flag){meaning->row, value};
	return 0;
}

/* The flag at argv[at]; how many words it took, 0 when it is unknown, -1 with a fault. */
static int flag_read(struct args *args, const struct cli_row *command, int argc, char **argv,
		     int at, struct err *err)
{
	bool is_long = argv[at][1] == '-';
	const char *name = argv[at] + 2, *value = NULL;
	struct flag_meaning meaning;
	char word[64];

	if (is_long) {
		value = strchr(name, '=');
		snprintf(word, sizeof(word), "%.*s",
			 value ? (int)(value - name) : (int)strlen(name), name);
		value = value ? value + 1 : NULL;
	} else {
		word[0] = 0;
		value = argv[at][2] ? argv[at] + 2 : NULL;
	}
	if (!flag_find(command, word, is_long ? 0 : argv[at][1], &meaning))
		return 0;
	if (meaning.is_switch && value)
		return err_set(err, "%.64s: takes no value", argv[at]);
	if (meaning.is_switch)
		return flag_keep(args, &meaning, "", err) ? -1 : 1;
	if (!value && at + 1 == argc)
		return err_set(err, "%.64s needs a value", argv[at]);
	if (flag_keep(args, &meaning, value ? value : argv[at + 1], err))
		return -1;
	return value ? 1 : 2;
}

static bool is_flag(const char *word)
{
	return word[0] == '-' && word[1] && strcmp(word, "--") != 0;
}

/* --- which command --------------------------------------------------------------------------- */

enum { WORDS_MAX = 3 }; /* "help" and a command's two */

/* The first words that are neither flags nor flags' values; where the last of them is. */
static int leading_words(int argc, char **argv, const char *words[WORDS_MAX], int at[WORDS_MAX])
{
	struct args ignored = {0};
	int words_n = 0;

	for (int i = 1; i < argc && words_n < WORDS_MAX;) {
		if (strcmp(argv[i], "--") == 0)
			break;
		if (is_flag(argv[i])) {
			int taken = flag_read(&ignored, NULL, argc, argv, i, NULL);

			/* A flag of a command: its name has been said by now. */
			if (taken <= 0)
				break;
			i += taken;
			continue;
		}
		at[words_n] = i;
		words[words_n++] = argv[i++];
	}
	return words_n;
}

/* 2, 1: words of the command that matched; 0: none did. */
static int command_match(const struct cli_row *row, const char *const words[], int words_n)
{
	const char *space = strchr(row->words, ' ');
	size_t first_n = space ? (size_t)(space - row->words) : strlen(row->words);

	if (words_n < 1 || strlen(words[0]) != first_n ||
	    memcmp(words[0], row->words, first_n) != 0)
		return 0;
	if (!space)
		return 1;
	return words_n > 1 && strcmp(words[1], space + 1) == 0 ? 2 : 0;
}

static bool is_group(const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i < cli_rows_n; i++)
		if (cli_rows[i].words && strncmp(cli_rows[i].words, word, n) == 0 &&
		    cli_rows[i].words[n] == ' ')
			return true;
	return false;
}

static int command_refuse(const char *const words[], int words_n, struct err *err)
{
	char typed[96];
	struct nearest near;

	snprintf(typed, sizeof(typed), "%.40s%s%.40s", words[0], words_n > 1 ? " " : "",
		 words_n > 1 ? words[1] : "");
	near = nearest_begin(typed);
	for (size_t i = 0; i < cli_rows_n; i++)
		if (cli_rows[i].words)
			nearest_offer(&near, cli_rows[i].words);
	if (!near.best && words_n > 1 && !is_group(words[0])) {
		/* "rnu base": the second word was no part of the command. */
		near = nearest_begin(words[0]);
		for (size_t i = 0; i < cli_rows_n; i++)
			if (cli_rows[i].words)
				nearest_offer(&near, cli_rows[i].words);
		snprintf(typed, sizeof(typed), "%.40s", words[0]);
	}
	if (near.best)
		return err_set(err, "unknown command \"%s\"; did you mean \"%s\"?", typed,
			       near.best);
	return err_set(err, "unknown command \"%s\"; `flotilla --help` lists them", typed);
}

static int operands_check(const struct args *args, struct err *err)
{
	const struct cli_row *command = args->command;

	if (args->operands_n < command->least)
		return err_set(err, "%s needs %s", command->words, command->operands);
	if (args->operands_n > command->most && command->tail == TAIL)
		return err_set(err, "\"%.64s\": put -- before the command to run",
			       args->operand[command->most]);
	if (args->operands_n > command->most)
		return err_set(err, "\"%.64s\" is too much for %s", args->operand[command->most],
			       command->words);
	if (args->tail && command->tail == NO_TAIL)
		return err_set(err, "%s takes nothing after --", command->words);
	if (args->tail_n == 0 && command->tail == TAIL)
		return err_set(err, "%s needs a command to run: flotilla %s %s -- COMMAND...",
			       command->words, command->words, command->operands);
	return 0;
}

/* Flags and operands of a known command; the words at skip[] name it. */
static int parse_rest(struct args *args, int argc, char **argv, const int skip[], int skip_n,
		      struct err *err)
{
	for (int i = 1; i < argc;) {
		int taken;

		if (strcmp(argv[i], "--") == 0) {
			args->tail = argv + i + 1;
			args->tail_n = argc - i - 1;
			return 0;
		}
		if ((skip_n > 0 && i == skip[0]) || (skip_n > 1 && i == skip[1])) {
			i++;
			continue;
		}
		if (!is_flag(argv[i])) {
			if (args->operands_n == ARGS_OPERANDS_MAX)
				return err_set(err, "more than %d words", ARGS_OPERANDS_MAX);
			args->operand[args->operands_n++] = argv[i++];
			continue;
		}
		taken = flag_read(args, args->command, argc, argv, i, err);
		if (taken == 0)
			return flag_refuse(args->command, argv[i], argv[i] + strspn(argv[i], "-"),
					   err);
		if (taken < 0)
			return -1;
		i += taken;
	}
	return 0;
}

int args_parse(int argc, char **argv, struct args *out, struct err *err)
{
	const char *typed[WORDS_MAX], *const *words = typed;
	int at[WORDS_MAX], words_n = leading_words(argc, argv, typed, at), matched = 0;

	memset(out, 0, sizeof(*out));
	if (words_n > 0 && strcmp(words[0], "help") == 0) {
		out->help = true;
		words++;
		words_n--;
	}
	for (size_t i = 0; i < cli_rows_n && !matched; i++) {
		if (!cli_rows[i].words)
			continue;
		matched = command_match(&cli_rows[i], words, words_n);
		if (matched)
			out->command = &cli_rows[i];
	}
	if (!out->command && words_n == 1 && is_group(words[0]))
		out->group = words[0];
	else if (!out->command && words_n > 0)
		return command_refuse(words, words_n > 2 ? 2 : words_n, err);
	if (out->help)
		return 0;
	if (parse_rest(out, argc, argv, at, out->command ? matched : words_n, err))
		return -1;
	if (!out->command)
		out->help = true;
	return out->help ? 0 : operands_check(out, err);
}

const char *args_value(const struct args *args, const char *flag)
{
	const char *value = NULL;

	for (size_t i = 0; i < args->flags_n; i++)
		if (strcmp(args->flag[i].row->flag, flag) == 0)
			value = args->flag[i].value;
	return value;
}

const char *args_value_at(const struct args *args, const char *flag, size_t i)
{
	for (size_t j = 0; j < args->flags_n; j++)
		if (strcmp(args->flag[j].row->flag, flag) == 0 && i-- == 0)
			return args->flag[j].value;
	return NULL;
}
