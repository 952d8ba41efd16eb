/* The promises of common/http/head.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/http/head.h"

static enum http_verdict request(const char *text, struct http_head *out)
{
	size_t scanned_n = 0, head_n;

	return http_request_parse(text, strlen(text), &scanned_n, out, &head_n);
}

static enum http_verdict response(const char *text, bool to_head, struct http_head *out)
{
	size_t scanned_n = 0, head_n;

	return http_response_parse(text, strlen(text), to_head, &scanned_n, out, &head_n);
}

static void an_ordinary_request_is_read(void **state)
{
	struct http_head head;

	(void)state;
	assert_int_equal(request("POST /files?path=%2Fa HTTP/1.1\r\nhost: x\r\n"
				 "content-length:  12 \r\nX-Empty:\r\n\r\n",
				 &head),
			 HTTP_OK);
	assert_true(http_text_equal(head.method, "POST"));
	assert_true(http_text_equal(head.target, "/files?path=%2Fa"));
	assert_int_equal(head.minor, 1);
	assert_int_equal(head.headers_n, 3);
	assert_int_equal(head.body, HTTP_BODY_LENGTH);
	assert_int_equal(head.length, 12);
	assert_true(head.keep_alive);
	assert_int_equal(http_head_value(&head, "X-EMPTY").n, 0);
	assert_non_null(http_head_find(&head, "x-empty"));
	assert_null(http_head_find(&head, "x-other"));
}

struct refusal {
	const char *text;
	enum http_verdict verdict;
};

#define LINE "GET / HTTP/1.1\r\nHost: x\r\n"

static void what_could_be_read_in_two_ways_is_refused(void **state)
{
	static const struct refusal rows[] = {
		{LINE "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", HTTP_BAD_LENGTH},
		{LINE "Content-Length: 1, 1\r\n\r\n", HTTP_BAD_LENGTH},
		{LINE "Content-Length: +1\r\n\r\n", HTTP_BAD_LENGTH},
		{LINE "Content-Length: -1\r\n\r\n", HTTP_BAD_LENGTH},
		{LINE "Content-Length: 0x1\r\n\r\n", HTTP_BAD_LENGTH},
		{LINE "Content-Length: \r\n\r\n", HTTP_BAD_LENGTH},
		{LINE "Content-Length: 18446744073709551616\r\n\r\n", HTTP_BAD_LENGTH},
		{LINE "Content-Length: 9223372036854775808\r\n\r\n", HTTP_BAD_LENGTH},
		{LINE "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP_BAD_FRAMING},
		{LINE "Transfer-Encoding: gzip, chunked\r\n\r\n", HTTP_BAD_CODING},
		{LINE "Transfer-Encoding: xchunked\r\n\r\n", HTTP_BAD_CODING},
		{LINE "Transfer-Encoding: identity\r\n\r\n", HTTP_BAD_CODING},
		{LINE "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		 HTTP_BAD_CODING},
		{"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP_BAD_FRAMING},
		{LINE "Transfer-Encoding : chunked\r\n\r\n", HTTP_BAD_HEADER},
		{LINE "A: b\r\n c\r\n\r\n", HTTP_BAD_FOLD},
		{LINE "\tA: b\r\n\r\n", HTTP_BAD_FOLD},
		{LINE "A: b\nB: c\r\n\r\n", HTTP_BAD_HEADER},
		{LINE "A: b\rB: c\r\n\r\n", HTTP_BAD_HEADER},
		{LINE "A: \x01\r\n\r\n", HTTP_BAD_HEADER},
		{LINE "A: \x7f\r\n\r\n", HTTP_BAD_HEADER},
		{LINE "no colon\r\n\r\n", HTTP_BAD_HEADER},
		{LINE ": x\r\n\r\n", HTTP_BAD_HEADER},
		{LINE "a b: x\r\n\r\n", HTTP_BAD_HEADER},
		{LINE "Host: y\r\n\r\n", HTTP_BAD_HOST},
		{"GET / HTTP/1.1\r\n\r\n", HTTP_BAD_HOST},
		{"GET  / HTTP/1.1\r\n\r\n", HTTP_BAD_LINE},
		{"GET /a b HTTP/1.1\r\n\r\n", HTTP_BAD_LINE},
		{"GET a HTTP/1.1\r\n\r\n", HTTP_BAD_LINE},
		{"GET /\x80 HTTP/1.1\r\n\r\n", HTTP_BAD_LINE},
		{"G@T / HTTP/1.1\r\n\r\n", HTTP_BAD_LINE},
		{"GET /\r\n\r\n", HTTP_BAD_LINE},
		{"\r\n\r\n", HTTP_BAD_LINE},
		{"GET / http/1.1\r\n\r\n", HTTP_BAD_LINE},
		{"GET / HTTP/2.0\r\n\r\n", HTTP_BAD_VERSION},
		{"GET / HTTP/1.2\r\n\r\n", HTTP_BAD_VERSION},
		{"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n", HTTP_BAD_LINE},
	};
	struct http_head head;

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		if (request(rows[i].text, &head) != rows[i].verdict)
			fail_msg("row %zu: %s", i, http_verdict_text(request(rows[i].text, &head)));
		assert_true(http_verdict_status(rows[i].verdict) >= 400);
	}
}

static void a_head_may_come_byte_by_byte(void **state)
{
	static const char text[] = LINE "A: b\r\n\r\nbody";
	size_t scanned_n = 0, head_n = 0, end_n = strlen(LINE "A: b\r\n\r\n");
	struct http_head head;

	(void)state;
	for (size_t n = 0; n < end_n; n++)
		assert_int_equal(http_request_parse(text, n, &scanned_n, &head, &head_n),
				 HTTP_MORE);
	assert_int_equal(http_request_parse(text, strlen(text), &scanned_n, &head, &head_n),
			 HTTP_OK);
	assert_int_equal(head_n, end_n);
}

static void a_head_has_bounds(void **state)
{
	size_t scanned_n = 0, head_n, n = 0;
	char *text = malloc(HTTP_HEAD_MAX + 1);
	struct http_head head;

	(void)state;
	memset(text, 'a', HTTP_HEAD_MAX + 1);
	assert_int_equal(http_request_parse(text, HTTP_HEAD_MAX - 1, &scanned_n, &head, &head_n),
			 HTTP_MORE);
	assert_int_equal(http_request_parse(text, HTTP_HEAD_MAX, &scanned_n, &head, &head_n),
			 HTTP_HEAD_TOO_LARGE);
	n = (size_t)sprintf(text, LINE);
	for (int i = 1; i < HTTP_HEADERS_MAX; i++)
		n += (size_t)sprintf(text + n, "a: b\r\n");
	sprintf(text + n, "\r\n");
	assert_int_equal(request(text, &head), HTTP_OK);
	assert_int_equal(head.headers_n, HTTP_HEADERS_MAX);
	sprintf(text + n, "a: b\r\n\r\n");
	assert_int_equal(request(text, &head), HTTP_TOO_MANY_HEADERS);
	free(text);
}

static void connections_end_when_they_say_so(void **state)
{
	struct http_head head;

	(void)state;
	assert_int_equal(request(LINE "Connection: foo , Close\r\n\r\n", &head), HTTP_OK);
	assert_false(head.keep_alive);
	assert_int_equal(request("GET / HTTP/1.0\r\n\r\n", &head), HTTP_OK);
	assert_false(head.keep_alive);
	assert_int_equal(request("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &head),
			 HTTP_OK);
	assert_true(head.keep_alive);
}

static void an_upgrade_needs_both_fields(void **state)
{
	struct http_head head;

	(void)state;
	assert_int_equal(request(LINE "Upgrade: websocket\r\n\r\n", &head), HTTP_OK);
	assert_false(head.upgrade);
	assert_int_equal(request(LINE "Connection: keep-alive, Upgrade\r\n"
				      "Upgrade: websocket\r\n\r\n",
				 &head),
			 HTTP_OK);
	assert_true(head.upgrade);
}

static void responses_know_where_their_body_ends(void **state)
{
	struct http_head head;

	(void)state;
	assert_int_equal(response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, &head),
			 HTTP_OK);
	assert_int_equal(head.status, 200);
	assert_true(http_text_equal(head.reason, "OK"));
	assert_int_equal(head.body, HTTP_BODY_LENGTH);
	assert_int_equal(response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, &head),
			 HTTP_OK);
	assert_int_equal(head.body, HTTP_BODY_NONE);
	assert_int_equal(head.length, 5);
	assert_int_equal(response("HTTP/1.1 204\r\nContent-Length: 5\r\n\r\n", false, &head),
			 HTTP_OK);
	assert_int_equal(head.body, HTTP_BODY_NONE);
	assert_int_equal(response("HTTP/1.1 200 \r\n\r\n", false, &head), HTTP_OK);
	assert_int_equal(head.body, HTTP_BODY_CLOSE);
	assert_false(head.keep_alive);
	assert_int_equal(response("HTTP/1.1 2000 OK\r\n\r\n", false, &head), HTTP_BAD_LINE);
	assert_int_equal(response("HTTP/1.1 099 OK\r\n\r\n", false, &head), HTTP_BAD_LINE);
	assert_int_equal(response("HTTP/1.1\r\n\r\n", false, &head), HTTP_BAD_LINE);
}

static void hop_by_hop_fields_are_known(void **state)
{
	struct http_head head;
	int hops_n = 0;

	(void)state;
	assert_int_equal(request(LINE "Connection: x-one, close\r\nX-One: 1\r\nX-Two: 2\r\n"
				      "TE: trailers\r\nKeep-Alive: 5\r\n\r\n",
				 &head),
			 HTTP_OK);
	for (size_t i = 0; i < head.headers_n; i++)
		hops_n += http_head_is_hop(&head, &head.headers[i]);
	assert_int_equal(hops_n, 4);
	assert_false(http_head_is_hop(&head, http_head_find(&head, "x-two")));
	assert_true(http_head_is_hop(&head, http_head_find(&head, "X-ONE")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ordinary_request_is_read),
		cmocka_unit_test(what_could_be_read_in_two_ways_is_refused),
		cmocka_unit_test(a_head_may_come_byte_by_byte),
		cmocka_unit_test(a_head_has_bounds),
		cmocka_unit_test(connections_end_when_they_say_so),
		cmocka_unit_test(an_upgrade_needs_both_fields),
		cmocka_unit_test(responses_know_where_their_body_ends),
		cmocka_unit_test(hop_by_hop_fields_are_known),
	};

	return cmocka_run_group_tests_name("http.head", tests, NULL, NULL);
}
