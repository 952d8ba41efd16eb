/* Metering, and what a start finds: stories of agents that die, hosts that reboot, shims that fail.
 */
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

static void a_tick_meters_what_the_shim_vouches_for(void **state)
{
	struct host *host = *state;
	uint64_t vm = host_run(host, 1);
	const struct wire_record *record;

	host_forget_log(host);
	host_pass(host, 60000);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_METER), 1);
	assert_int_equal(host_count(host, NODE_EFFECT_JOURNAL_RECORD), 0);
	host_metered(host, vm);
	record = host_last_record(host);
	assert_int_equal(record->kind, WIRE_RECORD_USAGE);
	assert_int_equal(record->from_ms, 0);
	assert_int_equal(record->to_ms, 60000);
	assert_int_equal(record->at_wall_ns - record->from_wall_ns, 60 * NS_PER_S);
	assert_int_equal(host->sandboxes[0].metered_ms, 60000);
}

static void intervals_have_no_gap_and_no_overlap_across_restarts(void **state)
{
	struct host *host = *state;
	struct wire_order claim = host_claim_order(1);
	struct mono resumed = host->now;
	struct node_event event;
	uint64_t vm = host_run(host, 1), told = 0;

	for (int i = 0; i < 3; i++) {
		host_pass(host, 60000);
		host_metered(host, vm);
		host_pass(host, 1234);
		host_restart(host);
		event = host_found_claimed(vm, &claim, resumed);
		host_step(host, &event);
		host_ready(host);
	}
	host_ended(host, vm, CAUSE_TIMEOUT);
	for (size_t i = 1; i < host->records_n; i++) {
		assert_int_equal(host->records[i].from_ms, told);
		told = host->records[i].to_ms;
	}
	assert_int_equal(told, 3 * 61234);
	assert_int_equal(host->sandboxes_n, 0);
}

static void a_clock_that_is_set_back_moves_no_position(void **state)
{
	struct host *host = *state;
	uint64_t vm = host_run(host, 1);
	int64_t began_ns = host->wall.ns;

	host_pass(host, 5000);
	host->wall.ns -= 3600 * NS_PER_S;
	host_ended(host, vm, CAUSE_REQUEST);
	assert_int_equal(host_last_record(host)->at_wall_ns, began_ns + 5 * NS_PER_S);
	assert_int_equal(host_last_record(host)->to_ms, 5000);
}

static void an_end_while_no_agent_was_there_is_billed_to_its_instant(void **state)
{
	struct host *host = *state;
	struct wire_order claim = host_claim_order(1);
	struct mono resumed = host->now;
	uint64_t vm = host_run(host, 1);
	struct node_event event;

	host_pass(host, 100000);
	host_restart(host);
	event = host_found_claimed(vm, &claim, resumed);
	event.adopted.state = WIRE_SHIM_ENDED;
	event.adopted.ended_mono = mono_add_ms(resumed, 33333);
	event.adopted.cause = CAUSE_TIMEOUT;
	host_step(host, &event);
	assert_int_equal(host_last_record(host)->to_ms, 33333);
	assert_int_equal(host_last_record(host)->cause, CAUSE_TIMEOUT);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_FORGET)->vm, vm);
}

static void a_reboot_ends_what_ran_at_the_last_journaled_position(void **state)
{
	struct host *host = *state;
	uint64_t vm = host_run(host, 1);

	host_pass(host, 60000);
	host_metered(host, vm);
	host_pass(host, 20000);
	strcpy(host->boot_id, "second");
	host->now.ns = 5 * NS_PER_S;
	host_restart(host);
	assert_int_equal(host->records_n, 2);
	host_ready(host);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_ENDED);
	assert_int_equal(host_last_record(host)->cause, CAUSE_NODE_RESTARTED);
	assert_int_equal(host_last_record(host)->to_ms, 60000);
	assert_string_equal(host_last_record(host)->boot_id, "first");
	assert_int_equal(host_used(host).sandboxes, 0);
}

static void a_shim_that_dies_unseen_ends_its_sandbox_by_its_own_fault(void **state)
{
	struct host *host = *state;
	uint64_t vm = host_run(host, 1);

	host_pass(host, 1000);
	host_vm(host, NODE_EVENT_VM_GONE, vm);
	assert_int_equal(host_last_record(host)->cause, CAUSE_SHIM_FAULT);
	assert_int_equal(host_last_record(host)->to_ms, 0);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_FORGET)->vm, vm);
}

static void a_claim_that_succeeded_and_was_not_journaled_is_a_yes(void **state)
{
	struct host *host = *state;
	struct wire_order claim = host_claim_order(1);
	struct node_event event;

	host_claim(host, 1);
	host_vm_ready(host, 1);
	host_restart(host);
	event = host_found_claimed(1, &claim, host->now);
	host_step(host, &event);
	host_ready(host);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_STARTED);
	host_claim(host, 1);
	assert_int_equal(host->records_n, 1);
	assert_int_equal(host_used(host).sandboxes, 1);
}

static void a_claim_that_succeeded_and_ended_unheard_is_told_whole(void **state)
{
	struct host *host = *state;
	struct wire_order claim = host_claim_order(1);
	struct node_event event = host_found_claimed(9, &claim, host->now);

	host_pass(host, 10000);
	host_restart(host);
	event.adopted.state = WIRE_SHIM_ENDED;
	event.adopted.ended_mono = mono_add_ms(event.adopted.resumed_mono, 4000);
	event.adopted.cause = CAUSE_OOM_GUEST;
	host_step(host, &event);
	assert_int_equal(host->records_n, 2);
	assert_int_equal(host_last_record(host)->to_ms, 4000);
	assert_int_equal(host_last_record(host)->cause, CAUSE_OOM_GUEST);
	assert_int_equal(host->sandboxes_n, 0);
}

static void a_claim_under_way_at_the_start_is_waited_for(void **state)
{
	struct host *host = *state;
	struct wire_order claim = host_claim_order(1);
	struct node_event event;

	host_restart(host);
	event = host_found(7, WIRE_SHIM_READY);
	event.adopted.claim = &claim;
	host_step(host, &event);
	host_ready(host);
	host_claim(host, 1);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 0);
	host_claimed(host, 7, 1, true);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_STARTED);
}

static void a_claim_under_way_that_fails_can_be_ordered_again(void **state)
{
	struct host *host = *state;
	struct wire_order claim = host_claim_order(1);
	struct node_event event;

	host_restart(host);
	event = host_found(7, WIRE_SHIM_READY);
	event.adopted.claim = &claim;
	host_step(host, &event);
	host_ready(host);
	host_ended(host, 7, CAUSE_VM_FAULT);
	assert_int_equal(host->records_n, 0);
	assert_int_equal(host_used(host).sandboxes, 0);
	host_claim(host, 1);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 1);
}

static void what_runs_for_an_attempt_that_was_refused_is_ended_unbilled(void **state)
{
	struct host *host = *state;
	struct wire_order claim = host_claim_order(1);
	struct node_event event;

	host_kill(host, 1);
	host_restart(host);
	event = host_found_claimed(3, &claim, host->now);
	host_step(host, &event);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_KILL)->kill.vm, 3);
	host_ended(host, 3, CAUSE_PLATFORM);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_FORGET)->vm, 3);
	assert_int_equal(host->records_n, 1);
}

static void a_time_limit_that_was_journaled_reaches_the_shim_after_all(void **state)
{
	struct host *host = *state;
	struct wire_order claim = host_claim_order(1);
	struct mono resumed = host->now;
	uint64_t vm = host_run(host, 1);
	struct node_event event;

	host_deadline(host, 1, 1, 900000);
	host_restart(host);
	event = host_found_claimed(vm, &claim, resumed);
	host_step(host, &event);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_DEADLINE)->deadline.end_mono.ns,
			 resumed.ns + 900 * NS_PER_S);
}

static void warm_microvms_survive_their_agent(void **state)
{
	struct host *host = *state;
	struct node_event event;

	host_restart(host);
	event = host_found(4, WIRE_SHIM_READY);
	host_step(host, &event);
	event = host_found(5, WIRE_SHIM_WARMING);
	host_step(host, &event);
	event = host_found(6, WIRE_SHIM_READY);
	strcpy(event.adopted.template_id, "content-0");
	host_step(host, &event);
	assert_int_equal(host_vms(host, NODE_VM_READY), 1);
	assert_int_equal(host_vms(host, NODE_VM_WARMING), 1);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_KILL)->kill.vm, 6);
	event = host_found(8, WIRE_SHIM_ENDED);
	host_step(host, &event);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_FORGET)->vm, 8);
}

static void numbers_of_microvms_are_not_used_again(void **state)
{
	struct host *host = *state;
	struct node_event event;

	host_restart(host);
	event = host_found(40, WIRE_SHIM_READY);
	strcpy(event.adopted.template_id, "content-0");
	host_step(host, &event);
	host_ready(host);
	host_claim(host, 1);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_START)->start.vm, 41);
}

static void a_start_says_how_far_the_outbox_reaches(void **state)
{
	struct host *host = *state;

	host_kill(host, 1);
	host_restart(host);
	host_ready(host);
	assert_int_equal(host_last(host, NODE_EFFECT_RECORDS)->records.end_seq, 2);
}

static void records_are_trimmed_when_acknowledged_and_old_but_never_the_newest(void **state)
{
	struct host *host = *state;

	host_kill(host, 1);
	host_kill(host, 2);
	host_kill(host, 3);
	host_acked(host, 3);
	host_pass(host, 61000);
	assert_int_equal(host_last(host, NODE_EFFECT_JOURNAL_TRIM)->trim.below_seq, 3);
	host_acked(host, 4);
	host_pass(host, 60000);
	assert_int_equal(host_last(host, NODE_EFFECT_JOURNAL_TRIM)->trim.below_seq, 3);
	assert_true(host_last(host, NODE_EFFECT_JOURNAL_TRIM)->trim.before_wall.ns <
		    host->wall.ns - 3600 * NS_PER_S + NS_PER_S * 60);
}

static void a_journal_put_back_from_a_copy_uses_no_number_again(void **state)
{
	struct host *host = *state;

	host_acked(host, 50);
	host->records_n = 49;
	host_kill(host, 1);
	assert_int_equal(host_last_record(host)->seq, 50);
}

/* More ends at once than a step has room for: the rest stays due. */
static void many_lost_sandboxes_are_ended_in_several_steps(void **state)
{
	struct host *host = host_open();

	(void)state;
	host->limits.capacity = (struct wire_room){100, 100000, 100000, 40};
	host->limits.vms_max = 64;
	host->limits.attempts_max = 200;
	host_boot(host);
	host_template(host, "base", "content-1", 1, 256);
	host_ready(host);
	for (uint64_t attempt = 1; attempt <= 40; attempt++) {
		host_forget_log(host);
		host_run(host, attempt);
	}
	host_forget_log(host);
	host_restart(host);
	host_ready(host);
	assert_true(host_vms(host, NODE_VM_LOADED) > 0);
	host_pass(host, 0);
	assert_int_equal(host_vms(host, NODE_VM_LOADED), 0);
	assert_int_equal(host->records_n, 80);
	assert_int_equal(host_used(host).sandboxes, 0);
	host_close(host);
}

#define STORY(test) cmocka_unit_test_setup_teardown(test, open_host, close_host)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_tick_meters_what_the_shim_vouches_for),
		STORY(intervals_have_no_gap_and_no_overlap_across_restarts),
		STORY(a_clock_that_is_set_back_moves_no_position),
		STORY(an_end_while_no_agent_was_there_is_billed_to_its_instant),
		STORY(a_reboot_ends_what_ran_at_the_last_journaled_position),
		STORY(a_shim_that_dies_unseen_ends_its_sandbox_by_its_own_fault),
		STORY(a_claim_that_succeeded_and_was_not_journaled_is_a_yes),
		STORY(a_claim_that_succeeded_and_ended_unheard_is_told_whole),
		STORY(a_claim_under_way_at_the_start_is_waited_for),
		STORY(a_claim_under_way_that_fails_can_be_ordered_again),
		STORY(what_runs_for_an_attempt_that_was_refused_is_ended_unbilled),
		STORY(a_time_limit_that_was_journaled_reaches_the_shim_after_all),
		STORY(warm_microvms_survive_their_agent),
		STORY(numbers_of_microvms_are_not_used_again),
		STORY(a_start_says_how_far_the_outbox_reaches),
		STORY(records_are_trimmed_when_acknowledged_and_old_but_never_the_newest),
		STORY(a_journal_put_back_from_a_copy_uses_no_number_again),
		cmocka_unit_test(many_lost_sandboxes_are_ended_in_several_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
