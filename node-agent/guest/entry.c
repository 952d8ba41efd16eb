/* What is told of a file: see entry.h. */
#include "node-agent/guest/entry.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "common/base/check.h"
#include "node-agent/guest/metadata.h"
#include "node-agent/guest/path.h"

void entry_mode_text(mode_t mode, char out[ENTRY_MODE_MAX])
{
	static const struct {
		mode_t bit;
		char letter;
	} flags[] = {{S_ISUID, 'u'}, {S_ISGID, 'g'}, {S_IFMT, 'c'}, {S_ISVTX, 't'}};
	char *at = out;

	switch (mode & S_IFMT) {
	case S_IFDIR:
		*at++ = 'd';
		break;
	case S_IFLNK:
		*at++ = 'L';
		break;
	case S_IFBLK:
	case S_IFCHR:
		*at++ = 'D';
		break;
	case S_IFIFO:
		*at++ = 'p';
		break;
	case S_IFSOCK:
		*at++ = 'S';
		break;
	}
	for (size_t i = 0; i < ARRAY_N(flags); i++)
		if (flags[i].bit == S_IFMT ? S_ISCHR(mode) : (mode & flags[i].bit) != 0)
			*at++ = flags[i].letter;
	if (at == out)
		*at++ = '-';
	for (int i = 8; i >= 0; i--)
		*at++ = (char)(mode >> i & 1 ? "xwr"[i % 3] : '-');
	*at = 0;
}

void entry_time_text(struct timespec at, char out[ENTRY_TIME_MAX])
{
	struct tm tm;

	gmtime_r(&at.tv_sec, &tm);
	snprintf(out, ENTRY_TIME_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ",
		 (tm.tm_year + 1900) % 10000, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
		 tm.tm_sec, at.tv_nsec);
}

static const char *type_text(mode_t mode)
{
	if (S_ISREG(mode))
		return "FILE_TYPE_FILE";
	if (S_ISDIR(mode))
		return "FILE_TYPE_DIRECTORY";
	return "FILE_TYPE_UNSPECIFIED";
}

static void owners_find(struct entry_owners *owners, const struct stat *status)
{
	if (!owners->has_owner || owners->uid != status->st_uid)
		user_name(status->st_uid, owners->owner);
	if (!owners->has_group || owners->gid != status->st_gid)
		group_name(status->st_gid, owners->group);
	owners->has_owner = owners->has_group = true;
	owners->uid = status->st_uid;
	owners->gid = status->st_gid;
}

/* Where a link leads, and what is there: no mode when there is nothing. */
static const char *follow(const char *path, char resolved[PATH_MAX], mode_t *out_mode)
{
	struct stat status = {0};
	const char *target = realpath(path, resolved);

	if (!target)
		target = path;
	else if (stat(target, &status))
		status.st_mode = 0;
	*out_mode = status.st_mode;
	return target;
}

json_t *entry_read(const char *path, struct entry_owners *owners)
{
	char permissions[ENTRY_MODE_MAX], modified[ENTRY_TIME_MAX], size[24], resolved[PATH_MAX];
	const char *target = NULL;
	struct stat status;
	json_t *entry;
	mode_t mode;

	if (lstat(path, &status))
		return NULL;
	mode = status.st_mode;
	if (S_ISLNK(mode))
		target = follow(path, resolved, &mode);
	entry_mode_text(status.st_mode, permissions);
	entry_time_text(status.st_mtim, modified);
	owners_find(owners, &status);
	snprintf(size, sizeof(size), "%lld", (long long)status.st_size);
	entry = json_pack("{s:s,s:s,s:s,s:s,s:i,s:s,s:s,s:s,s:s,s:s*,s:o*}", "name",
			  path_name(path), "type", type_text(mode), "path", path, "size", size,
			  "mode", (int)(mode & 0777), "permissions", permissions, "owner",
			  owners->owner, "group", owners->group, "modifiedTime", modified,
			  "symlinkTarget", target, "metadata", metadata_read(path));
	if (!entry)
		errno = EILSEQ; /* a name that is not UTF-8 */
	return entry;
}
