/* The table of streams: slots handed out lowest first, found by id, linked into lists. */
#include <string.h>

#include "common/mux/mux_internal.h"

static uint32_t index_home(const struct mux *mux, uint32_t id)
{
	return (id * 2654435761U >> 16) & mux->index_mask;
}

static uint16_t slot_of(const struct mux *mux, const struct stream *stream)
{
	return (uint16_t)(stream - mux->streams);
}

void mux_streams_clear(struct mux *mux)
{
	memset(mux->streams, 0, mux->slots_used_n * sizeof(mux->streams[0]));
	memset(mux->index, 0, (mux->index_mask + 1) * sizeof(mux->index[0]));
	mux->slots_used_n = 0;
	mux->slot_free = SLOT_NONE;
	mux->ours_n = mux->theirs_n = 0;
	for (int kind = 0; kind < LISTS_N; kind++)
		mux->lists[kind] = (struct stream_list){SLOT_NONE, SLOT_NONE};
	mux->next_id = mux->config.initiator ? 1 : 2;
	mux->peer_last_id = 0;
	mux->peer_accept_max = MUX_STREAMS_EARLY;
}

struct stream *mux_stream_find(const struct mux *mux, uint32_t id)
{
	for (uint32_t at = index_home(mux, id); mux->index[at]; at = (at + 1) & mux->index_mask) {
		struct stream *stream = &mux->streams[mux->index[at] - 1];

		if (stream->id == id)
			return stream;
	}
	return NULL;
}

struct stream *mux_stream_add(struct mux *mux, uint32_t id, uint8_t state)
{
	uint32_t at = index_home(mux, id);
	struct stream *stream;

	if (mux->slot_free != SLOT_NONE) {
		stream = &mux->streams[mux->slot_free];
		mux->slot_free = stream->link[0].after;
	} else {
		CHECK(mux->slots_used_n < mux->slots_n);
		stream = &mux->streams[mux->slots_used_n++];
	}
	*stream = (struct stream){
		.id = id,
		.send_credit = MUX_WINDOW,
		.receive_credit = MUX_WINDOW,
		.state = state,
	};
	while (mux->index[at])
		at = (at + 1) & mux->index_mask;
	mux->index[at] = (uint16_t)(slot_of(mux, stream) + 1);
	if (state & STREAM_OURS)
		mux->ours_n++;
	else
		mux->theirs_n++;
	return stream;
}

/* Open addressing without tombstones: what follows the hole moves up, unless it sits at or after
 * its home. */
static void index_remove(struct mux *mux, const struct stream *stream)
{
	uint32_t mask = mux->index_mask;
	uint32_t hole = index_home(mux, stream->id);
	uint32_t at;

	while (mux->index[hole] != slot_of(mux, stream) + 1)
		hole = (hole + 1) & mask;
	for (at = (hole + 1) & mask; mux->index[at]; at = (at + 1) & mask) {
		uint32_t home = index_home(mux, mux->streams[mux->index[at] - 1].id);

		if (((at - home) & mask) >= ((at - hole) & mask)) {
			mux->index[hole] = mux->index[at];
			hole = at;
		}
	}
	mux->index[hole] = 0;
}

void mux_stream_remove(struct mux *mux, struct stream *stream)
{
	for (int kind = 0; kind < LISTS_N; kind++)
		mux_list_remove(mux, (enum list_kind)kind, stream);
	index_remove(mux, stream);
	if (stream->state & STREAM_OURS)
		mux->ours_n--;
	else
		mux->theirs_n--;
	stream->id = 0;
	stream->owner = NULL;
	stream->link[0].after = mux->slot_free;
	mux->slot_free = slot_of(mux, stream);
}

void mux_list_add(struct mux *mux, enum list_kind kind, struct stream *stream)
{
	struct stream_list *list = &mux->lists[kind];
	uint16_t slot = slot_of(mux, stream);

	if (stream->link[kind].is_in)
		return;
	stream->link[kind] = (struct stream_link){list->last, SLOT_NONE, true};
	if (list->last == SLOT_NONE)
		list->first = slot;
	else
		mux->streams[list->last].link[kind].after = slot;
	list->last = slot;
}

void mux_list_remove(struct mux *mux, enum list_kind kind, struct stream *stream)
{
	struct stream_list *list = &mux->lists[kind];
	struct stream_link *link = &stream->link[kind];

	if (!link->is_in)
		return;
	if (link->before == SLOT_NONE)
		list->first = link->after;
	else
		mux->streams[link->before].link[kind].after = link->after;
	if (link->after == SLOT_NONE)
		list->last = link->before;
	else
		mux->streams[link->after].link[kind].before = link->before;
	link->is_in = false;
}

struct stream *mux_list_first(const struct mux *mux, enum list_kind kind)
{
	uint16_t slot = mux->lists[kind].first;

	return slot == SLOT_NONE ? NULL : &mux->streams[slot];
}

struct stream *mux_stream_live(const struct mux *mux, uint32_t id)
{
	struct stream *stream = id ? mux_stream_find(mux, id) : NULL;
	const uint8_t over = STREAM_END_SAID | STREAM_END_HEARD;

	if (!stream || stream->due & DUE_RESET || (stream->state & over) == over)
		return NULL;
	return stream;
}
