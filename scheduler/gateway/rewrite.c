/* See rewrite.h. */
#include "scheduler/gateway/rewrite.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/http/target.h"
#include "common/http/write.h"

static const struct {
	int status;
	const char *message;
} outcomes[] = {
#define OUTCOME(name, metric, status, message) {status, message},
#include "scheduler/gateway/verdicts.def"
#undef OUTCOME
};

int outcome_status(enum outcome outcome)
{
	return outcomes[outcome].status;
}

const char *outcome_message(enum outcome outcome)
{
	return outcomes[outcome].message;
}

/* What says where the body ends and for whom the message is goes on even if Connection names it:
 * dropped, it would make the next server see another message than we did. */
static bool must_stay(const struct http_header *header)
{
	return http_text_equal_nocase(header->name, "content-length") ||
	       http_text_equal_nocase(header->name, "host");
}

static const char forwarded_for[] = "X-Forwarded-For";

/* host, from: instead of the head's own, or NULL. */
static void write_end_to_end_fields(struct http_writer *writer, const struct http_head *head,
				    const char *host, const char *from)
{
	for (size_t at = 0; at < head->headers_n; at++) {
		const struct http_header *header = &head->headers[at];

		if (host && http_text_equal_nocase(header->name, "host"))
			continue;
		if (from && http_text_equal_nocase(header->name, forwarded_for))
			continue;
		if (must_stay(header) || !http_head_is_hop(head, header))
			http_write_header_text(writer, header->name, header->value);
	}
}

static void write_upgrade(struct http_writer *writer, const struct http_head *head)
{
	http_write_header(writer, "Connection", "Upgrade");
	http_write_header_text(writer, http_text_of("Upgrade"), http_head_value(head, "upgrade"));
}

/* The origin form: what servers behind a proxy expect. */
static struct http_text origin_form(struct http_text target)
{
	struct http_text path, query;

	if (target.n && (target.at[0] == '/' || target.at[0] == '*'))
		return target;
	http_target_split(target, &path, &query);
	/* Path and query are one slice of the target, but for a URL without any path. */
	if (path.at < target.at || path.at >= target.at + target.n)
		return path;
	return (struct http_text){path.at, (size_t)(target.at + target.n - path.at)};
}

size_t rewrite_request(const struct http_head *head, const char *host, const char *from,
		       char out[REWRITE_HEAD_MAX])
{
	struct http_writer writer;

	http_writer_init(&writer, out, REWRITE_HEAD_MAX);
	http_write_request(&writer, head->method, origin_form(head->target));
	/* HTTP/1.0 may do without, HTTP/1.1 may not. */
	if (host || !http_head_find(head, "host"))
		http_write_header(&writer, "Host", host ? host : "localhost");
	if (from)
		http_write_header(&writer, forwarded_for, from);
	write_end_to_end_fields(&writer, head, host, from);
	if (head->body == HTTP_BODY_CHUNKED)
		http_write_header(&writer, "Transfer-Encoding", "chunked");
	if (head->upgrade)
		write_upgrade(&writer, head);
	else
		http_write_header(&writer, "Connection", "close");
	return http_write_end(&writer) ? writer.n : 0;
}

size_t rewrite_response(const struct http_head *head, int request_minor,
			const struct rewrite_plan *plan, char out[REWRITE_HEAD_MAX])
{
	char line[64];
	struct http_writer writer;
	struct http_text coding = http_head_value(head, "transfer-encoding");
	int line_n = snprintf(line, sizeof(line), "HTTP/1.1 %d ", head->status);

	/* Start line by hand: the service's own reason is passed on. */
	if (head->reason.n > HTTP_HEAD_MAX - sizeof(line))
		return 0;
	memcpy(out, line, (size_t)line_n);
	if (head->reason.n)
		memcpy(out + line_n, head->reason.at, head->reason.n);
	line_n += (int)head->reason.n;
	out[line_n++] = '\r';
	out[line_n++] = '\n';
	http_writer_init(&writer, out + line_n, (size_t)(REWRITE_HEAD_MAX - line_n));
	write_end_to_end_fields(&writer, head, NULL, NULL);
	/* Also on what answers a HEAD, where it describes a body that does not come. */
	if (coding.n && !plan->dechunk && head->status >= 200 && head->status != 204)
		http_write_header(&writer, "Transfer-Encoding", "chunked");
	if (head->status == 101)
		write_upgrade(&writer, head);
	else if (plan->is_last)
		http_write_header(&writer, "Connection", "close");
	else if (request_minor == 0)
		http_write_header(&writer, "Connection", "keep-alive");
	return http_write_end(&writer) ? (size_t)line_n + writer.n : 0;
}

bool rewrite_wants_html(const struct http_head *head)
{
	struct http_text accept = http_head_value(head, "accept");
	struct http_text element;

	while (http_text_list_next(&accept, &element)) {
		if (http_text_starts_nocase(element, "text/html"))
			return true;
	}
	return false;
}

/* Ids are [a-z0-9] and messages our own, so nothing here needs escaping. */
static int write_json(const struct rewrite_answer *answer, int status, const char *message,
		      char *out, size_t out_max)
{
	char sandbox[ID_MAX + 20] = "";
	char port[24] = "";

	if (answer->sandbox)
		snprintf(sandbox, sizeof(sandbox), "\"sandboxId\":\"%s\",", answer->sandbox->text);
	if (answer->outcome == OUTCOME_PORT_CLOSED)
		snprintf(port, sizeof(port), "\"port\":%u,", answer->port);
	return snprintf(out, out_max, "{%s\"message\":\"%s\",%s\"code\":%d}", sandbox, message,
			port, status);
}

static int write_html(const struct rewrite_answer *answer, int status, const char *message,
		      char *out, size_t out_max)
{
	return snprintf(out, out_max,
			"<!doctype html><meta charset=utf-8><title>%d %s</title>"
			"<h1>%s</h1><p>%s%s</p>\n",
			status, http_status_reason(status), message,
			answer->sandbox ? "Sandbox " : "",
			answer->sandbox ? answer->sandbox->text : "");
}

size_t rewrite_answer(const struct rewrite_answer *answer, char out[REWRITE_ANSWER_MAX])
{
	int status = answer->status ? answer->status : outcome_status(answer->outcome);
	const char *message = answer->message ? answer->message : outcome_message(answer->outcome);
	char body[REWRITE_ANSWER_MAX / 2];
	struct http_writer writer;
	size_t body_n;

	body_n = (size_t)(answer->is_html ? write_html : write_json)(answer, status, message, body,
								     sizeof(body));
	http_writer_init(&writer, out, REWRITE_ANSWER_MAX - sizeof(body));
	http_write_status(&writer, status);
	http_write_header(&writer, "Content-Type",
			  answer->is_html ? "text/html; charset=utf-8" : "application/json");
	http_write_header_u64(&writer, "Content-Length", body_n);
	if (answer->is_last)
		http_write_header(&writer, "Connection", "close");
	if (!http_write_end(&writer))
		return 0;
	if (answer->to_head)
		return writer.n;
	memcpy(out + writer.n, body, body_n);
	return writer.n + body_n;
}
