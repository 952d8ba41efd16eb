/* The agent among shims: leases, freezes, notes, and shims that do not answer. */
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

enum { LEASE_MS = 60 * 1000, VM = 3 };

static struct fleet *fleet;
static struct scheduler *leader;

static int setup(void **state)
{
	(void)state;
	fleet = calloc(1, sizeof(*fleet));
	CHECK(fleet);
	fleet_open(fleet, 1);
	fleet_enrol(fleet);
	leader = &fleet->schedulers[0];
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fleet_close(fleet);
	free(fleet);
	return 0;
}

/* A shim with a sandbox that the journal knows, since so many milliseconds. */
static struct shim_double *add_running(int64_t ran_ms)
{
	int64_t resumed_ns = host_mono().ns - ran_ms * NS_PER_MS;
	struct node_effect row = fleet_row(VM, resumed_ns);
	struct wire_order order = fleet_order(FLEET_ATTEMPT);
	struct shim_double *shim = fleet_add_shim(fleet, VM);

	fleet_journal(fleet, &row, 1);
	shim_double_run(shim, &order, resumed_ns, row.sandbox.end_mono.ns);
	return shim;
}

static const struct wire_record *last_record(void)
{
	return &leader->records[leader->next_seq - 1];
}

static void order_end(void)
{
	leader->order = fleet_order(FLEET_ATTEMPT);
	leader->order.kind = WIRE_ORDER_KILL;
	leader->order.cause = CAUSE_REQUEST;
	scheduler_wake(leader);
}

static void tell_ended(struct shim_double *shim)
{
	shim->status.state = WIRE_SHIM_ENDED;
	shim->status.cause = CAUSE_REQUEST;
	shim->status.ended_mono_ns = host_mono().ns;
	shim_double_tell(shim);
}

static void a_lease_reaches_the_shim_and_counts_from_the_polls_sending(void **state)
{
	struct shim_double *shim = add_running(1000);
	int64_t before_ns = host_mono().ns;

	(void)state;
	leader->lease_ms = LEASE_MS;
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, shim->leases_n > 0);
	assert_true(shim->lease_mono_ns >= before_ns + LEASE_MS * NS_PER_MS);
	assert_true(shim->lease_mono_ns <= host_mono().ns + LEASE_MS * NS_PER_MS);
}

static void no_lease_is_for_one_that_was_told_to_end(void **state)
{
	struct shim_double *shim = add_running(1000);
	uint32_t leases_n, polls_n;

	(void)state;
	leader->lease_ms = 8 * 1000; /* short, so that a second moves it on */
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, shim->leases_n > 0);
	order_end();
	fleet_wait(fleet, shim->killed_for == CAUSE_REQUEST);
	leases_n = shim->leases_n;
	polls_n = leader->polls_n;
	scheduler_wake(leader);
	fleet_wait(fleet, leader->polls_n > polls_n + 1);
	assert_int_equal(shim->leases_n, leases_n);
	tell_ended(shim);
	fleet_wait(fleet, last_record()->kind == WIRE_RECORD_ENDED);
}

static void a_freeze_is_told_at_once_and_its_time_is_nobodys(void **state)
{
	struct shim_double *shim = add_running(5000);
	struct wire_shim_status *status = &shim->status;
	int64_t first_ns = status->resumed_mono_ns;

	(void)state;
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, fleet->was_ready);
	/* It stood still after two seconds, and has for three. */
	status->frozen_mono_ns = first_ns + 2 * NS_PER_S;
	shim_double_tell(shim);
	fleet_wait(fleet, leader->next_seq == 2);
	assert_int_equal(last_record()->kind, WIRE_RECORD_USAGE);
	assert_int_equal(last_record()->to_ms, 2000);
	/* It goes on as of a second ago. */
	status->ran_ns = 2 * NS_PER_S;
	status->resumed_mono_ns = first_ns + 4 * NS_PER_S;
	status->frozen_mono_ns = 0;
	shim_double_tell(shim);
	fleet_wait(fleet, leader->next_seq == 3);
	assert_in_range(last_record()->to_ms, 3000, 3000 + 30 * 1000);
	assert_int_equal(last_record()->from_ms, 2000);
	/* Frozen again half a second after it went on, and ended so. */
	status->frozen_mono_ns = host_mono().ns;
	tell_ended(shim);
	fleet_wait(fleet, last_record()->kind == WIRE_RECORD_ENDED);
	assert_int_equal(last_record()->to_ms,
			 2000 + (status->frozen_mono_ns - status->resumed_mono_ns) / NS_PER_MS);
}

static void one_found_frozen_has_not_run_since(void **state)
{
	struct shim_double *shim = add_running(5000);

	(void)state;
	shim->status.ran_ns = NS_PER_S;
	shim->status.resumed_mono_ns += 2 * NS_PER_S;
	shim->status.frozen_mono_ns = shim->status.resumed_mono_ns + NS_PER_S;
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, leader->next_seq == 2);
	assert_int_equal(last_record()->to_ms, 2000);
}

static void fill_note(uint8_t note[WIRE_NOTE_MAX])
{
	for (size_t i = 0; i < WIRE_NOTE_MAX; i++)
		note[i] = (uint8_t)(i * 7);
}

static void the_note_of_a_claim_is_in_its_record(void **state)
{
	struct shim_double *shim = fleet_add_shim(fleet, VM);
	struct wire_shim_claimed claimed = {.ok = true};
	struct wire_order remembered;
	struct wire_arena none = {0};
	uint8_t note[WIRE_NOTE_MAX];

	(void)state;
	fill_note(note);
	leader->epoch = 1;
	leader->lease_ms = LEASE_MS;
	leader->order = fleet_order(FLEET_ATTEMPT);
	leader->order.note = (struct wire_bytes){note, sizeof(note)};
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, shim->claim.attempt == FLEET_ATTEMPT);
	assert_true(shim->claim.lease_mono_ns > host_mono().ns);
	assert_int_equal(wire_order_decode(shim->claimed_order, shim->claim.claim.n, &none,
					   &remembered, NULL),
			 0);
	assert_int_equal(remembered.note.n, sizeof(note));
	assert_memory_equal(remembered.note.data, note, sizeof(note));
	claimed.attempt = FLEET_ATTEMPT;
	claimed.resumed_mono_ns = host_mono().ns;
	wire_stream_send(&shim->agent, &wire_shape_shim_claimed, &claimed);
	fleet_wait(fleet, leader->next_seq == 2);
	assert_int_equal(last_record()->kind, WIRE_RECORD_STARTED);
	assert_int_equal(leader->note_n, sizeof(note));
	assert_memory_equal(leader->note, note, sizeof(note));
	fleet_wait(fleet, fleet->agent.payloads.first == NULL);
}

/* Unread, and byte for byte: the ticket is made over it. */
static void what_the_gateway_shall_know_reaches_the_shim(void **state)
{
	static const uint8_t ingress[] = "any bytes\0at all", init[] = "{}";
	struct shim_double *shim = fleet_add_shim(fleet, VM);
	static uint8_t note[WIRE_NOTE_MAX]; /* given again until the fleet ends */

	(void)state;
	fill_note(note);
	leader->epoch = 1;
	leader->lease_ms = LEASE_MS;
	leader->order = fleet_order(FLEET_ATTEMPT);
	leader->order.note = (struct wire_bytes){note, sizeof(note)};
	leader->order.init = (struct wire_bytes){init, sizeof(init)};
	leader->order.ingress = (struct wire_bytes){ingress, sizeof(ingress)};
	memset(leader->order.ticket, 7, sizeof(leader->order.ticket));
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, shim->claim.attempt == FLEET_ATTEMPT);
	assert_int_equal(shim->claim.init.n, sizeof(init));
	assert_int_equal(shim->claim.ingress.n, sizeof(ingress));
	assert_memory_equal(shim->claim.ingress.data, ingress, sizeof(ingress));
	assert_memory_equal(shim->claim.ticket, leader->order.ticket, sizeof(shim->claim.ticket));
}

static void the_note_of_a_claim_that_is_adopted_is_in_its_record(void **state)
{
	struct wire_order order = fleet_order(FLEET_ATTEMPT);
	struct shim_double *shim = fleet_add_shim(fleet, VM);
	uint8_t note[WIRE_NOTE_MAX];
	int64_t now_ns = host_mono().ns;

	(void)state;
	fill_note(note);
	order.note = (struct wire_bytes){note, sizeof(note)};
	shim_double_run(shim, &order, now_ns - NS_PER_S, now_ns + 600 * NS_PER_S);
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, leader->next_seq > 1);
	assert_int_equal(leader->records[1].kind, WIRE_RECORD_STARTED);
	assert_int_equal(leader->note_n, sizeof(note));
	assert_memory_equal(leader->note, note, sizeof(note));
	fleet_wait(fleet, fleet->agent.payloads.first == NULL);
}

static void a_shim_that_hangs_holds_up_no_start_and_its_sandbox_is_not_lost(void **state)
{
	struct shim_double *shim = add_running(1000);
	struct node_vm_view view;
	uint32_t cursor = 0;

	(void)state;
	shim->is_mute = true;
	shim_double_fork(shim);
	leader->lease_ms = LEASE_MS;
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, fleet->was_ready && leader->polls_n > 0);
	assert_int_equal(leader->poll.used.sandboxes, 1);
	assert_true(node_core_vm_next(fleet->agent.core, &cursor, &view));
	assert_int_equal(view.state, NODE_VM_RUNNING);
	assert_false(shim_double_was_killed(shim));
	/* Its word counts when it comes. */
	shim->is_mute = false;
	shim->status.frozen_mono_ns = shim->status.resumed_mono_ns + NS_PER_S;
	shim_double_tell(shim);
	fleet_wait(fleet, leader->next_seq == 2);
	assert_int_equal(last_record()->kind, WIRE_RECORD_USAGE);
	assert_int_equal(last_record()->to_ms, 1000);
}

static void a_hung_shim_of_nothing_journaled_is_killed(void **state)
{
	struct shim_double *shim = fleet_add_shim(fleet, VM);

	(void)state;
	shim->is_mute = true;
	shim_double_fork(shim);
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, fleet->was_ready);
	fleet_wait(fleet, shim_double_was_killed(shim));
}

static void what_was_told_to_end_ends_though_its_shim_hangs(void **state)
{
	struct shim_double *shim = add_running(1000);

	(void)state;
	shim->is_mute = true;
	shim_double_fork(shim);
	fleet_start_agent(fleet, NULL);
	fleet_wait(fleet, fleet->was_ready && leader->polls_n > 0);
	order_end();
	fleet_wait(fleet, shim_double_was_killed(shim));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_lease_reaches_the_shim_and_counts_from_the_polls_sending),
		TEST(no_lease_is_for_one_that_was_told_to_end),
		TEST(a_freeze_is_told_at_once_and_its_time_is_nobodys),
		TEST(one_found_frozen_has_not_run_since),
		TEST(the_note_of_a_claim_is_in_its_record),
		TEST(what_the_gateway_shall_know_reaches_the_shim),
		TEST(the_note_of_a_claim_that_is_adopted_is_in_its_record),
		TEST(a_shim_that_hangs_holds_up_no_start_and_its_sandbox_is_not_lost),
		TEST(a_hung_shim_of_nothing_journaled_is_killed),
		TEST(what_was_told_to_end_ends_though_its_shim_hangs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
