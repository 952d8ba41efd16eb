/* Pausing and resuming: what is asked, what its node says, and what other leaders did. */
#include "common/base/check.h"
#include "tests/sched_core/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

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

static int open_standby(void **state)
{
	(void)state;
	world = world_open();
	world_stand_by(world);
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

static void say_paused(uint64_t attempt)
{
	struct wire_record record = world_record(world, one, WIRE_RECORD_ENDED, "i1", attempt);

	record.cause = CAUSE_PAUSE;
	record.saved_how = WIRE_SAVE_PAUSE;
	record.saved_mib = 40;
	world_send(world, one, &record);
}

static void say(enum wire_record_kind kind, uint64_t attempt, uint32_t incarnation)
{
	struct wire_record record = world_record(world, one, kind, "i1", attempt);

	record.incarnation = incarnation;
	if (kind == WIRE_RECORD_DISCARDED)
		record.cause = CAUSE_REQUEST;
	if (kind == WIRE_RECORD_RUNS_ON) {
		record.refusal = REFUSAL_PAUSE_FAILED;
		record.save = world_find(world, "i1")->save;
	}
	world_send(world, one, &record);
}

static enum sandbox_state state_now(void)
{
	return world_find(world, "i1") ? world_find(world, "i1")->state : SANDBOX_NONE;
}

static enum refusal refusal_of(uint64_t request)
{
	assert_non_null(world_reply(world, request));
	return world_reply(world, request)->refusal;
}

/* Runs as i1, and is paused. Returns the attempt. */
static uint64_t pause_one(void)
{
	uint64_t attempt = world_run(world, "i1", 60);

	world_pause(world, "i1", "ten_a");
	say_paused(attempt);
	assert_int_equal(state_now(), SANDBOX_PAUSED);
	return attempt;
}

static uint64_t resume_one(void)
{
	return world_timeout(world, CORE_EVENT_RESUME, "i1", "ten_a", 120);
}

static void a_pause_is_told_when_its_node_says_so_and_gives_room_and_quota_back(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), request;
	const struct wire_order *order;

	(void)state;
	request = world_pause(world, "i1", "ten_a");
	assert_null(world_reply(world, request));
	order = world_poll(world, one);
	assert_int_equal(order->kind, WIRE_ORDER_PAUSE);
	assert_int_equal(order->attempt, attempt);
	assert_int_equal(order->how, WIRE_SAVE_PAUSE);
	assert_true(order->save > attempt);
	assert_int_equal(world_held(world), 1);
	say_paused(attempt);
	assert_int_equal(refusal_of(request), REFUSAL_NONE);
	assert_int_equal(world_held(world), 0);
	assert_int_equal(world_used(world, one), 0);
	assert_int_equal(world_stored(world, "i1")->state, SANDBOX_PAUSED);
	assert_int_equal(world_stored(world, "i1")->saved_mib, 40);
	assert_int_equal(refusal_of(world_pause(world, "i1", "ten_a")), REFUSAL_ALREADY_PAUSED);
	assert_int_equal(refusal_of(world_pause(world, "i1", "ten_b")), REFUSAL_SANDBOX_UNKNOWN);
}

static void a_pause_that_fails_leaves_it_running(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), request;

	(void)state;
	request = world_pause(world, "i1", "ten_a");
	say(WIRE_RECORD_RUNS_ON, attempt, 1);
	assert_int_equal(refusal_of(request), REFUSAL_PAUSE_FAILED);
	assert_int_equal(state_now(), SANDBOX_RUNNING);
	assert_null(world_poll(world, one));
}

static void an_unanswered_pause_stays_wanted(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), request;

	(void)state;
	request = world_pause(world, "i1", "ten_a");
	world_pass(world, CORE_PAUSE_REPLY_MS);
	assert_int_equal(refusal_of(request), REFUSAL_UNCONFIRMED);
	world_report(world, one);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_PAUSE);
	request = world_pause(world, "i1", "ten_a");
	say_paused(attempt);
	assert_int_equal(refusal_of(request), REFUSAL_NONE);
}

static void a_limit_can_pause(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60);

	(void)state;
	say_paused(attempt);
	assert_int_equal(state_now(), SANDBOX_PAUSED);
}

static void a_resume_claims_what_was_saved_on_its_node(void **state)
{
	uint64_t saved = pause_one(), request = resume_one(), attempt;
	const struct wire_order *order = world_poll(world, one);
	struct wall created = world_find(world, "i1")->created_at;
	struct wall started = world_find(world, "i1")->started_at;

	(void)state;
	assert_int_equal(order->kind, WIRE_ORDER_CLAIM);
	assert_int_equal(order->resume, saved);
	assert_int_equal(order->incarnation, 2);
	assert_int_equal(order->ttl_ms, 120000);
	assert_int_equal(world_held(world), 1);
	attempt = order->attempt;
	say(WIRE_RECORD_STARTED, attempt, 2);
	assert_int_equal(refusal_of(request), REFUSAL_NONE);
	assert_int_equal(state_now(), SANDBOX_RUNNING);
	assert_int_equal(world_find(world, "i1")->created_at.ns, created.ns);
	assert_int_equal(world_find(world, "i1")->started_at.ns, started.ns);
	/* And again. */
	world_pause(world, "i1", "ten_a");
	say_paused(attempt);
	resume_one();
	assert_int_equal(world_poll(world, one)->resume, attempt);
}

static void a_resume_is_cold_when_that_was_asked_and_only_then(void **state)
{
	uint64_t request;

	(void)state;
	pause_one();
	request = world_resume_cold(world, "i1", "ten_a", 120);
	assert_true(world_poll(world, one)->cold);
	say(WIRE_RECORD_REFUSED, world_find(world, "i1")->attempt, 2);
	assert_int_equal(refusal_of(request), REFUSAL_CAPACITY);
	/* The next one has nothing of that. */
	resume_one();
	assert_false(world_poll(world, one)->cold);
}

static void who_wants_it_with_its_memory_does_not_get_it_without(void **state)
{
	uint64_t request;

	(void)state;
	pause_one();
	request = world_resume_cold(world, "i1", "ten_a", 120);
	world_pass(world, CORE_ATTEMPT_MS);
	assert_int_equal(refusal_of(request), REFUSAL_PLACEMENT_TIMEOUT);
	assert_int_equal(refusal_of(resume_one()), REFUSAL_IN_FLIGHT);
	request = world_resume_cold(world, "i1", "ten_a", 120);
	say(WIRE_RECORD_STARTED, world_find(world, "i1")->attempt, 2);
	assert_int_equal(refusal_of(request), REFUSAL_NONE);
}

static void resuming_what_runs_extends_it(void **state)
{
	uint64_t request;

	(void)state;
	world_run(world, "i1", 60);
	request = resume_one();
	assert_int_equal(refusal_of(request), REFUSAL_NONE);
	assert_int_equal(world_find(world, "i1")->end_at.ns, world->wall.ns + 120 * NS_PER_S);
}

static void a_refused_resume_is_paused_as_before(void **state)
{
	uint64_t saved = pause_one(), request = resume_one();

	(void)state;
	say(WIRE_RECORD_REFUSED, world_find(world, "i1")->attempt, 2);
	assert_int_equal(refusal_of(request), REFUSAL_CAPACITY);
	assert_int_equal(state_now(), SANDBOX_PAUSED);
	assert_int_equal(world_find(world, "i1")->attempt, saved);
	assert_int_equal(world_find(world, "i1")->incarnation, 1);
	assert_int_equal(world_held(world), 0);
}

static void an_unanswered_resume_goes_on_and_may_be_asked_again(void **state)
{
	uint64_t request;

	(void)state;
	pause_one();
	request = resume_one();
	assert_int_equal(refusal_of(resume_one()), REFUSAL_IN_FLIGHT);
	world_pass(world, CORE_ATTEMPT_MS);
	assert_int_equal(refusal_of(request), REFUSAL_PLACEMENT_TIMEOUT);
	assert_int_equal(state_now(), SANDBOX_RESUMING);
	request = resume_one();
	say(WIRE_RECORD_STARTED, world_find(world, "i1")->attempt, 2);
	assert_int_equal(refusal_of(request), REFUSAL_NONE);
}

static void a_resume_is_refused_while_its_node_is_away_and_beyond_the_quota(void **state)
{
	(void)state;
	pause_one();
	world_pass(world, CORE_SILENT_MS);
	assert_int_equal(refusal_of(resume_one()), REFUSAL_SAVED_AWAY);
	world_report(world, one);
	world_tenant(world, "ten_a", 1);
	world_run(world, "i2", 60);
	assert_int_equal(refusal_of(resume_one()), REFUSAL_QUOTA_CONCURRENCY);
	assert_int_equal(refusal_of(world_timeout(world, CORE_EVENT_RESUME, "i1", "ten_b", 60)),
			 REFUSAL_SANDBOX_UNKNOWN);
}

static void a_killed_pause_is_discarded(void **state)
{
	uint64_t saved = pause_one(), request = world_kill(world, "i1", "ten_a");
	const struct wire_order *order = world_poll(world, one);

	(void)state;
	assert_int_equal(order->kind, WIRE_ORDER_KILL);
	assert_int_equal(order->attempt, saved);
	assert_null(world_reply(world, request));
	assert_int_equal(refusal_of(resume_one()), REFUSAL_SANDBOX_UNKNOWN);
	say(WIRE_RECORD_DISCARDED, saved, 1);
	assert_int_equal(refusal_of(request), REFUSAL_NONE);
	assert_int_equal(state_now(), SANDBOX_NONE);
	assert_int_equal(world_stored(world, "i1")->cause, CAUSE_REQUEST);
}

static void a_kill_that_came_too_late_for_the_pause_discards(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), request;

	(void)state;
	world_pause(world, "i1", "ten_a");
	request = world_kill(world, "i1", "ten_a");
	say_paused(attempt);
	assert_int_equal(state_now(), SANDBOX_DISCARDING);
	assert_int_equal(world_held(world), 0);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_KILL);
	say(WIRE_RECORD_DISCARDED, attempt, 1);
	assert_int_equal(refusal_of(request), REFUSAL_NONE);
}

static void a_killed_resume_discards_what_it_did_not_use(void **state)
{
	uint64_t saved = pause_one(), resume = resume_one(), kill, attempt;

	(void)state;
	attempt = world_find(world, "i1")->attempt;
	kill = world_kill(world, "i1", "ten_a");
	assert_int_equal(refusal_of(resume), REFUSAL_SANDBOX_UNKNOWN);
	assert_int_equal(world_poll(world, one)->attempt, attempt);
	say(WIRE_RECORD_REFUSED, attempt, 2);
	assert_int_equal(state_now(), SANDBOX_DISCARDING);
	assert_int_equal(world_poll(world, one)->attempt, saved);
	say(WIRE_RECORD_DISCARDED, saved, 1);
	assert_int_equal(refusal_of(kill), REFUSAL_NONE);
	assert_int_equal(state_now(), SANDBOX_NONE);
}

static void what_its_node_has_lost_is_over(void **state)
{
	uint64_t saved = pause_one(), request;
	struct wire_record refused;

	(void)state;
	request = resume_one();
	refused = world_record(world, one, WIRE_RECORD_REFUSED, "i1",
			       world_find(world, "i1")->attempt);
	refused.refusal = REFUSAL_SAVED_GONE;
	world_send(world, one, &refused);
	assert_int_equal(refusal_of(request), REFUSAL_SAVED_GONE);
	assert_int_equal(state_now(), SANDBOX_NONE);
	assert_int_equal(world_stored(world, "i1")->cause, CAUSE_PLATFORM);
	assert_true(saved != 0);
}

static void a_restart_in_each_state_goes_on(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60);

	(void)state;
	world_pause(world, "i1", "ten_a");
	world_restart(world);
	world_report(world, one);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_PAUSE);
	say_paused(attempt);
	world_restart(world);
	world_report(world, one);
	assert_null(world_poll(world, one));
	assert_int_equal(world_held(world), 0);
	resume_one();
	world_restart(world);
	world_report(world, one);
	assert_int_equal(world_poll(world, one)->resume, attempt);
	say(WIRE_RECORD_STARTED, world_find(world, "i1")->attempt, 2);
	attempt = world_find(world, "i1")->attempt;
	say_paused(attempt);
	world_kill(world, "i1", "ten_a");
	world_restart(world);
	world_report(world, one);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_KILL);
	say(WIRE_RECORD_DISCARDED, attempt, 1);
	assert_int_equal(state_now(), SANDBOX_NONE);
}

/* ---- several schedulers ---- */

static uint64_t other_leaders(uint64_t n)
{
	return (world->epoch + 5) << 32 | n;
}

static void a_standby_follows_a_pause_and_a_resume(void **state)
{
	struct wire_record record = world_started(world, one, "i1", other_leaders(1));

	(void)state;
	world_send(world, one, &record);
	say_paused(other_leaders(1));
	assert_int_equal(state_now(), SANDBOX_PAUSED);
	assert_int_equal(world_held(world), 0);
	record = world_started(world, one, "i1", other_leaders(2));
	record.incarnation = 2;
	world_send(world, one, &record);
	assert_int_equal(state_now(), SANDBOX_RUNNING);
	assert_int_equal(world_find(world, "i1")->attempt, other_leaders(2));
	assert_int_equal(world_find(world, "i1")->incarnation, 2);
	assert_int_equal(world_held(world), 1);
	say_paused(other_leaders(2));
	say(WIRE_RECORD_DISCARDED, other_leaders(2), 2);
	assert_int_equal(state_now(), SANDBOX_NONE);
}

/* It led, resumed, and was deposed before its node heard of it. */
static void a_resume_that_never_began_under_an_older_leader_is_paused_again(void **state)
{
	uint64_t saved;

	(void)state;
	world->stands_by = false;
	world_restart(world);
	world_report(world, one);
	saved = pause_one();
	resume_one();
	world_stand_by(world);
	assert_int_equal(state_now(), SANDBOX_RESUMING);
	world_lead(world);
	world_join(world, one);
	assert_int_equal(state_now(), SANDBOX_PAUSED);
	assert_int_equal(world_find(world, "i1")->attempt, saved);
	assert_int_equal(world_held(world), 0);
}

static void a_pause_of_a_leader_before_is_not_wanted_any_more(void **state)
{
	(void)state;
	world->stands_by = false;
	world_restart(world);
	world_report(world, one);
	world_run(world, "i1", 60);
	world_pause(world, "i1", "ten_a");
	world_stand_by(world);
	assert_int_equal(state_now(), SANDBOX_RUNNING);
	world_lead(world);
	world_join(world, one);
	assert_null(world_poll(world, one));
}

static void a_kill_of_a_leader_before_ends_what_another_resumed(void **state)
{
	struct wire_record record;

	(void)state;
	world->stands_by = false;
	world_restart(world);
	world_report(world, one);
	pause_one();
	world_kill(world, "i1", "ten_a");
	world_stand_by(world);
	record = world_started(world, one, "i1", other_leaders(1));
	record.incarnation = 2;
	world_send(world, one, &record);
	assert_int_equal(state_now(), SANDBOX_ENDING);
	assert_int_equal(world_held(world), 1);
	assert_int_equal(world_find(world, "i1")->attempt, other_leaders(1));
}

static void what_a_lost_node_has_paused_ends(void **state)
{
	(void)state;
	pause_one();
	world_pass(world, 20000);
	assert_true(world_lose(world, one) != 0);
	assert_int_equal(state_now(), SANDBOX_NONE);
	assert_int_equal(world_stored(world, "i1")->cause, CAUSE_NODE_LOST);
}

#define ALONE(name)          cmocka_unit_test_setup_teardown(name, open_fleet_of_one, close_fleet)
#define ONE_OF_SEVERAL(name) cmocka_unit_test_setup_teardown(name, open_standby, close_fleet)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALONE(a_pause_is_told_when_its_node_says_so_and_gives_room_and_quota_back),
		ALONE(a_pause_that_fails_leaves_it_running),
		ALONE(an_unanswered_pause_stays_wanted),
		ALONE(a_limit_can_pause),
		ALONE(a_resume_claims_what_was_saved_on_its_node),
		ALONE(a_resume_is_cold_when_that_was_asked_and_only_then),
		ALONE(who_wants_it_with_its_memory_does_not_get_it_without),
		ALONE(resuming_what_runs_extends_it),
		ALONE(a_refused_resume_is_paused_as_before),
		ALONE(an_unanswered_resume_goes_on_and_may_be_asked_again),
		ALONE(a_resume_is_refused_while_its_node_is_away_and_beyond_the_quota),
		ALONE(a_killed_pause_is_discarded),
		ALONE(a_kill_that_came_too_late_for_the_pause_discards),
		ALONE(a_killed_resume_discards_what_it_did_not_use),
		ALONE(what_its_node_has_lost_is_over),
		ALONE(a_restart_in_each_state_goes_on),
		ALONE(what_a_lost_node_has_paused_ends),
		ONE_OF_SEVERAL(a_standby_follows_a_pause_and_a_resume),
		ONE_OF_SEVERAL(a_resume_that_never_began_under_an_older_leader_is_paused_again),
		ONE_OF_SEVERAL(a_pause_of_a_leader_before_is_not_wanted_any_more),
		ONE_OF_SEVERAL(a_kill_of_a_leader_before_ends_what_another_resumed),
	};

	return cmocka_run_group_tests_name("sched_core.pause", tests, NULL, NULL);
}
