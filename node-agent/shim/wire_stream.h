/*
 * Wire messages over a unix stream socket, as agent and shim exchange them: framed, bounded, one
 * after the other.  Both ends use it.
 */
#ifndef FLOTILLA_SHIM_WIRE_STREAM_H
#define FLOTILLA_SHIM_WIRE_STREAM_H

#include "common/base/err.h"
#include "proto/frame.h"

#include <stdbool.h>
#include <uv.h>

/* The largest message between agent and shim, a claim with all it may carry, and some more. */
enum { WIRE_STREAM_FRAME_MAX = 112 * 1024 };

struct wire_stream_callbacks {
	/* A message that is known; decode it with its own shape. */
	void (*on_message)(void *arg, const struct wire_shape *shape,
			   const struct wire_bytes *body);
	void (*on_closed)(void *arg, const struct err *why); /* once; not after wire_stream_close */
	void *arg;
};

/* The caller's storage; its buffer is only there while something is half read. */
struct wire_stream {
	struct wire_stream_callbacks callbacks;
	uv_pipe_t *pipe; /* NULL: closed */
	uint8_t *input;
	size_t input_n;
	size_t input_size;
};

/* pipe: connected, from malloc; taken over. */
void wire_stream_open(struct wire_stream *stream, uv_pipe_t *pipe,
		      const struct wire_stream_callbacks *callbacks);

/* A valid message (a broken promise otherwise). When the stream is closed it is dropped. */
void wire_stream_send(struct wire_stream *stream, const struct wire_shape *shape,
		      const void *message);

/* What was sent goes out as far as the socket takes it; no callback follows. */
void wire_stream_close(struct wire_stream *stream);

bool wire_stream_is_open(const struct wire_stream *stream);

#endif
