/* What goes between scheduler and node: orders out, records in, silence, and their bounds. */
#include "common/base/check.h"
#include "tests/sched_core/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static struct world *world;
static struct world_node *one, *two;

static int open_fleet_of_two(void **state)
{
	(void)state;
	world = world_open();
	world_fleet(world, 2);
	one = &world->nodes[0];
	two = &world->nodes[1];
	return 0;
}

static int close_fleet(void **state)
{
	(void)state;
	world_close(world);
	return 0;
}

static void an_unanswered_order_is_given_again_with_the_same_attempt(void **state)
{
	uint64_t attempt;

	(void)state;
	world_create(world, "i1", "ten_a", "base", 60);
	attempt = world_poll(world, one)->attempt;
	assert_null(world_poll(world, one));
	world_pass(world, CORE_RESEND_MS - 1);
	assert_null(world_poll(world, one));
	world_pass(world, 1);
	assert_int_equal(world_poll(world, one)->attempt, attempt);
	assert_null(world_poll(world, one));
	world_node_event(world, one, CORE_EVENT_NODE_SESSION);
	assert_int_equal(world_poll(world, one)->attempt, attempt);
}

static void orders_go_out_in_the_order_of_their_asking(void **state)
{
	static const char *const asked[] = {"i3", "i1", "i2"};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(asked); i++)
		world_create(world, asked[i], "ten_a", "base", 60);
	for (int round = 0; round < 2; round++) {
		world_poll(world, one);
		assert_int_equal(world_effects(world, CORE_EFFECT_ORDER),
				 2); /* two were warm here */
		assert_string_equal(world->effects.items[0].order.order.sandbox.text, "i3");
		assert_string_equal(world->effects.items[1].order.order.sandbox.text, "i1");
		world_node_event(world, one, CORE_EVENT_NODE_SESSION);
	}
}

static void records_are_taken_once_and_in_their_order(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60);
	struct wire_record first = world_record(world, one, WIRE_RECORD_USAGE, "i1", attempt);
	struct wire_record second = world_record(world, one, WIRE_RECORD_USAGE, "i1", attempt);

	(void)state;
	first.to_ms = 1000;
	second.from_ms = 1000;
	second.to_ms = 2000;
	world_send(world, one, &second);
	assert_int_equal(world->posted_n, 0);
	assert_true(one->resync);
	assert_int_equal(one->acked, first.seq);
	world_send(world, one, &first);
	assert_false(one->resync);
	world_send(world, one, &first);
	assert_int_equal(world->posted_n, 1);
	world_send(world, one, &second);
	world_send(world, one, &first);
	world_send(world, one, &second);
	assert_int_equal(world->posted_n, 2);
	assert_int_equal(one->acked, second.seq + 1);
	assert_false(one->resync);
}

static void usage_of_a_forgotten_sandbox_is_still_posted(void **state)
{
	struct wire_record usage = world_record(world, one, WIRE_RECORD_USAGE, "igone", 7);

	(void)state;
	usage.to_ms = 500;
	world_send(world, one, &usage);
	assert_int_equal(world->posted_n, 1);
}

static void a_silent_node_keeps_what_it_has_and_gets_no_more(void **state)
{
	uint64_t attempt = world_run(world, "i1", 3600);
	struct core_node_view view;

	(void)state;
	world_pass(world, CORE_SILENT_MS - 1);
	world_report(world, two);
	assert_true(core_node_find(world->core, &one->id, &view) && view.awake);
	world_pass(world, 1);
	assert_true(core_node_find(world->core, &one->id, &view) && !view.awake);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING);
	world_pass(world, 3600000);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING);
	assert_int_equal(
		world_reply(world, world_create(world, "i2", "ten_a", "base", 60))->refusal,
		REFUSAL_NO_COMPATIBLE_NODE);
	world_report(world, one);
	world_say(world, one, WIRE_RECORD_ENDED, "i1", attempt);
	assert_int_equal(world_used(world, one), 0);
	world_create(world, "i3", "ten_a", "base", 60);
	assert_string_equal(world_find(world, "i3")->node.text, "nod_0");
}

static void a_poll_carries_at_most_64_orders_and_asks_for_another(void **state)
{
	struct world_node *big = world_node(world, "nod_2", 100, 100000, 1000000, 100);
	char id[16];

	(void)state;
	world_offer(big, "other", 1, 512, 1024, 0);
	world_report(world, big);
	world_tenant(world, "ten_a", 100);
	for (unsigned i = 0; i < WORLD_SANDBOXES; i++) {
		snprintf(id, sizeof(id), "i%u", i);
		world_create(world, id, "ten_a", "other", 60);
	}
	world_poll(world, big);
	assert_int_equal(world_effects(world, CORE_EFFECT_ORDER), 64);
	assert_true(world->woken[2]);
	world_poll(world, big);
	assert_int_equal(world_effects(world, CORE_EFFECT_ORDER), WORLD_SANDBOXES - 64);
	assert_false(world->woken[2]);
}

static void many_timers_due_at_once_are_worked_off_in_several_ticks(void **state)
{
	struct core_event tick = {.kind = CORE_EVENT_TICK};
	struct world_node *big = world_node(world, "nod_2", 100, 100000, 1000000, 100);
	struct mono due;
	char id[16];

	(void)state;
	world_offer(big, "other", 1, 512, 1024, 0);
	world_report(world, big);
	world_tenant(world, "ten_a", 100);
	for (unsigned i = 0; i < WORLD_SANDBOXES; i++) {
		snprintf(id, sizeof(id), "i%u", i);
		world_create(world, id, "ten_a", "other", 60);
	}
	world->now.ns += CORE_ATTEMPT_MS * NS_PER_MS;
	world_step(world, &tick);
	assert_true(core_next_deadline(world->core, &due));
	assert_true(due.ns <= world->now.ns);
	world_pass(world, 0);
	assert_false(core_next_deadline(world->core, &due) && due.ns <= world->now.ns);
	for (uint64_t request = 1; request <= WORLD_SANDBOXES; request++)
		assert_int_equal(world_reply(world, request)->refusal, REFUSAL_PLACEMENT_TIMEOUT);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_fleet_of_two, close_fleet)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(an_unanswered_order_is_given_again_with_the_same_attempt),
		STORY(orders_go_out_in_the_order_of_their_asking),
		STORY(records_are_taken_once_and_in_their_order),
		STORY(usage_of_a_forgotten_sandbox_is_still_posted),
		STORY(a_silent_node_keeps_what_it_has_and_gets_no_more),
		STORY(a_poll_carries_at_most_64_orders_and_asks_for_another),
		STORY(many_timers_due_at_once_are_worked_off_in_several_ticks),
	};

	return cmocka_run_group_tests_name("sched_core.exchange", tests, NULL, NULL);
}
