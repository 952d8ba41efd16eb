/*
 * What the header fields say about the message's body and its connection.  This is where request
 * smuggling happens, so every doubt is a refusal.
 */
#include "common/http/head.h"

#include <string.h>

#include "common/base/check.h"

/* What was gathered in one pass over the fields. */
struct fields {
	unsigned host_n;
	unsigned length_n;
	unsigned coding_n;
	bool close;
	bool keep_alive;
	bool upgrade_named; /* Connection: upgrade */
	bool upgrade_given; /* an Upgrade field */
};

static void read_connection(struct http_text list, struct fields *fields)
{
	struct http_text element;

	while (http_text_list_next(&list, &element)) {
		if (http_text_equal_nocase(element, "close"))
			fields->close = true;
		else if (http_text_equal_nocase(element, "keep-alive"))
			fields->keep_alive = true;
		else if (http_text_equal_nocase(element, "upgrade"))
			fields->upgrade_named = true;
	}
}

static enum http_verdict read_field(struct http_head *head, const struct http_header *header,
				    struct fields *fields)
{
	if (http_text_equal_nocase(header->name, "content-length")) {
		if (fields->length_n++ || !http_text_u64(header->value, &head->length) ||
		    head->length > INT64_MAX)
			return HTTP_BAD_LENGTH;
		head->length_given = true;
	} else if (http_text_equal_nocase(header->name, "transfer-encoding")) {
		if (fields->coding_n++ || !http_text_equal_nocase(header->value, "chunked"))
			return HTTP_BAD_CODING;
	} else if (http_text_equal_nocase(header->name, "connection")) {
		read_connection(header->value, fields);
	} else if (http_text_equal_nocase(header->name, "upgrade")) {
		fields->upgrade_given = true;
	} else if (http_text_equal_nocase(header->name, "host")) {
		fields->host_n++;
	} else if (http_text_equal_nocase(header->name, "expect")) {
		head->expect_continue = http_text_equal_nocase(header->value, "100-continue");
	}
	return HTTP_OK;
}

static bool status_has_no_body(int status)
{
	return status < 200 || status == 204 || status == 304;
}

static enum http_body body_kind(const struct http_head *head, const struct fields *fields,
				bool is_request, bool to_head)
{
	if (!is_request && (to_head || status_has_no_body(head->status)))
		return HTTP_BODY_NONE;
	if (fields->coding_n)
		return HTTP_BODY_CHUNKED;
	if (fields->length_n)
		return head->length ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
	return is_request ? HTTP_BODY_NONE : HTTP_BODY_CLOSE;
}

enum http_verdict http_head_frame(struct http_head *head, bool is_request, bool to_head)
{
	struct fields fields = {0};

	for (size_t i = 0; i < head->headers_n; i++) {
		enum http_verdict verdict = read_field(head, &head->headers[i], &fields);

		if (verdict != HTTP_OK)
			return verdict;
	}
	/* A 1.0 peer may not know chunked, so somebody on the way disagrees about the end. */
	if (fields.coding_n && (fields.length_n || head->minor == 0))
		return HTTP_BAD_FRAMING;
	if (is_request && (fields.host_n > 1 || (head->minor == 1 && !fields.host_n)))
		return HTTP_BAD_HOST;
	head->body = body_kind(head, &fields, is_request, to_head);
	head->upgrade = fields.upgrade_named && fields.upgrade_given && head->minor == 1;
	head->keep_alive = !fields.close && (head->minor == 1 || fields.keep_alive) &&
			   head->body != HTTP_BODY_CLOSE;
	return HTTP_OK;
}

bool http_head_is_hop(const struct http_head *head, const struct http_header *header)
{
	static const char *const names[] = {
		"connection", "keep-alive", "proxy-connection",  "proxy-authenticate",
		"te",         "trailer",    "transfer-encoding", "proxy-authorization",
		"upgrade",
	};

	for (size_t i = 0; i < ARRAY_N(names); i++)
		if (http_text_equal_nocase(header->name, names[i]))
			return true;
	for (size_t i = 0; i < head->headers_n; i++) {
		struct http_text list = head->headers[i].value, element;

		if (!http_text_equal_nocase(head->headers[i].name, "connection"))
			continue;
		while (http_text_list_next(&list, &element))
			if (http_text_same_nocase(element, header->name))
				return true;
	}
	return false;
}
