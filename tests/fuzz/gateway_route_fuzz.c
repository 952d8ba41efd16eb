/*
 * What the gateway decides from a request's head, and the heads it writes: whatever parses is
 * routed or refused, and what is sent on parses again with the same framing, so that gateway and
 * guest cannot disagree about where a body ends.
 */
#include <stdint.h>
#include <string.h>

#include "common/base/check.h"
#include "scheduler/gateway/rewrite.h"
#include "scheduler/gateway/route.h"
#include "scheduler/gateway/signed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char out[REWRITE_HEAD_MAX];

static void check_route(const struct route *route)
{
	struct id id;

	CHECK(route->outcome < OUTCOMES_N);
	if (route->outcome != OUTCOME_ROUTED) {
		CHECK(outcome_status(route->outcome) >= 400);
		return;
	}
	if (route->is_api || route->is_volumes)
		return;
	CHECK(route->port);
	CHECK(id_parse(route->sandbox.text, strlen(route->sandbox.text), &id));
}

static void check_request(const struct http_head *head)
{
	struct http_head again;
	size_t scanned_n = 0, head_n;
	size_t n = rewrite_request(head, NULL, NULL, out);

	if (!n)
		return;
	CHECK(http_request_parse(out, n, &scanned_n, &again, &head_n) == HTTP_OK);
	CHECK(head_n == n);
	CHECK(again.body == head->body && again.length == head->length);
	CHECK(again.upgrade == head->upgrade);
	CHECK(again.target.at[0] == '/' || again.target.at[0] == '*');
	CHECK(!http_head_find(&again, "proxy-authorization"));
}

/* Either it can be tried, or it is refused by itself. */
static void check_signed(const struct http_head *head)
{
	enum outcome outcome;
	struct signed_url url;

	if (!signed_url_read(head, 1000, &url, &outcome))
		return;
	if (outcome == OUTCOME_ROUTED)
		CHECK(!signed_url_fits(&url, "no sandbox's token"));
	else
		CHECK(outcome == OUTCOME_BAD_SIGNATURE || outcome == OUTCOME_EXPIRED);
}

static void check_response(const struct http_head *head, bool to_head, int minor)
{
	struct rewrite_plan plan = {
		.dechunk = head->body == HTTP_BODY_CHUNKED && minor == 0,
		.is_last = head->body == HTTP_BODY_CLOSE || minor == 0,
	};
	struct http_head again;
	size_t scanned_n = 0, head_n;
	size_t n = rewrite_response(head, minor, &plan, out);

	if (!n)
		return;
	CHECK(http_response_parse(out, n, to_head, &scanned_n, &again, &head_n) == HTTP_OK);
	CHECK(head_n == n && again.status == head->status);
	if (!plan.dechunk)
		CHECK(again.body == head->body && again.length == head->length);
	if (plan.is_last && head->status != 101)
		CHECK(!again.keep_alive);
}

static void check_answer(const struct route *route, bool is_html)
{
	char text[REWRITE_ANSWER_MAX];
	struct rewrite_answer answer = {
		.outcome = route->outcome == OUTCOME_ROUTED ? OUTCOME_PORT_CLOSED : route->outcome,
		.sandbox = route->sandbox.text[0] ? &route->sandbox : NULL,
		.port = route->port,
		.is_html = is_html,
	};
	size_t scanned_n = 0, head_n, n = rewrite_answer(&answer, text);
	struct http_head head;

	CHECK(n);
	CHECK(http_response_parse(text, n, false, &scanned_n, &head, &head_n) == HTTP_OK);
	CHECK(head.body == HTTP_BODY_LENGTH && head_n + head.length == n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = (const char *)data;
	struct http_head head;
	size_t scanned_n = 0, head_n;

	if (http_request_parse(bytes, size, &scanned_n, &head, &head_n) == HTTP_OK) {
		struct route route = route_decide(
			&head, (struct route_backends){.api = size % 2, .volumes = size / 2 % 2});

		check_route(&route);
		check_request(&head);
		check_signed(&head);
		check_answer(&route, rewrite_wants_html(&head));
	}
	for (int to_head = 0; to_head < 2; to_head++) {
		scanned_n = 0;
		if (http_response_parse(bytes, size, to_head, &scanned_n, &head, &head_n) ==
		    HTTP_OK) {
			check_response(&head, to_head, 0);
			check_response(&head, to_head, 1);
		}
	}
	return 0;
}
