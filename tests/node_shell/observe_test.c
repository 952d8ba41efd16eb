/* What a guest says of itself is believed within bounds: node-agent/shim/observe.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/base/units.h"
#include "node-agent/shim/observe.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t since = 1000000 * NS_PER_S, now = 2000000 * NS_PER_S;
static struct observe_answer answer;

static bool read_text(const char *text, bool is_first, json_t **out)
{
	return observe_read(text, strlen(text), is_first, since, now, &answer, out);
}

/* What is read can be said on. */
static void check_valid(void)
{
	struct wire_observed observed = {.sandbox = {"i0"},
					 .samples = &answer.sample,
					 .samples_n = 1,
					 .lines = answer.lines,
					 .lines_n = answer.lines_n,
					 .lost_n = answer.lost_n & INT64_MAX};
	static uint8_t out[WIRE_MESSAGE_MAX];
	struct err err;
	size_t n;

	answer.sample.at_wall_ns = now;
	assert_int_equal(wire_observed_encode(&observed, out, sizeof(out), &n, &err), 0);
	assert_true(n < 112 * 1024);
}

static void an_answer_is_taken_apart(void **state)
{
	json_t *document;

	(void)state;
	assert_true(read_text(
		"{\"next\":9,\"lost\":2,\"metrics\":{\"cpu_count\":2,\"cpu_used_pct\":12.5,"
		"\"mem_used\":10,\"mem_total\":40,\"mem_cache\":5,\"disk_used\":1,"
		"\"disk_total\":9},\"lines\":[[1500000000,1,7,\"hello\"]]}",
		true, &document));
	assert_int_equal(answer.sample.vcpus, 2);
	assert_int_equal(answer.sample.mem_total, 40);
	assert_true(answer.cpu_used_pct == 12.5);
	assert_int_equal(answer.lines_n, 1);
	assert_int_equal(answer.lines[0].at_wall_ns, 1500000 * NS_PER_S);
	assert_int_equal(answer.next, 9);
	assert_int_equal(answer.lost_n, 2);
	assert_false(answer.has_more);
	check_valid();
	json_decref(document);
}

static void what_is_no_answer_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"null",
		"{}",
		"{\"metrics\":{}}",
		"{\"lines\":[]}",
		"{\"metrics\":[],\"lines\":[]}",
		"{\"metrics\":{},\"lines\":{}}",
		"\xff",
	};
	json_t *document;

	(void)state;
	for (size_t i = 0; i < ARRAY_N(bad); i++)
		assert_false(read_text(bad[i], true, &document));
}

static void nonsense_is_bounded(void **state)
{
	json_t *document;

	(void)state;
	assert_true(read_text("{\"next\":-1,\"lost\":\"x\",\"metrics\":{\"cpu_count\":99999999999,"
			      "\"cpu_used_pct\":1e300,\"mem_used\":-5,\"mem_total\":[]},"
			      "\"lines\":[1,[],[1],[1500000000,0,1,\"x\"],[1500000000,5,1,\"x\"],"
			      "[1500000000,1,-1,\"negative\"],[1500000000,1,1,7],"
			      "[9999999999999999,1,99999999999,\"later\"],[null,4,1,\"never\"]]}",
			      false, &document));
	assert_int_equal(answer.sample.vcpus, 4096);
	assert_true(answer.cpu_used_pct == 100);
	assert_int_equal(answer.sample.mem_used, 0);
	assert_int_equal(answer.lines_n, 3);
	assert_int_equal(answer.lines[0].pid, 0);
	assert_int_equal(answer.lines[1].at_wall_ns, now);
	assert_int_equal(answer.lines[2].at_wall_ns, since);
	check_valid();
	json_decref(document);
}

/* A copy of another sandbox still has its lines. */
static void lines_from_before_the_claim_are_another_sandboxs(void **state)
{
	static const char text[] = "{\"metrics\":{},\"lines\":[[5,1,1,\"theirs\"],"
				   "[1500000000,1,1,\"ours\"]]}";
	json_t *document;

	(void)state;
	assert_true(read_text(text, true, &document));
	assert_int_equal(answer.lines_n, 1);
	assert_memory_equal(answer.lines[0].text.data, "ours", 4);
	json_decref(document);
	/* Later on it is a clock that was set back. */
	assert_true(read_text(text, false, &document));
	assert_int_equal(answer.lines_n, 2);
	assert_int_equal(answer.lines[0].at_wall_ns, since);
	json_decref(document);
}

static void a_flood_fits_between_shim_and_agent(void **state)
{
	json_t *lines = json_array(), *root, *document;
	char line[WIRE_LOG_TEXT_MAX + 2], *text;

	(void)state;
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = 0;
	json_array_append_new(lines, json_pack("[I,i,i,s]", (json_int_t)1500000000, 1, 1, line));
	line[WIRE_LOG_TEXT_MAX] = 0;
	for (int i = 0; i < 1000; i++)
		json_array_append_new(lines,
				      json_pack("[I,i,i,s]", (json_int_t)1500000000, 1, 1, line));
	root = json_pack("{s:{},s:o}", "metrics", "lines", lines);
	text = json_dumps(root, JSON_COMPACT);
	assert_true(read_text(text, true, &document));
	assert_int_equal(answer.lines_n, OBSERVE_TEXT_MAX / WIRE_LOG_TEXT_MAX);
	assert_true(answer.has_more);
	check_valid();
	json_decref(document);
	json_decref(root);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_is_taken_apart),
		cmocka_unit_test(what_is_no_answer_is_refused),
		cmocka_unit_test(nonsense_is_bounded),
		cmocka_unit_test(lines_from_before_the_claim_are_another_sandboxs),
		cmocka_unit_test(a_flood_fits_between_shim_and_agent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
