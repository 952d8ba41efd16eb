/* See requests.h. */
#include "node-agent/egress/requests.h"

#include "common/base/check.h"
#include "common/http/write.h"

#include <stdio.h>
#include <string.h>

enum { WHY_MAX = 400 };

void requests_begin(struct requests *requests, const char *host)
{
	size_t n = strlen(host);

	*requests = (struct requests){0};
	snprintf(requests->host, sizeof(requests->host), "%s", host);
	if (n && host[n - 1] == '.')
		requests->host[n - 1] = 0;
}

void requests_end(struct requests *requests)
{
	bytes_remove(&requests->in, requests->in.n);
	bytes_remove(&requests->response, requests->response.n);
}

void requests_answer(int status, const char *text, char out_answer[REQUESTS_ANSWER_MAX])
{
	char body[REQUESTS_ANSWER_MAX / 2];
	int n = snprintf(body, sizeof(body), "Flotilla: %.400s\n", text);

	snprintf(out_answer, REQUESTS_ANSWER_MAX,
		 "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
		 "Content-Length: %d\r\nConnection: close\r\n\r\n%s",
		 status, http_status_reason(status), n, body);
}

/* ---- one head ---- */

static const struct wire_egress_header *header_of(const struct wire_egress_rule *rule,
						  struct http_text name)
{
	for (size_t i = 0; rule && i < rule->headers_n; i++)
		if (http_text_equal_nocase(name, rule->headers[i].name))
			return &rule->headers[i];
	return NULL;
}

/* ":" and digits, or nothing: behind anything else a server may look for another host. */
static bool is_port(struct http_text text)
{
	for (size_t i = 1; i < text.n; i++)
		if (text.at[i] < '0' || text.at[i] > '9')
			return false;
	return true;
}

/* By the host that it names itself; without one, HTTP/1.0, it can only be for this one. */
static bool is_for(const struct requests *requests, const struct http_head *head)
{
	struct http_text host = http_head_value(head, "host");
	const char *colon = host.n ? memchr(host.at, ':', host.n) : NULL;

	if (!host.at)
		return true;
	if (colon && !is_port((struct http_text){colon, host.n - (size_t)(colon - host.at)}))
		return false;
	if (colon)
		host.n = (size_t)(colon - host.at);
	if (host.n && host.at[host.n - 1] == '.')
		host.n--;
	return http_text_equal_nocase(host, requests->host);
}

/* The status of what must not go, and why; 0: it may. */
static int refuse(const struct requests *requests, const struct wire_egress_rule *rule,
		  const struct http_head *head, char out_why[WHY_MAX])
{
	if (head->target.at[0] != '/' && head->target.at[0] != '*') {
		strcpy(out_why, "this is no proxy: the target of a request should be a path");
		return 400;
	}
	if (!is_for(requests, head)) {
		snprintf(out_why, WHY_MAX, "this connection is for requests to %.200s",
			 requests->host);
		return 421;
	}
	for (size_t i = 0; rule && i < rule->headers_n; i++) {
		if (!rule->headers[i].problem[0])
			continue;
		snprintf(out_why, WHY_MAX, "%s: %s", rule->headers[i].name,
			 rule->headers[i].problem);
		return 502;
	}
	return 0;
}

/* 0: what comes of it is too large, or a value cannot stand in a field. */
static size_t write_head(const struct wire_egress_rule *rule, const struct http_head *head,
			 char out[HTTP_HEAD_MAX])
{
	struct http_writer writer;
	int line_n;

	/* The start line by hand: whoever speaks HTTP/1.0 is to be answered so. */
	line_n = snprintf(out, HTTP_HEAD_MAX, "%.*s %.*s HTTP/1.%d\r\n",
			  HTTP_TEXT_ARG(head->method), HTTP_TEXT_ARG(head->target), head->minor);
	if (line_n >= HTTP_HEAD_MAX)
		return 0;
	http_writer_init(&writer, out + line_n, (size_t)(HTTP_HEAD_MAX - line_n));
	for (size_t i = 0; i < head->headers_n; i++)
		if (!header_of(rule, head->headers[i].name))
			http_write_header_text(&writer, head->headers[i].name,
					       head->headers[i].value);
	for (size_t i = 0; rule && i < rule->headers_n; i++)
		http_write_header_text(&writer, http_text_of(rule->headers[i].name),
				       (struct http_text){(const char *)rule->headers[i].value.data,
							  rule->headers[i].value.n});
	return http_write_end(&writer) ? (size_t)line_n + writer.n : 0;
}

/* Of what waits.  1: a head went; 0: it is not whole; -1: out_answer. */
static int take_head(struct requests *requests, const struct wire_egress_rule *rule,
		     struct bytes *out, char out_answer[REQUESTS_ANSWER_MAX])
{
	static char written[HTTP_HEAD_MAX];
	struct http_head head;
	size_t head_n, written_n;
	char why[WHY_MAX];
	int status;
	enum http_verdict verdict =
		http_request_parse((const char *)requests->in.at, requests->in.n,
				   &requests->scanned_n, &head, &head_n);

	if (verdict == HTTP_MORE)
		return 0;
	if (verdict != HTTP_OK) {
		requests_answer(http_verdict_status(verdict), http_verdict_text(verdict),
				out_answer);
		return -1;
	}
	status = refuse(requests, rule, &head, why);
	if (status) {
		requests_answer(status, why, out_answer);
		return -1;
	}
	written_n = write_head(rule, &head, written);
	if (!written_n) {
		requests_answer(431, "with the fields of its rule the head is too large",
				out_answer);
		return -1;
	}
	CHECK(bytes_append(out, written, written_n));
	explicit_bzero(written, written_n);
	requests->body = http_body_begin(&head);
	requests->step = head.upgrade                  ? REQUESTS_HELD
			 : head.body == HTTP_BODY_NONE ? REQUESTS_HEAD
						       : REQUESTS_BODY;
	/* With a body, a wish for another protocol is passed over (RFC 9110, 7.8). */
	if (head.upgrade && head.body != HTTP_BODY_NONE)
		requests->step = REQUESTS_BODY;
	requests->scanned_n = 0;
	bytes_remove(&requests->in, head_n);
	return 1;
}

/* ---- all that comes ---- */

bool requests_take(struct requests *requests, const struct wire_egress_rule *rule,
		   const uint8_t *bytes, size_t n, struct bytes *out,
		   char out_answer[REQUESTS_ANSWER_MAX])
{
	bool is_ended;
	ssize_t body_n;
	int took = 1;

	CHECK(bytes_append(&requests->in, bytes, n));
	while (took > 0 && requests->in.n) {
		switch (requests->step) {
		case REQUESTS_HEAD:
			took = take_head(requests, rule, out, out_answer);
			break;
		case REQUESTS_BODY:
			body_n = http_body_measure(&requests->body, requests->in.at, requests->in.n,
						   &is_ended);
			if (body_n < 0) {
				requests_answer(400, http_verdict_text(HTTP_BAD_CHUNK), out_answer);
				return false;
			}
			CHECK(bytes_append(out, requests->in.at, (size_t)body_n));
			bytes_remove(&requests->in, (size_t)body_n);
			if (is_ended)
				requests->step = REQUESTS_HEAD;
			break;
		case REQUESTS_HELD:
			took = 0;
			break;
		case REQUESTS_RAW:
			CHECK(bytes_append(out, requests->in.at, requests->in.n));
			bytes_remove(&requests->in, requests->in.n);
			break;
		}
	}
	return took >= 0;
}

bool requests_hear(struct requests *requests, const uint8_t *bytes, size_t n)
{
	struct http_head head;
	size_t head_n;
	enum http_verdict verdict;

	if (requests->step != REQUESTS_HELD)
		return false;
	CHECK(bytes_append(&requests->response, bytes, n));
	/* What answers earlier requests, or is no answer, is not 101 either. */
	do {
		verdict = http_response_parse((const char *)requests->response.at,
					      requests->response.n, false,
					      &requests->response_scanned_n, &head, &head_n);
		if (verdict == HTTP_MORE)
			return false;
		if (verdict == HTTP_OK) {
			bytes_remove(&requests->response, head_n);
			requests->response_scanned_n = 0;
		}
	} while (verdict == HTTP_OK && head.status < 200 && head.status != 101);
	bytes_remove(&requests->response, requests->response.n);
	requests->response_scanned_n = 0;
	requests->step = verdict == HTTP_OK && head.status == 101 ? REQUESTS_RAW : REQUESTS_HEAD;
	return true;
}
