/*
 * What is to be sent: a ring of frames, and marks for what is due but has no place in it yet.
 *
 * Only data needs room when it is written.  Everything else is a mark on its stream, at most one
 * of each kind, so control never fails and needs no queue; marks go into the ring before any
 * further data.
 */
#include <string.h>

#include "common/mux/mux_internal.h"

size_t mux_ring_room(const struct mux *mux)
{
	return mux->ring.size - mux->ring.used;
}

static void ring_put(struct ring *ring, const uint8_t *bytes, size_t bytes_n)
{
	size_t tail = ring->head + ring->used;
	size_t first_n;

	if (!bytes_n)
		return;
	if (tail >= ring->size)
		tail -= ring->size;
	first_n = ring->size - tail < bytes_n ? ring->size - tail : bytes_n;
	memcpy(ring->bytes + tail, bytes, first_n);
	memcpy(ring->bytes, bytes + first_n, bytes_n - first_n);
	ring->used += bytes_n;
}

void mux_put_frame(struct mux *mux, enum frame_code code, uint8_t argument, uint32_t stream,
		   const uint8_t *payload, size_t payload_n)
{
	uint8_t header[MUX_HEADER_N] = {(uint8_t)code, argument};

	CHECK(mux_ring_room(mux) >= MUX_HEADER_N + payload_n);
	write_u16(header + 2, (uint16_t)payload_n);
	write_u32(header + 4, stream);
	ring_put(&mux->ring, header, sizeof(header));
	ring_put(&mux->ring, payload, payload_n);
}

void mux_due(struct mux *mux, struct stream *stream, uint8_t what)
{
	stream->due |= what;
	mux_list_add(mux, LIST_DUE, stream);
}

/* False when the ring is full. */
static bool put_control(struct mux *mux, enum frame_code code, uint8_t argument, uint32_t stream,
			const uint8_t *payload, size_t payload_n)
{
	if (mux_ring_room(mux) < MUX_HEADER_N + payload_n)
		return false;
	mux_put_frame(mux, code, argument, stream, payload, payload_n);
	return true;
}

static bool put_u32(struct mux *mux, enum frame_code code, uint32_t stream, uint32_t value)
{
	uint8_t payload[4];

	write_u32(payload, value);
	return put_control(mux, code, 0, stream, payload, sizeof(payload));
}

static bool put_open(struct mux *mux, struct stream *stream)
{
	uint8_t payload[2];

	write_u16(payload, stream->port);
	return put_control(mux, FRAME_OPEN, 0, stream->id, payload, sizeof(payload));
}

/* A stream that is over on both sides, or reset, leaves its slot when that has been put into the
 * ring: so the peer, who reads in order, never counts fewer live streams than we do. */
static bool put_stream_due(struct mux *mux, struct stream *stream)
{
	if (stream->due & DUE_OPEN && !put_open(mux, stream))
		return false;
	stream->due &= (uint8_t)~DUE_OPEN;
	if (stream->due & DUE_RESET) {
		if (!put_control(mux, FRAME_RESET, stream->reason, stream->id, NULL, 0))
			return false;
		mux_stream_remove(mux, stream);
		return true;
	}
	if (stream->due & DUE_ACCEPT && !put_control(mux, FRAME_ACCEPT, 0, stream->id, NULL, 0))
		return false;
	stream->due &= (uint8_t)~DUE_ACCEPT;
	if (stream->due & DUE_CREDIT) {
		if (!put_u32(mux, FRAME_CREDIT, stream->id, stream->consumed))
			return false;
		stream->receive_credit += stream->consumed;
		stream->consumed = 0;
		stream->due &= (uint8_t)~DUE_CREDIT;
	}
	if (stream->due & DUE_END) {
		if (!put_control(mux, FRAME_END, 0, stream->id, NULL, 0))
			return false;
		stream->due &= (uint8_t)~DUE_END;
		if (stream->state & STREAM_END_HEARD) {
			mux_stream_remove(mux, stream);
			return true;
		}
	}
	mux_list_remove(mux, LIST_DUE, stream);
	return true;
}

static bool put_connection_due(struct mux *mux)
{
	uint8_t hello[8];

	write_u32(hello, HELLO_MAGIC);
	write_u16(hello + 4, MUX_VERSION);
	write_u16(hello + 6, mux->config.accept_max);
	if (mux->is_hello_due && !put_control(mux, FRAME_HELLO, 0, 0, hello, sizeof(hello)))
		return false;
	mux->is_hello_due = false;
	if (mux->is_ping_due && !put_u32(mux, FRAME_PING, 0, mux->ping_token))
		return false;
	mux->is_ping_due = false;
	if (mux->is_pong_due && !put_u32(mux, FRAME_PONG, 0, mux->pong_token))
		return false;
	mux->is_pong_due = false;
	return true;
}

void mux_put_due(struct mux *mux)
{
	struct stream *stream;

	/* The side that answers a HELLO says nothing before it. */
	if (!mux->config.initiator && !mux->is_greeted)
		return;
	if (!put_connection_due(mux))
		return;
	while ((stream = mux_list_first(mux, LIST_DUE)) && put_stream_due(mux, stream))
		;
}

size_t mux_output_room(struct mux *mux)
{
	size_t room;

	mux_put_due(mux);
	if (mux_list_first(mux, LIST_DUE))
		return 0;
	room = mux_ring_room(mux);
	return room > MUX_HEADER_N ? room - MUX_HEADER_N : 0;
}

int mux_output(struct mux *mux, struct mux_slice out_slices[2])
{
	struct ring *ring = &mux->ring;
	size_t first_n;

	mux_put_due(mux);
	if (!ring->used)
		return 0;
	first_n = ring->size - ring->head < ring->used ? ring->size - ring->head : ring->used;
	out_slices[0] = (struct mux_slice){ring->bytes + ring->head, first_n};
	out_slices[1] = (struct mux_slice){ring->bytes, ring->used - first_n};
	return out_slices[1].n ? 2 : 1;
}

void mux_output_done(struct mux *mux, size_t bytes_n)
{
	struct ring *ring = &mux->ring;

	CHECK(bytes_n <= ring->used);
	ring->used -= bytes_n;
	ring->head += bytes_n;
	if (ring->head >= ring->size)
		ring->head -= ring->size;
	/* An idle connection then keeps to the ring's first pages. */
	if (!ring->used)
		ring->head = 0;
}
