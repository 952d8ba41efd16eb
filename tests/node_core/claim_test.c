/* Orders and claims: the rules of claim.c, under their numbers, and what may go wrong on the way.
 */
#include "tests/node_core/host.h"

#include <setjmp.h>
#include <stdarg.h>

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

static void a_warm_claim_is_one_resume_and_then_one_record(void **state)
{
	struct host *host = *state;
	const struct wire_record *record;

	host->limits.pool_floor = 1;
	host_boot(host);
	host_template(host, "base", "content-1", 1, 256);
	host_ready(host);
	host_vm_ready(host, host_last(host, NODE_EFFECT_VM_START)->start.vm);
	host_forget_log(host);

	host_claim(host, 1);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_CLAIM), 1);
	assert_int_equal(host_count(host, NODE_EFFECT_JOURNAL_RECORD), 0);
	host_claimed(host, host_last(host, NODE_EFFECT_VM_CLAIM)->claim.vm, 1, true);
	record = host_last_record(host);
	assert_int_equal(record->kind, WIRE_RECORD_STARTED);
	assert_int_equal(record->attempt, 1);
	assert_int_equal(record->end_wall_ns, host->wall.ns + 300 * NS_PER_S);
	assert_string_equal(record->plan, "hobby");
	assert_int_equal(host->sandboxes_n, 1);
	assert_int_equal(host_last(host, NODE_EFFECT_PAYLOAD_DROP)->payload, 1);
}

static void rule_1_a_known_attempt_does_nothing_anew(void **state)
{
	struct host *host = *state;

	host_claim(host, 1);
	host_forget_log(host);
	host_claim(host, 1);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 0);
	assert_int_equal(host_count(host, NODE_EFFECT_PAYLOAD_DROP), 1);
	assert_int_equal(host_used(host).sandboxes, 1);
}

static void rule_1_holds_for_a_yes_a_no_and_an_end(void **state)
{
	struct host *host = *state;
	struct wire_order no = host_claim_order(2);
	uint64_t vm = host_run(host, 1);

	no.vcpus = 3;
	host_order(host, &no);
	host_ended(host, vm, CAUSE_TIMEOUT);
	assert_int_equal(host->records_n, 3);
	host_claim(host, 1);
	host_claim(host, 2);
	host_kill(host, 1);
	host_kill(host, 2);
	assert_int_equal(host->records_n, 3);
	assert_int_equal(host_used(host).sandboxes, 0);
}

static void rule_2_a_forgotten_attempt_is_refused_not_run(void **state)
{
	struct host *host = *state;
	struct wire_order unknown;

	for (uint64_t attempt = 100; attempt < 200; attempt++) {
		unknown = host_claim_order(attempt);
		unknown.vcpus = 3;
		host_order(host, &unknown);
		host_acked(host, host->records_n + 1);
		host_forget_log(host);
	}
	assert_true(host->attempts_n <= host->limits.attempts_max);
	assert_true(host->meta.attempt_floor > 100);
	host_claim(host, 100);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_STALE_ATTEMPT);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 0);
}

static void no_answer_is_forgotten_before_the_scheduler_has_it(void **state)
{
	struct host *host = *state;
	struct node_counts counts;

	for (uint64_t attempt = 1; attempt <= 100; attempt++) {
		host_kill(host, attempt);
		host_forget_log(host);
	}
	node_core_count(host->core, &counts);
	assert_int_equal(host->records_n, host->limits.attempts_max);
	assert_int_equal(counts.ignored, 100 - host->limits.attempts_max);
	assert_int_equal(host->meta.attempt_floor, 0);
}

static void rule_3_another_shape_or_template_is_a_no(void **state)
{
	struct host *host = *state;
	struct wire_order order = host_claim_order(1);

	order.mem_mib = 512;
	host_order(host, &order);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_NO_COMPATIBLE_NODE);
	order = host_claim_order(2);
	order.template[0] = 'x';
	host_order(host, &order);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_NO_COMPATIBLE_NODE);
	assert_int_equal(host_count(host, NODE_EFFECT_PAYLOAD_DROP), 2);
}

static void rule_4_whatever_is_ordered_the_node_is_never_oversold(void **state)
{
	struct host *host = *state;

	for (uint64_t attempt = 1; attempt <= 4; attempt++)
		host_run(host, attempt);
	host_claim(host, 5);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_NODE_FULL);
	assert_int_equal(host_used(host).sandboxes, 4);
	host_ended(host, 1, CAUSE_TIMEOUT);
	host_run(host, 6);
	assert_int_equal(host_used(host).sandboxes, 4);
}

static void rule_6_a_claim_takes_whichever_becomes_ready_first(void **state)
{
	struct host *host = *state;
	uint64_t first;

	host_claim(host, 1);
	first = host_last(host, NODE_EFFECT_VM_START)->start.vm;
	assert_false(host_last(host, NODE_EFFECT_VM_START)->start.warm);
	host_claim(host, 2);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 2);
	host_vm_ready(host, host_last(host, NODE_EFFECT_VM_START)->start.vm);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_CLAIM)->claim.order.attempt, 1);
	host_vm_ready(host, first);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_CLAIM)->claim.order.attempt, 2);
}

static void rule_7_a_failed_microvm_is_gone_before_another_is_tried(void **state)
{
	struct host *host = *state;
	uint64_t first;

	host_claim(host, 1);
	first = host_last(host, NODE_EFFECT_VM_START)->start.vm;
	host_vm_ready(host, first);
	host_claimed(host, first, 1, false);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_KILL)->kill.vm, first);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 1);
	host_ended(host, first, CAUSE_VM_FAULT);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 2);
	assert_int_equal(host->records_n, 0);

	uint64_t second = host_last(host, NODE_EFFECT_VM_START)->start.vm;
	host_vm_ready(host, second);
	host_claimed(host, second, 1, false);
	host_ended(host, second, CAUSE_VM_FAULT);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_VM_FAILED);
	assert_int_equal(host_used(host).sandboxes, 0);
	assert_int_equal(host_count(host, NODE_EFFECT_PAYLOAD_DROP), 1);
}

static void restores_that_fail_do_not_keep_a_claim_waiting_for_ever(void **state)
{
	struct host *host = *state;

	host_claim(host, 1);
	host_vm(host, NODE_EVENT_VM_GONE, 1);
	host_vm(host, NODE_EVENT_VM_GONE, 2);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_VM_FAILED);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_FORGET), 2);
}

static void a_cancelled_attempt_never_runs(void **state)
{
	struct host *host = *state;

	host_kill(host, 1);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_CANCELLED);
	host_claim(host, 1);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 0);
	assert_int_equal(host->records_n, 1);

	host_claim(host, 2);
	host_kill(host, 2);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_CANCELLED);
	host_vm_ready(host, host_last(host, NODE_EFFECT_VM_START)->start.vm);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_CLAIM), 0);
}

static void a_kill_in_the_middle_of_a_claim_is_a_yes_and_an_end(void **state)
{
	struct host *host = *state;

	host_claim(host, 1);
	host_vm_ready(host, 1);
	host_kill(host, 1);
	assert_int_equal(host->records_n, 0);
	host_claimed(host, 1, 1, true);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_STARTED);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_KILL)->kill.cause, CAUSE_REQUEST);
	host_pass(host, 7);
	host_ended(host, 1, CAUSE_REQUEST);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_ENDED);
	assert_int_equal(host_last_record(host)->to_ms, 7);
}

static void a_kill_in_the_middle_of_a_claim_that_fails_is_a_no(void **state)
{
	struct host *host = *state;

	host_claim(host, 1);
	host_vm_ready(host, 1);
	host_kill(host, 1);
	host_claimed(host, 1, 1, false);
	host_ended(host, 1, CAUSE_VM_FAULT);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_CANCELLED);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 1);
}

static void an_answer_of_an_epoch_that_is_over_changes_nothing(void **state)
{
	struct host *host = *state;
	uint64_t vm = host_run(host, 1);

	host_answer(host, 5);
	assert_int_equal(host->meta.epoch, 5);
	host_answer(host, 4);
	host_forget_log(host);
	host_claim(host, 2);
	host_kill(host, 1);
	host_deadline(host, 1, 1, 1000);
	assert_int_equal(host_count(host, NODE_EFFECT_PAYLOAD_DROP), 1);
	assert_int_equal(host->log_n, 1);
	host_answer(host, 5);
	host_kill(host, 1);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_KILL)->kill.vm, vm);
}

static void before_ready_no_order_is_taken(void **state)
{
	struct host *host = *state;

	host_boot(host);
	host_template(host, "base", "content-1", 1, 256);
	host_answer(host, 1);
	host_forget_log(host);
	host_claim(host, 1);
	host_kill(host, 2);
	assert_int_equal(host->records_n, 0);
	assert_int_equal(host_count(host, NODE_EFFECT_PAYLOAD_DROP), 1);
}

static void an_older_time_limit_does_not_undo_a_newer_one(void **state)
{
	struct host *host = *state;
	uint64_t vm = host_run(host, 1);

	host_deadline(host, 1, 2, 50000);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_DEADLINE)->deadline.vm, vm);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_DEADLINE)->deadline.end_mono.ns,
			 host->now.ns + 50 * NS_PER_S);
	assert_int_equal(host_last_record(host)->deadline_version, 2);
	assert_int_equal(host_last_record(host)->from_ms, host_last_record(host)->to_ms);
	host_forget_log(host);
	host_deadline(host, 1, 1, 99000);
	host_deadline(host, 1, 2, 99000);
	assert_int_equal(host->log_n, 0);
}

static void order_network(struct host *host, uint64_t attempt, uint64_t version)
{
	static uint64_t payload = 1000;
	struct wire_order order = host_claim_order(attempt);
	struct node_event event = {.kind = NODE_EVENT_ORDER};

	order.kind = WIRE_ORDER_DEADLINE;
	order.deadline_version = version;
	order.end_wall_ns = host->wall.ns + 50 * NS_PER_S;
	event.order.order = &order;
	event.order.payload = host_keep_payload(host, ++payload);
	host_step(host, &event);
}

static void network_set(struct host *host, const struct node_effect *asked, bool ok)
{
	struct node_event event = {.kind = NODE_EVENT_VM_NETWORK_SET,
				   .network = {asked->network.vm, asked->network.change, ok}};

	host_step(host, &event);
}

static void new_rules_are_told_when_they_are_in_force(void **state)
{
	struct host *host = *state;
	uint64_t vm = host_run(host, 1), records_n = host->records_n;
	struct node_effect first, second;

	order_network(host, 1, 1);
	first = *host_last(host, NODE_EFFECT_VM_NETWORK);
	assert_int_equal(first.network.vm, vm);
	assert_int_equal(host->records_n, records_n);
	/* Not in force: it is not told, and the order comes again. */
	network_set(host, &first, false);
	assert_int_equal(host->records_n, records_n);
	order_network(host, 1, 1);
	first = *host_last(host, NODE_EFFECT_VM_NETWORK);
	order_network(host, 1, 2);
	second = *host_last(host, NODE_EFFECT_VM_NETWORK);
	assert_int_not_equal(first.network.change, second.network.change);
	network_set(host, &first, true); /* of rules that are not wanted any more */
	assert_int_equal(host->records_n, records_n);
	network_set(host, &second, true);
	assert_int_equal(host_last_record(host)->deadline_version, 2);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_USAGE);
	assert_int_equal(host_last(host, NODE_EFFECT_JOURNAL_RECORD)->note_of,
			 second.network.payload);
	host_forget_log(host);
	order_network(host, 1, 2); /* again: it is known */
	assert_int_equal(host_count(host, NODE_EFFECT_VM_NETWORK), 0);
	assert_int_equal(host_count(host, NODE_EFFECT_PAYLOAD_DROP), 1);
	/* What is held goes with its sandbox. */
	order_network(host, 1, 3);
	host_forget_log(host);
	host_ended(host, vm, CAUSE_REQUEST);
	assert_int_equal(host_count(host, NODE_EFFECT_PAYLOAD_DROP), 1);
}

static void rules_of_a_leader_before_are_pending_until_they_are_in_force(void **state)
{
	struct host *host = *state;
	struct node_effect asked;

	host_run(host, 1);
	order_network(host, 1, 1);
	asked = *host_last(host, NODE_EFFECT_VM_NETWORK);
	assert_int_equal(host_poll(host).pending_n, 0);
	host_answer(host, 9);
	assert_int_equal(host_poll(host).pending_n, 1);
	network_set(host, &asked, true);
	assert_int_equal(host_poll(host).pending_n, 0);
	assert_int_equal(host_last_record(host)->deadline_version, 1);
	/* A shim that does not answer keeps no leader waiting for ever, and is not believed later.
	 */
	order_network(host, 1, 2);
	asked = *host_last(host, NODE_EFFECT_VM_NETWORK);
	host_answer(host, 10);
	assert_int_equal(host_poll(host).pending_n, 1);
	host_pass(host, 10000);
	host_answer(host, 10);
	assert_int_equal(host_poll(host).pending_n, 0);
	network_set(host, &asked, true);
	assert_int_equal(host_last_record(host)->deadline_version, 1);
}

static void time_limits_out_of_this_world_are_bounded(void **state)
{
	struct host *host = *state;
	struct wire_order order = host_claim_order(1);

	host_run(host, 1);
	order.kind = WIRE_ORDER_DEADLINE;
	order.deadline_version = 1;
	order.end_wall_ns = INT64_MAX;
	host_order(host, &order);
	assert_true(host_last(host, NODE_EFFECT_VM_DEADLINE)->deadline.end_mono.ns > host->now.ns);
	order.deadline_version = 2;
	order.end_wall_ns = INT64_MIN;
	host_order(host, &order);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_DEADLINE)->deadline.end_mono.ns, 0);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, open_host, close_host)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROW(a_warm_claim_is_one_resume_and_then_one_record),
		ROW(rule_1_a_known_attempt_does_nothing_anew),
		ROW(rule_1_holds_for_a_yes_a_no_and_an_end),
		ROW(rule_2_a_forgotten_attempt_is_refused_not_run),
		ROW(no_answer_is_forgotten_before_the_scheduler_has_it),
		ROW(rule_3_another_shape_or_template_is_a_no),
		ROW(rule_4_whatever_is_ordered_the_node_is_never_oversold),
		ROW(rule_6_a_claim_takes_whichever_becomes_ready_first),
		ROW(rule_7_a_failed_microvm_is_gone_before_another_is_tried),
		ROW(restores_that_fail_do_not_keep_a_claim_waiting_for_ever),
		ROW(a_cancelled_attempt_never_runs),
		ROW(a_kill_in_the_middle_of_a_claim_is_a_yes_and_an_end),
		ROW(a_kill_in_the_middle_of_a_claim_that_fails_is_a_no),
		ROW(an_answer_of_an_epoch_that_is_over_changes_nothing),
		ROW(before_ready_no_order_is_taken),
		ROW(an_older_time_limit_does_not_undo_a_newer_one),
		ROW(new_rules_are_told_when_they_are_in_force),
		ROW(rules_of_a_leader_before_are_pending_until_they_are_in_force),
		ROW(time_limits_out_of_this_world_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
