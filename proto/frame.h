/*
 * Wire messages on a byte stream (the shim's control socket, an end record on disk):
 * 4 bytes length of what follows, 2 bytes kind, both big-endian, then the message.
 */
#ifndef FLOTILLA_PROTO_FRAME_H
#define FLOTILLA_PROTO_FRAME_H

#include "proto/wire.h"

enum {
	FRAME_HEAD_N = 6,
	FRAME_MAX = FRAME_HEAD_N + WIRE_MESSAGE_MAX,
};

/* Encodes a message that has a kind. Faults as wire_encode's. */
int frame_encode(const struct wire_shape *shape, const void *message, uint8_t *out, size_t out_max,
		 size_t *out_n, struct err *err);

/*
 * Looks for one frame at the start of a stream's bytes.  *out_used: bytes the frame takes, 0 if it
 * is not all there yet.  *out_shape: of the message in *out_body (which points into data), NULL if
 * its kind is not known here: skip it.  Fault: the stream cannot be followed any further.
 */
int frame_next(const uint8_t *data, size_t n, size_t *out_used, const struct wire_shape **out_shape,
	       struct wire_bytes *out_body, struct err *err);

#endif
