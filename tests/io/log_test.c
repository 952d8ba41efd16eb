#include "common/io/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int fd;
static char lines[1 << 16];

static const char *logged(void)
{
	ssize_t n = pread(fd, lines, sizeof(lines) - 1, 0);

	lines[n > 0 ? n : 0] = 0;
	assert_int_equal(ftruncate(fd, 0), 0);
	lseek(fd, 0, SEEK_SET);
	return lines;
}

static int open_log(void **unused)
{
	(void)unused;
	fd = memfd_create("log", 0);
	log_to(fd);
	return fd < 0;
}

static int close_log(void **unused)
{
	(void)unused;
	log_flush();
	log_to(2);
	return close(fd);
}

static void a_line_of_text_reads_as_level_component_message_fields(void **unused)
{
	struct err err = {"open /x: No such file"};

	(void)unused;
	log_setup("info", "text");
	log_info("agent", "claimed", LOG_TEXT("sandbox", "i1"), LOG_INT("took_ms", -3),
		 LOG_UINT("n", UINT64_MAX));
	assert_string_equal(logged(),
			    "info agent: claimed sandbox=i1 took_ms=-3 n=18446744073709551615\n");
	log_error("store", "cannot commit", LOG_ERR(&err), LOG_TEXT("more", NULL));
	assert_string_equal(
		logged(), "error store: cannot commit error=\"open /x: No such file\" more=\"\"\n");
}

static void text_from_outside_cannot_forge_a_line(void **unused)
{
	(void)unused;
	log_setup("info", "text");
	log_warn("api", "odd", LOG_TEXT("name", "a\nerror api: b\x1b[0m\"\\"));
	assert_string_equal(logged(),
			    "warn api: odd name=\"a\\nerror api: b\\u001b[0m\\\"\\\\\"\n");
	log_warn("api", "odd", LOG_TEXT("bytes", "\xff\xc0\xaf \xc3\xa9"));
	assert_string_equal(logged(), "warn api: odd bytes=\"\\ufffd\\ufffd\\ufffd \xc3\xa9\"\n");
}

static void a_line_of_json_has_its_fields_beside_ts_level_component_msg(void **unused)
{
	const char *text;

	(void)unused;
	log_setup("debug", "json");
	log_debug("bus", "poll", LOG_TEXT("node", "nod_1"), LOG_UINT("records", 2));
	text = logged();
	assert_int_equal(strncmp(text, "{\"ts\":\"20", 9), 0);
	assert_string_equal(strstr(text, ",\"level\""),
			    ",\"level\":\"debug\",\"component\":\"bus\",\"msg\":\"poll\","
			    "\"node\":\"nod_1\",\"records\":2}\n");
}

static void a_level_below_the_least_is_not_written(void **unused)
{
	(void)unused;
	log_setup("warn", "text");
	assert_false(log_is_on(LOG_LEVEL_INFO));
	log_info("a", "quiet");
	log_debug("a", "quiet");
	assert_string_equal(logged(), "");
	log_error("a", "loud");
	assert_string_equal(logged(), "error a: loud\n");
}

static void identical_lines_are_counted_instead_of_written(void **unused)
{
	(void)unused;
	log_setup("info", "text");
	for (int i = 0; i < 1005; i++)
		log_warn("bus", "no answer", LOG_TEXT("node", "n"));
	log_warn("bus", "no answer", LOG_TEXT("node", "other"));
	log_flush();
	assert_string_equal(logged(), "warn bus: no answer node=n\n"
				      "warn bus: no answer node=n\n"
				      "warn bus: no answer node=n\n"
				      "warn bus: no answer node=n\n"
				      "warn bus: no answer node=n\n"
				      "warn bus: no answer node=other\n"
				      "warn bus: suppressed count=1000 what=\"no answer\"\n");
}

static void what_does_not_fit_is_left_out_and_the_line_stays_whole(void **unused)
{
	static char huge[10000];
	const char *text;

	(void)unused;
	memset(huge, '"', sizeof(huge) - 1);
	log_setup("info", "json");
	log_info("a", "b", LOG_TEXT("huge", huge), LOG_INT("small", 1));
	text = logged();
	assert_true(strlen(text) < LOG_LINE_MAX);
	assert_non_null(strstr(text, "\"msg\":\"b\",\"small\":1}\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_of_text_reads_as_level_component_message_fields),
		cmocka_unit_test(text_from_outside_cannot_forge_a_line),
		cmocka_unit_test(a_line_of_json_has_its_fields_beside_ts_level_component_msg),
		cmocka_unit_test(a_level_below_the_least_is_not_written),
		cmocka_unit_test(identical_lines_are_counted_instead_of_written),
		cmocka_unit_test(what_does_not_fit_is_left_out_and_the_line_stays_whole),
	};

	return cmocka_run_group_tests(tests, open_log, close_log);
}
