/* What is saved, copied from and to a node: what it begins, keeps, and says of it. */
#include "tests/node_core/host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SOURCE 1
#define COPY   (1ULL << 32 | 2) /* of the leader that is */

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

static struct wire_order fetch_order(uint64_t number)
{
	struct wire_order it = host_claim_order(number);

	it.kind = WIRE_ORDER_FETCH;
	it.bytes = 1000;
	it.source = SOURCE;
	it.how = WIRE_SAVE_PAUSE;
	it.saved = it.copy = it.sandbox;
	it.copy.text[0] = 'x';
	snprintf(it.artefact, sizeof(it.artefact), "content-1");
	memset(it.digest, 7, sizeof(it.digest));
	return it;
}

static void order(struct host *host, enum wire_order_kind kind, uint64_t number)
{
	struct wire_order it = fetch_order(number);

	it.kind = kind;
	host_order(host, &it);
}

static void say(struct host *host, enum node_event_kind kind, uint64_t number, enum refusal refusal)
{
	struct node_event event = {.kind = kind};

	event.carry.number = number;
	event.carry.bytes = 40 << 20;
	event.carry.refusal = refusal;
	snprintf(event.carry.id, sizeof(event.carry.id), "content-1");
	memset(event.carry.digest, 7, sizeof(event.carry.digest));
	host_step(host, &event);
}

/* Attempt 1 ran, and is paused. The number of its folder. */
static uint64_t pause_one(struct host *host)
{
	uint64_t vm = host_run(host, SOURCE);

	host_pause(host, SOURCE, 9);
	host_paused(host, vm);
	return vm;
}

static void hand_over(struct host *host)
{
	struct wire_order it = host_claim_order(SOURCE);

	it.kind = WIRE_ORDER_HAND_OVER;
	it.save = COPY;
	it.to_seq = 5;
	snprintf(it.to.text, sizeof(it.to.text), "nod_other");
	host_order(host, &it);
}

/* Fetched as attempt 2, and in its folder, whose number it returns. */
static uint64_t fetch(struct host *host)
{
	order(host, WIRE_ORDER_FETCH, COPY);
	say(host, NODE_EVENT_CARRY_ARRIVED, COPY, REFUSAL_NONE);
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_INSTALL), 1);
	say(host, NODE_EVENT_CARRY_ENDED, COPY, REFUSAL_NONE);
	return host_last(host, NODE_EFFECT_CARRY_FETCH)->carry.folder;
}

static void what_is_paused_is_offered_from_its_folder(void **state)
{
	struct host *host = *state;
	uint64_t folder = pause_one(host);

	order(host, WIRE_ORDER_SEND, COPY);
	assert_int_equal(host_last(host, NODE_EFFECT_CARRY_SEND)->carry.folder, folder);
	say(host, NODE_EVENT_CARRY_OFFERED, COPY, REFUSAL_NONE);
	assert_int_equal(host_transfer(host, COPY)->state, WIRE_TRANSFER_SENDING);
	assert_string_equal(host_transfer(host, COPY)->template_id, "content-1");
	assert_int_equal(host->payloads_n, 0);
}

static void only_the_latest_offer_of_it_stands(void **state)
{
	struct host *host = *state;

	pause_one(host);
	for (uint64_t i = 0; i < 6; i++)
		order(host, WIRE_ORDER_SEND, COPY + i);
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_SEND), 6);
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_DROP), 5);
	assert_int_equal(host_transfer(host, COPY + 5)->state, WIRE_TRANSFER_PREPARING);
}

static void a_leaders_fetch_makes_way_for_the_next_leaders(void **state)
{
	struct host *host = *state;

	order(host, WIRE_ORDER_FETCH, COPY);
	host_answer(host, 7);
	order(host, WIRE_ORDER_FETCH, 7ULL << 32 | 1);
	assert_int_equal(host_last(host, NODE_EFFECT_CARRY_DROP)->carry.number, COPY);
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_FETCH), 2);
}

static void what_is_not_here_is_not_offered(void **state)
{
	struct host *host = *state;

	order(host, WIRE_ORDER_SEND, COPY);
	assert_int_equal(host_transfer(host, COPY)->state, WIRE_TRANSFER_FAILED);
	assert_int_equal(host_transfer(host, COPY)->refusal, REFUSAL_TRANSFER_NO_SOURCE);
}

static void a_hand_over_is_a_record_and_all_goes(void **state)
{
	struct host *host = *state;
	uint64_t folder = pause_one(host);
	const struct wire_record *record;

	order(host, WIRE_ORDER_SEND, COPY);
	hand_over(host);
	record = host_last_record(host);
	assert_int_equal(record->kind, WIRE_RECORD_HANDED_OVER);
	assert_int_equal(record->attempt, SOURCE);
	assert_int_equal(record->save, COPY);
	assert_string_equal(record->to.text, "nod_other");
	assert_int_equal(record->to_seq, 5);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_FORGET)->vm, folder);
	assert_int_equal(host_last(host, NODE_EFFECT_CARRY_DROP)->carry.number, COPY);
	assert_int_equal(host->saved_n, 0);
	/* Again, and a kill that came too late: the record has told. */
	host_forget_log(host);
	hand_over(host);
	host_kill(host, SOURCE);
	assert_int_equal(host_count(host, NODE_EFFECT_JOURNAL_RECORD), 0);
}

static void what_goes_on_at_this_moment_is_not_handed_over(void **state)
{
	struct host *host = *state;
	struct wire_order resume = host_resume_order(COPY + 1, SOURCE);

	pause_one(host);
	host_order(host, &resume);
	host_forget_log(host);
	hand_over(host);
	assert_int_equal(host_count(host, NODE_EFFECT_JOURNAL_RECORD), 0);
	assert_int_equal(host->saved_n, 1);
}

static void a_copy_is_kept_and_goes_on_like_what_was_paused_here(void **state)
{
	struct host *host = *state;
	uint64_t folder = fetch(host);
	const struct wire_record *record = host_last_record(host);
	struct wire_order resume = host_resume_order(COPY + 1, COPY);

	assert_int_equal(record->kind, WIRE_RECORD_KEPT);
	assert_int_equal(record->attempt, COPY);
	assert_int_equal(record->saved_how, WIRE_SAVE_PAUSE);
	assert_int_equal(record->saved_mib, 40);
	assert_int_equal(record->sandbox.text[0], 'x');
	assert_int_equal(record->source.text[0], 'i');
	assert_true(record->transient);
	assert_int_equal(host_transfer(host, COPY)->state, WIRE_TRANSFER_DONE);
	assert_int_equal(host->saved[0].vm, folder);
	host_order(host, &resume);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_START)->start.resume, folder);
	/* The same order again: there is nothing to fetch. */
	host_forget_log(host);
	order(host, WIRE_ORDER_FETCH, COPY);
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_FETCH), 0);
}

static void a_copy_of_a_snapshot_is_one_and_serves_again_and_again(void **state)
{
	struct host *host = *state;
	struct wire_order it = fetch_order(COPY), claim = host_resume_order(COPY + 1, COPY);
	const struct wire_record *record;

	it.stays = true;
	host_order(host, &it);
	say(host, NODE_EVENT_CARRY_ARRIVED, COPY, REFUSAL_NONE);
	say(host, NODE_EVENT_CARRY_ENDED, COPY, REFUSAL_NONE);
	record = host_last_record(host);
	assert_int_equal(record->kind, WIRE_RECORD_KEPT);
	assert_int_equal(record->saved_how, WIRE_SAVE_SNAPSHOT);
	assert_false(record->transient);
	assert_int_equal(host->saved[0].how, WIRE_SAVE_SNAPSHOT);
	claim.incarnation = 1;
	host_order(host, &claim);
	claim.sandbox.text[1] = 'z';
	claim.attempt++;
	host_order(host, &claim);
	assert_int_equal(host_count(host, NODE_EFFECT_VM_START), 2);
	assert_int_equal(host->saved_n, 1);
}

static void one_whose_kill_came_first_is_not_fetched(void **state)
{
	struct host *host = *state;

	host_kill(host, COPY);
	order(host, WIRE_ORDER_FETCH, COPY);
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_FETCH), 0);
	assert_int_equal(host_transfer(host, COPY)->state, WIRE_TRANSFER_FAILED);
}

static void one_that_nobody_wants_any_more_is_dropped_and_not_kept(void **state)
{
	struct host *host = *state;

	order(host, WIRE_ORDER_FETCH, COPY);
	host_kill(host, COPY);
	assert_int_equal(host_last_record(host)->refusal, REFUSAL_CANCELLED);
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_DROP), 1);
	say(host, NODE_EVENT_CARRY_ARRIVED, COPY, REFUSAL_NONE);
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_INSTALL), 0);
	assert_int_equal(host_transfer(host, COPY)->state, WIRE_TRANSFER_FAILED);
}

static void one_that_is_killed_while_it_is_installed_leaves_no_folder(void **state)
{
	struct host *host = *state;
	uint64_t folder;

	order(host, WIRE_ORDER_FETCH, COPY);
	folder = host_last(host, NODE_EFFECT_CARRY_FETCH)->carry.folder;
	say(host, NODE_EVENT_CARRY_ARRIVED, COPY, REFUSAL_NONE);
	host_kill(host, COPY);
	say(host, NODE_EVENT_CARRY_ENDED, COPY, REFUSAL_NONE);
	assert_int_equal(host_last(host, NODE_EFFECT_VM_FORGET)->vm, folder);
	assert_int_equal(host->saved_n, 0);
}

static void one_of_a_leader_before_the_present_one_is_not_kept(void **state)
{
	struct host *host = *state;

	order(host, WIRE_ORDER_FETCH, COPY);
	say(host, NODE_EVENT_CARRY_ARRIVED, COPY, REFUSAL_NONE);
	host_answer(host, 7);
	say(host, NODE_EVENT_CARRY_ENDED, COPY, REFUSAL_NONE);
	assert_int_equal(host->saved_n, 0);
	assert_int_equal(host_transfer(host, COPY)->refusal, REFUSAL_CANCELLED);
}

static void another_content_of_its_template_takes_nothing(void **state)
{
	struct host *host = *state;

	host_template(host, "base", "content-2", 1, 256);
	order(host, WIRE_ORDER_FETCH, COPY);
	assert_int_equal(host_transfer(host, COPY)->refusal, REFUSAL_TRANSFER_UNUSABLE);
}

static void another_digest_is_not_installed(void **state)
{
	struct host *host = *state;
	struct node_event event = {.kind = NODE_EVENT_CARRY_ARRIVED};

	order(host, WIRE_ORDER_FETCH, COPY);
	event.carry.number = COPY;
	snprintf(event.carry.id, sizeof(event.carry.id), "content-1");
	host_step(host, &event);
	assert_int_equal(host_transfer(host, COPY)->refusal, REFUSAL_TRANSFER_CORRUPT);
	assert_int_equal(host_count(host, NODE_EFFECT_CARRY_INSTALL), 0);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_host, close_host)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(what_is_paused_is_offered_from_its_folder),
		STORY(only_the_latest_offer_of_it_stands),
		STORY(a_leaders_fetch_makes_way_for_the_next_leaders),
		STORY(what_is_not_here_is_not_offered),
		STORY(a_hand_over_is_a_record_and_all_goes),
		STORY(what_goes_on_at_this_moment_is_not_handed_over),
		STORY(a_copy_is_kept_and_goes_on_like_what_was_paused_here),
		STORY(a_copy_of_a_snapshot_is_one_and_serves_again_and_again),
		STORY(one_whose_kill_came_first_is_not_fetched),
		STORY(one_that_nobody_wants_any_more_is_dropped_and_not_kept),
		STORY(one_that_is_killed_while_it_is_installed_leaves_no_folder),
		STORY(one_of_a_leader_before_the_present_one_is_not_kept),
		STORY(another_content_of_its_template_takes_nothing),
		STORY(another_digest_is_not_installed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
