/*
 * Reads frames.  A frame is judged by its header before any of its payload is waited for; data is
 * told in the pieces in which it arrives, so nothing but one header is ever kept.
 *
 * A frame on a stream that is gone is skipped: it may have been on its way when we reset it.  One
 * on a stream that never was breaks the protocol, as does everything else that a correct peer does
 * not send.
 */
#include <string.h>

#include "common/mux/mux_internal.h"

/* A waiting writer is called when this much can be taken at once, or frames would get tiny. */
enum { WRITABLE_ROOM = MUX_PAYLOAD_MAX / 4 };

struct frame_rule {
	uint16_t payload_min, payload_max;
	bool is_on_stream, is_known;
};

static const struct frame_rule rules[] = {
#define FRAME(name, code, min, max, on_stream, meaning) [code] = {min, max, on_stream, true},
#include "common/mux/frames.def"
#undef FRAME
};

struct frame {
	uint8_t code, argument;
	uint16_t payload_n;
	uint32_t stream;
	const uint8_t *payload;
};

static bool broken(struct mux *mux, struct mux_event *event, const char *problem)
{
	mux->problem = problem;
	mux->input_n = 0;
	*event = (struct mux_event){.kind = MUX_BROKEN, .problem = problem};
	return true;
}

void mux_feed(struct mux *mux, const uint8_t *bytes, size_t bytes_n)
{
	CHECK(!mux->input_n);
	if (mux->problem)
		return;
	mux->input = bytes;
	mux->input_n = bytes_n;
}

static void input_take(struct mux *mux, size_t n)
{
	mux->input += n;
	mux->input_n -= n;
}

/* Until `want_n` bytes are in mux->head; false when the input ends before. */
static bool gather(struct mux *mux, size_t want_n)
{
	size_t n = want_n - mux->head_n;

	if (n > mux->input_n)
		n = mux->input_n;
	if (n) {
		memcpy(mux->head + mux->head_n, mux->input, n);
		mux->head_n += n;
		input_take(mux, n);
	}
	return mux->head_n == want_n;
}

static struct frame frame_of(const struct mux *mux)
{
	return (struct frame){
		.code = mux->head[0],
		.argument = mux->head[1],
		.payload_n = read_u16(mux->head + 2),
		.stream = read_u32(mux->head + 4),
		.payload = mux->head + MUX_HEADER_N,
	};
}

static bool is_ours(const struct mux *mux, uint32_t id)
{
	return (id & 1) == (mux->config.initiator ? 1 : 0);
}

/* Ids only grow (and wrap), so whether one has been is a comparison. */
static bool has_been(const struct mux *mux, uint32_t id)
{
	if (is_ours(mux, id))
		return (int32_t)(id - mux->next_id) < 0;
	return (int32_t)(id - mux->peer_last_id) <= 0;
}

/* What is wrong with a header, or NULL. */
static const char *header_problem(const struct mux *mux, const struct frame *frame)
{
	const struct frame_rule *rule;
	const struct stream *stream;

	if (frame->code >= ARRAY_N(rules) || !rules[frame->code].is_known)
		return "unknown frame";
	rule = &rules[frame->code];
	if (frame->payload_n < rule->payload_min || frame->payload_n > rule->payload_max)
		return "frame of a wrong length";
	if (rule->is_on_stream != (frame->stream != 0))
		return "frame on a wrong stream";
	if (frame->argument && frame->code != FRAME_RESET)
		return "argument where none belongs";
	if (!mux->is_greeted && frame->code != FRAME_HELLO)
		return "no greeting";
	if (!rule->is_on_stream || frame->code == FRAME_OPEN)
		return NULL;
	stream = mux_stream_find(mux, frame->stream);
	if (!stream)
		return has_been(mux, frame->stream) ? NULL : "frame on a stream never opened";
	if (stream->due & DUE_RESET)
		return NULL;
	if (stream->state & STREAM_OURS && !(stream->state & STREAM_ACCEPTED) &&
	    frame->code != FRAME_ACCEPT && frame->code != FRAME_RESET)
		return "frame on a stream not accepted";
	if (frame->code == FRAME_ACCEPT &&
	    (!(stream->state & STREAM_OURS) || stream->state & STREAM_ACCEPTED))
		return "accepted what was not asked";
	if (stream->state & STREAM_END_HEARD &&
	    (frame->code == FRAME_DATA || frame->code == FRAME_END))
		return "data after its end";
	if (frame->code == FRAME_DATA && frame->payload_n > stream->receive_credit)
		return "more data than credit";
	return NULL;
}

static bool on_hello(struct mux *mux, const struct frame *frame, struct mux_event *event)
{
	bool again = mux->is_greeted;
	const uint8_t *input = mux->input;
	size_t input_n = mux->input_n;

	if (read_u32(frame->payload) != HELLO_MAGIC)
		return broken(mux, event, "not a greeting");
	if (read_u16(frame->payload + 4) != MUX_VERSION)
		return broken(mux, event, "unknown version");
	if (again) {
		if (!mux->config.restartable)
			return broken(mux, event, "a second greeting");
		mux_restart(mux);
		mux->input = input;
		mux->input_n = input_n;
	}
	mux->is_greeted = true;
	mux->peer_accept_max = read_u16(frame->payload + 6);
	event->kind = again ? MUX_RESTARTED : MUX_READY;
	return true;
}

static bool on_open(struct mux *mux, const struct frame *frame, struct mux_event *event)
{
	uint16_t port = read_u16(frame->payload);

	if (is_ours(mux, frame->stream) || has_been(mux, frame->stream) ||
	    mux_stream_find(mux, frame->stream))
		return broken(mux, event, "stream opened out of turn");
	if (!port)
		return broken(mux, event, "stream to port 0");
	if (mux->theirs_n >= mux->config.accept_max)
		return broken(mux, event, "more streams than allowed");
	mux->peer_last_id = frame->stream;
	mux_stream_add(mux, frame->stream, 0);
	event->kind = MUX_OPENED;
	event->stream = frame->stream;
	event->port = port;
	return true;
}

static bool on_credit(struct mux *mux, struct stream *stream, uint32_t credit,
		      struct mux_event *event)
{
	if (!credit || credit > MUX_WINDOW - stream->send_credit)
		return broken(mux, event, "credit for what was never sent");
	stream->send_credit += credit;
	if (stream->state & STREAM_WANTS)
		mux_list_add(mux, LIST_WRITABLE, stream);
	event->kind = MUX_CREDIT;
	event->credit = credit;
	return true;
}

static bool on_end(struct mux *mux, struct stream *stream, struct mux_event *event)
{
	stream->state |= STREAM_END_HEARD;
	event->kind = MUX_END;
	if (stream->state & STREAM_END_SAID && !(stream->due & DUE_END))
		mux_stream_remove(mux, stream);
	return true;
}

static bool on_reset(struct mux *mux, struct stream *stream, uint8_t argument,
		     struct mux_event *event)
{
	event->kind = MUX_RESET;
	event->reason = MUX_REASON_GONE;
	switch (argument) {
#define REASON(name, code, text)                                                                   \
	case code:                                                                                 \
		event->reason = MUX_REASON_##name;                                                 \
		break;
#include "common/mux/reasons.def"
#undef REASON
	}
	mux_stream_remove(mux, stream);
	return true;
}

/* A stream whose reset is on its way is not spoken of again; but when the peer has let go of it on
 * its own, it counts it no longer, and neither must we. */
static void on_frame_while_resetting(struct mux *mux, struct stream *stream, uint8_t code)
{
	bool is_end_sent = stream->state & STREAM_END_SAID && !(stream->due & DUE_END);

	if (code == FRAME_RESET || (code == FRAME_END && is_end_sent))
		mux_stream_remove(mux, stream);
	else if (code == FRAME_END)
		stream->state |= STREAM_END_HEARD;
}

static bool on_stream_frame(struct mux *mux, const struct frame *frame, struct mux_event *event)
{
	struct stream *stream = mux_stream_find(mux, frame->stream);

	if (!stream)
		return false;
	if (stream->due & DUE_RESET) {
		on_frame_while_resetting(mux, stream, frame->code);
		return false;
	}
	event->stream = stream->id;
	event->owner = stream->owner;
	switch ((enum frame_code)frame->code) {
	case FRAME_ACCEPT:
		stream->state |= STREAM_ACCEPTED;
		event->kind = MUX_ACCEPTED;
		return true;
	case FRAME_END:
		return on_end(mux, stream, event);
	case FRAME_RESET:
		return on_reset(mux, stream, frame->argument, event);
	case FRAME_CREDIT:
		return on_credit(mux, stream, read_u32(frame->payload), event);
	case FRAME_HELLO:
	case FRAME_OPEN:
	case FRAME_DATA:
	case FRAME_PING:
	case FRAME_PONG:
		break;
	}
	return false;
}

/* True when it gives an event. */
static bool on_control(struct mux *mux, const struct frame *frame, struct mux_event *event)
{
	switch ((enum frame_code)frame->code) {
	case FRAME_HELLO:
		return on_hello(mux, frame, event);
	case FRAME_OPEN:
		return on_open(mux, frame, event);
	case FRAME_PING:
		mux->pong_token = read_u32(frame->payload);
		mux->is_pong_due = true;
		return false;
	case FRAME_PONG:
		event->kind = MUX_PONG;
		event->token = read_u32(frame->payload);
		return true;
	case FRAME_ACCEPT:
	case FRAME_DATA:
	case FRAME_END:
	case FRAME_RESET:
	case FRAME_CREDIT:
		break;
	}
	return on_stream_frame(mux, frame, event);
}

static void begin_data(struct mux *mux, const struct frame *frame)
{
	struct stream *stream = mux_stream_find(mux, frame->stream);

	mux->data_left = frame->payload_n;
	mux->data_stream = 0;
	if (stream && !(stream->due & DUE_RESET)) {
		stream->receive_credit -= frame->payload_n;
		mux->data_stream = frame->stream;
	}
}

/* True when it gives an event; a stream that was reset since the frame began is skipped. */
static bool take_data(struct mux *mux, struct mux_event *event)
{
	size_t n = mux->data_left < mux->input_n ? mux->data_left : mux->input_n;
	struct stream *stream = mux_stream_live(mux, mux->data_stream);

	event->data = mux->input;
	event->data_n = n;
	input_take(mux, n);
	mux->data_left -= (uint32_t)n;
	if (!stream)
		return false;
	event->kind = MUX_DATA;
	event->stream = stream->id;
	event->owner = stream->owner;
	stream->held += (uint32_t)n;
	return true;
}

static bool next_from_input(struct mux *mux, struct mux_event *event)
{
	while (mux->input_n) {
		struct frame frame;
		const char *problem;
		bool fresh;

		*event = (struct mux_event){0};
		if (mux->data_left) {
			if (take_data(mux, event))
				return true;
			continue;
		}
		fresh = mux->head_n < MUX_HEADER_N;
		if (fresh && !gather(mux, MUX_HEADER_N))
			return false;
		frame = frame_of(mux);
		if (fresh && (problem = header_problem(mux, &frame)))
			return broken(mux, event, problem);
		if (frame.code == FRAME_DATA) {
			begin_data(mux, &frame);
			mux->head_n = 0;
			continue;
		}
		if (!gather(mux, (size_t)MUX_HEADER_N + frame.payload_n))
			return false;
		mux->head_n = 0;
		if (on_control(mux, &frame, event))
			return true;
	}
	return false;
}

bool mux_next(struct mux *mux, struct mux_event *out_event)
{
	struct stream *stream;

	if (mux->problem)
		return false;
	if (next_from_input(mux, out_event))
		return true;
	stream = mux_list_first(mux, LIST_WRITABLE);
	if (!stream || mux_output_room(mux) < WRITABLE_ROOM)
		return false;
	/* Putting out what was due may have ended streams, but never one that waits to write. */
	stream->state &= (uint8_t)~STREAM_WANTS;
	mux_list_remove(mux, LIST_WRITABLE, stream);
	*out_event = (struct mux_event){
		.kind = MUX_WRITABLE,
		.stream = stream->id,
		.owner = stream->owner,
	};
	return true;
}
