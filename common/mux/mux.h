/*
 * Many flow-controlled streams over one connection: bytes in, events out; calls in, bytes out.
 *
 * Pure: no socket, no clock, no allocation after mux_create.  Both ends use the same engine; the
 * frames are in frames.def.  It serves guest and shim (virtio-serial) and shim and gateway (TCP).
 * The peer is not trusted: whatever it sends gives events that keep the promises below, or one
 * MUX_BROKEN.
 *
 * How to drive it:
 *
 *   mux_feed(mux, bytes, n);                       bytes just read; borrowed until all is taken
 *   while (mux_next(mux, &event)) { ... }          act; any call below is allowed in between
 *   while ((n = mux_output(mux, slices))) ...      send; mux_output_done(mux, sent)
 *
 * After mux_next has returned false the fed bytes are all taken.  A relay that cannot take more
 * just stops calling mux_next, keeps the bytes, stops reading, and goes on later.  After
 * mux_output_done call mux_next again: room may let a waiting writer go on (MUX_WRITABLE).
 *
 * Streams are named by the id they have on the wire: never zero, not used again within a
 * connection, so an id is a safe handle.  Calls on a stream that is gone do nothing.  A stream is
 * gone after MUX_RESET or mux_reset, or as soon as both sides have said END.
 *
 * Flow control: each direction of a stream starts with MUX_WINDOW bytes of credit.  The receiving
 * user gives credit back by mux_consumed, when bytes have really gone on their way; until then at
 * most MUX_WINDOW bytes of a stream can be anywhere.  A relay passes the credit on: bytes from A
 * are written to B at once (B's credit is never short then) and MUX_CREDIT from B is
 * mux_consumed towards A.
 *
 * To be free of deadlock, ends (not relays) must always go on reading: they may have to hold up to
 * MUX_WINDOW bytes a stream, and never more.
 */
#ifndef FLOTILLA_MUX_MUX_H
#define FLOTILLA_MUX_MUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	MUX_VERSION = 1,
	MUX_HEADER_N = 8,
	MUX_PAYLOAD_MAX = 16 * 1024,
	MUX_WINDOW = 64 * 1024,      /* credit at the start of each direction of a stream */
	MUX_CREDIT_STEP = 16 * 1024, /* credit is given back in steps of at least this */
	MUX_STREAMS_MAX = 1024,      /* most that either side may open at a time */
	MUX_STREAMS_EARLY = 16,      /* may be opened before the peer's HELLO has told its limit */
	MUX_OUTPUT_MIN = 20 * 1024,  /* smallest output buffer */
};

struct mux;

enum mux_reason {
#define REASON(name, code, text) MUX_REASON_##name = code,
#include "common/mux/reasons.def"
#undef REASON
};

enum mux_event_kind {
	MUX_READY,     /* the peer's HELLO came: limit is known */
	MUX_RESTARTED, /* the peer began anew (config.restartable): every stream is gone */
	MUX_OPENED,    /* the peer opened `stream` to `port`: mux_accept or mux_reset it */
	MUX_ACCEPTED,  /* the peer took the stream that we opened */
	MUX_DATA,      /* data, data_n: valid until the next call of mux_next */
	MUX_END,       /* no more data will come on this stream */
	MUX_RESET,     /* the stream is gone: reason */
	MUX_CREDIT,   /* the peer gave `credit` bytes more: relays pass it on, ends may ignore it */
	MUX_WRITABLE, /* a mux_write that fell short can go on */
	MUX_PONG,     /* the peer answered mux_ping: token */
	MUX_BROKEN,   /* the peer broke the protocol: `problem`; the engine takes no more input */
};

struct mux_event {
	enum mux_event_kind kind;
	uint32_t stream; /* all but READY, RESTARTED, PONG, BROKEN */
	void *owner;     /* of the stream, as set by mux_open or mux_owner_set */
	uint16_t port;   /* OPENED: never zero */
	enum mux_reason reason;
	const uint8_t *data;
	size_t data_n; /* 1..MUX_PAYLOAD_MAX; pieces need not be those that were written */
	uint32_t credit;
	uint32_t token;
	const char *problem; /* static text */
};

struct mux_slice {
	const uint8_t *bytes;
	size_t n;
};

struct mux_config {
	/* The initiator sends HELLO at once; the other side when it has received one. */
	bool initiator;
	/* A HELLO in mid-connection starts anew instead of breaking the protocol: for a guest whose
	 * memory comes from a snapshot in which it talked to somebody else. */
	bool restartable;
	uint16_t open_max;   /* streams we open at a time: 0..MUX_STREAMS_MAX */
	uint16_t accept_max; /* streams the peer may open: 0, or MUX_STREAMS_EARLY..MUX_STREAMS_MAX
			      */
	uint32_t output_max; /* bytes of output buffer: MUX_OUTPUT_MIN.. */
};

/* One allocation, of which only what is used gets touched (about 40 bytes a stream, and the output
 * buffer from its start).  NULL when there is no memory. */
struct mux *mux_create(const struct mux_config *config);
void mux_destroy(struct mux *mux); /* NULL is fine */

/* Everything from before is forgotten, as if just created: streams, input, output. */
void mux_restart(struct mux *mux);

/* All bytes fed earlier must have been taken (mux_next returned false). */
void mux_feed(struct mux *mux, const uint8_t *bytes, size_t bytes_n);

/* False when nothing is left to tell. After MUX_BROKEN always false. */
bool mux_next(struct mux *mux, struct mux_event *out_event);

/* A new stream to a port of the guest; data may be written at once, before it is accepted.
 * Zero when the limit (our own or the peer's) is reached. */
uint32_t mux_open(struct mux *mux, uint16_t port, void *owner);

/* Before anything else on a stream that the peer opened, unless it is reset. */
void mux_accept(struct mux *mux, uint32_t stream);

void mux_owner_set(struct mux *mux, uint32_t stream, void *owner);
void *mux_owner(const struct mux *mux, uint32_t stream); /* NULL when the stream is gone */
bool mux_is_live(const struct mux *mux, uint32_t stream);

/* Takes as much as credit and output room allow and returns how much that was.  When it falls
 * short, MUX_WRITABLE comes as soon as more can be taken. */
size_t mux_write(struct mux *mux, uint32_t stream, const uint8_t *bytes, size_t bytes_n);

/* What mux_write surely takes of a stream right now: 0..MUX_PAYLOAD_MAX. */
size_t mux_write_room(struct mux *mux, uint32_t stream);

/* As if a mux_write had just fallen short: MUX_WRITABLE comes as soon as something can be taken. */
void mux_want(struct mux *mux, uint32_t stream);

/* Room in the output buffer for data of all streams together, frame headers taken off: what a
 * relay asks before it takes the next event of the other leg. */
size_t mux_output_room(struct mux *mux);

/* bytes_n of the data received on the stream have gone on: at most what was received. */
void mux_consumed(struct mux *mux, uint32_t stream, size_t bytes_n);

/* No more data from our side. Nothing may be written afterwards. */
void mux_end(struct mux *mux, uint32_t stream);

/* Both ways; no event follows. */
void mux_reset(struct mux *mux, uint32_t stream, enum mux_reason reason);

void mux_ping(struct mux *mux, uint32_t token);

/* What is to be sent, in up to two slices; their number.  The bytes stay where they are until
 * mux_output_done, whatever is called in between (but mux_restart and mux_destroy). */
int mux_output(struct mux *mux, struct mux_slice out_slices[2]);
void mux_output_done(struct mux *mux, size_t bytes_n);

size_t mux_streams_n(const struct mux *mux); /* live ones */

const char *mux_reason_text(enum mux_reason reason);

#endif
