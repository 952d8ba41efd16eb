/* What shims see of their sandboxes reaches every scheduler, as far as it is not too much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "node-agent/shell/host.h"
#include "tests/node_shell/fleet.h"

#include <stdlib.h>
#include <string.h>

enum { VM = 3, LINES_N = 32 };

static struct fleet *fleet;
static struct shim_double *shim;

static int setup(void **state)
{
	int64_t resumed_ns = host_mono().ns - NS_PER_S;
	struct wire_order order = fleet_order(FLEET_ATTEMPT);
	struct node_effect row;

	(void)state;
	fleet = calloc(1, sizeof(*fleet));
	CHECK(fleet);
	fleet_open(fleet, 2);
	fleet_enrol(fleet);
	row = fleet_row(VM, resumed_ns);
	shim = fleet_add_shim(fleet, VM);
	fleet_journal(fleet, &row, 1);
	shim_double_run(shim, &order, resumed_ns, row.sandbox.end_mono.ns);
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, fleet->schedulers[0].polls_n && fleet->schedulers[1].polls_n);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fleet_close(fleet);
	free(fleet);
	return 0;
}

static void tell(size_t lines_n, size_t text_n)
{
	static uint8_t text[WIRE_LOG_TEXT_MAX];
	struct wire_log_line lines[LINES_N];
	struct wire_sample sample = {.at_wall_ns = 1, .mem_total = 2};
	struct wire_observed observed = {.sandbox = shim->status.sandbox,
					 .samples = &sample,
					 .samples_n = 1,
					 .lines = lines,
					 .lines_n = lines_n};

	CHECK(lines_n <= LINES_N && text_n <= sizeof(text));
	memset(text, 'x', sizeof(text));
	for (size_t i = 0; i < lines_n; i++)
		lines[i] = (struct wire_log_line){
			.at_wall_ns = 1, .event = WIRE_LOG_STDOUT, .text = {text, text_n}};
	wire_stream_send(&shim->agent, &wire_shape_observed, &observed);
}

static bool all_heard(uint64_t n)
{
	return fleet->schedulers[0].observed_n >= n && fleet->schedulers[1].observed_n >= n;
}

static void leader_and_standby_hear_the_same(void **state)
{
	(void)state;
	tell(3, 10);
	fleet_wait(fleet, all_heard(1));
	for (size_t i = 0; i < 2; i++) {
		assert_true(id_equal(&fleet->schedulers[i].observed, &shim->status.sandbox));
		assert_int_equal(fleet->schedulers[i].samples_n, 1);
		assert_int_equal(fleet->schedulers[i].lines_n, 3);
		assert_int_equal(fleet->schedulers[i].lost_n, 0);
	}
}

/* Four megabytes at once: a burst goes through, of the rest there are numbers. */
static void a_flood_of_lines_costs_lines_and_no_samples(void **state)
{
	enum { MESSAGES_N = 64 };

	(void)state;
	for (size_t i = 0; i < MESSAGES_N; i++)
		tell(LINES_N, WIRE_LOG_TEXT_MAX);
	fleet_wait(fleet, all_heard(MESSAGES_N));
	for (size_t i = 0; i < 2; i++) {
		const struct scheduler *scheduler = &fleet->schedulers[i];
		assert_int_equal(scheduler->samples_n, MESSAGES_N);
		assert_int_equal(scheduler->lines_n + scheduler->lost_n, MESSAGES_N * LINES_N);
		assert_true(scheduler->lines_n * WIRE_LOG_TEXT_MAX >= OBSERVATIONS_BURST / 2);
		assert_true(scheduler->lines_n * WIRE_LOG_TEXT_MAX <= 2 * OBSERVATIONS_BURST);
	}
}

static void as_many_lost_lines_as_can_be_said_are_passed_on(void **state)
{
	const struct wire_observed most = {.sandbox = shim->status.sandbox, .lost_n = INT64_MAX};

	(void)state;
	wire_stream_send(&shim->agent, &wire_shape_observed, &most);
	tell(1, 1);
	fleet_wait(fleet, all_heard(2));
	assert_int_equal(fleet->schedulers[0].lost_n, INT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(leader_and_standby_hear_the_same, setup, teardown),
		cmocka_unit_test_setup_teardown(a_flood_of_lines_costs_lines_and_no_samples, setup,
						teardown),
		cmocka_unit_test_setup_teardown(as_many_lost_lines_as_can_be_said_are_passed_on,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
