/* From standby to leader: what a new leader hears first, what it waits for, and what never began.
 */
#include "common/base/check.h"
#include "tests/sched_core/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

enum { LEASE_MS = 60000, LEASE_OVER_MS = 60000 + 2000 + 1200 };

static struct world *world;
static struct world_node *one, *two;

static int open_fleet_of_two(void **state)
{
	(void)state;
	world = world_open();
	world->limits.lease_ms = LEASE_MS;
	world_stand_by(world);
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

/* It leads alone, then is one of several again: what it did has older attempts. */
static void was_alone(void)
{
	world->stands_by = false;
	world_restart(world);
	world_report(world, one);
	world_report(world, two);
}

static void lead_and_join_all(void)
{
	world_lead(world);
	world_join(world, one);
	world_join(world, two);
	assert_int_equal(core_role(world->core), CORE_LEADING);
}

/* A parked poll would keep it from joining until it ends; answered for ever, it would ask for ever.
 */
static void a_node_that_has_not_seen_the_epoch_is_answered_at_once_and_once(void **state)
{
	struct core_event session = {.kind = CORE_EVENT_NODE_SESSION, .node_id = one->id};

	(void)state;
	world_lead(world);
	world->woken[0] = false;
	world_report(world, one);
	assert_true(world->woken[0]);
	world->woken[0] = false;
	world_report(world, one);
	assert_false(world->woken[0]);
	/* The answer may have been lost with its connection. */
	world_step(world, &session);
	world_report(world, one);
	assert_true(world->woken[0]);
}

static void a_leader_admits_when_every_node_has_joined(void **state)
{
	uint64_t create;

	(void)state;
	world_lead(world);
	assert_int_equal(core_role(world->core), CORE_TAKING_OVER);
	create = world_create(world, "i1", "ten_a", "base", 60);
	assert_int_equal(world_reply(world, create)->refusal, REFUSAL_TAKING_OVER);
	assert_int_equal(world_reply(world, world_kill(world, "i1", "ten_a"))->refusal,
			 REFUSAL_TAKING_OVER);
	assert_int_equal(
		world_reply(world, world_timeout(world, CORE_EVENT_EXTEND, "i1", "ten_a", 60))
			->refusal,
		REFUSAL_TAKING_OVER);
	world_join(world, one);
	assert_true(world_is_joined(world, one));
	assert_int_equal(core_role(world->core), CORE_TAKING_OVER);
	assert_int_equal(world->admitted_n, 0);
	world_join(world, two);
	assert_int_equal(core_role(world->core), CORE_LEADING);
	assert_int_equal(world->admitted_n, 1);
	create = world_create(world, "i1", "ten_a", "base", 60);
	assert_null(world_reply(world, create));
	assert_int_equal(world_find(world, "i1")->attempt >> 32, world->epoch);
	world_join(world, one);
	world_pass(world, 600000);
	assert_int_equal(world->admitted_n, 1);
}

/* Once, when it joins: before that it would get none. */
static void what_waits_for_a_node_is_given_when_it_joins(void **state)
{
	struct wire_record record = world_started(world, one, "i1", 3);
	struct core_event kill = {.kind = CORE_EVENT_KILL, .kill.cause = CAUSE_BUDGET};

	(void)state;
	world_send(world, one, &record);
	world_lead(world);
	world_report(world, one);
	kill.kill.sandbox = world_id("i1");
	world->woken[0] = false;
	world_step(world, &kill);
	assert_false(world->woken[0]);
	world_join(world, one);
	assert_true(world->woken[0]);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_KILL);
	world_join(world, one);
	assert_false(world->woken[0]);
}

static void a_fleet_without_nodes_admits_at_once(void **state)
{
	struct world *empty = world_open();

	(void)state;
	world_stand_by(empty);
	world_lead(empty);
	assert_int_equal(core_role(empty->core), CORE_LEADING);
	assert_int_equal(empty->admitted_n, 1);
	world_close(empty);
}

static void a_dead_node_delays_admission_by_its_lease_only(void **state)
{
	struct core_node_view view;

	(void)state;
	world_lead(world);
	world_pass(world, 1000);
	world_join(world, one);
	world_pass(world, LEASE_OVER_MS - 1001);
	assert_int_equal(core_role(world->core), CORE_TAKING_OVER);
	assert_true(core_node_find(world->core, &two->id, &view) && !view.lease_ended);
	world_pass(world, 1);
	assert_int_equal(core_role(world->core), CORE_LEADING);
	assert_int_equal(world->admitted_n, 1);
	assert_true(core_node_find(world->core, &two->id, &view) && view.lease_ended);
	assert_true(core_node_find(world->core, &one->id, &view) && !view.lease_ended);
}

static void a_lease_counts_from_the_last_hearing(void **state)
{
	(void)state;
	world_lead(world);
	world_join(world, one);
	world_pass(world, 30000);
	world_node_event(world, two, CORE_EVENT_NODE_POLL); /* so that it got a lease again */
	world_pass(world, LEASE_OVER_MS - 1);
	assert_int_equal(core_role(world->core), CORE_TAKING_OVER);
	world_pass(world, 1);
	assert_int_equal(core_role(world->core), CORE_LEADING);
}

/* A full disk at one node must not stop the fleet. */
static void a_node_in_trouble_is_waited_for_a_little_and_its_log_in_full(void **state)
{
	struct wire_record record;

	(void)state;
	world_lead(world);
	world_join(world, two);
	strcpy(one->poll.trouble, "the disk is full");
	one->poll.end_seq = one->seq;
	world_pass(world, CORE_SILENT_MS - 1);
	world_report(world, one);
	assert_int_equal(core_role(world->core), CORE_TAKING_OVER);
	world_pass(world, 1);
	record = world_started(world, one, "i1", 3);
	one->poll.end_seq = one->seq;
	world_report(world, one);
	assert_int_equal(core_role(world->core), CORE_TAKING_OVER);
	world_send(world, one, &record);
	world_report(world, one);
	assert_int_equal(core_role(world->core), CORE_LEADING);
	assert_false(world_is_joined(world, one));
	assert_non_null(world_find(world, "i1"));
	one->poll.trouble[0] = 0;
	world_join(world, one);
	assert_true(world_is_joined(world, one));
}

static void a_node_that_only_was_in_trouble_is_waited_for(void **state)
{
	(void)state;
	strcpy(one->poll.trouble, "the disk is full");
	world_report(world, one);
	one->poll.trouble[0] = 0;
	world_lead(world);
	world_join(world, two);
	for (int i = 0; i < 30; i++) {
		world_pass(world, 1000);
		world_report(world, one);
	}
	assert_int_equal(core_role(world->core), CORE_TAKING_OVER); /* it can join, and shall */
	world_join(world, one);
	assert_int_equal(core_role(world->core), CORE_LEADING);
}

static void a_kill_that_nobody_waits_for_is_taken_during_the_take_over(void **state)
{
	struct wire_record record = world_started(world, one, "i1", 3);
	struct core_event kill = {.kind = CORE_EVENT_KILL, .kill.cause = CAUSE_BUDGET};

	(void)state;
	world_send(world, one, &record);
	kill.kill.sandbox = world_id("i1");
	world_step(world, &kill);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING); /* the leader's */
	world_lead(world);
	world_step(world, &kill);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_ENDING);
	assert_null(world_poll(world, one));
	world_join(world, one);
	assert_int_equal(world_poll(world, one)->cause, CAUSE_BUDGET);
}

static void without_leases_a_dead_node_is_waited_for_until_it_is_declared_lost(void **state)
{
	(void)state;
	world->limits.lease_ms = 0;
	world_restart(world);
	world_lead(world);
	world_join(world, one);
	world_pass(world, 86400000);
	assert_int_equal(core_role(world->core), CORE_TAKING_OVER);
	assert_true(world_lose(world, two) != 0);
	assert_int_equal(core_role(world->core), CORE_LEADING);
}

static void a_node_declared_lost_delays_nothing(void **state)
{
	(void)state;
	world_lost(world, two, 1ULL << 32 | 9); /* decided by the leader before us */
	world_lead(world);
	world_join(world, one);
	assert_int_equal(core_role(world->core), CORE_LEADING);
	two->poll.lost_below = 1ULL << 32 | 9; /* it returns, and has carried it out */
	world_join(world, two);
	assert_true(world_is_joined(world, two));
	assert_int_equal(world->admitted_n, 1);
}

static void a_lost_node_that_came_back_before_is_waited_for(void **state)
{
	(void)state;
	world_lost(world, two, 1ULL << 32 | 9);
	two->poll.lost_below = 1ULL << 32 | 9;
	world_report(world, two);
	world_lead(world);
	world_join(world, one);
	assert_int_equal(core_role(world->core), CORE_TAKING_OVER);
	world_join(world, two);
	assert_int_equal(core_role(world->core), CORE_LEADING);
}

static void what_never_began_under_an_older_leader_is_finished(void **state)
{
	uint64_t yes;

	(void)state;
	was_alone();
	world_create(world, "i1", "ten_a", "base", 60);
	world_create(world, "i2", "ten_a", "base", 60);
	yes = world_find(world, "i1")->attempt;
	world_stand_by(world);
	world_lead(world);
	assert_null(world_poll(world, one)); /* no claim of an older epoch again */
	world_pass(world, CORE_ATTEMPT_MS + 1);
	assert_int_equal(world_find(world, "i2")->state, SANDBOX_PLACING);
	one->poll.epoch = world->epoch;
	one->poll.end_seq = one->seq + 1;
	world_report(world, one);
	world_say(world, one, WIRE_RECORD_STARTED, "i1", yes);
	assert_true(world_is_joined(world, one));
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING);
	assert_null(world_find(world, "i2"));
	assert_int_equal(world_stored(world, "i2")->refusal, REFUSAL_CANCELLED);
	assert_int_equal(world_used(world, one), 1);
	assert_null(world_poll(world, one));
}

static void more_than_fits_into_a_step_is_finished_in_several(void **state)
{
	struct mono due;
	char id[16];

	(void)state;
	world->limits.sandboxes = 200;
	was_alone();
	one->poll.capacity = (struct wire_room){200, 200000, 1000000, 200};
	world_offer(one, "only", 1, 512, 1024, 0);
	world_report(world, one);
	world_tenant(world, "ten_a", 200);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(id, sizeof(id), "i%u", i);
		world_create(world, id, "ten_a", "only", 60);
	}
	world_stand_by(world);
	world_lead(world);
	world_join(world, one);
	assert_int_equal(world_held(world), 200 - world_effects(world, CORE_EFFECT_SAVE_SANDBOX));
	assert_true(world_held(world) > 0);
	assert_true(world_is_joined(world, one));
	assert_null(world_poll(world, one));
	assert_true(core_next_deadline(world->core, &due) && due.ns <= world->now.ns);
	world_pass(world, 0);
	assert_int_equal(world_held(world), 0);
	assert_int_equal(world_used(world, one), 0);
	assert_false(core_next_deadline(world->core, &due) && due.ns <= world->now.ns);
}

static void a_crash_in_the_middle_of_finishing_is_made_good(void **state)
{
	uint64_t attempt;

	(void)state;
	was_alone();
	attempt = world_run(world, "i1", 60);
	world_create(world, "i2", "ten_a", "base", 60);
	world_stand_by(world);
	for (uint32_t i = 0; i < world->node_row_n; i++) /* the row of the node, and not the rest */
		if (id_equal(&world->node_rows[i].id, &one->id))
			world->node_rows[i].lost_below = attempt + 1;
	world_restart(world);
	assert_non_null(world_find(world, "i1"));
	world_pass(world, 0);
	assert_null(world_find(world, "i1"));
	assert_int_equal(world_stored(world, "i1")->cause, CAUSE_NODE_LOST);
	assert_non_null(world_find(world, "i2"));
}

static void a_leader_that_restarts_takes_over_again(void **state)
{
	uint64_t attempt;

	(void)state;
	lead_and_join_all();
	attempt = world_run(world, "i1", 60);
	world_create(world, "i2", "ten_a", "base", 60);
	world_restart(world);
	assert_int_equal(core_role(world->core), CORE_STANDBY);
	world_lead(world);
	assert_int_equal(core_role(world->core), CORE_TAKING_OVER);
	world_join(world, one);
	world_join(world, two);
	assert_int_equal(core_role(world->core), CORE_LEADING);
	assert_int_equal(world_find(world, "i1")->attempt, attempt);
	assert_null(world_find(world, "i2"));
	world_create(world, "i3", "ten_a", "base", 60);
	assert_true(world_find(world, "i3")->attempt > attempt);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_fleet_of_two, close_fleet)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_leader_admits_when_every_node_has_joined),
		STORY(a_node_that_has_not_seen_the_epoch_is_answered_at_once_and_once),
		STORY(what_waits_for_a_node_is_given_when_it_joins),
		STORY(a_fleet_without_nodes_admits_at_once),
		STORY(a_dead_node_delays_admission_by_its_lease_only),
		STORY(a_lease_counts_from_the_last_hearing),
		STORY(a_node_in_trouble_is_waited_for_a_little_and_its_log_in_full),
		STORY(a_node_that_only_was_in_trouble_is_waited_for),
		STORY(a_kill_that_nobody_waits_for_is_taken_during_the_take_over),
		STORY(without_leases_a_dead_node_is_waited_for_until_it_is_declared_lost),
		STORY(a_node_declared_lost_delays_nothing),
		STORY(a_lost_node_that_came_back_before_is_waited_for),
		STORY(what_never_began_under_an_older_leader_is_finished),
		STORY(more_than_fits_into_a_step_is_finished_in_several),
		STORY(a_crash_in_the_middle_of_finishing_is_made_good),
		STORY(a_leader_that_restarts_takes_over_again),
	};

	return cmocka_run_group_tests_name("sched_core.takeover", tests, NULL, NULL);
}
