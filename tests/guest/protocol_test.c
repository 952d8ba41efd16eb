/* Connect's envelopes, the table of routes, and what clients ask of processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/guest/base64.h"
#include "node-agent/guest/connect.h"
#include "node-agent/guest/process.h"
#include "node-agent/guest/range.h"
#include "node-agent/guest/routes.h"

static void one_envelope_is_taken(void **state)
{
	struct http_text message;

	(void)state;
	assert_null(connect_envelope_read("\0\0\0\0\2{}", 7, &message));
	assert_true(http_text_equal(message, "{}"));
	assert_null(connect_envelope_read("\0\0\0\0\0", 5, &message));
	assert_int_equal(message.n, 0);
}

static void any_other_number_of_envelopes_is_refused(void **state)
{
	struct http_text message;

	(void)state;
	assert_non_null(connect_envelope_read("", 0, &message));
	assert_non_null(connect_envelope_read("\0\0\0\0", 4, &message));
	assert_non_null(connect_envelope_read("\0\0\0\0\3{}", 7, &message));
	assert_non_null(connect_envelope_read("\0\377\377\377\377{}", 7, &message));
	assert_non_null(connect_envelope_read("\0\0\0\0\1{}", 7, &message));
	assert_non_null(connect_envelope_read("\1\0\0\0\2{}", 7, &message));
	assert_non_null(connect_envelope_read("\2\0\0\0\2{}", 7, &message));
}

static void timeouts_are_numbers(void **state)
{
	uint64_t ms;

	(void)state;
	assert_true(connect_timeout_parse(http_text_of("60000"), &ms));
	assert_int_equal(ms, 60000);
	assert_true(connect_timeout_parse(http_text_of(""), &ms));
	assert_int_equal(ms, 0);
	assert_false(connect_timeout_parse(http_text_of("12345678901"), &ms));
	assert_false(connect_timeout_parse(http_text_of("1s"), &ms));
}

/* Everything but what E2B's clients may ask without a token. */
static void without_the_token_only_open_doors_open(void **state)
{
	static const char *const open[] = {"/health", "/init"};
	static const struct {
		const char *method, *path;
	} all[] = {
#define ROUTE(method, path, kind, auth, handler) {method, path},
#include "node-agent/guest/routes.def"
#undef ROUTE
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(all); i++) {
		const struct route *route = NULL;
		bool is_open = false;

		assert_int_equal(
			route_find(http_text_of(all[i].method), http_text_of(all[i].path), &route),
			ROUTE_FOUND);
		for (size_t j = 0; j < ARRAY_N(open); j++)
			is_open |= !strcmp(open[j], all[i].path);
		assert_true(route_allows(route, "", http_text_of("")));
		assert_true(route_allows(route, "secret", http_text_of("secret")));
		assert_int_equal(route_allows(route, "secret", http_text_of("")), is_open);
		assert_int_equal(route_allows(route, "secret", http_text_of("secre")), is_open);
		assert_int_equal(route_allows(route, "secret", http_text_of("secrets")), is_open);
		assert_int_equal(route_allows(route, "secret", http_text_of("Secret")), is_open);
	}
}

static void unknown_paths_and_methods_are_told_apart(void **state)
{
	const struct route *route;

	(void)state;
	assert_int_equal(route_find(http_text_of("GET"), http_text_of("/nope"), &route),
			 ROUTE_NO_PATH);
	assert_int_equal(route_find(http_text_of("GET"), http_text_of("/health/"), &route),
			 ROUTE_NO_PATH);
	assert_int_equal(route_find(http_text_of("PUT"), http_text_of("/health"), &route),
			 ROUTE_NO_METHOD);
	assert_int_equal(route_find(http_text_of("HEAD"), http_text_of("/health"), &route),
			 ROUTE_FOUND);
}

static const char *start_problem(const char *text, struct process_request *out, json_t **message)
{
	json_decref(*message);
	*message = json_loads(text, 0, NULL);
	assert_non_null(*message);
	return process_request_read(*message, out);
}

static void a_start_is_read(void **state)
{
	struct process_request request;
	json_t *message = NULL;

	(void)state;
	assert_null(start_problem("{\"process\":{\"cmd\":\"ls\",\"args\":[\"-l\"],\"cwd\":\"/x\","
				  "\"envs\":{\"A\":\"b\"}},\"tag\":\"t\",\"stdin\":false}",
				  &request, &message));
	assert_string_equal(request.cmd, "ls");
	assert_string_equal(request.cwd, "/x");
	assert_string_equal(request.tag, "t");
	assert_false(request.has_stdin);
	assert_false(request.has_pty);
	/* Old clients know no stdin field and expect to be able to write. */
	assert_null(
		start_problem("{\"process\":{\"cmd\":\"ls\",\"args\":null}}", &request, &message));
	assert_true(request.has_stdin);
	assert_string_equal(request.cwd, "");
	json_decref(message);
}

static void a_malformed_start_is_refused(void **state)
{
	static const char *const rows[] = {
		"{}",
		"{\"process\":1}",
		"{\"process\":{}}",
		"{\"process\":{\"cmd\":\"\"}}",
		"{\"process\":{\"cmd\":7}}",
		"{\"process\":{\"cmd\":\"a\",\"args\":{}}}",
		"{\"process\":{\"cmd\":\"a\",\"args\":[1]}}",
		"{\"process\":{\"cmd\":\"a\",\"envs\":{\"A\":1}}}",
		"{\"process\":{\"cmd\":\"a\",\"envs\":{\"A=B\":\"1\"}}}",
		"{\"process\":{\"cmd\":\"a\",\"envs\":{\"\":\"1\"}}}",
		"{\"process\":{\"cmd\":\"a\",\"cwd\":[]}}",
		"{\"process\":{\"cmd\":\"a\"},\"tag\":1}",
		"{\"process\":{\"cmd\":\"a\"},\"stdin\":\"yes\"}",
	};
	struct process_request request;
	json_t *message = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++)
		if (!start_problem(rows[i], &request, &message))
			fail_msg("row %zu was taken", i);
	json_decref(message);
}

static void ends_are_told_as_go_tells_them(void **state)
{
	static const struct {
		int status;
		const char *event;
	} rows[] = {
		{0, "{\"event\":{\"end\":{\"exitCode\":0,\"exited\":true,"
		    "\"status\":\"exit status 0\"}}}"},
		{3 << 8, "{\"event\":{\"end\":{\"exitCode\":3,\"exited\":true,\"status\":\"exit "
			 "status 3\",\"error\":\"exit status 3\"}}}"},
		{SIGKILL, "{\"event\":{\"end\":{\"exitCode\":-1,\"exited\":false,\"status\":"
			  "\"signal: killed\",\"error\":\"signal: killed\"}}}"},
		{SIGTERM, "{\"event\":{\"end\":{\"exitCode\":-1,\"exited\":false,\"status\":"
			  "\"signal: terminated\",\"error\":\"signal: terminated\"}}}"},
		{SIGSEGV | 0x80, "{\"event\":{\"end\":{\"exitCode\":-1,\"exited\":false,\"status\":"
				 "\"signal: segmentation fault (core dumped)\",\"error\":\"signal: "
				 "segmentation fault (core dumped)\"}}}"},
		{31, "{\"event\":{\"end\":{\"exitCode\":-1,\"exited\":false,\"status\":"
		     "\"signal: bad system call\",\"error\":\"signal: bad system call\"}}}"},
		{34, "{\"event\":{\"end\":{\"exitCode\":-1,\"exited\":false,\"status\":"
		     "\"signal: signal 34\",\"error\":\"signal: signal 34\"}}}"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		json_t *event = process_end_event(rows[i].status);
		char *text = json_dumps(event, JSON_COMPACT);

		assert_string_equal(text, rows[i].event);
		free(text);
		json_decref(event);
	}
}

/* Rows of a message, what its pty becomes, and whether it is taken. */
static void sizes_of_terminals_are_read(void **state)
{
	static const struct {
		const char *message;
		bool is_good, has;
		int cols, rows;
	} rows[] = {
		{"{}", true, false, 0, 0},
		{"{\"pty\":null}", true, false, 0, 0},
		{"{\"pty\":{}}", true, true, 0, 0},
		{"{\"pty\":{\"size\":null}}", true, true, 0, 0},
		{"{\"pty\":{\"size\":{\"cols\":80,\"rows\":24}}}", true, true, 80, 24},
		{"{\"pty\":{\"size\":{\"cols\":\"80\",\"rows\":null}}}", true, true, 80, 0},
		{"{\"pty\":{\"size\":{\"cols\":65535,\"rows\":65535}}}", true, true, 65535, 65535},
		{"{\"pty\":{\"size\":{\"cols\":65536}}}", false, true, 0, 0},
		{"{\"pty\":{\"size\":{\"rows\":4294967296}}}", false, true, 0, 0},
		{"{\"pty\":{\"size\":{\"rows\":-1}}}", false, true, 0, 0},
		{"{\"pty\":{\"size\":{\"rows\":\"\"}}}", false, true, 0, 0},
		{"{\"pty\":{\"size\":{\"rows\":true}}}", false, true, 0, 0},
		{"{\"pty\":{\"size\":[]}}", false, true, 0, 0},
		{"{\"pty\":80}", false, true, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		json_t *message = json_loads(rows[i].message, 0, NULL);
		struct winsize size;
		bool has;

		assert_non_null(message);
		assert_int_equal(!process_pty_read(message, &has, &size), rows[i].is_good);
		assert_int_equal(has, rows[i].has);
		assert_int_equal(size.ws_col, rows[i].cols);
		assert_int_equal(size.ws_row, rows[i].rows);
		json_decref(message);
	}
}

static void processes_are_selected(void **state)
{
	static const struct {
		const char *message;
		bool is_good;
		pid_t pid;
		const char *tag;
	} rows[] = {
		{"{\"process\":{\"pid\":7}}", true, 7, NULL},
		{"{\"process\":{\"pid\":\"7\"}}", true, 7, NULL},
		{"{\"process\":{\"tag\":\"t\"}}", true, -1, "t"},
		{"{\"process\":{\"tag\":\"\"}}", true, -1, ""},
		{"{\"process\":{\"pid\":0}}", true, 0, NULL},
		{"{\"process\":{\"pid\":4294967295}}", true, 0, NULL},
		{"{\"process\":{}}", true, -1, NULL},
		{"{}", true, -1, NULL},
		{"{\"process\":{\"pid\":4294967296}}", false, 0, NULL},
		{"{\"process\":{\"pid\":-7}}", false, 0, NULL},
		{"{\"process\":{\"pid\":[]}}", false, 0, NULL},
		{"{\"process\":{\"tag\":7}}", false, 0, NULL},
		{"{\"process\":{\"pid\":7,\"tag\":\"t\"}}", false, 0, NULL},
		{"{\"process\":7}", false, 0, NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		json_t *message = json_loads(rows[i].message, 0, NULL);
		const char *tag;
		pid_t pid;

		assert_non_null(message);
		assert_int_equal(!process_selector_read(message, &pid, &tag), rows[i].is_good);
		if (rows[i].is_good) {
			assert_int_equal(pid, rows[i].pid);
			assert_int_equal(!tag, !rows[i].tag);
			if (tag)
				assert_string_equal(tag, rows[i].tag);
		}
		json_decref(message);
	}
}

static void base64_goes_there_and_back(void **state)
{
	static const char *const plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
	static const char *const coded[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
					    "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
	char text[16];
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_N(plain); i++) {
		n = base64_encode(plain[i], strlen(plain[i]), text);
		assert_int_equal(n, strlen(coded[i]));
		assert_memory_equal(text, coded[i], n);
		assert_true(base64_decode(http_text_of(coded[i]), text, &n));
		assert_int_equal(n, strlen(plain[i]));
		assert_memory_equal(text, plain[i], n);
	}
	assert_true(base64_decode(http_text_of("-_8"), text, &n));
	assert_memory_equal(text, "\xfb\xff", 2);
	assert_false(base64_decode(http_text_of("Zg==="), text, &n));
	assert_false(base64_decode(http_text_of("Z"), text, &n));
	assert_false(base64_decode(http_text_of("Z g="), text, &n));
}

static void ranges_are_cut_to_the_file(void **state)
{
	static const struct {
		const char *header;
		uint64_t size;
		enum range range;
		uint64_t at, n;
	} rows[] = {
		{"", 10, RANGE_WHOLE, 0, 10},
		{"bytes=0-", 10, RANGE_PART, 0, 10},
		{"bytes=3-7", 10, RANGE_PART, 3, 5},
		{"bytes=3-99", 10, RANGE_PART, 3, 7},
		{"bytes=-4", 10, RANGE_PART, 6, 4},
		{"bytes=-40", 10, RANGE_PART, 0, 10},
		{"bytes=10-", 10, RANGE_OUTSIDE, 0, 0},
		{"bytes=-0", 10, RANGE_OUTSIDE, 0, 0},
		{"bytes=0-", 0, RANGE_OUTSIDE, 0, 0},
		{"bytes=7-3", 10, RANGE_WHOLE, 0, 10},
		{"bytes=1-2,4-5", 10, RANGE_WHOLE, 0, 10},
		{"lines=1-2", 10, RANGE_WHOLE, 0, 10},
		{"bytes=a-b", 10, RANGE_WHOLE, 0, 10},
		{"bytes=-", 10, RANGE_WHOLE, 0, 10},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		uint64_t at, n;

		assert_int_equal(range_read(http_text_of(rows[i].header), rows[i].size, &at, &n),
				 rows[i].range);
		if (rows[i].range == RANGE_OUTSIDE)
			continue;
		assert_int_equal(at, rows[i].at);
		assert_int_equal(n, rows[i].n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_envelope_is_taken),
		cmocka_unit_test(any_other_number_of_envelopes_is_refused),
		cmocka_unit_test(timeouts_are_numbers),
		cmocka_unit_test(without_the_token_only_open_doors_open),
		cmocka_unit_test(unknown_paths_and_methods_are_told_apart),
		cmocka_unit_test(a_start_is_read),
		cmocka_unit_test(a_malformed_start_is_refused),
		cmocka_unit_test(ends_are_told_as_go_tells_them),
		cmocka_unit_test(sizes_of_terminals_are_read),
		cmocka_unit_test(processes_are_selected),
		cmocka_unit_test(base64_goes_there_and_back),
		cmocka_unit_test(ranges_are_cut_to_the_file),
	};

	return cmocka_run_group_tests_name("guest.protocol", tests, NULL, NULL);
}
