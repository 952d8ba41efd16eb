/* Snapshots: what is asked, what their node says, what begins from them, and who drops them. */
#include "common/base/check.h"
#include "tests/sched_core/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

static struct world *world;
static struct world_node *one;

static int open_fleet(void **state)
{
	(void)state;
	world = world_open();
	world_fleet(world, 2);
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

static uint64_t ask(const char *tenant, bool transient)
{
	struct core_event event = {.kind = CORE_EVENT_SNAPSHOT};

	event.snapshot.request = ++world->request;
	event.snapshot.snapshot = world_id("s1");
	event.snapshot.sandbox = world_id("i1");
	event.snapshot.tenant = world_id(tenant);
	event.snapshot.transient = transient;
	world_step(world, &event);
	return event.snapshot.request;
}

static uint64_t drop(const char *snapshot, const char *tenant)
{
	struct core_event event = {.kind = CORE_EVENT_DROP_SNAPSHOT};

	event.kill.request = ++world->request;
	event.kill.sandbox = world_id(snapshot);
	event.kill.tenant = world_id(tenant);
	world_step(world, &event);
	return event.kill.request;
}

static uint64_t begin(const char *sandbox, const char *tenant)
{
	struct core_event event = {.kind = CORE_EVENT_CREATE};

	event.create.request = ++world->request;
	event.create.sandbox = world_id(sandbox);
	event.create.tenant = world_id(tenant);
	event.create.snapshot = world_id("s1");
	event.create.timeout_s = 60;
	world_step(world, &event);
	return event.create.request;
}

static struct wire_record kept(uint64_t attempt, bool transient)
{
	struct wire_record record = world_record(world, one, WIRE_RECORD_KEPT, "s1", attempt);

	record.tenant = world_id("ten_a");
	record.source = world_id("i1");
	record.transient = transient;
	record.saved_how = WIRE_SAVE_SNAPSHOT;
	record.saved_mib = 40;
	snprintf(record.template, sizeof(record.template), "base");
	record.vcpus = 1;
	record.mem_mib = 512;
	record.disk_mib = 1024;
	return record;
}

static void say_kept(uint64_t attempt)
{
	struct wire_record record = kept(attempt, false);

	world_send(world, one, &record);
}

static enum sandbox_state state_of(const char *id)
{
	return world_find(world, id) ? world_find(world, id)->state : SANDBOX_NONE;
}

static enum refusal refusal_of(uint64_t request)
{
	assert_non_null(world_reply(world, request));
	return world_reply(world, request)->refusal;
}

/* i1 runs, and s1 is kept of it. Returns the attempt of s1. */
static uint64_t keep_one(bool transient)
{
	uint64_t attempt;

	world_run(world, "i1", 60);
	ask("ten_a", transient);
	attempt = world_poll(world, one)->attempt;
	say_kept(attempt);
	assert_int_equal(state_of("s1"), SANDBOX_KEPT);
	return attempt;
}

static void it_is_told_when_its_node_has_it_and_the_sandbox_runs_on(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), request = ask("ten_a", false);
	const struct wire_order *order = world_poll(world, one);

	(void)state;
	assert_null(world_reply(world, request));
	assert_int_equal(order->kind, WIRE_ORDER_SNAPSHOT);
	assert_int_equal(order->source, attempt);
	assert_string_equal(order->sandbox.text, "s1");
	say_kept(order->attempt);
	assert_int_equal(refusal_of(request), REFUSAL_NONE);
	assert_string_equal(world_reply(world, request)->sandbox.id.text, "s1");
	assert_int_equal(state_of("i1"), SANDBOX_RUNNING);
	assert_int_equal(world_held(world), 1);
	assert_int_equal(world_used(world, one), 1);
	assert_int_equal(world_stored(world, "s1")->state, SANDBOX_KEPT);
	assert_int_equal(world_stored(world, "s1")->saved_mib, 40);
}

static void it_is_no_sandbox_to_whoever_asks_for_one(void **state)
{
	(void)state;
	keep_one(false);
	assert_int_equal(refusal_of(world_kill(world, "s1", "ten_a")), REFUSAL_SANDBOX_UNKNOWN);
	assert_int_equal(refusal_of(world_pause(world, "s1", "ten_a")), REFUSAL_SANDBOX_UNKNOWN);
	assert_int_equal(refusal_of(world_timeout(world, CORE_EVENT_RESUME, "s1", "ten_a", 60)),
			 REFUSAL_SANDBOX_UNKNOWN);
	assert_int_equal(refusal_of(drop("i1", "ten_a")), REFUSAL_SANDBOX_UNKNOWN);
	assert_int_equal(refusal_of(drop("s1", "ten_b")), REFUSAL_SANDBOX_UNKNOWN);
}

static void of_what_does_not_run_or_is_not_yours_there_is_none(void **state)
{
	(void)state;
	assert_int_equal(refusal_of(ask("ten_a", false)), REFUSAL_SANDBOX_UNKNOWN);
	world_create(world, "i1", "ten_a", "base", 60);
	assert_int_equal(refusal_of(ask("ten_a", false)), REFUSAL_IN_FLIGHT);
	assert_int_equal(refusal_of(ask("ten_b", false)), REFUSAL_SANDBOX_UNKNOWN);
}

static void creates_begin_from_it_on_its_node_under_quota(void **state)
{
	uint64_t snapshot = keep_one(false), request = begin("i2", "ten_a");
	const struct wire_order *order = world_poll(world, one);

	(void)state;
	assert_int_equal(order->kind, WIRE_ORDER_CLAIM);
	assert_int_equal(order->resume, snapshot);
	assert_int_equal(order->incarnation, 1);
	assert_string_equal(order->template, "base");
	world_say(world, one, WIRE_RECORD_STARTED, "i2", order->attempt);
	assert_int_equal(refusal_of(request), REFUSAL_NONE);
	assert_int_equal(world_held(world), 2);
	assert_int_equal(state_of("s1"), SANDBOX_KEPT);
	assert_int_equal(refusal_of(begin("i3", "ten_b")), REFUSAL_TENANT_UNKNOWN);
	world_tenant(world, "ten_b", 5);
	assert_int_equal(refusal_of(begin("i3", "ten_b")), REFUSAL_TEMPLATE_UNKNOWN);
	world_tenant(world, "ten_a", 2);
	assert_int_equal(refusal_of(begin("i3", "ten_a")), REFUSAL_QUOTA_CONCURRENCY);
}

static void a_create_from_it_is_tried_nowhere_else(void **state)
{
	uint64_t request, attempt;

	(void)state;
	keep_one(false);
	request = begin("i2", "ten_a");
	attempt = world_poll(world, one)->attempt;
	{
		struct wire_record no =
			world_record(world, one, WIRE_RECORD_REFUSED, "i2", attempt);
		no.refusal = REFUSAL_SAVED_GONE;
		world_send(world, one, &no);
	}
	assert_int_equal(refusal_of(request), REFUSAL_TEMPLATE_UNKNOWN);
	world_node_event(world, one, CORE_EVENT_NODE_SILENT);
	assert_int_equal(refusal_of(begin("i3", "ten_a")), REFUSAL_SAVED_AWAY);
}

static void one_that_is_dropped_is_gone_when_its_node_says_so(void **state)
{
	uint64_t attempt = keep_one(false), request = drop("s1", "ten_a");

	(void)state;
	assert_null(world_reply(world, request));
	assert_int_equal(refusal_of(begin("i2", "ten_a")), REFUSAL_TEMPLATE_UNKNOWN);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_KILL);
	{
		struct wire_record gone =
			world_record(world, one, WIRE_RECORD_DISCARDED, "s1", attempt);
		gone.cause = CAUSE_REQUEST;
		world_send(world, one, &gone);
	}
	assert_int_equal(refusal_of(request), REFUSAL_NONE);
	assert_int_equal(state_of("s1"), SANDBOX_NONE);
	assert_int_equal(refusal_of(drop("s1", "ten_a")), REFUSAL_SANDBOX_UNKNOWN);
}

static void one_that_is_not_answered_is_given_up_and_dropped(void **state)
{
	uint64_t request, attempt;

	(void)state;
	world_run(world, "i1", 600);
	request = ask("ten_a", false);
	attempt = world_poll(world, one)->attempt;
	world_pass(world, CORE_PAUSE_REPLY_MS);
	assert_int_equal(refusal_of(request), REFUSAL_SNAPSHOT_FAILED);
	world_report(world, one);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_KILL);
	say_kept(attempt);
	assert_int_equal(state_of("s1"), SANDBOX_DISCARDING);
}

static void a_no_of_its_node_is_told(void **state)
{
	uint64_t request;

	(void)state;
	world_run(world, "i1", 60);
	request = ask("ten_a", false);
	{
		struct wire_record no = world_record(world, one, WIRE_RECORD_REFUSED, "s1",
						     world_poll(world, one)->attempt);
		no.refusal = REFUSAL_SNAPSHOT_FAILED;
		world_send(world, one, &no);
	}
	assert_int_equal(refusal_of(request), REFUSAL_SNAPSHOT_FAILED);
	assert_int_equal(state_of("s1"), SANDBOX_NONE);
	assert_int_equal(state_of("i1"), SANDBOX_RUNNING);
}

static void a_restart_goes_on_making_it_and_drops_what_was_only_passing(void **state)
{
	(void)state;
	world_run(world, "i1", 60);
	ask("ten_a", false);
	world_restart(world);
	world_report(world, one);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_SNAPSHOT);
	say_kept(world_find(world, "s1")->attempt);
	world_restart(world);
	assert_int_equal(state_of("s1"), SANDBOX_KEPT);
	world_close(world);
	open_fleet(NULL);
	keep_one(true);
	world_restart(world);
	world_pass(world, 1);
	assert_int_equal(state_of("s1"), SANDBOX_DISCARDING);
}

static void it_ends_with_a_lost_node(void **state)
{
	(void)state;
	keep_one(false);
	world_pass(world, CORE_SILENT_MS);
	assert_int_not_equal(world_lose(world, one), 0);
	assert_int_equal(state_of("s1"), SANDBOX_NONE);
	assert_int_equal(world_stored(world, "s1")->cause, CAUSE_NODE_LOST);
}

static void a_standby_knows_it_from_the_log_and_a_leader_drops_what_was_only_passing(void **state)
{
	struct wire_record started = world_started(world, one, "i1", 1ULL << 32 | 1), record;

	(void)state;
	world_send(world, one, &started);
	record = kept(1ULL << 32 | 2, true);
	world_send(world, one, &record);
	assert_int_equal(state_of("s1"), SANDBOX_KEPT);
	assert_true(world_find(world, "s1")->transient);
	world_lead(world);
	world_join(world, one);
	world_pass(world, 1);
	assert_int_equal(state_of("s1"), SANDBOX_DISCARDING);
	assert_int_equal(state_of("i1"), SANDBOX_RUNNING);
}

#define ALONE(name)          cmocka_unit_test_setup_teardown(name, open_fleet, close_fleet)
#define ONE_OF_SEVERAL(name) cmocka_unit_test_setup_teardown(name, open_standby, close_fleet)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALONE(it_is_told_when_its_node_has_it_and_the_sandbox_runs_on),
		ALONE(it_is_no_sandbox_to_whoever_asks_for_one),
		ALONE(of_what_does_not_run_or_is_not_yours_there_is_none),
		ALONE(creates_begin_from_it_on_its_node_under_quota),
		ALONE(a_create_from_it_is_tried_nowhere_else),
		ALONE(one_that_is_dropped_is_gone_when_its_node_says_so),
		ALONE(one_that_is_not_answered_is_given_up_and_dropped),
		ALONE(a_no_of_its_node_is_told),
		ALONE(a_restart_goes_on_making_it_and_drops_what_was_only_passing),
		ALONE(it_ends_with_a_lost_node),
		ONE_OF_SEVERAL(
			a_standby_knows_it_from_the_log_and_a_leader_drops_what_was_only_passing),
	};

	return cmocka_run_group_tests_name("sched_core.snapshot", tests, NULL, NULL);
}
