/* The agent while its journal cannot be written: known, of use to what runs, and to nobody else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "node-agent/shell/host.h"
#include "tests/node_shell/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LEASE_MS = 60 * 1000, VM = 3 };

static struct fleet *fleet;
static struct scheduler *leader;
static struct shim_double *shim;

static int setup(void **state)
{
	int64_t resumed_ns = host_mono().ns - NS_PER_S;
	struct node_effect row = fleet_row(VM, resumed_ns);
	struct wire_order order = fleet_order(FLEET_ATTEMPT);

	(void)state;
	fleet = calloc(1, sizeof(*fleet));
	CHECK(fleet);
	fleet_open(fleet, 2);
	fleet_enrol(fleet);
	leader = &fleet->schedulers[0];
	leader->lease_ms = LEASE_MS;
	fleet_journal(fleet, &row, 1);
	shim = fleet_add_shim(fleet, VM);
	shim_double_run(shim, &order, resumed_ns, row.sandbox.end_mono.ns);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (fleet->is_disk_full) /* the test failed */
		fleet_free_disk(fleet);
	fleet_close(fleet);
	free(fleet);
	return 0;
}

/* Not a byte more for the journal. */
static void fill_disk(void)
{
	char path[OPTION_TEXT_MAX + 32];
	struct stat now;

	snprintf(path, sizeof(path), "%s/journal.db-wal", fleet->options.state_dir);
	CHECK(stat(path, &now) == 0);
	fleet_fill_disk(fleet, (size_t)now.st_size);
}

static void start(void)
{
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, fleet->was_ready && leader->poll.epoch == 1 && shim->leases_n > 0);
}

/* A new epoch wants to be journaled. */
static void get_into_trouble(void)
{
	fill_disk();
	leader->epoch++;
	scheduler_wake(leader);
	fleet_wait(fleet, leader->poll.trouble[0] && fleet->schedulers[1].poll.trouble[0]);
}

static void a_node_that_cannot_write_says_so_to_all_and_heals_by_itself(void **state)
{
	(void)state;
	start();
	get_into_trouble();
	assert_non_null(strstr(leader->poll.trouble, "the journal cannot be written: "));
	assert_int_equal(leader->poll.epoch, 1); /* the other is not journaled */
	assert_true(leader->poll.pending_n > 0); /* so nobody believes to know all of it */
	assert_int_equal(leader->poll.used.sandboxes, 1);
	fleet_free_disk(fleet);
	fleet_wait(fleet, !leader->poll.trouble[0] && leader->poll.epoch == 2 &&
				  !fleet->schedulers[1].poll.trouble[0]);
	assert_int_equal(leader->poll.pending_n, 0);
	assert_int_equal(leader->poll.used.sandboxes, 1);
}

static void what_runs_gets_its_leases_meanwhile(void **state)
{
	int64_t lease_ns;

	(void)state;
	start();
	get_into_trouble();
	lease_ns = shim->lease_mono_ns;
	leader->lease_ms = 2 * LEASE_MS;
	scheduler_wake(leader);
	fleet_wait(fleet, shim->lease_mono_ns > lease_ns + LEASE_MS * NS_PER_MS / 2);
	/* Of what was given up, no more. */
	leader->lost_below = FLEET_ATTEMPT + 1;
	leader->lease_ms = 4 * LEASE_MS;
	lease_ns = shim->lease_mono_ns;
	for (uint32_t polls_n = leader->polls_n; leader->polls_n < polls_n + 3;) {
		scheduler_wake(leader);
		uv_run(&fleet->loop, UV_RUN_ONCE);
	}
	assert_true(shim->lease_mono_ns < lease_ns + LEASE_MS * NS_PER_MS);
	fleet_free_disk(fleet);
}

static void nothing_new_begins_meanwhile_and_comes_again(void **state)
{
	struct shim_double *clone = fleet_add_shim(fleet, VM + 1);

	(void)state;
	start();
	get_into_trouble();
	leader->order = fleet_order(FLEET_ATTEMPT + 0x100000001);
	for (uint32_t polls_n = leader->polls_n; leader->polls_n < polls_n + 3;) {
		scheduler_wake(leader);
		uv_run(&fleet->loop, UV_RUN_ONCE);
	}
	assert_int_equal(clone->claim.attempt, 0);
	assert_true(leader->poll.trouble[0]);
	fleet_free_disk(fleet);
	fleet_wait(fleet, clone->claim.attempt == FLEET_ATTEMPT + 0x100000001);
}

static void what_ended_meanwhile_is_told_afterwards(void **state)
{
	(void)state;
	start();
	get_into_trouble();
	shim->status.state = WIRE_SHIM_ENDED;
	shim->status.cause = CAUSE_TIMEOUT;
	shim->status.ended_mono_ns = shim->status.resumed_mono_ns + 7 * NS_PER_S;
	while (host_mono().ns < shim->status.ended_mono_ns)
		uv_run(&fleet->loop, UV_RUN_ONCE);
	shim_double_tell(shim);
	assert_int_equal(leader->next_seq, 1);
	fleet_free_disk(fleet);
	fleet_wait(fleet, leader->next_seq > 1);
	assert_int_equal(leader->records[leader->next_seq - 1].kind, WIRE_RECORD_ENDED);
	assert_int_equal(leader->records[leader->next_seq - 1].to_ms, 7000);
}

static void a_start_on_a_full_disk_waits_and_says_so(void **state)
{
	(void)state;
	fleet_fill_disk(fleet, 4096);
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, leader->poll.trouble[0] && shim->leases_n > 0);
	assert_false(fleet->was_ready);
	assert_int_equal(leader->poll.epoch, 0);
	assert_true(leader->poll.pending_n > 0);
	fleet_free_disk(fleet);
	fleet_wait(fleet, fleet->was_ready && !leader->poll.trouble[0] && leader->poll.epoch == 1);
	assert_int_equal(leader->poll.used.sandboxes, 1);
}

static void a_stop_in_trouble_is_a_stop(void **state)
{
	(void)state;
	start();
	get_into_trouble();
	fleet_stop_agent(fleet);
	fleet_free_disk(fleet);
	fleet_wait(fleet, leader->was_left);
	/* And the next one starts from what is journaled. */
	leader->polls_n = 0;
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, fleet->was_ready && leader->polls_n && leader->poll.epoch == 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_node_that_cannot_write_says_so_to_all_and_heals_by_itself),
		TEST(what_runs_gets_its_leases_meanwhile),
		TEST(nothing_new_begins_meanwhile_and_comes_again),
		TEST(what_ended_meanwhile_is_told_afterwards),
		TEST(a_start_on_a_full_disk_waits_and_says_so),
		TEST(a_stop_in_trouble_is_a_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
