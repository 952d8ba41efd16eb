/* The scheduler's store, held against the sums of its trace. */
#include "common/base/check.h"
#include "tests/durability/store_trace.h"
#include "tests/durability/subject.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static const char *const sums_sql[SUMS_N] = {
	"SELECT coalesce((SELECT value FROM meta WHERE name = 'epoch'), 0)",
	"SELECT coalesce(max(id), 0) FROM usage_event",
	"SELECT coalesce(max(id), 0) FROM rated_line",
	"SELECT coalesce(max(id), 0) FROM money_entry",
	"SELECT count(*) FROM tenant",
	"SELECT count(*) FROM sandbox",
	"SELECT count(*) FROM sandbox WHERE state = 2",
	"SELECT count(*) FROM sandbox WHERE state = 6 AND saved_attempt = attempt",
	"SELECT coalesce(sum(credit_left_nano), 0) FROM tenant",
	"SELECT coalesce(sum(next_seq), 0) FROM node",
	"SELECT coalesce(sum(version), 0) FROM secret",
	"SELECT count(*) FROM volume WHERE deleted_at = 0",
	"SELECT count(*) FROM usage_event",
	"SELECT coalesce(sum(to_ms - from_ms), 0) FROM rated_line WHERE meter = 1",
	"SELECT coalesce(sum(seconds), 0) FROM rated_line WHERE meter = 1",
	"SELECT coalesce(sum(unbilled_seconds), 0) FROM rated_line WHERE meter = 1",
	"SELECT coalesce(sum(amount_nano), 0) FROM rated_line",
	"SELECT coalesce(sum(amount_nano), 0) FROM money_entry",
	"SELECT coalesce(-sum(amount_nano), 0) FROM money_entry WHERE account = 2",
	"SELECT coalesce(sum(amount_nano), 0) FROM money_entry WHERE account = 1",
};

static uv_loop_t loop;
static struct store *store;
static struct identity fleet;

/* ---- the real code ---- */

static size_t subject_make(uint64_t seed, size_t ops_n)
{
	uint8_t identity_seed[IDENTITY_SEED_N] = {7};

	store_trace_make(seed, ops_n);
	identity_make(identity_seed, &fleet);
	CHECK(uv_loop_init(&loop) == 0);
	return trace.batches_n;
}

static void subject_unmake(void)
{
	store_trace_free();
	CHECK(uv_loop_close(&loop) == 0);
}

static void on_done(void *data, struct store_batch *batch)
{
	(void)data;
	(void)batch;
}

static int subject_open(const char *dir, struct err *err)
{
	store = NULL;
	if (store_open(&store, &loop, dir, on_done, NULL, err)) {
		uv_run(&loop, UV_RUN_DEFAULT);
		return -1;
	}
	store_sign_with(store, &fleet);
	return 0;
}

static void subject_close(void)
{
	store_close(store);
	uv_run(&loop, UV_RUN_DEFAULT);
	store = NULL;
}

static int subject_commit(size_t batch, struct err *err)
{
	trace.batches[batch].credits_n = 0;
	return store_commit_now(store, &trace.batches[batch], err);
}

static int subject_repeat(size_t batch, struct err *err)
{
	struct store_batch again = {0};
	int fault;

	for (size_t i = 0; i < trace.batches[batch].ops_n; i++) {
		const struct store_op *op = &trace.batches[batch].ops[i];
		if (op->kind == STORE_OP_EFFECT)
			*store_batch_add(&again, op->kind, op->wall_ns) = *op;
	}
	fault = store_commit_now(store, &again, err);
	store_batch_free(&again);
	return fault;
}

/* ---- comparing ---- */

static int64_t number(const char *sql)
{
	sqlite3_stmt *statement;
	int64_t out = INT64_MIN;

	if (sqlite3_prepare_v2(store_reader(store)->db, sql, -1, &statement, NULL) == SQLITE_OK &&
	    sqlite3_step(statement) == SQLITE_ROW)
		out = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return out;
}

static bool sums_equal(const struct sums *wanted, size_t n, char why[WHY_MAX])
{
	const int64_t *values = (const int64_t *)wanted;

	for (size_t i = 0; i < n; i++) {
		int64_t found = number(sums_sql[i]);
		if (found == values[i])
			continue;
		snprintf(why, WHY_MAX, "%s: %" PRId64 ", must be %" PRId64, sums_sql[i], found,
			 values[i]);
		return false;
	}
	return true;
}

/* The facts from one on, row by row. */
static bool facts_equal(size_t from, size_t n, char why[WHY_MAX])
{
	static const char sql[] = "SELECT id, node, seq, sandbox, from_ms, to_ms FROM usage_event "
				  "WHERE id > ?1 ORDER BY id";
	sqlite3_stmt *statement;
	bool equal = true;

	CHECK(sqlite3_prepare_v2(store_reader(store)->db, sql, -1, &statement, NULL) == SQLITE_OK);
	sqlite3_bind_int64(statement, 1, (int64_t)from);
	for (size_t i = from; i < n && equal; i++) {
		const struct fact *fact = &trace.facts[i];
		char node[16], box[32];
		snprintf(node, sizeof(node), "nod_%d", fact->node);
		snprintf(box, sizeof(box), "i%020d", fact->box);
		equal = sqlite3_step(statement) == SQLITE_ROW &&
			sqlite3_column_int64(statement, 0) == (int64_t)i + 1 &&
			strcmp((const char *)sqlite3_column_text(statement, 1), node) == 0 &&
			sqlite3_column_int64(statement, 2) == fact->seq &&
			strcmp((const char *)sqlite3_column_text(statement, 3), box) == 0 &&
			sqlite3_column_int64(statement, 4) == fact->from_ms &&
			sqlite3_column_int64(statement, 5) == fact->to_ms;
		if (!equal)
			snprintf(why, WHY_MAX, "fact %zu is not what was posted", i + 1);
	}
	sqlite3_finalize(statement);
	return equal;
}

static bool subject_equals(size_t batches, bool thorough, char why[WHY_MAX])
{
	const struct sums *wanted = &trace.sums[batches];
	size_t facts_n = (size_t)wanted->events;
	struct err err;
	uint64_t n;

	if (!sums_equal(wanted, thorough ? SUMS_N : SUMS_QUICK_N, why) ||
	    !facts_equal(thorough || facts_n < 16 ? 0 : facts_n - 16, facts_n, why))
		return false;
	if (!thorough)
		return true;
	if (sqlite_check(store_reader(store), &err) || store_verify(store, &n, &err)) {
		snprintf(why, WHY_MAX, "%s", err.text);
		return false;
	}
	return n == (uint64_t)wanted->events;
}

const struct subject subject_store = {
	.name = "store",
	.torn_one_in = 20,
	.make = subject_make,
	.unmake = subject_unmake,
	.open = subject_open,
	.close = subject_close,
	.commit = subject_commit,
	.equals = subject_equals,
	.repeat = subject_repeat,
};
