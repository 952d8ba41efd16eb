/* The calls of the engine's users; see mux.h for what they promise. */
#include <stdlib.h>
#include <string.h>

#include "common/mux/mux_internal.h"

struct mux *mux_create(const struct mux_config *config)
{
	uint32_t slots_n = (uint32_t)config->open_max + config->accept_max;
	uint32_t index_n = 16;
	struct mux *mux;
	uint8_t *memory;

	CHECK(config->open_max <= MUX_STREAMS_MAX && config->accept_max <= MUX_STREAMS_MAX);
	CHECK(!config->accept_max || config->accept_max >= MUX_STREAMS_EARLY);
	CHECK(config->output_max >= MUX_OUTPUT_MIN);
	while (index_n < 2 * slots_n)
		index_n *= 2;
	memory = calloc(1, sizeof(*mux) + slots_n * sizeof(struct stream) +
				   index_n * sizeof(uint16_t) + config->output_max);
	if (!memory)
		return NULL;
	mux = (struct mux *)memory;
	memory += sizeof(*mux);
	mux->config = *config;
	mux->streams = (struct stream *)memory;
	mux->slots_n = (uint16_t)slots_n;
	memory += slots_n * sizeof(struct stream);
	mux->index = (uint16_t *)memory;
	mux->index_mask = index_n - 1;
	memory += index_n * sizeof(uint16_t);
	mux->ring = (struct ring){.bytes = memory, .size = config->output_max};
	mux_restart(mux);
	return mux;
}

void mux_destroy(struct mux *mux)
{
	free(mux);
}

void mux_restart(struct mux *mux)
{
	mux_streams_clear(mux);
	mux->ring.head = mux->ring.used = 0;
	mux->is_hello_due = true;
	mux->is_ping_due = mux->is_pong_due = false;
	mux->input = NULL;
	mux->input_n = 0;
	mux->head_n = 0;
	mux->data_stream = mux->data_left = 0;
	mux->is_greeted = false;
	mux->problem = NULL;
}

uint32_t mux_open(struct mux *mux, uint16_t port, void *owner)
{
	struct stream *stream;
	uint32_t id;

	CHECK(port);
	if (mux->problem || mux->ours_n >= mux->config.open_max ||
	    mux->ours_n >= mux->peer_accept_max)
		return 0;
	/* Ids wrap after two thousand million streams; one that still lives is stepped over. */
	do {
		id = mux->next_id;
		mux->next_id += 2;
		if (!mux->next_id)
			mux->next_id = 2;
	} while (mux_stream_find(mux, id));
	stream = mux_stream_add(mux, id, STREAM_OURS);
	stream->port = port;
	stream->owner = owner;
	mux_due(mux, stream, DUE_OPEN);
	return id;
}

/* In steps, so that small reads do not cost a frame each; never before our ACCEPT. */
static void give_credit(struct mux *mux, struct stream *stream)
{
	if (stream->consumed >= MUX_CREDIT_STEP && !(stream->state & STREAM_END_HEARD) &&
	    stream->state & (STREAM_OURS | STREAM_ACCEPTED))
		mux_due(mux, stream, DUE_CREDIT);
}

void mux_accept(struct mux *mux, uint32_t id)
{
	struct stream *stream = mux_stream_live(mux, id);

	if (!stream)
		return;
	CHECK(!(stream->state & (STREAM_OURS | STREAM_ACCEPTED)));
	stream->state |= STREAM_ACCEPTED;
	mux_due(mux, stream, DUE_ACCEPT);
	give_credit(mux, stream);
}

void mux_owner_set(struct mux *mux, uint32_t id, void *owner)
{
	struct stream *stream = mux_stream_live(mux, id);

	if (stream)
		stream->owner = owner;
}

void *mux_owner(const struct mux *mux, uint32_t id)
{
	struct stream *stream = mux_stream_live(mux, id);

	return stream ? stream->owner : NULL;
}

bool mux_is_live(const struct mux *mux, uint32_t id)
{
	return mux_stream_live(mux, id);
}

/* A stream that may be written to at all. */
static struct stream *find_writable(const struct mux *mux, uint32_t id)
{
	struct stream *stream = mux_stream_live(mux, id);

	if (!stream)
		return NULL;
	CHECK(stream->state & (STREAM_OURS | STREAM_ACCEPTED));
	CHECK(!(stream->state & STREAM_END_SAID));
	return stream;
}

static size_t smallest(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Without credit it has to wait for that first. */
static void want(struct mux *mux, struct stream *stream)
{
	stream->state |= STREAM_WANTS;
	if (stream->send_credit)
		mux_list_add(mux, LIST_WRITABLE, stream);
}

size_t mux_write(struct mux *mux, uint32_t id, const uint8_t *bytes, size_t bytes_n)
{
	struct stream *stream = find_writable(mux, id);
	size_t written_n = 0;

	if (!stream)
		return 0;
	stream->state &= (uint8_t)~STREAM_WANTS;
	mux_list_remove(mux, LIST_WRITABLE, stream);
	/* What is due goes first: OPEN and ACCEPT before the stream's data, all control before new
	 * data so that writers cannot starve it. */
	while (written_n < bytes_n) {
		size_t n = smallest(bytes_n - written_n, MUX_PAYLOAD_MAX);

		n = smallest(n, stream->send_credit);
		n = smallest(n, mux_output_room(mux));
		if (!n)
			break;
		mux_put_frame(mux, FRAME_DATA, 0, id, bytes + written_n, n);
		stream->send_credit -= (uint32_t)n;
		written_n += n;
	}
	if (written_n < bytes_n)
		want(mux, stream);
	return written_n;
}

void mux_want(struct mux *mux, uint32_t id)
{
	struct stream *stream = find_writable(mux, id);

	if (stream)
		want(mux, stream);
}

size_t mux_write_room(struct mux *mux, uint32_t id)
{
	struct stream *stream = find_writable(mux, id);

	if (!stream)
		return 0;
	return smallest(MUX_PAYLOAD_MAX, smallest(mux_output_room(mux), stream->send_credit));
}

void mux_consumed(struct mux *mux, uint32_t id, size_t bytes_n)
{
	struct stream *stream = mux_stream_live(mux, id);

	if (!stream)
		return;
	CHECK(bytes_n <= stream->held);
	stream->held -= (uint32_t)bytes_n;
	stream->consumed += (uint32_t)bytes_n;
	give_credit(mux, stream);
}

void mux_end(struct mux *mux, uint32_t id)
{
	struct stream *stream = find_writable(mux, id);

	if (!stream)
		return;
	stream->state |= STREAM_END_SAID;
	stream->state &= (uint8_t)~STREAM_WANTS;
	mux_list_remove(mux, LIST_WRITABLE, stream);
	mux_due(mux, stream, DUE_END);
}

void mux_reset(struct mux *mux, uint32_t id, enum mux_reason reason)
{
	struct stream *stream = mux_stream_live(mux, id);

	if (!stream)
		return;
	stream->reason = (uint8_t)reason;
	stream->owner = NULL;
	stream->state &= (uint8_t)~STREAM_WANTS;
	mux_list_remove(mux, LIST_WRITABLE, stream);
	mux_due(mux, stream, DUE_RESET);
}

void mux_ping(struct mux *mux, uint32_t token)
{
	mux->ping_token = token;
	mux->is_ping_due = true;
}

size_t mux_streams_n(const struct mux *mux)
{
	return (size_t)mux->ours_n + mux->theirs_n;
}

const char *mux_reason_text(enum mux_reason reason)
{
	switch (reason) {
#define REASON(name, code, text)                                                                   \
	case MUX_REASON_##name:                                                                    \
		return text;
#include "common/mux/reasons.def"
#undef REASON
	}
	return "unknown";
}
