/*
 * Restoring a scheduler's copy.  The new folder is made beside and gets its name last; what was
 * there is moved aside, never removed.
 */
#include "scheduler/shell/store/backup.h"

#include "common/base/check.h"
#include "common/io/daemon.h"
#include "common/io/file.h"
#include "scheduler/shell/store/internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool is_empty(const char *dir)
{
	struct dirent *entry;
	DIR *folder = opendir(dir);
	bool empty = true;

	if (!folder)
		return false;
	while ((entry = readdir(folder)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    strcmp(entry->d_name, "lock") != 0)
			empty = false;
	closedir(folder);
	return empty;
}

static int fill(const char *copy, const char *into, const struct backup_options *options,
		struct backup_report *report, struct err *err)
{
	const struct backup_manifest *manifest = &report->manifest;
	char from[BACKUP_PATH_MAX], to[BACKUP_PATH_MAX];

	for (int i = 0; i < manifest->files_n; i++)
		if (backup_path(from, copy, manifest->files[i].name, err) ||
		    backup_path(to, into, manifest->files[i].name, err) ||
		    backup_copy_file(from, to, options, err))
			return -1;
	/* Migrates it too, so that a copy of an older version can be verified now. */
	if (store_skip_epochs(into, BACKUP_EPOCHS, &report->epoch, err))
		return -1;
	if (!report->chain_verified && backup_verify_ledger(into, options, report, err))
		return -1;
	return backup_sync_dir(into, err);
}

/* Puts the new folder in the place of the one that is there, which we have locked. */
static int put_in_place(const char *made, const char *dir, bool moves_old,
			struct backup_report *report, struct err *err)
{
	char lock[BACKUP_PATH_MAX], stamp[32];
	time_t now = time(NULL);
	struct tm utc;

	if (moves_old) {
		CHECK(gmtime_r(&now, &utc));
		strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &utc);
		if (snprintf(report->replaced, sizeof(report->replaced), "%s.replaced-%s", dir,
			     stamp) >= (int)sizeof(report->replaced))
			return err_set(err, "path is too long");
		if (rename(dir, report->replaced))
			return err_errno(err, errno, "move %s to %s", dir, report->replaced);
	} else if (backup_path(lock, dir, "lock", err) == 0) {
		unlink(lock);
	}
	if (rename(made, dir))
		return err_errno(err, errno, "name the new folder %s", dir);
	return 0;
}

static int parent_of(const char *dir, char out[BACKUP_PATH_MAX], struct err *err)
{
	char *slash;

	if (snprintf(out, BACKUP_PATH_MAX, "%s", dir) >= BACKUP_PATH_MAX)
		return err_set(err, "path is too long");
	slash = strrchr(out, '/');
	if (!slash)
		strcpy(out, ".");
	else
		slash[slash == out] = 0;
	return 0;
}

static int restore_beside(const char *copy, const char *dir, bool moves_old,
			  const struct backup_options *options, struct backup_report *report,
			  struct err *err)
{
	char beside[BACKUP_PATH_MAX], parent[BACKUP_PATH_MAX];
	mode_t mask = umask(077);
	int fault = -1;

	if (parent_of(dir, parent, err) || file_make_dirs(parent, 0755, err))
		goto end;
	if (snprintf(beside, sizeof(beside), "%s.restoring-XXXXXX", dir) >= (int)sizeof(beside)) {
		err_set(err, "path is too long");
		goto end;
	}
	if (!mkdtemp(beside)) {
		err_errno(err, errno, "make %s", beside);
		goto end;
	}
	fault = fill(copy, beside, options, report, err);
	if (!fault)
		fault = put_in_place(beside, dir, moves_old, report, err);
	if (fault)
		backup_remove_dir(beside);
	else
		fault = backup_sync_dir(parent, err);
end:
	umask(mask);
	return fault;
}

int backup_restore(const char *copy, const char *dir, const struct backup_options *options,
		   struct backup_report *report, struct err *err)
{
	bool moves_old = false;
	int lock_fd = -1, fault;
	struct stat about;

	if (dir[0] == 0 || dir[strlen(dir) - 1] == '/')
		return err_set(err, "'%s': a folder's name is needed, without / at its end", dir);
	if (backup_verify(copy, options, report, err))
		return err_wrap(err, "%s: nothing was restored", copy);
	if (report->manifest.kind != BACKUP_SCHEDULER)
		return err_set(err,
			       "%s: an agent's journal is never restored: it would give the "
			       "numbers of the records that it lacks to others. Enrol the node "
			       "anew",
			       copy);
	if (lstat(dir, &about) == 0) {
		if (!S_ISDIR(about.st_mode))
			return err_set(err, "%s: is no folder", dir);
		if (daemon_lock(dir, &lock_fd, err))
			return -1;
		moves_old = !is_empty(dir);
	}
	fault = moves_old && !options->force
			? err_set(err, "%s: is not empty; --force moves it aside", dir)
			: restore_beside(copy, dir, moves_old, options, report, err);
	if (lock_fd >= 0)
		close(lock_fd);
	return fault;
}
