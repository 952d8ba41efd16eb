/* What the engine's own files share: streams.c keeps the table, output.c the ring and what is due,
 * input.c reads frames, mux.c is the calls of users. */
#ifndef FLOTILLA_MUX_INTERNAL_H
#define FLOTILLA_MUX_INTERNAL_H

#include "common/base/check.h"
#include "common/mux/mux.h"

enum {
	SLOT_NONE = 0xffff,
	HELLO_MAGIC = 0x464c4d58, /* "FLMX" */
	CONTROL_PAYLOAD_MAX = 8,
};

enum frame_code {
#define FRAME(name, code, min, max, on_stream, meaning) FRAME_##name = code,
#include "common/mux/frames.def"
#undef FRAME
};

/* What is true of a stream. */
enum {
	STREAM_OURS = 1 << 0,     /* we opened it */
	STREAM_ACCEPTED = 1 << 1, /* by whoever did not open it */
	STREAM_END_SAID = 1 << 2, /* the user called mux_end */
	STREAM_END_HEARD = 1 << 3,
	STREAM_WANTS = 1 << 4, /* a write fell short: the user waits for MUX_WRITABLE */
};

/* What is still to be put into the output for a stream, in this order. */
enum {
	DUE_OPEN = 1 << 0,
	DUE_ACCEPT = 1 << 1,
	DUE_CREDIT = 1 << 2,
	DUE_END = 1 << 3,
	DUE_RESET = 1 << 4, /* then the stream is gone; nobody hears of it any more */
};

enum list_kind { LIST_DUE, LIST_WRITABLE, LISTS_N };

struct stream_link {
	uint16_t before, after;
	bool is_in;
};

struct stream {
	uint32_t id; /* zero: the slot is free, and link[0].after is the next free one */
	uint32_t send_credit;
	uint32_t receive_credit; /* what the peer may still send */
	uint32_t held;           /* received and not yet consumed */
	uint32_t consumed;       /* and not yet told to the peer */
	uint16_t port;           /* to open */
	uint8_t state;           /* STREAM_ */
	uint8_t due;             /* DUE_ */
	uint8_t reason;          /* of the reset that is due */
	struct stream_link link[LISTS_N];
	void *owner;
};

struct stream_list {
	uint16_t first, last;
};

struct ring {
	uint8_t *bytes;
	size_t size, head, used;
};

struct mux {
	struct mux_config config;

	/* streams.c */
	struct stream *streams;
	uint16_t slots_n;
	uint16_t slots_used_n; /* the rest was never touched */
	uint16_t slot_free;    /* chain of used and freed ones */
	uint16_t *index;       /* hash of ids: slot + 1, or zero */
	uint32_t index_mask;
	uint16_t ours_n, theirs_n;
	struct stream_list lists[LISTS_N];
	uint32_t next_id;      /* of ours */
	uint32_t peer_last_id; /* highest that the peer has opened */
	uint16_t peer_accept_max;

	/* output.c */
	struct ring ring;
	bool is_hello_due, is_ping_due, is_pong_due;
	uint32_t ping_token, pong_token;

	/* input.c */
	const uint8_t *input;
	size_t input_n;
	uint8_t head[MUX_HEADER_N + CONTROL_PAYLOAD_MAX];
	size_t head_n;
	uint32_t data_stream; /* of the DATA frame in progress; zero: to be skipped */
	uint32_t data_left;
	bool is_greeted;
	const char *problem; /* not NULL: broken */
};

/* streams.c */
void mux_streams_clear(struct mux *mux);
struct stream *mux_stream_find(const struct mux *mux, uint32_t id); /* NULL: not there */
struct stream *mux_stream_add(struct mux *mux, uint32_t id, uint8_t state);
void mux_stream_remove(struct mux *mux, struct stream *stream);
void mux_list_add(struct mux *mux, enum list_kind kind, struct stream *stream); /* once */
void mux_list_remove(struct mux *mux, enum list_kind kind, struct stream *stream);
struct stream *mux_list_first(const struct mux *mux, enum list_kind kind);
/* As the user sees it: not when it waits for its RESET to be sent, or both sides said END. */
struct stream *mux_stream_live(const struct mux *mux, uint32_t id);

/* output.c */
void mux_due(struct mux *mux, struct stream *stream, uint8_t what);
void mux_put_due(struct mux *mux); /* as much of what is due as fits */
size_t mux_ring_room(const struct mux *mux);
void mux_put_frame(struct mux *mux, enum frame_code code, uint8_t argument, uint32_t stream,
		   const uint8_t *payload, size_t payload_n);

static inline uint16_t read_u16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static inline uint32_t read_u32(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
	       bytes[3];
}

static inline void write_u16(uint8_t *bytes, uint16_t value)
{
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
}

static inline void write_u32(uint8_t *bytes, uint32_t value)
{
	write_u16(bytes, (uint16_t)(value >> 16));
	write_u16(bytes + 2, (uint16_t)value);
}

#endif
