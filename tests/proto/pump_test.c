/* The pump's promises, each end by itself and then both together over a bad line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/base/rng.h"
#include "proto/pump.h"

#include <string.h>

/* ---- the scheduler's end ---- */

static struct pump_server server;
static struct pump_answers answers;

static void server_step(enum pump_server_event_kind kind, int64_t at_ms, uint64_t token,
			uint64_t end_seq)
{
	struct pump_server_event event = {
		.kind = kind, .now = {at_ms * NS_PER_MS}, .token = token, .end_seq = end_seq};

	if (kind == PUMP_SERVER_DURABLE) {
		event.next_seq = end_seq;
		event.resync = token;
	}
	pump_server_step(&server, &event, &answers);
}

static int fresh_server(void **state)
{
	(void)state;
	pump_server_init(&server, 1);
	return 0;
}

static void answers_are(uint32_t n, uint64_t first)
{
	assert_int_equal(answers.n, n);
	if (n)
		assert_int_equal(answers.items[0].token, first);
}

static void the_third_poll_answers_the_first(void **state)
{
	(void)state;
	server_step(PUMP_SERVER_POLL, 0, 1, 0);
	answers_are(0, 0);
	server_step(PUMP_SERVER_POLL, 1, 2, 0);
	answers_are(0, 0);
	server_step(PUMP_SERVER_POLL, 2, 3, 0);
	answers_are(1, 1);
	assert_int_equal(server.parked_n, 2);
}

static void an_order_answers_one_parked_poll_at_once(void **state)
{
	(void)state;
	server_step(PUMP_SERVER_POLL, 0, 1, 0);
	server_step(PUMP_SERVER_POLL, 0, 2, 0);
	server_step(PUMP_SERVER_WAKE, 1, 0, 0);
	answers_are(1, 1);
	server_step(PUMP_SERVER_WAKE, 2, 0, 0);
	answers_are(1, 2);
}

static void an_order_that_found_no_poll_answers_the_next(void **state)
{
	(void)state;
	server_step(PUMP_SERVER_WAKE, 0, 0, 0);
	answers_are(0, 0);
	server_step(PUMP_SERVER_POLL, 1, 1, 0);
	answers_are(1, 1);
	server_step(PUMP_SERVER_POLL, 2, 2, 0);
	answers_are(0, 0);
}

static void a_parked_poll_ends_by_its_deadline(void **state)
{
	struct mono at;

	(void)state;
	assert_false(pump_server_next_deadline(&server, &at));
	server_step(PUMP_SERVER_POLL, 0, 1, 0);
	server_step(PUMP_SERVER_POLL, 1000, 2, 0);
	assert_true(pump_server_next_deadline(&server, &at));
	assert_int_equal(at.ns, PUMP_PARK_MS * NS_PER_MS);
	server_step(PUMP_SERVER_TICK, PUMP_PARK_MS - 1, 0, 0);
	answers_are(0, 0);
	server_step(PUMP_SERVER_TICK, PUMP_PARK_MS, 0, 0);
	answers_are(1, 1);
	server_step(PUMP_SERVER_TICK, PUMP_PARK_MS + 1000, 0, 0);
	answers_are(1, 2);
	assert_false(pump_server_next_deadline(&server, &at));
}

static void no_poll_is_parked_until_its_lease_is_half_over(void **state)
{
	struct mono at;

	(void)state;
	pump_server_lease(&server, 6000);
	server_step(PUMP_SERVER_POLL, 0, 1, 0);
	assert_true(pump_server_next_deadline(&server, &at));
	assert_int_equal(at.ns, 2000 * NS_PER_MS);
	server_step(PUMP_SERVER_TICK, 2000, 0, 0);
	answers_are(1, 1);
	pump_server_lease(&server, 60000);
	server_step(PUMP_SERVER_POLL, 3000, 2, 0);
	assert_true(pump_server_next_deadline(&server, &at));
	assert_int_equal(at.ns, (3000 + PUMP_PARK_MS) * NS_PER_MS);
}

static void records_are_answered_once_they_are_durable(void **state)
{
	(void)state;
	server_step(PUMP_SERVER_POLL, 0, 1, 4);
	answers_are(0, 0);
	server_step(PUMP_SERVER_DURABLE, 1, false, 3);
	answers_are(0, 0);
	server_step(PUMP_SERVER_DURABLE, 2, false, 4);
	answers_are(1, 1);
	/* Sent again, because the answer was lost. */
	server_step(PUMP_SERVER_POLL, 3, 2, 4);
	answers_are(1, 2);
}

static void records_refused_for_a_gap_are_answered_with_resync(void **state)
{
	(void)state;
	server_step(PUMP_SERVER_POLL, 0, 1, 0);
	server_step(PUMP_SERVER_POLL, 0, 2, 9);
	server_step(PUMP_SERVER_DURABLE, 1, true, 3);
	answers_are(1, 2);
	assert_true(answers.items[0].resync);
}

static void an_order_spares_the_poll_whose_records_are_being_written(void **state)
{
	(void)state;
	server_step(PUMP_SERVER_POLL, 0, 1, 4);
	server_step(PUMP_SERVER_POLL, 0, 2, 0);
	server_step(PUMP_SERVER_WAKE, 1, 0, 0);
	answers_are(1, 2);
	/* With no other it takes even that one: an order does not wait for a disk. */
	server_step(PUMP_SERVER_WAKE, 1, 0, 0);
	answers_are(1, 1);
}

static void a_new_session_forgets_what_is_parked(void **state)
{
	(void)state;
	server_step(PUMP_SERVER_POLL, 0, 1, 0);
	server_step(PUMP_SERVER_SESSION, 1, 0, 0);
	server_step(PUMP_SERVER_WAKE, 2, 0, 0);
	answers_are(0, 0);
	server_step(PUMP_SERVER_POLL, 3, 2, 0);
	answers_are(1, 2);
}

static void a_batch_is_bounded_in_number_and_bytes(void **state)
{
	static uint8_t init[65536], encoded[WIRE_MESSAGE_MAX];
	static struct pump_batch small, large;
	struct wire_order order = {.kind = WIRE_ORDER_KILL,
				   .sandbox = {"i1"},
				   .attempt = UINT64_MAX,
				   .incarnation = 1,
				   .cause = CAUSE_REQUEST};
	struct wire_answer answer = {.epoch = UINT64_MAX, .next_seq = UINT64_MAX, .resync = true};
	struct err err;
	size_t n;

	(void)state;
	small = (struct pump_batch){0};
	large = (struct pump_batch){0};
	while (pump_batch_add(&small, &order))
		;
	assert_int_equal(small.n, PUMP_ORDERS_MAX);
	order.init = (struct wire_bytes){init, sizeof(init)};
	while (pump_batch_add(&large, &order))
		;
	assert_in_range(large.n, 14, 16);
	answer.orders = large.orders;
	answer.orders_n = large.n;
	assert_int_equal(wire_answer_encode(&answer, encoded, sizeof(encoded), &n, &err), 0);
}

/* ---- the node's end ---- */

static struct pump_client client;
static struct pump_client_effects effects;

static void client_step(enum pump_client_event_kind kind, int64_t at_ms, uint64_t end_seq)
{
	struct pump_client_event event = {
		.kind = kind, .now = {at_ms * NS_PER_MS}, .end_seq = end_seq};

	pump_client_step(&client, &event, &effects);
}

static void client_answer(int64_t at_ms, uint32_t id, uint64_t epoch, uint64_t next_seq,
			  bool resync)
{
	struct pump_client_event event = {
		.kind = PUMP_CLIENT_ANSWER,
		.now = {at_ms * NS_PER_MS},
		.answer = {.id = id, .epoch = epoch, .next_seq = next_seq, .resync = resync}};

	pump_client_step(&client, &event, &effects);
}

static int fresh_client(void **state)
{
	(void)state;
	pump_client_init(&client, 5, 1, 1);
	return 0;
}

static const struct pump_client_effect *effect_of(enum pump_client_effect_kind kind)
{
	for (uint32_t i = 0; i < effects.n; i++)
		if (effects.items[i].kind == kind)
			return &effects.items[i];
	return NULL;
}

static uint32_t sent_id(uint64_t first_seq, uint32_t records_n)
{
	const struct pump_client_effect *sent = effect_of(PUMP_CLIENT_SEND);

	assert_non_null(sent);
	assert_int_equal(sent->first_seq, first_seq);
	assert_int_equal(sent->records_n, records_n);
	return sent->id;
}

static void one_poll_is_always_outstanding(void **state)
{
	uint32_t id;

	(void)state;
	client_step(PUMP_CLIENT_OPEN, 0, 0);
	id = sent_id(1, 0);
	for (int i = 1; i < 20; i++) {
		client_answer(i, id, 5, 1, false);
		assert_non_null(effect_of(PUMP_CLIENT_TAKE));
		id = sent_id(1, 0);
	}
}

static void a_heartbeat_is_sent_every_two_seconds(void **state)
{
	struct mono at;

	(void)state;
	assert_false(pump_client_next_deadline(&client, &at));
	client_step(PUMP_CLIENT_OPEN, 0, 0);
	for (int64_t beat = 1; beat < 3; beat++) {
		assert_true(pump_client_next_deadline(&client, &at));
		assert_int_equal(at.ns, beat * PUMP_HEARTBEAT_MS * NS_PER_MS);
		client_step(PUMP_CLIENT_TICK, beat * PUMP_HEARTBEAT_MS - 1, 0);
		assert_int_equal(effects.n, 0);
		client_step(PUMP_CLIENT_TICK, beat * PUMP_HEARTBEAT_MS, 0);
		sent_id(1, 0);
	}
}

static void records_go_at_once_and_gather_while_some_are_under_way(void **state)
{
	uint32_t id;

	(void)state;
	client_step(PUMP_CLIENT_OPEN, 0, 0);
	client_step(PUMP_CLIENT_RECORDS, 10, 3);
	id = sent_id(1, 2);
	client_step(PUMP_CLIENT_RECORDS, 11, 4);
	assert_int_equal(effects.n, 0);
	client_step(PUMP_CLIENT_RECORDS, 12, 1000);
	assert_int_equal(effects.n, 0);
	client_answer(13, id, 5, 3, false);
	assert_int_equal(effect_of(PUMP_CLIENT_ACKED)->first_seq, 3);
	sent_id(3, PUMP_RECORDS_MAX);
}

static void a_lost_flush_is_sent_again(void **state)
{
	uint32_t other;

	(void)state;
	client_step(PUMP_CLIENT_OPEN, 0, 0);
	client_step(PUMP_CLIENT_RECORDS, 1, 3);
	sent_id(1, 2);
	client_step(PUMP_CLIENT_TICK, 2001, 0);
	other = sent_id(1, 0);
	client_answer(2002, other, 5, 1, false); /* the line is fine, only that poll was lost */
	client_step(PUMP_CLIENT_TICK, PUMP_GIVE_UP_MS, 0); /* the first of all */
	client_step(PUMP_CLIENT_TICK, 1 + PUMP_GIVE_UP_MS, 0);
	assert_null(effect_of(PUMP_CLIENT_RENEW));
	sent_id(1, 2);
}

static void a_scheduler_that_answers_nothing_is_given_a_new_session(void **state)
{
	(void)state;
	client_step(PUMP_CLIENT_OPEN, 0, 0);
	client_step(PUMP_CLIENT_TICK, 2000, 0);
	client_step(PUMP_CLIENT_TICK, 4000, 0);
	assert_null(effect_of(PUMP_CLIENT_RENEW));
	client_step(PUMP_CLIENT_TICK, 6000, 0);
	assert_non_null(effect_of(PUMP_CLIENT_RENEW));
	assert_null(effect_of(PUMP_CLIENT_SEND));
	client_step(PUMP_CLIENT_OPEN, 6100, 0);
	sent_id(1, 0);
}

static void an_answer_of_an_older_epoch_is_refused(void **state)
{
	uint32_t id;

	(void)state;
	client_step(PUMP_CLIENT_OPEN, 0, 0);
	id = sent_id(1, 0);
	client_answer(1, id, 4, 9, false);
	assert_non_null(effect_of(PUMP_CLIENT_REFUSE));
	assert_null(effect_of(PUMP_CLIENT_TAKE));
	assert_null(effect_of(PUMP_CLIENT_ACKED));
	assert_null(effect_of(PUMP_CLIENT_SEND)); /* not at once */
	client_step(PUMP_CLIENT_TICK, PUMP_PAUSE_MS, 0);
	id = sent_id(1, 0);
	client_answer(200, id, 6, 1, false);
	assert_non_null(effect_of(PUMP_CLIENT_TAKE));
	id = sent_id(1, 0);
	client_answer(201, id, 5, 1, false);
	assert_non_null(effect_of(PUMP_CLIENT_REFUSE));
}

static void records_that_cannot_be_stored_are_not_sent_in_a_loop(void **state)
{
	uint32_t id;

	(void)state;
	client_step(PUMP_CLIENT_OPEN, 0, 0);
	client_step(PUMP_CLIENT_RECORDS, 1, 2);
	id = sent_id(1, 1);
	client_answer(2, id, 5, 1, false);
	assert_null(effect_of(PUMP_CLIENT_SEND));
	client_step(PUMP_CLIENT_TICK, 1 + PUMP_PAUSE_MS, 0);
	sent_id(1, 1);
}

static void only_a_resync_takes_an_acknowledgement_back(void **state)
{
	uint32_t id;

	(void)state;
	pump_client_init(&client, 5, 10, 20);
	client_step(PUMP_CLIENT_OPEN, 0, 0);
	id = sent_id(10, 10);
	client_answer(1, id, 5, 20, false);
	id = sent_id(20, 0);
	client_answer(2, id, 5, 4, false); /* overtaken on its way */
	id = sent_id(20, 0);
	client_answer(3, id, 5, 4, true); /* restored from an older backup */
	sent_id(4, 16);
}

static void changes_of_inventory_are_told_soon_but_not_in_a_flood(void **state)
{
	struct mono at;

	(void)state;
	client_step(PUMP_CLIENT_OPEN, 0, 0);
	client_step(PUMP_CLIENT_NEWS, 10, 0);
	assert_int_equal(effects.n, 0);
	assert_true(pump_client_next_deadline(&client, &at));
	assert_int_equal(at.ns, PUMP_PAUSE_MS * NS_PER_MS);
	client_step(PUMP_CLIENT_TICK, PUMP_PAUSE_MS, 0);
	sent_id(1, 0);
	client_step(PUMP_CLIENT_NEWS, 300, 0);
	sent_id(1, 0);
}

static void polls_in_flight_are_bounded(void **state)
{
	struct mono at;
	int sent_n = 0;

	(void)state;
	client_step(PUMP_CLIENT_OPEN, 0, 0);
	for (int64_t ms = 0; ms < 5000; ms += 100) {
		client_step(PUMP_CLIENT_NEWS, ms, 0);
		sent_n += effect_of(PUMP_CLIENT_SEND) != NULL;
	}
	assert_int_equal(sent_n, PUMP_IN_FLIGHT_MAX - 1);
	assert_true(pump_client_next_deadline(&client, &at));
	assert_int_equal(at.ns, PUMP_GIVE_UP_MS * NS_PER_MS);
}

/* ---- both ends, a bad line, and a scheduler that restarts ---- */

enum { LINE_MAX = 64, STEPS = 20000, RECORDS_WANTED = 500 };

struct parcel {
	bool is_answer;
	int64_t at_ms;
	uint32_t id;
	uint64_t first_seq, end_seq; /* of a poll's records; end_seq 0: none */
	uint64_t next_seq;
	bool resync;
};

static struct line {
	struct rng rng;
	int64_t now_ms;
	uint64_t made_seq, stored_seq; /* the node's log; what the scheduler has of it */
	uint64_t trimmed_seq;          /* acknowledged to the node */
	uint32_t orders_n, taken_n;
	bool calm;
	struct parcel parcels[LINE_MAX];
	size_t n;
} line;

static void line_put(struct parcel parcel)
{
	if (line.n == LINE_MAX || (!line.calm && rng_one_in(&line.rng, 5)))
		return; /* lost */
	parcel.at_ms = line.now_ms + (int64_t)rng_below(&line.rng, line.calm ? 5 : 500);
	line.parcels[line.n++] = parcel;
}

static void carry_out_answers(void)
{
	for (uint32_t i = 0; i < answers.n; i++) {
		line_put((struct parcel){.is_answer = true,
					 .id = (uint32_t)answers.items[i].token,
					 .next_seq = line.stored_seq,
					 .resync = answers.items[i].resync});
		line.taken_n = line.orders_n;
	}
}

static void carry_out_effects(void)
{
	for (uint32_t i = 0; i < effects.n; i++) {
		const struct pump_client_effect *effect = &effects.items[i];

		if (effect->kind == PUMP_CLIENT_SEND) {
			line_put((struct parcel){
				.id = effect->id,
				.first_seq = effect->first_seq,
				.end_seq = effect->records_n ? effect->first_seq + effect->records_n
							     : 0});
		} else if (effect->kind == PUMP_CLIENT_ACKED) {
			assert_true(effect->first_seq <= line.stored_seq);
			line.trimmed_seq = effect->first_seq;
		} else if (effect->kind == PUMP_CLIENT_RENEW) {
			server_step(PUMP_SERVER_SESSION, line.now_ms, 0, 0);
			client_step(PUMP_CLIENT_OPEN, line.now_ms, 0);
			carry_out_effects();
			return;
		}
	}
}

static void poll_arrives(const struct parcel *poll)
{
	bool gap = poll->end_seq && poll->first_seq > line.stored_seq;

	server_step(PUMP_SERVER_POLL, line.now_ms, poll->id, poll->end_seq);
	carry_out_answers();
	if (!gap && poll->end_seq > line.stored_seq)
		line.stored_seq = poll->end_seq;
	if (poll->end_seq) {
		server_step(PUMP_SERVER_DURABLE, line.now_ms, gap, line.stored_seq);
		carry_out_answers();
	}
}

static void line_deliver(void)
{
	for (size_t i = 0; i < line.n;) {
		struct parcel parcel = line.parcels[i];

		if (parcel.at_ms > line.now_ms) {
			i++;
			continue;
		}
		line.parcels[i] = line.parcels[--line.n];
		if (parcel.is_answer) {
			client_answer(line.now_ms, parcel.id, 5, parcel.next_seq, parcel.resync);
			carry_out_effects();
		} else {
			poll_arrives(&parcel);
		}
	}
}

static void line_tick(void)
{
	struct mono at;

	if (pump_server_next_deadline(&server, &at) && at.ns <= line.now_ms * NS_PER_MS) {
		server_step(PUMP_SERVER_TICK, line.now_ms, 0, 0);
		carry_out_answers();
		if (pump_server_next_deadline(&server, &at))
			assert_true(at.ns > line.now_ms * NS_PER_MS);
	}
	if (pump_client_next_deadline(&client, &at) && at.ns <= line.now_ms * NS_PER_MS) {
		client_step(PUMP_CLIENT_TICK, line.now_ms, 0);
		carry_out_effects();
		if (pump_client_next_deadline(&client, &at))
			assert_true(at.ns > line.now_ms * NS_PER_MS); /* no busy loop */
	}
}

static void live_through(uint64_t seed)
{
	line = (struct line){.rng = {seed}, .made_seq = 1, .stored_seq = 1, .trimmed_seq = 1};
	pump_server_init(&server, 1);
	pump_client_init(&client, 5, 1, 1);
	client_step(PUMP_CLIENT_OPEN, 0, 0);
	carry_out_effects();
	for (int step = 0; step < STEPS; step++) {
		line.calm = step > STEPS * 3 / 4;
		line.now_ms += 5;
		if (!line.calm && line.made_seq < RECORDS_WANTED && rng_one_in(&line.rng, 20)) {
			line.made_seq += 1 + rng_below(&line.rng, 3);
			client_step(PUMP_CLIENT_RECORDS, line.now_ms, line.made_seq);
			carry_out_effects();
		}
		if (!line.calm && rng_one_in(&line.rng, 50)) {
			line.orders_n++;
			server_step(PUMP_SERVER_WAKE, line.now_ms, 0, 0);
			carry_out_answers();
		}
		if (!line.calm && rng_one_in(&line.rng, 4000)) /* the scheduler restarts */
			pump_server_init(&server, line.stored_seq);
		line_deliver();
		line_tick();
		assert_true(line.trimmed_seq <= line.stored_seq);
		assert_true(line.stored_seq <= line.made_seq);
	}
	assert_int_equal(line.stored_seq, line.made_seq);
	assert_int_equal(line.trimmed_seq, line.made_seq);
	assert_int_equal(line.taken_n, line.orders_n);
	assert_true(server.parked_n > 0);
}

static void every_record_arrives_once_the_line_is_calm(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++)
		live_through(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(the_third_poll_answers_the_first, fresh_server),
		cmocka_unit_test_setup(an_order_answers_one_parked_poll_at_once, fresh_server),
		cmocka_unit_test_setup(an_order_that_found_no_poll_answers_the_next, fresh_server),
		cmocka_unit_test_setup(a_parked_poll_ends_by_its_deadline, fresh_server),
		cmocka_unit_test_setup(no_poll_is_parked_until_its_lease_is_half_over,
				       fresh_server),
		cmocka_unit_test_setup(records_are_answered_once_they_are_durable, fresh_server),
		cmocka_unit_test_setup(records_refused_for_a_gap_are_answered_with_resync,
				       fresh_server),
		cmocka_unit_test_setup(an_order_spares_the_poll_whose_records_are_being_written,
				       fresh_server),
		cmocka_unit_test_setup(a_new_session_forgets_what_is_parked, fresh_server),
		cmocka_unit_test(a_batch_is_bounded_in_number_and_bytes),
		cmocka_unit_test_setup(one_poll_is_always_outstanding, fresh_client),
		cmocka_unit_test_setup(a_heartbeat_is_sent_every_two_seconds, fresh_client),
		cmocka_unit_test_setup(records_go_at_once_and_gather_while_some_are_under_way,
				       fresh_client),
		cmocka_unit_test_setup(a_lost_flush_is_sent_again, fresh_client),
		cmocka_unit_test_setup(a_scheduler_that_answers_nothing_is_given_a_new_session,
				       fresh_client),
		cmocka_unit_test_setup(an_answer_of_an_older_epoch_is_refused, fresh_client),
		cmocka_unit_test_setup(records_that_cannot_be_stored_are_not_sent_in_a_loop,
				       fresh_client),
		cmocka_unit_test_setup(only_a_resync_takes_an_acknowledgement_back, fresh_client),
		cmocka_unit_test_setup(changes_of_inventory_are_told_soon_but_not_in_a_flood,
				       fresh_client),
		cmocka_unit_test_setup(polls_in_flight_are_bounded, fresh_client),
		cmocka_unit_test(every_record_arrives_once_the_line_is_calm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
