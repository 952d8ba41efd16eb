/* Paused sandboxes on their node: how they come to be, go on, and go; and what may go wrong. */
#include "tests/node_core/host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

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

/* Ran for 5 s as attempt 1, and is paused. Returns the number of its folder. */
static uint64_t pause_first(struct host *host)
{
	uint64_t vm = host_run(host, 1);

	host_pass(host, 5000);
	host_pause(host, 1, 100);
	host_paused(host, vm);
	host_forget_log(host);
	return vm;
}

/* A microVM is being restored for attempt 2, which resumes the first. */
static uint64_t resume_first(struct host *host)
{
	struct wire_order order = host_resume_order(2, 1);

	host_order(host, &order);
	return host_last(host, NODE_EFFECT_VM_START)->start.vm;
}

static void a_pause_ends_the_life_and_keeps_the_folder(void **state)
{
	struct host *host = *state;
	uint64_t vm = host_run(host, 1);

	host_pass(host, 5000);
	host_pause(host, 1, 100);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_SAVE)->save.vm, vm);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_SAVE)->save.save, 100);
	assert_int_equal(host_used(host).sandboxes, 1);
	host_forget_log(host);
	host_paused(host, vm);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_ENDED);
	assert_int_equal(host_last_record(host)->cause, CAUSE_PAUSE);
	assert_int_equal(host_last_record(host)->to_ms, 5000);
	assert_int_equal(host_last_record(host)->saved_mib, 40);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_FORGET), 0);
	assert_int_equal(host_used(host).sandboxes, 0);
	assert_int_equal(host->sandboxes_n, 0);
	assert_int_equal(host->saved_n, 1);
	assert_int_equal(host->saved[0].vm, vm);
}

static void a_repeated_order_pauses_once(void **state)
{
	struct host *host = *state;
	uint64_t vm = host_run(host, 1);

	host_pause(host, 1, 100);
	host_pause(host, 1, 100);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_SAVE), 1);
	host_paused(host, vm);
	host_pause(host, 1, 100);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_SAVE), 1);
	assert_int_equal(host->records_n, 2);
}

static void a_pause_that_came_to_nothing_is_told_and_not_tried_again(void **state)
{
	struct host *host = *state;
	uint64_t vm = host_run(host, 1);

	host_pause(host, 1, 100);
	host_runs_on(host, vm, 100);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_RUNS_ON);
	assert_int_equal(host_last_record(host)->save, 100);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_PAUSE_FAILED);
	/* The order was sent again before the record was heard; another agent knows as well. */
	host_pause(host, 1, 100);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_SAVE), 1);
	host_restart(host);
	{
		struct wire_order claim = host_claim_order(1);
		struct node_event found = host_found_claimed(vm, &claim, host->now);
		host_step(host, &found);
	}
	host_ready(host);
	host_pause(host, 1, 100);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_SAVE), 0);
	host_pause(host, 1, 101);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_SAVE), 1);
}

static void no_more_are_paused_than_there_is_room_for(void **state)
{
	struct host *host = *state;

	for (uint64_t attempt = 1; attempt <= 4; attempt++)
		host_run(host, attempt);
	for (uint64_t attempt = 1; attempt <= 4; attempt++)
		host_pause(host, attempt, 100 + attempt);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_SAVE), 3);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_RUNS_ON);
	assert_int_equal(host_last_record(host)->attempt, 4);
}

static void a_resume_restores_the_folder_and_uses_it_up_when_it_runs(void **state)
{
	struct host *host = *state;
	uint64_t folder = pause_first(host), vm = resume_first(host);
	const struct node_effect *start = host_last(host, NODE_EFFECT_VM_START);

	assert_int_equal(start->start.resume, folder);
	assert_false(start->start.warm || start->start.cold);
	assert_int_equal(host_used(host).sandboxes, 1);
	host_vm(host, NODE_EVENT_VM_READY, vm);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_CLAIM)->claim.vm, vm);
	assert_int_equal(host->saved_n, 1);
	host_claimed(host, vm, 2, true);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_STARTED);
	assert_int_equal(host_last_record(host)->incarnation, 2);
	assert_int_equal(host_last_record(host)->from_ms, 0);
	assert_int_equal(host->saved_n, 0);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_FORGET)->vm, folder);
	/* And again. */
	host_pause(host, 2, 200);
	host_paused(host, vm);
	assert_int_equal(host->saved_n, 1);
	assert_int_equal(host->saved[0].attempt, 2);
}

static void a_resume_is_cold_when_its_order_says_so(void **state)
{
	struct host *host = *state;
	uint64_t folder = pause_first(host);
	struct wire_order order = host_resume_order(2, 1);

	order.cold = true;
	host_order(host, &order);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_START)->start.resume, folder);
	assert_true(host_last(host, NODE_EFFECT_VM_START)->start.cold);
}

static void a_resume_that_fails_leaves_what_was_saved(void **state)
{
	struct host *host = *state;
	uint64_t folder = pause_first(host), vm = resume_first(host);

	host_ended(host, vm, CAUSE_VM_FAULT);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 2);
	vm = host_last(host, NODE_EFFECT_VM_START)->start.vm;
	host_vm(host, NODE_EVENT_VM_READY, vm);
	host_claimed(host, vm, 2, false);
	host_ended(host, vm, CAUSE_PLATFORM);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_REFUSED);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_VM_FAILED);
	assert_int_equal(host->saved_n, 1);
	assert_int_equal(host->saved[0].vm, folder);
	assert_int_equal(host_used(host).sandboxes, 0);
}

static void a_resume_of_what_is_not_there_is_refused(void **state)
{
	struct host *host = *state;
	struct wire_order order = host_resume_order(2, 1);

	host_order(host, &order);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_SAVED_GONE);
	pause_first(host);
	order = host_resume_order(3, 1);
	order.vcpus = 2;
	host_order(host, &order);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_NO_COMPATIBLE_NODE);
}

static void two_claims_do_not_resume_the_same(void **state)
{
	struct host *host = *state;
	struct wire_order second = host_resume_order(3, 1);

	pause_first(host);
	resume_first(host);
	host_order(host, &second);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 1);
	assert_int_equal(host_used(host).sandboxes, 1);
}

static void a_killed_resume_is_a_no_and_leaves_what_was_saved(void **state)
{
	struct host *host = *state;
	uint64_t vm;

	pause_first(host);
	vm = resume_first(host);
	host_kill(host, 2);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_CANCELLED);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_KILL)->kill.vm, vm);
	host_ended(host, vm, CAUSE_PLATFORM);
	assert_int_equal(host->saved_n, 1);
	assert_int_equal(host_vms(host, NODE_VM_ENDING), 0);
}

static void a_killed_pause_is_discarded_once(void **state)
{
	struct host *host = *state;
	uint64_t folder = pause_first(host);

	host_kill(host, 1);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_DISCARDED);
	assert_int_equal(host_last_record(host)->cause, CAUSE_REQUEST);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_FORGET)->vm, folder);
	assert_int_equal(host->saved_n, 0);
	host_kill(host, 1);
	assert_int_equal(host->records_n, 3);
}

static void a_kill_that_overtakes_the_pause_ends_it(void **state)
{
	struct host *host = *state;
	uint64_t vm = host_run(host, 1);

	host_pause(host, 1, 100);
	host_kill(host, 1);
	host_paused(host, vm);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_ENDED);
	assert_int_equal(host_last_record(host)->cause, CAUSE_REQUEST);
	assert_int_equal(host->saved_n, 0);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_FORGET)->vm, vm);
}

static struct node_event found_paused(uint64_t vm, const struct wire_order *claim,
				      struct mono resumed, struct mono ended)
{
	struct node_event found = host_found_claimed(vm, claim, resumed);

	found.adopted.state = WIRE_SHIM_ENDED;
	found.adopted.cause = CAUSE_PAUSE;
	found.adopted.saved_how = WIRE_SAVE_PAUSE;
	found.adopted.saved_mib = 40;
	found.adopted.ended_mono = ended;
	return found;
}

static void a_pause_while_no_agent_was_there_is_found(void **state)
{
	struct host *host = *state;
	struct mono resumed = host->now;
	uint64_t vm = host_run(host, 1);
	struct wire_order claim = host_claim_order(1);
	struct node_event found;

	host_pass(host, 7000);
	host_restart(host);
	found = found_paused(vm, &claim, resumed, host->now);
	host_step(host, &found);
	host_ready(host);
	assert_int_equal(host_last_record(host)->cause, CAUSE_PAUSE);
	assert_int_equal(host_last_record(host)->to_ms, 7000);
	assert_int_equal(host->saved_n, 1);
	/* And by the agent after it, which finds it journaled, though the host was restarted. */
	snprintf(host->boot_id, sizeof(host->boot_id), "second");
	host_restart(host);
	host_step(host, &found);
	host_ready(host);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_FORGET), 0);
	assert_int_equal(host->saved_n, 1);
	assert_int_equal(resume_first(host) > vm, 1);
}

static void what_is_lost_from_disk_is_told(void **state)
{
	struct host *host = *state;

	pause_first(host);
	host_restart(host);
	host_ready(host);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_DISCARDED);
	assert_int_equal(host_last_record(host)->cause, CAUSE_PLATFORM);
	assert_int_equal(host->saved_n, 0);
}

static void a_restored_microvm_of_an_agent_before_goes_to_nobody(void **state)
{
	struct host *host = *state;
	uint64_t folder = pause_first(host), vm = resume_first(host);
	struct wire_order first = host_claim_order(1);
	struct node_event found = found_paused(folder, &first, host->now, host->now);

	host_restart(host);
	host_step(host, &found);
	found = host_found(vm, WIRE_SHIM_READY);
	found.adopted.resumes = true;
	host_step(host, &found);
	host_ready(host);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_KILL)->kill.vm, vm);
	assert_int_equal(host_vms(host, NODE_VM_READY), 0);
	/* The order comes again. */
	assert_int_equal(host->saved_n, 1);
	vm = resume_first(host);
	host_vm(host, NODE_EVENT_VM_READY, vm);
	host_claimed(host, vm, 2, true);
	assert_int_equal(host->saved_n, 0);
}

static void a_resume_that_ran_before_the_agent_died_uses_up_what_was_saved(void **state)
{
	struct host *host = *state;
	uint64_t folder = pause_first(host), vm = resume_first(host);
	struct wire_order first = host_claim_order(1), second = host_resume_order(2, 1);
	struct node_event found;

	host_restart(host);
	found = found_paused(folder, &first, host->now, host->now);
	host_step(host, &found);
	found = host_found_claimed(vm, &second, host->now);
	found.adopted.payload = host_keep_payload(host, 2);
	host_step(host, &found);
	host_ready(host);
	assert_int_equal(host->saved_n, 0);
	assert_int_equal(host->sandboxes_n, 1);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_FORGET)->vm, folder);
}

static void a_claim_under_way_at_a_restart_uses_it_up_when_it_runs(void **state)
{
	struct host *host = *state;
	uint64_t folder = pause_first(host), vm = resume_first(host);
	struct wire_order first = host_claim_order(1), second = host_resume_order(2, 1);
	struct node_event found;

	host_restart(host);
	found = found_paused(folder, &first, host->now, host->now);
	host_step(host, &found);
	found = host_found_claimed(vm, &second, host->now);
	found.adopted.state = WIRE_SHIM_READY;
	found.adopted.payload = host_keep_payload(host, 2);
	host_step(host, &found);
	host_ready(host);
	assert_int_equal(host->saved_n, 1);
	host_claimed(host, vm, 2, true);
	assert_int_equal(host->saved_n, 0);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_FORGET)->vm, folder);
}

static void what_a_lost_node_had_paused_is_discarded(void **state)
{
	struct host *host = *state;

	pause_first(host);
	host_answer_lost(host, 1, 2);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_DISCARDED);
	assert_int_equal(host_last_record(host)->cause, CAUSE_NODE_LOST);
	assert_int_equal(host_poll(host).lost_below, 2);
	assert_int_equal(host->saved_n, 0);
}

static void a_resume_waits_for_the_lease(void **state)
{
	struct host *host = *state;
	uint64_t vm;

	pause_first(host);
	host_answer_lease(host, 1, 1000, host->now);
	vm = resume_first(host);
	host_pass(host, 1500);
	host_vm(host, NODE_EVENT_VM_READY, vm);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_CLAIM), 0);
	host_answer_lease(host, 1, 1000, host->now);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_CLAIM), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_host, close_host)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_pause_ends_the_life_and_keeps_the_folder),
		TEST(a_repeated_order_pauses_once),
		TEST(a_pause_that_came_to_nothing_is_told_and_not_tried_again),
		TEST(no_more_are_paused_than_there_is_room_for),
		TEST(a_resume_restores_the_folder_and_uses_it_up_when_it_runs),
		TEST(a_resume_is_cold_when_its_order_says_so),
		TEST(a_resume_that_fails_leaves_what_was_saved),
		TEST(a_resume_of_what_is_not_there_is_refused),
		TEST(two_claims_do_not_resume_the_same),
		TEST(a_killed_resume_is_a_no_and_leaves_what_was_saved),
		TEST(a_killed_pause_is_discarded_once),
		TEST(a_kill_that_overtakes_the_pause_ends_it),
		TEST(a_pause_while_no_agent_was_there_is_found),
		TEST(what_is_lost_from_disk_is_told),
		TEST(a_restored_microvm_of_an_agent_before_goes_to_nobody),
		TEST(a_resume_that_ran_before_the_agent_died_uses_up_what_was_saved),
		TEST(a_claim_under_way_at_a_restart_uses_it_up_when_it_runs),
		TEST(what_a_lost_node_had_paused_is_discarded),
		TEST(a_resume_waits_for_the_lease),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
