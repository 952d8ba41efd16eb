/* The store by itself: one transaction or nothing, each second once, books that balance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "scheduler/shell/store/store.h"

#include <signal.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static uv_loop_t loop;
static char dir[] = "/tmp/flotilla-store-XXXXXX", path[64];
static struct store *store;
static struct store_batch batch;
static struct err err;
static uint64_t seq;

static void on_done(void *data, struct store_batch *done)
{
	(void)done;
	(*(int *)data)++;
}

static int done_n;

static void open_store(void)
{
	if (store_open(&store, &loop, dir, on_done, &done_n, &err))
		fail_msg("%s", err.text);
}

static void close_store(void)
{
	store_close(store);
	uv_run(&loop, UV_RUN_DEFAULT);
}

static int start(void **state)
{
	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	if (!mkdtemp(dir) || sodium_init() < 0 || uv_loop_init(&loop))
		return -1;
	snprintf(path, sizeof(path), "%s/scheduler.db", dir);
	batch = (struct store_batch){0};
	seq = 0;
	open_store();
	return 0;
}

static int stop(void **state)
{
	static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
	char name[80];

	(void)state;
	close_store();
	store_batch_free(&batch);
	for (size_t i = 0; i < ARRAY_N(ends); i++) {
		snprintf(name, sizeof(name), "%s%s", path, ends[i]);
		unlink(name);
	}
	rmdir(dir);
	return uv_loop_close(&loop);
}

static void commit(void)
{
	if (store_commit_now(store, &batch, &err))
		fail_msg("%s", err.text);
	store_batch_clear(&batch);
}

static void add_tenant(const char *id, int64_t credit_nano)
{
	struct store_op *op = store_batch_add(&batch, STORE_OP_TENANT, 1);

	CHECK(id_parse(id, strlen(id), &op->tenant.id));
	strcpy(op->tenant.name, "t");
	strcpy(op->tenant.plan, "hobby");
	op->tenant.credit_nano = credit_nano;
}

static struct wire_record *add_usage(const char *tenant, enum wire_record_kind kind,
				     uint64_t from_ms, uint64_t to_ms)
{
	struct store_op *op = store_batch_add(&batch, STORE_OP_EFFECT, 2);
	struct wire_record *record = &op->effect.usage.record;

	op->effect.kind = CORE_EFFECT_POST_USAGE;
	strcpy(op->effect.usage.node.text, "nod_a");
	*record = (struct wire_record){.kind = kind,
				       .seq = ++seq,
				       .sandbox = {"isandbox"},
				       .attempt = 1,
				       .incarnation = 1,
				       .price_version = 1,
				       .vcpus = 2,
				       .mem_mib = 512,
				       .at_wall_ns = 10,
				       .from_ms = from_ms,
				       .to_ms = to_ms};
	strcpy(record->tenant.text, tenant);
	return record;
}

/* One number out of the file, by a connection of its own. */
static int64_t ask(const char *sql)
{
	sqlite3_stmt *statement;
	sqlite3 *db;
	int64_t got = INT64_MIN;

	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	if (sqlite3_step(statement) == SQLITE_ROW)
		got = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	sqlite3_close(db);
	return got;
}

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

static void the_slice_that_a_failure_of_the_platform_ends_is_counted_and_free(void **state)
{
	static const struct {
		enum cause cause;
		bool free;
	} rows[] = {
		{CAUSE_REQUEST, false},     {CAUSE_TIMEOUT, false},   {CAUSE_QUOTA, false},
		{CAUSE_BUDGET, false},      {CAUSE_OOM_GUEST, false}, {CAUSE_OOM_HOST, true},
		{CAUSE_VM_FAULT, true},     {CAUSE_NODE_LOST, true},  {CAUSE_NODE_RESTARTED, true},
		{CAUSE_OPERATOR, false},    {CAUSE_DRAIN, false},     {CAUSE_PLATFORM, true},
		{CAUSE_GUEST_FAULT, false}, {CAUSE_SHIM_FAULT, true},
	};
	uint64_t n;

	(void)state;
	add_tenant("ten_a", 40000);
	commit();
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		int64_t billed = ask("SELECT coalesce(sum(amount_nano), 0) FROM rated_line");
		struct wire_record *record = add_usage("ten_a", WIRE_RECORD_USAGE, 0, 1400);
		record->incarnation = (uint32_t)i;
		record = add_usage("ten_a", WIRE_RECORD_ENDED, 1400, 2600);
		record->incarnation = (uint32_t)i;
		record->cause = rows[i].cause;
		commit();
		assert_int_equal(ask("SELECT billable FROM usage_event ORDER BY id DESC"),
				 !rows[i].free);
		assert_int_equal(ask("SELECT sum(amount_nano) FROM rated_line") - billed,
				 (rows[i].free ? 1 : 3) * 30250);
		assert_int_equal(ask("SELECT unbilled_seconds FROM rated_line ORDER BY id DESC"),
				 rows[i].free ? 2 : 0);
	}
	/* Whoever paid, each millisecond is there once. */
	assert_int_equal(ask("SELECT sum(to_ms - from_ms) FROM rated_line WHERE meter = 1"),
			 (int64_t)ARRAY_N(rows) * 2600);
	assert_int_equal(ask("SELECT sum(seconds + unbilled_seconds) FROM rated_line "
			     "WHERE meter = 2"),
			 (int64_t)ARRAY_N(rows) * 3);
	assert_int_equal(store_verify(store, &n, &err), 0);
}

static void a_second_end_cannot_bill_what_the_first_gave_for_free(void **state)
{
	(void)state;
	add_tenant("ten_a", 0);
	add_usage("ten_a", WIRE_RECORD_ENDED, 0, 100)->cause = CAUSE_VM_FAULT;
	add_usage("ten_a", WIRE_RECORD_ENDED, 0, 100)->cause = CAUSE_REQUEST;
	commit();
	assert_int_equal(ask("SELECT sum(seconds) FROM rated_line"), 0);
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

static void a_changed_or_missing_fact_is_found(void **state)
{
	static const char *const changes[] = {
		"UPDATE usage_event SET to_ms = to_ms + 1 WHERE id = 2",
		"UPDATE usage_event SET tenant = 'ten_b' WHERE id = 2",
		"UPDATE usage_event SET billable = 0 WHERE id = 3",
		"UPDATE usage_event SET hash_version = 1 WHERE id = 3",
		"DELETE FROM usage_event WHERE id = 2",
	};
	uint64_t n;
	sqlite3 *db;

	(void)state;
	add_tenant("ten_a", 0);
	for (uint64_t i = 0; i < 3; i++)
		add_usage("ten_a", WIRE_RECORD_STARTED, 0, 0);
	commit();
	assert_int_equal(store_verify(store, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_exec(db, "DROP TRIGGER usage_event_keeps; DROP TRIGGER usage_event_stays", NULL,
		     NULL, NULL);
	for (size_t i = 0; i < ARRAY_N(changes); i++) {
		sqlite3_exec(db, "SAVEPOINT s", NULL, NULL, NULL);
		assert_int_equal(sqlite3_exec(db, changes[i], NULL, NULL, NULL), SQLITE_OK);
		sqlite3_exec(db, "RELEASE s", NULL, NULL, NULL);
		assert_int_equal(store_verify(store, &n, &err), -1);
		assert_non_null(strstr(err.text, "usage_event"));
	}
	sqlite3_close(db);
}

/* Changes the file behind the store's back, with whatever guards it taken away. */
static void tamper(const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_exec(db, "DROP TRIGGER IF EXISTS usage_event_keeps", NULL, NULL, NULL);
	sqlite3_exec(db, "DROP TRIGGER IF EXISTS usage_event_stays", NULL, NULL, NULL);
	sqlite3_exec(db, "DROP TRIGGER IF EXISTS ledger_head_keeps", NULL, NULL, NULL);
	sqlite3_exec(db, "DROP TRIGGER IF EXISTS ledger_head_stays", NULL, NULL, NULL);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static struct identity fleet;

static void sign(uint8_t seed_byte)
{
	uint8_t seed[IDENTITY_SEED_N];

	memset(seed, seed_byte, sizeof(seed));
	identity_make(seed, &fleet);
	store_sign_with(store, &fleet);
}

static void reopen(void)
{
	close_store();
	open_store();
	sign(1);
}

static void add_starts(int n)
{
	for (int i = 0; i < n; i++)
		add_usage("ten_a", WIRE_RECORD_STARTED, 0, 0);
	commit();
}

static void the_chain_gets_a_signed_head_each_thousand_facts_and_at_the_end(void **state)
{
	uint64_t n;

	(void)state;
	sign(1);
	add_starts(LEDGER_HEAD_EVENTS - 1);
	assert_int_equal(ask("SELECT count(*) FROM ledger_head"), 0);
	add_starts(1);
	assert_int_equal(ask("SELECT max(event) FROM ledger_head"), LEDGER_HEAD_EVENTS);
	add_starts(5);
	reopen();
	assert_int_equal(ask("SELECT max(event) FROM ledger_head"), LEDGER_HEAD_EVENTS + 5);
	assert_int_equal(store_verify(store, &n, &err), 0);
	assert_int_equal(n, LEDGER_HEAD_EVENTS + 5);
	/* Time alone makes no head; a fact after ten minutes does. */
	add_starts(1);
	assert_int_equal(ask("SELECT count(*) FROM ledger_head"), 2);
	add_usage("ten_a", WIRE_RECORD_STARTED, 0, 0);
	batch.ops[0].wall_ns = INT64_MAX;
	commit();
	assert_int_equal(ask("SELECT count(*) FROM ledger_head"), 3);
}

static void a_start_verifies_only_what_is_behind_the_last_head(void **state)
{
	uint64_t n;

	(void)state;
	sign(1);
	add_starts(50);
	reopen();
	add_starts(3);
	assert_int_equal(store_verify_end(store, &n, &err), 0);
	assert_int_equal(n, 4); /* the head's own fact and what came since */
	tamper("UPDATE usage_event SET to_ms = 9 WHERE id = 52");
	assert_int_equal(store_verify_end(store, &n, &err), -1);
	assert_non_null(strstr(err.text, "usage_event 52"));
}

static void a_chain_computed_anew_has_no_head_of_this_fleet(void **state)
{
	uint64_t n;

	(void)state;
	sign(2); /* whoever can write the file, and has not our key */
	add_starts(10);
	close_store();
	open_store();
	assert_int_equal(store_verify(store, &n, &err), 0); /* the hashes alone are right */
	sign(1);
	assert_int_equal(store_verify(store, &n, &err), -1);
	assert_non_null(strstr(err.text, "not signed by this fleet"));
	assert_int_equal(store_verify_end(store, &n, &err), -1);
}

static void facts_taken_off_the_end_of_a_signed_chain_are_missed(void **state)
{
	uint64_t n;

	(void)state;
	sign(1);
	add_starts(10);
	reopen();
	tamper("PRAGMA foreign_keys=OFF; DELETE FROM usage_event WHERE id > 8");
	assert_int_equal(store_verify(store, &n, &err), -1);
	assert_non_null(strstr(err.text, "usage_event 10 is signed and missing"));
	assert_int_equal(store_verify_end(store, &n, &err), -1);
}

static struct ledger_audit_status audited;
static int audited_n;

static void on_audited(void *data, const struct ledger_audit_status *status)
{
	(void)data;
	audited = *status;
	audited_n++;
}

static void audit(void)
{
	audited_n = 0;
	assert_int_equal(store_audit(store, on_audited, NULL, &err), 0);
	while (audited_n == 0)
		uv_run(&loop, UV_RUN_ONCE);
}

static void the_audit_finds_meanwhile_what_the_start_did_not_look_at(void **state)
{
	struct ledger_audit_status status;
	uint64_t n;

	(void)state;
	sign(1);
	add_starts(600);
	reopen();
	audit();
	assert_int_equal(audited.state, LEDGER_AUDIT_PASSED);
	assert_int_equal(audited.events_n, 600);
	reopen();
	tamper("UPDATE usage_event SET vcpus = 1 WHERE id = 300");
	assert_int_equal(store_verify_end(store, &n, &err), 0);
	audit();
	assert_int_equal(audited.state, LEDGER_AUDIT_DAMAGED);
	assert_non_null(strstr(audited.err.text, "usage_event 300"));
	assert_true(store_audit_status(store, &status));
	assert_int_equal(status.state, LEDGER_AUDIT_DAMAGED);
	/* The work goes on. */
	add_starts(1);
}

extern const char store_migration_0001[];

/* The file as the first version left it; the hashes were computed apart from our code. */
static void make_first_version(void)
{
	static const char facts[] =
		"PRAGMA application_id = 0x464c5331; PRAGMA user_version = 1;"
		"INSERT INTO usage_event VALUES (1, 'nod_a', 1, 1, 'isandbox', 'ten_a', 1, 1, 0, "
		"0, 'hobby', 1, 'base', 2, 512, 10, 0, 0, 0, 'b', '', 2, "
		"x'0000000000000000000000000000000000000000000000000000000000000000', "
		"x'a38f6ca76ad10af29363eb4943395ee5cdec4b5ccb62aa93267d8de616a11f84');"
		"INSERT INTO usage_event VALUES (2, 'nod_a', 2, 2, 'isandbox', 'ten_a', 1, 1, 0, "
		"0, 'hobby', 1, 'base', 2, 512, 10, 0, 1400, 0, 'b', '', 2, "
		"x'a38f6ca76ad10af29363eb4943395ee5cdec4b5ccb62aa93267d8de616a11f84', "
		"x'75b9162ee3e5b914470b1d3aac5ce26a5299754ae71921fd0a1451cfd154fad8');";
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, store_migration_0001, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, facts, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void facts_of_the_first_version_keep_verifying(void **state)
{
	uint64_t n;

	(void)state;
	close_store();
	unlink(path);
	make_first_version();
	open_store();
	assert_int_equal(store_verify(store, &n, &err), 0);
	assert_int_equal(n, 2);
	seq = 2;
	add_tenant("ten_b", 0);
	add_usage("ten_b", WIRE_RECORD_ENDED, 0, 1000);
	commit();
	assert_int_equal(store_verify(store, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_int_equal(ask("SELECT sum(hash_version) FROM usage_event"), 1 + 1 + 2);
	tamper("UPDATE usage_event SET billable = 0 WHERE id = 1");
	assert_int_equal(store_verify(store, &n, &err), -1);
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
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
	const struct CMUnitTest tests[] = {
		TEST(usage_is_rated_by_second_and_posted_once),
		TEST(a_node_that_tells_a_second_twice_is_not_paid_for_it_twice),
		TEST(the_first_second_is_billed_once_even_when_two_ends_are_told),
		TEST(credit_is_used_up_before_anything_is_owed_and_the_books_balance),
		TEST(usage_that_cannot_be_rated_is_kept_as_a_fact),
		TEST(the_slice_that_a_failure_of_the_platform_ends_is_counted_and_free),
		TEST(a_second_end_cannot_bill_what_the_first_gave_for_free),
		TEST(the_ledgers_only_grow),
		TEST(a_changed_or_missing_fact_is_found),
		TEST(the_chain_gets_a_signed_head_each_thousand_facts_and_at_the_end),
		TEST(a_start_verifies_only_what_is_behind_the_last_head),
		TEST(a_chain_computed_anew_has_no_head_of_this_fleet),
		TEST(facts_taken_off_the_end_of_a_signed_chain_are_missed),
		TEST(the_audit_finds_meanwhile_what_the_start_did_not_look_at),
		TEST(facts_of_the_first_version_keep_verifying),
		TEST(a_batch_is_written_whole_or_not_at_all),
		TEST(a_batch_given_to_the_thread_comes_back_committed),
		TEST(epochs_count_up_over_restarts),
		TEST(rows_come_back_as_they_went_in),
		TEST(a_second_writer_and_a_strange_file_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
