/* Real microVMs under their shims: what is promised of a clone's life and of its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "node-agent/shim/identity.h"
#include "tests/vm/rig.h"

enum { LONG_MS = 600 * 1000 };

static struct rig rig;

static struct rig_clone *start_ready(void)
{
	struct rig_clone *clone = rig_clone_start(&rig);

	rig_wait(&rig,
		 clone->has_ended || (clone->has_status && clone->status.state == WIRE_SHIM_READY));
	assert_false(clone->has_ended);
	return clone;
}

static struct rig_clone *start_claimed(int64_t ttl_ms)
{
	struct rig_clone *clone = start_ready();

	rig_clone_claim(clone, ttl_ms);
	rig_wait(&rig, clone->is_claimed || clone->has_ended);
	assert_true(clone->is_claimed && clone->claimed.ok);
	return clone;
}

static bool is_running(uint32_t pid)
{
	return kill((pid_t)pid, 0) == 0 || errno != ESRCH;
}

/* The shim is QEMU's parent. */
static pid_t shim_of(uint32_t qemu_pid)
{
	char path[64];
	int parent = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%u/stat", qemu_pid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%*d %*s %*c %d", &parent), 1);
	fclose(file);
	return parent;
}

static int setup(void **state)
{
	(void)state;
	rig_open(&rig, "flotilla-test", FLOTILLA_BIN);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_close(&rig);
	return 0;
}

static void a_claimed_clone_answers_through_the_gateway(void **state)
{
	struct rig_clone *clone = start_claimed(LONG_MS);

	(void)state;
	assert_int_equal(clone->claimed.attempt, 7);
	assert_true(clone->claimed.resumed_mono_ns > 0);
	rig_clone_request(clone, "GET", "/health", "");
	rig_wait(&rig, clone->is_answered);
	assert_true(rig_clone_answer_is(clone, "204", ""));
}

static void two_clones_share_neither_disk_nor_memory(void **state)
{
	struct rig_clone *a = start_claimed(LONG_MS);
	struct rig_clone *b = start_claimed(LONG_MS);

	(void)state;
	rig_clone_request(a, "POST", "/mark", "of a");
	rig_wait(&rig, a->is_answered);
	rig_clone_request(b, "GET", "/mark", "");
	rig_wait(&rig, b->is_answered);
	assert_true(rig_clone_answer_is(b, "200", "/"));
	rig_clone_request(b, "POST", "/mark", "of b");
	rig_wait(&rig, b->is_answered);
	rig_clone_request(a, "GET", "/mark", "");
	rig_wait(&rig, a->is_answered);
	assert_true(rig_clone_answer_is(a, "200", "of a/of a"));

	/* Nor does the template learn of it. */
	struct rig_clone *c = start_claimed(LONG_MS);

	rig_clone_request(c, "GET", "/mark", "");
	rig_wait(&rig, c->is_answered);
	assert_true(rig_clone_answer_is(c, "200", "/"));
}

static void the_time_limit_holds_while_no_agent_is_there(void **state)
{
	struct rig_clone *clone = start_claimed(300);
	uint32_t pid;

	(void)state;
	rig_wait(&rig, clone->status.state == WIRE_SHIM_CLAIMED);
	pid = clone->status.qemu_pid;
	rig_clone_leave(clone);
	/* Its end shows in the tunnel, which nobody but it closes. */
	rig_wait(&rig, clone->gate == NULL);
	rig_clone_adopt(clone);
	rig_wait(&rig, clone->has_ended);
	assert_false(is_running(pid));
	assert_int_equal(clone->end.cause, CAUSE_TIMEOUT);
	assert_true(id_equal(&clone->end.sandbox, &clone->sandbox));
	assert_true(clone->end.ended_mono_ns >= clone->end.resumed_mono_ns + 300 * 1000000LL);
	assert_int_equal(clone->end.attempt, 7);
}

static void a_moved_limit_is_the_one_that_counts(void **state)
{
	struct rig_clone *clone = start_claimed(LONG_MS);

	(void)state;
	shim_client_deadline(clone->client, clone->claimed.resumed_mono_ns + 1000000);
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_TIMEOUT);
}

static void an_order_to_end_is_the_cause_that_is_recorded(void **state)
{
	struct rig_clone *clone = start_claimed(LONG_MS);

	(void)state;
	shim_client_kill(clone->client, CAUSE_BUDGET);
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_BUDGET);
	/* The record on the disk says the same to whoever comes later. */
	rig_clone_leave(clone);
	rig_clone_adopt(clone);
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_BUDGET);
}

static void an_emulator_that_is_killed_is_a_fault_with_its_reason(void **state)
{
	struct rig_clone *clone = start_claimed(LONG_MS);

	(void)state;
	rig_wait(&rig, clone->status.state == WIRE_SHIM_CLAIMED);
	kill((pid_t)clone->status.qemu_pid, SIGKILL);
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_VM_FAULT);
	assert_non_null(strstr(clone->end.detail, "signal 9"));
}

static void a_killed_shim_takes_its_machine_along(void **state)
{
	struct rig_clone *clone = start_claimed(LONG_MS);
	uint32_t pid;
	int64_t last;

	(void)state;
	rig_wait(&rig, clone->status.state == WIRE_SHIM_CLAIMED);
	pid = clone->status.qemu_pid;
	last = clone->status.at_mono_ns;
	kill(shim_of(pid), SIGKILL);
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_SHIM_FAULT);
	/* It certainly ran when its shim spoke last, and nobody can prove more. */
	assert_int_equal(clone->end.ended_mono_ns, last);
	/* Dead already; whoever reaps orphans may take a little longer. */
	while (is_running(pid))
		uv_run(&rig.loop, UV_RUN_NOWAIT);
}

static void a_claim_that_a_stopped_shim_does_not_answer_is_given_up(void **state)
{
	struct rig_clone *clone = start_ready();
	uint32_t pid = clone->status.qemu_pid;

	(void)state;
	kill(shim_of(pid), SIGSTOP);
	rig_clone_claim(clone, LONG_MS);
	rig_wait(&rig, clone->is_claimed);
	assert_false(clone->claimed.ok);
	assert_int_equal(clone->claimed.attempt, 7);
	rig_wait(&rig, clone->is_gone);
	while (is_running(pid))
		uv_run(&rig.loop, UV_RUN_NOWAIT);
}

/* The shim is dead, and its number belongs to somebody else: to us. */
static void a_recycled_process_number_is_left_alone(void **state)
{
	struct rig_clone *clone = start_ready();
	const struct identity other = {getpid(), 1};
	uint32_t pid = clone->status.qemu_pid;
	struct identity shim, qemu, now;

	(void)state;
	assert_true(identity_read(clone->dir, &shim, &qemu));
	assert_int_equal(shim.pid, shim_of(pid));
	assert_int_equal(qemu.pid, pid);
	rig_clone_leave(clone);
	assert_true(identity_kill(&shim));
	while (identity_of(shim.pid, &now) || identity_of(qemu.pid, &now))
		uv_run(&rig.loop, UV_RUN_NOWAIT);
	assert_int_equal(identity_write(clone->dir, &other, &other, NULL), 0);
	rig_clone_adopt(clone);
	rig_wait(&rig, clone->is_gone);
}

/* As if the kernel had not killed it with its shim: a new agent says nothing before it is dead. */
static void a_machine_that_outlived_its_shim_is_killed_before_its_end_is_told(void **state)
{
	struct rig_clone *clone = start_ready();
	struct identity shim, qemu, left;
	pid_t child = fork();

	(void)state;
	if (child == 0)
		for (;;)
			pause();
	assert_true(identity_read(clone->dir, &shim, &qemu));
	assert_true(identity_of(child, &left));
	rig_clone_leave(clone);
	assert_true(identity_kill(&shim));
	assert_int_equal(identity_write(clone->dir, &shim, &left, NULL), 0);
	rig_clone_adopt(clone);
	rig_wait(&rig, clone->is_gone);
	assert_false(identity_of(child, &left));
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static void garbage_from_the_guest_is_the_guests_fault(void **state)
{
	struct rig_clone *clone = start_claimed(LONG_MS);

	(void)state;
	rig_clone_request(clone, "GET", "/garbage", "");
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_GUEST_FAULT);
	assert_non_null(strstr(clone->end.detail, "broke the protocol"));
}

static void a_guest_that_panics_says_so(void **state)
{
	struct rig_clone *clone = start_claimed(LONG_MS);

	(void)state;
	rig_clone_request(clone, "GET", "/panic", "");
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_GUEST_FAULT);
	assert_non_null(strstr(clone->end.detail, "panicked"));
}

static void a_guest_that_switches_off_did_it_itself(void **state)
{
	struct rig_clone *clone = start_claimed(LONG_MS);

	(void)state;
	rig_clone_request(clone, "GET", "/off", "");
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_GUEST_FAULT);
}

static int64_t mono_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static struct rig_clone *start_frozen(void)
{
	struct rig_clone *clone = start_claimed(LONG_MS);

	rig_clone_request(clone, "POST", "/mark", "kept");
	rig_wait(&rig, clone->is_answered);
	shim_client_lease(clone->client, mono_ns() + 100 * 1000000LL);
	rig_wait(&rig, clone->status.frozen_mono_ns != 0);
	return clone;
}

static void a_lease_that_ends_freezes_and_a_later_one_thaws(void **state)
{
	struct rig_clone *clone = start_frozen();
	struct gate *gate = clone->gate;
	int64_t resumed = clone->claimed.resumed_mono_ns;
	int64_t frozen = clone->status.frozen_mono_ns;
	uint32_t pid = clone->status.qemu_pid;

	(void)state;
	assert_int_equal(clone->status.resumed_mono_ns, resumed);
	assert_int_equal(clone->status.ran_ns, 0);
	rig_clone_request(clone, "GET", "/mark", ""); /* waits in its connection */
	shim_client_lease(clone->client, frozen);     /* no later one: changes nothing */
	clone->has_status = false;
	shim_client_ask(clone->client);
	rig_wait(&rig, clone->has_status);
	assert_int_equal(clone->status.frozen_mono_ns, frozen);
	assert_false(clone->is_answered);
	shim_client_lease(clone->client, mono_ns() + LONG_MS * 1000000LL);
	rig_wait(&rig, clone->status.frozen_mono_ns == 0);
	assert_int_equal(clone->status.ran_ns, frozen - resumed);
	assert_true(clone->status.resumed_mono_ns > frozen);
	rig_wait(&rig, clone->is_answered);
	assert_true(rig_clone_answer_is(clone, "200", "kept/kept"));
	assert_int_equal(clone->status.qemu_pid, pid);
	assert_ptr_equal(clone->gate, gate);
	/* Its end says the same of what it ran. */
	shim_client_kill(clone->client, CAUSE_REQUEST);
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.ran_ns, frozen - resumed);
	assert_int_equal(clone->end.frozen_mono_ns, 0);
}

static void a_lease_ends_while_no_agent_is_there(void **state)
{
	struct rig_clone *clone = start_claimed(LONG_MS);
	int64_t lease = mono_ns() + 200 * 1000000LL;

	(void)state;
	shim_client_lease(clone->client, lease);
	rig_clone_leave(clone);
	while (mono_ns() < lease)
		uv_run(&rig.loop, UV_RUN_NOWAIT);
	rig_clone_adopt(clone);
	rig_wait(&rig, clone->has_status && clone->status.frozen_mono_ns);
	assert_true(clone->status.frozen_mono_ns >= lease);
}

static void a_frozen_one_ends_by_order_and_is_billed_to_its_freezing(void **state)
{
	struct rig_clone *clone = start_frozen();

	(void)state;
	shim_client_kill(clone->client, CAUSE_NODE_LOST);
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_NODE_LOST);
	assert_int_equal(clone->end.frozen_mono_ns, clone->status.frozen_mono_ns);
}

static void the_time_limit_goes_on_while_frozen(void **state)
{
	struct rig_clone *clone = start_frozen();

	(void)state;
	shim_client_deadline(clone->client, mono_ns() + 50 * 1000000LL);
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_TIMEOUT);
	assert_true(clone->end.frozen_mono_ns &&
		    clone->end.frozen_mono_ns < clone->end.end_mono_ns);
}

static void an_emulator_that_does_not_stop_is_killed(void **state)
{
	struct rig_clone *clone = start_claimed(LONG_MS);
	int64_t lease = mono_ns() + 100 * 1000000LL;

	(void)state;
	rig_wait(&rig, clone->status.state == WIRE_SHIM_CLAIMED);
	kill((pid_t)clone->status.qemu_pid, SIGSTOP);
	shim_client_lease(clone->client, lease);
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_VM_FAULT);
	/* Nobody can tell how long it ran on, and nobody pays for it. */
	assert_true(clone->end.frozen_mono_ns >= lease &&
		    clone->end.frozen_mono_ns < clone->end.ended_mono_ns);
}

static void a_shim_outlives_its_agent_and_tells_the_next_one(void **state)
{
	struct rig_clone *clone = start_claimed(LONG_MS);

	(void)state;
	rig_clone_leave(clone);
	rig_clone_adopt(clone);
	rig_wait(&rig, clone->has_status);
	assert_int_equal(clone->status.state, WIRE_SHIM_CLAIMED);
	assert_true(id_equal(&clone->status.sandbox, &clone->sandbox));
	assert_int_equal(clone->status.incarnation, 1);
	clone->has_status = false;
	shim_client_ask(clone->client);
	rig_wait(&rig, clone->has_status);
	assert_true(clone->status.at_mono_ns >= clone->status.resumed_mono_ns);
	/* Requests went on meanwhile. */
	rig_clone_request(clone, "GET", "/health", "");
	rig_wait(&rig, clone->is_answered);
}

static void the_same_claim_again_is_answered_the_same(void **state)
{
	struct rig_clone *clone = start_claimed(LONG_MS);
	int64_t resumed = clone->claimed.resumed_mono_ns;
	struct id sandbox = clone->sandbox;

	(void)state;
	clone->is_claimed = false;
	rig_clone_claim(clone, LONG_MS); /* the same attempt, for another sandbox even */
	rig_wait(&rig, clone->is_claimed);
	assert_true(clone->claimed.ok);
	assert_int_equal(clone->claimed.resumed_mono_ns, resumed);
	assert_true(id_equal(&clone->status.sandbox, &sandbox));
}

static void a_claim_before_it_is_ready_is_refused(void **state)
{
	struct rig_clone *clone = rig_clone_start(&rig);

	(void)state;
	rig_clone_claim(clone, LONG_MS);
	rig_wait(&rig, clone->is_claimed);
	assert_false(clone->claimed.ok);
	rig_wait(&rig, clone->status.state == WIRE_SHIM_READY);
}

static void a_clone_that_a_claim_waits_for_is_ready_cold(void **state)
{
	struct rig_clone *clone;

	(void)state;
	rig.warmth = VM_WARMTH_NONE;
	clone = start_claimed(LONG_MS);
	rig_clone_request(clone, "GET", "/health", "");
	rig_wait(&rig, clone->is_answered);
	assert_true(rig_clone_answer_is(clone, "204", ""));
}

static void a_folder_without_a_shim_is_gone(void **state)
{
	struct rig_clone *clone = start_ready();

	(void)state;
	kill(shim_of(clone->status.qemu_pid), SIGKILL);
	rig_wait(&rig, clone->is_gone);
	rig_clone_leave(clone);
	rig_clone_adopt(clone);
	rig_wait(&rig, clone->is_gone);
}

static void a_template_that_is_broken_ends_its_clone_with_the_reason(void **state)
{
	struct rig_clone *clone;

	(void)state;
	strcpy(rig.template_.dir, "/nowhere");
	clone = rig_clone_start(&rig);
	rig_wait(&rig, clone->has_ended);
	assert_int_equal(clone->end.cause, CAUSE_VM_FAULT);
	assert_non_null(strstr(clone->end.detail, "/nowhere"));
}

#define CLONE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLONE_TEST(a_claimed_clone_answers_through_the_gateway),
		CLONE_TEST(two_clones_share_neither_disk_nor_memory),
		CLONE_TEST(the_time_limit_holds_while_no_agent_is_there),
		CLONE_TEST(a_moved_limit_is_the_one_that_counts),
		CLONE_TEST(an_order_to_end_is_the_cause_that_is_recorded),
		CLONE_TEST(an_emulator_that_is_killed_is_a_fault_with_its_reason),
		CLONE_TEST(a_killed_shim_takes_its_machine_along),
		CLONE_TEST(a_claim_that_a_stopped_shim_does_not_answer_is_given_up),
		CLONE_TEST(a_recycled_process_number_is_left_alone),
		CLONE_TEST(a_machine_that_outlived_its_shim_is_killed_before_its_end_is_told),
		CLONE_TEST(garbage_from_the_guest_is_the_guests_fault),
		CLONE_TEST(a_guest_that_panics_says_so),
		CLONE_TEST(a_guest_that_switches_off_did_it_itself),
		CLONE_TEST(a_lease_that_ends_freezes_and_a_later_one_thaws),
		CLONE_TEST(a_lease_ends_while_no_agent_is_there),
		CLONE_TEST(a_frozen_one_ends_by_order_and_is_billed_to_its_freezing),
		CLONE_TEST(the_time_limit_goes_on_while_frozen),
		CLONE_TEST(an_emulator_that_does_not_stop_is_killed),
		CLONE_TEST(a_shim_outlives_its_agent_and_tells_the_next_one),
		CLONE_TEST(the_same_claim_again_is_answered_the_same),
		CLONE_TEST(a_claim_before_it_is_ready_is_refused),
		CLONE_TEST(a_clone_that_a_claim_waits_for_is_ready_cold),
		CLONE_TEST(a_folder_without_a_shim_is_gone),
		CLONE_TEST(a_template_that_is_broken_ends_its_clone_with_the_reason),
	};

	rig_build("flotilla-test", FLOTILLA_BIN "/flotilla-test-guest");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
