/* The rules of admission, row by row: numbers are those of scheduler/core/admit.c. */
#include "common/base/check.h"
#include "tests/sched_core/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>

/* A way to break one rule. */
enum breach {
	BREACH_TENANT,
	BREACH_TEMPLATE,
	BREACH_TIMEOUT_SHORT,
	BREACH_TIMEOUT_LONG,
	BREACH_CREDIT,
	BREACH_CONCURRENCY,
	BREACH_VCPUS,
	BREACH_MEMORY,
	BREACH_SLOTS,
	BREACH_NO_NODE,
	BREACH_NO_ROOM,
	BREACH_N,
};

static const struct {
	int rule;
	enum breach breach;
	enum refusal refusal;
} rows[] = {
	{1, BREACH_TENANT, REFUSAL_TENANT_UNKNOWN},
	{2, BREACH_TEMPLATE, REFUSAL_TEMPLATE_UNKNOWN},
	{3, BREACH_TIMEOUT_SHORT, REFUSAL_TIMEOUT_TOO_SHORT},
	{3, BREACH_TIMEOUT_LONG, REFUSAL_TIMEOUT_TOO_LONG},
	{4, BREACH_CREDIT, REFUSAL_CREDIT_EXHAUSTED},
	{5, BREACH_CONCURRENCY, REFUSAL_QUOTA_CONCURRENCY},
	{5, BREACH_VCPUS, REFUSAL_QUOTA_VCPUS},
	{5, BREACH_MEMORY, REFUSAL_QUOTA_MEMORY},
	{6, BREACH_SLOTS, REFUSAL_FLEET_FULL},
	{7, BREACH_NO_NODE, REFUSAL_NO_COMPATIBLE_NODE},
	{8, BREACH_NO_ROOM, REFUSAL_CAPACITY},
};

static void fill_slots(struct world *world)
{
	char id[32];

	for (int i = 0; i < WORLD_SANDBOXES; i++) {
		snprintf(id, sizeof(id), "ifull%d", i);
		world_create(world, id, "ten_b", "base", 60);
	}
}

/* What a create is told in a world where exactly these rules are broken. */
static enum refusal refusal_of(unsigned breaches)
{
	struct world *world = world_open();
	struct core_tenant tenant = {.id = world_id("ten_a"),
				     .concurrent_max = 1,
				     .vcpus_max = 1,
				     .mem_mib_max = 512,
				     .session_max_s = 3600};
	struct world_node *node = world_node(world, "nod_0", 1000, 1000000, 1000000, 1000);
	uint32_t timeout_s = 3600;
	enum refusal refusal;
	uint64_t request;

#define BROKEN(breach) (breaches >> BREACH_##breach & 1)
	tenant.credit_exhausted = BROKEN(CREDIT);
	tenant.concurrent_max -= BROKEN(CONCURRENCY);
	tenant.vcpus_max -= BROKEN(VCPUS);
	tenant.mem_mib_max -= BROKEN(MEMORY);
	world_tenant_set(world, &tenant);
	world_tenant(world, "ten_b", 1000);
	world_offer(node, "base", 1, 512, 1024, 0);
	world_report(world, node);
	if (BROKEN(SLOTS))
		fill_slots(world);
	if (BROKEN(NO_ROOM)) {
		node->poll.capacity.mem_mib = 511;
		world_report(world, node);
	}
	if (BROKEN(NO_NODE))
		world_node_event(world, node, CORE_EVENT_NODE_SILENT);
	if (BROKEN(TIMEOUT_LONG))
		timeout_s = 3601;
	if (BROKEN(TIMEOUT_SHORT))
		timeout_s = 0;
	request = world_create(world, "inew", BROKEN(TENANT) ? "ten_x" : "ten_a",
			       BROKEN(TEMPLATE) ? "elsewhere" : "base", timeout_s);
#undef BROKEN
	refusal = world_reply(world, request) ? world_reply(world, request)->refusal : REFUSAL_NONE;
	assert_int_equal(world_find(world, "inew") != NULL, refusal == REFUSAL_NONE);
	assert_int_equal(world_stored(world, "inew") != NULL, refusal == REFUSAL_NONE);
	world_close(world);
	return refusal;
}

static void what_breaks_no_rule_is_placed_up_to_the_last_of_its_quota(void **state)
{
	(void)state;
	assert_int_equal(refusal_of(0), REFUSAL_NONE);
}

static void each_rule_refuses_by_its_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++)
		assert_int_equal(refusal_of(1u << rows[i].breach), rows[i].refusal);
}

static void the_first_broken_rule_is_the_one_that_is_told(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		unsigned later = 0;
		for (size_t j = i; j < ARRAY_N(rows); j++)
			if (j == i || rows[j].rule > rows[i].rule)
				later |= 1u << rows[j].breach;
		assert_int_equal(refusal_of(later), rows[i].refusal);
	}
}

static void a_quota_is_free_again_once_the_node_confirmed_the_end(void **state)
{
	struct world *world = world_open();
	struct core_tenant_view view;
	struct id tenant = world_id("ten_a");
	uint64_t attempt;

	(void)state;
	world_fleet(world, 1);
	world_tenant(world, "ten_a", 1);
	attempt = world_run(world, "i1", 60);
	world_kill(world, "i1", "ten_a");
	assert_int_equal(
		world_reply(world, world_create(world, "i2", "ten_a", "base", 60))->refusal,
		REFUSAL_QUOTA_CONCURRENCY);
	world_say(world, &world->nodes[0], WIRE_RECORD_ENDED, "i1", attempt);
	assert_true(core_tenant_find(world->core, &tenant, &view));
	assert_int_equal(view.concurrent, 0);
	assert_int_equal(view.vcpus, 0);
	assert_int_equal(view.mem_mib, 0);
	world_create(world, "i3", "ten_a", "base", 60);
	assert_non_null(world_find(world, "i3"));
	world_close(world);
}

static void lowered_caps_refuse_new_sandboxes_and_leave_the_old(void **state)
{
	struct world *world = world_open();
	struct core_tenant row = {.id = world_id("ten_a"),
				  .concurrent_max = 1,
				  .vcpus_max = 0,
				  .mem_mib_max = 0,
				  .session_max_s = 10};

	(void)state;
	world_fleet(world, 1);
	world_run(world, "i1", 60);
	world_run(world, "i2", 60);
	world_tenant_set(world, &row);
	assert_int_equal(world_reply(world, world_create(world, "i3", "ten_a", "base", 5))->refusal,
			 REFUSAL_QUOTA_CONCURRENCY);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING);
	assert_int_equal(world_find(world, "i2")->state, SANDBOX_RUNNING);
	world_close(world);
}

static void an_id_that_is_taken_is_refused(void **state)
{
	struct world *world = world_open();

	(void)state;
	world_fleet(world, 1);
	world_run(world, "i1", 60);
	assert_int_equal(
		world_reply(world, world_create(world, "i1", "ten_a", "base", 60))->refusal,
		REFUSAL_CREATE_FAILED);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING);
	world_close(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_breaks_no_rule_is_placed_up_to_the_last_of_its_quota),
		cmocka_unit_test(each_rule_refuses_by_its_name),
		cmocka_unit_test(the_first_broken_rule_is_the_one_that_is_told),
		cmocka_unit_test(a_quota_is_free_again_once_the_node_confirmed_the_end),
		cmocka_unit_test(lowered_caps_refuse_new_sandboxes_and_leave_the_old),
		cmocka_unit_test(an_id_that_is_taken_is_refused),
	};

	return cmocka_run_group_tests_name("sched_core.admission", tests, NULL, NULL);
}
