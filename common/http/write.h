/*
 * Writes heads into the caller's buffer.  Errors are sticky: write on, and ask once at the end.
 * A value with a line break or another control character is refused like one that does not fit,
 * so that nobody's data can become a header field; and so is a head that is larger than head.h
 * reads: what we send, each of our programs can take.
 */
#ifndef FLOTILLA_HTTP_WRITE_H
#define FLOTILLA_HTTP_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http/text.h"

struct http_writer {
	char *at;
	size_t max;
	size_t n; /* written so far */
	size_t headers_n;
	bool failed; /* something did not fit or was not fit to be sent */
};

void http_writer_init(struct http_writer *writer, char *storage, size_t storage_max);

void http_write_request(struct http_writer *writer, struct http_text method,
			struct http_text target);
/* HTTP/1.1, with the status's usual reason. */
void http_write_status(struct http_writer *writer, int status);
void http_write_header(struct http_writer *writer, const char *name, const char *value);
void http_write_header_text(struct http_writer *writer, struct http_text name,
			    struct http_text value);
void http_write_header_u64(struct http_writer *writer, const char *name, uint64_t value);
/* The empty line.  False when anything failed: then nothing of it may be sent. */
bool http_write_end(struct http_writer *writer);

/* "Not Found" for 404; "" for one we do not know. */
const char *http_status_reason(int status);

#endif
