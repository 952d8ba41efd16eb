/* A standby: what it takes, what it leaves to the leader, and what it knows by the nodes' logs. */
#include "common/base/check.h"
#include "tests/sched_core/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static struct world *world;
static struct world_node *one, *two;

static int open_standby(void **state)
{
	(void)state;
	world = world_open();
	world_stand_by(world);
	world_fleet(world, 2);
	one = &world->nodes[0];
	two = &world->nodes[1];
	return 0;
}

static int close_standby(void **state)
{
	(void)state;
	world_close(world);
	return 0;
}

static void adopt(struct world_node *node, const char *sandbox, uint64_t attempt)
{
	struct wire_record record = world_started(world, node, sandbox, attempt);

	world_send(world, node, &record);
}

static void a_standby_refuses_every_request(void **state)
{
	(void)state;
	adopt(one, "i1", 1ULL << 32 | 1);
	assert_int_equal(core_role(world->core), CORE_STANDBY);
	assert_int_equal(
		world_reply(world, world_create(world, "i2", "ten_a", "base", 60))->refusal,
		REFUSAL_NO_LEADER);
	assert_int_equal(world_reply(world, world_kill(world, "i1", "ten_a"))->refusal,
			 REFUSAL_NO_LEADER);
	for (int extend = 0; extend < 2; extend++)
		assert_int_equal(world_reply(world, world_timeout(world,
								  extend ? CORE_EVENT_EXTEND
									 : CORE_EVENT_SET_TIMEOUT,
								  "i1", "ten_a", 90))
					 ->refusal,
				 REFUSAL_NO_LEADER);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING);
	assert_int_equal(world_find(world, "i1")->deadline_version, 0);
	assert_null(world_find(world, "i2"));
}

/* It led once, and was stopped with one sandbox placing, one ending, and a limit unconfirmed. */
static void a_standby_gives_no_orders(void **state)
{
	struct core_counts counts;

	(void)state;
	world->stands_by = false;
	world_restart(world);
	world_report(world, one);
	world_run(world, "i1", 60);
	world_run(world, "i2", 60);
	world_create(world, "i3", "ten_a", "base", 60);
	world_kill(world, "i1", "ten_a");
	world_timeout(world, CORE_EVENT_EXTEND, "i2", "ten_a", 90);
	world_stand_by(world);
	memset(world->woken, 0, sizeof(world->woken));
	for (int i = 0; i < 20; i++) {
		world_report(world, one);
		assert_null(world_poll(world, one));
		world_node_event(world, one, CORE_EVENT_NODE_SESSION);
		assert_null(world_poll(world, one));
		world_pass(world, CORE_ATTEMPT_MS);
	}
	assert_false(world->woken[0]);
	core_count(world->core, &counts);
	assert_int_equal(counts.placing, 1);
	assert_int_equal(counts.ending, 1);
	assert_int_equal(counts.nodes_joined, 0);
}

static void a_standby_follows_the_limit_that_the_log_tells(void **state)
{
	int64_t end_ns = world->wall.ns + 500 * NS_PER_S;
	struct wire_record usage;

	(void)state;
	adopt(one, "i1", 9);
	usage = world_record(world, one, WIRE_RECORD_USAGE, "i1", 9);
	usage.deadline_version = 2;
	usage.end_wall_ns = end_ns;
	world_send(world, one, &usage);
	assert_int_equal(world_stored(world, "i1")->end_at.ns, end_ns);
	assert_int_equal(world_stored(world, "i1")->deadline_version, 2);
	assert_int_equal(world_stored(world, "i1")->deadline_known, 2);
	usage = world_record(world, one, WIRE_RECORD_USAGE, "i1", 9);
	usage.deadline_version = 2;
	usage.end_wall_ns = end_ns;
	world_send(world, one, &usage);
	assert_int_equal(world_effects(world, CORE_EFFECT_SAVE_SANDBOX), 0);
}

/* Ours was never confirmed, hence never granted; the leader after us gave the same version. */
static void a_limit_that_was_never_confirmed_gives_way_to_the_logs(void **state)
{
	int64_t end_ns = world->wall.ns + 300 * NS_PER_S;
	struct wire_record usage;
	uint64_t attempt;

	(void)state;
	world->stands_by = false;
	world_restart(world);
	world_report(world, one);
	attempt = world_run(world, "i1", 60);
	world_timeout(world, CORE_EVENT_EXTEND, "i1", "ten_a", 900);
	assert_int_equal(world_find(world, "i1")->deadline_version, 1);
	world_stand_by(world);
	usage = world_record(world, one, WIRE_RECORD_USAGE, "i1", attempt);
	usage.deadline_version = 1;
	usage.end_wall_ns = end_ns;
	world_send(world, one, &usage);
	assert_int_equal(world_find(world, "i1")->end_at.ns, end_ns);
	assert_int_equal(world_find(world, "i1")->deadline_known, 1);
}

static void so_does_one_that_is_newer_than_what_the_log_tells(void **state)
{
	int64_t end_ns = world->wall.ns + 300 * NS_PER_S;
	struct wire_record usage;
	uint64_t attempt;

	(void)state;
	world->stands_by = false;
	world_restart(world);
	world_report(world, one);
	attempt = world_run(world, "i1", 60);
	world_timeout(world, CORE_EVENT_EXTEND, "i1", "ten_a", 900);
	world_timeout(world, CORE_EVENT_EXTEND, "i1", "ten_a", 1200);
	world_stand_by(world);
	usage = world_record(world, one, WIRE_RECORD_USAGE, "i1", attempt);
	usage.deadline_version = 1;
	usage.end_wall_ns = end_ns;
	world_send(world, one, &usage);
	assert_int_equal(world_find(world, "i1")->end_at.ns, end_ns);
	assert_int_equal(world_find(world, "i1")->deadline_version, 1);
	world_lead(world);
	world_join(world, one);
	assert_null(world_poll(world, one)); /* none of ours comes back */
}

static void the_log_settles_what_a_former_leader_left(void **state)
{
	uint64_t running, placing;

	(void)state;
	world->stands_by = false;
	world_restart(world);
	world_report(world, one);
	running = world_run(world, "i1", 60);
	world_create(world, "i2", "ten_a", "base", 60);
	placing = world_find(world, "i2")->attempt;
	world_create(world, "i3", "ten_a", "base", 60);
	assert_string_equal(world_find(world, "i3")->node.text, one->id.text);
	world_kill(world, "i1", "ten_a");
	world_stand_by(world);

	one->poll.epoch = world->epoch; /* no newer leader there yet: it may still say yes */
	one->poll.end_seq = one->seq;
	world_report(world, one);
	assert_int_equal(world_find(world, "i2")->state, SANDBOX_PLACING);
	one->poll.epoch = world->epoch + 1; /* heard of one, but has not answered all */
	one->poll.pending_n = 1;
	world_report(world, one);
	assert_int_equal(world_find(world, "i2")->state, SANDBOX_PLACING);
	one->poll.pending_n = 0;
	one->poll.end_seq = one->seq + 1; /* with the answer */
	world_report(world, one);
	assert_int_equal(world_find(world, "i2")->state, SANDBOX_PLACING);
	world_say(world, one, WIRE_RECORD_STARTED, "i2", placing);
	assert_int_equal(world_find(world, "i2")->state, SANDBOX_RUNNING);
	assert_null(world_find(world, "i3")); /* never began */
	assert_int_equal(world_stored(world, "i3")->refusal, REFUSAL_CANCELLED);
	assert_int_equal(world_stored(world, "i3")->cause, CAUSE_NONE);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_ENDING);
	world_say(world, one, WIRE_RECORD_ENDED, "i1", running);
	assert_null(world_find(world, "i1"));
	assert_int_equal(world_held(world), 1);
}

static void a_standby_restarts_as_it_was(void **state)
{
	struct core_sandbox before;

	(void)state;
	adopt(one, "i1", 9);
	before = *world_find(world, "i1");
	world_restart(world);
	assert_int_equal(core_role(world->core), CORE_STANDBY);
	assert_memory_equal(world_find(world, "i1"), &before, sizeof(before));
	adopt(one, "i2", 10);
	assert_int_equal(world_used(world, one), 2);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_standby, close_standby)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_standby_refuses_every_request),
		STORY(a_standby_gives_no_orders),
		STORY(a_standby_follows_the_limit_that_the_log_tells),
		STORY(a_limit_that_was_never_confirmed_gives_way_to_the_logs),
		STORY(so_does_one_that_is_newer_than_what_the_log_tells),
		STORY(the_log_settles_what_a_former_leader_left),
		STORY(a_standby_restarts_as_it_was),
	};

	return cmocka_run_group_tests_name("sched_core.standby", tests, NULL, NULL);
}
