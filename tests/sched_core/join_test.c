/* When a node has joined a new leader, and what may be ordered and placed there before. */
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

/* Each row is one thing that keeps a node from having joined. */
static void a_node_has_joined_when_all_three_are_so(void **state)
{
	struct wire_record record;

	(void)state;
	world_lead(world);
	world_join(world, two);
	one->poll.epoch = world->epoch - 1; /* it has not seen us, or not durably */
	one->poll.end_seq = one->seq;
	world_report(world, one);
	assert_false(world_is_joined(world, one));
	one->poll.epoch = world->epoch; /* it owes an answer to the leader before us */
	one->poll.pending_n = 1;
	world_report(world, one);
	assert_false(world_is_joined(world, one));
	record = world_started(world, one, "i1", 3);
	one->poll.pending_n = 0; /* answered, and the answer is on its way */
	one->poll.end_seq = one->seq;
	world_report(world, one);
	assert_false(world_is_joined(world, one));
	assert_int_equal(core_role(world->core), CORE_TAKING_OVER);
	world_send(world, one, &record);
	assert_true(world_is_joined(world, one));
	assert_int_equal(core_role(world->core), CORE_LEADING);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING);
}

/* Its log may grow as fast as we read it: what counts is where it ended when it had nothing older
 * to answer any more. */
static void a_busy_log_does_not_put_off_the_joining(void **state)
{
	struct wire_record first;

	(void)state;
	world_lead(world);
	first = world_started(world, one, "i1", 3);
	world_join(world, one);
	world_record(world, one, WIRE_RECORD_USAGE, "i1", 3); /* and more of it to come */
	world_join(world, one);
	assert_false(world_is_joined(world, one));
	world_send(world, one, &first);
	assert_true(world_is_joined(world, one));
	world_record(world, one, WIRE_RECORD_USAGE, "i1", 3);
	world_join(world, one);
	assert_true(world_is_joined(world, one));
}

static void nothing_is_placed_on_a_node_before_it_has_joined(void **state)
{
	struct core_explanation why;
	uint64_t create;

	(void)state;
	world_lead(world);
	world_pass(world, LEASE_OVER_MS);
	assert_int_equal(core_role(world->core), CORE_LEADING);
	world_report(world, one);
	create = world_create(world, "i1", "ten_a", "base", 60);
	assert_int_equal(world_reply(world, create)->refusal, REFUSAL_NO_COMPATIBLE_NODE);
	core_explain(world->core, "base", &why);
	assert_int_equal(why.joining_n, 1);
	assert_int_equal(why.silent_n, 1);
	world_join(world, one);
	core_explain(world->core, "base", &why);
	assert_int_equal(why.fits_n, 1);
	create = world_create(world, "i2", "ten_a", "base", 60);
	assert_null(world_reply(world, create));
}

static void orders_are_given_once_the_node_has_joined(void **state)
{
	uint64_t attempt;

	(void)state;
	was_alone();
	attempt = world_run(world, "i1", 60);
	world_kill(world, "i1", "ten_a");
	world_stand_by(world);
	world_lead(world);
	world->woken[0] = false;
	world_report(world, one);
	assert_null(world_poll(world, one));
	assert_false(world->woken[0]);
	world_join(world, one);
	assert_true(world->woken[0]);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_KILL);
	world_say(world, one, WIRE_RECORD_ENDED, "i1", attempt);
	assert_null(world_find(world, "i1"));
}

static void a_node_that_saw_a_newer_leader_ends_ours(void **state)
{
	(void)state;
	world_lead(world);
	world_join(world, one);
	two->poll.epoch = world->epoch + 1;
	two->poll.end_seq = two->seq;
	world_report(world, two);
	assert_int_equal(world_effects(world, CORE_EFFECT_EPOCH_OVER), 1);
	assert_int_equal(world->effects.items[0].epoch_over.seen, world->epoch + 1);
	assert_false(world_is_joined(world, two));
	assert_int_equal(core_role(world->core), CORE_TAKING_OVER);
	one->poll.epoch = UINT64_MAX; /* whatever a node says */
	world_report(world, one);
	assert_int_equal(world->epoch_over_n, 2);
	assert_false(world_is_joined(world, one));
	world_stand_by(world);
	world_report(world, two);
	assert_int_equal(world->epoch_over_n, 2);
}

/* It may have said yes to things that it does not know of any more. */
static void a_node_whose_log_was_put_back_is_not_placed_upon(void **state)
{
	struct wire_record record;

	(void)state;
	record = world_started(world, one, "i1", 3);
	world_send(world, one, &record);
	lead_and_join_all();
	one->poll.epoch = world->epoch - 1; /* back to before it knew us */
	world_report(world, one);
	assert_false(world_is_joined(world, one));
	world_join(world, one);
	assert_true(world_is_joined(world, one));
	one->poll.end_seq = 1; /* back to before what we took */
	world_report(world, one);
	assert_false(world_is_joined(world, one));
	assert_int_equal(core_role(world->core), CORE_LEADING);
	world_join(world, one);
	assert_true(world_is_joined(world, one));
}

static void nor_does_it_keep_the_fleet_waiting(void **state)
{
	struct wire_record record;

	(void)state;
	record = world_started(world, one, "i1", 3);
	world_send(world, one, &record);
	world_lead(world);
	world_join(world, two);
	one->poll.epoch = world->epoch;
	one->poll.end_seq = 1;
	world_report(world, one);
	assert_int_equal(core_role(world->core), CORE_LEADING);
	assert_false(world_is_joined(world, one));
}

static void a_node_enrolled_during_the_take_over_is_heard_too(void **state)
{
	struct world_node *three;

	(void)state;
	world_lead(world);
	three = world_node(world, "nod_2", 8, 8192, 81920, 8);
	world_join(world, one);
	world_join(world, two);
	assert_int_equal(core_role(world->core), CORE_TAKING_OVER);
	world_join(world, three);
	assert_int_equal(core_role(world->core), CORE_LEADING);
	world_node(world, "nod_3", 8, 8192, 81920, 8);
	assert_int_equal(core_role(world->core), CORE_LEADING);
}

static void a_standbys_template_keeps_its_shape_through_the_take_over(void **state)
{
	const struct core_template *shape;

	(void)state;
	world_offer(two, "base", 2, 1024, 1024, 1); /* rebuilt there first */
	world_report(world, two);
	shape = core_template_find(world->core, "base");
	assert_int_equal(shape->vcpus, 1);
	world_lead(world);
	world_join(world, two);
	assert_int_equal(shape->vcpus, 1);
	world_join(world, one);
	world_create(world, "i1", "ten_a", "base", 60);
	assert_string_equal(world_find(world, "i1")->node.text, one->id.text);
}

static void alone_every_node_counts_as_joined(void **state)
{
	struct core_counts counts;

	(void)state;
	was_alone();
	assert_int_equal(core_role(world->core), CORE_ALONE);
	core_count(world->core, &counts);
	assert_int_equal(counts.nodes_joined, 2);
	one->poll.epoch = world->epoch;
	world_report(world, one);
	assert_int_equal(world->epoch_over_n, 0);
	one->poll.epoch = 99; /* only where an older copy of the database runs */
	world_report(world, one);
	assert_int_equal(world->epoch_over_n, 1);
	assert_true(world_is_joined(world, one));
	assert_int_equal(world->admitted_n, 0);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_fleet_of_two, close_fleet)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_node_has_joined_when_all_three_are_so),
		STORY(a_busy_log_does_not_put_off_the_joining),
		STORY(nothing_is_placed_on_a_node_before_it_has_joined),
		STORY(orders_are_given_once_the_node_has_joined),
		STORY(a_node_that_saw_a_newer_leader_ends_ours),
		STORY(a_node_whose_log_was_put_back_is_not_placed_upon),
		STORY(nor_does_it_keep_the_fleet_waiting),
		STORY(a_node_enrolled_during_the_take_over_is_heard_too),
		STORY(a_standbys_template_keeps_its_shape_through_the_take_over),
		STORY(alone_every_node_counts_as_joined),
	};

	return cmocka_run_group_tests_name("sched_core.join", tests, NULL, NULL);
}
