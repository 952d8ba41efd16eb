/*
 * The head of an HTTP/1.x message: start line and header fields, parsed in place.
 *
 * Both ends of Flotilla's data plane read heads with this one parser, so that they cannot disagree
 * about where a body ends.  It is stricter than the RFC allows: lines end in CRLF alone, a second
 * Content-Length, Content-Length beside Transfer-Encoding, any transfer coding but one "chunked",
 * folded fields, blanks before the colon and control characters are refused.
 *
 * Pure: no allocation, no I/O.  All slices point into the caller's bytes.
 */
#ifndef FLOTILLA_HTTP_HEAD_H
#define FLOTILLA_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http/text.h"

enum {
	HTTP_HEAD_MAX = 32 * 1024, /* bytes of a head, its empty line included */
	HTTP_HEADERS_MAX = 100,
};

enum http_verdict {
#define VERDICT(name, status, text) name,
#include "common/http/verdict.def"
#undef VERDICT
};

/* The status to answer a refused message with (a proxy answers 502 for a refused response). */
int http_verdict_status(enum http_verdict verdict);
const char *http_verdict_text(enum http_verdict verdict);

struct http_header {
	struct http_text name;  /* as sent: compare without case */
	struct http_text value; /* trimmed; may be empty */
};

enum http_body {
	HTTP_BODY_NONE,    /* no byte of a body follows */
	HTTP_BODY_LENGTH,  /* exactly 'length' bytes, length > 0 */
	HTTP_BODY_CHUNKED, /* see chunked.h */
	HTTP_BODY_CLOSE,   /* responses only: until the connection ends */
};

struct http_head {
	struct http_text method; /* requests only */
	struct http_text target; /* requests only: "/…", "*" or an absolute http(s) URL */
	int status;              /* responses only, 100..999 */
	struct http_text reason; /* responses only, may be empty */
	int minor;               /* 0 or 1: HTTP/1.minor */
	struct http_header headers[HTTP_HEADERS_MAX];
	size_t headers_n;
	enum http_body body;
	uint64_t length;      /* the declared Content-Length, 0 when none was given */
	bool length_given;    /* a Content-Length was there, be it 0 */
	bool keep_alive;      /* the connection may carry another message after this one */
	bool upgrade;         /* Connection: upgrade with an Upgrade field */
	bool expect_continue; /* Expect: 100-continue */
};

/*
 * Parses the request at the front of 'bytes'.  HTTP_OK: *out_head_n bytes belong to the head, the
 * body starts behind them.  HTTP_MORE: call again with the same bytes and more behind them.
 * Anything else is a refusal: answer http_verdict_status and close.
 * *scanned_n is the caller's memory between calls, 0 at first: it keeps the cost linear when bytes
 * arrive one by one.  The outputs are meaningful after HTTP_OK only.
 */
enum http_verdict http_request_parse(const char *bytes, size_t bytes_n, size_t *scanned_n,
				     struct http_head *out, size_t *out_head_n);

/*
 * The same for a response.  to_head: it answers a HEAD request, so no body follows whatever its
 * fields say.  1xx, 204 and 304 never have a body; after 101 the bytes are the upgraded protocol's.
 */
enum http_verdict http_response_parse(const char *bytes, size_t bytes_n, bool to_head,
				      size_t *scanned_n, struct http_head *out, size_t *out_head_n);

/* The first field of that name, or NULL. */
const struct http_header *http_head_find(const struct http_head *head, const char *name);

/* Its value, or an empty slice (at == NULL). */
struct http_text http_head_value(const struct http_head *head, const char *name);

/*
 * True for a field that belongs to this connection alone and must not be forwarded: Connection and
 * what it names, Keep-Alive, Proxy-*, TE, Trailer, Transfer-Encoding, Upgrade.
 */
bool http_head_is_hop(const struct http_head *head, const struct http_header *header);

/* For other parsers of this library: what the fields say about body, connection and upgrade. */
enum http_verdict http_head_frame(struct http_head *head, bool is_request, bool to_head);

#endif
