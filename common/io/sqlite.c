#include "common/io/sqlite.h"

#include "common/base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static int sqlite_fault(const struct sqlite *db, struct err *err, const char *what)
{
	return err_set(err, "%s: %s", what, sqlite3_errmsg(db->db));
}

/* A separate file, because closing any descriptor of the database would drop SQLite's own locks. */
static int sqlite_lock(struct sqlite *db, const char *path, struct err *err)
{
	char lock_path[4096];

	if (snprintf(lock_path, sizeof(lock_path), "%s.lock", path) >= (int)sizeof(lock_path))
		return err_set(err, "path is too long");
	db->lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (db->lock_fd < 0)
		return err_errno(err, errno, "open %s", lock_path);
	if (flock(db->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return err_set(err, "another process is writing it (%s)", lock_path);
	return err_errno(err, errno, "lock %s", lock_path);
}

int sqlite_script(struct sqlite *db, const char *sql, struct err *err)
{
	if (sqlite3_exec(db->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return sqlite_fault(db, err, "script");
	return 0;
}

static int sqlite_pragma_int(struct sqlite *db, const char *sql, int64_t *out_value,
			     struct err *err)
{
	sqlite3_stmt *statement = NULL;
	int fault = 0;

	if (sqlite3_prepare_v2(db->db, sql, -1, &statement, NULL) != SQLITE_OK ||
	    sqlite3_step(statement) != SQLITE_ROW)
		fault = sqlite_fault(db, err, sql);
	else
		*out_value = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return fault;
}

static int sqlite_configure(struct sqlite *db, bool read_only, struct err *err)
{
	/* Limits an attacker who can edit the file, or a bug of ours, in what SQL may do. */
	sqlite3_db_config(db->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(db->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(db->db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
	sqlite3_busy_timeout(db->db, 5000);
	if (sqlite_script(db,
			  "PRAGMA foreign_keys=ON; PRAGMA cell_size_check=ON;"
			  "PRAGMA cache_size=-1024; PRAGMA temp_store=MEMORY;",
			  err))
		return -1;
	if (read_only) {
		/* Nor at its end: the writer alone checkpoints. */
		sqlite3_db_config(db->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		return sqlite_script(db, "PRAGMA query_only=ON; PRAGMA wal_autocheckpoint=0;", err);
	}
	return sqlite_script(db,
			     "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
			     "PRAGMA wal_autocheckpoint=4096; PRAGMA journal_size_limit=33554432;",
			     err);
}

static int sqlite_migrate_from(struct sqlite *db, const struct sqlite_options *options,
			       size_t version, struct err *err)
{
	char pragmas[128];

	for (size_t i = version; i < options->migrations_n; i++)
		if (sqlite_script(db, options->migrations[i], err))
			return err_wrap(err, "migration %zu", i + 1);
	snprintf(pragmas, sizeof(pragmas), "PRAGMA application_id=%d; PRAGMA user_version=%zu;",
		 (int)options->application_id, options->migrations_n);
	return sqlite_script(db, pragmas, err);
}

static int sqlite_migrate(struct sqlite *db, const struct sqlite_options *options, struct err *err)
{
	int64_t application_id = 0, version = 0;

	if (sqlite_pragma_int(db, "PRAGMA application_id", &application_id, err) ||
	    sqlite_pragma_int(db, "PRAGMA user_version", &version, err))
		return -1;
	if (application_id != options->application_id && (application_id != 0 || version != 0))
		return err_set(err, "belongs to another program (application id %lld)",
			       (long long)application_id);
	if (version < 0 || (size_t)version > options->migrations_n)
		return err_set(err, "was written by a newer version (schema %lld, we know %zu)",
			       (long long)version, options->migrations_n);
	if ((size_t)version == options->migrations_n)
		return 0;
	if (options->read_only)
		return err_set(err, "was written by an older version (schema %lld, we know %zu)",
			       (long long)version, options->migrations_n);
	if (sqlite_begin(db, err))
		return -1;
	if (sqlite_migrate_from(db, options, (size_t)version, err)) {
		sqlite_rollback(db);
		return -1;
	}
	return sqlite_commit(db, err);
}

static int sqlite_prepare(struct sqlite *db, const struct sqlite_options *options, struct err *err)
{
	db->statements = calloc(options->statements_n + 1, sizeof(*db->statements));
	CHECK(db->statements);
	db->statements_n = options->statements_n;
	for (size_t i = 0; i < options->statements_n; i++)
		if (sqlite3_prepare_v3(db->db, options->statements[i], -1,
				       SQLITE_PREPARE_PERSISTENT, &db->statements[i],
				       NULL) != SQLITE_OK)
			return sqlite_fault(db, err, options->statements[i]);
	return 0;
}

int sqlite_open(struct sqlite *db, const struct sqlite_options *options, struct err *err)
{
	int flags = SQLITE_OPEN_NOMUTEX |
		    (options->read_only ? SQLITE_OPEN_READONLY
					: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);

	*db = (struct sqlite){.lock_fd = -1};
	if (!options->read_only && sqlite_lock(db, options->path, err))
		goto fail;
	if (sqlite3_open_v2(options->path, &db->db, flags, NULL) != SQLITE_OK) {
		sqlite_fault(db, err, "open");
		goto fail;
	}
	if (sqlite_configure(db, options->read_only, err) || sqlite_migrate(db, options, err) ||
	    sqlite_prepare(db, options, err))
		goto fail;
	return 0;
fail:
	sqlite_close(db);
	return err_wrap(err, "%s", options->path);
}

void sqlite_close(struct sqlite *db)
{
	bool locked = db->db != NULL || db->statements != NULL || db->lock_fd > 0;

	for (size_t i = 0; i < db->statements_n; i++)
		sqlite3_finalize(db->statements[i]);
	free(db->statements);
	if (db->db)
		CHECK(sqlite3_close(db->db) == SQLITE_OK);
	if (locked && db->lock_fd >= 0)
		close(db->lock_fd);
	*db = (struct sqlite){.lock_fd = -1};
}

static int sqlite_control(struct sqlite *db, const char *sql, struct err *err)
{
	if (sqlite3_exec(db->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return sqlite_fault(db, err, sql);
	return 0;
}

int sqlite_begin(struct sqlite *db, struct err *err)
{
	return sqlite_control(db, "BEGIN IMMEDIATE", err);
}

int sqlite_commit(struct sqlite *db, struct err *err)
{
	if (sqlite_control(db, "COMMIT", err) == 0)
		return 0;
	sqlite_rollback(db);
	return -1;
}

void sqlite_rollback(struct sqlite *db)
{
	/* Some faults (a full disk) have rolled back already. */
	if (!sqlite3_get_autocommit(db->db))
		sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
}

static int sqlite_bind_one(sqlite3_stmt *statement, int position, const struct sqlite_value *value)
{
	switch (value->kind) {
	case SQLITE_VALUE_NULL:
		return sqlite3_bind_null(statement, position);
	case SQLITE_VALUE_INT:
		return sqlite3_bind_int64(statement, position, value->integer);
	case SQLITE_VALUE_TEXT:
		return sqlite3_bind_text(statement, position, value->bytes, -1, SQLITE_STATIC);
	case SQLITE_VALUE_BLOB:
		/* An empty blob is not NULL. */
		return sqlite3_bind_blob64(statement, position, value->bytes_n ? value->bytes : "",
					   value->bytes_n, SQLITE_STATIC);
	}
	return SQLITE_MISUSE;
}

static sqlite3_stmt *sqlite_statement(const struct sqlite *db, size_t statement)
{
	CHECK(statement < db->statements_n);
	return db->statements[statement];
}

int sqlite_bind(struct sqlite *db, size_t statement, struct sqlite_values values, struct err *err)
{
	sqlite3_stmt *prepared = sqlite_statement(db, statement);

	CHECK(values.items_n == (size_t)sqlite3_bind_parameter_count(prepared));
	CHECK(!sqlite3_stmt_busy(prepared));
	for (size_t i = 0; i < values.items_n; i++)
		if (sqlite_bind_one(prepared, (int)i + 1, &values.items[i]) != SQLITE_OK)
			return sqlite_fault(db, err, "bind");
	return 0;
}

void sqlite_reset(struct sqlite *db, size_t statement)
{
	sqlite3_stmt *prepared = sqlite_statement(db, statement);

	sqlite3_reset(prepared);
	sqlite3_clear_bindings(prepared);
}

int sqlite_next(struct sqlite *db, size_t statement, struct err *err)
{
	sqlite3_stmt *prepared = sqlite_statement(db, statement);
	int got = sqlite3_step(prepared);

	if (got == SQLITE_ROW)
		return 1;
	if (got != SQLITE_DONE)
		sqlite_fault(db, err, sqlite3_sql(prepared));
	sqlite_reset(db, statement);
	return got == SQLITE_DONE ? 0 : -1;
}

int sqlite_run(struct sqlite *db, size_t statement, struct sqlite_values values, struct err *err)
{
	if (sqlite_bind(db, statement, values, err))
		return -1;
	int got = sqlite_next(db, statement, err);
	CHECK(got != 1);
	return got;
}

int64_t sqlite_changes(const struct sqlite *db)
{
	return sqlite3_changes64(db->db);
}

int64_t sqlite_int(struct sqlite *db, size_t statement, int column)
{
	return sqlite3_column_int64(sqlite_statement(db, statement), column);
}

bool sqlite_is_null(struct sqlite *db, size_t statement, int column)
{
	return sqlite3_column_type(sqlite_statement(db, statement), column) == SQLITE_NULL;
}

const char *sqlite_text(struct sqlite *db, size_t statement, int column)
{
	const unsigned char *text = sqlite3_column_text(sqlite_statement(db, statement), column);

	return text ? (const char *)text : "";
}

const void *sqlite_blob(struct sqlite *db, size_t statement, int column, size_t *out_n)
{
	sqlite3_stmt *prepared = sqlite_statement(db, statement);
	const void *bytes = sqlite3_column_blob(prepared, column);

	*out_n = bytes ? (size_t)sqlite3_column_bytes(prepared, column) : 0;
	return bytes;
}

int sqlite_get_int(struct sqlite *db, size_t statement, struct sqlite_values values,
		   int64_t missing, int64_t *out_value, struct err *err)
{
	if (sqlite_bind(db, statement, values, err))
		return -1;
	int got = sqlite_next(db, statement, err);
	if (got < 0)
		return -1;
	if (got == 0) {
		*out_value = missing;
		return 0;
	}
	*out_value = sqlite_is_null(db, statement, 0) ? missing : sqlite_int(db, statement, 0);
	sqlite_reset(db, statement);
	return 0;
}

int sqlite_check(struct sqlite *db, struct err *err)
{
	sqlite3_stmt *statement = NULL;
	int fault = 0;

	if (sqlite3_prepare_v2(db->db, "PRAGMA quick_check(1)", -1, &statement, NULL) !=
		    SQLITE_OK ||
	    sqlite3_step(statement) != SQLITE_ROW)
		fault = sqlite_fault(db, err, "quick_check");
	else if (strcmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0)
		fault = err_set(err, "damaged: %s",
				(const char *)sqlite3_column_text(statement, 0));
	sqlite3_finalize(statement);
	return fault;
}
