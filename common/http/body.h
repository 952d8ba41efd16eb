/*
 * Where a body ends, for who passes it on as it is.  Pure.
 */
#ifndef FLOTILLA_HTTP_BODY_H
#define FLOTILLA_HTTP_BODY_H

#include "common/http/chunked.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* How far a body has come. */
struct http_body_reader {
	enum http_body kind;
	uint64_t left; /* LENGTH */
	struct http_chunked chunked;
};

/* At the beginning of this message's body. */
struct http_body_reader http_body_begin(const struct http_head *head);

/* How many of these bytes belong to the body, all of them if it goes on; *out_ended when it ends
 * behind them.  -1: malformed. */
ssize_t http_body_measure(struct http_body_reader *body, const uint8_t *bytes, size_t bytes_n,
			  bool *out_ended);

#endif
