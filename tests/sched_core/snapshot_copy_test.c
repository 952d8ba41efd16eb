/* Snapshots on more than one node: when a copy is made, who waits for it, who drops it, and what
 * becomes of them when a node is lost. */
#include "common/base/check.h"
#include "tests/sched_core/two_nodes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static struct id copy_id;

static uint64_t begin(const char *sandbox)
{
	struct core_event event = {.kind = CORE_EVENT_CREATE};

	event.create.request = ++world->request;
	event.create.sandbox = world_id(sandbox);
	event.create.tenant = world_id("ten_a");
	event.create.snapshot = world_id("s1");
	event.create.timeout_s = 60;
	world_step(world, &event);
	return event.create.request;
}

static uint64_t drop(void)
{
	struct core_event event = {.kind = CORE_EVENT_DROP_SNAPSHOT};

	event.kill.request = ++world->request;
	event.kill.sandbox = world_id("s1");
	event.kill.tenant = world_id("ten_a");
	world_step(world, &event);
	return event.kill.request;
}

static enum sandbox_state state_of(const char *id)
{
	return world_find(world, id) ? world_find(world, id)->state : SANDBOX_NONE;
}

static void say_kept(struct world_node *node, const char *id, const char *of, uint64_t attempt)
{
	struct wire_record record = world_record(world, node, WIRE_RECORD_KEPT, id, attempt);

	record.tenant = world_id("ten_a");
	record.source = world_id(of);
	record.saved_how = WIRE_SAVE_SNAPSHOT;
	record.saved_mib = 40;
	strcpy(record.template, "base");
	record.vcpus = 1;
	record.mem_mib = 512;
	record.disk_mib = 1024;
	world_send(world, node, &record);
}

static void say_dropped(struct world_node *node, const char *id, uint64_t attempt)
{
	struct wire_record record = world_record(world, node, WIRE_RECORD_DISCARDED, id, attempt);

	record.cause = CAUSE_REQUEST;
	world_send(world, node, &record);
}

/* i1 runs on node one, which keeps s1 of it and is cordoned then. The attempt of s1. */
static uint64_t keep_away(void)
{
	struct core_event event = {.kind = CORE_EVENT_SNAPSHOT};
	uint64_t attempt;

	world_run(world, "i1", 60);
	event.snapshot.request = ++world->request;
	event.snapshot.snapshot = world_id("s1");
	event.snapshot.sandbox = world_id("i1");
	event.snapshot.tenant = world_id("ten_a");
	world_step(world, &event);
	attempt = ordered(one, WIRE_ORDER_SNAPSHOT)->attempt;
	say_kept(one, "s1", "i1", attempt);
	cordon(one, true);
	return attempt;
}

/* Up to where two is told to fetch; the copy's attempt. */
static uint64_t offer(uint64_t attempt)
{
	const struct wire_order *order = ordered(one, WIRE_ORDER_SEND);
	uint64_t number;

	assert_non_null(order);
	assert_int_equal(order->source, attempt);
	number = order->attempt;
	says(one, number, WIRE_TRANSFER_SENDING, REFUSAL_NONE);
	order = ordered(two, WIRE_ORDER_FETCH);
	assert_non_null(order);
	assert_int_equal(order->attempt, number);
	assert_int_equal(order->source, attempt);
	assert_string_equal(order->saved.text, "s1");
	assert_true(order->stays);
	assert_int_equal(order->mem_mib, 512);
	copy_id = order->copy;
	return number;
}

static void kept(uint64_t copy)
{
	say_kept(two, copy_id.text, "s1", copy);
}

/* i2 began from a copy of s1 on node two; the copy's attempt. */
static uint64_t spread(uint64_t attempt)
{
	uint64_t request = begin("i2"), copy = offer(attempt);

	kept(copy);
	world_say(world, two, WIRE_RECORD_STARTED, "i2", ordered(two, WIRE_ORDER_CLAIM)->attempt);
	assert_int_equal(refusal_of(request), REFUSAL_NONE);
	return copy;
}

static void a_create_that_finds_its_node_cordoned_waits_for_a_copy(void **state)
{
	uint64_t attempt = keep_away(), request = begin("i2"), copy;
	const struct wire_order *order;

	(void)state;
	assert_null(world_reply(world, request));
	copy = offer(attempt);
	assert_null(ordered(two, WIRE_ORDER_CLAIM)); /* it is not there yet */
	assert_int_equal(world_used(world, two), 1); /* but has room there */
	kept(copy);
	order = ordered(two, WIRE_ORDER_CLAIM);
	assert_non_null(order);
	assert_string_equal(order->sandbox.text, "i2");
	assert_int_equal(order->resume, copy);
	world_say(world, two, WIRE_RECORD_STARTED, "i2", order->attempt);
	assert_int_equal(refusal_of(request), REFUSAL_NONE);
	assert_string_equal(world_find(world, "i2")->node.text, two->id.text);
	assert_string_equal(world_find(world, "s1")->node.text, one->id.text);
}

static void several_wait_for_one_copy(void **state)
{
	uint64_t attempt = keep_away(), copy;

	(void)state;
	begin("i2");
	begin("i3");
	copy = offer(attempt);
	assert_null(ordered(one, WIRE_ORDER_SEND));
	kept(copy);
	assert_int_equal(world_poll(world, two)->resume, copy);
	assert_int_equal(world_effects(world, CORE_EFFECT_ORDER), 2);
}

static void the_next_one_begins_from_the_copy_at_once(void **state)
{
	uint64_t copy = spread(keep_away());

	(void)state;
	begin("i3");
	assert_int_equal(ordered(two, WIRE_ORDER_CLAIM)->resume, copy);
	assert_null(ordered(one, WIRE_ORDER_SEND));
}

static void the_snapshots_own_node_is_preferred(void **state)
{
	uint64_t attempt = keep_away();

	(void)state;
	spread(attempt);
	cordon(one, false);
	begin("i3");
	assert_int_equal(ordered(one, WIRE_ORDER_CLAIM)->resume, attempt);
}

static void a_copy_is_nobody_s_snapshot(void **state)
{
	struct core_event event = {.kind = CORE_EVENT_DROP_SNAPSHOT};

	(void)state;
	spread(keep_away());
	event.kill.request = ++world->request;
	event.kill.sandbox = copy_id;
	event.kill.tenant = world_id("ten_a");
	world_step(world, &event);
	assert_int_equal(refusal_of(world->request), REFUSAL_SANDBOX_UNKNOWN);
	event = (struct core_event){.kind = CORE_EVENT_CREATE};
	event.create.request = ++world->request;
	event.create.sandbox = world_id("i3");
	event.create.tenant = world_id("ten_a");
	event.create.snapshot = copy_id;
	event.create.timeout_s = 60;
	world_step(world, &event);
	assert_int_equal(refusal_of(world->request), REFUSAL_TEMPLATE_UNKNOWN);
}

static void who_waits_too_long_is_told_and_the_copy_goes_on(void **state)
{
	uint64_t attempt = keep_away(), request = begin("i2"), copy = offer(attempt);

	(void)state;
	for (int ms = 0; ms < CORE_COPY_WAIT_MS; ms += CORE_ATTEMPT_MS / 2) {
		assert_null(world_reply(world, request));
		said[1].done_bytes++;
		says(one, copy, WIRE_TRANSFER_SENDING, REFUSAL_NONE);
		says(two, copy, WIRE_TRANSFER_FETCHING, REFUSAL_NONE);
		said[1].done_bytes = (uint64_t)ms;
		world_report(world, two);
		world_pass(world, CORE_ATTEMPT_MS / 2);
	}
	assert_int_equal(refusal_of(request), REFUSAL_PLACEMENT_TIMEOUT);
	assert_int_equal(state_of("i2"), SANDBOX_NONE);
	assert_int_equal(world_used(world, two), 0);
	kept(copy);
	begin("i3");
	assert_int_equal(ordered(two, WIRE_ORDER_CLAIM)->resume, copy);
}

static void who_waits_for_a_copy_that_fails_is_told(void **state)
{
	uint64_t attempt = keep_away(), request = begin("i2"), copy = offer(attempt);

	(void)state;
	says(two, copy, WIRE_TRANSFER_FAILED, REFUSAL_TRANSFER_CORRUPT);
	world_pass(world, 1);
	assert_int_equal(refusal_of(request), REFUSAL_SAVED_AWAY);
	assert_int_equal(ordered(two, WIRE_ORDER_KILL)->attempt, copy);
	assert_int_equal(state_of("s1"), SANDBOX_KEPT);
}

static void one_that_is_killed_while_it_waits_does_not_begin(void **state)
{
	uint64_t attempt = keep_away(), request = begin("i2"), copy = offer(attempt);

	(void)state;
	world_kill(world, "i2", "ten_a");
	assert_int_not_equal(refusal_of(request), REFUSAL_NONE);
	kept(copy);
	assert_null(ordered(two, WIRE_ORDER_CLAIM));
}

static void a_snapshot_that_is_dropped_takes_its_copies_with_it(void **state)
{
	uint64_t attempt = keep_away(), copy = spread(attempt);

	(void)state;
	drop();
	assert_int_equal(ordered(one, WIRE_ORDER_KILL)->attempt, attempt);
	assert_int_equal(ordered(two, WIRE_ORDER_KILL)->attempt, copy);
	say_dropped(two, copy_id.text, copy);
	say_dropped(one, "s1", attempt);
	assert_int_equal(state_of("s1"), SANDBOX_NONE);
	assert_null(world_find(world, copy_id.text));
	assert_int_equal(refusal_of(begin("i3")), REFUSAL_TEMPLATE_UNKNOWN);
}

static void one_that_is_dropped_while_it_is_copied_lets_nobody_begin(void **state)
{
	uint64_t attempt = keep_away(), request = begin("i2"), copy = offer(attempt);

	(void)state;
	drop();
	world_pass(world, 1);
	assert_int_equal(refusal_of(request), REFUSAL_SAVED_AWAY);
	kept(copy);
	assert_int_equal(ordered(two, WIRE_ORDER_KILL)->attempt, copy);
}

static void lose(struct world_node *node)
{
	world_node_event(world, node, CORE_EVENT_NODE_SILENT);
	world_pass(world, 11000);
	assert_int_not_equal(world_lose(world, node), 0);
	world_pass(world, 1);
}

static void a_copy_takes_the_place_of_a_snapshot_whose_node_is_lost(void **state)
{
	uint64_t copy = spread(keep_away());

	(void)state;
	lose(one);
	world_report(world, two);
	assert_int_equal(state_of("s1"), SANDBOX_KEPT);
	assert_string_equal(world_find(world, "s1")->node.text, two->id.text);
	assert_null(world_find(world, copy_id.text));
	begin("i3");
	assert_int_equal(ordered(two, WIRE_ORDER_CLAIM)->resume, copy);
	drop();
	assert_int_equal(ordered(two, WIRE_ORDER_KILL)->attempt, copy);
	say_dropped(two, copy_id.text, copy); /* as its node calls it */
	assert_int_equal(state_of("s1"), SANDBOX_NONE);
}

static void without_a_copy_it_ends_with_its_node(void **state)
{
	(void)state;
	keep_away();
	begin("i2");
	lose(one);
	assert_int_equal(state_of("s1"), SANDBOX_NONE);
	assert_int_equal(world_stored(world, "s1")->cause, CAUSE_NODE_LOST);
}

static void the_snapshot_stays_when_a_copys_node_is_lost(void **state)
{
	uint64_t attempt = keep_away();

	(void)state;
	spread(attempt);
	lose(two);
	assert_null(world_find(world, copy_id.text));
	assert_int_equal(state_of("s1"), SANDBOX_KEPT);
	cordon(one, false);
	world_report(world, one);
	begin("i3");
	assert_int_equal(ordered(one, WIRE_ORDER_CLAIM)->resume, attempt);
}

static void restart(void)
{
	world_restart(world);
	world_report(world, one);
	world_report(world, two);
	world_pass(world, 1);
}

static void a_restart_keeps_a_copy(void **state)
{
	uint64_t copy = spread(keep_away());

	(void)state;
	restart();
	begin("i3");
	assert_int_equal(ordered(two, WIRE_ORDER_CLAIM)->resume, copy);
	drop();
	assert_int_equal(ordered(two, WIRE_ORDER_KILL)->attempt, copy);
}

static void a_restart_drops_a_copy_that_was_under_way(void **state)
{
	uint64_t attempt = keep_away(), copy;

	(void)state;
	begin("i2");
	copy = offer(attempt);
	restart();
	assert_int_equal(ordered(two, WIRE_ORDER_KILL)->attempt, copy);
	assert_int_equal(state_of("s1"), SANDBOX_KEPT);
}

static void an_agent_that_takes_it_for_a_pause_is_not_begun_on(void **state)
{
	uint64_t attempt = keep_away(), request = begin("i2"), copy = offer(attempt);
	struct wire_record record = world_record(world, two, WIRE_RECORD_KEPT, copy_id.text, copy);

	(void)state;
	record.tenant = world_id("ten_a");
	record.source = world_id("s1");
	record.saved_how = WIRE_SAVE_PAUSE;
	strcpy(record.template, "base");
	record.vcpus = 1;
	record.mem_mib = 512;
	world_send(world, two, &record);
	world_pass(world, 1);
	assert_int_equal(refusal_of(request), REFUSAL_SAVED_AWAY);
	assert_int_equal(ordered(two, WIRE_ORDER_KILL)->attempt, copy);
}

/* ---- what another leader did ---- */

static void a_standby_knows_a_copy_by_the_log_and_begins_from_it_when_it_leads(void **state)
{
	struct wire_record record = world_started(world, one, "i1", 9);

	(void)state;
	copy_id = world_id("p0000000000000000020");
	world_send(world, one, &record);
	say_kept(one, "s1", "i1", 10);
	kept(20);
	assert_int_equal(state_of(copy_id.text), SANDBOX_KEPT);
	world_lead(world);
	world_join(world, one);
	world_join(world, two);
	world_pass(world, 1);
	cordon(one, true);
	begin("i2");
	assert_int_equal(ordered(two, WIRE_ORDER_CLAIM)->resume, 20);
}

static void a_standby_that_hears_of_the_loss_from_the_node_first_has_the_copy_too(void **state)
{
	struct wire_record record = world_started(world, one, "i1", 9);

	(void)state;
	copy_id = world_id("p0000000000000000020");
	world_send(world, one, &record);
	say_kept(one, "s1", "i1", 10);
	kept(20);
	record = world_record(world, one, WIRE_RECORD_DISCARDED, "s1", 10);
	record.cause = CAUSE_NODE_LOST;
	world_send(world, one, &record);
	assert_int_equal(state_of("s1"), SANDBOX_KEPT);
	assert_int_equal(world_find(world, "s1")->attempt, 20);
	assert_null(world_find(world, copy_id.text));
	world_lost(world, one, 11);
	assert_int_equal(state_of("s1"), SANDBOX_KEPT);
}

static void a_new_leader_drops_a_copy_of_nothing(void **state)
{
	(void)state;
	copy_id = world_id("p0000000000000000020");
	kept(20);
	world_lead(world);
	world_join(world, two);
	world_pass(world, 1);
	assert_null(ordered(two, WIRE_ORDER_KILL)); /* the other log may tell of the snapshot */
	world_join(world, one);
	world_pass(world, 1);
	assert_int_equal(ordered(two, WIRE_ORDER_KILL)->attempt, 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALONE(a_create_that_finds_its_node_cordoned_waits_for_a_copy),
		ALONE(several_wait_for_one_copy),
		ALONE(the_next_one_begins_from_the_copy_at_once),
		ALONE(the_snapshots_own_node_is_preferred),
		ALONE(a_copy_is_nobody_s_snapshot),
		ALONE(who_waits_too_long_is_told_and_the_copy_goes_on),
		ALONE(who_waits_for_a_copy_that_fails_is_told),
		ALONE(one_that_is_killed_while_it_waits_does_not_begin),
		ALONE(a_snapshot_that_is_dropped_takes_its_copies_with_it),
		ALONE(one_that_is_dropped_while_it_is_copied_lets_nobody_begin),
		ALONE(a_copy_takes_the_place_of_a_snapshot_whose_node_is_lost),
		ALONE(without_a_copy_it_ends_with_its_node),
		ALONE(the_snapshot_stays_when_a_copys_node_is_lost),
		ALONE(a_restart_keeps_a_copy),
		ALONE(a_restart_drops_a_copy_that_was_under_way),
		ALONE(an_agent_that_takes_it_for_a_pause_is_not_begun_on),
		STANDBY(a_standby_knows_a_copy_by_the_log_and_begins_from_it_when_it_leads),
		STANDBY(a_standby_that_hears_of_the_loss_from_the_node_first_has_the_copy_too),
		STANDBY(a_new_leader_drops_a_copy_of_nothing),
	};

	return cmocka_run_group_tests_name("sched_core.snapshot_copy", tests, NULL, NULL);
}
