/*
 * SQLite as the daemons use it: one file, one writer, statements prepared at the start.
 *
 * Debian's SQLite 3.40.1 can corrupt a WAL when two connections write or checkpoint at once, so a
 * file has exactly one writer (held by a lock on "<path>.lock", against a second daemon or a stray
 * tool) which is also the only one that checkpoints; readers are opened read-only.
 *
 * Statements and migrations are declared once, in the caller's .def files, and named here by their
 * position in the array:
 *
 *	enum { JOURNAL_APPEND, JOURNAL_SINCE };
 *	if (sqlite_run(&db, JOURNAL_APPEND, SQL(SQL_INT(seq), SQL_BLOB(body, body_n)), err))
 *		...
 *	if (sqlite_bind(&db, JOURNAL_SINCE, SQL(SQL_INT(seq)), err))
 *		...
 *	while ((got = sqlite_next(&db, JOURNAL_SINCE, err)) == 1)
 *		use(sqlite_int(&db, JOURNAL_SINCE, 0));
 *
 * A connection belongs to one thread at a time.  Faults are -1 with err filled in (err may be
 *NULL).
 */
#ifndef FLOTILLA_IO_SQLITE_H
#define FLOTILLA_IO_SQLITE_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sqlite3;
struct sqlite3_stmt;

/* What is borrowed for the duration of one call and bound to one ?. */
struct sqlite_value {
	enum { SQLITE_VALUE_NULL, SQLITE_VALUE_INT, SQLITE_VALUE_TEXT, SQLITE_VALUE_BLOB } kind;
	int64_t integer;
	const void *bytes; /* text: NUL-terminated, NULL binds NULL */
	size_t bytes_n;    /* blob only */
};

struct sqlite_values {
	const struct sqlite_value *items;
	size_t items_n;
};

#define SQL_NULL        ((struct sqlite_value){.kind = SQLITE_VALUE_NULL})
#define SQL_INT(number) ((struct sqlite_value){.kind = SQLITE_VALUE_INT, .integer = (number)})
#define SQL_TEXT(text)  ((struct sqlite_value){.kind = SQLITE_VALUE_TEXT, .bytes = (text)})
#define SQL_BLOB(data, data_n)                                                                     \
	((struct sqlite_value){.kind = SQLITE_VALUE_BLOB, .bytes = (data), .bytes_n = (data_n)})

/* The values of one statement, in the order of its ?s; SQL_NONE when it has none. */
#define SQL(...)                                                                                   \
	((struct sqlite_values){(const struct sqlite_value[]){__VA_ARGS__},                        \
				sizeof((const struct sqlite_value[]){__VA_ARGS__}) /               \
					sizeof(struct sqlite_value)})
#define SQL_NONE ((struct sqlite_values){NULL, 0})

struct sqlite_options {
	const char *path;
	bool read_only;         /* no lock, no migrations; the file must exist */
	int32_t application_id; /* written into a new file; a file with another one is refused */
	const char *const *migrations; /* SQL scripts; the n-th brings the file to version n+1 */
	size_t migrations_n;
	const char *const *statements;
	size_t statements_n;
};

struct sqlite {
	struct sqlite3 *db;
	struct sqlite3_stmt **statements;
	size_t statements_n;
	int lock_fd;
};

/*
 * Opens (and for a writer creates, locks and migrates, all migrations in one transaction) with
 * WAL, synchronous=FULL, foreign keys on, an untrusted schema, and at most 1 MiB of cache; WAL
 * is checkpointed, passively, by the writer's commits once it has 16 MiB.  The options' arrays are
 * not kept.  A file of a newer version than the migrations know is refused.
 * On a fault nothing is left open.
 */
int sqlite_open(struct sqlite *db, const struct sqlite_options *options, struct err *err);

/* Takes a zeroed, half-open or closed object too. */
void sqlite_close(struct sqlite *db);

/* BEGIN IMMEDIATE … COMMIT.  A commit that fails is rolled back before it returns. */
int sqlite_begin(struct sqlite *db, struct err *err);
int sqlite_commit(struct sqlite *db, struct err *err);
void sqlite_rollback(struct sqlite *db); /* harmless outside a transaction */

/* Runs a statement that yields no rows.  sqlite_changes: the rows it inserted, changed or removed.
 */
int sqlite_run(struct sqlite *db, size_t statement, struct sqlite_values values, struct err *err);
int64_t sqlite_changes(const struct sqlite *db);

/* One-off SQL without values (several statements allowed), for pragmas and tests. */
int sqlite_script(struct sqlite *db, const char *sql, struct err *err);

/*
 * Rows: bind, then next until it returns 0 (no more) or -1; both leave the statement ready for
 * the next bind.  Whoever stops earlier calls sqlite_reset.  Bound values must stay valid until
 * then.
 */
int sqlite_bind(struct sqlite *db, size_t statement, struct sqlite_values values, struct err *err);
int sqlite_next(struct sqlite *db, size_t statement, struct err *err);
void sqlite_reset(struct sqlite *db, size_t statement);

/* Columns of the current row, from 0. Text and blobs are borrowed until the next call of next or
 * reset. */
int64_t sqlite_int(struct sqlite *db, size_t statement, int column);
bool sqlite_is_null(struct sqlite *db, size_t statement, int column);
const char *sqlite_text(struct sqlite *db, size_t statement, int column); /* "" for NULL */
const void *sqlite_blob(struct sqlite *db, size_t statement, int column, size_t *out_n);

/* Bind, take the one row's first column as an integer; a missing row or a NULL yields `missing`. */
int sqlite_get_int(struct sqlite *db, size_t statement, struct sqlite_values values,
		   int64_t missing, int64_t *out_value, struct err *err);

/* PRAGMA quick_check: reads the whole file. */
int sqlite_check(struct sqlite *db, struct err *err);

#endif
