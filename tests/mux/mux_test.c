/* The multiplexer's promises one by one; mux_model_test has all of them at random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mux/mux.h"

#define HELLO "\x01\x00\x00\x08\x00\x00\x00\x00\x46\x4c\x4d\x58\x00\x01\x00\x20"
#define OPEN1 "\x02\x00\x00\x02\x00\x00\x00\x01\x1f\x40"
#define OPEN3 "\x02\x00\x00\x02\x00\x00\x00\x03\x1f\x40"
#define END1  "\x05\x00\x00\x00\x00\x00\x00\x01"
#define DATA1 "\x04\x00\x00\x01\x00\x00\x00\x01x"

struct pair {
	struct mux *a, *b; /* a is the initiator */
};

static struct mux *create(bool initiator, uint16_t limit)
{
	return mux_create(&(struct mux_config){
		.initiator = initiator,
		.open_max = limit,
		.accept_max = limit,
		.output_max = MUX_OUTPUT_MIN,
	});
}

/* All that `from` has to say goes into `to`; the first `events_max` events are kept. */
static size_t pass(struct mux *from, struct mux *to, struct mux_event *events, size_t events_max)
{
	struct mux_slice slices[2];
	size_t events_n = 0;
	int slices_n;

	while ((slices_n = mux_output(from, slices))) {
		size_t sent_n = 0;

		for (int at = 0; at < slices_n; at++) {
			struct mux_event event;

			mux_feed(to, slices[at].bytes, slices[at].n);
			while (mux_next(to, &event)) {
				if (events_n < events_max)
					events[events_n] = event;
				events_n++;
			}
			sent_n += slices[at].n;
		}
		mux_output_done(from, sent_n);
	}
	return events_n;
}

static struct pair greet(uint16_t limit)
{
	struct pair pair = {create(true, limit), create(false, limit)};
	struct mux_event event;

	assert_int_equal(pass(pair.a, pair.b, &event, 1), 1);
	assert_int_equal(event.kind, MUX_READY);
	assert_int_equal(pass(pair.b, pair.a, &event, 1), 1);
	assert_int_equal(event.kind, MUX_READY);
	return pair;
}

static void part(struct pair pair)
{
	mux_destroy(pair.a);
	mux_destroy(pair.b);
}

static void data_may_follow_an_open_at_once(void **state)
{
	struct pair pair = {create(true, 16), create(false, 16)};
	struct mux_event events[4];
	int mine;
	uint32_t id = mux_open(pair.a, 8000, &mine);

	(void)state;
	assert_int_equal(mux_write(pair.a, id, (const uint8_t *)"hello", 5), 5);
	assert_int_equal(pass(pair.a, pair.b, events, 4), 3);
	assert_int_equal(events[0].kind, MUX_READY);
	assert_int_equal(events[1].kind, MUX_OPENED);
	assert_int_equal(events[1].port, 8000);
	assert_int_equal(events[2].kind, MUX_DATA);
	assert_int_equal(events[2].data_n, 5);
	mux_accept(pair.b, id);
	assert_int_equal(pass(pair.b, pair.a, events, 4), 2);
	assert_int_equal(events[1].kind, MUX_ACCEPTED);
	assert_ptr_equal(events[1].owner, &mine);
	part(pair);
}

static void a_refused_stream_is_told_why(void **state)
{
	struct pair pair = greet(16);
	struct mux_event event;
	uint32_t id = mux_open(pair.a, 9, NULL);

	(void)state;
	pass(pair.a, pair.b, &event, 1);
	mux_reset(pair.b, id, MUX_REASON_REFUSED);
	assert_int_equal(pass(pair.b, pair.a, &event, 1), 1);
	assert_int_equal(event.kind, MUX_RESET);
	assert_int_equal(event.reason, MUX_REASON_REFUSED);
	assert_int_equal(mux_streams_n(pair.a) + mux_streams_n(pair.b), 0);
	part(pair);
}

static void one_direction_may_end_before_the_other(void **state)
{
	struct pair pair = greet(16);
	struct mux_event events[4];
	uint32_t id = mux_open(pair.a, 80, NULL);

	(void)state;
	mux_end(pair.a, id);
	assert_int_equal(pass(pair.a, pair.b, events, 4), 2);
	assert_int_equal(events[1].kind, MUX_END);
	mux_accept(pair.b, id);
	assert_int_equal(mux_write(pair.b, id, (const uint8_t *)"late", 4), 4);
	mux_end(pair.b, id);
	assert_int_equal(pass(pair.b, pair.a, events, 4), 3);
	assert_int_equal(events[1].kind, MUX_DATA);
	assert_int_equal(events[2].kind, MUX_END);
	assert_int_equal(mux_streams_n(pair.a) + mux_streams_n(pair.b), 0);
	part(pair);
}

static void a_writer_without_credit_waits_and_is_called(void **state)
{
	static uint8_t bytes[2 * MUX_WINDOW];
	struct pair pair = greet(16);
	struct mux_event events[64];
	uint32_t id = mux_open(pair.a, 80, NULL);
	size_t written_n = 0, n;

	(void)state;
	do {
		n = mux_write(pair.a, id, bytes, sizeof(bytes) - written_n);
		written_n += n;
		pass(pair.a, pair.b, events, 64);
	} while (n);
	assert_int_equal(written_n, MUX_WINDOW);
	mux_accept(pair.b, id);
	mux_consumed(pair.b, id, MUX_CREDIT_STEP - 1);
	assert_int_equal(pass(pair.b, pair.a, events, 64), 1);
	mux_consumed(pair.b, id, 1);
	assert_int_equal(pass(pair.b, pair.a, events, 64), 2);
	assert_int_equal(events[0].kind, MUX_CREDIT);
	assert_int_equal(events[0].credit, MUX_CREDIT_STEP);
	assert_int_equal(events[1].kind, MUX_WRITABLE);
	assert_int_equal(mux_write(pair.a, id, bytes, sizeof(bytes)), MUX_CREDIT_STEP);
	part(pair);
}

static void who_wants_to_write_is_called_when_it_can(void **state)
{
	static uint8_t bytes[MUX_PAYLOAD_MAX];
	struct pair pair = greet(16);
	struct mux_event event;
	uint32_t id = mux_open(pair.a, 80, NULL);

	(void)state;
	assert_int_equal(mux_write_room(pair.a, id), MUX_PAYLOAD_MAX);
	mux_write(pair.a, id, bytes, sizeof(bytes));
	mux_want(pair.a, id);
	assert_false(mux_next(pair.a, &event));
	pass(pair.a, pair.b, &event, 1);
	assert_true(mux_next(pair.a, &event));
	assert_int_equal(event.kind, MUX_WRITABLE);
	assert_int_equal(event.stream, id);
	assert_false(mux_next(pair.a, &event));
	part(pair);
}

static void a_stalled_stream_holds_up_no_other(void **state)
{
	static uint8_t bytes[MUX_WINDOW];
	struct pair pair = greet(16);
	struct mux_event event;
	uint32_t stalled = mux_open(pair.a, 80, NULL);
	uint32_t quick = mux_open(pair.a, 80, NULL);

	(void)state;
	for (size_t n = 0; n < MUX_WINDOW;) {
		n += mux_write(pair.a, stalled, bytes, sizeof(bytes) - n);
		pass(pair.a, pair.b, &event, 1);
	}
	assert_int_equal(mux_write(pair.a, stalled, bytes, 1), 0);
	assert_int_equal(mux_write(pair.a, quick, bytes, 1), 1);
	assert_int_equal(pass(pair.a, pair.b, &event, 1), 1);
	assert_int_equal(event.stream, quick);
	part(pair);
}

static void more_streams_than_the_limit_are_not_opened(void **state)
{
	struct pair pair = greet(20);
	struct mux_event event;
	uint32_t first = mux_open(pair.a, 80, NULL);

	(void)state;
	for (int n = 1; n < 20; n++)
		assert_true(mux_open(pair.a, 80, NULL));
	assert_int_equal(mux_open(pair.a, 80, NULL), 0);
	mux_reset(pair.a, first, MUX_REASON_CANCELLED);
	pass(pair.a, pair.b, &event, 1);
	assert_true(mux_open(pair.a, 80, NULL));
	part(pair);
}

static void opening_and_resetting_without_reading_answers_is_bounded(void **state)
{
	struct pair pair = greet(16);
	struct mux_event event;

	(void)state;
	/* b's answers are never read, so its resets stay due, yet a's streams are gone. */
	for (int round = 0; round < 100000; round++) {
		uint32_t id = mux_open(pair.a, 80, NULL);

		assert_true(id);
		assert_int_equal(pass(pair.a, pair.b, &event, 1), 1);
		assert_int_equal(event.kind, MUX_OPENED);
		mux_accept(pair.b, id);
		mux_reset(pair.b, id, MUX_REASON_REFUSED);
		mux_reset(pair.a, id, MUX_REASON_CANCELLED);
		assert_int_equal(pass(pair.a, pair.b, &event, 1), 0);
	}
	part(pair);
}

static void a_ping_is_answered(void **state)
{
	struct pair pair = greet(16);
	struct mux_event event;

	(void)state;
	mux_ping(pair.a, 7);
	assert_int_equal(pass(pair.a, pair.b, &event, 1), 0);
	assert_int_equal(pass(pair.b, pair.a, &event, 1), 1);
	assert_int_equal(event.kind, MUX_PONG);
	assert_int_equal(event.token, 7);
	part(pair);
}

static void a_restartable_end_begins_anew(void **state)
{
	struct mux *old = create(true, 16);
	struct mux *new = create(true, 16);
	struct mux *guest = mux_create(&(struct mux_config){
		.restartable = true,
		.accept_max = 16,
		.output_max = MUX_OUTPUT_MIN,
	});
	struct mux_event event;
	uint32_t id;

	(void)state;
	id = mux_open(old, 80, NULL);
	assert_int_equal(pass(old, guest, &event, 1), 2);
	assert_true(mux_is_live(guest, id));
	assert_int_equal(pass(new, guest, &event, 1), 1);
	assert_int_equal(event.kind, MUX_RESTARTED);
	assert_false(mux_is_live(guest, id));
	assert_int_equal(pass(guest, new, &event, 1), 1);
	assert_int_equal(event.kind, MUX_READY);
	mux_destroy(old);
	mux_destroy(new);
	mux_destroy(guest);
}

static void output_that_was_lent_does_not_move(void **state)
{
	static uint8_t bytes[4000];
	struct pair pair = greet(16);
	struct mux_slice slices[2];
	struct mux_event event;
	uint32_t id = mux_open(pair.a, 80, NULL);
	uint8_t copy[64];

	(void)state;
	mux_write(pair.a, id, bytes, 10);
	assert_int_equal(mux_output(pair.a, slices), 1);
	assert_in_range(slices[0].n, 1, sizeof(copy));
	memcpy(copy, slices[0].bytes, slices[0].n);
	while (mux_write(pair.a, id, bytes, sizeof(bytes)))
		;
	assert_memory_equal(copy, slices[0].bytes, slices[0].n);
	mux_output_done(pair.a, 3);
	mux_feed(pair.b, copy, 3);
	assert_false(mux_next(pair.b, &event));
	assert_true(pass(pair.a, pair.b, &event, 1) > 1);
	part(pair);
}

static void garbage_breaks_the_connection_cleanly(void **state)
{
#define ROW(bytes, problem)                                                                        \
	{                                                                                          \
		(const uint8_t *)(bytes), sizeof(bytes) - 1, problem                               \
	}
	static const struct {
		const uint8_t *bytes;
		size_t n;
		const char *problem;
	} rows[] = {
		ROW("GET / HTTP/1.1\r\n\r\n", "unknown frame"),
		ROW("\x00\x00\x00\x00\x00\x00\x00\x00", "unknown frame"),
		ROW(OPEN1, "no greeting"),
		ROW("\x01\x00\x00\x08\x00\x00\x00\x00WXYZ\x00\x01\x00\x20", "not a greeting"),
		ROW("\x01\x00\x00\x08\x00\x00\x00\x00\x46\x4c\x4d\x58\x00\x09\x00\x20",
		    "unknown version"),
		ROW("\x01\x00\x00\x09\x00\x00\x00\x00", "frame of a wrong length"),
		ROW("\x01\x00\x00\x08\x00\x00\x00\x05", "frame on a wrong stream"),
		ROW("\x01\x07\x00\x08\x00\x00\x00\x00", "argument where none belongs"),
		ROW(HELLO HELLO, "a second greeting"),
		ROW(HELLO "\x04\x00\x40\x01\x00\x00\x00\x01", "frame of a wrong length"),
		ROW(HELLO "\x04\x00\x00\x01\x00\x00\x00\x00", "frame on a wrong stream"),
		ROW(HELLO DATA1, "frame on a stream never opened"),
		ROW(HELLO "\x05\x00\x00\x00\x00\x00\x00\x02", "frame on a stream never opened"),
		ROW(HELLO "\x02\x00\x00\x02\x00\x00\x00\x02\x1f\x40", "stream opened out of turn"),
		ROW(HELLO OPEN1 OPEN1, "stream opened out of turn"),
		ROW(HELLO OPEN3 OPEN1, "stream opened out of turn"),
		ROW(HELLO "\x02\x00\x00\x02\x00\x00\x00\x01\x00\x00", "stream to port 0"),
		ROW(HELLO OPEN1 END1 END1, "data after its end"),
		ROW(HELLO OPEN1 END1 DATA1, "data after its end"),
		ROW(HELLO OPEN1 "\x03\x00\x00\x00\x00\x00\x00\x01", "accepted what was not asked"),
		ROW(HELLO OPEN1 "\x07\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x01",
		    "credit for what was never sent"),
		ROW(HELLO OPEN1 "\x07\x00\x00\x04\x00\x00\x00\x01\xff\xff\xff\xff",
		    "credit for what was never sent"),
	};

	(void)state;
	for (size_t at = 0; at < ARRAY_N(rows); at++) {
		/* Whole, and byte by byte. */
		for (size_t step = 1; step <= rows[at].n; step += rows[at].n - 1) {
			struct mux *mux = create(false, 16);
			struct mux_event event = {0};

			for (size_t from = 0; from < rows[at].n; from += step) {
				struct mux_event next;

				mux_feed(mux, rows[at].bytes + from, step);
				while (mux_next(mux, &next))
					event = next;
			}
			assert_int_equal(event.kind, MUX_BROKEN);
			assert_string_equal(event.problem, rows[at].problem);
			mux_feed(mux, (const uint8_t *)HELLO, 16);
			assert_false(mux_next(mux, &event));
			mux_destroy(mux);
		}
	}
}

static void more_than_the_credit_breaks_the_connection(void **state)
{
	static uint8_t payload[MUX_PAYLOAD_MAX];
	struct mux *mux = create(false, 16);
	struct mux_event event;
	size_t got_n = 0;

	(void)state;
	mux_feed(mux, (const uint8_t *)HELLO OPEN1, sizeof(HELLO OPEN1) - 1);
	while (mux_next(mux, &event))
		;
	for (int n = 0; n < 4; n++) {
		mux_feed(mux, (const uint8_t *)"\x04\x00\x40\x00\x00\x00\x00\x01", 8);
		assert_false(mux_next(mux, &event));
		mux_feed(mux, payload, sizeof(payload));
		while (mux_next(mux, &event))
			got_n += event.data_n;
	}
	assert_int_equal(got_n, MUX_WINDOW);
	mux_feed(mux, (const uint8_t *)DATA1, 9);
	assert_true(mux_next(mux, &event));
	assert_int_equal(event.kind, MUX_BROKEN);
	assert_string_equal(event.problem, "more data than credit");
	mux_destroy(mux);
}

static void data_on_its_way_to_a_reset_stream_is_skipped(void **state)
{
	struct pair pair = greet(16);
	struct mux_event events[2];
	uint32_t id = mux_open(pair.a, 80, NULL);

	(void)state;
	pass(pair.a, pair.b, events, 2);
	mux_accept(pair.b, id);
	pass(pair.b, pair.a, events, 2);
	mux_reset(pair.a, id, MUX_REASON_CANCELLED);
	mux_write(pair.b, id, (const uint8_t *)"crossing", 8);
	assert_int_equal(pass(pair.b, pair.a, events, 2), 0);
	assert_int_equal(pass(pair.a, pair.b, events, 2), 1);
	assert_int_equal(events[0].kind, MUX_RESET);
	assert_int_equal(mux_write(pair.b, id, (const uint8_t *)"x", 1), 0);
	part(pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_may_follow_an_open_at_once),
		cmocka_unit_test(a_refused_stream_is_told_why),
		cmocka_unit_test(one_direction_may_end_before_the_other),
		cmocka_unit_test(a_writer_without_credit_waits_and_is_called),
		cmocka_unit_test(who_wants_to_write_is_called_when_it_can),
		cmocka_unit_test(a_stalled_stream_holds_up_no_other),
		cmocka_unit_test(more_streams_than_the_limit_are_not_opened),
		cmocka_unit_test(opening_and_resetting_without_reading_answers_is_bounded),
		cmocka_unit_test(a_ping_is_answered),
		cmocka_unit_test(a_restartable_end_begins_anew),
		cmocka_unit_test(output_that_was_lent_does_not_move),
		cmocka_unit_test(garbage_breaks_the_connection_cleanly),
		cmocka_unit_test(more_than_the_credit_breaks_the_connection),
		cmocka_unit_test(data_on_its_way_to_a_reset_stream_is_skipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
