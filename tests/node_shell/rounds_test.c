/*
 * The rule of the core's shell, on a real loop and a real journal: what is told was committed
 * before, in order; a commit that fails tells nobody, and the shell starts over.
 */
#include "node-agent/shell/rounds.h"
#include "tests/node_shell/world.h"

#include "common/base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOLD_MAX = 256, EFFECTS_MANY = 100 };

struct shell {
	struct world world;
	uv_loop_t loop;
	struct rounds rounds;
	uint64_t told[TOLD_MAX]; /* end_seq of each RECORDS effect carried out */
	size_t told_n, lost_n, committed_n;
	size_t durable_when_told[TOLD_MAX];
	struct err lost_err;
	void (*on_told)(struct shell *shell, uint64_t end_seq);
};

static void shell_on_after(void *arg, const struct node_effect *effect)
{
	struct shell *shell = arg;

	CHECK(effect->kind == NODE_EFFECT_RECORDS && shell->told_n < TOLD_MAX);
	shell->durable_when_told[shell->told_n] = world_records_n(&shell->world);
	shell->told[shell->told_n++] = effect->records.end_seq;
	if (shell->on_told)
		shell->on_told(shell, effect->records.end_seq);
}

static void shell_on_committed(void *arg)
{
	struct shell *shell = arg;

	shell->committed_n++;
}

static void shell_on_lost(void *arg, const struct err *err)
{
	struct shell *shell = arg;

	shell->lost_n++;
	shell->lost_err = *err;
	CHECK(rounds_are_idle(&shell->rounds));
}

static int setup(void **state)
{
	struct shell *shell = calloc(1, sizeof(*shell));
	const struct rounds_callbacks callbacks = {
		.on_after = shell_on_after,
		.on_committed = shell_on_committed,
		.on_lost = shell_on_lost,
		.arg = shell,
	};

	CHECK(shell && uv_loop_init(&shell->loop) == 0);
	world_open(&shell->world);
	rounds_open(&shell->rounds, &shell->loop, &shell->world.journal, &callbacks);
	*state = shell;
	return 0;
}

static int teardown(void **state)
{
	struct shell *shell = *state;

	CHECK(rounds_are_idle(&shell->rounds));
	rounds_close(&shell->rounds);
	world_close(&shell->world);
	CHECK(uv_loop_close(&shell->loop) == 0);
	free(shell);
	return 0;
}

static void add(struct shell *shell, struct node_effect effect)
{
	rounds_add(&shell->rounds, &effect);
}

/* A record, and word of it. */
static void add_told_record(struct shell *shell, uint64_t seq)
{
	add(shell, effect_record(seq));
	add(shell, effect_records(seq + 1));
}

static void run(struct shell *shell)
{
	CHECK(uv_run(&shell->loop, UV_RUN_DEFAULT) == 0);
}

static void assert_told(const struct shell *shell, const uint64_t *end_seqs, size_t n)
{
	assert_int_equal(shell->told_n, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(shell->told[i], end_seqs[i]);
}

static void nothing_is_told_before_it_is_committed(void **state)
{
	struct shell *shell = *state;

	add_told_record(shell, 1);
	rounds_flush(&shell->rounds);
	assert_false(rounds_are_idle(&shell->rounds));
	assert_int_equal(shell->told_n, 0);
	run(shell);
	assert_told(shell, (uint64_t[]){2}, 1);
	assert_int_equal(shell->durable_when_told[0], 1);
	assert_true(rounds_are_idle(&shell->rounds));
}

/* What waits while a commit is under way is one round, however many steps made it. */
static void what_gathers_meanwhile_is_one_round(void **state)
{
	struct shell *shell = *state;

	add_told_record(shell, 1);
	rounds_flush(&shell->rounds);
	for (uint64_t seq = 2; seq <= EFFECTS_MANY; seq++) {
		add_told_record(shell, seq);
		rounds_flush(&shell->rounds);
	}
	assert_int_equal(shell->told_n, 0);
	run(shell);
	assert_int_equal(shell->told_n, EFFECTS_MANY);
	for (size_t i = 0; i < EFFECTS_MANY; i++) {
		assert_int_equal(shell->told[i], i + 2);
		assert_int_equal(shell->durable_when_told[i], i ? EFFECTS_MANY : 1);
	}
}

static void words_alone_wait_for_the_commit_before_them(void **state)
{
	struct shell *shell = *state;

	add(shell, effect_records(10));
	rounds_flush(&shell->rounds);
	assert_told(shell, (uint64_t[]){10}, 1); /* nothing was under way */
	add_told_record(shell, 1);
	rounds_flush(&shell->rounds);
	add(shell, effect_records(20));
	rounds_flush(&shell->rounds);
	assert_int_equal(shell->told_n, 1);
	run(shell);
	assert_told(shell, (uint64_t[]){10, 2, 20}, 3);
}

static void count_up_to_five(struct shell *shell, uint64_t end_seq)
{
	if (end_seq <= 5)
		add_told_record(shell, end_seq);
	rounds_flush(&shell->rounds);
}

static void what_a_word_causes_is_committed_before_it_is_told(void **state)
{
	struct shell *shell = *state;

	shell->on_told = count_up_to_five;
	add_told_record(shell, 1);
	rounds_flush(&shell->rounds);
	run(shell);
	assert_told(shell, (uint64_t[]){2, 3, 4, 5, 6}, 5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(shell->durable_when_told[i], i + 1);
}

static void fill_a_round(struct shell *shell, uint64_t first_seq)
{
	for (uint64_t i = 0; i < EFFECTS_MANY; i++)
		add_told_record(shell, first_seq + i);
}

static void a_failed_commit_tells_nobody(void **state)
{
	struct shell *shell = *state;

	world_fill_disk(&shell->world, 0);
	fill_a_round(shell, 1);
	rounds_flush(&shell->rounds);
	run(shell);
	world_free_disk(&shell->world);
	assert_int_equal(shell->lost_n, 1);
	assert_non_null(strstr(shell->lost_err.text, "journal: "));
	assert_int_equal(shell->told_n, 0);
	assert_int_equal(world_records_n(&shell->world), 0);
}

/* What gathered behind a commit that failed comes of a state that is no more. */
static void what_gathered_behind_a_failed_commit_is_lost_too(void **state)
{
	struct shell *shell = *state;

	assert_int_equal(
		sqlite_script(&shell->world.journal.writer, "PRAGMA max_page_count=1", NULL),
		0); /* as many as there are */
	fill_a_round(shell, 1);
	rounds_flush(&shell->rounds);
	add_told_record(shell, 1000); /* this one would have fitted */
	rounds_flush(&shell->rounds);
	run(shell);
	assert_int_equal(shell->lost_n, 1);
	assert_int_equal(shell->told_n, 0);
	assert_int_equal(world_records_n(&shell->world), 0);
}

static void after_a_failed_commit_work_goes_on(void **state)
{
	struct shell *shell = *state;

	world_fill_disk(&shell->world, 0);
	fill_a_round(shell, 1);
	rounds_flush(&shell->rounds);
	run(shell);
	world_free_disk(&shell->world);
	add_told_record(shell, 1);
	rounds_flush(&shell->rounds);
	run(shell);
	assert_told(shell, (uint64_t[]){2}, 1);
	assert_int_equal(shell->lost_n, 1);
	assert_int_equal(world_records_n(&shell->world), 1);
}

/* Dropped while its commit is under way: it may become durable, but nobody hears of it. */
static void what_was_dropped_is_not_told(void **state)
{
	struct shell *shell = *state;

	add_told_record(shell, 1);
	rounds_flush(&shell->rounds);
	add_told_record(shell, 2);
	rounds_drop(&shell->rounds);
	run(shell);
	assert_int_equal(shell->told_n, 0);
	assert_int_equal(shell->lost_n, 0);
	assert_int_equal(world_records_n(&shell->world), 1);
}

static void a_failure_of_what_was_dropped_starts_nothing_over(void **state)
{
	struct shell *shell = *state;

	world_fill_disk(&shell->world, 0);
	fill_a_round(shell, 1);
	rounds_flush(&shell->rounds);
	rounds_drop(&shell->rounds);
	run(shell);
	world_free_disk(&shell->world);
	assert_int_equal(shell->lost_n, 0);
	assert_int_equal(shell->told_n, 0);
}

static void drop_at_two(struct shell *shell, uint64_t end_seq)
{
	if (end_seq == 2)
		rounds_drop(&shell->rounds);
}

static void a_drop_in_the_middle_of_telling_ends_it(void **state)
{
	struct shell *shell = *state;

	shell->on_told = drop_at_two;
	fill_a_round(shell, 1);
	rounds_flush(&shell->rounds);
	run(shell);
	assert_told(shell, (uint64_t[]){2}, 1);
	add(shell, effect_records(50));
	rounds_flush(&shell->rounds);
	assert_told(shell, (uint64_t[]){2, 50}, 2); /* the next round is a new state's */
}

static void a_probe_finds_out_whether_writing_works_and_changes_nothing(void **state)
{
	struct shell *shell = *state;

	world_fill_disk(&shell->world, 0);
	rounds_probe(&shell->rounds);
	run(shell);
	assert_int_equal(shell->lost_n, 1);
	assert_int_equal(shell->committed_n, 0);
	world_free_disk(&shell->world);
	rounds_probe(&shell->rounds);
	run(shell);
	assert_int_equal(shell->lost_n, 1);
	assert_int_equal(shell->committed_n, 1);
	assert_int_equal(shell->told_n, 0);
	assert_int_equal(world_records_n(&shell->world), 0);
}

/* What is to be written is the better proof. */
static void a_probe_goes_with_the_round_that_gathers(void **state)
{
	struct shell *shell = *state;

	add_told_record(shell, 1);
	rounds_probe(&shell->rounds);
	rounds_probe(&shell->rounds); /* one behind it, however often it is asked for */
	rounds_probe(&shell->rounds);
	run(shell);
	assert_told(shell, (uint64_t[]){2}, 1);
	assert_int_equal(shell->committed_n, 2);
}

static void what_was_dropped_proves_nothing(void **state)
{
	struct shell *shell = *state;

	rounds_probe(&shell->rounds);
	rounds_drop(&shell->rounds);
	run(shell);
	assert_int_equal(shell->committed_n, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_told_before_it_is_committed),
		TEST(what_gathers_meanwhile_is_one_round),
		TEST(words_alone_wait_for_the_commit_before_them),
		TEST(what_a_word_causes_is_committed_before_it_is_told),
		TEST(a_failed_commit_tells_nobody),
		TEST(what_gathered_behind_a_failed_commit_is_lost_too),
		TEST(after_a_failed_commit_work_goes_on),
		TEST(what_was_dropped_is_not_told),
		TEST(a_failure_of_what_was_dropped_starts_nothing_over),
		TEST(a_drop_in_the_middle_of_telling_ends_it),
		TEST(a_probe_finds_out_whether_writing_works_and_changes_nothing),
		TEST(a_probe_goes_with_the_round_that_gathers),
		TEST(what_was_dropped_proves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
