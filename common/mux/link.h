/*
 * Sends an engine's output over a libuv stream: at once when the socket takes it, otherwise as soon
 * as it does, without a copy.  Reading is left to the owner.
 */
#ifndef FLOTILLA_MUX_LINK_H
#define FLOTILLA_MUX_LINK_H

#include <stdbool.h>
#include <uv.h>

#include "common/mux/mux.h"

struct mux_link {
	/* Set by the owner; mux and stream must stay until the stream's close callback. */
	struct mux *mux;
	uv_stream_t *stream;
	void (*on_room)(struct mux_link *link);             /* a full socket took all again */
	void (*on_fault)(struct mux_link *link, int error); /* writing failed: close it */
	void *arg;
	/* private */
	uv_write_t request;
	size_t lent_n;
	bool is_writing;
};

/*
 * Call after anything that may have put output into the engine.  A fault found at once is returned
 * (a negative libuv error) and not told by on_fault.  Callbacks never come from within.
 */
int mux_link_flush(struct mux_link *link);

/* For a connection that is to live long and answer quickly: no delay of small writes, and a peer
 * that went away without a word is noticed within a minute. */
void mux_link_tune(uv_tcp_t *tcp);

#endif
