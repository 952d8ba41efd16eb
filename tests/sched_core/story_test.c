/* The life of a sandbox, told as stories: what was asked, what was lost, what was answered. */
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

static void a_sandbox_is_created_runs_and_is_killed(void **state)
{
	uint64_t create, kill, attempt;
	const struct wire_order *order;
	struct wire_record started;

	(void)state;
	create = world_create(world, "i1", "ten_a", "base", 60);
	assert_null(world_reply(world, create));
	assert_int_equal(world_stored(world, "i1")->state, SANDBOX_PLACING);
	assert_true(world->woken[0]);
	order = world_poll(world, one);
	assert_int_equal(order->kind, WIRE_ORDER_CLAIM);
	assert_string_equal(order->sandbox.text, "i1");
	assert_string_equal(order->template, "base");
	assert_string_equal(order->tenant.text, "ten_a");
	assert_string_equal(order->plan, "hobby");
	assert_int_equal(order->vcpus, 1);
	assert_int_equal(order->mem_mib, 512);
	assert_int_equal(order->ttl_ms, 60000);
	attempt = order->attempt;
	started = world_record(world, one, WIRE_RECORD_STARTED, "i1", attempt);
	started.end_wall_ns = world->wall.ns + 60 * NS_PER_S + 7;
	world_send(world, one, &started);
	assert_int_equal(world_reply(world, create)->refusal, REFUSAL_NONE);
	assert_int_equal(world_reply(world, create)->sandbox.state, SANDBOX_RUNNING);
	assert_int_equal(world_reply(world, create)->sandbox.end_at.ns, started.end_wall_ns);
	assert_int_equal(world_stored(world, "i1")->state, SANDBOX_RUNNING);
	assert_null(world_poll(world, one));

	kill = world_kill(world, "i1", "ten_a");
	assert_null(world_reply(world, kill));
	order = world_poll(world, one);
	assert_int_equal(order->kind, WIRE_ORDER_KILL);
	assert_int_equal(order->attempt, attempt);
	assert_int_equal(order->cause, CAUSE_REQUEST);
	assert_int_equal(world_held(world), 1);
	world_say(world, one, WIRE_RECORD_ENDED, "i1", attempt);
	assert_int_equal(world_reply(world, kill)->refusal, REFUSAL_NONE);
	assert_null(world_find(world, "i1"));
	assert_int_equal(world_stored(world, "i1")->state, SANDBOX_ENDED);
	assert_int_equal(world_used(world, one), 0);
	assert_int_equal(world_held(world), 0);
}

static void a_sandbox_that_ends_by_itself_is_ended_with_its_cause(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60);
	struct wire_record ended;

	(void)state;
	ended = world_record(world, one, WIRE_RECORD_ENDED, "i1", attempt);
	ended.cause = CAUSE_OOM_GUEST;
	ended.to_ms = 1234;
	world_send(world, one, &ended);
	assert_int_equal(world_stored(world, "i1")->cause, CAUSE_OOM_GUEST);
	assert_int_equal(world_stored(world, "i1")->ended_at.ns, ended.at_wall_ns);
	assert_int_equal(world->posted_n, 1);
	assert_int_equal(world->posted[0].ms, 1234);
}

static void a_no_leads_to_the_next_node_and_a_new_attempt(void **state)
{
	uint64_t create = world_create(world, "i1", "ten_a", "base", 60), first;

	(void)state;
	first = world_poll(world, one)->attempt;
	world_say(world, one, WIRE_RECORD_REFUSED, "i1", first);
	assert_null(world_reply(world, create));
	assert_string_equal(world_find(world, "i1")->node.text, "nod_1");
	assert_int_equal(world_find(world, "i1")->tries, 2);
	assert_int_equal(world_used(world, one), 0);
	assert_int_equal(world_used(world, two), 1);
	assert_true(world_poll(world, two)->attempt > first);
	assert_null(world_poll(world, one));
}

static void a_node_that_said_no_is_left_alone_until_it_reports(void **state)
{
	(void)state;
	world_create(world, "i1", "ten_a", "base", 60);
	world_say(world, one, WIRE_RECORD_REFUSED, "i1", world_poll(world, one)->attempt);
	world_create(world, "i2", "ten_a", "base", 60);
	assert_string_equal(world_find(world, "i2")->node.text, "nod_1");
	world_report(world, one);
	world_report(world, two);
	world_create(world, "i3", "ten_a", "base", 60);
	assert_string_equal(world_find(world, "i3")->node.text, "nod_1"); /* fuller */
	one->templates[0].warm_n = 2;
	two->templates[0].warm_n = 0;
	world_report(world, two);
	world_create(world, "i4", "ten_a", "base", 60);
	assert_string_equal(world_find(world, "i4")->node.text, "nod_0");
}

static void no_from_every_node_is_told_as_capacity(void **state)
{
	uint64_t create = world_create(world, "i1", "ten_a", "base", 60);

	(void)state;
	world_say(world, one, WIRE_RECORD_REFUSED, "i1", world_poll(world, one)->attempt);
	world_say(world, two, WIRE_RECORD_REFUSED, "i1", world_poll(world, two)->attempt);
	assert_int_equal(world_reply(world, create)->refusal, REFUSAL_CAPACITY);
	assert_int_equal(world_stored(world, "i1")->state, SANDBOX_ENDED);
	assert_int_equal(world_stored(world, "i1")->refusal, REFUSAL_CAPACITY);
	assert_int_equal(world_held(world), 0);
	assert_int_equal(world_used(world, one) + world_used(world, two), 0);
}

static void at_most_three_nodes_are_asked(void **state)
{
	char id[16];
	uint64_t create, asked = 0;

	(void)state;
	for (int i = 2; i < 5; i++) {
		snprintf(id, sizeof(id), "nod_%d", i);
		world_offer(world_node(world, id, 8, 8192, 81920, 8), "base", 1, 512, 1024, 1);
		world_report(world, &world->nodes[i]);
	}
	create = world_create(world, "i1", "ten_a", "base", 60);
	while (world_find(world, "i1")) {
		const struct core_sandbox *row = world_find(world, "i1");
		struct world_node *node = world_find_node(world, &row->node);
		struct wire_record no;
		asked++;
		no = world_record(world, node, WIRE_RECORD_REFUSED, "i1", row->attempt);
		no.refusal = REFUSAL_VM_FAILED;
		world_send(world, node, &no);
	}
	assert_int_equal(asked, CORE_TRIES_MAX);
	assert_int_equal(world_reply(world, create)->refusal, REFUSAL_VM_FAILED);
}

static void a_late_no_cannot_undo_a_yes(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60);

	(void)state;
	world_say(world, one, WIRE_RECORD_REFUSED, "i1", attempt);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING);
	assert_int_equal(world_used(world, one), 1);
}

static void an_answer_to_an_attempt_that_is_over_changes_nothing(void **state)
{
	uint64_t first;

	(void)state;
	world_create(world, "i1", "ten_a", "base", 60);
	first = world_poll(world, one)->attempt;
	world_say(world, one, WIRE_RECORD_REFUSED, "i1", first);
	world_say(world, one, WIRE_RECORD_STARTED, "i1", first);
	world_say(world, one, WIRE_RECORD_ENDED, "i1", first);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_PLACING);
	assert_string_equal(world_find(world, "i1")->node.text, "nod_1");
}

static void only_the_node_that_was_asked_can_answer_and_only_that_attempt(void **state)
{
	uint64_t attempt;

	(void)state;
	world_create(world, "i1", "ten_a", "base", 60);
	attempt = world_poll(world, one)->attempt;
	world_say(world, two, WIRE_RECORD_STARTED, "i1", attempt);
	world_say(world, two, WIRE_RECORD_ENDED, "i1", attempt);
	world_say(world, one, WIRE_RECORD_STARTED, "i1", attempt - 1);
	world_say(world, one, WIRE_RECORD_ENDED, "i1", attempt + 1);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_PLACING);
}

static void silence_is_cancelled_where_it_is_and_never_tried_elsewhere(void **state)
{
	uint64_t create = world_create(world, "i1", "ten_a", "base", 60), attempt;
	const struct wire_order *order;

	(void)state;
	attempt = world_poll(world, one)->attempt;
	world_pass(world, CORE_ATTEMPT_MS - 1);
	assert_null(world_reply(world, create));
	world_pass(world, 1);
	assert_int_equal(world_reply(world, create)->refusal, REFUSAL_PLACEMENT_TIMEOUT);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_ENDING);
	assert_string_equal(world_find(world, "i1")->node.text, "nod_0");
	assert_int_equal(world_used(world, two), 0);
	order = world_poll(world, one);
	assert_int_equal(order->kind, WIRE_ORDER_KILL);
	assert_int_equal(order->attempt, attempt);
	assert_int_equal(world_used(world, one), 1);
	assert_int_equal(world_held(world), 1);
	world_say(world, one, WIRE_RECORD_REFUSED, "i1", attempt);
	assert_int_equal(world_used(world, one), 0);
	assert_int_equal(world_held(world), 0);
	assert_int_equal(world_stored(world, "i1")->cause, CAUSE_NONE);
	assert_int_equal(world_stored(world, "i1")->refusal, REFUSAL_PLACEMENT_TIMEOUT);
}

static void a_yes_after_the_cancel_is_still_ended(void **state)
{
	uint64_t create = world_create(world, "i1", "ten_a", "base", 60), attempt;

	(void)state;
	attempt = world_poll(world, one)->attempt;
	world_pass(world, CORE_ATTEMPT_MS);
	world_say(world, one, WIRE_RECORD_STARTED, "i1", attempt);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_ENDING);
	assert_int_equal(world_reply(world, create)->refusal, REFUSAL_PLACEMENT_TIMEOUT);
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_KILL);
	world_say(world, one, WIRE_RECORD_ENDED, "i1", attempt);
	assert_int_equal(world_stored(world, "i1")->state, SANDBOX_ENDED);
	assert_true(world_stored(world, "i1")->started_at.ns != 0);
	assert_int_equal(world_held(world), 0);
}

static void a_kill_while_placing_cancels_and_answers_both(void **state)
{
	uint64_t create = world_create(world, "i1", "ten_a", "base", 60), kill, attempt;

	(void)state;
	attempt = world_find(world, "i1")->attempt;
	kill = world_kill(world, "i1", "ten_a");
	assert_int_equal(world_reply(world, create)->refusal, REFUSAL_CREATE_FAILED);
	assert_null(world_reply(world, kill));
	assert_int_equal(world_poll(world, one)->kind, WIRE_ORDER_KILL);
	world_say(world, one, WIRE_RECORD_REFUSED, "i1", attempt);
	assert_int_equal(world_reply(world, kill)->refusal, REFUSAL_NONE);
	assert_null(world_find(world, "i1"));
}

static void a_kill_is_answered_after_5_s_even_by_a_silent_node(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), kill = world_kill(world, "i1", "ten_a");

	(void)state;
	world_pass(world, CORE_KILL_REPLY_MS - 1);
	assert_null(world_reply(world, kill));
	world_pass(world, 1);
	assert_int_equal(world_reply(world, kill)->refusal, REFUSAL_NONE);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_ENDING);
	assert_int_equal(world_held(world), 1);
	world_say(world, one, WIRE_RECORD_ENDED, "i1", attempt);
	assert_int_equal(world_held(world), 0);
}

static void what_is_ending_is_gone_for_its_tenant(void **state)
{
	(void)state;
	world_run(world, "i1", 60);
	world_kill(world, "i1", "ten_a");
	assert_int_equal(world_reply(world, world_kill(world, "i1", "ten_a"))->refusal,
			 REFUSAL_SANDBOX_UNKNOWN);
	assert_int_equal(
		world_reply(world, world_timeout(world, CORE_EVENT_EXTEND, "i1", "ten_a", 60))
			->refusal,
		REFUSAL_SANDBOX_UNKNOWN);
}

static void another_tenants_sandbox_is_unknown(void **state)
{
	(void)state;
	world_tenant(world, "ten_b", 1);
	world_run(world, "i1", 60);
	assert_int_equal(world_reply(world, world_kill(world, "i1", "ten_b"))->refusal,
			 REFUSAL_SANDBOX_UNKNOWN);
	assert_int_equal(
		world_reply(world, world_timeout(world, CORE_EVENT_SET_TIMEOUT, "i1", "ten_b", 60))
			->refusal,
		REFUSAL_SANDBOX_UNKNOWN);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING);
	world_kill(world, "i1", ""); /* an operator */
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_ENDING);
}

static void a_timeout_moves_the_end_both_ways_and_an_extension_only_later(void **state)
{
	int64_t started_ns = world->wall.ns;
	const struct wire_order *order;
	struct wire_record usage;
	uint64_t attempt = world_run(world, "i1", 60);

	(void)state;
	world_pass(world, 1000);
	world_timeout(world, CORE_EVENT_EXTEND, "i1", "ten_a", 30);
	assert_int_equal(world_find(world, "i1")->end_at.ns, started_ns + 60 * NS_PER_S);
	assert_int_equal(world_effects(world, CORE_EFFECT_SAVE_SANDBOX), 0);
	assert_null(world_poll(world, one));
	world_timeout(world, CORE_EVENT_SET_TIMEOUT, "i1", "ten_a", 30);
	assert_int_equal(world_stored(world, "i1")->end_at.ns, started_ns + 31 * NS_PER_S);
	order = world_poll(world, one);
	assert_int_equal(order->kind, WIRE_ORDER_DEADLINE);
	assert_int_equal(order->deadline_version, 1);
	assert_int_equal(order->end_wall_ns, started_ns + 31 * NS_PER_S);
	world_timeout(world, CORE_EVENT_EXTEND, "i1", "ten_a", 90);
	order = world_poll(world, one);
	assert_int_equal(order->deadline_version, 2);
	assert_int_equal(order->end_wall_ns, started_ns + 91 * NS_PER_S);
	usage = world_record(world, one, WIRE_RECORD_USAGE, "i1", attempt);
	usage.deadline_version = 1;
	world_send(world, one, &usage);
	assert_int_equal(world_poll(world, one)->deadline_version, 2);
	usage = world_record(world, one, WIRE_RECORD_USAGE, "i1", attempt);
	usage.deadline_version = 2;
	world_send(world, one, &usage);
	world_pass(world, CORE_RESEND_MS);
	assert_null(world_poll(world, one));
	assert_int_equal(world_stored(world, "i1")->deadline_known, 2);
}

static void a_session_is_never_longer_than_the_plan_allows(void **state)
{
	int64_t created_ns = world->wall.ns;
	uint64_t request;

	(void)state;
	world_run(world, "i1", 60);
	world_pass(world, 30000);
	request = world_timeout(world, CORE_EVENT_EXTEND, "i1", "ten_a", 3601);
	assert_int_equal(world_reply(world, request)->refusal, REFUSAL_TIMEOUT_TOO_LONG);
	request = world_timeout(world, CORE_EVENT_EXTEND, "i1", "ten_a", 3600);
	assert_int_equal(world_reply(world, request)->sandbox.end_at.ns,
			 created_ns + 3600 * NS_PER_S);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_fleet_of_two, close_fleet)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_sandbox_is_created_runs_and_is_killed),
		STORY(a_sandbox_that_ends_by_itself_is_ended_with_its_cause),
		STORY(a_no_leads_to_the_next_node_and_a_new_attempt),
		STORY(a_node_that_said_no_is_left_alone_until_it_reports),
		STORY(no_from_every_node_is_told_as_capacity),
		STORY(at_most_three_nodes_are_asked),
		STORY(a_late_no_cannot_undo_a_yes),
		STORY(an_answer_to_an_attempt_that_is_over_changes_nothing),
		STORY(only_the_node_that_was_asked_can_answer_and_only_that_attempt),
		STORY(silence_is_cancelled_where_it_is_and_never_tried_elsewhere),
		STORY(a_yes_after_the_cancel_is_still_ended),
		STORY(a_kill_while_placing_cancels_and_answers_both),
		STORY(a_kill_is_answered_after_5_s_even_by_a_silent_node),
		STORY(what_is_ending_is_gone_for_its_tenant),
		STORY(another_tenants_sandbox_is_unknown),
		STORY(a_timeout_moves_the_end_both_ways_and_an_extension_only_later),
		STORY(a_session_is_never_longer_than_the_plan_allows),
	};

	return cmocka_run_group_tests_name("sched_core.story", tests, NULL, NULL);
}
