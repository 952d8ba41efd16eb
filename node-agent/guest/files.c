/* Common acts on the file system: see files.h. */
#include "node-agent/guest/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
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

/* -- Removal -------------------------------------------------------------------------------------
 */

static int remove_at(int parent, const char *name, unsigned depth);

/* One pass over what is in it; *out_removed_n counts.  0, or errno of the last failure. */
static int empty_pass(DIR *folder, unsigned depth, size_t *out_removed_n)
{
	int number = 0, failed;
	struct dirent *entry;

	*out_removed_n = 0;
	while ((entry = readdir(folder))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		failed = remove_at(dirfd(folder), entry->d_name, depth + 1);
		if (failed)
			number = failed;
		else
			(*out_removed_n)++;
	}
	return number;
}

static int folder_empty(int parent, const char *name, unsigned depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), number;
	DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
	size_t removed_n;

	if (!folder) {
		number = errno;
		if (fd >= 0)
			close(fd);
		return number;
	}
	/* A folder that changes while it is read may hide some of what is in it. */
	do {
		number = empty_pass(folder, depth, &removed_n);
		rewinddir(folder);
	} while (removed_n && !number);
	closedir(folder);
	return number;
}

/* Through descriptors, one a level: a path could be too long, or be changed under our feet. */
static int remove_at(int parent, const char *name, unsigned depth)
{
	int number;

	if (!unlinkat(parent, name, 0) || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return errno;
	if (!unlinkat(parent, name, AT_REMOVEDIR) || errno == ENOENT)
		return 0;
	if (errno != ENOTEMPTY && errno != EEXIST)
		return errno;
	if (depth >= FILES_REMOVE_DEPTH_MAX)
		return ENAMETOOLONG;
	number = folder_empty(parent, name, depth);
	if (!number && unlinkat(parent, name, AT_REMOVEDIR) && errno != ENOENT)
		number = errno;
	return number;
}

int files_remove(const char *path)
{
	int number = remove_at(AT_FDCWD, path, 0);

	errno = number;
	return number ? -1 : 0;
}

const char *files_errno_text(int number, char out[128])
{
	snprintf(out, 128, "%s", strerrordesc_np(number) ? strerrordesc_np(number) : "unknown");
	if (out[0] >= 'A' && out[0] <= 'Z' && !(out[1] >= 'A' && out[1] <= 'Z'))
		out[0] = (char)(out[0] + 32);
	return out;
}
