/* The store by itself: one transaction or nothing, each second once, books that balance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "tests/sched_shell/store_world.h"

#include <signal.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void usage_is_rated_by_second_and_posted_once(void **state)
{
	(void)state;
	add_tenant("ten_a", 0);
	add_usage("ten_a", WIRE_RECORD_STARTED, 0, 0);
	add_usage("ten_a", WIRE_RECORD_USAGE, 0, 1400);
	add_usage("ten_a", WIRE_RECORD_ENDED, 1400, 2600);
	commit();
	assert_int_equal(ask("SELECT sum(seconds) FROM rated_line WHERE meter = 1"), 3);
	assert_int_equal(ask("SELECT sum(quantity) FROM rated_line WHERE meter = 2"), 3 * 512);
	assert_int_equal(ask("SELECT sum(amount_nano) FROM rated_line"), 3 * (28000 + 2250));
	seq = 0; /* all of it again, as after an acknowledgement that got lost */
	add_usage("ten_a", WIRE_RECORD_STARTED, 0, 0);
	add_usage("ten_a", WIRE_RECORD_USAGE, 0, 1400);
	add_usage("ten_a", WIRE_RECORD_ENDED, 1400, 2600);
	commit();
	assert_int_equal(ask("SELECT count(*) FROM usage_event"), 3);
	assert_int_equal(ask("SELECT sum(seconds) FROM rated_line WHERE meter = 1"), 3);
}

static void a_node_that_tells_a_second_twice_is_not_paid_for_it_twice(void **state)
{
	(void)state;
	add_tenant("ten_a", 0);
	add_usage("ten_a", WIRE_RECORD_USAGE, 0, 5000);
	add_usage("ten_a", WIRE_RECORD_USAGE, 3000, 6000);
	add_usage("ten_a", WIRE_RECORD_ENDED, 0, 6000);
	add_usage("ten_a", WIRE_RECORD_ENDED, 6000, 6000);
	commit();
	assert_int_equal(ask("SELECT sum(seconds) FROM rated_line WHERE meter = 1"), 6);
}

static void the_first_second_is_billed_once_even_when_two_ends_are_told(void **state)
{
	(void)state;
	add_tenant("ten_a", 0);
	add_usage("ten_a", WIRE_RECORD_ENDED, 0, 100);
	add_usage("ten_a", WIRE_RECORD_ENDED, 100, 100);
	commit();
	assert_int_equal(ask("SELECT sum(seconds) FROM rated_line WHERE meter = 1"), 1);
}

static void credit_is_used_up_before_anything_is_owed_and_the_books_balance(void **state)
{
	struct store_tenant tenant;
	struct core_tenant core;

	(void)state;
	add_tenant("ten_a", 50000); /* a second is 30250 */
	add_usage("ten_a", WIRE_RECORD_USAGE, 0, 1000);
	commit();
	assert_int_equal(ask("SELECT credit_left_nano FROM tenant"), 50000 - 30250);
	add_usage("ten_a", WIRE_RECORD_ENDED, 1000, 3000);
	assert_int_equal(store_commit_now(store, &batch, &err), 0);
	assert_int_equal(batch.credits_n, 1);
	assert_int_equal(batch.credits[0].left_nano, 0);
	store_batch_clear(&batch);
	assert_int_equal(ask("SELECT sum(amount_nano) FROM money_entry"), 0);
	assert_int_equal(ask("SELECT sum(amount_nano) FROM money_entry WHERE account = 1"),
			 3 * 30250 - 50000);
	assert_int_equal(ask("SELECT -sum(amount_nano) FROM money_entry WHERE account = 2"),
			 3 * 30250);
	assert_int_equal(ask("SELECT sum(amount_nano) FROM money_entry WHERE account = 3"), 0);
	assert_int_equal(store_tenant_find(store, &(struct id){"ten_a"}, &tenant, &err), 1);
	store_tenant_core(&tenant, &core);
	assert_true(core.credit_exhausted);
}

static void usage_that_cannot_be_rated_is_kept_as_a_fact(void **state)
{
	struct wire_record *record;

	(void)state;
	add_tenant("ten_a", 0);
	record = add_usage("ten_a", WIRE_RECORD_USAGE, 0, INT64_MAX);
	record->vcpus = 4096;
	record->mem_mib = 1 << 24;
	record = add_usage("ten_a", WIRE_RECORD_USAGE, 0, 1000);
	record->price_version = 99;
	add_usage("", WIRE_RECORD_ENDED, 0, 1000);
	assert_int_equal(store_commit_now(store, &batch, &err), 0);
	assert_int_equal(batch.unrated_n, 5);
	assert_int_equal(ask("SELECT count(*) FROM usage_event"), 3);
	assert_int_equal(ask("SELECT count(*) FROM rated_line"), 0);
}

static void the_ledgers_only_grow(void **state)
{
	static const char *const tries[] = {
		"UPDATE usage_event SET to_ms = 1",       "DELETE FROM usage_event",
		"UPDATE rated_line SET seconds = 1",      "DELETE FROM rated_line",
		"UPDATE money_entry SET amount_nano = 1", "DELETE FROM money_entry",
	};
	sqlite3 *db;

	(void)state;
	add_tenant("ten_a", 50000);
	add_usage("ten_a", WIRE_RECORD_ENDED, 0, 1000);
	commit();
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	for (size_t i = 0; i < ARRAY_N(tries); i++)
		assert_int_equal(sqlite3_exec(db, tries[i], NULL, NULL, NULL), SQLITE_CONSTRAINT);
	sqlite3_close(db);
}

static void a_batch_is_written_whole_or_not_at_all(void **state)
{
	struct rlimit limit;

	(void)state;
	add_tenant("ten_a", 0);
	commit();
	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = 4096;
	setrlimit(RLIMIT_FSIZE, &limit);
	for (int i = 0; i < 100; i++)
		add_usage("ten_a", WIRE_RECORD_USAGE, (uint64_t)i * 1000,
			  (uint64_t)i * 1000 + 1000);
	add_tenant("ten_b", 0);
	assert_int_equal(store_commit_now(store, &batch, &err), -1);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_FSIZE, &limit);
	assert_int_equal(ask("SELECT count(*) FROM usage_event"), 0);
	assert_int_equal(ask("SELECT count(*) FROM tenant"), 1);
	/* The same connection goes on when there is room again. */
	if (store_commit_now(store, &batch, &err))
		fail_msg("%s", err.text);
	assert_int_equal(ask("SELECT count(*) FROM usage_event"), 100);
	assert_int_equal(ask("SELECT sum(seconds) FROM rated_line WHERE meter = 1"), 100);
}

static void a_batch_given_to_the_thread_comes_back_committed(void **state)
{
	(void)state;
	done_n = 0;
	for (int i = 0; i < 50; i++) {
		add_usage("", WIRE_RECORD_STARTED, 0, 0);
		store_commit(store, &batch);
		assert_true(store_is_busy(store));
		while (done_n <= i)
			uv_run(&loop, UV_RUN_ONCE);
		assert_true(batch.committed && !store_is_busy(store));
		store_batch_clear(&batch);
		assert_int_equal(ask("SELECT count(*) FROM usage_event"), i + 1);
	}
}

static void epochs_count_up_over_restarts(void **state)
{
	(void)state;
	for (uint32_t epoch = 1; epoch <= 3; epoch++) {
		store_batch_add(&batch, STORE_OP_EPOCH, 1);
		assert_int_equal(store_commit_now(store, &batch, &err), 0);
		assert_int_equal(batch.epoch, epoch);
		store_batch_clear(&batch);
		close_store();
		open_store();
	}
}

static struct core_event loaded[16];
static size_t loaded_n;

static void on_loaded(void *data, const struct core_event *event)
{
	(void)data;
	loaded[loaded_n++] = *event;
}

static void rows_come_back_as_they_went_in(void **state)
{
	struct core_sandbox row = {.id = {"isandbox"},
				   .tenant = {"ten_a"},
				   .node = {"nod_a"},
				   .template_ = "base",
				   .plan = "hobby",
				   .price_version = 1,
				   .vcpus = 2,
				   .mem_mib = 512,
				   .disk_mib = 1024,
				   .timeout_s = 300,
				   .state = SANDBOX_PLACING,
				   .attempt = (1ull << 32) + 7,
				   .tries = 1,
				   .deadline_version = 3,
				   .deadline_known = 2,
				   .created_at = {5},
				   .end_at = {6}};
	struct store_op *op;

	(void)state;
	add_tenant("ten_a", 0);
	op = store_batch_add(&batch, STORE_OP_NODE, 1);
	strcpy(op->node.id.text, "nod_a");
	strcpy(op->node.name, "a");
	op = store_batch_add(&batch, STORE_OP_SANDBOX_NEW, 1);
	op->sandbox.row = row;
	op->sandbox.extra.envs = strdup("{\"A\":\"1\"}");
	commit();
	loaded_n = 0;
	assert_int_equal(store_load(store, on_loaded, NULL, &err), 0);
	assert_int_equal(loaded_n, 3);
	assert_int_equal(loaded[0].kind, CORE_EVENT_LOAD_TENANT);
	assert_int_equal(loaded[0].tenant.concurrent_max, 20);
	assert_int_equal(loaded[0].tenant.session_max_s, 3600);
	assert_int_equal(loaded[1].kind, CORE_EVENT_LOAD_NODE);
	assert_int_equal(loaded[1].node.next_seq, 1);
	assert_int_equal(loaded[2].kind, CORE_EVENT_LOAD_SANDBOX);
	assert_memory_equal(&loaded[2].sandbox, &row, sizeof(row));

	row.state = SANDBOX_RUNNING;
	op = store_batch_add(&batch, STORE_OP_EFFECT, 1);
	op->effect.kind = CORE_EFFECT_SAVE_SANDBOX;
	op->effect.sandbox = row;
	commit();
	/* Secrets are not kept once the guest has them. */
	assert_int_equal(ask("SELECT envs IS NULL FROM sandbox"), 1);
	row.state = SANDBOX_ENDED;
	row.ended_at.ns = 9;
	op = store_batch_add(&batch, STORE_OP_EFFECT, 1);
	op->effect.kind = CORE_EFFECT_SAVE_SANDBOX;
	op->effect.sandbox = row;
	commit();
	loaded_n = 0;
	assert_int_equal(store_load(store, on_loaded, NULL, &err), 0);
	assert_int_equal(loaded_n, 2);
}

static void a_second_writer_and_a_strange_file_are_refused(void **state)
{
	struct store *second;
	char as_ours[64];
	sqlite3 *db;

	(void)state;
	assert_int_equal(store_open(&second, &loop, dir, on_done, &done_n, &err), -1);
	assert_non_null(strstr(err.text, "another process"));
	snprintf(as_ours, sizeof(as_ours), "PRAGMA user_version = %d",
		 (int)ask("PRAGMA user_version"));
	close_store();
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL);
	assert_int_equal(store_open(&second, &loop, dir, on_done, &done_n, &err), -1);
	assert_non_null(strstr(err.text, "newer version"));
	sqlite3_exec(db, as_ours, NULL, NULL, NULL);
	sqlite3_exec(db, "PRAGMA application_id = 7", NULL, NULL, NULL);
	assert_int_equal(store_open(&second, &loop, dir, on_done, &done_n, &err), -1);
	assert_non_null(strstr(err.text, "another program"));
	sqlite3_exec(db, "PRAGMA application_id = 0x464c5331", NULL, NULL, NULL);
	sqlite3_close(db);
	uv_run(&loop, UV_RUN_DEFAULT);
	open_store();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(usage_is_rated_by_second_and_posted_once),
		TEST(a_node_that_tells_a_second_twice_is_not_paid_for_it_twice),
		TEST(the_first_second_is_billed_once_even_when_two_ends_are_told),
		TEST(credit_is_used_up_before_anything_is_owed_and_the_books_balance),
		TEST(usage_that_cannot_be_rated_is_kept_as_a_fact),
		TEST(the_ledgers_only_grow),
		TEST(a_batch_is_written_whole_or_not_at_all),
		TEST(a_batch_given_to_the_thread_comes_back_committed),
		TEST(epochs_count_up_over_restarts),
		TEST(rows_come_back_as_they_went_in),
		TEST(a_second_writer_and_a_strange_file_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
