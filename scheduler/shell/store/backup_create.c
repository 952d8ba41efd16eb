/* Making a copy beside a running daemon. */
#include "scheduler/shell/store/backup.h"

#include "common/base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAGES_A_STEP = 1024, BUSY_MS = 5000 };

static int sqlite_trouble(sqlite3 *db, const char *what, struct err *err)
{
	return err_set(err, "%s: %s", what, db ? sqlite3_errmsg(db) : "out of memory");
}

static int pragma_int(sqlite3 *db, const char *sql, int64_t *out, struct err *err)
{
	sqlite3_stmt *statement = NULL;
	int fault = 0;

	if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK ||
	    sqlite3_step(statement) != SQLITE_ROW)
		fault = sqlite_trouble(db, sql, err);
	else
		*out = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return fault;
}

/* Reads only, and never checkpoints, not even when it is closed: there is one writer. */
static int open_source(const char *path, const struct backup_kind_info *kind, sqlite3 **out,
		       struct err *err)
{
	int64_t application_id;

	if (access(path, R_OK))
		return err_errno(err, errno, "read %s", path);
	if (sqlite3_open_v2(path, out, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) !=
	    SQLITE_OK)
		return sqlite_trouble(*out, path, err);
	sqlite3_busy_timeout(*out, BUSY_MS);
	sqlite3_wal_autocheckpoint(*out, 0);
	sqlite3_db_config(*out, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (pragma_int(*out, "PRAGMA application_id", &application_id, err))
		return err_wrap(err, "%s", path);
	if (application_id != kind->application_id)
		return err_set(err, "%s: is not a database of flotilla-%s", path, kind->name);
	return 0;
}

/* The transaction is held over all steps, so that each sees the same instant and none begins anew
 * because the daemon wrote. */
static int copy_pages(sqlite3 *from, sqlite3 *to, const struct backup_options *options,
		      struct err *err)
{
	sqlite3_backup *backup;
	int64_t tables;
	int got;

	if (sqlite3_exec(from, "BEGIN", NULL, NULL, NULL) != SQLITE_OK)
		return sqlite_trouble(from, "begin", err);
	if (pragma_int(from, "SELECT count(*) FROM sqlite_schema", &tables, err))
		return -1;
	backup = sqlite3_backup_init(to, "main", from, "main");
	if (!backup)
		return sqlite_trouble(to, "copy", err);
	do {
		got = sqlite3_backup_step(backup, PAGES_A_STEP);
		int64_t all = sqlite3_backup_pagecount(backup);
		if (options->on_progress)
			options->on_progress(options->data, "copying",
					     (all - sqlite3_backup_remaining(backup)) * 4096,
					     all * 4096);
	} while (got == SQLITE_OK);
	sqlite3_backup_finish(backup);
	sqlite3_exec(from, "COMMIT", NULL, NULL, NULL);
	return got == SQLITE_DONE ? 0 : sqlite_trouble(to, "copy", err);
}

/* One file without a log beside it, so that reading the copy never writes to its folder. */
static int copy_into(sqlite3 *from, const char *path, const struct backup_options *options,
		     struct err *err)
{
	sqlite3 *to = NULL;
	int fault = 0;

	if (sqlite3_open_v2(path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
		    SQLITE_OK ||
	    sqlite3_exec(to, "PRAGMA synchronous=OFF", NULL, NULL, NULL) != SQLITE_OK)
		fault = sqlite_trouble(to, path, err);
	if (!fault)
		fault = copy_pages(from, to, options, err);
	if (!fault && sqlite3_exec(to, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL) != SQLITE_OK)
		fault = sqlite_trouble(to, path, err);
	if (sqlite3_close(to) != SQLITE_OK && !fault)
		fault = err_set(err, "%s: cannot be closed", path);
	return fault;
}

static int flush(const char *path, struct err *err)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	int fault = fd < 0 || fchmod(fd, 0600) || fsync(fd)
			    ? err_errno(err, errno, "flush %s", path)
			    : 0;

	if (fd >= 0)
		close(fd);
	return fault;
}

static int copy_database(const char *dir, const char *into, const struct backup_options *options,
			 struct err *err)
{
	const struct backup_kind_info *kind = &backup_kinds[options->kind];
	char from_path[BACKUP_PATH_MAX], to_path[BACKUP_PATH_MAX];
	sqlite3 *from = NULL;
	int fault;

	if (backup_path(from_path, dir, kind->database, err) ||
	    backup_path(to_path, into, kind->database, err))
		return -1;
	fault = open_source(from_path, kind, &from, err);
	if (!fault)
		fault = copy_into(from, to_path, options, err);
	sqlite3_close(from);
	return fault ? -1 : flush(to_path, err);
}

static int add_to_manifest(const char *into, const char *name, struct backup_manifest *manifest,
			   const struct backup_options *options, struct err *err)
{
	struct backup_file *file = &manifest->files[manifest->files_n++];

	CHECK(manifest->files_n <= BACKUP_FILES_MAX);
	snprintf(file->name, sizeof(file->name), "%s", name);
	return backup_measure(into, file, options, err);
}

static int copy_secrets(const char *dir, const char *into, struct backup_manifest *manifest,
			const struct backup_options *options, struct err *err)
{
	const char *const *secrets = backup_kinds[options->kind].secrets;
	char from[BACKUP_PATH_MAX], to[BACKUP_PATH_MAX];

	for (int i = 0; secrets[i]; i++)
		if (backup_path(from, dir, secrets[i], err) ||
		    backup_path(to, into, secrets[i], err) ||
		    backup_copy_file(from, to, options, err) ||
		    add_to_manifest(into, secrets[i], manifest, options, err))
			return -1;
	return 0;
}

static int fill(const char *dir, const char *into, const struct backup_options *options,
		struct backup_report *report, struct err *err)
{
	struct backup_manifest *manifest = &report->manifest;
	time_t now = time(NULL);
	struct tm utc;

	manifest->kind = options->kind;
	CHECK(gmtime_r(&now, &utc));
	strftime(manifest->made_at, sizeof(manifest->made_at), "%Y-%m-%dT%H:%M:%SZ", &utc);
	if (copy_database(dir, into, options, err) ||
	    add_to_manifest(into, backup_kinds[options->kind].database, manifest, options, err) ||
	    (options->with_secrets && copy_secrets(dir, into, manifest, options, err)) ||
	    backup_manifest_write(into, manifest, err))
		return -1;
	report->has_secrets = options->with_secrets;
	return backup_sync_dir(into, err);
}

/* The folder that out is in. */
static int sync_parent(const char *out, struct err *err)
{
	char path[BACKUP_PATH_MAX];
	char *slash;

	snprintf(path, sizeof(path), "%s", out);
	slash = strrchr(path, '/');
	if (!slash)
		return backup_sync_dir(".", err);
	slash[slash == path] = 0;
	return backup_sync_dir(path, err);
}

int backup_create(const char *dir, const char *out, const struct backup_options *options,
		  struct backup_report *report, struct err *err)
{
	char beside[BACKUP_PATH_MAX];
	struct stat about;
	mode_t mask;

	CHECK(sodium_init() >= 0);
	memset(report, 0, sizeof(*report));
	if (out[0] == 0 || out[strlen(out) - 1] == '/')
		return err_set(err, "'%s': a name for the copy's folder is needed", out);
	if (lstat(out, &about) == 0)
		return err_set(err, "%s: is there already", out);
	if (snprintf(beside, sizeof(beside), "%s.partial-XXXXXX", out) >= (int)sizeof(beside))
		return err_set(err, "path is too long");
	if (!mkdtemp(beside))
		return err_errno(err, errno, "make %s", beside);
	/* SQLite chooses the mode of what it makes; nobody else may look meanwhile. */
	mask = umask(077);
	int fault = fill(dir, beside, options, report, err);
	umask(mask);
	if (!fault && renameat2(AT_FDCWD, beside, AT_FDCWD, out, RENAME_NOREPLACE))
		fault = err_errno(err, errno, "name the copy %s", out);
	if (fault) {
		backup_remove_dir(beside);
		return -1;
	}
	return sync_parent(out, err);
}
