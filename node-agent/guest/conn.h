/*
 * One HTTP connection: reads requests off a stream, one after the other, finds each its route and
 * carries the answer back.  What the answer is, is the handlers' matter.
 *
 * Nothing is allocated for a request but gathered bodies: connections live in a fixed pool and are
 * reused last-in first-out, so that the memory a request touches is memory that is warm.
 *
 * Life of a request: head → (authorised) → body gathered or streamed → the handler answers, at once
 * or later (it then leaves a struct work).  The next request is looked at when this one's body has
 * been read and its answer has been taken by the stream.
 */
#ifndef FLOTILLA_GUEST_CONN_H
#define FLOTILLA_GUEST_CONN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http/chunked.h"
#include "common/http/head.h"
#include "node-agent/guest/stream.h"

enum {
	CONNS_MAX = 512,                             /* as many as the channel has streams */
	CONN_IN_MAX = HTTP_HEAD_MAX + STREAM_WINDOW, /* a head stays in front of its body */
	CONN_OUT_MAX = 64 * 1024,
	CONN_BODY_MAX = 8 * 1024 * 1024,    /* a gathered body */
	CONN_BODIES_MAX = 32 * 1024 * 1024, /* all gathered bodies and answers together */
};

struct conn;
struct conn_pool;
struct guest;
struct route;

/* What a handler leaves with a connection when its answer is not yet complete. */
struct work_ops {
	void (*on_body)(struct conn *conn, const char *bytes, size_t bytes_n); /* ROUTE_UPLOAD */
	void (*on_body_end)(struct conn *conn);                                /* ROUTE_UPLOAD */
	void (*on_room)(struct conn *conn); /* the output has room again; may be NULL */
	void (*on_gone)(struct conn *conn); /* the client left before the answer was complete */
	bool ends_with_client; /* a client that has said its last word is not waiting any more */
};

enum conn_state {
	CONN_FREE,
	CONN_HEAD,    /* between requests, or inside a head */
	CONN_REQUEST, /* body and answer are under way */
};

enum conn_answer {
	CONN_ANSWER_NONE,
	CONN_ANSWER_CHUNKED, /* begun */
	CONN_ANSWER_LENGTH,  /* begun; answer_left bytes to come */
	CONN_ANSWER_DONE,
};

struct conn {
	struct conn_pool *pool;
	struct guest *guest;
	struct stream *stream;
	struct conn *next_free; /* CONN_FREE */
	uint64_t idle_since;    /* the pool's count of requests when this one became idle */

	enum conn_state state;
	bool peer_ended;
	bool body_done;
	bool is_paused;              /* the body is left where it is for now; ROUTE_INPUT */
	bool is_running, is_pumping; /* guard against being entered again from a callback */
	enum conn_answer answer;
	uint64_t answer_left;

	/* The request: meaningful from its head to the end of its answer. */
	struct http_head head;
	struct http_text path, query;
	const struct route *route;
	struct http_chunked chunked;
	uint64_t body_left;
	char *body; /* gathered, owned */
	size_t body_n, body_max;

	/* The handler's. */
	const struct work_ops *work_ops; /* NULL: no work is left */
	void *work;

	/* An answer too large for 'out', owned, sent from here on. */
	char *tail;
	size_t tail_at, tail_n;

	size_t scanned_n;
	size_t head_n; /* bytes of 'in' that the current head occupies */
	size_t in_at, in_end;
	size_t out_at, out_end;
	char in[CONN_IN_MAX];
	char out[CONN_OUT_MAX];
};

struct conn_pool {
	struct guest *guest;
	struct conn *conns;
	struct conn *free;
	size_t used_n;
	size_t bodies_bytes; /* held by gathered bodies and tails of all connections */
	uint64_t requests_n;
};

/* 0, or -1 when there is no memory. */
int conn_pool_open(struct conn_pool *pool, struct guest *guest);
void conn_pool_close(struct conn_pool *pool);

/* Takes a new stream (a stream_accept_fn); context is the pool.  When all connections are taken the
 * one that has been idle longest makes room; false when none is idle. */
bool conn_accept(void *pool, struct stream *stream);

/* -- For handlers ----------------------------------------------------------------------------- */

/* Completing an answer (conn_answer*, conn_finish) detaches the work without on_gone: whoever
 * completes it releases what is the work's. */

/* A complete answer.  extra: further header lines, each with its CRLF, or NULL. */
void conn_answer(struct conn *conn, int status, const char *type, const char *extra,
		 const char *bytes, size_t bytes_n);

/* As above from a JSON value, which is released. */
void conn_answer_json(struct conn *conn, int status, json_t *value);

/* E2B's error document: {"code":status,"message":…}. */
void conn_answer_error(struct conn *conn, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* An answer in pieces.  Then conn_room/conn_put, and conn_finish once. */
void conn_begin_chunked(struct conn *conn, int status, const char *type);
void conn_begin_length(struct conn *conn, int status, const char *type, const char *extra,
		       uint64_t length);

/* Bytes of payload that conn_reserve may be asked for now. */
size_t conn_room(const struct conn *conn);

/* Where to write the next piece of up to conn_room bytes, and how much of it was written. */
char *conn_reserve(struct conn *conn);
void conn_commit(struct conn *conn, size_t bytes_n);

void conn_finish(struct conn *conn);

/* Breaks the connection off, so that the client sees an unfinished answer. */
void conn_abort(struct conn *conn);

/* Hands what is in 'out' to the stream.  Called by the connection itself after each event; others
 * who put something into it from a timer or a pipe call it. */
void conn_flush(struct conn *conn);

#endif
