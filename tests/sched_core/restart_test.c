/*
 * The scheduler stops and another one starts from what is stored, in each state a sandbox can be
 * in; and at each moment in between, when messages were sent but not answered, or not even sent.
 */
#include "common/base/check.h"
#include "tests/sched_core/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static struct world *world;
static struct world_node *one;

static int open_fleet_of_one(void **state)
{
	(void)state;
	world = world_open();
	world_fleet(world, 1);
	one = &world->nodes[0];
	return 0;
}

static int close_fleet(void **state)
{
	(void)state;
	world_close(world);
	return 0;
}

static void a_running_sandbox_runs_on_and_keeps_its_end(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60);
	struct core_sandbox before = *world_find(world, "i1");

	(void)state;
	world_restart(world);
	assert_memory_equal(world_find(world, "i1"), &before, sizeof(before));
	world_report(world, one);
	assert_null(world_poll(world, one));
	assert_int_equal(world_held(world), 1);
	world_say(world, one, WIRE_RECORD_ENDED, "i1", attempt);
	assert_int_equal(world_held(world), 0);
}

static void a_claim_is_given_again_and_given_up_when_it_stays_unanswered(void **state)
{
	uint64_t create = world_create(world, "i1", "ten_a", "base", 60), attempt;
	const struct wire_order *order;

	(void)state;
	attempt = world_poll(world, one)->attempt;
	world_restart(world);
	world_report(world, one);
	order = world_poll(world, one);
	assert_int_equal(order->kind, WIRE_ORDER_CLAIM);
	assert_int_equal(order->attempt, attempt);
	world_pass(world, CORE_ATTEMPT_MS);
	assert_null(world_reply(world, create));
	order = world_poll(world, one);
	assert_int_equal(order->kind, WIRE_ORDER_KILL);
	assert_int_equal(order->attempt, attempt);
	assert_int_equal(world_held(world), 1);
	world_say(world, one, WIRE_RECORD_REFUSED, "i1", attempt);
	assert_int_equal(world_held(world), 0);
	assert_int_equal(world_stored(world, "i1")->refusal, REFUSAL_CANCELLED);
}

/* Else the claim would wait until the node's parked poll is over: four seconds of its ten. */
static void what_waits_is_given_at_the_first_report_after_a_restart(void **state)
{
	(void)state;
	world_create(world, "i1", "ten_a", "base", 60);
	world_restart(world);
	world->woken[0] = false;
	world_report(world, one);
	assert_true(world->woken[0]);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_CLAIM);
	world_report(world, one);
	assert_false(world->woken[0]);
}

static void what_was_lost_with_a_connection_is_given_at_the_next_ones_first_report(void **state)
{
	(void)state;
	world_create(world, "i1", "ten_a", "base", 60);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_CLAIM);
	world_report(world, one);
	assert_false(world->woken[0]);
	world_node_event(world, one, CORE_EVENT_NODE_SESSION);
	assert_false(world->woken[0]); /* there is no poll to answer yet */
	world_report(world, one);
	assert_true(world->woken[0]);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_CLAIM);
}

static void what_waits_for_a_silent_node_is_given_when_it_wakes(void **state)
{
	(void)state;
	world_run(world, "i1", 60);
	world_node_event(world, one, CORE_EVENT_NODE_SILENT);
	world_kill(world, "i1", "ten_a");
	world->woken[0] = false;
	world_report(world, one);
	assert_true(world->woken[0]);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_KILL);
}

static void a_yes_that_comes_after_the_restart_makes_it_run(void **state)
{
	uint64_t attempt;

	(void)state;
	world_create(world, "i1", "ten_a", "base", 60);
	attempt = world_poll(world, one)->attempt;
	world_restart(world);
	world_say(world, one, WIRE_RECORD_STARTED, "i1", attempt);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING);
	assert_int_equal(world_stored(world, "i1")->state, SANDBOX_RUNNING);
	assert_null(world_poll(world, one));
	world_say(world, one, WIRE_RECORD_ENDED, "i1", attempt);
	assert_null(world_find(world, "i1"));
}

static void a_no_that_comes_after_the_restart_ends_it(void **state)
{
	uint64_t attempt;

	(void)state;
	world_create(world, "i1", "ten_a", "base", 60);
	attempt = world_poll(world, one)->attempt;
	world_restart(world);
	world_say(world, one, WIRE_RECORD_REFUSED, "i1", attempt);
	assert_null(world_find(world, "i1"));
	assert_int_equal(world_held(world), 0);
}

static void a_kill_is_not_forgotten(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), kill = world_kill(world, "i1", "ten_a");

	(void)state;
	world_restart(world);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_ENDING);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_KILL);
	world_pass(world, 60000);
	assert_null(world_reply(world, kill)); /* its connection is gone with the old scheduler */
	world_say(world, one, WIRE_RECORD_ENDED, "i1", attempt);
	assert_int_equal(world_stored(world, "i1")->state, SANDBOX_ENDED);
}

static void a_time_limit_is_told_again_until_the_node_knows_it(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60);
	struct wire_record usage;

	(void)state;
	world_timeout(world, CORE_EVENT_EXTEND, "i1", "ten_a", 120);
	world_restart(world);
	assert_int_equal(world_poll(world, one)->deadline_version, 1);
	usage = world_record(world, one, WIRE_RECORD_USAGE, "i1", attempt);
	usage.deadline_version = 1;
	world_send(world, one, &usage);
	world_restart(world);
	assert_null(world_poll(world, one));
}

static void the_journal_goes_on_where_it_was(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60);
	struct wire_record usage = world_record(world, one, WIRE_RECORD_USAGE, "i1", attempt);

	(void)state;
	usage.to_ms = 1000;
	world_send(world, one, &usage);
	world_restart(world);
	world_send(world, one, &usage);
	assert_int_equal(world->posted_n, 1);
	assert_int_equal(one->acked, usage.seq + 1);
	assert_false(one->resync);
}

static void nothing_is_placed_before_a_node_has_reported(void **state)
{
	uint64_t request;

	(void)state;
	world_restart(world);
	request = world_create(world, "i1", "ten_a", "base", 60);
	assert_int_equal(world_reply(world, request)->refusal, REFUSAL_NO_COMPATIBLE_NODE);
	world_report(world, one);
	request = world_create(world, "i2", "ten_a", "base", 60);
	assert_null(world_reply(world, request));
}

static void attempts_of_a_later_leader_have_greater_numbers(void **state)
{
	uint64_t before, after;

	(void)state;
	before = world_run(world, "i1", 60);
	world_restart(world);
	world_report(world, one);
	after = world_run(world, "i2", 60);
	assert_true(after > before);
	assert_int_equal(after >> 32, world->epoch);
}

static void room_and_quota_are_counted_from_what_is_stored(void **state)
{
	struct core_node_view view;

	(void)state;
	world_run(world, "i1", 60);
	world_create(world, "i2", "ten_a", "base", 60);
	world_run(world, "i3", 60);
	world_kill(world, "i3", "ten_a");
	world_restart(world);
	assert_int_equal(world_held(world), 3);
	assert_true(core_node_find(world->core, &one->id, &view));
	assert_int_equal(view.used.sandboxes, 3);
	assert_int_equal(view.used.mem_mib, 3 * 512);
	assert_int_equal(view.row.capacity.vcpus, 8);
}

static void the_name_and_cordon_of_a_node_survive(void **state)
{
	struct core_event event = {.kind = CORE_EVENT_NODE_SET};
	struct core_node_view view;

	(void)state;
	event.node.id = one->id;
	strcpy(event.node.name, "renamed");
	event.node.cordoned = true;
	world_step(world, &event);
	world_restart(world);
	world_report(world, one);
	assert_true(core_node_find(world->core, &one->id, &view));
	assert_string_equal(view.row.name, "renamed");
	assert_int_equal(
		world_reply(world, world_create(world, "i1", "ten_a", "base", 60))->refusal,
		REFUSAL_CAPACITY);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_fleet_of_one, close_fleet)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_running_sandbox_runs_on_and_keeps_its_end),
		STORY(a_claim_is_given_again_and_given_up_when_it_stays_unanswered),
		STORY(what_waits_is_given_at_the_first_report_after_a_restart),
		STORY(what_was_lost_with_a_connection_is_given_at_the_next_ones_first_report),
		STORY(what_waits_for_a_silent_node_is_given_when_it_wakes),
		STORY(a_yes_that_comes_after_the_restart_makes_it_run),
		STORY(a_no_that_comes_after_the_restart_ends_it),
		STORY(a_kill_is_not_forgotten),
		STORY(a_time_limit_is_told_again_until_the_node_knows_it),
		STORY(the_journal_goes_on_where_it_was),
		STORY(nothing_is_placed_before_a_node_has_reported),
		STORY(attempts_of_a_later_leader_have_greater_numbers),
		STORY(room_and_quota_are_counted_from_what_is_stored),
		STORY(the_name_and_cordon_of_a_node_survive),
	};

	return cmocka_run_group_tests_name("sched_core.restart", tests, NULL, NULL);
}
