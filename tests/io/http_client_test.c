/* What the HTTP client sends, what it takes, and what it calls a fault. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/io/http_world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is sent and what comes ---- */

static void a_request_is_sent_as_it_is(void **unused)
{
	static const struct http_client_header headers[] = {
		{"X-API-Key", "e2b_1"}, {"X-Empty", ""},         {"Host", "other.example"},
		{"Expect", "100"},      {"Content-Length", "9"}, {"Content-Type", "text/x"}};
	struct world world;

	(void)unused;
	world_open(&world);
	world.server.answer = OK;
	struct http_client_request request = request_of(&world);
	request.method = "PATCH";
	request.headers = headers;
	request.headers_n = 6;
	request.body = "a body";
	request.body_n = 6;
	ask(&world, &request);
	assert_int_equal(world.answer.status, 200);
	assert_string_equal(world.body, "hi");
	assert_string_equal(world.header, "red");
	const char *sent = world.server.last;
	/* The path too: what looks like a climb is the server's to judge. */
	assert_memory_equal(sent, "PATCH /a/../b?q=1 HTTP/1.1\r\n", 28);
	assert_non_null(strstr(sent, "\r\nHost: other.example\r\n"));
	assert_non_null(strstr(sent, "\r\nX-API-Key: e2b_1\r\n"));
	assert_non_null(strstr(sent, "\r\nX-Empty:\r\n"));
	assert_non_null(strstr(sent, "\r\nContent-Length: 6\r\n"));
	assert_non_null(strstr(sent, "\r\nContent-Type: text/x\r\n"));
	assert_non_null(strstr(sent, "\r\n\r\na body"));
	assert_null(strstr(sent, "Expect"));
	assert_null(strstr(sent, "Accept"));
	assert_null(strstr(sent, "Length: 9"));
	world_close(&world);
}

static void each_method_has_its_body_and_only_its_own(void **unused)
{
	static const struct {
		const char *method, *body, *length;
	} rows[] = {
		{NULL, NULL, NULL},    {"GET", NULL, NULL}, {"DELETE", NULL, NULL},
		{"DELETE", "xy", "2"}, {"POST", NULL, "0"}, {"PUT", NULL, "0"},
		{"POST", "", "0"},     {"GET", "abc", "3"}, {"OPTIONS", NULL, NULL},
	};
	struct world world;
	char wanted[64];

	(void)unused;
	world_open(&world);
	world.server.answer = OK;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct http_client_request request = request_of(&world);

		request.method = rows[i].method;
		request.body = rows[i].body;
		request.body_n = rows[i].body ? strlen(rows[i].body) : 0;
		ask(&world, &request);
		const char *method = rows[i].method ? rows[i].method : "GET";
		assert_memory_equal(world.server.last, method, strlen(method));
		snprintf(wanted, sizeof(wanted), "\r\nContent-Length: %s\r\n",
			 rows[i].length ? rows[i].length : "");
		if (rows[i].length)
			assert_non_null(strstr(world.server.last, wanted));
		else
			assert_null(strstr(world.server.last, "Content-Length"));
	}
	world_close(&world);
}

static void a_head_has_no_body_whatever_it_says(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world);
	world.server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n";
	struct http_client_request request = request_of(&world);
	request.method = "HEAD";
	ask(&world, &request);
	assert_int_equal(world.answer.status, 200);
	assert_int_equal(world.answer.body_n, 0);
	assert_memory_equal(world.server.last, "HEAD ", 5);
	world_close(&world);
}

static void interim_answers_and_redirects_are_not_followed(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world);
	world.server.answer = "HTTP/1.1 103 Early\r\nX-Colour: blue\r\n\r\n"
			      "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n"
			      "Content-Length: 0\r\n\r\n";
	struct http_client_request request = request_of(&world);
	ask(&world, &request);
	assert_int_equal(world.answer.status, 302);
	assert_string_equal(world.header, "none");
	assert_int_equal(world.server.requests_n, 1);
	world_close(&world);
}

static void what_cannot_be_a_request_is_refused_before_it_is_sent(void **unused)
{
	static const struct http_client_header bad[] = {
		{"X", "a\r\nY: b"}, {"X\n", "a"}, {"", "a"}, {"X: y", "a"}};
	static const char *const urls[] = {"", "ftp://a/", "127.0.0.1:1", "http://a/ b",
					   "http://a/\r\n"};
	struct world world;
	struct err err;

	(void)unused;
	world_open(&world);
	struct http_client_request request = request_of(&world);
	for (size_t i = 0; i < 4; i++) {
		request.headers = &bad[i];
		request.headers_n = 1;
		assert_int_equal(http_client_start(world.client, &request, NULL, &err), -1);
	}
	request.headers_n = 0;
	for (size_t i = 0; i < 5; i++) {
		request.url = urls[i];
		assert_int_equal(http_client_start(world.client, &request, NULL, &err), -1);
	}
	request = request_of(&world);
	request.method = "GET /x";
	assert_int_equal(http_client_start(world.client, &request, NULL, &err), -1);
	assert_int_equal(world.server.connections_n, 0);
	world_close(&world);
}

/* ---- limits and faults ---- */

static void a_body_or_head_beyond_its_limit_is_a_fault(void **unused)
{
	static char many[9000] = "HTTP/1.1 200 OK\r\n";
	struct world world;

	(void)unused;
	world_open(&world);
	struct http_client_request request = request_of(&world);
	world.server.answer = OK;
	request.body_max = 2;
	ask(&world, &request);
	assert_int_equal(world.answer.status, 200);
	request.body_max = 1;
	ask(&world, &request);
	assert_int_equal(world.answer.status, 0);
	assert_true(world.answer.sent);
	assert_int_equal(world.answer.body_n, 0);
	assert_non_null(strstr(world.answer.err.text, "longer than 1 bytes"));
	for (int i = 0; i <= HTTP_CLIENT_HEADERS_MAX; i++)
		strcat(many, "X-Colour: red\r\n");
	strcat(many, "\r\n");
	world.server.answer = many;
	ask(&world, &request);
	assert_int_equal(world.answer.status, 0);
	assert_non_null(strstr(world.answer.err.text, "head is too long"));
	world_close(&world);
}

static void silence_ends_at_the_time_limit_and_may_have_been_carried_out(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world);
	struct http_client_request request = request_of(&world);
	request.total_ms = 50;
	ask(&world, &request);
	assert_int_equal(world.answer.status, 0);
	assert_true(world.answer.sent);
	assert_int_equal(world.server.requests_n, 1);
	world_close(&world);
}

static void where_nobody_listens_nothing_was_sent(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world);
	uv_close((uv_handle_t *)&world.server.listener, NULL);
	uv_run(&world.loop, UV_RUN_NOWAIT);
	struct http_client_request request = request_of(&world);
	ask(&world, &request);
	assert_int_equal(world.answer.status, 0);
	assert_false(world.answer.sent);
	/* Where, but not the query. */
	assert_non_null(strstr(world.answer.err.text, "GET http://127.0.0.1:"));
	assert_null(strstr(world.answer.err.text, "q=1"));
	request.url = "http://no-such-host.invalid/";
	ask(&world, &request);
	assert_false(world.answer.sent);
	world_close(&world);
}

static void half_an_answer_is_none(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world);
	world.server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
	world.server.closes = true;
	struct http_client_request request = request_of(&world);
	ask(&world, &request);
	assert_int_equal(world.answer.status, 0);
	assert_true(world.answer.sent);
	assert_int_equal(world.answer.body_n, 0);
	world_close(&world);
}

static void connections_are_used_again_and_a_dead_one_is_replaced_unless_once(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world);
	world.server.answer = OK;
	struct http_client_request request = request_of(&world);
	for (int i = 0; i < 3; i++)
		ask(&world, &request);
	assert_int_equal(world.server.connections_n, 1);
	/* The server reads the next one, and goes away without a word. */
	world.server.dead_from = 4;
	ask(&world, &request);
	assert_int_equal(world.answer.status, 200);
	assert_int_equal(world.server.requests_n, 5); /* twice, which a reader does not mind */
	assert_int_equal(world.server.connections_n, 2);
	world.server.dead_from = 1;
	world.server.requests_n = 0;
	request.method = "POST";
	request.once = true;
	ask(&world, &request);
	assert_int_equal(world.answer.status, 0);
	assert_true(world.answer.sent);
	assert_int_equal(world.server.requests_n, 1);
	world_close(&world);
}

static void no_proxy_is_asked(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world);
	world.server.answer = OK;
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	struct http_client_request request = request_of(&world);
	ask(&world, &request);
	assert_int_equal(world.answer.status, 200);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
	world_close(&world);
}

static void many_calls_go_at_once(void **unused)
{
	enum { MANY = 100 };
	struct world world;

	(void)unused;
	world_open(&world);
	world.server.answer = OK;
	struct http_client_request request = request_of(&world);
	for (int i = 0; i < MANY; i++)
		start(&world, &request);
	assert_int_equal(world.done_n, 0); /* never from within */
	await(&world, MANY);
	assert_int_equal(world.server.requests_n, MANY);
	world_close(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_sent_as_it_is),
		cmocka_unit_test(each_method_has_its_body_and_only_its_own),
		cmocka_unit_test(a_head_has_no_body_whatever_it_says),
		cmocka_unit_test(interim_answers_and_redirects_are_not_followed),
		cmocka_unit_test(what_cannot_be_a_request_is_refused_before_it_is_sent),
		cmocka_unit_test(a_body_or_head_beyond_its_limit_is_a_fault),
		cmocka_unit_test(silence_ends_at_the_time_limit_and_may_have_been_carried_out),
		cmocka_unit_test(where_nobody_listens_nothing_was_sent),
		cmocka_unit_test(half_an_answer_is_none),
		cmocka_unit_test(connections_are_used_again_and_a_dead_one_is_replaced_unless_once),
		cmocka_unit_test(no_proxy_is_asked),
		cmocka_unit_test(many_calls_go_at_once),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
