/* Until when sandboxes may run: what of the answers counts, and what the shims are told of it. */
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

enum { LEASE_MS = 60000 };

static struct mono ago(const struct host *host, int64_t ms)
{
	return mono_add_ms(host->now, -ms);
}

/* Epoch 2 gives a lease with an answer to a poll that was sent now. */
static struct mono lease(struct host *host)
{
	host_answer_lease(host, 2, LEASE_MS, host->now);
	return mono_add_ms(host->now, LEASE_MS);
}

static int64_t told_ns(const struct host *host)
{
	return host_last(host, NODE_EFFECT_LEASE)->lease_mono.ns;
}

static void a_lease_counts_from_when_the_poll_was_sent(void **state)
{
	struct host *host = *state;

	host_run(host, 1);
	host_forget_log(host);
	host_answer_lease(host, 2, LEASE_MS, ago(host, 1500));
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 1);
	assert_int_equal(told_ns(host), mono_add_ms(host->now, LEASE_MS - 1500).ns);
	host_claim(host, 2);
	host_vm_ready(host, host_last(host, NODE_EFFECT_VM_START)->start.vm);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_CLAIM)->claim.lease_mono.ns,
			 mono_add_ms(host->now, LEASE_MS - 1500).ns);
}

static void a_claim_brings_its_lease_along(void **state)
{
	struct host *host = *state;

	lease(host);
	host_run(host, 1);
	host_run(host, 2);
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 0);
}

static void a_lease_is_told_on_by_an_eighth_of_itself(void **state)
{
	struct host *host = *state;

	host_run(host, 1);
	lease(host);
	host_forget_log(host);
	for (int i = 1; i <= 15; i++) {
		host_pass(host, 500);
		lease(host);
		assert_int_equal(host_count(host, NODE_EFFECT_LEASE), i == 15);
	}
	assert_int_equal(told_ns(host), mono_add_ms(host->now, LEASE_MS).ns);
}

static void an_answer_that_was_overtaken_takes_no_lease_back(void **state)
{
	struct host *host = *state;
	struct mono until;

	host_run(host, 1);
	until = lease(host);
	host_forget_log(host);
	host_answer_lease(host, 2, LEASE_MS, ago(host, 20000));
	host_answer_lease(host, 2, 1000, host->now);
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 0);
	host_claim(host, 2);
	host_vm_ready(host, host_last(host, NODE_EFFECT_VM_START)->start.vm);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_CLAIM)->claim.lease_mono.ns, until.ns);
}

static void an_old_leaders_answer_gives_no_lease(void **state)
{
	struct host *host = *state;

	host_run(host, 1);
	lease(host);
	host_pass(host, 10000);
	host_answer_lease(host, 3, LEASE_MS, ago(host, 9000));
	host_forget_log(host);
	host_answer_lease(host, 2, LEASE_MS, host->now);
	host_answer_lease(host, 2, 0, host->now);
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 0);
	host_answer(host, 3);
	assert_int_equal(told_ns(host), 0);
}

static void an_answer_to_a_poll_that_was_given_up_gives_no_lease(void **state)
{
	struct host *host = *state;
	struct mono until;

	host_run(host, 1);
	until = lease(host);
	host_pass(host, 30000);
	host_forget_log(host);
	host_answer_lease(host, 2, LEASE_MS, (struct mono){0});
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 0);
	/* Not even that of a new leader, which leaves the one before him as it is. */
	host_answer_lease(host, 3, LEASE_MS, (struct mono){0});
	host_run(host, 3);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_CLAIM)->claim.lease_mono.ns, until.ns);
	host_pass(host, 30000);
	host_forget_log(host);
	assert_true(until.ns <= host->now.ns);
	host_claim(host, 2);
	assert_int_equal(host_used(host).sandboxes, 2);
	assert_int_equal(host_last(host, NODE_EFFECT_PAYLOAD_DROP)->payload, 2);
}

static void a_lease_that_was_over_is_told_again_however_little_it_moves(void **state)
{
	struct host *host = *state;

	host_run(host, 1);
	lease(host);
	host_pass(host, LEASE_MS + 1);
	host_forget_log(host);
	host_answer_lease(host, 2, LEASE_MS, ago(host, LEASE_MS - 1));
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 1);
	assert_int_equal(told_ns(host), mono_add_ms(host->now, 1).ns);
	host_forget_log(host);
	host_pass(host, 5);
	host_answer_lease(host, 2, LEASE_MS, ago(host, LEASE_MS)); /* over before it was heard of */
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 0);
}

static void leases_may_be_switched_off_and_on(void **state)
{
	struct host *host = *state;

	host_run(host, 1);
	host_forget_log(host);
	host_answer(host, 1);
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 0);
	lease(host);
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 1);
	host_answer(host, 2);
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 2);
	assert_int_equal(told_ns(host), 0);
	lease(host);
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 3);
	assert_int_equal(told_ns(host), mono_add_ms(host->now, LEASE_MS).ns);
}

static void leases_switched_off_in_the_middle_of_a_claim_do_not_freeze_it(void **state)
{
	struct host *host = *state;
	uint64_t vm;

	lease(host);
	host_run(host, 1);
	host_claim(host, 2);
	vm = host_last(host, NODE_EFFECT_VM_START)->start.vm;
	host_vm_ready(host, vm);
	host_answer(host, 2);
	host_forget_log(host);
	host_claimed(host, vm, 2, true);
	assert_int_equal(told_ns(host), 0);
}

static void each_new_leaders_lease_is_told(void **state)
{
	struct host *host = *state;

	host_run(host, 1);
	lease(host);
	host_forget_log(host);
	host_answer_lease(host, 3, LEASE_MS, host->now);
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 1);
}

static void what_was_adopted_is_told_of_the_next_lease(void **state)
{
	struct host *host = *state;
	struct wire_order claim = host_claim_order(1);
	struct mono resumed = host->now;
	uint64_t vm = host_run(host, 1);
	struct node_event event;

	lease(host);
	host_restart(host);
	event = host_found_claimed(vm, &claim, resumed);
	host_step(host, &event);
	host_step(host, &(struct node_event){.kind = NODE_EVENT_READY});
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 0);
	lease(host);
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 1);
}

/* Of the lease that the agent before gave it nobody knows. */
static void a_claim_that_a_start_finds_is_told_of_the_lease_when_it_runs(void **state)
{
	struct host *host = *state;
	struct wire_order first = host_claim_order(1), second = host_claim_order(2);
	struct mono resumed = host->now;
	uint64_t vm = host_run(host, 1);
	struct node_event event;

	host_restart(host);
	event = host_found_claimed(vm, &first, resumed);
	host_step(host, &event);
	event = host_found(9, WIRE_SHIM_READY);
	event.adopted.claim = &second;
	host_step(host, &event);
	host_ready(host);
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 1);
	host_claimed(host, 9, 2, true);
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 2);
}

/* It may not have reached the shim, which was still being claimed. */
static void a_lease_told_in_the_middle_of_a_claim_is_told_again_after_it(void **state)
{
	struct host *host = *state;
	uint64_t vm;

	lease(host);
	host_run(host, 1);
	host_claim(host, 2);
	vm = host_last(host, NODE_EFFECT_VM_START)->start.vm;
	host_vm_ready(host, vm);
	host_pass(host, LEASE_MS / 2);
	lease(host);
	host_forget_log(host);
	host_claimed(host, vm, 2, true);
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 1);
	host_run(host, 3);
	assert_int_equal(host_count(host, NODE_EFFECT_LEASE), 1);
}

static void nothing_begins_under_a_lease_that_is_over(void **state)
{
	struct host *host = *state;
	uint64_t vm;

	lease(host);
	host_claim(host, 1);
	vm = host_last(host, NODE_EFFECT_VM_START)->start.vm;
	host_pass(host, LEASE_MS);
	host_vm_ready(host, vm);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_CLAIM), 0);
	host_claim(host, 2);
	assert_int_equal(host_used(host).sandboxes, 1);
	assert_int_equal(host->records_n, 0);
	/* The microVM that waits for it is enough. */
	host_pass(host, 1000);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 1);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_KILL), 0);
	lease(host);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_CLAIM)->claim.vm, vm);
	host_claim(host, 2);
	assert_int_equal(host_used(host).sandboxes, 2);
}

static void a_start_takes_no_claim_before_a_lease(void **state)
{
	struct host *host = *state;

	host_restart(host);
	host_step(host, &(struct node_event){.kind = NODE_EVENT_READY});
	host_answer_lease(host, 2, LEASE_MS, (struct mono){0});
	host_claim(host, 1);
	assert_int_equal(host_used(host).sandboxes, 0);
	assert_int_equal(host->records_n, 0);
	assert_int_equal(host->payloads_n, 0);
	/* A no needs none. */
	host_kill(host, 2);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_CANCELLED);
}

static void a_lease_out_of_this_world_is_bounded(void **state)
{
	struct host *host = *state;

	host_run(host, 1);
	host_answer_lease(host, 2, INT64_MAX / 1000000, host->now);
	assert_true(told_ns(host) > host->now.ns);
}

#define STORY(test) cmocka_unit_test_setup_teardown(test, open_host, close_host)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_lease_counts_from_when_the_poll_was_sent),
		STORY(a_claim_brings_its_lease_along),
		STORY(a_lease_is_told_on_by_an_eighth_of_itself),
		STORY(an_answer_that_was_overtaken_takes_no_lease_back),
		STORY(an_old_leaders_answer_gives_no_lease),
		STORY(an_answer_to_a_poll_that_was_given_up_gives_no_lease),
		STORY(a_lease_that_was_over_is_told_again_however_little_it_moves),
		STORY(leases_may_be_switched_off_and_on),
		STORY(leases_switched_off_in_the_middle_of_a_claim_do_not_freeze_it),
		STORY(each_new_leaders_lease_is_told),
		STORY(what_was_adopted_is_told_of_the_next_lease),
		STORY(a_claim_that_a_start_finds_is_told_of_the_lease_when_it_runs),
		STORY(a_lease_told_in_the_middle_of_a_claim_is_told_again_after_it),
		STORY(nothing_begins_under_a_lease_that_is_over),
		STORY(a_start_takes_no_claim_before_a_lease),
		STORY(a_lease_out_of_this_world_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
