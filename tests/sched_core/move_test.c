/* A paused sandbox that goes on on another node: what is ordered, whose word counts, who hears
 * what. */
#include "common/base/check.h"
#include "tests/sched_core/two_nodes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static void paused(struct world_node *node, uint64_t attempt)
{
	struct wire_record record = world_record(world, node, WIRE_RECORD_ENDED, "i1", attempt);

	record.cause = CAUSE_PAUSE;
	record.saved_how = WIRE_SAVE_PAUSE;
	world_send(world, node, &record);
}

/* i1 is paused on node one, which is cordoned; its attempt. */
static uint64_t pause_away(void)
{
	uint64_t attempt = world_run(world, "i1", 60);

	world_pause(world, "i1", "ten_a");
	paused(one, attempt);
	cordon(one, true);
	return attempt;
}

static uint64_t resume(void)
{
	return world_timeout(world, CORE_EVENT_RESUME, "i1", "ten_a", 120);
}

/* Up to where two is told to fetch; the copy's attempt. */
static uint64_t offer(uint64_t attempt)
{
	const struct wire_order *order = ordered(one, WIRE_ORDER_SEND);
	uint64_t number;

	assert_non_null(order);
	assert_string_not_equal(order->sandbox.text, "x1"); /* a name of its own each time */
	assert_int_equal(order->source, attempt);
	number = order->attempt;
	says(one, number, WIRE_TRANSFER_SENDING, REFUSAL_NONE);
	order = ordered(two, WIRE_ORDER_FETCH);
	assert_non_null(order);
	assert_int_equal(order->attempt, number);
	assert_int_equal(order->source, attempt);
	assert_string_equal(order->saved.text, "i1");
	assert_string_equal(order->copy.text, "x1");
	assert_string_equal(order->artefact, "content");
	assert_int_equal(order->how, WIRE_SAVE_PAUSE);
	assert_int_equal(order->mem_mib, 512);
	return number;
}

static void kept_on(struct world_node *node, uint64_t copy)
{
	struct wire_record record = world_record(world, node, WIRE_RECORD_KEPT, "x1", copy);

	record.tenant = world_id("ten_a");
	strcpy(record.template, "base");
	record.vcpus = 1;
	record.mem_mib = 512;
	record.disk_mib = 1024;
	record.saved_how = WIRE_SAVE_PAUSE;
	record.source = world_id("i1");
	record.transient = true;
	world_send(world, node, &record);
}

static void kept(uint64_t copy)
{
	kept_on(two, copy);
}

static void handed_over(uint64_t attempt, uint64_t copy, uint64_t to_seq)
{
	struct wire_record record =
		world_record(world, one, WIRE_RECORD_HANDED_OVER, "i1", attempt);

	record.save = copy;
	record.to = two->id;
	record.to_seq = to_seq;
	world_send(world, one, &record);
}

/* Whoever waits gives up; the nodes are heard. */
static void give_up_waiting(uint64_t request)
{
	world_pass(world, CORE_ATTEMPT_MS / 2);
	world_report(world, one);
	world_report(world, two);
	world_pass(world, CORE_ATTEMPT_MS / 2);
	assert_int_equal(refusal_of(request), REFUSAL_PLACEMENT_TIMEOUT);
}

static void a_resume_that_finds_its_node_cordoned_moves_it(void **state)
{
	uint64_t attempt = pause_away(), request = resume(), copy;
	const struct wire_order *order;

	(void)state;
	assert_null(world_reply(world, request));
	copy = offer(attempt);
	assert_int_equal(world_stored(world, "x1")->state, SANDBOX_SNAPPING);
	assert_null(ordered(one, WIRE_ORDER_HAND_OVER)); /* nothing is there yet */
	kept(copy);
	order = ordered(one, WIRE_ORDER_HAND_OVER);
	assert_non_null(order);
	assert_string_equal(order->sandbox.text, "i1");
	assert_int_equal(order->attempt, attempt);
	assert_int_equal(order->save, copy);
	assert_string_equal(order->to.text, two->id.text);
	assert_int_equal(order->to_seq, 1);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_PAUSED);
	handed_over(attempt, copy, 1);
	assert_null(world_find(world, "x1"));
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RESUMING);
	assert_string_equal(world_find(world, "i1")->node.text, two->id.text);
	order = ordered(two, WIRE_ORDER_CLAIM);
	assert_non_null(order);
	assert_int_equal(order->resume, copy);
	assert_int_equal(order->ttl_ms, 120000);
	world_say(world, two, WIRE_RECORD_STARTED, "i1", order->attempt);
	assert_int_equal(refusal_of(request), REFUSAL_NONE);
	assert_int_equal(world_used(world, two), 1);
	assert_int_equal(world_used(world, one), 0);
}

static void its_own_node_is_preferred(void **state)
{
	uint64_t attempt = pause_away(), request;

	(void)state;
	cordon(one, false);
	request = resume();
	assert_null(world_find(world, "x1"));
	assert_int_equal(ordered(one, WIRE_ORDER_CLAIM)->resume, attempt);
	assert_null(world_reply(world, request));
}

static void one_that_can_go_on_there_after_all_does(void **state)
{
	uint64_t attempt = pause_away(), request = resume(), copy = offer(attempt);

	(void)state;
	give_up_waiting(request);
	cordon(one, false);
	resume();
	assert_int_equal(ordered(one, WIRE_ORDER_CLAIM)->resume, attempt);
	assert_int_equal(ordered(two, WIRE_ORDER_KILL)->attempt, copy); /* nobody wants it */
}

static void who_gives_up_waiting_finds_it_nearer(void **state)
{
	uint64_t attempt = pause_away(), request = resume(), copy = offer(attempt), again;

	(void)state;
	assert_int_equal(refusal_of(resume()), REFUSAL_IN_FLIGHT);
	give_up_waiting(request);
	kept(copy);
	again = resume();
	assert_null(world_reply(world, again));
	handed_over(attempt, copy, 1);
	assert_int_equal(ordered(two, WIRE_ORDER_CLAIM)->resume, copy);
}

static void a_copy_that_fails_leaves_it_where_it_is(void **state)
{
	uint64_t attempt = pause_away(), request = resume(), copy = offer(attempt);

	(void)state;
	says(two, copy, WIRE_TRANSFER_FAILED, REFUSAL_TRANSFER_UNUSABLE);
	assert_int_equal(refusal_of(request), REFUSAL_SAVED_AWAY);
	assert_int_equal(ordered(two, WIRE_ORDER_KILL)->attempt, copy);
	assert_int_equal(world_find(world, "i1")->attempt, attempt);
	/* Not there again, for a while; and there is no other. */
	assert_int_equal(refusal_of(resume()), REFUSAL_SAVED_AWAY);
}

static void one_that_is_killed_takes_its_copy_with_it(void **state)
{
	uint64_t attempt = pause_away(), request = resume(), copy = offer(attempt);
	struct wire_record record;

	(void)state;
	kept(copy);
	world_kill(world, "i1", "ten_a");
	assert_int_equal(refusal_of(request), REFUSAL_SANDBOX_UNKNOWN);
	assert_int_equal(ordered(one, WIRE_ORDER_KILL)->attempt, attempt);
	assert_null(ordered(two, WIRE_ORDER_KILL)); /* it may count by now */
	record = world_record(world, one, WIRE_RECORD_DISCARDED, "i1", attempt);
	record.cause = CAUSE_REQUEST;
	world_send(world, one, &record);
	assert_null(world_find(world, "i1"));
	assert_int_equal(ordered(two, WIRE_ORDER_KILL)->attempt, copy);
}

static void a_kill_that_comes_after_the_hand_over_follows_it(void **state)
{
	uint64_t attempt = pause_away(), copy;
	const struct wire_order *order;
	struct wire_record record;

	(void)state;
	resume();
	copy = offer(attempt);
	kept(copy);
	ordered(one, WIRE_ORDER_HAND_OVER);
	world_kill(world, "i1", "ten_a");
	handed_over(attempt, copy, 1);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_DISCARDING);
	order = ordered(two, WIRE_ORDER_KILL);
	assert_string_equal(order->sandbox.text, "i1");
	assert_int_equal(order->attempt, copy);
	/* It may say so by its old name. */
	record = world_record(world, two, WIRE_RECORD_DISCARDED, "x1", copy);
	record.cause = CAUSE_REQUEST;
	world_send(world, two, &record);
	assert_null(world_find(world, "i1"));
}

static void a_copy_whose_node_is_lost_is_not_waited_for(void **state)
{
	uint64_t attempt = pause_away(), request = resume(), copy = offer(attempt);
	uint64_t below;

	(void)state;
	kept(copy);
	world_node_event(world, two, CORE_EVENT_NODE_SILENT);
	world_pass(world, 11000);
	below = world_lose(world, two);
	assert_true(below > copy);
	assert_null(world_find(world, "x1"));
	assert_int_equal(world_find(world, "i1")->save, 0);
	assert_non_null(world_reply(world, request));
	/* The order had gone out. */
	handed_over(attempt, copy, 1);
	assert_null(world_find(world, "i1"));
	assert_int_equal(world_stored(world, "i1")->cause, CAUSE_NODE_LOST);
}

static void a_restart_goes_on_handing_over(void **state)
{
	uint64_t attempt = pause_away(), copy;
	const struct wire_order *order;

	(void)state;
	resume();
	copy = offer(attempt);
	kept(copy);
	world_restart(world);
	world_report(world, one);
	world_report(world, two);
	order = ordered(one, WIRE_ORDER_HAND_OVER);
	assert_non_null(order);
	assert_int_equal(order->save, copy);
	handed_over(attempt, copy, order->to_seq);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_PAUSED);
	assert_string_equal(world_find(world, "i1")->node.text, two->id.text);
}

static void a_restart_drops_a_copy_that_was_under_way(void **state)
{
	uint64_t attempt = pause_away(), copy;

	(void)state;
	resume();
	copy = offer(attempt);
	world_restart(world);
	world_report(world, one);
	world_report(world, two);
	world_pass(world, 1);
	assert_int_equal(ordered(two, WIRE_ORDER_KILL)->attempt, copy);
	assert_int_equal(world_find(world, "i1")->attempt, attempt);
}

/* ---- what another leader did ---- */

static void adopt_paused(uint64_t attempt)
{
	struct wire_record record = world_started(world, one, "i1", attempt);

	world_send(world, one, &record);
	paused(one, attempt);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_PAUSED);
}

static void started_there(uint64_t attempt)
{
	struct wire_record record = world_started(world, two, "i1", attempt);

	record.incarnation = 2;
	world_send(world, two, &record);
}

static void a_standby_follows_a_hand_over(void **state)
{
	(void)state;
	adopt_paused(9);
	kept(20);
	assert_int_equal(world_find(world, "x1")->state, SANDBOX_KEPT);
	handed_over(9, 20, 1);
	assert_null(world_find(world, "x1"));
	assert_int_equal(world_find(world, "i1")->attempt, 20);
	assert_string_equal(world_find(world, "i1")->node.text, two->id.text);
	started_there(30);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING);
}

static void the_hand_over_may_come_before_the_copy(void **state)
{
	(void)state;
	adopt_paused(9);
	handed_over(9, 20, 1);
	assert_int_equal(world_find(world, "i1")->attempt, 20);
	kept(20);
	assert_null(world_find(world, "x1"));
	started_there(30);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING);
	assert_int_equal(world_used(world, two), 1);
}

static void the_next_life_waits_for_the_end_of_the_last(void **state)
{
	struct wire_record record = world_started(world, one, "i1", 9), next;

	(void)state;
	world_send(world, one, &record);
	kept(20);
	next = world_started(world, two, "i1", 30);
	next.incarnation = 2;
	world_send(world, two, &next);
	assert_int_equal(two->acked, 2); /* it shall come again */
	paused(one, 9);
	world_send(world, two, &next);
	assert_int_equal(two->acked, 2);
	handed_over(9, 20, 1);
	world_send(world, two, &next);
	assert_int_equal(two->acked, 3);
	assert_int_equal(world_find(world, "i1")->attempt, 30);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING);
	assert_int_equal(world_used(world, one), 0);
	assert_int_equal(world_used(world, two), 1);
	assert_null(world_find(world, "x1"));
}

/* And from the second node on, before the first one's log says that it came there. */
static void two_moves_are_followed_whichever_log_comes_first(void **state)
{
	struct wire_record over;

	(void)state;
	kept(20);
	/* The sandbox is not known: its copy was one, and is on the first node now. */
	over = world_record(world, two, WIRE_RECORD_HANDED_OVER, "i1", 20);
	over.save = 40;
	over.to = one->id;
	over.to_seq = 1;
	world_send(world, two, &over);
	assert_null(world_find(world, "x1"));
	kept_on(one, 40);
	assert_int_equal(world_find(world, "x1")->attempt, 40);
	adopt_paused(9);
	handed_over(9, 20, 1);
	assert_int_equal(world_find(world, "i1")->attempt, 40);
	assert_string_equal(world_find(world, "i1")->node.text, one->id.text);
	assert_null(world_find(world, "x1"));
}

static void what_has_ended_there_does_not_come_back_with_the_older_log(void **state)
{
	struct wire_record ended;

	(void)state;
	kept(20);
	started_there(30);
	ended = world_record(world, two, WIRE_RECORD_ENDED, "i1", 30);
	ended.incarnation = 2;
	ended.cause = CAUSE_REQUEST;
	world_send(world, two, &ended);
	assert_null(world_find(world, "i1"));
	adopt_paused(9);
	handed_over(9, 20, 1);
	assert_null(world_find(world, "i1"));
	assert_int_equal(world_held(world), 0);
}

static void a_new_leader_drops_a_copy_when_the_node_it_is_of_was_heard_out(void **state)
{
	(void)state;
	adopt_paused(9);
	kept(20);
	world_lead(world);
	world_join(world, two);
	world_pass(world, 1);
	assert_null(ordered(two, WIRE_ORDER_KILL)); /* perhaps it was handed over to */
	world_join(world, one);
	world_pass(world, 1);
	assert_int_equal(ordered(two, WIRE_ORDER_KILL)->attempt, 20);
	assert_int_equal(world_find(world, "i1")->attempt, 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALONE(a_resume_that_finds_its_node_cordoned_moves_it),
		ALONE(its_own_node_is_preferred),
		ALONE(one_that_can_go_on_there_after_all_does),
		ALONE(who_gives_up_waiting_finds_it_nearer),
		ALONE(a_copy_that_fails_leaves_it_where_it_is),
		ALONE(one_that_is_killed_takes_its_copy_with_it),
		ALONE(a_kill_that_comes_after_the_hand_over_follows_it),
		ALONE(a_copy_whose_node_is_lost_is_not_waited_for),
		ALONE(a_restart_goes_on_handing_over),
		ALONE(a_restart_drops_a_copy_that_was_under_way),
		STANDBY(a_standby_follows_a_hand_over),
		STANDBY(the_hand_over_may_come_before_the_copy),
		STANDBY(the_next_life_waits_for_the_end_of_the_last),
		STANDBY(two_moves_are_followed_whichever_log_comes_first),
		STANDBY(what_has_ended_there_does_not_come_back_with_the_older_log),
		STANDBY(a_new_leader_drops_a_copy_when_the_node_it_is_of_was_heard_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
