/* E2B's filesystem.Filesystem over Connect: the handlers. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node-agent/guest/caller.h"
#include "node-agent/guest/connect.h"
#include "node-agent/guest/entry.h"
#include "node-agent/guest/files.h"
#include "node-agent/guest/guest.h"
#include "node-agent/guest/path.h"
#include "node-agent/guest/routes.h"

enum { LIST_ENTRIES_MAX = 50 * 1000, LIST_DEPTH_MAX = 1000 };

/* The field's path made absolute; false when refused, the call is then answered. */
static bool read_path(struct conn *conn, json_t *request, const char *field,
		      const struct user *user, char out[PATH_MAX])
{
	json_t *value = json_object_get(request, field);
	const char *path = value ? json_string_value(value) : "";

	if (!path || (value && strlen(path) != json_string_length(value))) {
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "%s: a path is wanted", field);
		return false;
	}
	return caller_path(conn, user, path, out);
}

static bool begin(struct conn *conn, json_t *request, struct user *out_user, char out[PATH_MAX])
{
	return caller_find(conn, out_user) && read_path(conn, request, "path", out_user, out);
}

static void refuse_errno(struct conn *conn, const char *path)
{
	switch (errno) {
	case ENOENT:
		connect_refuse(conn, CONNECT_NOT_FOUND, "path '%s' does not exist", path);
		return;
	case ENOTDIR:
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "path '%s' is not a directory",
			       path);
		return;
	case ELOOP:
		connect_refuse(conn, CONNECT_FAILED_PRECONDITION, "cyclic symlink at '%s'", path);
		return;
	case EACCES:
	case EPERM:
	case EROFS:
		connect_refuse(conn, CONNECT_PERMISSION_DENIED, "%s: %s", path, strerror(errno));
		return;
	case ENOSPC:
	case EDQUOT:
		connect_refuse(conn, CONNECT_RESOURCE_EXHAUSTED, "not enough disk space");
		return;
	case ENAMETOOLONG:
	case EINVAL:
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "%s: %s", path, strerror(errno));
		return;
	}
	connect_refuse(conn, CONNECT_INTERNAL, "%s: %s", path, strerror(errno));
}

static void answer_entry(struct conn *conn, const char *path)
{
	json_t *entry = entry_read(path);

	if (entry)
		connect_answer(conn, json_pack("{s:o}", "entry", entry));
	else
		refuse_errno(conn, path);
}

void filesystem_stat(struct conn *conn, json_t *request)
{
	char path[PATH_MAX];
	struct user user;

	if (begin(conn, request, &user, path))
		answer_entry(conn, path);
}

/* -- ListDir ------------------------------------------------------------------------------------
 */

static int not_dots(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/*
 * Adds what is in the folder, each folder before what is in it, in the order of names.  path has
 * room to grow.  0, or -1 with errno: of the folder itself (one inside that cannot be read, or has
 * vanished meanwhile, is just empty) or E2BIG.
 */
static int list_folder(char path[PATH_MAX], unsigned depth, json_t *entries)
{
	size_t path_n = strlen(path);
	struct dirent **names;
	int names_n = scandir(path, &names, not_dots, by_bytes), result = 0;

	if (names_n < 0)
		return -1;
	for (int i = 0; i < names_n; i++) {
		int n = snprintf(path + path_n, PATH_MAX - path_n, "%s%s", path_n > 1 ? "/" : "",
				 names[i]->d_name);
		json_t *entry = path_n + (size_t)n < PATH_MAX ? entry_read(path) : NULL;
		struct stat status;

		free(names[i]);
		if (json_array_size(entries) >= LIST_ENTRIES_MAX) {
			errno = E2BIG;
			result = -1;
		}
		if (result || !entry) {
			json_decref(entry);
			continue;
		}
		json_array_append_new(entries, entry);
		if (depth > 1 && !lstat(path, &status) && S_ISDIR(status.st_mode) &&
		    list_folder(path, depth - 1, entries) && errno == E2BIG)
			result = -1;
	}
	path[path_n] = 0;
	free(names);
	return result;
}

static bool read_depth(json_t *request, unsigned *out_depth)
{
	json_t *depth = json_object_get(request, "depth");
	json_int_t value = depth && !json_is_null(depth) ? json_integer_value(depth) : 0;

	if (depth && !json_is_integer(depth) && !json_is_null(depth))
		return false;
	if (value < 0 || value > UINT32_MAX)
		return false;
	*out_depth = value ? (unsigned)(value < LIST_DEPTH_MAX ? value : LIST_DEPTH_MAX) : 1;
	return true;
}

void filesystem_list_dir(struct conn *conn, json_t *request)
{
	char path[PATH_MAX];
	struct stat status;
	json_t *entries;
	struct user user;
	unsigned depth;

	if (!begin(conn, request, &user, path))
		return;
	if (!read_depth(request, &depth)) {
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "depth: a number is wanted");
		return;
	}
	if (stat(path, &status)) {
		refuse_errno(conn, path);
		return;
	}
	entries = json_array();
	if (!list_folder(path, depth, entries)) {
		connect_answer(conn, json_pack("{s:o}", "entries", entries));
		return;
	}
	if (errno == E2BIG)
		connect_refuse(conn, CONNECT_RESOURCE_EXHAUSTED, "more than %d entries",
			       LIST_ENTRIES_MAX);
	else
		refuse_errno(conn, path);
	json_decref(entries);
}

/* -- Changes ------------------------------------------------------------------------------------
 */

void filesystem_make_dir(struct conn *conn, json_t *request)
{
	char path[PATH_MAX];
	struct stat status;
	struct user user;

	if (!begin(conn, request, &user, path))
		return;
	if (!stat(path, &status)) {
		if (S_ISDIR(status.st_mode))
			connect_refuse(conn, CONNECT_ALREADY_EXISTS, "directory already exists: %s",
				       path);
		else
			connect_refuse(conn, CONNECT_INVALID_ARGUMENT,
				       "path already exists but it is not a directory: %s", path);
		return;
	}
	if (files_make_folders(path, &user))
		refuse_errno(conn, path);
	else
		answer_entry(conn, path);
}

void filesystem_move(struct conn *conn, json_t *request)
{
	char source[PATH_MAX], destination[PATH_MAX];
	struct stat status;
	struct user user;

	if (!caller_find(conn, &user) || !read_path(conn, request, "source", &user, source) ||
	    !read_path(conn, request, "destination", &user, destination))
		return;
	if (lstat(source, &status))
		refuse_errno(conn, source);
	else if (files_make_parents(destination, &user) || rename(source, destination))
		refuse_errno(conn, destination);
	else
		answer_entry(conn, destination);
}

void filesystem_remove(struct conn *conn, json_t *request)
{
	char path[PATH_MAX];
	struct user user;

	if (!begin(conn, request, &user, path))
		return;
	if (files_remove(path))
		refuse_errno(conn, path);
	else
		connect_answer(conn, json_object());
}
