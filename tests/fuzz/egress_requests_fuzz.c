/*
 * Requests on their way to a host with a rule, and what their server says while another protocol is
 * asked for, which stands behind the first byte 0xff.  The first byte of the input says how they
 * are cut: however that is, the same goes out; each head of it has the rule's fields and none of
 * the sandbox's of these names, and is for the host.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/check.h"
#include "node-agent/egress/requests.h"

#define BYTES(text)                                                                                \
	{                                                                                          \
		(const uint8_t *)(text), sizeof(text) - 1                                          \
	}

static struct wire_egress_header headers[] = {
	{"Authorization", BYTES("Bearer s3cret"), ""},
	{"X-Two", BYTES("b"), ""},
};
static const struct wire_egress_rule rule = {"good.example", headers, ARRAY_N(headers)};
static const char *const lines[] = {"Authorization: Bearer s3cret", "X-Two: b"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
	struct requests requests;
	struct bytes out;
	size_t raw_at; /* of out, from where it is another protocol's */
	bool goes_on;
	bool is_silent; /* the server has said all, and nothing was decided by it */
};

static void note_raw(struct run *run)
{
	if (run->requests.step != REQUESTS_RAW)
		run->raw_at = run->out.n;
}

static void check_answer(const char *answer)
{
	struct http_head head;
	size_t scanned_n = 0, head_n;

	CHECK(memchr(answer, 0, REQUESTS_ANSWER_MAX));
	CHECK(http_response_parse(answer, strlen(answer), false, &scanned_n, &head, &head_n) ==
	      HTTP_OK);
	CHECK(head.status >= 400 && head_n + head.length == strlen(answer) && !head.keep_alive);
	CHECK(!strstr(answer, "s3cret"));
}

static void take(struct run *run, const uint8_t *bytes, size_t n)
{
	char answer[REQUESTS_ANSWER_MAX];

	run->goes_on = requests_take(&run->requests, &rule, bytes, n, &run->out, answer);
	if (!run->goes_on)
		check_answer(answer);
	note_raw(run);
}

static void hear(struct run *run, const uint8_t *bytes, size_t n, size_t piece_n)
{
	for (size_t at = 0; at < n && run->goes_on; at += piece_n) {
		size_t now_n = piece_n < n - at ? piece_n : n - at;

		note_raw(run);
		if (requests_hear(&run->requests, bytes + at, now_n)) {
			take(run, NULL, 0);
			return;
		}
	}
	run->is_silent = true;
}

/* The server says its part each time that it is asked for another protocol. */
static void run_cut(struct run *run, const uint8_t *in, size_t in_n, const uint8_t *response,
		    size_t response_n, size_t piece_n)
{
	*run = (struct run){.goes_on = true};
	requests_begin(&run->requests, "good.example");
	for (size_t at = 0; at < in_n && run->goes_on; at += piece_n) {
		take(run, in + at, piece_n < in_n - at ? piece_n : in_n - at);
		while (run->goes_on && run->requests.step == REQUESTS_HELD && !run->is_silent)
			hear(run, response, response_n, piece_n);
	}
}

static void run_end(struct run *run)
{
	requests_end(&run->requests);
	bytes_remove(&run->out, run->out.n);
}

static bool names(const char *line, size_t n, const char *name)
{
	size_t name_n = strlen(name);

	while (n && (*line == ' ' || *line == '\t'))
		line++, n--;
	return n >= name_n && strncasecmp(line, name, name_n) == 0 &&
	       (n == name_n || strchr(": \t", line[name_n]));
}

/* By as lax a reading as any server's: a line ends at any CR or LF. */
static void check_lines(const char *head, size_t n)
{
	size_t found_n[ARRAY_N(lines)] = {0}, line_n;

	for (size_t at = 0; at < n; at += line_n + 1) {
		line_n = 0;
		while (at + line_n < n && head[at + line_n] != '\r' && head[at + line_n] != '\n')
			line_n++;
		for (size_t i = 0; i < ARRAY_N(lines); i++) {
			if (!names(head + at, line_n, headers[i].name))
				continue;
			CHECK(line_n == strlen(lines[i]) &&
			      memcmp(head + at, lines[i], line_n) == 0);
			found_n[i]++;
		}
	}
	for (size_t i = 0; i < ARRAY_N(lines); i++)
		CHECK(found_n[i] == 1);
}

static void check_host(const struct http_head *head)
{
	struct http_text host = http_head_value(head, "host");

	CHECK(host.at || head->minor == 0);
	if (host.at)
		CHECK(host.n >= 12 && strncasecmp(host.at, "good.example", 12) == 0 &&
		      (host.n == 12 || host.at[12] == ':' || host.at[12] == '.'));
}

static void check_out(const struct run *run)
{
	const char *at = (const char *)run->out.at;
	size_t n = run->raw_at;

	while (n) {
		struct http_head head;
		struct http_body_reader body;
		size_t scanned_n = 0, head_n;
		bool is_ended = false;
		ssize_t body_n = 0;

		CHECK(http_request_parse(at, n, &scanned_n, &head, &head_n) == HTTP_OK);
		check_lines(at, head_n);
		check_host(&head);
		at += head_n;
		n -= head_n;
		if (head.body == HTTP_BODY_NONE)
			continue;
		body = http_body_begin(&head);
		body_n = http_body_measure(&body, (const uint8_t *)at, n, &is_ended);
		CHECK(body_n >= 0 && (is_ended || (size_t)body_n == n));
		at += body_n;
		n -= (size_t)body_n;
	}
}

static void check_same(const struct run *one, const struct run *other)
{
	size_t n = one->out.n < other->out.n ? one->out.n : other->out.n;

	CHECK(one->goes_on == other->goes_on);
	/* Of a body that turns out malformed, more or less has gone. */
	CHECK(one->out.n == other->out.n || !one->goes_on);
	CHECK(!n || memcmp(one->out.at, other->out.at, n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *response;
	size_t in_n, response_n;
	struct run whole, cut;

	if (size < 2)
		return 0;
	response = memchr(data + 1, 0xff, size - 1);
	in_n = response ? (size_t)(response - data) - 1 : size - 1;
	response_n = response ? size - in_n - 2 : 0;
	run_cut(&whole, data + 1, in_n, response ? response + 1 : NULL, response_n, size);
	run_cut(&cut, data + 1, in_n, response ? response + 1 : NULL, response_n,
		(size_t)data[0] + 1);
	check_out(&whole);
	check_out(&cut);
	check_same(&whole, &cut);
	run_end(&whole);
	run_end(&cut);
	return 0;
}
