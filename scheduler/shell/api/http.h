/*
 * An HTTP server on the loop: libmicrohttpd driven by its own epoll descriptor.
 *
 * Each complete request is handed over once, with its body.  It is answered at once or held and
 * answered later; while held it costs no thread, and its client going away does not matter to
 * the holder: the number of the request simply stays valid until it is answered.
 *
 * Bounded: connections, heads, bodies, and the time a client may take for either.
 */
#ifndef FLOTILLA_SHELL_HTTP_H
#define FLOTILLA_SHELL_HTTP_H

#include "common/base/err.h"
#include "common/io/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum {
	HTTP_REQUEST_ID_MAX = 65, /* storage, NUL included */
	HTTP_HEADERS_MAX = 16,    /* of an answer, besides those that are always there */
	HTTP_HEADER_TEXT_MAX = 128,
};

struct http;
struct http_request;

/* One complete request.  Must call http_answer now, or http_hold. */
typedef void (*http_handler)(void *data, struct http_request *request);

struct http_options {
	struct address listen;
	uint32_t connections_max;
	size_t body_max;     /* of a longer one only http_is_too_long is told */
	uint32_t patience_s; /* for a head, a body, the reading of an answer */
	http_handler on_request;
	/* Of a request with a body, when its head is here: where the body is to be written, which
	 * is then the server's to close, and how many bytes of it; -1: nowhere, it is kept in
	 * memory as others are.  NULL: never. */
	int (*on_upload)(void *data, struct http_request *request, uint64_t *out_max);
	void *data;
};

int http_open(struct http **out_http, uv_loop_t *loop, const struct http_options *options,
	      struct err *err);

/* Requests that are still held are cut off. NULL is fine. */
void http_close(struct http *http);

/* Where it listens, with the port that the system picked. */
struct address http_address(const struct http *http);

/* Carries on with what was answered since; called once when a round of work is done. */
void http_flush(struct http *http);

const char *http_method(const struct http_request *request);
const char *http_target(const struct http_request *request); /* as sent: nothing is decoded */
const char *http_header(const struct http_request *request, const char *name); /* NULL: none */
const char *http_body(const struct http_request *request, size_t *out_n);
const char *http_request_id(const struct http_request *request); /* theirs if usable, or ours */

/* Where its body was written, all of it; -1: it is in memory, or could not be written. */
int http_upload(const struct http_request *request);

/* The body was longer than body_max and is not here: answer at once. */
bool http_is_too_long(const struct http_request *request);

/* Where its body ends is said twice, or as nobody here knows, and was not read: answer at once. */
bool http_is_unclear(const struct http_request *request);

/* Who it came from; false: not by IP. */
bool http_peer(const struct http_request *request, struct address *out);

/* Every header, in the order they came; borrowed for the call. */
void http_each_header(const struct http_request *request,
		      void (*on_header)(void *data, const char *name, const char *value),
		      void *data);

/* Keeps the request for later. The number is never 0 and never used again. One that is held
 * already has its number. */
uint64_t http_hold(struct http_request *request);

/* The held request of that number; NULL when it was answered. */
struct http_request *http_held(struct http *http, uint64_t number);

/* The holder's; NULL at first. */
void http_set_data(struct http_request *request, void *data);
void *http_data(const struct http_request *request);

/* Any of the held requests, for when all have to be answered; NULL: none. */
struct http_request *http_any_held(struct http *http);

/* All of them, one after the other: start with *slot 0, NULL at the end. The one that was given may
 * be answered. */
struct http_request *http_next_held(struct http *http, uint32_t *slot);

/* One more header of the answer to come; name is a literal, the value is copied (and cut). */
void http_add_header(struct http_request *request, const char *name, const char *value);

/* body: malloc'ed, or NULL for none; freed by the server.  type is a literal; may be NULL. */
void http_answer(struct http_request *request, int status, const char *type, char *body,
		 size_t body_n);

struct http_counts {
	uint32_t connections, held;
	uint64_t requests, cut_off; /* for taking longer than patience_s */
};
struct http_counts http_count(const struct http *http);

#endif
