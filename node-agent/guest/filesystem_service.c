/* E2B's filesystem.Filesystem over Connect: the handlers. */
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
#include "node-agent/guest/job.h"
#include "node-agent/guest/listing.h"
#include "node-agent/guest/routes.h"

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

/*
 * errno in E2B's words: "what: Go's call path: reason".  Nothing but a missing file has a code of
 * its own there.
 */
static void refuse_errno(struct conn *conn, const char *what, const char *call, const char *path)
{
	char reason[128];

	connect_refuse(conn, errno == ENOENT ? CONNECT_NOT_FOUND : CONNECT_INTERNAL,
		       "%s: %s %s: %s", what, call, path, files_errno_text(errno, reason));
}

static void answer_entry(struct conn *conn, const char *path)
{
	struct entry_owners owners = {0};
	json_t *entry = entry_read(path, &owners);

	if (entry)
		connect_answer(conn, json_pack("{s:o}", "entry", entry));
	else
		refuse_errno(conn, errno == ENOENT ? "file not found" : "error getting file info",
			     "lstat", path);
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

struct list_job {
	struct job job; /* the first */
	char path[PATH_MAX];
	unsigned depth;
	int number; /* errno, or 0 */
	struct listing listing;
};

static void list_run(struct job *job)
{
	struct list_job *list = (struct list_job *)job;

	list->listing.is_abandoned = &job->is_abandoned;
	list->number = listing_read(&list->listing, list->path, list->depth) ? errno : 0;
}

static void list_done(struct job *job)
{
	struct list_job *list = (struct list_job *)job;
	char reason[128];

	if (!job->conn) {
		/* nobody waits for it */
	} else if (!list->number && !conn_can_carry(job->conn, list->listing.text_n)) {
		connect_refuse(job->conn, CONNECT_RESOURCE_EXHAUSTED,
			       "too many large answers at a time");
	} else if (!list->number) {
		conn_answer(job->conn, 200, "application/json", NULL, list->listing.text,
			    list->listing.text_n);
	} else if (list->number == E2BIG) {
		connect_refuse(job->conn, CONNECT_OUT_OF_RANGE,
			       "%s holds more than one answer can carry: list it with less depth",
			       list->path);
	} else {
		connect_refuse(job->conn,
			       list->number == ENOENT ? CONNECT_NOT_FOUND : CONNECT_INTERNAL,
			       "error reading directory %s: %s", list->path,
			       files_errno_text(list->number, reason));
	}
	listing_close(&list->listing);
	free(list);
}

static bool read_depth(json_t *request, unsigned *out_depth)
{
	json_t *depth = json_object_get(request, "depth");
	json_int_t value = depth && !json_is_null(depth) ? json_integer_value(depth) : 0;

	if (depth && !json_is_integer(depth) && !json_is_null(depth))
		return false;
	if (value < 0 || value > UINT32_MAX)
		return false;
	*out_depth = value ? (unsigned)value : 1;
	return true;
}

/* That it is a folder, told at once if it is not. */
static bool check_folder(struct conn *conn, const char *path)
{
	struct stat status;

	if (stat(path, &status)) {
		if (errno == ELOOP)
			connect_refuse(conn, CONNECT_FAILED_PRECONDITION,
				       "cyclic symlink or chain >255 links at \"%s\"", path);
		else
			refuse_errno(conn,
				     errno == ENOENT ? "path not found" : "error resolving symlink",
				     "lstat", path);
		return false;
	}
	if (!S_ISDIR(status.st_mode))
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "path is not a directory: %s", path);
	return S_ISDIR(status.st_mode);
}

void filesystem_list_dir(struct conn *conn, json_t *request)
{
	struct list_job *list;
	char path[PATH_MAX];
	struct user user;
	unsigned depth;

	if (!begin(conn, request, &user, path))
		return;
	if (!read_depth(request, &depth)) {
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "depth: a number is wanted");
		return;
	}
	if (!check_folder(conn, path))
		return;
	list = calloc(1, sizeof(*list));
	if (!list) {
		connect_refuse(conn, CONNECT_INTERNAL, "no memory");
		return;
	}
	list->job = (struct job){.run = list_run, .done = list_done};
	strcpy(list->path, path);
	list->depth = depth;
	job_start(&list->job, conn);
}

/* -- Changes ------------------------------------------------------------------------------------
 */

static void refuse_make(struct conn *conn, const char *path)
{
	char reason[128];

	connect_refuse(conn, CONNECT_INTERNAL, "failed to create directory: mkdir %s: %s", path,
		       files_errno_text(errno, reason));
}

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
	if (errno != ENOENT)
		refuse_errno(conn, "error getting file info", "stat", path);
	else if (files_make_folders(path, &user))
		refuse_make(conn, path);
	else
		answer_entry(conn, path);
}

/* "error renaming: rename a b: reason" */
static void refuse_move(struct conn *conn, const char *source, const char *destination)
{
	char reason[128];

	connect_refuse(conn, errno == ENOENT ? CONNECT_NOT_FOUND : CONNECT_INTERNAL,
		       "%s: rename %s %s: %s",
		       errno == ENOENT ? "source file not found" : "error renaming", source,
		       destination, files_errno_text(errno, reason));
}

void filesystem_move(struct conn *conn, json_t *request)
{
	char source[PATH_MAX], destination[PATH_MAX];
	struct stat status;
	struct user user;

	if (!caller_find(conn, &user) || !read_path(conn, request, "source", &user, source) ||
	    !read_path(conn, request, "destination", &user, destination))
		return;
	/* Looked at first, so that what does not exist leaves no folders behind. */
	if (lstat(source, &status))
		refuse_move(conn, source, destination);
	else if (files_make_parents(destination, &user))
		refuse_make(conn, destination);
	else if (rename(source, destination))
		refuse_move(conn, source, destination);
	else
		answer_entry(conn, destination);
}

struct remove_job {
	struct job job; /* the first */
	char path[PATH_MAX];
	int number; /* errno, or 0 */
};

/* To its end, even when nobody waits for it any more: half a removal serves nobody. */
static void remove_run(struct job *job)
{
	struct remove_job *removal = (struct remove_job *)job;

	removal->number = files_remove(removal->path) ? errno : 0;
}

static void remove_done(struct job *job)
{
	struct remove_job *removal = (struct remove_job *)job;
	char reason[128];

	if (job->conn && removal->number)
		connect_refuse(job->conn, CONNECT_INTERNAL,
			       "error removing file or directory: unlinkat %s: %s", removal->path,
			       files_errno_text(removal->number, reason));
	else if (job->conn)
		connect_answer(job->conn, json_object());
	free(removal);
}

void filesystem_remove(struct conn *conn, json_t *request)
{
	struct remove_job *removal;
	char path[PATH_MAX];
	struct user user;

	if (!begin(conn, request, &user, path))
		return;
	removal = calloc(1, sizeof(*removal));
	if (!removal) {
		connect_refuse(conn, CONNECT_INTERNAL, "no memory");
		return;
	}
	removal->job = (struct job){.run = remove_run, .done = remove_done};
	strcpy(removal->path, path);
	job_start(&removal->job, conn);
}
