/* What is told of a file: see entry.h. */
#include "node-agent/guest/entry.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "common/base/check.h"
#include "node-agent/guest/path.h"
#include "node-agent/guest/users.h"

#define METADATA_PREFIX "user.e2b."

enum { ATTRIBUTES_MAX = 16 * 1024, ATTRIBUTE_MAX = 4 * 1024 };

void entry_mode_text(mode_t mode, char out[ENTRY_MODE_MAX])
{
	static const struct {
		mode_t bit;
		char letter;
	} flags[] = {{S_ISUID, 'u'}, {S_ISGID, 'g'}, {S_ISVTX, 't'}};
	char *at = out;

	switch (mode & S_IFMT) {
	case S_IFDIR:
		*at++ = 'd';
		break;
	case S_IFLNK:
		*at++ = 'L';
		break;
	case S_IFBLK:
		*at++ = 'D';
		break;
	case S_IFCHR:
		*at++ = 'D';
		*at++ = 'c';
		break;
	case S_IFIFO:
		*at++ = 'p';
		break;
	case S_IFSOCK:
		*at++ = 'S';
		break;
	}
	for (size_t i = 0; i < ARRAY_N(flags); i++)
		if (mode & flags[i].bit)
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
	if (S_ISLNK(mode))
		return "FILE_TYPE_SYMLINK";
	return "FILE_TYPE_UNSPECIFIED";
}

json_t *entry_metadata(const char *path)
{
	char names[ATTRIBUTES_MAX], value[ATTRIBUTE_MAX];
	ssize_t names_n = listxattr(path, names, sizeof(names));
	json_t *metadata = NULL;

	for (char *name = names; name < names + names_n; name += strlen(name) + 1) {
		ssize_t n;

		if (strncmp(name, METADATA_PREFIX, strlen(METADATA_PREFIX)))
			continue;
		n = getxattr(path, name, value, sizeof(value));
		if (n < 0)
			continue;
		if (!metadata)
			metadata = json_object();
		json_object_set_new(metadata, name + strlen(METADATA_PREFIX),
				    json_stringn(value, (size_t)n));
	}
	return metadata;
}

json_t *entry_read(const char *path)
{
	char mode[ENTRY_MODE_MAX], modified[ENTRY_TIME_MAX], owner[USER_NAME_MAX],
		group[USER_NAME_MAX], size[24], resolved[PATH_MAX];
	struct stat link, status;
	const char *target = NULL;
	json_t *entry;

	if (lstat(path, &link))
		return NULL;
	status = link;
	if (S_ISLNK(link.st_mode)) {
		/* Type and mode are the target's; a link that leads nowhere stays a link. */
		if (stat(path, &status))
			status = link;
		target = realpath(path, resolved);
		if (!target) {
			ssize_t n = readlink(path, resolved, sizeof(resolved) - 1);

			resolved[n > 0 ? n : 0] = 0;
			target = resolved;
		}
	}
	entry_mode_text(link.st_mode, mode);
	entry_time_text(link.st_mtim, modified);
	user_name(link.st_uid, owner);
	group_name(link.st_gid, group);
	snprintf(size, sizeof(size), "%lld", (long long)link.st_size);
	entry = json_pack("{s:s,s:s,s:s,s:s,s:i,s:s,s:s,s:s,s:s,s:s*}", "name", path_name(path),
			  "type", type_text(status.st_mode), "path", path, "size", size, "mode",
			  (int)(status.st_mode & 07777), "permissions", mode, "owner", owner,
			  "group", group, "modifiedTime", modified, "symlinkTarget", target);
	if (entry)
		json_object_update_new(entry,
				       json_pack("{s:o*}", "metadata", entry_metadata(path)));
	return entry;
}
