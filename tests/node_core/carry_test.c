/* A node's part in the copying of templates: what it begins, installs, and says of it. */
#include "tests/node_core/host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int open_host(void **state)
{
	*state = host_open_ready();
	return 0;
}

static int close_host(void **state)
{
	host_close(*state);
	return 0;
}

static void order(struct host *host, enum wire_order_kind kind, uint64_t number, const char *name)
{
	struct wire_order it = {.kind = kind, .attempt = number, .incarnation = 1, .bytes = 1000};

	snprintf(it.sandbox.text, sizeof(it.sandbox.text), "x%020llu", (unsigned long long)number);
	snprintf(it.template, sizeof(it.template), "%s", name);
	snprintf(it.artefact, sizeof(it.artefact), "content");
	memset(it.digest, 7, sizeof(it.digest));
	host_order(host, &it);
}

static void say(struct host *host, enum node_event_kind kind, uint64_t number, enum refusal refusal)
{
	struct node_event event = {.kind = kind};

	event.carry.number = number;
	event.carry.bytes = 500;
	event.carry.refusal = refusal;
	snprintf(event.carry.id, sizeof(event.carry.id), "content");
	memset(event.carry.digest, 7, sizeof(event.carry.digest));
	host_step(host, &event);
}

static void what_it_has_is_offered_under_its_digest(void **state)
{
	struct host *host = *state;

	order(host, WIRE_ORDER_SEND, 1, "base");
	assert_string_equal(host_last(host, NODE_EFFECT_CARRY_SEND)->carry.template_, "base");
	assert_int_equal(host_transfer(host, 1)->state, WIRE_TRANSFER_PREPARING);
	order(host, WIRE_ORDER_SEND, 1, "base"); /* again: it is known */
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_SEND), 1);
	assert_int_equal(host->payloads_n, 0);
	say(host, NODE_EVENT_CARRY_PROGRESS, 1, REFUSAL_NONE);
	assert_int_equal(host_transfer(host, 1)->done_bytes, 500);
	say(host, NODE_EVENT_CARRY_OFFERED, 1, REFUSAL_NONE);
	assert_int_equal(host_transfer(host, 1)->state, WIRE_TRANSFER_SENDING);
	assert_int_equal(host_transfer(host, 1)->digest[31], 7);
	/* Nobody fetches any more: what is not known of is ordered again, and begun again. */
	say(host, NODE_EVENT_CARRY_ENDED, 1, REFUSAL_NONE);
	assert_null(host_transfer(host, 1));
	order(host, WIRE_ORDER_SEND, 1, "base");
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_SEND), 2);
}

static void what_it_has_not_is_refused(void **state)
{
	struct host *host = *state;

	order(host, WIRE_ORDER_SEND, 1, "other");
	assert_int_equal(host_transfer(host, 1)->refusal, REFUSAL_TRANSFER_NO_SOURCE);
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_SEND), 0);
	assert_int_equal(host->payloads_n, 0);
	order(host, WIRE_ORDER_SEND, 2, "base");
	say(host, NODE_EVENT_CARRY_ENDED, 2, REFUSAL_TRANSFER_NO_SOURCE);
	assert_int_equal(host_transfer(host, 2)->state, WIRE_TRANSFER_FAILED);
}

static void what_arrives_as_ordered_is_installed_and_then_said(void **state)
{
	struct host *host = *state;

	order(host, WIRE_ORDER_FETCH, 1, "other");
	assert_string_equal(host_last(host, NODE_EFFECT_CARRY_FETCH)->carry.id, "content");
	assert_int_equal(host_transfer(host, 1)->state, WIRE_TRANSFER_FETCHING);
	say(host, NODE_EVENT_CARRY_ARRIVED, 1, REFUSAL_NONE);
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_INSTALL), 1);
	assert_int_equal(host_transfer(host, 1)->state, WIRE_TRANSFER_FETCHING);
	host_template(host, "other", "content", 1, 256);
	say(host, NODE_EVENT_CARRY_ENDED, 1, REFUSAL_NONE);
	assert_int_equal(host_transfer(host, 1)->state, WIRE_TRANSFER_DONE);
	order(host, WIRE_ORDER_FETCH, 2, "other"); /* it is here */
	assert_int_equal(host_transfer(host, 2)->state, WIRE_TRANSFER_DONE);
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_FETCH), 1);
}

static void what_is_not_what_was_ordered_is_never_installed(void **state)
{
	struct node_event arrived = {.kind = NODE_EVENT_CARRY_ARRIVED};
	struct host *host = *state;

	order(host, WIRE_ORDER_FETCH, 1, "other");
	arrived.carry.number = 1;
	snprintf(arrived.carry.id, sizeof(arrived.carry.id), "content");
	memset(arrived.carry.digest, 7, sizeof(arrived.carry.digest));
	arrived.carry.digest[31] = 8;
	host_step(host, &arrived);
	assert_int_equal(host_transfer(host, 1)->refusal, REFUSAL_TRANSFER_CORRUPT);
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_DROP), 1);
	say(host, NODE_EVENT_CARRY_ARRIVED, 1, REFUSAL_NONE); /* too late */
	order(host, WIRE_ORDER_FETCH, 2, "other");
	arrived.carry.number = 2;
	arrived.carry.digest[31] = 7;
	strcpy(arrived.carry.id, "another");
	host_step(host, &arrived);
	assert_int_equal(host_transfer(host, 2)->refusal, REFUSAL_TRANSFER_CORRUPT);
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_INSTALL), 0);
}

static void what_cannot_be_restored_here_is_not_called_done(void **state)
{
	struct host *host = *state;

	order(host, WIRE_ORDER_FETCH, 1, "other");
	say(host, NODE_EVENT_CARRY_ARRIVED, 1, REFUSAL_NONE);
	say(host, NODE_EVENT_CARRY_ENDED, 1, REFUSAL_NONE);
	assert_int_equal(host_transfer(host, 1)->refusal, REFUSAL_TRANSFER_UNUSABLE);
	order(host, WIRE_ORDER_FETCH, 2, "other");
	say(host, NODE_EVENT_CARRY_ENDED, 2, REFUSAL_TRANSFER_NO_SPACE);
	assert_int_equal(host_transfer(host, 2)->refusal, REFUSAL_TRANSFER_NO_SPACE);
	/* Another content by that name is nobody's to replace. */
	order(host, WIRE_ORDER_FETCH, 3, "base");
	assert_int_equal(host_transfer(host, 3)->refusal, REFUSAL_CANCELLED);
}

static void one_is_fetched_and_four_are_sent_at_a_time(void **state)
{
	struct host *host = *state;

	order(host, WIRE_ORDER_FETCH, 1, "other");
	order(host, WIRE_ORDER_FETCH, 2, "third");
	assert_int_equal(host_transfer(host, 2)->refusal, REFUSAL_TRANSFER_BUSY);
	for (uint64_t number = 3; number < 8; number++)
		order(host, WIRE_ORDER_SEND, number, "base");
	assert_int_equal(host_transfer(host, 6)->state, WIRE_TRANSFER_PREPARING);
	assert_int_equal(host_transfer(host, 7)->refusal, REFUSAL_TRANSFER_BUSY);
}

static void what_is_over_is_forgotten_for_what_is_not(void **state)
{
	struct host *host = *state;

	order(host, WIRE_ORDER_FETCH, 1, "other");
	for (uint64_t number = 2; number < 40; number++)
		order(host, WIRE_ORDER_SEND, number, "none");
	assert_int_equal(host_transfer(host, 1)->state, WIRE_TRANSFER_FETCHING);
	assert_int_equal(host_transfer(host, 39)->state, WIRE_TRANSFER_FAILED);
	assert_null(host_transfer(host, 2));
}

static void a_leader_that_is_none_any_more_copies_nothing(void **state)
{
	struct host *host = *state;

	host_answer(host, 5);
	host_answer(host, 4);
	order(host, WIRE_ORDER_FETCH, 1, "other");
	assert_null(host_transfer(host, 1));
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_FETCH), 0);
	assert_int_equal(host->payloads_n, 0);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_host, close_host)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(what_it_has_is_offered_under_its_digest),
		STORY(what_it_has_not_is_refused),
		STORY(what_arrives_as_ordered_is_installed_and_then_said),
		STORY(what_is_not_what_was_ordered_is_never_installed),
		STORY(what_cannot_be_restored_here_is_not_called_done),
		STORY(one_is_fetched_and_four_are_sent_at_a_time),
		STORY(what_is_over_is_forgotten_for_what_is_not),
		STORY(a_leader_that_is_none_any_more_copies_nothing),
	};

	return cmocka_run_group_tests_name("node_core.carry", tests, NULL, NULL);
}
