/* The node's end of the pump with several schedulers: what a standby's answer counts for, when the
 * poll that is answered was sent, and news that a leader waits for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/pump.h"

static struct pump_client client;
static struct pump_client_effects effects;

static void step(struct pump_client_event event, int64_t at_ms)
{
	event.now.ns = at_ms * NS_PER_MS;
	pump_client_step(&client, &event, &effects);
}

static void at(int64_t at_ms, enum pump_client_event_kind kind)
{
	step((struct pump_client_event){.kind = kind}, at_ms);
}

static void records(int64_t at_ms, uint64_t end_seq)
{
	step((struct pump_client_event){.kind = PUMP_CLIENT_RECORDS, .end_seq = end_seq}, at_ms);
}

static void urgent(int64_t at_ms)
{
	step((struct pump_client_event){.kind = PUMP_CLIENT_NEWS, .urgent = true}, at_ms);
}

static void leader(int64_t at_ms, uint32_t id, uint64_t epoch, uint64_t next_seq)
{
	step((struct pump_client_event){.kind = PUMP_CLIENT_ANSWER,
					.answer = {id, epoch, next_seq, false, false}},
	     at_ms);
}

static void standby(int64_t at_ms, uint32_t id, uint64_t epoch, uint64_t next_seq, bool resync)
{
	step((struct pump_client_event){.kind = PUMP_CLIENT_ANSWER,
					.answer = {id, epoch, next_seq, resync, true}},
	     at_ms);
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

/* A session of a node that saw epoch 5 last. */
static int open_client(void **state)
{
	(void)state;
	pump_client_init(&client, 5, 1, 1);
	at(1000, PUMP_CLIENT_OPEN);
	return 0;
}

static void a_standbys_answer_acknowledges_and_orders_nothing(void **state)
{
	uint32_t id;

	(void)state;
	records(1001, 4);
	id = sent_id(1, 3);
	standby(1002, id, 1, 4, false);
	assert_int_equal(effect_of(PUMP_CLIENT_ACKED)->first_seq, 4);
	assert_null(effect_of(PUMP_CLIENT_TAKE));
	assert_null(effect_of(PUMP_CLIENT_REFUSE));
	records(1003, 5);
	sent_id(4, 1);
}

static void a_standbys_epoch_counts_for_nothing(void **state)
{
	uint32_t id = sent_id(1, 0);

	(void)state;
	standby(1001, id, 9, 1, false);
	id = sent_id(1, 0);
	leader(1002, id, 5, 1);
	assert_non_null(effect_of(PUMP_CLIENT_TAKE));
	id = sent_id(1, 0);
	standby(1003, id, 3, 1, false);
	id = sent_id(1, 0);
	leader(1004, id, 4, 1);
	assert_non_null(effect_of(PUMP_CLIENT_REFUSE));
}

static void a_standby_is_polled_as_a_leader_is(void **state)
{
	uint32_t id = sent_id(1, 0);

	(void)state;
	for (int i = 1; i < 20; i++) {
		standby(1000 + i, id, 5, 1, false);
		id = sent_id(1, 0);
	}
}

static void a_standby_that_cannot_store_records_is_not_asked_in_a_loop(void **state)
{
	uint32_t id;

	(void)state;
	records(1001, 2);
	id = sent_id(1, 1);
	standby(1002, id, 5, 1, false);
	assert_null(effect_of(PUMP_CLIENT_SEND));
	at(1001 + PUMP_PAUSE_MS, PUMP_CLIENT_TICK);
	sent_id(1, 1);
}

static void a_standbys_resync_takes_its_cursor_back(void **state)
{
	uint32_t id = sent_id(1, 0);

	(void)state;
	standby(1001, id, 5, 1, false);
	records(1002, 10);
	id = sent_id(1, 9);
	standby(1003, client.last_id - 1, 5, 10, false);
	assert_int_equal(effect_of(PUMP_CLIENT_ACKED)->first_seq, 10);
	standby(1004, id, 5, 3, false); /* overtaken on its way */
	assert_null(effect_of(PUMP_CLIENT_ACKED));
	id = sent_id(10, 0);
	standby(1005, id, 5, 3, true);
	sent_id(3, 7);
}

static void a_taken_answer_says_when_its_poll_was_sent(void **state)
{
	uint32_t first = sent_id(1, 0), second;

	(void)state;
	at(1000 + PUMP_HEARTBEAT_MS, PUMP_CLIENT_TICK);
	second = sent_id(1, 0);
	leader(3500, second, 5, 1);
	assert_int_equal(effect_of(PUMP_CLIENT_TAKE)->sent_at.ns,
			 (1000 + PUMP_HEARTBEAT_MS) * NS_PER_MS);
	leader(3600, first, 5, 1);
	assert_int_equal(effect_of(PUMP_CLIENT_TAKE)->sent_at.ns, 1000 * NS_PER_MS);
}

static void an_answer_to_a_poll_that_was_given_up_does_not_say_when(void **state)
{
	uint32_t first = sent_id(1, 0), second;

	(void)state;
	at(1000 + PUMP_HEARTBEAT_MS, PUMP_CLIENT_TICK);
	second = sent_id(1, 0);
	leader(6000, second, 5, 1);
	at(1000 + PUMP_GIVE_UP_MS, PUMP_CLIENT_TICK);
	assert_null(effect_of(PUMP_CLIENT_RENEW));
	leader(7500, first, 5, 1);
	assert_non_null(effect_of(PUMP_CLIENT_TAKE));
	assert_int_equal(effect_of(PUMP_CLIENT_TAKE)->sent_at.ns, 0);
}

static void urgent_news_is_told_at_once_and_once(void **state)
{
	struct mono next;

	(void)state;
	urgent(1001);
	sent_id(1, 0);
	at(1002, PUMP_CLIENT_TICK);
	assert_int_equal(effects.n, 0);
	/* Also when the last answer was of no use, which other polls wait after. */
	leader(1003, client.last_id, 4, 1);
	assert_non_null(effect_of(PUMP_CLIENT_REFUSE));
	urgent(1004);
	sent_id(1, 0);
	assert_true(pump_client_next_deadline(&client, &next));
	assert_int_equal(next.ns, (1004 + PUMP_HEARTBEAT_MS) * NS_PER_MS);
}

static void news_that_came_before_it_goes_with_urgent_news(void **state)
{
	(void)state;
	at(1001, PUMP_CLIENT_NEWS);
	assert_int_equal(effects.n, 0);
	urgent(1002);
	sent_id(1, 0);
	at(1002 + PUMP_PAUSE_MS, PUMP_CLIENT_TICK);
	assert_int_equal(effects.n, 0);
}

static void urgent_news_waits_for_a_free_place_without_a_loop(void **state)
{
	struct mono next;

	(void)state;
	for (int i = 1; i < PUMP_IN_FLIGHT_MAX; i++) {
		urgent(1000 + i);
		sent_id(1, 0);
	}
	urgent(1100);
	assert_int_equal(effects.n, 0);
	assert_true(pump_client_next_deadline(&client, &next));
	assert_int_equal(next.ns, (1000 + PUMP_GIVE_UP_MS) * NS_PER_MS);
	standby(1101, client.last_id, 5, 1, false);
	sent_id(1, 0);
}

static void urgent_news_without_a_session_goes_with_its_first_poll(void **state)
{
	(void)state;
	at(1001, PUMP_CLIENT_CLOSED);
	urgent(1002);
	assert_int_equal(effects.n, 0);
	at(1003, PUMP_CLIENT_OPEN);
	sent_id(1, 0);
	at(1004, PUMP_CLIENT_TICK);
	assert_int_equal(effects.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_standbys_answer_acknowledges_and_orders_nothing,
				       open_client),
		cmocka_unit_test_setup(a_standbys_epoch_counts_for_nothing, open_client),
		cmocka_unit_test_setup(a_standby_is_polled_as_a_leader_is, open_client),
		cmocka_unit_test_setup(a_standby_that_cannot_store_records_is_not_asked_in_a_loop,
				       open_client),
		cmocka_unit_test_setup(a_standbys_resync_takes_its_cursor_back, open_client),
		cmocka_unit_test_setup(a_taken_answer_says_when_its_poll_was_sent, open_client),
		cmocka_unit_test_setup(an_answer_to_a_poll_that_was_given_up_does_not_say_when,
				       open_client),
		cmocka_unit_test_setup(urgent_news_is_told_at_once_and_once, open_client),
		cmocka_unit_test_setup(news_that_came_before_it_goes_with_urgent_news, open_client),
		cmocka_unit_test_setup(urgent_news_waits_for_a_free_place_without_a_loop,
				       open_client),
		cmocka_unit_test_setup(urgent_news_without_a_session_goes_with_its_first_poll,
				       open_client),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
