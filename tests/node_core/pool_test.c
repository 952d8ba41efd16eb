/* How many microVMs wait, and when they are started and ended. */
#include "tests/node_core/host.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct host *pool_of(uint32_t floor, uint32_t ceiling, uint32_t demand_ms)
{
	struct host *host = host_open();

	host->limits.pool_floor = floor;
	host->limits.pool_ceiling = ceiling;
	host->limits.demand_ms = demand_ms;
	host_boot(host);
	host_template(host, "base", "content-1", 1, 256);
	host_ready(host);
	return host;
}

/* Whatever starts becomes ready, until nothing starts any more. */
static void fill(struct host *host)
{
	struct node_vm_view view;

	host_pass(host, NODE_REFILL_PAUSE_MS);
	for (;;) {
		uint64_t starting = 0;
		for (uint32_t cursor = 0; node_core_vm_next(host->core, &cursor, &view);)
			if (view.state == NODE_VM_STARTING)
				starting = view.vm;
		if (!starting)
			return;
		host_vm_ready(host, starting);
	}
}

static void the_floor_is_restored_one_at_a_time(void **state)
{
	struct host *host = pool_of(3, 4, 0);

	(void)state;
	assert_int_equal(host_vms(host, NODE_VM_STARTING), 1);
	assert_true(host_last(host, NODE_EFFECT_VM_START)->start.warm);
	fill(host);
	assert_int_equal(host_vms(host, NODE_VM_READY), 3);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 3);
	host_close(host);
}

static void a_refill_never_starts_while_a_claim_is_on_its_way_or_just_over(void **state)
{
	struct host *host = pool_of(2, 4, 0);

	(void)state;
	fill(host);
	host_forget_log(host);
	host_claim(host, 1);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 0);
	host_claimed(host, host_last(host, NODE_EFFECT_VM_CLAIM)->claim.vm, 1, true);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 0);
	host_pass(host, NODE_REFILL_PAUSE_MS);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 1);
	host_close(host);
}

static void a_stream_of_claims_does_not_put_refills_off_for_ever(void **state)
{
	struct host *host = pool_of(2, 4, 0);

	(void)state;
	fill(host);
	host_forget_log(host);
	for (uint64_t attempt = 1; attempt <= 2; attempt++) {
		host_claim(host, attempt);
		host_claimed(host, host_last(host, NODE_EFFECT_VM_CLAIM)->claim.vm, attempt, true);
		host_pass(host, NODE_REFILL_PAUSE_MS / 2 + 1);
	}
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 1);
	host_close(host);
}

static void the_pool_never_holds_more_than_still_fits(void **state)
{
	struct host *host = pool_of(4, 4, 0);

	(void)state;
	fill(host);
	assert_int_equal(host_vms(host, NODE_VM_READY), 4);
	host_run(host, 1);
	fill(host);
	assert_int_equal(host_vms(host, NODE_VM_READY), 3);
	host_run(host, 2);
	host_run(host, 3);
	host_run(host, 4);
	fill(host);
	assert_int_equal(host_vms(host, NODE_VM_READY), 0);
	assert_int_equal(host_vms(host, NODE_VM_RUNNING), 4);
	host_close(host);
}

static void warm_microvms_of_other_templates_go_first_under_pressure(void **state)
{
	struct host *host = pool_of(1, 4, 0);
	struct wire_order order = host_claim_order(1);

	(void)state;
	host_template(host, "large", "content-2", 4, 1024);
	fill(host);
	assert_int_equal(host_vms(host, NODE_VM_READY), 2);
	for (uint64_t attempt = 1; attempt <= 2; attempt++) {
		order = host_claim_order(attempt);
		host_run(host, attempt);
		fill(host);
	}
	/* 6 of 8 vCPUs are left, then one large is claimed: no other large fits beside. */
	order = host_claim_order(3);
	order.template[0] = 0;
	__builtin_strcpy(order.template, "large");
	order.vcpus = 4;
	order.mem_mib = 1024;
	host_order(host, &order);
	host_claimed(host, host_last(host, NODE_EFFECT_VM_CLAIM)->claim.vm, 3, true);
	fill(host);
	assert_int_equal(host_used(host).vcpus, 6);
	assert_int_equal(host_vms(host, NODE_VM_READY), 1);
	host_run(host, 4);
	assert_int_equal(host_vms(host, NODE_VM_READY) + host_vms(host, NODE_VM_STARTING), 0);
	host_close(host);
}

static void the_pool_follows_demand_and_returns_to_its_floor(void **state)
{
	struct host *host = pool_of(1, 3, 10000);

	(void)state;
	fill(host);
	assert_int_equal(host_vms(host, NODE_VM_READY), 1);
	for (uint64_t attempt = 1; attempt <= 2; attempt++) {
		uint64_t vm = host_run(host, attempt);
		host_kill(host, attempt);
		host_ended(host, vm, CAUSE_REQUEST);
	}
	fill(host);
	assert_int_equal(host_vms(host, NODE_VM_READY), 2);
	host_pass(host, 10000);
	assert_int_equal(host_vms(host, NODE_VM_READY), 2);
	host_pass(host, 10000);
	assert_int_equal(host_vms(host, NODE_VM_READY), 1);
	host_close(host);
}

static void a_template_that_cannot_be_restored_is_tried_less_and_less_often(void **state)
{
	struct host *host = pool_of(1, 1, 0);

	(void)state;
	for (int i = 0; i < 20; i++) {
		host_vm(host, NODE_EVENT_VM_GONE, host_last(host, NODE_EFFECT_VM_START)->start.vm);
		assert_int_equal(host_vms(host, NODE_VM_STARTING), 0);
		host_pass(host, 60000);
		assert_int_equal(host_vms(host, NODE_VM_STARTING), 1);
	}
	/* In the first minute it was tried once a second, at the most. */
	assert_true(host_count(host, NODE_EFFECT_VM_START) <= 21);
	host_close(host);
}

static void a_new_content_replaces_what_waits_and_leaves_what_runs(void **state)
{
	struct host *host = pool_of(2, 2, 0);

	(void)state;
	fill(host);
	host_run(host, 1);
	fill(host);
	host_forget_log(host);
	host_template(host, "base", "content-2", 1, 256);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_KILL), 2);
	assert_int_equal(host_vms(host, NODE_VM_RUNNING), 1);
	assert_string_equal(host_last(host, NODE_EFFECT_VM_START)->start.template_id, "content-2");
	host_close(host);
}

static void claims_that_wait_for_a_template_that_goes_are_refused(void **state)
{
	struct host *host = pool_of(0, 0, 0);
	struct node_event gone = {.kind = NODE_EVENT_TEMPLATE_GONE, .template_.name = "base"};

	(void)state;
	host_claim(host, 1);
	host_claim(host, 2);
	host_step(host, &gone);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_NO_COMPATIBLE_NODE);
	assert_int_equal(host->records_n, 2);
	assert_int_equal(host_used(host).sandboxes, 0);
	assert_int_equal(host_vms(host, NODE_VM_ENDING), 2);
	host_close(host);
}

static void claims_that_wait_get_the_new_content(void **state)
{
	struct host *host = pool_of(0, 0, 0);

	(void)state;
	host_claim(host, 1);
	host_template(host, "base", "content-2", 1, 256);
	assert_int_equal(host->records_n, 0);
	assert_string_equal(host_last(host, NODE_EFFECT_VM_START)->start.template_id, "content-2");
	host_vm_ready(host, host_last(host, NODE_EFFECT_VM_START)->start.vm);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_CLAIM)->claim.order.attempt, 1);
	host_close(host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_floor_is_restored_one_at_a_time),
		cmocka_unit_test(a_refill_never_starts_while_a_claim_is_on_its_way_or_just_over),
		cmocka_unit_test(a_stream_of_claims_does_not_put_refills_off_for_ever),
		cmocka_unit_test(the_pool_never_holds_more_than_still_fits),
		cmocka_unit_test(warm_microvms_of_other_templates_go_first_under_pressure),
		cmocka_unit_test(the_pool_follows_demand_and_returns_to_its_floor),
		cmocka_unit_test(a_template_that_cannot_be_restored_is_tried_less_and_less_often),
		cmocka_unit_test(a_new_content_replaces_what_waits_and_leaves_what_runs),
		cmocka_unit_test(claims_that_wait_for_a_template_that_goes_are_refused),
		cmocka_unit_test(claims_that_wait_get_the_new_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
