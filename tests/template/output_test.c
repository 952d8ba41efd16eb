/* A guest's output becomes lines that can be shown, whatever it sends and however it is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node-agent/template/output.h"

static struct output output;
static char seen[64 * 1024];
static size_t lines_n;

static void on_line(void *arg, bool is_error, const char *line)
{
	size_t n = strlen(seen);

	(void)arg;
	lines_n++;
	snprintf(seen + n, sizeof(seen) - n, "%s%s|", is_error ? "!" : "", line);
}

static int setup(void **state)
{
	(void)state;
	memset(&output, 0, sizeof(output));
	output.on_line = on_line;
	seen[0] = 0;
	lines_n = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	output_finish(&output);
	return 0;
}

static int feed_cut(uint8_t flags, const char *json, size_t piece_n)
{
	size_t n = strlen(json), at = 0, all = n + 5;
	char *bytes = malloc(all);
	int result = 0;

	assert_non_null(bytes);
	bytes[0] = (char)flags;
	for (int i = 0; i < 4; i++)
		bytes[1 + i] = (char)(n >> (24 - 8 * i));
	memcpy(bytes + 5, json, n);
	while (!result && at < all) {
		size_t one = piece_n < all - at ? piece_n : all - at;

		result = output_feed(&output, bytes + at, one, NULL);
		at += one;
	}
	free(bytes);
	return result;
}

static int feed_text(const char *stream, const char *text, size_t n)
{
	char code[8192], json[9000];

	sodium_bin2base64(code, sizeof(code), (const unsigned char *)text, n,
			  sodium_base64_VARIANT_ORIGINAL);
	snprintf(json, sizeof(json), "{\"event\":{\"data\":{\"%s\":\"%s\"}}}", stream, code);
	return feed_cut(0, json, 7);
}

static void lines_come_whole_however_they_are_cut(void **state)
{
	(void)state;
	assert_int_equal(feed_text("stdout", "one\ntw", 6), 0);
	assert_int_equal(feed_text("stderr", "bad\n", 4), 0);
	assert_int_equal(feed_text("stdout", "o\r50%\r100%\nrest", 15), 0);
	assert_int_equal(feed_cut(0, "{\"event\":{\"end\":{\"exitCode\":3,\"exited\":true}}}", 1),
			 0);
	assert_int_equal(feed_cut(2, "{}", 1), 0);
	output_finish(&output);
	assert_string_equal(seen, "one|!bad|two|50%|100%|rest|");
	assert_true(output.has_ended);
	assert_int_equal(output.exit_code, 3);
}

static void what_is_no_text_does_not_get_through(void **state)
{
	(void)state;
	assert_int_equal(feed_text("stdout", "\x1b[31mred\xff\xc3\xa9\xed\xa0\x80\0\x07\n", 17), 0);
	assert_string_equal(seen, "[31mred?\xc3\xa9???|");
}

static void lines_are_bounded_in_length_and_number(void **state)
{
	char many[4096];

	(void)state;
	memset(many, 'x', sizeof(many));
	assert_int_equal(feed_text("stdout", many, 4096), 0);
	assert_int_equal(lines_n, 2);
	memset(many, '\n', sizeof(many));
	for (int i = 0; i < 10; i++)
		assert_int_equal(feed_text("stdout", many, 4096), 0);
	assert_int_equal(lines_n, OUTPUT_LINES_MAX + 1);
}

static void a_signal_and_a_refusal_are_told_apart_from_an_exit(void **state)
{
	(void)state;
	assert_int_equal(feed_cut(0, "{\"event\":{\"end\":{\"exitCode\":0,\"exited\":false}}}", 99),
			 0);
	assert_int_equal(output.exit_code, -1);
	assert_int_equal(feed_cut(2,
				  "{\"error\":{\"code\":\"unauthenticated\",\"message\":\"no such "
				  "user\"}}",
				  99),
			 0);
	assert_true(output.is_refused);
	assert_string_equal(output.problem, "no such user");
}

static void what_breaks_the_protocol_is_a_fault(void **state)
{
	static const char huge[] = {0, 0x7f, 0, 0, 0};

	(void)state;
	assert_int_equal(feed_cut(0, "not json", 3), -1);
	setup(NULL);
	assert_int_equal(feed_cut(0, "{\"event\":{\"data\":{\"stdout\":\"***\"}}}", 3), -1);
	setup(NULL);
	assert_int_equal(output_feed(&output, huge, sizeof(huge), NULL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lines_come_whole_however_they_are_cut, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_is_no_text_does_not_get_through, setup,
						teardown),
		cmocka_unit_test_setup_teardown(lines_are_bounded_in_length_and_number, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_signal_and_a_refusal_are_told_apart_from_an_exit,
						setup, teardown),
		cmocka_unit_test_setup_teardown(what_breaks_the_protocol_is_a_fault, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
