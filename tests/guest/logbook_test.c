/* The promises of node-agent/guest/logbook.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/guest/logbook.h"

static struct logbook book;

static int begin(void **state)
{
	(void)state;
	logbook_init(&book);
	return 0;
}

static int end(void **state)
{
	(void)state;
	logbook_close(&book);
	assert_int_equal(book.bytes_n, 0);
	return 0;
}

static void say(pid_t pid, bool is_stderr, const char *text)
{
	logbook_output(&book, pid, is_stderr, text, strlen(text));
}

/* "event:pid:text" of each line behind `after`, joined by '|'; how many were lost before them. */
static const char *told(uint64_t *after, uint64_t *out_lost)
{
	static char text[LOGBOOK_BYTES_MAX * 2];
	json_t *answer = logbook_json(&book, *after), *row;
	size_t i, n = 0;

	text[0] = 0;
	json_array_foreach(json_object_get(answer, "lines"), i, row)
	{
		const char *line = json_string_value(json_array_get(row, 3));

		assert_non_null(line);
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%d:%d:%s", i ? "|" : "",
				      (int)json_integer_value(json_array_get(row, 1)),
				      (int)json_integer_value(json_array_get(row, 2)), line);
		assert_true(n < sizeof(text));
	}
	*after = (uint64_t)json_integer_value(json_object_get(answer, "next"));
	if (out_lost)
		*out_lost = (uint64_t)json_integer_value(json_object_get(answer, "lost"));
	json_decref(answer);
	return text;
}

static void a_process_is_told_from_start_to_end(void **state)
{
	json_t *config = json_pack("{s:s, s:[s, s]}", "cmd", "/bin/sh", "args", "-c", "exit 3");
	uint64_t at = 0;

	(void)state;
	logbook_started(&book, 5, config);
	say(5, false, "one\ntwo\n");
	say(5, true, "bad\n");
	logbook_ended(&book, 5, 3 << 8);
	logbook_ended(&book, 6, 9);
	assert_string_equal(told(&at, NULL),
			    "3:5:/bin/sh -c exit 3|1:5:one|1:5:two|2:5:bad|4:5:exit "
			    "status 3|4:6:signal 9");
	assert_string_equal(told(&at, NULL), "");
	json_decref(config);
}

static void pieces_of_a_line_become_one(void **state)
{
	uint64_t at = 0;

	(void)state;
	say(5, false, "he");
	say(5, false, "llo");
	say(5, false, "\n\n");
	say(5, false, "a");
	say(6, false, "other\n");
	say(5, false, "b\n");
	assert_string_equal(told(&at, NULL), "1:5:hello|1:5:|1:5:a|1:6:other|1:5:b");
	/* One that was told does not grow. */
	say(5, false, "x");
	assert_string_equal(told(&at, NULL), "1:5:x");
	say(5, false, "y\n");
	assert_string_equal(told(&at, NULL), "1:5:y");
}

static void what_is_no_text_becomes_text(void **state)
{
	static const char *const good[] = {"caf\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
					   "\x1b[1m"};
	static const char *const bad[][2] = {{"\xff", "?"},
					     {"a\xc3", "a?"},
					     {"\xed\xa0\x80", "???"},
					     {"\xc0\xaf", "??"},
					     {"\xf4\x90\x80\x80", "????"},
					     {"\xe2\x82z", "??z"}};
	char want[32];
	uint64_t at = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_N(good); i++) {
		say(1, true, good[i]);
		say(1, true, "\n");
		snprintf(want, sizeof(want), "2:1:%s", good[i]);
		assert_string_equal(told(&at, NULL), want);
	}
	for (size_t i = 0; i < ARRAY_N(bad); i++) {
		say(1, true, bad[i][0]);
		say(1, true, "\n");
		snprintf(want, sizeof(want), "2:1:%s", bad[i][1]);
		assert_string_equal(told(&at, NULL), want);
	}
	logbook_output(&book, 1, false, "a\0b\n", 4);
	assert_string_equal(told(&at, NULL), "1:1:a?b");
}

static void long_lines_are_broken_and_nothing_is_lost(void **state)
{
	static char text[3 * LOGBOOK_LINE_MAX + 2];
	const char *line;
	uint64_t at = 0;
	size_t x_n = 0;

	(void)state;
	memset(text, 'x', sizeof(text) - 2);
	text[sizeof(text) - 2] = '\n';
	say(1, false, text);
	assert_int_equal(book.end - book.first, 3);
	for (line = told(&at, NULL); *line; line++)
		x_n += *line == 'x';
	assert_int_equal(x_n, 3 * LOGBOOK_LINE_MAX);
}

static void too_much_costs_the_oldest_and_is_counted(void **state)
{
	uint64_t at = 0, lost, lines_n = 0;
	char line[128];

	(void)state;
	say(1, false, "first\n");
	told(&at, NULL);
	for (int i = 0; i < 3 * LOGBOOK_LINES_MAX; i++) {
		snprintf(line, sizeof(line), "%0100d\n", i);
		say(1, false, line);
		assert_true(book.bytes_n <= LOGBOOK_BYTES_MAX);
	}
	told(&at, &lost);
	assert_int_equal(lost, 2 * LOGBOOK_LINES_MAX);
	/* The rest comes in pieces, none twice and none left out. */
	do {
		lines_n = at;
		told(&at, &lost);
		assert_int_equal(lost, 0);
	} while (at != lines_n);
	assert_int_equal(at, 1 + 3 * LOGBOOK_LINES_MAX);
}

static void a_number_from_elsewhere_begins_anew(void **state)
{
	uint64_t at = 1000000, lost;

	(void)state;
	say(1, false, "here\n");
	assert_string_equal(told(&at, &lost), "1:1:here");
	assert_int_equal(lost, 0);
	at = UINT64_MAX;
	told(&at, &lost);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_process_is_told_from_start_to_end, begin, end),
		cmocka_unit_test_setup_teardown(pieces_of_a_line_become_one, begin, end),
		cmocka_unit_test_setup_teardown(what_is_no_text_becomes_text, begin, end),
		cmocka_unit_test_setup_teardown(long_lines_are_broken_and_nothing_is_lost, begin,
						end),
		cmocka_unit_test_setup_teardown(too_much_costs_the_oldest_and_is_counted, begin,
						end),
		cmocka_unit_test_setup_teardown(a_number_from_elsewhere_begins_anew, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
