/* Snapshots on their node: how they come to be, what begins from them, and how they go. */
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

static struct wire_order snapshot_order(uint64_t attempt, uint64_t source)
{
	struct wire_order order = host_claim_order(attempt);

	order.kind = WIRE_ORDER_SNAPSHOT;
	order.source = source;
	return order;
}

static void order_snapshot(struct host *host, uint64_t attempt, uint64_t source)
{
	struct wire_order order = snapshot_order(attempt, source);

	host_order(host, &order);
}

static void answer(struct host *host, bool ok)
{
	const struct node_effect *save = host_last(host, NODE_EFFECT_VM_SAVE);
	struct node_event event = {.kind = NODE_EVENT_VM_SNAPPED};

	event.snapped.vm = save->save.vm;
	event.snapped.save = save->save.save;
	event.snapped.into = save->save.into;
	event.snapped.ok = ok;
	event.snapped.mib = 40;
	host_step(host, &event);
}

/* Of attempt 1, which runs, as attempt 2. Returns the number of its folder. */
static uint64_t keep(struct host *host)
{
	host_run(host, 1);
	order_snapshot(host, 2, 1);
	answer(host, true);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_KEPT);
	return host->saved[0].vm;
}

static void begin(struct host *host, uint64_t attempt)
{
	struct wire_order order = host_resume_order(attempt, 2);

	order.incarnation = 1;
	host_order(host, &order);
}

static void a_snapshot_is_kept_beside_what_runs_on(void **state)
{
	struct host *host = *state;
	uint64_t vm = host_run(host, 1), into;

	order_snapshot(host, 2, 1);
	order_snapshot(host, 2, 1);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_SAVE), 1);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_SAVE)->save.vm, vm);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_SAVE)->save.how, WIRE_SAVE_SNAPSHOT);
	into = host_last(host, NODE_EFFECT_VM_SAVE)->save.into;
	assert_true(into > vm);
	assert_int_equal(host->saved_n, 0);
	answer(host, true);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_KEPT);
	assert_int_equal(host_last_record(host)->attempt, 2);
	assert_int_equal(host_last_record(host)->saved_mib, 40);
	assert_true(id_equal(&host_last_record(host)->source, &host->sandboxes[0].id));
	assert_int_equal(host->saved_n, 1);
	assert_int_equal(host->saved[0].vm, into);
	assert_int_equal(host_used(host).sandboxes, 1);
	order_snapshot(host, 2, 1);
	assert_int_equal(host->records_n, 2);
}

static void any_number_begin_from_it_at_once(void **state)
{
	struct host *host = *state;
	uint64_t folder = keep(host);

	for (uint64_t attempt = 3; attempt <= 4; attempt++) {
		begin(host, attempt);
		assert_int_equal(host_last(host, NODE_EFFECT_VM_START)->start.resume, folder);
		host_vm(host, NODE_EVENT_VM_READY, host_last(host, NODE_EFFECT_VM_START)->start.vm);
	}
	for (uint64_t attempt = 3; attempt <= 4; attempt++)
		host_claimed(host, host_last(host, NODE_EFFECT_VM_START)->start.vm + attempt - 4,
			     attempt, true);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_STARTED);
	assert_int_equal(host_used(host).sandboxes, 3);
	assert_int_equal(host->saved_n, 1);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_FORGET), 0);
}

static void what_could_not_be_saved_is_a_no_for_ever(void **state)
{
	struct host *host = *state;

	host_run(host, 1);
	order_snapshot(host, 2, 1);
	answer(host, false);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_REFUSED);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_SNAPSHOT_FAILED);
	order_snapshot(host, 2, 1);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_SAVE), 1);
	assert_int_equal(host->saved_n, 0);
}

static void of_what_does_not_run_there_is_none(void **state)
{
	struct host *host = *state;

	order_snapshot(host, 2, 1);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_REFUSED);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_SANDBOX_UNKNOWN);
}

static void it_waits_for_a_pause_and_a_pause_for_it(void **state)
{
	struct host *host = *state;

	host_run(host, 1);
	order_snapshot(host, 2, 1);
	host_pause(host, 1, 100);
	order_snapshot(host, 3, 1);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_SAVE), 1);
	answer(host, true);
	host_pause(host, 1, 100);
	order_snapshot(host, 3, 1);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_SAVE), 2);
}

static void an_end_in_the_middle_is_a_no_and_its_folder_goes(void **state)
{
	struct host *host = *state;
	uint64_t vm = host_run(host, 1);

	order_snapshot(host, 2, 1);
	host_ended(host, vm, CAUSE_VM_FAULT);
	assert_int_equal(host->records[host->records_n - 2].kind, WIRE_RECORD_ENDED);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_REFUSED);
	assert_int_equal(host_last_record(host)->attempt, 2);
	host_forget_log(host);
	order_snapshot(host, 2, 1);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_SAVE), 0);
}

static void one_that_is_dropped_while_it_is_made_is_never_kept(void **state)
{
	struct host *host = *state;

	host_run(host, 1);
	order_snapshot(host, 2, 1);
	host_kill(host, 2);
	assert_int_equal(host->records_n, 1);
	answer(host, true);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_REFUSED);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_CANCELLED);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_FORGET)->vm,
			 host_last(host, NODE_EFFECT_VM_SAVE)->save.into);
	assert_int_equal(host->saved_n, 0);
}

static void it_is_not_dropped_under_a_claim(void **state)
{
	struct host *host = *state;
	uint64_t folder = keep(host), vm;

	begin(host, 3);
	vm = host_last(host, NODE_EFFECT_VM_START)->start.vm;
	host_kill(host, 2);
	assert_int_equal(host->saved_n, 1);
	host_vm(host, NODE_EVENT_VM_READY, vm);
	host_claimed(host, vm, 3, true);
	host_kill(host, 2);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_DISCARDED);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_FORGET)->vm, folder);
	assert_int_equal(host->saved_n, 0);
	begin(host, 4);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_SAVED_GONE);
}

static void it_outlives_what_it_was_made_of_and_an_agent(void **state)
{
	struct host *host = *state;
	uint64_t folder = keep(host);
	struct node_event found;

	host_ended(host, host->sandboxes[0].vm, CAUSE_TIMEOUT);
	host_restart(host);
	found = host_found(folder, WIRE_SHIM_ENDED);
	found.adopted.cause = CAUSE_PAUSE;
	host_step(host, &found);
	host_ready(host);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_FORGET), 0);
	begin(host, 3);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_START)->start.resume, folder);
}

static void one_that_an_agent_before_moved_and_did_not_journal_goes(void **state)
{
	struct host *host = *state;
	uint64_t vm = host_run(host, 1), into;
	struct wire_order claim = host_claim_order(1);
	struct node_event found;

	order_snapshot(host, 2, 1);
	into = host_last(host, NODE_EFFECT_VM_SAVE)->save.into;
	host_restart(host);
	found = host_found(into, WIRE_SHIM_ENDED);
	found.adopted.cause = CAUSE_PAUSE;
	host_step(host, &found);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_FORGET)->vm, into);
	found = host_found_claimed(vm, &claim, host->now);
	host_step(host, &found);
	host_ready(host);
	order_snapshot(host, 2, 1);
	answer(host, false);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_REFUSED);
}

static void what_an_older_leader_wants_made_is_counted_as_pending(void **state)
{
	struct host *host = *state;

	host_run(host, 1);
	order_snapshot(host, 2, 1);
	host_answer(host, 9);
	assert_int_equal(host_poll(host).pending_n, 1);
	answer(host, true);
	assert_int_equal(host_poll(host).pending_n, 0);
}

static void what_a_lost_node_kept_is_discarded(void **state)
{
	struct host *host = *state;

	keep(host);
	host_answer_lost(host, 9, 100);
	assert_int_equal(host->saved_n, 0);
	begin(host, 101);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_SAVED_GONE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_host, close_host)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_snapshot_is_kept_beside_what_runs_on),
		TEST(any_number_begin_from_it_at_once),
		TEST(what_could_not_be_saved_is_a_no_for_ever),
		TEST(of_what_does_not_run_there_is_none),
		TEST(it_waits_for_a_pause_and_a_pause_for_it),
		TEST(an_end_in_the_middle_is_a_no_and_its_folder_goes),
		TEST(one_that_is_dropped_while_it_is_made_is_never_kept),
		TEST(it_is_not_dropped_under_a_claim),
		TEST(it_outlives_what_it_was_made_of_and_an_agent),
		TEST(one_that_an_agent_before_moved_and_did_not_journal_goes),
		TEST(what_an_older_leader_wants_made_is_counted_as_pending),
		TEST(what_a_lost_node_kept_is_discarded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
