/*
 * Two engines joined by random pipes, driven by random users, compared with what must be true of
 * every stream: each byte written arrives once, in order, and unchanged; no more than a window of
 * a stream is ever under way; and when the users calm down everything finishes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/mux/mux.h"

enum { ENDS_N = 2, STREAMS_N = 4096, PIPE_MAX = 8000, STEPS_N = 20000, LIMIT = 16 };

/* One direction of a stream. */
struct flow {
	uint64_t written_n, read_n, consumed_n;
	bool is_ended, is_end_heard;
};

struct model_stream {
	uint32_t id;
	int opener;
	bool is_opened, is_accepted, is_torn; /* torn: one side has reset it */
	struct flow flow[ENDS_N];             /* by the end that writes */
};

struct pipe {
	uint8_t bytes[PIPE_MAX];
	size_t n;
};

struct world {
	struct rng rng;
	struct mux *end[ENDS_N];
	struct pipe pipe[ENDS_N]; /* out of this end */
	struct model_stream streams[STREAMS_N];
	size_t streams_n;
	uint32_t pings_n[ENDS_N], pongs_n[ENDS_N];
	bool is_calm;
};

static uint8_t byte_at(const struct model_stream *stream, int writer, uint64_t at)
{
	return (uint8_t)((at * 31 + stream->id * 7 + (uint64_t)writer * 101) ^ (at >> 8));
}

static struct model_stream *find(struct world *world, uint32_t id)
{
	for (size_t at = 0; at < world->streams_n; at++) {
		if (world->streams[at].id == id)
			return &world->streams[at];
	}
	fail_msg("an event on an unknown stream %u", id);
	return NULL;
}

static void on_data(struct world *world, int end, const struct mux_event *event)
{
	struct model_stream *stream = find(world, event->stream);
	struct flow *flow = &stream->flow[!end];

	assert_false(flow->is_end_heard);
	assert_in_range(event->data_n, 1, MUX_PAYLOAD_MAX);
	for (size_t at = 0; at < event->data_n; at++)
		assert_int_equal(event->data[at], byte_at(stream, !end, flow->read_n + at));
	flow->read_n += event->data_n;
	assert_true(flow->read_n <= flow->written_n);
	assert_true(flow->read_n - flow->consumed_n <= MUX_WINDOW);
}

static void on_event(struct world *world, int end, const struct mux_event *event)
{
	switch (event->kind) {
	case MUX_READY:
	case MUX_ACCEPTED:
	case MUX_CREDIT:
	case MUX_WRITABLE:
		break;
	case MUX_OPENED:
		assert_false(find(world, event->stream)->is_opened);
		find(world, event->stream)->is_opened = true;
		assert_int_equal(event->port, 1 + event->stream % 60000);
		break;
	case MUX_DATA:
		on_data(world, end, event);
		break;
	case MUX_END:
		find(world, event->stream)->flow[!end].is_end_heard = true;
		assert_true(find(world, event->stream)->flow[!end].is_ended);
		assert_int_equal(find(world, event->stream)->flow[!end].read_n,
				 find(world, event->stream)->flow[!end].written_n);
		break;
	case MUX_RESET:
		assert_true(find(world, event->stream)->is_torn);
		break;
	case MUX_PONG:
		assert_in_range(event->token, world->pongs_n[end] + 1, world->pings_n[end]);
		world->pongs_n[end] = event->token;
		break;
	case MUX_RESTARTED:
	case MUX_BROKEN:
		fail_msg("end %d: %s", end, event->problem ? event->problem : "restarted");
	}
}

/* From the pipe into an engine, in one chunk of any size. */
static void deliver(struct world *world, int end)
{
	struct pipe *pipe = &world->pipe[!end];
	size_t n = pipe->n;
	struct mux_event event;

	if (rng_one_in(&world->rng, 3) && n)
		n = (size_t)rng_below(&world->rng, n < 40 ? n : 40) + 1;
	mux_feed(world->end[end], pipe->bytes, n);
	while (mux_next(world->end[end], &event))
		on_event(world, end, &event);
	memmove(pipe->bytes, pipe->bytes + n, pipe->n - n);
	pipe->n -= n;
}

static void send(struct world *world, int end)
{
	struct pipe *pipe = &world->pipe[end];
	struct mux_slice slices[2];
	int slices_n = mux_output(world->end[end], slices);
	size_t sent_n = 0;

	for (int at = 0; at < slices_n; at++) {
		size_t n = slices[at].n < PIPE_MAX - pipe->n ? slices[at].n : PIPE_MAX - pipe->n;

		if (n && rng_one_in(&world->rng, 4))
			n = (size_t)rng_below(&world->rng, n) + 1;
		memcpy(pipe->bytes + pipe->n, slices[at].bytes, n);
		pipe->n += n;
		sent_n += n;
		if (n < slices[at].n)
			break;
	}
	mux_output_done(world->end[end], sent_n);
}

static void open_one(struct world *world, int end)
{
	struct model_stream *stream = &world->streams[world->streams_n];
	/* Ids are handed out in order, so the port can be told from the id beforehand. */
	uint32_t id = end ? 2 : 1;
	uint32_t got;

	if (world->streams_n == STREAMS_N)
		return;
	for (size_t at = 0; at < world->streams_n; at++)
		id += world->streams[at].opener == end ? 2 : 0;
	got = mux_open(world->end[end], (uint16_t)(1 + id % 60000), stream);
	if (!got)
		return;
	assert_int_equal(got, id);
	*stream = (struct model_stream){.id = id, .opener = end};
	world->streams_n++;
}

static bool may_write(const struct model_stream *stream, int end)
{
	return !stream->is_torn && !stream->flow[end].is_ended &&
	       (stream->opener == end || stream->is_accepted);
}

static void write_some(struct world *world, int end, struct model_stream *stream)
{
	struct flow *flow = &stream->flow[end];
	uint8_t bytes[40000];
	size_t want_n = (size_t)rng_below(&world->rng, sizeof(bytes)) + 1;
	size_t room = mux_write_room(world->end[end], stream->id);
	size_t n;

	for (size_t at = 0; at < want_n; at++)
		bytes[at] = byte_at(stream, end, flow->written_n + at);
	n = mux_write(world->end[end], stream->id, bytes, want_n);
	assert_true(n <= want_n);
	assert_true(n >= (room < want_n ? room : want_n));
	flow->written_n += n;
	assert_true(flow->written_n - flow->consumed_n <= MUX_WINDOW);
}

static void consume_some(struct world *world, int end, struct model_stream *stream)
{
	struct flow *flow = &stream->flow[!end];
	uint64_t n = flow->read_n - flow->consumed_n;

	if (!world->is_calm && n)
		n = rng_below(&world->rng, n + 1);
	mux_consumed(world->end[end], stream->id, (size_t)n);
	if (mux_is_live(world->end[end], stream->id))
		flow->consumed_n += n;
}

static void end_one(struct world *world, int end, struct model_stream *stream)
{
	mux_end(world->end[end], stream->id);
	stream->flow[end].is_ended = true;
}

static void accept_one(struct world *world, struct model_stream *stream)
{
	if (!stream->is_opened || stream->is_accepted || stream->is_torn)
		return;
	mux_accept(world->end[!stream->opener], stream->id);
	stream->is_accepted = true;
}

static void act(struct world *world, int end)
{
	struct model_stream *stream;

	if (!world->streams_n || rng_one_in(&world->rng, 12)) {
		open_one(world, end);
		return;
	}
	/* The young ones: the old are mostly over. */
	stream = &world->streams[world->streams_n - 1 -
				 rng_below(&world->rng,
					   world->streams_n < 40 ? world->streams_n : 40)];
	if (stream->opener != end && !stream->is_opened)
		return;
	switch (rng_below(&world->rng, 8)) {
	case 0:
		if (stream->opener != end)
			accept_one(world, stream);
		break;
	case 1:
	case 2:
	case 3:
		if (may_write(stream, end))
			write_some(world, end, stream);
		break;
	case 4:
	case 5:
		consume_some(world, end, stream);
		break;
	case 6:
		if (may_write(stream, end) && rng_one_in(&world->rng, 4))
			end_one(world, end, stream);
		break;
	case 7:
		if (rng_one_in(&world->rng, 10)) {
			mux_reset(world->end[end], stream->id, MUX_REASON_CANCELLED);
			stream->is_torn = true;
		} else if (rng_one_in(&world->rng, 10)) {
			mux_ping(world->end[end], ++world->pings_n[end]);
		}
		break;
	}
}

/* Everyone reads, says what is left to say, and ends; then nothing may be left anywhere. */
static void calm_down(struct world *world)
{
	world->is_calm = true;
	for (int round = 0; round < 4000; round++) {
		for (size_t at = 0; at < world->streams_n; at++) {
			struct model_stream *stream = &world->streams[at];

			accept_one(world, stream);
			for (int end = 0; end < ENDS_N; end++) {
				consume_some(world, end, stream);
				if (may_write(stream, end))
					end_one(world, end, stream);
			}
		}
		for (int end = 0; end < ENDS_N; end++) {
			send(world, end);
			deliver(world, end);
		}
		if (!mux_streams_n(world->end[0]) && !mux_streams_n(world->end[1]) &&
		    !world->pipe[0].n && !world->pipe[1].n)
			return;
	}
	fail_msg("it never came to rest");
}

static void run(uint64_t seed, uint32_t output_max)
{
	static struct world world;

	memset(&world, 0, sizeof(world));
	world.rng.state = seed;
	for (int end = 0; end < ENDS_N; end++) {
		world.end[end] = mux_create(&(struct mux_config){
			.initiator = end == 0,
			.open_max = LIMIT,
			.accept_max = LIMIT,
			.output_max = output_max,
		});
		assert_non_null(world.end[end]);
	}
	for (int step = 0; step < STEPS_N; step++) {
		int end = (int)rng_below(&world.rng, ENDS_N);

		switch (rng_below(&world.rng, 4)) {
		case 0:
			send(&world, end);
			break;
		case 1:
			deliver(&world, end);
			break;
		default:
			act(&world, end);
		}
	}
	calm_down(&world);
	for (size_t at = 0; at < world.streams_n; at++) {
		struct model_stream *stream = &world.streams[at];

		for (int end = 0; end < ENDS_N && !stream->is_torn; end++) {
			assert_int_equal(stream->flow[end].read_n, stream->flow[end].written_n);
			assert_true(stream->flow[end].is_end_heard);
		}
	}
	assert_true(world.streams_n > 100);
	for (int end = 0; end < ENDS_N; end++)
		mux_destroy(world.end[end]);
}

static void no_byte_is_lost_and_no_credit_exceeded(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 30; seed++)
		run(seed, seed % 2 ? MUX_OUTPUT_MIN : 256 * 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_byte_is_lost_and_no_credit_exceeded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
