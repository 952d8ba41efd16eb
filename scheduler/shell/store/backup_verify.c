/* Is a copy, or a state folder's ledger, what it was? */
#include "scheduler/shell/store/backup.h"

#include "common/base/check.h"
#include "common/io/file.h"
#include "scheduler/shell/store/heads.h"
#include "scheduler/shell/store/internal.h"

#include <errno.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FACTS_A_STEP = 10000 };

static int check_files(const char *copy, const struct backup_options *options,
		       struct backup_report *report, struct err *err)
{
	const struct backup_manifest *manifest = &report->manifest;

	for (int i = 0; i < manifest->files_n; i++) {
		const struct backup_file *said = &manifest->files[i];
		struct backup_file found = *said;
		if (backup_measure(copy, &found, options, err))
			return -1;
		if (found.size != said->size)
			return err_set(err, "%s: has %lld bytes, must have %lld", said->name,
				       (long long)found.size, (long long)said->size);
		if (memcmp(found.hash, said->hash, BACKUP_HASH_N) != 0)
			return err_set(err, "%s: was changed: its hash is another", said->name);
	}
	report->has_secrets = manifest->files_n > 1;
	return 0;
}

/* The whole file as SQLite sees it; and which schema it has. */
static int check_database(const char *path, int64_t *out_schema, struct err *err)
{
	sqlite3_stmt *statement = NULL;
	sqlite3 *db = NULL;
	int fault = 0;

	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &statement, NULL) !=
		    SQLITE_OK ||
	    sqlite3_step(statement) != SQLITE_ROW)
		fault = err_set(err, "%s: %s", path, sqlite3_errmsg(db));
	else if (strcmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0)
		fault = err_set(err, "%s: damaged: %s", path,
				(const char *)sqlite3_column_text(statement, 0));
	sqlite3_finalize(statement);
	if (!fault &&
	    (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &statement, NULL) != SQLITE_OK ||
	     sqlite3_step(statement) != SQLITE_ROW))
		fault = err_set(err, "%s: %s", path, sqlite3_errmsg(db));
	if (!fault) {
		*out_schema = sqlite3_column_int64(statement, 0);
		sqlite3_finalize(statement);
	}
	sqlite3_close(db);
	return fault;
}

/* True when there is a bus.key; false when there is none. A bad one is a fault. */
static int fleet_key(const char *dir, bool *out_found, struct identity *out, struct err *err)
{
	char path[BACKUP_PATH_MAX];
	uint8_t seed[IDENTITY_SEED_N];

	*out_found = false;
	if (backup_path(path, dir, "bus.key", err))
		return -1;
	if (access(path, F_OK) && errno == ENOENT)
		return 0;
	if (file_read_secret(path, seed, sizeof(seed), err))
		return -1;
	identity_make(seed, out);
	sodium_memzero(seed, sizeof(seed));
	*out_found = true;
	return 0;
}

static int walk(struct ledger_walk *walk, const struct backup_options *options, struct err *err)
{
	int64_t all;
	int got;

	if (sqlite_get_int(walk->reader, STORE_READ_EVENTS_N, SQL_NONE, 0, &all, err))
		return -1;
	while ((got = ledger_walk_step(walk, FACTS_A_STEP, err)) == 1)
		if (options->on_progress)
			options->on_progress(options->data, "verifying facts", walk->events_n, all);
	return got;
}

int backup_verify_ledger(const char *dir, const struct backup_options *options,
			 struct backup_report *report, struct err *err)
{
	struct ledger_walk chain;
	struct identity fleet = {0};
	struct sqlite reader;
	bool has_key;
	int fault;

	CHECK(sodium_init() >= 0);
	if (fleet_key(dir, &has_key, &fleet, err))
		return -1;
	sodium_memzero(fleet.secret_key, sizeof(fleet.secret_key));
	if (ledger_open(&reader, dir, err))
		return -1;
	ledger_walk_begin(&chain, &reader, has_key ? fleet.public_key : NULL);
	fault = walk(&chain, options, err);
	if (!fault)
		fault = ledger_check_books(&reader, err);
	if (!fault) {
		report->chain_verified = true;
		report->signatures_checked = has_key;
		report->events_n = chain.events_n;
		report->heads_n = chain.heads_n;
		report->head_event = chain.head_event;
		memcpy(report->chain_hash, chain.hash, BACKUP_HASH_N);
	}
	sqlite_close(&reader);
	return fault;
}

int backup_verify(const char *copy, const struct backup_options *options,
		  struct backup_report *report, struct err *err)
{
	char path[BACKUP_PATH_MAX];
	int64_t schema;

	CHECK(sodium_init() >= 0);
	memset(report, 0, sizeof(*report));
	if (backup_manifest_read(copy, &report->manifest, err) ||
	    check_files(copy, options, report, err) ||
	    backup_path(path, copy, backup_kinds[report->manifest.kind].database, err) ||
	    check_database(path, &schema, err))
		return -1;
	if (report->manifest.kind != BACKUP_SCHEDULER || schema < store_schema_version())
		return 0;
	return backup_verify_ledger(copy, options, report, err);
}
