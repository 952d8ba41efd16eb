/* What the journal promises: all of a batch or nothing, and back as it was written. */
#include "tests/node_shell/world.h"

#include "common/base/check.h"
#include "tests/proto/random_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
	struct world *world = malloc(sizeof(*world));

	CHECK(world);
	world_open(world);
	*state = world;
	return 0;
}

static int teardown(void **state)
{
	world_close(*state);
	free(*state);
	return 0;
}

static void commit(struct world *world, const struct node_effect *effects, size_t n)
{
	struct err err = {""};

	if (journal_commit(&world->journal, effects, n, &err))
		fail_msg("%s", err.text);
}

static void a_node_that_never_started_loads_nothing(void **state)
{
	struct loaded loaded;

	world_load(*state, &loaded);
	assert_int_equal(loaded.n, 0);
	assert_int_equal(world_records_n(*state), 0);
}

/* The core wants the row first, then sandboxes, then answers, the oldest first. */
static void a_restart_loads_what_was_written(void **state)
{
	struct world *world = *state;
	const struct node_effect effects[] = {
		effect_sandbox(9, 100), effect_attempt(9), effect_attempt(4), effect_record(1),
		effect_record(2),       effect_meta(50),   effect_attempt(7), effect_sandbox(4, 1),
	};
	static const uint64_t attempts[] = {9, 4, 7};
	struct loaded loaded;

	commit(world, effects, ARRAY_N(effects));
	world_reopen(world);
	world_load(world, &loaded);
	assert_int_equal(loaded.n, 1 + 3 + 2);
	assert_int_equal(loaded.events[0].kind, NODE_EVENT_LOAD_META);
	assert_int_equal(loaded.events[0].meta.next_seq, 3);
	assert_int_equal(loaded.events[0].meta.acked_seq, 50);
	assert_int_equal(loaded.events[0].meta.epoch, 51);
	assert_int_equal(loaded.events[0].meta.attempt_floor, 52);
	for (size_t i = 0; i < ARRAY_N(attempts); i++) {
		assert_int_equal(loaded.events[3 + i].kind, NODE_EVENT_LOAD_ATTEMPT);
		assert_int_equal(loaded.events[3 + i].attempt, attempts[i]);
	}
	assert_int_equal(loaded.events[1].kind, NODE_EVENT_LOAD_SANDBOX);
	assert_int_equal(loaded.events[2].kind, NODE_EVENT_LOAD_SANDBOX);
	assert_memory_equal(&loaded.events[1].sandbox, &effects[7].sandbox,
			    sizeof(effects[7].sandbox));
	assert_memory_equal(&loaded.events[2].sandbox, &effects[0].sandbox,
			    sizeof(effects[0].sandbox));
}

static void the_newest_row_of_a_sandbox_counts(void **state)
{
	struct world *world = *state;
	const struct node_effect effects[] = {effect_sandbox(3, 1), effect_meta(1),
					      effect_sandbox(3, 2), effect_meta(2)};
	struct loaded loaded;

	commit(world, effects, ARRAY_N(effects));
	world_load(world, &loaded);
	assert_int_equal(loaded.n, 2);
	assert_int_equal(loaded.events[0].meta.acked_seq, 2);
	assert_memory_equal(&loaded.events[1].sandbox, &effects[2].sandbox,
			    sizeof(effects[2].sandbox));
}

static void what_is_gone_is_not_loaded(void **state)
{
	struct world *world = *state;
	const struct node_effect born[] = {effect_attempt(1), effect_attempt(2),
					   effect_sandbox(1, 1), effect_sandbox(2, 2)};
	const struct node_effect gone[] = {effect_sandbox_gone(1), effect_attempt_gone(2)};
	struct loaded loaded;

	commit(world, born, ARRAY_N(born));
	commit(world, gone, ARRAY_N(gone));
	world_load(world, &loaded);
	assert_int_equal(loaded.n, 2);
	assert_int_equal(loaded.events[0].sandbox.attempt, 2);
	assert_int_equal(loaded.events[1].attempt, 1);
}

/* The sequence has no gaps for ever, so it must not begin anew without its meta row. */
static void the_sequence_goes_on_behind_the_newest_record(void **state)
{
	struct world *world = *state;
	const struct node_effect records[] = {effect_record(1), effect_record(2), effect_record(3)};
	struct node_effect trim = {.kind = NODE_EFFECT_JOURNAL_TRIM};
	struct loaded loaded;

	commit(world, records, ARRAY_N(records));
	trim.trim.below_seq = 3;
	trim.trim.before_wall.ns = INT64_MAX;
	commit(world, &trim, 1);
	world_reopen(world);
	world_load(world, &loaded);
	assert_int_equal(loaded.n, 1);
	assert_int_equal(loaded.events[0].meta.next_seq, 4);
	assert_int_equal(world_records_n(world), 1);
}

static void a_trim_takes_only_what_is_both_acknowledged_and_old(void **state)
{
	struct world *world = *state;
	struct node_effect trim = {.kind = NODE_EFFECT_JOURNAL_TRIM};
	struct wire_record left[8];
	struct err err;
	size_t n;

	for (uint64_t seq = 1; seq <= 6; seq++) {
		struct node_effect record = effect_record(seq);
		commit(world, &record, 1);
	}
	trim.trim.below_seq = 5;
	trim.trim.before_wall.ns = 3000; /* records 1 and 2 */
	commit(world, &trim, 1);
	assert_int_equal(journal_records(&world->journal, 1, left, ARRAY_N(left), &n, &err), 0);
	assert_int_equal(n, 4);
	assert_int_equal(left[0].seq, 3);
	trim.trim.before_wall.ns = INT64_MAX; /* old, but 5 and 6 are not acknowledged */
	commit(world, &trim, 1);
	assert_int_equal(journal_records(&world->journal, 1, left, ARRAY_N(left), &n, &err), 0);
	assert_int_equal(n, 2);
	assert_int_equal(left[0].seq, 5);
}

/* Any valid record, its longest texts and its largest numbers included. */
static void records_read_back_equal(void **state)
{
	struct world *world = *state;
	struct node_effect effects[256];
	struct wire_record read[ARRAY_N(effects)];
	static uint8_t notes[ARRAY_N(effects) * (WIRE_NOTE_MAX + WIRE_ALIGN)];
	struct wire_arena arena = {notes, sizeof(notes), 0};
	struct rng rng = {20};
	struct err err;
	size_t n;

	for (size_t i = 0; i < ARRAY_N(effects); i++) {
		effects[i] = (struct node_effect){.kind = NODE_EFFECT_JOURNAL_RECORD};
		random_message(&rng, &wire_shape_record, 0, &arena, &effects[i].record);
		effects[i].record.seq = i + 1;
	}
	commit(world, effects, ARRAY_N(effects));
	world_reopen(world);
	assert_int_equal(journal_records(&world->journal, 1, read, ARRAY_N(read), &n, &err), 0);
	assert_int_equal(n, ARRAY_N(effects));
	for (size_t i = 0; i < n; i++)
		assert_true(wire_equal(&wire_shape_record, &read[i], &effects[i].record));
}

static void records_are_read_in_slices(void **state)
{
	struct world *world = *state;
	struct wire_record read[3];
	struct err err;
	size_t n;

	for (uint64_t seq = 1; seq <= 7; seq++) {
		struct node_effect record = effect_record(seq);
		commit(world, &record, 1);
	}
	for (uint64_t first = 1; first <= 9; first++) {
		size_t left = first > 7 ? 0 : (size_t)(8 - first);
		assert_int_equal(
			journal_records(&world->journal, first, read, ARRAY_N(read), &n, &err), 0);
		assert_int_equal(n, left < ARRAY_N(read) ? left : ARRAY_N(read));
		for (size_t i = 0; i < n; i++)
			assert_int_equal(read[i].seq, first + i);
	}
}

static void a_record_never_changes(void **state)
{
	struct world *world = *state;
	struct node_effect effect = effect_record(1);
	struct wire_record read;
	struct err err;
	size_t n;

	commit(world, &effect, 1);
	effect.record.to_ms = 1000;
	assert_int_equal(journal_commit(&world->journal, &effect, 1, &err), -1);
	assert_int_equal(
		sqlite_script(&world->journal.writer, "UPDATE record SET body = x'80'", &err), -1);
	assert_non_null(strstr(err.text, "a record never changes"));
	assert_int_equal(journal_records(&world->journal, 1, &read, 1, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_int_equal(read.to_ms, 2);
}

static void a_batch_with_a_fault_leaves_nothing(void **state)
{
	struct world *world = *state;
	const struct node_effect before[] = {effect_record(1), effect_meta(1)};
	/* The same record again, at the end of much that would have been fine. */
	const struct node_effect batch[] = {effect_meta(7), effect_attempt(5), effect_sandbox(5, 1),
					    effect_record(2), effect_record(1)};
	struct loaded loaded;
	struct err err = {""};

	commit(world, before, ARRAY_N(before));
	assert_int_equal(journal_commit(&world->journal, batch, ARRAY_N(batch), &err), -1);
	assert_non_null(strstr(err.text, "journal: JOURNAL_RECORD: "));
	world_load(world, &loaded);
	assert_int_equal(loaded.n, 1);
	assert_int_equal(loaded.events[0].meta.acked_seq, 1);
	assert_int_equal(loaded.events[0].meta.next_seq, 2);
	commit(world, batch, ARRAY_N(batch) - 1); /* the journal still works */
	world_load(world, &loaded);
	assert_int_equal(loaded.n, 3);
}

/* For every page at which the disk can be full: all or nothing, and writing works again after. */
static void a_full_disk_takes_all_of_a_batch_or_nothing(void **state)
{
	enum { BATCH = 64, STEP = 2048 };
	struct world *world = *state;
	struct node_effect batch[BATCH];
	size_t written = 0, faults_n = 0, fits_n = 0;
	struct err err;

	for (size_t spare = 0; fits_n < 2; spare += STEP) {
		int fault;
		for (size_t i = 0; i < BATCH; i++)
			batch[i] = effect_record(written + i + 1);
		world_fill_disk(world, spare);
		fault = journal_commit(&world->journal, batch, BATCH, &err);
		world_free_disk(world);
		if (fault)
			faults_n++;
		else
			fits_n++, written += BATCH;
		assert_int_equal(world_records_n(world), written);
	}
	assert_in_range(faults_n, 3, 100);
	world_reopen(world);
	assert_int_equal(world_records_n(world), written);
	assert_int_equal(sqlite_check(&world->journal.writer, &err), 0);
}

/* What a bad disk does: a page in the middle of the file is not what was written. */
static void a_damaged_journal_is_refused_whole(void **state)
{
	struct world *world = *state;
	struct node_effect effects[100];
	uint8_t noise[4096];
	char path[128];
	struct err err;

	for (uint64_t seq = 1; seq <= 100; seq++)
		effects[seq - 1] = effect_record(seq);
	commit(world, effects, 100);
	journal_close(&world->journal);
	snprintf(path, sizeof(path), "%s/journal.db", world->folder);
	FILE *file = fopen(path, "r+");
	assert_non_null(file);
	assert_int_equal(fseek(file, 8 * 4096, SEEK_SET), 0);
	memset(noise, 0xa5, sizeof(noise));
	assert_int_equal(fwrite(noise, sizeof(noise), 1, file), 1);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(journal_open(&world->journal, world->folder, &err), -1);
	assert_non_null(strstr(err.text, "journal.db"));
	assert_non_null(strstr(err.text, "damaged"));
	assert_non_null(strstr(err.text, "nothing of it was loaded"));
}

static void only_one_agent_writes_a_journal(void **state)
{
	struct world *world = *state;
	struct journal second;
	struct err err = {""};

	assert_int_equal(journal_open(&second, world->folder, &err), -1);
	assert_non_null(strstr(err.text, "another process is writing it"));
	journal_close(&second);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_node_that_never_started_loads_nothing),
		TEST(a_restart_loads_what_was_written),
		TEST(the_newest_row_of_a_sandbox_counts),
		TEST(what_is_gone_is_not_loaded),
		TEST(the_sequence_goes_on_behind_the_newest_record),
		TEST(a_trim_takes_only_what_is_both_acknowledged_and_old),
		TEST(records_read_back_equal),
		TEST(records_are_read_in_slices),
		TEST(a_record_never_changes),
		TEST(a_batch_with_a_fault_leaves_nothing),
		TEST(a_full_disk_takes_all_of_a_batch_or_nothing),
		TEST(a_damaged_journal_is_refused_whole),
		TEST(only_one_agent_writes_a_journal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
