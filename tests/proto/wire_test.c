/* The engine's promises: what is encoded comes back equal, and nothing else comes back at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "proto/frame.h"
#include "proto/reasons.h"
#include "proto/wire.h"
#include "proto/wire_doc.h"
#include "tests/proto/random_message.h"

#include <stdlib.h>
#include <string.h>

enum { ROOM = 8 << 20, ROUNDS = 300 };

static uint8_t encoded[WIRE_ENVELOPE_MAX], encoded_again[WIRE_ENVELOPE_MAX];
static uint8_t *given_room, *decoded_room;
static union {
	struct wire_poll poll;
	struct wire_answer answer;
	struct wire_order order;
	struct wire_record record;
	struct wire_shim_status status;
	struct wire_enrol_request enrol;
	struct wire_session_hello hello;
	struct wire_shim_claim claim;
	uint8_t any[8192];
} given, decoded;

static int give_room(void **state)
{
	(void)state;
	given_room = malloc(ROOM);
	decoded_room = malloc(ROOM);
	return given_room && decoded_room ? 0 : -1;
}

static int take_room(void **state)
{
	(void)state;
	free(given_room);
	free(decoded_room);
	return 0;
}

static int decode(const struct wire_shape *shape, const uint8_t *data, size_t n, struct err *err)
{
	struct wire_arena arena = {decoded_room, wire_arena_need(shape), 0};

	assert_true(arena.size <= ROOM);
	return wire_decode(shape, data, n, &arena, &decoded, err);
}

/* Exactly as large as the input, so that the sanitizer sees a read past its end. */
static int decode_copy(const struct wire_shape *shape, const uint8_t *data, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);
	struct err err;
	int ret;

	assert_non_null(copy);
	memcpy(copy, data, n);
	ret = decode(shape, copy, n, &err);
	if (ret == 0 && wire_validate(shape, &decoded, &err))
		fail_msg("a decoded message is not valid: %s", err.text);
	free(copy);
	return ret;
}

static void what_is_encoded_comes_back_equal(void **state)
{
	struct rng rng = {1};
	struct err err = {""};

	(void)state;
	for (const struct wire_shape *const *at = wire_shapes; *at; at++) {
		const struct wire_shape *shape = *at;

		assert_true(shape->size <= sizeof(given));
		for (int round = 0; round < ROUNDS; round++) {
			struct wire_arena arena = {given_room, ROOM, 0};
			size_t n, again_n;

			random_message(&rng, shape, round < 20 ? 12 : 3, &arena, &given);
			if (wire_encode(shape, &given, encoded, sizeof(encoded), &n, &err))
				fail_msg("%s", err.text);
			assert_int_equal(n, wire_size(shape, &given));
			if (decode(shape, encoded, n, &err))
				fail_msg("%s", err.text);
			assert_true(wire_equal(shape, &given, &decoded));
			assert_int_equal(wire_encode(shape, &decoded, encoded_again,
						     sizeof(encoded_again), &again_n, &err),
					 0);
			assert_int_equal(n, again_n);
			assert_memory_equal(encoded, encoded_again, n);
		}
	}
}

static void a_message_cut_anywhere_is_refused(void **state)
{
	struct rng rng = {2};
	struct err err;

	(void)state;
	for (const struct wire_shape *const *at = wire_shapes; *at; at++) {
		struct wire_arena arena = {given_room, ROOM, 0};
		size_t n;

		random_message(&rng, *at, 2, &arena, &given);
		assert_int_equal(wire_encode(*at, &given, encoded, sizeof(encoded), &n, &err), 0);
		for (size_t cut = 0; cut < n; cut += 1 + cut / 64)
			assert_int_equal(decode_copy(*at, encoded, cut), -1);
		encoded[n] = 0xc0;
		assert_int_equal(decode_copy(*at, encoded, n + 1), -1);
	}
}

static void a_damaged_message_is_refused_or_valid(void **state)
{
	struct rng rng = {3};
	struct err err;
	int refused_n = 0, taken_n = 0;

	(void)state;
	for (const struct wire_shape *const *at = wire_shapes; *at; at++) {
		for (int round = 0; round < ROUNDS; round++) {
			struct wire_arena arena = {given_room, ROOM, 0};
			size_t n;

			random_message(&rng, *at, 3, &arena, &given);
			assert_int_equal(
				wire_encode(*at, &given, encoded, sizeof(encoded), &n, &err), 0);
			random_damage(&rng, encoded, &n);
			*(decode_copy(*at, encoded, n) ? &refused_n : &taken_n) += 1;
		}
	}
	assert_true(refused_n > 0 && taken_n > 0);
}

/* One row: bytes of an answer, and the words its refusal must have ("" if it is to be taken). */
struct row {
	const char *bytes;
	size_t n;
	const char *words;
};

#define ROW(bytes, words)                                                                          \
	{                                                                                          \
		bytes, sizeof(bytes) - 1, words                                                    \
	}

static void each_broken_promise_is_named(void **state)
{
	static const struct row rows[] = {
		ROW("\x82\x01\x07\x02\x09", ""),
		ROW("\x83\x01\x07\x02\x09\x3f\xc0", ""),                  /* unknown tag: nil */
		ROW("\x83\x01\x07\x02\x09\x3f\x92\x81\xa1x\x01\x90", ""), /* unknown: nested */
		ROW("\x82\x01\xcf\0\0\0\0\0\0\0\x07\x02\x09", ""), /* a longer form is fine */
		ROW("\x81\x01\x07", "answer.next_seq: missing"),
		ROW("\x80", "answer.epoch: missing"),
		ROW("\x82\x01\x00\x02\x09", "answer.epoch: out of range"),
		ROW("\x82\x01\xff\x02\x09", "answer.epoch: not of its type"),
		ROW("\x82\x01\xa1x\x02\x09", "answer.epoch: not of its type"),
		ROW("\x82\x01\x07\x01\x07", "answer.epoch: there twice"),
		ROW("\x82\xa1x\x07\x01\x07", "a tag is not a number"),
		ROW("\x82\x90\x07\x01\x07", "a tag is not a number"),
		ROW("\x82\x80\x07\x01\x07", "a tag is not a number"),
		ROW("\x83\x01\x07\x02\x09\x03\x01", "answer.resync: not of its type"),
		ROW("\x83\x01\x07\x02\x09\x04\x01", "answer.orders: not of its type"),
		ROW("\x83\x01\x07\x02\x09\x04\x80", "answer.orders: a map was not expected"),
		ROW("\x83\x01\x07\x02\x90\x04\x01", "answer.next_seq: an array was not expected"),
		ROW("\x83\x01\x07\x02\x09\x04\x91\x01", "order: not a map"),
		ROW("\x83\x01\x07\x02\x09\x04\x91\x90", "order: not a map"),
		ROW("\x83\x01\x07\x02\x09\x04\x91\x80", "order.kind: missing"),
		ROW("\x84\x01\x07\x02\x09\x04\x90\x04\x90", "answer.orders: there twice"),
		ROW("\x83\x01\x07\x02\x09\x04\xdd\xff\xff\xff\xff", "too many"),
		ROW("\x83\x01\x07\x02\x09\x3f\xdd\xff\xff\xff\xff", "cut short"),
		ROW("\x83\x01\x07\x02\x09\x3f\x91\x91\x91\x91\x91\x91\x91\x91\x91\x90", "too deep"),
		ROW("\x83\x01\x07\x02\x09\x3f\xc1", "not msgpack"),
		ROW("\x90", "not a map"),
		ROW("\x07", "not a map"),
		ROW("\xc0", "not a map"),
		ROW("", "0 bytes"),
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		struct err err = {""};
		int ret =
			decode(&wire_shape_answer, (const uint8_t *)rows[i].bytes, rows[i].n, &err);

		if (ret != (rows[i].words[0] ? -1 : 0) || !strstr(err.text, rows[i].words))
			fail_msg("row %zu: '%s', wanted '%s'", i, err.text, rows[i].words);
	}
}

static void check_token(const char *token, const char *words)
{
	struct wire_enrol_request request = {.node_public_key = {1}};
	struct err err = {""};
	size_t n;
	int ret;

	strcpy(request.token, token);
	ret = wire_enrol_request_encode(&request, encoded, sizeof(encoded), &n, &err);
	if (ret != (words[0] ? -1 : 0) || !strstr(err.text, words))
		fail_msg("'%s': '%s', wanted '%s'", token, err.text, words);
}

static void texts_are_utf8_and_nothing_else(void **state)
{
	(void)state;
	check_token("plain", "");
	check_token("é€🚢", "");
	check_token("\xf4\x8f\xbf\xbf", "");
	check_token("", "too short");
	check_token("\x80", "not UTF-8");
	check_token("\xc3", "not UTF-8");
	check_token("\xc0\x80", "not UTF-8");         /* overlong */
	check_token("\xe0\x80\x80", "not UTF-8");     /* overlong */
	check_token("\xf0\x80\x80\x80", "not UTF-8"); /* overlong */
	check_token("\xed\xa0\x80", "not UTF-8");     /* surrogate */
	check_token("\xf4\x90\x80\x80", "not UTF-8"); /* beyond Unicode */
	check_token("\xff", "not UTF-8");
}

static void a_text_with_nul_is_refused(void **state)
{
	/* enrol_request {1: "a\0b", 2: 32 bytes} */
	uint8_t bytes[5 + 1 + 3 + 32 + 1] = {0x82, 0x01, 0xa3, 'a', 0, 'b', 0x02, 0xc4, 32};
	struct err err;

	(void)state;
	assert_int_equal(decode(&wire_shape_enrol_request, bytes, 9 + 32, &err), -1);
	bytes[4] = '_';
	assert_int_equal(decode(&wire_shape_enrol_request, bytes, 9 + 32, &err), 0);
	assert_string_equal(decoded.enrol.token, "a_b");
}

static void a_poll_with_a_gap_in_its_sequence_is_refused(void **state)
{
	struct wire_record records[2] = {
		{.kind = WIRE_RECORD_USAGE, .seq = 5, .attempt = 1, .incarnation = 1},
		{.kind = WIRE_RECORD_USAGE, .seq = 6, .attempt = 1, .incarnation = 1},
	};
	struct wire_poll poll = {
		.boot_id = "b", .first_seq = 5, .records = records, .records_n = 2};
	struct err err;
	size_t n;

	(void)state;
	strcpy(records[0].sandbox.text, "i1");
	strcpy(records[1].sandbox.text, "i2");
	assert_int_equal(wire_poll_encode(&poll, encoded, sizeof(encoded), &n, &err), 0);
	records[1].seq = 7;
	assert_int_equal(wire_poll_encode(&poll, encoded, sizeof(encoded), &n, &err), -1);
	assert_non_null(strstr(err.text, "without a gap"));
}

static void a_small_arena_is_a_fault_and_not_a_crash(void **state)
{
	struct rng rng = {4};
	struct wire_arena arena = {given_room, ROOM, 0}, small = {decoded_room, 100, 0};
	struct err err;
	size_t n;

	(void)state;
	do {
		arena.used = 0;
		random_message(&rng, &wire_shape_answer, 4, &arena, &given);
	} while (given.answer.orders_n == 0);
	assert_int_equal(wire_answer_encode(&given.answer, encoded, sizeof(encoded), &n, &err), 0);
	assert_int_equal(wire_answer_decode(encoded, n, &small, &decoded.answer, &err), -1);
	assert_non_null(strstr(err.text, "no room"));
}

static void a_message_that_does_not_fit_is_a_fault(void **state)
{
	static uint8_t init[65536];
	static struct wire_order orders[64];
	struct wire_answer answer = {.epoch = 1, .next_seq = 1, .orders = orders, .orders_n = 64};
	struct err err;
	size_t n;

	(void)state;
	for (size_t i = 0; i < 64; i++) {
		orders[i] = (struct wire_order){.kind = WIRE_ORDER_KILL,
						.sandbox = {"i1"},
						.attempt = 1,
						.incarnation = 1,
						.cause = CAUSE_REQUEST,
						.init = {init, sizeof(init)}};
	}
	assert_int_equal(wire_answer_encode(&answer, encoded, sizeof(encoded), &n, &err), -1);
	answer.orders_n = 2;
	assert_int_equal(wire_answer_encode(&answer, encoded, 1000, &n, &err), -1);
	assert_int_equal(wire_answer_encode(&answer, encoded, sizeof(encoded), &n, &err), 0);
}

static void tags_are_unique_and_in_range(void **state)
{
	(void)state;
	for (const struct wire_shape *const *at = wire_shapes; *at; at++) {
		uint64_t seen = 0;

		for (size_t i = 0; i < (*at)->field_n; i++) {
			unsigned tag = (*at)->fields[i].tag;

			assert_in_range(tag, 1, 63);
			assert_false(seen >> tag & 1);
			seen |= 1ULL << tag;
		}
		if ((*at)->kind)
			assert_ptr_equal(wire_shape_of((*at)->kind), *at);
	}
	assert_null(wire_shape_of(0));
	assert_null(wire_shape_of(999));
}

static void every_reason_has_its_row(void **state)
{
	(void)state;
	assert_int_equal(refusal_info(REFUSAL_QUOTA_CONCURRENCY)->http_status, 429);
	assert_string_equal(refusal_info(REFUSAL_CAPACITY)->error_code,
			    "sandbox_capacity_unavailable");
	assert_string_equal(refusal_info(REFUSAL_CANCELLED)->name, "cancelled");
	assert_string_equal(cause_info(CAUSE_TIMEOUT)->name, "timeout");
	assert_int_equal(cause_info(CAUSE_NODE_LOST)->whose, CAUSE_WHOSE_PLATFORM);
}

static void a_stream_is_cut_into_frames_wherever_it_breaks(void **state)
{
	struct wire_shim_kill kill = {.cause = CAUSE_REQUEST};
	struct wire_shim_ask ask;
	const struct wire_shape *shape;
	struct wire_bytes body;
	size_t first_n, second_n, used;
	struct err err;

	(void)state;
	assert_int_equal(frame_encode(&wire_shape_shim_kill, &kill, encoded, sizeof(encoded),
				      &first_n, &err),
			 0);
	assert_int_equal(frame_encode(&wire_shape_shim_ask, &ask, encoded + first_n,
				      sizeof(encoded) - first_n, &second_n, &err),
			 0);
	for (size_t n = 0; n < first_n; n++) {
		assert_int_equal(frame_next(encoded, n, &used, &shape, &body, &err), 0);
		assert_int_equal(used, 0);
	}
	assert_int_equal(frame_next(encoded, first_n + second_n, &used, &shape, &body, &err), 0);
	assert_int_equal(used, first_n);
	assert_ptr_equal(shape, &wire_shape_shim_kill);
	assert_int_equal(decode(shape, body.data, body.n, &err), 0);
	assert_int_equal(((struct wire_shim_kill *)&decoded)->cause, CAUSE_REQUEST);
	assert_int_equal(frame_next(encoded + used, second_n, &used, &shape, &body, &err), 0);
	assert_ptr_equal(shape, &wire_shape_shim_ask);
	encoded[0] = 0xff;
	assert_int_equal(frame_next(encoded, first_n, &used, &shape, &body, &err), -1);
}

static void a_tag_never_changes_its_meaning(void **state)
{
	static const char lock[] = "poll kind 5\npoll 1 boot_id text required\npoll 2 old u32\n";
	char line[128];

	(void)state;
	assert_true(wire_lock_holds("", lock, line, sizeof(line)));
	assert_true(wire_lock_holds(lock, lock, line, sizeof(line)));
	/* Given up: fine. New behind: fine. */
	assert_true(wire_lock_holds(lock,
				    "poll kind 5\npoll 1 boot_id text required\n"
				    "poll 2 old retired\npoll 3 new u64\n",
				    line, sizeof(line)));
	/* Another type, another kind, no more required, gone. */
	assert_false(wire_lock_holds(lock,
				     "poll kind 5\npoll 1 boot_id text required\npoll 2 old u64\n",
				     line, sizeof(line)));
	assert_string_equal(line, "poll 2 old u32");
	assert_false(wire_lock_holds(lock,
				     "poll kind 6\npoll 1 boot_id text required\npoll 2 old u32\n",
				     line, sizeof(line)));
	assert_false(wire_lock_holds(lock, "poll kind 5\npoll 1 boot_id text\npoll 2 old u32\n",
				     line, sizeof(line)));
	assert_false(wire_lock_holds(lock, "poll kind 5\npoll 2 old u32\n", line, sizeof(line)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_encoded_comes_back_equal),
		cmocka_unit_test(a_message_cut_anywhere_is_refused),
		cmocka_unit_test(a_damaged_message_is_refused_or_valid),
		cmocka_unit_test(each_broken_promise_is_named),
		cmocka_unit_test(texts_are_utf8_and_nothing_else),
		cmocka_unit_test(a_text_with_nul_is_refused),
		cmocka_unit_test(a_poll_with_a_gap_in_its_sequence_is_refused),
		cmocka_unit_test(a_small_arena_is_a_fault_and_not_a_crash),
		cmocka_unit_test(a_message_that_does_not_fit_is_a_fault),
		cmocka_unit_test(tags_are_unique_and_in_range),
		cmocka_unit_test(every_reason_has_its_row),
		cmocka_unit_test(a_stream_is_cut_into_frames_wherever_it_breaks),
		cmocka_unit_test(a_tag_never_changes_its_meaning),
	};
	return cmocka_run_group_tests(tests, give_room, take_room);
}
