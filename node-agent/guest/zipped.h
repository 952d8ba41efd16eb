/*
 * A compressed body on its way to whoever wants it plain.  Some bytes may stand for a thousand
 * times as many, so it is decoded in slices: others are answered in between, and no more of the
 * body is taken meanwhile.
 */
#ifndef FLOTILLA_GUEST_ZIPPED_H
#define FLOTILLA_GUEST_ZIPPED_H

#include <uv.h>

#include "node-agent/guest/conn.h"
#include "node-agent/guest/gunzip.h"

enum {
	ZIPPED_OUT_N = 64 * 1024,
	ZIPPED_SLICE_N = 32, /* pieces of ZIPPED_OUT_N in one go */
};

/* What becomes of it.  Whoever answers the request closes the zipped body. */
struct zipped_ops {
	bool (*on_plain)(struct conn *conn, const char *bytes, size_t bytes_n); /* false: closed */
	void (*on_bad)(struct conn *conn);
	void (*on_complete)(struct conn *conn); /* zipped_end was called, and all is plain */
};

struct zipped {
	struct conn *conn;
	const struct zipped_ops *ops;
	struct gunzip gunzip;
	uv_idle_t idle; /* runs while something is left over */
	bool is_ended;
	size_t left_at, left_n;
	char left[CONN_IN_MAX]; /* compressed */
	char out[ZIPPED_OUT_N];
};

/* NULL when there is no memory. */
struct zipped *zipped_open(struct conn *conn, const struct zipped_ops *ops);
void zipped_close(struct zipped *zipped);

/* The next piece of the body, and its end.  Not called while the connection is held. */
void zipped_bytes(struct zipped *zipped, const char *bytes, size_t bytes_n);
void zipped_end(struct zipped *zipped);

#endif
