/* Common acts on the file system: see files.h. */
#include "node-agent/guest/files.h"

#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int folder_make(const char *path, const struct user *user)
{
	struct stat status;

	if (!mkdir(path, 0755))
		return geteuid() ? 0 : chown(path, user->uid, user->gid);
	if (errno != EEXIST)
		return -1;
	if (stat(path, &status))
		return -1;
	if (S_ISDIR(status.st_mode))
		return 0;
	errno = ENOTDIR;
	return -1;
}

int files_make_folders(const char *path, const struct user *user)
{
	char part[PATH_MAX];
	size_t n = strlen(path);

	if (n >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(part, path, n + 1);
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		if (folder_make(part, user))
			return -1;
		*slash = '/';
	}
	return folder_make(part, user);
}

int files_make_parents(const char *path, const struct user *user)
{
	char parent[PATH_MAX];
	const char *slash = strrchr(path, '/');

	if (!slash || slash == path)
		return 0;
	snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
	return files_make_folders(parent, user);
}

int files_remove(const char *path)
{
	char *const roots[] = {(char *)path, NULL};
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_NOSTAT, NULL);
	int number = 0;
	FTSENT *entry;

	if (!tree)
		return -1;
	while ((entry = fts_read(tree))) {
		switch (entry->fts_info) {
		case FTS_D:
			continue; /* comes again, when it is empty */
		case FTS_DNR:
		case FTS_ERR:
		case FTS_NS:
			if (entry->fts_errno != ENOENT)
				number = entry->fts_errno;
			continue;
		}
		if (remove(entry->fts_accpath) && errno != ENOENT)
			number = errno;
	}
	fts_close(tree);
	errno = number;
	return number ? -1 : 0;
}
