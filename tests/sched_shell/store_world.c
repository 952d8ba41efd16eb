#include "tests/sched_shell/store_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"

#include <signal.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uv_loop_t loop;
char dir[] = "/tmp/flotilla-store-XXXXXX", path[64];
struct store *store;
struct store_batch batch;
struct err err;
uint64_t seq;

void on_done(void *data, struct store_batch *done)
{
	(void)done;
	(*(int *)data)++;
}

int done_n;

void open_store(void)
{
	if (store_open(&store, &loop, dir, on_done, &done_n, &err))
		fail_msg("%s", err.text);
}

void close_store(void)
{
	store_close(store);
	uv_run(&loop, UV_RUN_DEFAULT);
}

int start(void **state)
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

int stop(void **state)
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

void commit(void)
{
	if (store_commit_now(store, &batch, &err))
		fail_msg("%s", err.text);
	store_batch_clear(&batch);
}

void add_tenant(const char *id, int64_t credit_nano)
{
	struct store_op *op = store_batch_add(&batch, STORE_OP_TENANT, 1);

	CHECK(id_parse(id, strlen(id), &op->tenant.id));
	strcpy(op->tenant.name, "t");
	strcpy(op->tenant.plan, "hobby");
	op->tenant.credit_nano = credit_nano;
}

struct wire_record *add_usage(const char *tenant, enum wire_record_kind kind, uint64_t from_ms,
			      uint64_t to_ms)
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
int64_t ask(const char *sql)
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

/* Changes the file behind the store's back, with whatever guards it taken away. */
void tamper(const char *sql)
{
	static const char *const tables[] = {"usage_event", "ledger_head", "rated_line",
					     "money_entry"};
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	for (size_t i = 0; i < ARRAY_N(tables); i++) {
		char drop[160];
		snprintf(drop, sizeof(drop),
			 "DROP TRIGGER IF EXISTS %s_keeps; DROP TRIGGER IF EXISTS %s_stays",
			 tables[i], tables[i]);
		sqlite3_exec(db, drop, NULL, NULL, NULL);
	}
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}
