/*
 * The bytes of one connection of NNG's TCP mapping (the scalability protocols'): each side greets
 * with 8 bytes that name its protocol, then come messages, each with its length in front.
 *
 * Pure: bytes in, messages out; it never touches a socket.  The peer is not trusted: room is taken
 * only for what has arrived, up to message_max.
 */
#ifndef FLOTILLA_IO_SP_STREAM_H
#define FLOTILLA_IO_SP_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SP_HEAD_N = 8, /* of the greeting, and of a length */
	SP_REQ = 0x30,
	SP_REP = 0x31,
};

struct sp_stream {
	uint16_t peer; /* the only protocol a peer may speak */
	size_t message_max;
	enum { SP_IN_GREETING, SP_IN_LENGTH, SP_IN_MESSAGE } phase;
	uint8_t head[SP_HEAD_N]; /* what has come of a greeting or a length */
	size_t head_n;
	uint8_t *message; /* one that came in pieces; NULL if there is none */
	size_t message_n, message_size, room;
};

enum sp_found {
	SP_NEED_MORE, /* all bytes are taken */
	SP_GREETED,
	SP_MESSAGE,
	SP_BROKEN, /* no peer of ours; the connection is to be closed */
};

void sp_stream_init(struct sp_stream *stream, uint16_t peer, size_t message_max);

/* Frees a message in pieces. Needs no init. */
void sp_stream_close(struct sp_stream *stream);

/*
 * Takes bytes from *data until it finds something, and moves *data and *n behind them.  A message
 * stays where it is until the next call: within data if it came in one piece.
 */
enum sp_found sp_stream_next(struct sp_stream *stream, const uint8_t **data, size_t *n,
			     const uint8_t **out_message, size_t *out_n);

/* What to send first, and in front of each message. */
void sp_greeting(uint16_t self, uint8_t out[SP_HEAD_N]);
void sp_length(size_t n, uint8_t out[SP_HEAD_N]);

#endif
