/* What becomes of the requests to a host that there is a rule for, and of what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "node-agent/egress/requests.h"

#define BYTES(text)                                                                                \
	{                                                                                          \
		(const uint8_t *)(text), sizeof(text) - 1                                          \
	}
#define GOOD "Host: good.example\r\n"
#define OURS "Authorization: Bearer s3cret\r\nX-Two: b\r\n"

enum { ANY_MAX = 256 * 1024 };

static struct wire_egress_header headers[] = {
	{"Authorization", BYTES("Bearer s3cret"), ""},
	{"X-Two", BYTES("b"), ""},
};
static const struct wire_egress_rule rule = {"good.example", headers, ARRAY_N(headers)};

struct outcome {
	bool goes_on;
	struct bytes out;
	char answer[REQUESTS_ANSWER_MAX];
};

static bool take(struct requests *requests, const struct wire_egress_rule *by, const void *bytes,
		 size_t n, struct outcome *outcome)
{
	outcome->goes_on = requests_take(requests, by, bytes, n, &outcome->out, outcome->answer);
	return outcome->goes_on;
}

/* In pieces of so many bytes, until they are used up or one is refused. */
static void take_cut(struct requests *requests, const struct wire_egress_rule *by, const char *in,
		     size_t in_n, size_t piece_n, struct outcome *outcome)
{
	*outcome = (struct outcome){.goes_on = true};
	for (size_t at = 0; at < in_n && outcome->goes_on; at += piece_n)
		take(requests, by, in + at, piece_n < in_n - at ? piece_n : in_n - at, outcome);
}

static void outcome_free(struct outcome *outcome)
{
	bytes_remove(&outcome->out, outcome->out.n);
}

static void assert_out(const struct outcome *outcome, const char *expected)
{
	if (outcome->out.n != strlen(expected) ||
	    (outcome->out.n && memcmp(outcome->out.at, expected, outcome->out.n) != 0))
		fail_msg("%.*s instead of %s", (int)outcome->out.n, (char *)outcome->out.at,
			 expected);
}

static int status_of(const struct outcome *outcome)
{
	return outcome->goes_on ? 0 : atoi(outcome->answer + strlen("HTTP/1.1 "));
}

/* Whatever way it is cut: it goes, and so, or (status) it does not. */
static void assert_fate(const struct wire_egress_rule *by, const char *in, size_t in_n, int status,
			const char *expected)
{
	static const size_t pieces[] = {1, 2, 7, ANY_MAX};

	for (size_t i = 0; i < ARRAY_N(pieces); i++) {
		struct requests requests;
		struct outcome outcome;

		requests_begin(&requests, "good.example");
		take_cut(&requests, by, in, in_n, pieces[i], &outcome);
		if (status_of(&outcome) != status)
			fail_msg("%.200s: %s", in, outcome.answer);
		if (expected)
			assert_out(&outcome, expected);
		requests_end(&requests);
		outcome_free(&outcome);
	}
}

static void a_request_gets_the_fields_of_the_rule(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{"GET / HTTP/1.1\r\n" GOOD "Accept: x\r\n\r\n",
		 "GET / HTTP/1.1\r\n" GOOD "Accept: x\r\n" OURS "\r\n"},
		/* in place of its own, in any case, however many */
		{"GET / HTTP/1.1\r\nauthorization: own\r\n" GOOD
		 "AUTHORIZATION: other\r\nX-Twoo: stays\r\nx-two:\r\n\r\n",
		 "GET / HTTP/1.1\r\n" GOOD "X-Twoo: stays\r\n" OURS "\r\n"},
		/* hosts that are this one */
		{"GET /a?b HTTP/1.1\r\nHost: GOOD.Example\r\n\r\n",
		 "GET /a?b HTTP/1.1\r\nHost: GOOD.Example\r\n" OURS "\r\n"},
		{"GET / HTTP/1.1\r\nhost: good.example:8080\r\n\r\n",
		 "GET / HTTP/1.1\r\nhost: good.example:8080\r\n" OURS "\r\n"},
		{"GET / HTTP/1.1\r\nHost: good.example.\r\n\r\n",
		 "GET / HTTP/1.1\r\nHost: good.example.\r\n" OURS "\r\n"},
		{"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\n" OURS "\r\n"},
		{"OPTIONS * HTTP/1.1\r\n" GOOD "\r\n", "OPTIONS * HTTP/1.1\r\n" GOOD OURS "\r\n"},
		/* several at once */
		{"GET /1 HTTP/1.1\r\n" GOOD "\r\nGET /2 HTTP/1.1\r\n" GOOD "\r\nGET /3",
		 "GET /1 HTTP/1.1\r\n" GOOD OURS "\r\nGET /2 HTTP/1.1\r\n" GOOD OURS "\r\n"},
		/* bodies, which are nobody's business */
		{"POST / HTTP/1.1\r\n" GOOD "Content-Length: 24\r\n\r\n"
		 "x-two: own\r\n\r\nGET / HTTGET /2 HTTP/1.1\r\n" GOOD "\r\n",
		 "POST / HTTP/1.1\r\n" GOOD "Content-Length: 24\r\n" OURS "\r\n"
		 "x-two: own\r\n\r\nGET / HTTGET /2 HTTP/1.1\r\n" GOOD OURS "\r\n"},
		{"POST / HTTP/1.1\r\n" GOOD "Transfer-Encoding: chunked\r\n\r\n"
		 "4;x=y\r\n\r\n\r\n\r\nA\r\n0123456789\r\n0\r\nX-Two: own\r\n\r\n"
		 "GET /2 HTTP/1.1\r\n" GOOD "\r\n",
		 "POST / HTTP/1.1\r\n" GOOD "Transfer-Encoding: chunked\r\n" OURS "\r\n"
		 "4;x=y\r\n\r\n\r\n\r\nA\r\n0123456789\r\n0\r\nX-Two: own\r\n\r\n"
		 "GET /2 HTTP/1.1\r\n" GOOD OURS "\r\n"},
		{"POST / HTTP/1.1\r\n" GOOD "Content-Length: 0\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
		 "POST / HTTP/1.1\r\n" GOOD "Content-Length: 0\r\n" OURS
		 "\r\nGET /2 HTTP/1.0\r\n" OURS "\r\n"},
		/* with a body, a wish for another protocol holds nothing up */
		{"POST / HTTP/1.1\r\n" GOOD "Connection: upgrade\r\nUpgrade: x\r\n"
		 "Content-Length: 1\r\n\r\naGET / HTTP/1.0\r\n\r\n",
		 "POST / HTTP/1.1\r\n" GOOD "Connection: upgrade\r\nUpgrade: x\r\n"
		 "Content-Length: 1\r\n" OURS "\r\naGET / HTTP/1.0\r\n" OURS "\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++)
		assert_fate(&rule, rows[i].in, strlen(rows[i].in), 0, rows[i].out);
}

static void without_a_rule_a_request_goes_as_it_is(void **state)
{
	static const char in[] = "GET / HTTP/1.1\r\n" GOOD "Authorization: own\r\n\r\n";

	(void)state;
	assert_fate(NULL, in, strlen(in), 0, in);
	assert_fate(NULL, "GET / HTTP/1.1\r\nHost: b\r\n\r\n", 27, 421, "");
}

/* Nothing of it is sent, and what went before it has gone. */
static void what_could_be_read_in_two_ways_is_refused(void **state)
{
	static const struct {
		int status;
		const char *in;
	} rows[] = {
		{421, "GET / HTTP/1.1\r\nHost: other.example\r\n\r\n"},
		{421, "GET / HTTP/1.1\r\nHost: good.example.evil\r\n\r\n"},
		{421, "GET / HTTP/1.1\r\nHost: x@good.example\r\n\r\n"},
		{421, "GET / HTTP/1.1\r\nHost: good.example:80@other.example\r\n\r\n"},
		{421, "GET / HTTP/1.1\r\nHost: good.example:80, other.example\r\n\r\n"},
		{421, "GET / HTTP/1.1\r\nHost: good.example:80:80\r\n\r\n"},
		{421, "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
		{421, "GET / HTTP/1.1\r\nHost: .\r\n\r\n"},
		{421, "GET / HTTP/1.0\r\nHost: other.example\r\n\r\n"},
		{421, "GET / HTTP/1.1\r\nHost: good.example, other.example\r\n\r\n"},
		{400, "GET http://good.example/ HTTP/1.1\r\n" GOOD "\r\n"},
		{400, "GET https://other.example/ HTTP/1.1\r\n" GOOD "\r\n"},
		{400, "CONNECT good.example:443 HTTP/1.1\r\n" GOOD "\r\n"},
		{400, "GET / HTTP/1.1\r\n" GOOD GOOD "\r\n"},
		{400, "GET / HTTP/1.1\r\n" GOOD "host: other.example\r\n\r\n"},
		{400, "GET / HTTP/1.1\r\nHost : good.example\r\n" GOOD "\r\n"},
		{400, "GET / HTTP/1.1\r\n\r\n"},
		{400, "GET / HTTP/1.1\r\n" GOOD
		      "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{400, "GET / HTTP/1.1\r\n" GOOD "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"},
		{400, "GET / HTTP/1.1\r\n" GOOD "Content-Length: +5\r\n\r\n"},
		{400, "GET / HTTP/1.1\r\n" GOOD "Content-Length: 5, 5\r\n\r\n"},
		{400, "GET / HTTP/1.0\r\n" GOOD "Transfer-Encoding: chunked\r\n\r\n"},
		{501, "GET / HTTP/1.1\r\n" GOOD "Transfer-Encoding: gzip, chunked\r\n\r\n"},
		{501, "GET / HTTP/1.1\r\n" GOOD "Transfer-Encoding: xchunked\r\n\r\n"},
		{400, "GET / HTTP/1.1\r\n" GOOD "A: b\r\n folded\r\n\r\n"},
		{400, "GET / HTTP/1.1\r\n" GOOD "A: b\nX-Two: own\r\n\r\n"},
		{400, "GET / HTTP/1.1\n" GOOD "\r\n"},
		{400, "GET / HTTP/1.1\r\n" GOOD "A: b\rX-Two: own\r\n\r\n"},
		{400, "GET / HTTP/1.1\r\n" GOOD "A\tb: c\r\n\r\n"},
		{400, "GET / HTTP/1.1\r\n" GOOD "X-Two\r\n\r\n"},
		{400, "GET  / HTTP/1.1\r\n" GOOD "\r\n"},
		{400, "\r\nGET / HTTP/1.1\r\n" GOOD "\r\n"},
		{505, "GET / HTTP/2.0\r\n" GOOD "\r\n"},
		{505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
	};
	/* A NUL ends no field. */
	static const char nul_in_value[] = "GET / HTTP/1.1\r\n" GOOD "A: \0b\r\n\r\n";
	static const char nul_in_host[] = "GET / HTTP/1.1\r\nHost: good.example\0.evil\r\n\r\n";
	static const char before[] = "GET /1 HTTP/1.0\r\n\r\n";
	char in[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		assert_fate(&rule, rows[i].in, strlen(rows[i].in), rows[i].status, "");
		snprintf(in, sizeof(in), "%s%s", before, rows[i].in);
		assert_fate(&rule, in, strlen(in), rows[i].status,
			    "GET /1 HTTP/1.0\r\n" OURS "\r\n");
	}
	assert_fate(&rule, nul_in_value, sizeof(nul_in_value) - 1, 400, "");
	assert_fate(&rule, nul_in_host, sizeof(nul_in_host) - 1, 400, "");
}

static void lines_that_never_end_a_head_are_not_sent(void **state)
{
	static const char in[] = "GET / HTTP/1.1\nHost: good.example\n\nGET / HTTP/1.1\n\n";

	(void)state;
	assert_fate(&rule, in, strlen(in), 0, "");
}

static void a_malformed_chunk_ends_it(void **state)
{
	static const char *const rows[] = {"zz\r\n", "5\r\nabcdeX", "-1\r\n",
					   "5 5\n",  "\r\n",        "10000000000000000\r\n"};
	char in[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		snprintf(in, sizeof(in),
			 "POST / HTTP/1.1\r\n" GOOD "Transfer-Encoding: chunked\r\n\r\n%s",
			 rows[i]);
		assert_fate(&rule, in, strlen(in), 400, NULL);
	}
}

static void a_head_that_is_too_large_is_refused(void **state)
{
	static char in[2 * HTTP_HEAD_MAX];
	struct wire_egress_header many[20];
	const struct wire_egress_rule large = {"good.example", many, ARRAY_N(many)};
	size_t n;

	(void)state;
	n = (size_t)snprintf(in, sizeof(in), "GET / HTTP/1.1\r\n" GOOD "A: ");
	memset(in + n, 'a', HTTP_HEAD_MAX);
	assert_fate(&rule, in, n + HTTP_HEAD_MAX, 431, "");
	/* By itself it is not, but with what it gets. */
	memcpy(in + HTTP_HEAD_MAX - 30, "\r\n\r\n", 4);
	assert_fate(NULL, in, HTTP_HEAD_MAX - 26, 0, NULL);
	assert_fate(&rule, in, HTTP_HEAD_MAX - 26, 431, "");
	/* So with the number of fields. */
	for (size_t i = 0; i < ARRAY_N(many); i++)
		many[i] = (struct wire_egress_header){.name = "X-Many", .value = BYTES("v")};
	n = (size_t)snprintf(in, sizeof(in), "GET / HTTP/1.1\r\n" GOOD);
	for (size_t i = 0; i < 80; i++)
		n += (size_t)snprintf(in + n, sizeof(in) - n, "A: b\r\n");
	n += (size_t)snprintf(in + n, sizeof(in) - n, "\r\n");
	assert_fate(NULL, in, n, 0, NULL);
	assert_fate(&large, in, n, 431, "");
}

static void a_value_that_cannot_stand_in_a_field_is_not_sent(void **state)
{
	static const char *const values[] = {"a\r\nEvil: b", "a\nb", "a\x7f", "a\x01"};
	struct wire_egress_header header = {.name = "X-Key"};
	const struct wire_egress_rule bad = {"good.example", &header, 1};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(values); i++) {
		header.value = (struct wire_bytes){(const uint8_t *)values[i], strlen(values[i])};
		assert_fate(&bad, "GET / HTTP/1.0\r\n\r\n", 18, 431, "");
	}
	header.value = (struct wire_bytes){(const uint8_t *)"a\0b", 3};
	assert_fate(&bad, "GET / HTTP/1.0\r\n\r\n", 18, 431, "");
}

static void a_rule_without_its_value_is_told(void **state)
{
	struct wire_egress_header some[] = {
		{.name = "X-Ok", .value = BYTES("v")},
		{.name = "X-Key", .problem = "there is no secret \"key\""},
	};
	const struct wire_egress_rule bad = {"good.example", some, ARRAY_N(some)};
	struct requests requests;
	struct outcome outcome = {0};

	(void)state;
	assert_fate(&bad, "GET / HTTP/1.0\r\n\r\n", 18, 502, "");
	requests_begin(&requests, "good.example");
	assert_false(take(&requests, &bad, "GET / HTTP/1.0\r\n\r\n", 18, &outcome));
	assert_non_null(strstr(outcome.answer, "X-Key: there is no secret \"key\""));
	requests_end(&requests);
}

static void an_answer_is_one_whole_response(void **state)
{
	char text[600], answer[REQUESTS_ANSWER_MAX];
	struct http_head head;
	size_t scanned_n = 0, head_n;

	(void)state;
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	for (size_t cut = 0; cut < sizeof(text); cut += 199, scanned_n = 0) {
		requests_answer(421, text + cut, answer);
		assert_int_equal(http_response_parse(answer, strlen(answer), false, &scanned_n,
						     &head, &head_n),
				 HTTP_OK);
		assert_int_equal(head.status, 421);
		assert_int_equal(head_n + head.length, strlen(answer));
		assert_false(head.keep_alive);
	}
}

/* ---- other protocols ---- */

#define UPGRADE                                                                                    \
	"GET /ws HTTP/1.1\r\n" GOOD "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"

static bool hear(struct requests *requests, const char *text)
{
	return requests_hear(requests, (const uint8_t *)text, strlen(text));
}

static void another_protocol_begins_with_the_servers_consent(void **state)
{
	static const char *const responses[] = {
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
		"HTTP/1.1 101\r\n\r\n\x81\x05hello",
		("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
		 "HTTP/1.1 101 ok\r\n\r\n"),
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_N(responses); i++) {
		const char *response = responses[i / 2];
		struct requests requests;
		struct outcome outcome = {0};
		bool is_decided = false;

		requests_begin(&requests, "good.example");
		assert_true(take(&requests, &rule, UPGRADE "\r\nraw\x01", sizeof(UPGRADE) + 5,
				 &outcome));
		assert_out(&outcome, UPGRADE OURS "\r\n");
		assert_int_equal(requests.step, REQUESTS_HELD);
		assert_true(take(&requests, &rule, "more", 4, &outcome));
		assert_out(&outcome, UPGRADE OURS "\r\n");
		/* whole, or byte by byte */
		if (i % 2)
			is_decided = hear(&requests, response);
		for (size_t at = 0; i % 2 == 0 && response[at] && !is_decided; at++)
			is_decided = requests_hear(&requests, (const uint8_t *)response + at, 1);
		assert_true(is_decided);
		assert_true(take(&requests, &rule, NULL, 0, &outcome));
		assert_out(&outcome, UPGRADE OURS "\r\nraw\x01more");
		assert_true(
			take(&requests, &rule, "GET / HTTP/1.1\r\nHost: b\r\n\r\n", 27, &outcome));
		assert_out(&outcome,
			   UPGRADE OURS "\r\nraw\x01moreGET / HTTP/1.1\r\nHost: b\r\n\r\n");
		assert_false(hear(&requests, "HTTP/1.1 200 OK\r\n\r\n"));
		requests_end(&requests);
		outcome_free(&outcome);
	}
}

static void a_server_that_does_not_change_is_asked_on(void **state)
{
	static char large[HTTP_HEAD_MAX + 1];
	const char *const responses[] = {
		"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 999 Whatever\r\n\r\n",
		"no HTTP at all\r\n\r\n",
		large,
	};

	(void)state;
	snprintf(large, sizeof(large), "HTTP/1.1 101 ok\r\nA: ");
	memset(large + strlen(large), 'a', sizeof(large) - 1 - strlen(large));
	for (size_t i = 0; i < ARRAY_N(responses); i++) {
		struct requests requests;
		struct outcome outcome = {0};

		requests_begin(&requests, "good.example");
		assert_true(take(&requests, &rule, UPGRADE "\r\nGET /2 HTTP/1.0\r\n\r\n",
				 sizeof(UPGRADE) - 1 + 2 + 19, &outcome));
		assert_out(&outcome, UPGRADE OURS "\r\n");
		assert_true(hear(&requests, responses[i]));
		assert_true(take(&requests, &rule, NULL, 0, &outcome));
		assert_out(&outcome, UPGRADE OURS "\r\nGET /2 HTTP/1.0\r\n" OURS "\r\n");
		assert_false(hear(&requests, "HTTP/1.1 101 ok\r\n\r\n"));
		assert_int_equal(requests.step, REQUESTS_HEAD);
		/* The next wish is heard afresh. */
		assert_true(take(&requests, &rule, UPGRADE "\r\n", sizeof(UPGRADE) + 1, &outcome));
		assert_true(hear(&requests, "HTTP/1.1 101 ok\r\n\r\n"));
		assert_int_equal(requests.step, REQUESTS_RAW);
		requests_end(&requests);
		outcome_free(&outcome);
	}
}

static void each_request_gets_what_the_rule_is_then(void **state)
{
	struct wire_egress_header header = {.name = "X-Key", .value = BYTES("old")};
	const struct wire_egress_rule changing = {"good.example", &header, 1};
	struct requests requests;
	struct outcome outcome = {0};

	(void)state;
	requests_begin(&requests, "good.example.");
	assert_true(take(&requests, &changing, "GET /1 HTTP/1.0\r\n\r\nGET /2 HT", 28, &outcome));
	header.value = (struct wire_bytes)BYTES("new");
	assert_true(take(&requests, &changing, "TP/1.0\r\n\r\n", 10, &outcome));
	assert_true(take(&requests, NULL, "GET /3 HTTP/1.0\r\n\r\n", 19, &outcome));
	assert_out(&outcome, "GET /1 HTTP/1.0\r\nX-Key: old\r\n\r\n"
			     "GET /2 HTTP/1.0\r\nX-Key: new\r\n\r\nGET /3 HTTP/1.0\r\n\r\n");
	requests_end(&requests);
	outcome_free(&outcome);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_gets_the_fields_of_the_rule),
		cmocka_unit_test(without_a_rule_a_request_goes_as_it_is),
		cmocka_unit_test(what_could_be_read_in_two_ways_is_refused),
		cmocka_unit_test(lines_that_never_end_a_head_are_not_sent),
		cmocka_unit_test(a_malformed_chunk_ends_it),
		cmocka_unit_test(a_head_that_is_too_large_is_refused),
		cmocka_unit_test(a_value_that_cannot_stand_in_a_field_is_not_sent),
		cmocka_unit_test(a_rule_without_its_value_is_told),
		cmocka_unit_test(an_answer_is_one_whole_response),
		cmocka_unit_test(another_protocol_begins_with_the_servers_consent),
		cmocka_unit_test(a_server_that_does_not_change_is_asked_on),
		cmocka_unit_test(each_request_gets_what_the_rule_is_then),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
