/* Several schedulers: epochs, claims of a leader before, who has what of the log, notes. */
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

/* The attempt of this number by a leader of this epoch. */
static uint64_t attempt_of(uint64_t epoch, uint64_t n)
{
	return epoch << 32 | n;
}

static bool is_after(const struct host *host, enum node_effect_kind first,
		     enum node_effect_kind second)
{
	size_t i = 0, k = 0;

	while (i < host->effects.n && host->effects.items[i].kind != first)
		i++;
	while (k < host->effects.n && host->effects.items[k].kind != second)
		k++;
	return i < k && k < host->effects.n;
}

/* As long as its row is in the transaction that EPOCH waits for. */
static void the_epoch_is_said_only_when_it_is_journaled(void **state)
{
	struct host *host = *state;

	host_answer(host, 7);
	assert_int_equal(host->meta.epoch, 7);
	assert_int_equal(host_last(host, NODE_EFFECT_EPOCH)->epoch, 7);
	assert_true(is_after(host, NODE_EFFECT_JOURNAL_META, NODE_EFFECT_EPOCH));
	assert_int_equal(node_effect_class(NODE_EFFECT_EPOCH), NODE_CLASS_AFTER);
	assert_int_equal(node_effect_class(NODE_EFFECT_JOURNAL_META), NODE_CLASS_DURABLE);
	host_forget_log(host);
	host_answer(host, 7);
	host_answer(host, 6);
	assert_int_equal(host->log_n, 0);
}

static void an_epoch_survives_its_agent(void **state)
{
	struct host *host = *state;

	host_answer(host, 7);
	host_restart(host);
	assert_int_equal(node_core_meta(host->core).epoch, 7);
	host_step(host, &(struct node_event){.kind = NODE_EVENT_READY});
	host_forget_log(host);
	host_answer(host, 6);
	host_kill(host, 1);
	assert_int_equal(host->records_n, 0);
	assert_int_equal(host_count(host, NODE_EFFECT_EPOCH), 0);
}

static void pending_claims_of_an_older_epoch_are_counted(void **state)
{
	struct host *host = *state;
	uint64_t vm;

	host_answer(host, 2);
	host_claim(host, attempt_of(2, 1));
	host_claim(host, attempt_of(2, 2));
	host_vm_ready(host, 1);
	assert_int_equal(host_poll(host).pending_n, 0);
	host_answer(host, 3);
	assert_int_equal(host_poll(host).pending_n, 2);
	/* A claim of the present leader is his own. */
	host_claim(host, attempt_of(3, 1));
	assert_int_equal(host_poll(host).pending_n, 2);
	host_claimed(host, 1, attempt_of(2, 1), true);
	assert_int_equal(host_poll(host).pending_n, 1);
	/* The one that waits is answered by a no, and what it leaves is the present leader's. */
	host_kill(host, attempt_of(2, 2));
	assert_int_equal(host_poll(host).pending_n, 0);
	vm = host_last(host, NODE_EFFECT_VM_START)->start.vm;
	host_vm_ready(host, vm);
	host_claimed(host, vm, attempt_of(3, 1), true);
	assert_int_equal(host_poll(host).end_seq, host->records_n + 1);
}

static void a_claim_that_a_start_finds_under_way_is_pending(void **state)
{
	struct host *host = *state;
	struct wire_order claim = host_claim_order(attempt_of(2, 1));
	struct node_event event = host_found(7, WIRE_SHIM_READY);

	host_answer(host, 3);
	host_restart(host);
	event.adopted.claim = &claim;
	event.adopted.payload = host_keep_payload(host, 70);
	host_step(host, &event);
	host_step(host, &(struct node_event){.kind = NODE_EVENT_READY});
	assert_int_equal(host_poll(host).pending_n, 1);
	host_ended(host, 7, CAUSE_VM_FAULT);
	assert_int_equal(host_poll(host).pending_n, 0);
	assert_int_equal(host->payloads_n, 0);
}

/* The log's end as it is decided, not as it is committed: whoever has less is behind. */
static void a_report_says_where_the_log_ends(void **state)
{
	struct host *host = *state;

	assert_int_equal(host_poll(host).end_seq, 1);
	host_kill(host, 1);
	assert_int_equal(host_poll(host).end_seq, 2);
}

static struct host *open_replicas(uint32_t n)
{
	struct host *host = host_open();

	host->limits.replicas_n = n;
	host_boot(host);
	host_template(host, "base", "content-1", 1, 256);
	host_ready(host);
	host_forget_log(host);
	return host;
}

static void a_slow_replica_keeps_the_log(void **state)
{
	struct host *host = open_replicas(3);

	(void)state;
	for (uint64_t attempt = 1; attempt <= 10; attempt++)
		host_kill(host, attempt);
	host_acked_by(host, 0, true, 9);
	host_acked_by(host, 1, false, 11);
	host_pass(host, 61000);
	assert_int_equal(host_count(host, NODE_EFFECT_JOURNAL_TRIM), 0);
	assert_int_equal(host->meta.acked_seq, 1);
	host_acked_by(host, 2, false, 4);
	host_acked_by(host, 2, false, 3); /* overtaken */
	host_pass(host, 61000);
	assert_int_equal(host_last(host, NODE_EFFECT_JOURNAL_TRIM)->trim.below_seq, 4);
	assert_int_equal(host->meta.acked_seq, 4);
	host_acked_by(host, 2, false, 11);
	assert_int_equal(node_core_meta(host->core).acked_seq, 9);
	host_close(host);
}

static void after_a_start_every_cursor_is_the_slowest(void **state)
{
	struct host *host = open_replicas(2);

	(void)state;
	for (uint64_t attempt = 1; attempt <= 10; attempt++)
		host_kill(host, attempt);
	host_acked_by(host, 0, true, 9);
	host_acked_by(host, 1, false, 4);
	host_pass(host, 61000);
	host_restart(host);
	host_ready(host);
	assert_int_equal(node_core_meta(host->core).acked_seq, 4);
	host_acked_by(host, 1, false, 11);
	assert_int_equal(node_core_meta(host->core).acked_seq, 4);
	host_acked_by(host, 0, true, 8);
	assert_int_equal(node_core_meta(host->core).acked_seq, 8);
	host_close(host);
}

/* A replica that is away must not stop the node from taking orders. */
static void an_answer_is_forgotten_when_the_leader_has_it(void **state)
{
	struct host *host = open_replicas(2);
	struct node_counts counts;

	(void)state;
	for (uint64_t attempt = 1; attempt <= 100; attempt++) {
		host_kill(host, attempt);
		host_acked_by(host, 1, true, host->records_n + 1);
		host_forget_log(host);
	}
	node_core_count(host->core, &counts);
	assert_int_equal(counts.ignored, 0);
	assert_int_equal(host->records_n, 100);
	assert_int_equal(node_core_meta(host->core).acked_seq, 1);
	host_close(host);
}

static void an_answer_that_only_standbys_have_is_not_forgotten(void **state)
{
	struct host *host = open_replicas(3);
	struct node_counts counts;

	(void)state;
	for (uint64_t attempt = 1; attempt <= 100; attempt++) {
		host_kill(host, attempt);
		host_acked_by(host, 1, false, host->records_n + 1);
		host_acked_by(host, 2, false, host->records_n + 1);
		host_forget_log(host);
	}
	node_core_count(host->core, &counts);
	assert_int_equal(counts.ignored, 100 - host->limits.attempts_max);
	host_close(host);
}

static void any_replica_ahead_of_the_journal_moves_its_numbers_on(void **state)
{
	struct host *host = open_replicas(2);

	(void)state;
	host_acked_by(host, 1, false, 50);
	host->records_n = 49;
	host_kill(host, 1);
	assert_int_equal(host_last_record(host)->seq, 50);
	assert_int_equal(node_core_meta(host->core).acked_seq, 1);
	host_close(host);
}

static void a_started_record_carries_its_orders_note(void **state)
{
	struct host *host = *state;
	struct wire_order order = host_claim_order(1);
	uint8_t note[3] = {1, 2, 3};

	order.note = (struct wire_bytes){note, sizeof(note)};
	host_order(host, &order);
	host_vm_ready(host, 1);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_CLAIM)->claim.order.note.n, 0);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_CLAIM)->claim.payload, 1);
	host_claimed(host, 1, 1, true);
	assert_int_equal(host_last(host, NODE_EFFECT_JOURNAL_RECORD)->note_of, 1);
	assert_true(is_after(host, NODE_EFFECT_JOURNAL_RECORD, NODE_EFFECT_PAYLOAD_DROP));
	assert_int_equal(host->payloads_n, 0);
	host_ended(host, 1, CAUSE_TIMEOUT);
	assert_int_equal(host_last(host, NODE_EFFECT_JOURNAL_RECORD)->note_of, 0);
}

static void a_note_that_comes_back_from_a_shim_is_recorded_too(void **state)
{
	struct host *host = *state;
	struct wire_order first = host_claim_order(1), second = host_claim_order(2);
	struct node_event event;

	host_restart(host);
	event = host_found_claimed(5, &first, host->now);
	event.adopted.payload = host_keep_payload(host, 71);
	host_step(host, &event);
	assert_int_equal(host_last(host, NODE_EFFECT_JOURNAL_RECORD)->note_of, 71);
	assert_int_equal(host->payloads_n, 0);
	event = host_found(6, WIRE_SHIM_READY);
	event.adopted.claim = &second;
	event.adopted.payload = host_keep_payload(host, 72);
	host_step(host, &event);
	assert_int_equal(host->payloads_n, 1);
	host_ready(host);
	host_claimed(host, 6, 2, true);
	assert_int_equal(host_last(host, NODE_EFFECT_JOURNAL_RECORD)->note_of, 72);
	assert_int_equal(host->payloads_n, 0);
}

static void a_note_of_what_is_journaled_or_unwanted_is_dropped(void **state)
{
	struct host *host = *state;
	struct wire_order first = host_claim_order(1), second = host_claim_order(2);
	struct mono resumed = host->now;
	uint64_t vm = host_run(host, 1);
	struct node_event event;

	host_kill(host, 2);
	host_restart(host);
	event = host_found_claimed(vm, &first, resumed);
	event.adopted.payload = host_keep_payload(host, 71);
	host_step(host, &event);
	assert_int_equal(host->payloads_n, 0);
	event = host_found_claimed(6, &second, resumed);
	event.adopted.payload = host_keep_payload(host, 72);
	host_step(host, &event);
	assert_int_equal(host->payloads_n, 0);
	event = host_found_claimed(7, &second, resumed);
	event.adopted.state = WIRE_SHIM_ENDED;
	event.adopted.ended_mono = host->now;
	event.adopted.payload = host_keep_payload(host, 73);
	host_step(host, &event);
	assert_int_equal(host->payloads_n, 0);
}

#define STORY(test) cmocka_unit_test_setup_teardown(test, open_host, close_host)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(the_epoch_is_said_only_when_it_is_journaled),
		STORY(an_epoch_survives_its_agent),
		STORY(pending_claims_of_an_older_epoch_are_counted),
		STORY(a_claim_that_a_start_finds_under_way_is_pending),
		STORY(a_report_says_where_the_log_ends),
		cmocka_unit_test(a_slow_replica_keeps_the_log),
		cmocka_unit_test(after_a_start_every_cursor_is_the_slowest),
		cmocka_unit_test(an_answer_is_forgotten_when_the_leader_has_it),
		cmocka_unit_test(an_answer_that_only_standbys_have_is_not_forgotten),
		cmocka_unit_test(any_replica_ahead_of_the_journal_moves_its_numbers_on),
		STORY(a_started_record_carries_its_orders_note),
		STORY(a_note_that_comes_back_from_a_shim_is_recorded_too),
		STORY(a_note_of_what_is_journaled_or_unwanted_is_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
