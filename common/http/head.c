/* Start lines and header fields: see head.h.  Where bodies end is framing.c's matter. */
#include "common/http/head.h"

#include <string.h>

int http_verdict_status(enum http_verdict verdict)
{
	switch (verdict) {
#define VERDICT(name, status, text)                                                                \
	case name:                                                                                 \
		return status;
#include "common/http/verdict.def"
#undef VERDICT
	}
	return 400;
}

const char *http_verdict_text(enum http_verdict verdict)
{
	switch (verdict) {
#define VERDICT(name, status, text)                                                                \
	case name:                                                                                 \
		return text;
#include "common/http/verdict.def"
#undef VERDICT
	}
	return "unknown";
}

static bool is_token(struct http_text text)
{
	for (size_t i = 0; i < text.n; i++)
		if (!http_is_token_char((unsigned char)text.at[i]))
			return false;
	return text.n > 0;
}

/* Field values and reasons: printable, blank, or beyond ASCII; never a control character. */
static bool is_field_text(struct http_text text)
{
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.at[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

static bool is_target(struct http_text text)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.at[i] <= ' ' || text.at[i] > '~')
			return false;
	if (!text.n)
		return false;
	return text.at[0] == '/' || http_text_equal(text, "*") ||
	       http_text_starts_nocase(text, "http://") ||
	       http_text_starts_nocase(text, "https://");
}

/*
 * Where the head ends, looking only at bytes not seen before.  The largest head is checked here,
 * so that nobody is made to buffer more than it.
 */
static enum http_verdict find_end(const char *bytes, size_t bytes_n, size_t *scanned_n,
				  size_t *out_head_n)
{
	size_t limit = bytes_n < HTTP_HEAD_MAX ? bytes_n : HTTP_HEAD_MAX;
	size_t from = *scanned_n > 3 ? *scanned_n - 3 : 0;
	const char *end = from < limit ? memmem(bytes + from, limit - from, "\r\n\r\n", 4) : NULL;

	*scanned_n = limit;
	if (end) {
		*out_head_n = (size_t)(end - bytes) + 4;
		return HTTP_OK;
	}
	return bytes_n >= HTTP_HEAD_MAX ? HTTP_HEAD_TOO_LARGE : HTTP_MORE;
}

/* Cuts one line off the front.  A CR or LF that is not a CRLF stays in it and is refused later. */
static struct http_text next_line(struct http_text *rest)
{
	const char *end = memmem(rest->at, rest->n, "\r\n", 2);
	struct http_text line = {rest->at, end ? (size_t)(end - rest->at) : rest->n};
	size_t used = line.n + (end ? 2 : 0);

	rest->at += used;
	rest->n -= used;
	return line;
}

static enum http_verdict parse_version(struct http_text text, int *out_minor)
{
	if (text.n != 8 || memcmp(text.at, "HTTP/", 5) || text.at[6] != '.')
		return HTTP_BAD_LINE;
	if (text.at[5] != '1' || (text.at[7] != '0' && text.at[7] != '1'))
		return HTTP_BAD_VERSION;
	*out_minor = text.at[7] - '0';
	return HTTP_OK;
}

static enum http_verdict parse_request_line(struct http_text line, struct http_head *out)
{
	const char *first = memchr(line.at, ' ', line.n);
	const char *last = memrchr(line.at, ' ', line.n);

	if (!first || first == last)
		return HTTP_BAD_LINE;
	out->method = (struct http_text){line.at, (size_t)(first - line.at)};
	out->target = (struct http_text){first + 1, (size_t)(last - first - 1)};
	if (!is_token(out->method) || !is_target(out->target))
		return HTTP_BAD_LINE;
	last++;
	return parse_version((struct http_text){last, (size_t)(line.at + line.n - last)},
			     &out->minor);
}

static enum http_verdict parse_status_line(struct http_text line, struct http_head *out)
{
	enum http_verdict verdict;
	uint64_t status;

	if (line.n < 12 || line.at[8] != ' ')
		return HTTP_BAD_LINE;
	verdict = parse_version((struct http_text){line.at, 8}, &out->minor);
	if (verdict != HTTP_OK)
		return verdict;
	if (!http_text_u64((struct http_text){line.at + 9, 3}, &status) || status < 100)
		return HTTP_BAD_LINE;
	out->status = (int)status;
	/* The blank before an empty reason is often left out. */
	if (line.n > 12 && line.at[12] != ' ')
		return HTTP_BAD_LINE;
	if (line.n > 13)
		out->reason = (struct http_text){line.at + 13, line.n - 13};
	return is_field_text(out->reason) ? HTTP_OK : HTTP_BAD_LINE;
}

static enum http_verdict parse_headers(struct http_text rest, struct http_head *out)
{
	while (rest.n) {
		struct http_text line = next_line(&rest);
		struct http_header *header;
		const char *colon;

		if (!line.n)
			return rest.n ? HTTP_BAD_HEADER : HTTP_OK;
		if (line.at[0] == ' ' || line.at[0] == '\t')
			return HTTP_BAD_FOLD;
		if (out->headers_n == HTTP_HEADERS_MAX)
			return HTTP_TOO_MANY_HEADERS;
		colon = memchr(line.at, ':', line.n);
		if (!colon)
			return HTTP_BAD_HEADER;
		header = &out->headers[out->headers_n++];
		header->name = (struct http_text){line.at, (size_t)(colon - line.at)};
		colon++;
		header->value = http_text_trim(
			(struct http_text){colon, (size_t)(line.at + line.n - colon)});
		if (!is_token(header->name) || !is_field_text(header->value))
			return HTTP_BAD_HEADER;
	}
	return HTTP_OK;
}

/* Everything but the table of fields, which is large and guarded by its count. */
static void head_reset(struct http_head *head)
{
	head->method = head->target = head->reason = (struct http_text){NULL, 0};
	head->status = head->minor = 0;
	head->headers_n = 0;
	head->body = HTTP_BODY_NONE;
	head->length = 0;
	head->length_given = head->keep_alive = head->upgrade = head->expect_continue = false;
}

static enum http_verdict parse(const char *bytes, size_t bytes_n, bool is_request, bool to_head,
			       size_t *scanned_n, struct http_head *out, size_t *out_head_n)
{
	struct http_text rest, line;
	enum http_verdict verdict = find_end(bytes, bytes_n, scanned_n, out_head_n);

	if (verdict != HTTP_OK)
		return verdict;
	head_reset(out);
	rest = (struct http_text){bytes, *out_head_n};
	line = next_line(&rest);
	verdict = is_request ? parse_request_line(line, out) : parse_status_line(line, out);
	if (verdict == HTTP_OK)
		verdict = parse_headers(rest, out);
	if (verdict == HTTP_OK)
		verdict = http_head_frame(out, is_request, to_head);
	return verdict;
}

enum http_verdict http_request_parse(const char *bytes, size_t bytes_n, size_t *scanned_n,
				     struct http_head *out, size_t *out_head_n)
{
	return parse(bytes, bytes_n, true, false, scanned_n, out, out_head_n);
}

enum http_verdict http_response_parse(const char *bytes, size_t bytes_n, bool to_head,
				      size_t *scanned_n, struct http_head *out, size_t *out_head_n)
{
	return parse(bytes, bytes_n, false, to_head, scanned_n, out, out_head_n);
}

const struct http_header *http_head_find(const struct http_head *head, const char *name)
{
	for (size_t i = 0; i < head->headers_n; i++)
		if (http_text_equal_nocase(head->headers[i].name, name))
			return &head->headers[i];
	return NULL;
}

struct http_text http_head_value(const struct http_head *head, const char *name)
{
	const struct http_header *header = http_head_find(head, name);

	return header ? header->value : (struct http_text){NULL, 0};
}
