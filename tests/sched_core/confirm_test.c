/* What a leader of several may tell: only what is in a node's log, since another leader may know
 * nothing else. */
#include "common/base/check.h"
#include "tests/sched_core/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static struct world *world;
static struct world_node *one;

static int open_leader(void **state)
{
	(void)state;
	world = world_open();
	world->limits.lease_ms = 60000;
	world_stand_by(world);
	world_fleet(world, 1);
	one = &world->nodes[0];
	world_lead(world);
	world_join(world, one);
	CHECK(core_role(world->core) == CORE_LEADING);
	return 0;
}

static int close_leader(void **state)
{
	(void)state;
	world_close(world);
	return 0;
}

static uint64_t extend(uint32_t timeout_s)
{
	return world_timeout(world, CORE_EVENT_EXTEND, "i1", "ten_a", timeout_s);
}

static void confirm(uint64_t attempt, uint64_t version, int64_t end_ns)
{
	struct wire_record usage = world_record(world, one, WIRE_RECORD_USAGE, "i1", attempt);

	usage.deadline_version = version;
	usage.end_wall_ns = end_ns;
	world_send(world, one, &usage);
}

static void a_create_is_answered_when_it_is_in_the_log(void **state)
{
	uint64_t create = world_create(world, "i1", "ten_a", "base", 60);

	(void)state;
	assert_null(world_reply(world, create));
	world_say(world, one, WIRE_RECORD_STARTED, "i1", world_poll(world, one)->attempt);
	assert_int_equal(world_reply(world, create)->refusal, REFUSAL_NONE);
}

static void a_kill_is_answered_when_it_is_in_the_log(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), kill = world_kill(world, "i1", "ten_a");

	(void)state;
	world_pass(world, CORE_KILL_REPLY_MS - 1);
	assert_null(world_reply(world, kill));
	world_say(world, one, WIRE_RECORD_ENDED, "i1", attempt);
	assert_int_equal(world_reply(world, kill)->refusal, REFUSAL_NONE);
}

static void a_kill_that_is_not_confirmed_goes_on_and_can_be_repeated(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), kill = world_kill(world, "i1", "ten_a");
	uint64_t again, third;

	(void)state;
	assert_int_equal(world_reply(world, world_kill(world, "i1", "ten_a"))->refusal,
			 REFUSAL_SANDBOX_UNKNOWN); /* one waits already */
	world_pass(world, CORE_KILL_REPLY_MS);
	assert_int_equal(world_reply(world, kill)->refusal, REFUSAL_UNCONFIRMED);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_ENDING);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_KILL);
	again = world_kill(world, "i1", "ten_a");
	assert_null(world_reply(world, again));
	world_pass(world, CORE_KILL_REPLY_MS);
	assert_int_equal(world_reply(world, again)->refusal, REFUSAL_UNCONFIRMED);
	third = world_kill(world, "i1", "ten_a");
	world_say(world, one, WIRE_RECORD_ENDED, "i1", attempt);
	assert_int_equal(world_reply(world, third)->refusal, REFUSAL_NONE);
	assert_int_equal(world_reply(world, world_kill(world, "i1", "ten_a"))->refusal,
			 REFUSAL_SANDBOX_UNKNOWN);
}

static void a_limit_is_answered_when_it_is_in_the_log(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), request = extend(600);
	int64_t end_ns = world_find(world, "i1")->end_at.ns;

	(void)state;
	assert_null(world_reply(world, request));
	assert_int_equal(world_poll(world, one)->deadline_version, 1);
	confirm(attempt, 0, 0); /* a tick from before the order */
	assert_null(world_reply(world, request));
	confirm(attempt, 1, end_ns + 3); /* rounded there */
	assert_int_equal(world_reply(world, request)->refusal, REFUSAL_NONE);
	assert_int_equal(world_reply(world, request)->sandbox.end_at.ns, end_ns + 3);
	assert_int_equal(world_stored(world, "i1")->end_at.ns, end_ns + 3);
	assert_int_equal(world_stored(world, "i1")->deadline_known, 1);
	world_pass(world, CORE_RESEND_MS);
	assert_null(world_poll(world, one));
	request = extend(30); /* changes nothing, so it is answered at once */
	assert_int_equal(world_reply(world, request)->refusal, REFUSAL_NONE);
}

static void a_limit_that_is_not_confirmed_goes_on(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), request = extend(600), again;

	(void)state;
	world_pass(world, CORE_KILL_REPLY_MS - 1);
	assert_null(world_reply(world, request));
	world_pass(world, 1);
	assert_int_equal(world_reply(world, request)->refusal, REFUSAL_UNCONFIRMED);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_DEADLINE);
	again = extend(30); /* would change nothing, but what is there is not confirmed */
	assert_null(world_reply(world, again));
	confirm(attempt, 1, 0);
	assert_int_equal(world_reply(world, again)->refusal, REFUSAL_NONE);
}

static void a_newer_limit_takes_the_place_of_one_that_waits(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), first = extend(600), second = extend(900);

	(void)state;
	assert_int_equal(world_reply(world, first)->refusal, REFUSAL_UNCONFIRMED);
	confirm(attempt, 1, 0);
	assert_null(world_reply(world, second));
	assert_int_equal(world_find(world, "i1")->deadline_known, 1);
	confirm(attempt, 2, 0);
	assert_int_equal(world_reply(world, second)->refusal, REFUSAL_NONE);
}

static void a_sandbox_that_ends_meanwhile_has_no_limit_any_more(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), request = extend(600), kill;

	(void)state;
	world_say(world, one, WIRE_RECORD_ENDED, "i1", attempt);
	assert_int_equal(world_reply(world, request)->refusal, REFUSAL_SANDBOX_UNKNOWN);
	world_run(world, "i2", 60);
	request = world_timeout(world, CORE_EVENT_SET_TIMEOUT, "i2", "ten_a", 5);
	kill = world_kill(world, "i2", "ten_a");
	assert_int_equal(world_reply(world, request)->refusal, REFUSAL_SANDBOX_UNKNOWN);
	assert_null(world_reply(world, kill));
	world_pass(world, CORE_KILL_REPLY_MS - 1);
	assert_null(world_reply(world, kill)); /* its own patience, not the other's */
}

static void a_limit_of_a_node_that_has_not_joined_is_not_moved(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), request;

	(void)state;
	world_restart(world);
	world_lead(world);
	world_pass(world, 63200); /* the node is cut off */
	assert_int_equal(core_role(world->core), CORE_LEADING);
	request = extend(600);
	assert_int_equal(world_reply(world, request)->refusal, REFUSAL_UNCONFIRMED);
	assert_int_equal(world_find(world, "i1")->deadline_version, 0);
	/* Its log tells of a limit that the leader before us had set. */
	confirm(attempt, 1, world->wall.ns + 77 * NS_PER_S);
	assert_int_equal(world_find(world, "i1")->deadline_version, 1);
	assert_int_equal(world_find(world, "i1")->end_at.ns, world->wall.ns + 77 * NS_PER_S);
	world_join(world, one);
	request = extend(600);
	assert_int_equal(world_poll(world, one)->deadline_version, 2);
	confirm(attempt, 2, 0);
	assert_int_equal(world_reply(world, request)->refusal, REFUSAL_NONE);
}

static void a_limit_of_another_leader_confirms_none_of_ours(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), request = extend(600);

	(void)state;
	confirm(attempt, 9, world->wall.ns + 5 * NS_PER_S);
	assert_int_equal(world_reply(world, request)->refusal, REFUSAL_UNCONFIRMED);
	assert_int_equal(world_find(world, "i1")->end_at.ns, world->wall.ns + 5 * NS_PER_S);
	assert_int_equal(world_find(world, "i1")->deadline_version, 9);
}

/* The order is on its way, and the node has to join again: an older tick is no confirmation. */
static void a_limit_that_waits_outlives_a_new_joining(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), request = extend(600);

	(void)state;
	one->poll.epoch = world->epoch - 1;
	world_report(world, one);
	assert_false(world_is_joined(world, one));
	confirm(attempt, 0, 1);
	assert_null(world_reply(world, request));
	assert_int_equal(world_find(world, "i1")->deadline_version, 1);
	confirm(attempt, 1, 0);
	assert_int_equal(world_reply(world, request)->refusal, REFUSAL_NONE);
}

static void nobody_is_answered_by_a_leader_that_was_stopped(void **state)
{
	uint64_t kill, request;

	(void)state;
	world_run(world, "i1", 60);
	request = extend(600);
	world_run(world, "i2", 60);
	kill = world_kill(world, "i2", "ten_a");
	world_restart(world);
	world_pass(world, 600000);
	world_lead(world);
	world_join(world, one);
	world_pass(world, 600000);
	assert_null(world_reply(world, kill));
	assert_null(world_reply(world, request));
	assert_int_equal(world_find(world, "i2")->state, SANDBOX_ENDING);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_leader, close_leader)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_create_is_answered_when_it_is_in_the_log),
		STORY(a_kill_is_answered_when_it_is_in_the_log),
		STORY(a_kill_that_is_not_confirmed_goes_on_and_can_be_repeated),
		STORY(a_limit_is_answered_when_it_is_in_the_log),
		STORY(a_limit_that_is_not_confirmed_goes_on),
		STORY(a_newer_limit_takes_the_place_of_one_that_waits),
		STORY(a_sandbox_that_ends_meanwhile_has_no_limit_any_more),
		STORY(a_limit_of_a_node_that_has_not_joined_is_not_moved),
		STORY(a_limit_of_another_leader_confirms_none_of_ours),
		STORY(a_limit_that_waits_outlives_a_new_joining),
		STORY(nobody_is_answered_by_a_leader_that_was_stopped),
	};

	return cmocka_run_group_tests_name("sched_core.confirm", tests, NULL, NULL);
}
