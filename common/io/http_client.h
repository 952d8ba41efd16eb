/*
 * HTTP/1.1 requests from the loop: libcurl's multi interface on libuv, no thread of its own.
 *
 * Everything is called on the loop's thread.  A call ends in exactly one of two ways: its on_done
 * is called, once, from the loop and never from within http_client_start; or it is cancelled (or
 * the client closed), and none of its callbacks is called any more.  From within any callback
 * everything here may be called: start, cancel (also the call itself), close.
 *
 * Requests are given to the server as they are: no redirect is followed, no body is decoded, no
 * header added but Host and User-Agent, when there is none of them.  Content-Length,
 * Transfer-Encoding, Connection and Expect are this connection's own: given ones are left out.
 * Connections are kept and used again.  One that turns out dead before a byte of the answer came is
 * replaced and the request sent again, unless it is `once`.
 */
#ifndef FLOTILLA_IO_HTTP_CLIENT_H
#define FLOTILLA_IO_HTTP_CLIENT_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum {
	HTTP_CLIENT_HEADERS_MAX = 128,     /* of an answer; one with more is a fault */
	HTTP_CLIENT_HEAD_MAX = 64 * 1024,  /* bytes of them together, likewise */
	HTTP_CLIENT_CONNECT_MS = 5 * 1000, /* when a request does not say */
};

struct http_client;
struct http_client_call; /* until its on_done has returned, or it was cancelled */

struct http_client_options {
	const char *ca_file; /* whom to believe, PEM; NULL: whom the system believes */
};

struct http_client_header {
	const char *name, *value;
};

struct http_client_answer {
	int status; /* 0: there is none, err says why */
	struct err err;
	/* Status 0: whether bytes of the request may have reached the server. What was not sent was
	 * not carried out; what was sent may have been. */
	bool sent;
	/* As they came, in their order, without 1xx; borrowed for the call. */
	const struct http_client_header *headers;
	size_t headers_n;
	const uint8_t *body; /* NUL follows; empty when it was streamed */
	size_t body_n;
	/* The head is whole but the body is not: err says why. Only where there is an on_body. */
	bool cut;
};

typedef void (*http_client_done_cb)(void *data, const struct http_client_answer *answer);
/* The head is there: status and headers. */
typedef void (*http_client_head_cb)(void *data, const struct http_client_answer *answer);
typedef void (*http_client_body_cb)(void *data, const uint8_t *bytes, size_t n);

/* Borrowed for http_client_start, body and all; zeroed members mean what they say. */
struct http_client_request {
	const char *method; /* any; NULL: GET */
	const char *url;    /* http:// or https://, escaped */
	const struct http_client_header *headers;
	size_t headers_n;
	const void *body; /* NULL: none */
	size_t body_n;
	bool once;           /* never send it twice: on a connection of its own */
	uint32_t connect_ms; /* name, connection and TLS; 0: HTTP_CLIENT_CONNECT_MS */
	uint32_t total_ms;   /* until the whole answer is there; 0: for ever */
	size_t body_max;     /* a longer gathered body is a fault; not looked at with on_body */
	http_client_done_cb on_done;
	http_client_head_cb on_head; /* or NULL; before the first on_body */
	http_client_body_cb on_body; /* NULL: the body is gathered for on_done */
	void *data;
};

int http_client_open(struct http_client **out, uv_loop_t *loop,
		     const struct http_client_options *options, struct err *err);

/* Cancels all calls. What the loop still needs is freed by it later. NULL is fine. */
void http_client_close(struct http_client *client);

/* A fault: the request cannot be one (a URL without host, a header with a line break). Whatever
 * goes wrong later is told to on_done. */
int http_client_start(struct http_client *client, const struct http_client_request *request,
		      struct http_client_call **out_call, struct err *err);

void http_client_cancel(struct http_client_call *call);

/* The value of the first header of that name, in whatever case; NULL: there is none. */
const char *http_client_answer_header(const struct http_client_answer *answer, const char *name);

#endif
