/* Metering of what was frozen: nobody pays for a freeze, and nothing told is taken back. */
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

static void a_freeze_cuts_a_record(void **state)
{
	struct host *host = *state;
	struct mono resumed = host->now;
	uint64_t vm = host_run(host, 1);

	host_pass(host, 10000);
	host_metered_since(host, vm, host->now, resumed);
	assert_int_equal(host_last_record(host)->kind, WIRE_RECORD_USAGE);
	assert_int_equal(host_last_record(host)->to_ms, 10000);
	/* Asked again while it is frozen: it vouches for the freeze, and there is nothing new. */
	host_forget_log(host);
	host_metered_since(host, vm, host->now, resumed);
	host_pass(host, 5000);
	host_metered_since(host, vm, mono_add_ms(resumed, 10000), resumed);
	assert_int_equal(host_count(host, NODE_EFFECT_JOURNAL_RECORD), 0);
	assert_int_equal(host_count(host, NODE_EFFECT_JOURNAL_SANDBOX), 0);
}

static void a_thaw_moves_the_meter_on(void **state)
{
	struct host *host = *state;
	struct mono resumed = host->now;
	uint64_t vm = host_run(host, 1);
	int64_t began_ns = host->wall.ns;
	const struct wire_record *record;

	host_pass(host, 10000);
	host_metered(host, vm);
	host_pass(host, 30000);
	host_metered_since(host, vm, host->now, mono_add_ms(resumed, 30000));
	assert_int_equal(host->records_n, 2);
	assert_int_equal(host->sandboxes[0].resumed_mono.ns, resumed.ns + 30 * NS_PER_S);
	assert_int_equal(host->sandboxes[0].resumed_wall.ns, began_ns + 30 * NS_PER_S);
	host_pass(host, 5000);
	host_metered_since(host, vm, host->now, mono_add_ms(resumed, 30000));
	record = host_last_record(host);
	assert_int_equal(record->from_ms, 10000);
	assert_int_equal(record->to_ms, 15000);
	assert_int_equal(record->from_wall_ns, began_ns + 40 * NS_PER_S);
	assert_int_equal(record->at_wall_ns, began_ns + 45 * NS_PER_S);
}

static void a_thaw_that_is_seen_late_costs_nobody_the_freeze(void **state)
{
	struct host *host = *state;
	struct mono resumed = host->now;
	uint64_t vm = host_run(host, 1);

	host_pass(host, 45000);
	host_metered_since(host, vm, host->now, mono_add_ms(resumed, 30000));
	assert_int_equal(host_last_record(host)->from_ms, 0);
	assert_int_equal(host_last_record(host)->to_ms, 15000);
	assert_int_equal(host->sandboxes[0].metered_ms, 15000);
}

static void an_end_after_a_thaw_bills_what_ran(void **state)
{
	struct host *host = *state;
	struct mono resumed = host->now;
	uint64_t vm = host_run(host, 1);

	host_pass(host, 45000);
	host_ended_since(host, vm, CAUSE_REQUEST, host->now, mono_add_ms(resumed, 30000));
	assert_int_equal(host_last_record(host)->to_ms, 15000);
	assert_int_equal(host_last_record(host)->at_wall_ns, host->wall.ns);
}

static void an_end_while_frozen_bills_up_to_the_freeze(void **state)
{
	struct host *host = *state;
	struct mono resumed = host->now;
	uint64_t vm = host_run(host, 1);

	host_pass(host, 45000);
	host_ended_since(host, vm, CAUSE_TIMEOUT, mono_add_ms(resumed, 10000), (struct mono){0});
	assert_int_equal(host_last_record(host)->to_ms, 10000);
}

static void a_thaw_while_no_agent_was_there_is_found(void **state)
{
	struct host *host = *state;
	struct wire_order claim = host_claim_order(1);
	struct mono resumed = host->now;
	uint64_t vm = host_run(host, 1);
	struct node_event event;

	host_pass(host, 40000);
	host_restart(host);
	event = host_found_claimed(vm, &claim, mono_add_ms(resumed, 30000));
	event.adopted.end_mono = mono_add_ms(resumed, 300000);
	host_step(host, &event);
	assert_int_equal(host->sandboxes[0].resumed_mono.ns, resumed.ns + 30 * NS_PER_S);
	host_restart(host);
	host_step(host, &event);
	assert_int_equal(host_count(host, NODE_EFFECT_JOURNAL_SANDBOX), 0);
	host_ready(host);
	host_pass(host, 5000);
	host_metered(host, vm);
	assert_int_equal(host_last_record(host)->to_ms, 15000);
}

static void a_thaw_and_an_end_while_no_agent_was_there_are_found(void **state)
{
	struct host *host = *state;
	struct wire_order claim = host_claim_order(1);
	struct mono resumed = host->now;
	uint64_t vm = host_run(host, 1);
	struct node_event event;

	host_pass(host, 60000);
	host_restart(host);
	event = host_found_claimed(vm, &claim, mono_add_ms(resumed, 30000));
	event.adopted.state = WIRE_SHIM_ENDED;
	event.adopted.ended_mono = mono_add_ms(resumed, 50000);
	event.adopted.cause = CAUSE_TIMEOUT;
	host_step(host, &event);
	assert_int_equal(host_last_record(host)->to_ms, 20000);
}

/* A freeze moves the meter and not the time limit, which is an instant. */
static void a_claim_found_after_a_freeze_keeps_its_time_limit(void **state)
{
	struct host *host = *state;
	struct wire_order claim = host_claim_order(1);
	struct mono resumed = host->now;
	int64_t began_ns = host->wall.ns;
	struct node_event event;

	host_pass(host, 40000);
	host_restart(host);
	event = host_found_claimed(6, &claim, mono_add_ms(resumed, 30000));
	event.adopted.end_mono = mono_add_ms(resumed, 300000);
	host_step(host, &event);
	assert_int_equal(host_last_record(host)->end_wall_ns, began_ns + 300 * NS_PER_S);
	assert_int_equal(host->sandboxes[0].end_mono.ns, resumed.ns + 300 * NS_PER_S);
	assert_int_equal(host->sandboxes[0].resumed_mono.ns, resumed.ns + 30 * NS_PER_S);
}

static void running_time_never_goes_back_whatever_a_shim_says(void **state)
{
	struct host *host = *state;
	struct mono resumed = host->now;
	uint64_t vm = host_run(host, 1);

	host_pass(host, 10000);
	host_metered(host, vm);
	host_metered_since(host, vm, host->now, (struct mono){INT64_MAX});
	host_metered_since(host, vm, host->now, mono_add_ms(host->now, 1000));
	assert_int_equal(host->sandboxes[0].metered_ms, 10000);
	assert_int_equal(host->sandboxes[0].resumed_mono.ns, resumed.ns);
	host_metered_since(host, vm, host->now, mono_add_ms(resumed, -5000));
	assert_int_equal(host->sandboxes[0].resumed_mono.ns, resumed.ns);
	host_pass(host, 1000);
	host_metered_since(host, vm, mono_add_ms(resumed, 3000), mono_add_ms(resumed, 2000));
	assert_int_equal(host->sandboxes[0].metered_ms, 10000);
	host_ended_since(host, vm, CAUSE_REQUEST, host->now, (struct mono){INT64_MAX});
	assert_int_equal(host_last_record(host)->from_ms, 10000);
	assert_int_equal(host_last_record(host)->to_ms, 10000);
}

static void an_end_record_that_says_nonsense_bills_what_was_told(void **state)
{
	struct host *host = *state;
	struct wire_order claim = host_claim_order(1);
	struct mono resumed = host->now;
	int64_t began_ns = host->wall.ns;
	uint64_t vm = host_run(host, 1);
	struct node_event event;

	host_pass(host, 10000);
	host_metered(host, vm);
	host_pass(host, 20000);
	host_restart(host);
	event = host_found_claimed(vm, &claim, mono_add_ms(resumed, 12000));
	event.adopted.state = WIRE_SHIM_ENDED;
	event.adopted.ended_mono = mono_add_ms(resumed, 15000);
	event.adopted.cause = CAUSE_TIMEOUT;
	host_step(host, &event);
	assert_int_equal(host_last_record(host)->to_ms, 10000);
	assert_int_equal(host_last_record(host)->at_wall_ns, began_ns + 15 * NS_PER_S);
}

#define STORY(test) cmocka_unit_test_setup_teardown(test, open_host, close_host)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_freeze_cuts_a_record),
		STORY(a_thaw_moves_the_meter_on),
		STORY(a_thaw_that_is_seen_late_costs_nobody_the_freeze),
		STORY(an_end_after_a_thaw_bills_what_ran),
		STORY(an_end_while_frozen_bills_up_to_the_freeze),
		STORY(a_thaw_while_no_agent_was_there_is_found),
		STORY(a_thaw_and_an_end_while_no_agent_was_there_are_found),
		STORY(a_claim_found_after_a_freeze_keeps_its_time_limit),
		STORY(an_end_record_that_says_nonsense_bills_what_was_told),
		STORY(running_time_never_goes_back_whatever_a_shim_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
