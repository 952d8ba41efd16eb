/* The ledger: what is free, its chain, its signed heads, and the audit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "tests/sched_shell/store_world.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
		{CAUSE_GUEST_FAULT, false}, {CAUSE_SHIM_FAULT, true}, {CAUSE_PAUSE, false},
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

static void money_that_does_not_add_up_is_found(void **state)
{
	static const char *const changes[][2] = {
		{"UPDATE money_entry SET amount_nano = amount_nano + 1 WHERE id = 3", "movement"},
		{"UPDATE rated_line SET amount_nano = amount_nano + 1 WHERE id = 2", "earned"},
		{"DELETE FROM money_entry WHERE movement = 'line:1'", "earned"},
	};

	(void)state;
	add_tenant("ten_a", 40000);
	add_usage("ten_a", WIRE_RECORD_ENDED, 0, 2000);
	commit();
	for (size_t i = 0; i < ARRAY_N(changes); i++) {
		assert_int_equal(ledger_check_books(store_reader(store), &err), 0);
		tamper("CREATE TABLE IF NOT EXISTS kept_e AS SELECT * FROM money_entry;"
		       "CREATE TABLE IF NOT EXISTS kept_l AS SELECT * FROM rated_line");
		tamper(changes[i][0]);
		assert_int_equal(ledger_check_books(store_reader(store), &err), -1);
		assert_non_null(strstr(err.text, changes[i][1]));
		tamper("DELETE FROM money_entry; INSERT INTO money_entry SELECT * FROM kept_e;"
		       "DELETE FROM rated_line; INSERT INTO rated_line SELECT * FROM kept_l");
	}
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_slice_that_a_failure_of_the_platform_ends_is_counted_and_free),
		TEST(a_second_end_cannot_bill_what_the_first_gave_for_free),
		TEST(a_changed_or_missing_fact_is_found),
		TEST(the_chain_gets_a_signed_head_each_thousand_facts_and_at_the_end),
		TEST(money_that_does_not_add_up_is_found),
		TEST(a_start_verifies_only_what_is_behind_the_last_head),
		TEST(a_chain_computed_anew_has_no_head_of_this_fleet),
		TEST(facts_taken_off_the_end_of_a_signed_chain_are_missed),
		TEST(the_audit_finds_meanwhile_what_the_start_did_not_look_at),
		TEST(facts_of_the_first_version_keep_verifying),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
