#include "common/base/check.h"
#include "scheduler/cli/args.h"
#include "scheduler/cli/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static struct args args;
static struct err err;

static int parse(int n, const char *const words[])
{
	static char *argv[64];

	argv[0] = (char *)"flotilla";
	memcpy(argv + 1, words, (size_t)n * sizeof(argv[0]));
	argv[n + 1] = NULL;
	return args_parse(n + 1, argv, &args, &err);
}
#define PARSE(...)                                                                                 \
	parse((int)ARRAY_N(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__})

static void a_command_takes_its_flags_wherever_they_stand(void **unused)
{
	(void)unused;
	assert_int_equal(PARSE("-q", "run", "--env", "A=1", "base", "--timeout=5m", "-e", "B=2",
			       "-ojson", "--", "ls", "--env", "-l"),
			 0);
	assert_string_equal(args.command->words, "run");
	assert_int_equal(args.operands_n, 1);
	assert_string_equal(args.operand[0], "base");
	assert_string_equal(args_value_at(&args, "env", 0), "A=1");
	assert_string_equal(args_value_at(&args, "env", 1), "B=2");
	assert_null(args_value_at(&args, "env", 2));
	assert_string_equal(args_value(&args, "timeout"), "5m");
	assert_string_equal(args.settings.text[SETTING_ROW_output], "json");
	assert_string_equal(args.settings.text[SETTING_ROW_quiet], "yes");
	assert_int_equal(args.tail_n, 3);
	assert_string_equal(args.tail[2], "-l");
	assert_null(args.tail[3]);
}

static void two_words_name_a_command_even_with_flags_between(void **unused)
{
	(void)unused;
	assert_int_equal(PARSE("--context", "x", "sandbox", "-o", "name", "ls"), 0);
	assert_string_equal(args.command->words, "sandbox ls");
	assert_int_equal(args.operands_n, 0);
	assert_int_equal(PARSE("sandbox", "kill", "i1", "i2"), 0);
	assert_int_equal(args.operands_n, 2);
}

static void help_is_there_for_everything(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < cli_rows_n; i++) {
		char first[32], second[32] = "", *text = NULL;
		size_t text_n;
		FILE *out;

		if (!cli_rows[i].words)
			continue;
		if (sscanf(cli_rows[i].words, "%31s %31s", first, second) == 2)
			assert_int_equal(PARSE(first, second, "--help"), 0);
		else
			assert_int_equal(PARSE(first, "--help"), 0);
		assert_true(args.help && args.command == &cli_rows[i]);
		out = open_memstream(&text, &text_n);
		args_print_help(args.command, NULL, out);
		fclose(out);
		assert_non_null(strstr(text, cli_rows[i].help));
		free(text);
	}
	assert_int_equal(PARSE("help", "sandbox", "ls"), 0);
	assert_string_equal(args.command->words, "sandbox ls");
	assert_int_equal(PARSE("sandbox"), 0);
	assert_true(args.help);
	assert_string_equal(args.group, "sandbox");
	assert_int_equal(parse(0, (const char *[]){NULL}), 0);
	assert_true(args.help && !args.command && !args.group);
}

static void what_is_wrong_is_said_with_advice(void **unused)
{
	static const struct {
		const char *words[4];
		const char *says;
	} rows[] = {
		{{"sandbox", "lst"},
		 "unknown command \"sandbox lst\"; did you mean \"sandbox ls\""},
		{{"snadbox", "ls"}, "did you mean \"sandbox ls\"?"},
		{{"rnu", "base"}, "unknown command \"rnu\"; did you mean \"run\"?"},
		{{"frobnicate"}, "`flotilla --help` lists them"},
		{{"usage", "--form", "x"}, "unknown flag --form; did you mean --from?"},
		{{"usage", "--keep"}, "unknown flag --keep"},
		{{"usage", "--from"}, "--from needs a value"},
		{{"usage", "-o"}, "-o needs a value"},
		{{"run", "--keep=yes", "x"}, "takes no value"},
		{{"run", "base"}, "needs a command to run"},
		{{"run", "base", "--"}, "needs a command to run"},
		{{"run", "base", "ls"}, "\"ls\": put -- before the command to run"},
		{{"limits", "x"}, "\"x\" is too much for limits"},
		{{"limits", "--", "x"}, "limits takes nothing after --"},
		{{"sandbox", "kill"}, "sandbox kill needs ID..."},
		{{"-z"}, "unknown flag -z"},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		int n = 0;

		while (n < 4 && rows[i].words[n])
			n++;
		assert_int_equal(parse(n, rows[i].words), -1);
		if (!strstr(err.text, rows[i].says))
			fail_msg("\"%s\", not \"%s\"", err.text, rows[i].says);
	}
}

static void more_words_than_there_is_room_for_are_refused(void **unused)
{
	const char *words[60] = {"run", "base"};

	(void)unused;
	for (int i = 2; i < 60; i += 2) {
		words[i] = "-e";
		words[i + 1] = "A=1";
	}
	assert_int_equal(parse(60, words), -1); /* no command, but no overflow either */
	words[0] = "sandbox";
	words[1] = "kill";
	for (int i = 2; i < 60; i++)
		words[i] = "i1";
	assert_int_equal(parse(60, words), 0);
}

static void one_line_of_a_file_changes_the_context(void **unused)
{
	static const struct {
		const char *before, *after;
	} rows[] = {
		{"", "context = b\n"},
		{"context = a\nquiet = yes\n", "context = b\nquiet = yes\n"},
		{"# mine\n  context: a\nquiet = yes", "context = b\n# mine\nquiet = yes"},
		{"contexts = a\n#context = a\n", "context = b\ncontexts = a\n#context = a\n"},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		char *after = context_set_line(rows[i].before, "b");

		assert_string_equal(after, rows[i].after);
		free(after);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_command_takes_its_flags_wherever_they_stand),
		cmocka_unit_test(two_words_name_a_command_even_with_flags_between),
		cmocka_unit_test(help_is_there_for_everything),
		cmocka_unit_test(what_is_wrong_is_said_with_advice),
		cmocka_unit_test(more_words_than_there_is_room_for_are_refused),
		cmocka_unit_test(one_line_of_a_file_changes_the_context),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
