/* What was given up when the node was declared lost: it ends, and only then is that said. */
#include "tests/node_core/host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static int open_host(void **state)
{
	*state = host_open_ready();
	return 0;
}

static int close_host(void **state)
{
	host_close(*state);
	return 0;
}

static void what_is_below_lost_ends_and_only_then_is_it_said(void **state)
{
	struct host *host = *state;
	uint64_t vm = host_run(host, 4);

	host_run(host, 5);
	host_forget_log(host);
	host_answer_lost(host, 2, 5);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_KILL), 1);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_KILL)->kill.vm, vm);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_KILL)->kill.cause, CAUSE_NODE_LOST);
	assert_int_equal(host_poll(host).lost_below, 0);
	host_pass(host, 20);
	host_ended(host, vm, CAUSE_NODE_LOST);
	assert_int_equal(host_last_record(host)->cause, CAUSE_NODE_LOST);
	assert_int_equal(host_last_record(host)->to_ms, 20);
	assert_int_equal(host_poll(host).lost_below, 5);
	assert_int_equal(host_count(host, NODE_EFFECT_NEWS), 1);
	assert_int_equal(host_used(host).sandboxes, 1);
}

static void a_node_without_any_of_it_says_so_at_once(void **state)
{
	struct host *host = *state;

	host_answer_lost(host, 2, 5);
	assert_int_equal(host_count(host, NODE_EFFECT_NEWS), 1);
	assert_int_equal(host_poll(host).lost_below, 5);
	host_answer_lost(host, 2, 5);
	assert_int_equal(host_count(host, NODE_EFFECT_NEWS), 1);
}

static void a_waiting_claim_below_lost_is_refused(void **state)
{
	struct host *host = *state;

	host_claim(host, 1);
	host_answer_lost(host, 2, 5);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_CANCELLED);
	assert_int_equal(host_poll(host).lost_below, 5);
	assert_int_equal(host_used(host).sandboxes, 0);
	host_vm_ready(host, 1);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_CLAIM), 0);
}

static void a_claim_below_lost_that_succeeds_all_the_same_is_a_yes_and_an_end(void **state)
{
	struct host *host = *state;

	host_claim(host, 1);
	host_vm_ready(host, 1);
	host_answer_lost(host, 2, 5);
	assert_int_equal(host->records_n, 0);
	host_claimed(host, 1, 1, true);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_STARTED);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_KILL)->kill.cause, CAUSE_NODE_LOST);
	assert_int_equal(host_poll(host).lost_below, 0);
	host_ended(host, 1, CAUSE_NODE_LOST);
	assert_int_equal(host_poll(host).lost_below, 5);
}

static void a_claim_below_lost_that_fails_is_not_tried_again(void **state)
{
	struct host *host = *state;

	host_claim(host, 1);
	host_vm_ready(host, 1);
	host_claimed(host, 1, 1, false);
	host_answer_lost(host, 2, 5);
	assert_int_equal(host_poll(host).lost_below, 0);
	host_ended(host, 1, CAUSE_VM_FAULT);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_CANCELLED);
	assert_int_equal(host_poll(host).lost_below, 5);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 1);
}

static void orders_below_lost_are_refused_from_then_on(void **state)
{
	struct host *host = *state;

	host_answer_lost(host, 2, 5);
	host_claim(host, 4);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_STALE_ATTEMPT);
	host_claim(host, 5);
	assert_int_equal(host_used(host).sandboxes, 1);
	/* A later answer that says less was overtaken. */
	host_answer_lost(host, 2, 0);
	host_claim(host, 3);
	assert_int_equal(host_last_record(host)->attempt, 3);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_STALE_ATTEMPT);
	assert_int_equal(host_poll(host).lost_below, 5);
}

static void an_old_leaders_answer_gives_nothing_up(void **state)
{
	struct host *host = *state;

	host_run(host, 1);
	host_answer(host, 3);
	host_answer_lost(host, 2, 5);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_KILL), 0);
	assert_int_equal(host_poll(host).lost_below, 0);
}

/* It might be given to what was given up, which would thaw. */
static void no_lease_is_told_while_anything_below_lost_lives(void **state)
{
	struct host *host = *state;
	struct node_event answer = {.kind = NODE_EVENT_ANSWER};
	uint64_t vm = host_run(host, 1);

	host_run(host, 9);
	host_forget_log(host);
	answer.answer.epoch = 2;
	answer.answer.lost_below = 5;
	answer.answer.lease_ms = 60000;
	answer.answer.sent_at = host->now;
	host_step(host, &answer);
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 0);
	host_ended(host, vm, CAUSE_NODE_LOST);
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 1);
}

static void what_a_start_finds_below_lost_ends_as_well(void **state)
{
	struct host *host = *state;
	struct wire_order first = host_claim_order(1), second = host_claim_order(2),
			  third = host_claim_order(3);
	struct mono resumed = host->now;
	uint64_t vm = host_run(host, 1);
	struct node_event event;

	host_restart(host);
	event = host_found_claimed(vm, &first, resumed);
	host_step(host, &event);
	event = host_found_claimed(8, &second, resumed);
	host_step(host, &event);
	event = host_found(9, WIRE_SHIM_READY);
	event.adopted.claim = &third;
	host_step(host, &event);
	host_step(host, &(struct node_event){.kind = NODE_EVENT_READY});
	host_answer_lost(host, 2, 5);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_KILL), 2);
	host_ended(host, vm, CAUSE_NODE_LOST);
	host_ended(host, 8, CAUSE_NODE_LOST);
	assert_int_equal(host_poll(host).lost_below, 0);
	host_claimed(host, 9, 3, true);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_KILL), 3);
	host_vm(host, NODE_EVENT_VM_GONE, 9);
	assert_int_equal(host_last_record(host)->cause, CAUSE_NODE_LOST);
	assert_int_equal(host_poll(host).lost_below, 5);
}

static void many_are_given_up_in_several_steps(void **state)
{
	struct host *host = host_open();

	(void)state;
	host->limits.capacity = (struct wire_room){200, 100000, 100000, 100};
	host->limits.vms_max = 128;
	host->limits.attempts_max = 300;
	host_boot(host);
	host_template(host, "base", "content-1", 1, 256);
	host_ready(host);
	for (uint64_t attempt = 1; attempt <= 60; attempt++) {
		host_forget_log(host);
		host_run(host, attempt);
	}
	for (uint64_t attempt = 61; attempt <= 90; attempt++)
		host_claim(host, attempt);
	host_forget_log(host);
	host_answer_lost(host, 2, 100);
	assert_true(host_vms(host, NODE_VM_RUNNING) > 0);
	host_pass(host, 0);
	assert_int_equal(host_vms(host, NODE_VM_RUNNING), 0);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_CLAIM), 0);
	assert_int_equal(host->records_n, 90);
	for (uint64_t vm = 1; vm <= 60; vm++) {
		assert_int_equal(host_poll(host).lost_below, 0);
		host_ended(host, vm, CAUSE_NODE_LOST);
	}
	assert_int_equal(host_poll(host).lost_below, 100);
	assert_int_equal(host->records_n, 150);
	host_close(host);
}

#define STORY(test) cmocka_unit_test_setup_teardown(test, open_host, close_host)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(what_is_below_lost_ends_and_only_then_is_it_said),
		STORY(a_node_without_any_of_it_says_so_at_once),
		STORY(a_waiting_claim_below_lost_is_refused),
		STORY(a_claim_below_lost_that_succeeds_all_the_same_is_a_yes_and_an_end),
		STORY(a_claim_below_lost_that_fails_is_not_tried_again),
		STORY(orders_below_lost_are_refused_from_then_on),
		STORY(an_old_leaders_answer_gives_nothing_up),
		STORY(no_lease_is_told_while_anything_below_lost_lives),
		STORY(what_a_start_finds_below_lost_ends_as_well),
		cmocka_unit_test(many_are_given_up_in_several_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
