/* E2B's filesystem.Filesystem over Connect: the handlers of those who watch. */
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "common/base/check.h"
#include "node-agent/guest/caller.h"
#include "node-agent/guest/connect.h"
#include "node-agent/guest/files.h"
#include "node-agent/guest/guest.h"
#include "node-agent/guest/job.h"
#include "node-agent/guest/routes.h"
#include "node-agent/guest/watchers.h"

#define CIFS_MAGIC 0xFF534D42 /* linux/magic.h has it under another name in each version */
#define SMB2_MAGIC 0xFE534D42

struct watch_request {
	char path[PATH_MAX];
	bool is_recursive, has_entries, allows_network;
};

/* Watching begins on a thread: a large tree takes a while. */
struct watch_job {
	struct job job; /* the first */
	struct watchers *watchers;
	struct watch_request request;
	struct watch watch;
	int number; /* errno, or 0 */
};

static bool read_bool(const json_t *request, const char *field, bool *out)
{
	const json_t *value = json_object_get(request, field);

	*out = json_is_true(value);
	return !value || json_is_null(value) || json_is_boolean(value);
}

/* False when it is malformed, the call is then answered. */
static bool read_request(struct conn *conn, json_t *request, struct watch_request *out)
{
	const json_t *path = json_object_get(request, "path");
	struct user user;

	if (!caller_find(conn, &user))
		return false;
	if (path && (!json_is_string(path) ||
		     strlen(json_string_value(path)) != json_string_length(path))) {
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "path: a path is wanted");
		return false;
	}
	if (!read_bool(request, "recursive", &out->is_recursive) ||
	    !read_bool(request, "includeEntry", &out->has_entries) ||
	    !read_bool(request, "allowNetworkMounts", &out->allows_network)) {
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT,
			       "recursive, includeEntry and allowNetworkMounts: true or false is "
			       "wanted");
		return false;
	}
	return caller_path(conn, &user, path ? json_string_value(path) : "", out->path);
}

/* Changes made by another machine are not told by the kernel. */
static bool is_on_network(const char *path)
{
	static const unsigned long types[] = {NFS_SUPER_MAGIC, CIFS_MAGIC, SMB_SUPER_MAGIC,
					      SMB2_MAGIC, FUSE_SUPER_MAGIC};
	struct statfs system;

	if (statfs(path, &system))
		return false;
	for (size_t i = 0; i < ARRAY_N(types); i++)
		if ((unsigned long)system.f_type == types[i])
			return true;
	return false;
}

/* False when it cannot be watched, the call is then answered. */
static bool check_request(struct conn *conn, const struct watch_request *request)
{
	char reason[128];
	struct stat status;

	if (stat(request->path, &status)) {
		if (errno == ENOENT)
			connect_refuse(conn, CONNECT_NOT_FOUND, "path %s not found: stat %s: %s",
				       request->path, request->path,
				       files_errno_text(errno, reason));
		else
			connect_refuse(conn, CONNECT_INTERNAL,
				       "error statting path %s: stat %s: %s", request->path,
				       request->path, files_errno_text(errno, reason));
	} else if (!S_ISDIR(status.st_mode)) {
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "path %s not a directory",
			       request->path);
	} else if (!request->allows_network && is_on_network(request->path)) {
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT,
			       "cannot watch path on network filesystem: %s", request->path);
	} else if (conn->guest->watchers.n >= WATCHERS_MAX) {
		connect_refuse(conn, CONNECT_RESOURCE_EXHAUSTED, "more than %d watchers",
			       WATCHERS_MAX);
	} else {
		return true;
	}
	return false;
}

static void watch_run(struct job *job)
{
	struct watch_job *watching = (struct watch_job *)job;
	const struct watch_request *request = &watching->request;

	if (watch_open(&watching->watch, request->path, request->is_recursive, request->has_entries,
		       &job->is_abandoned))
		watching->number = errno;
}

/* The watcher, or NULL when there is none: the call, if anybody waits, is then answered. */
static struct watcher *watch_take_over(struct watch_job *watching)
{
	struct conn *conn = watching->job.conn;
	struct watcher *watcher = NULL;
	char reason[128];

	if (!watching->number && conn)
		watcher = watcher_add(watching->watchers, &watching->watch);
	else if (!watching->number)
		watch_close(&watching->watch);
	if (watcher)
		return watcher;
	watching->watchers->n--;
	if (!conn)
		return NULL;
	if (watching->number == ENOSPC || watching->number == EMFILE)
		connect_refuse(conn, CONNECT_RESOURCE_EXHAUSTED,
			       "error adding path %s to watcher: more folders than can be watched",
			       watching->request.path);
	else
		connect_refuse(
			conn, watching->number == ENOENT ? CONNECT_NOT_FOUND : CONNECT_INTERNAL,
			"error adding path %s to watcher: %s", watching->request.path,
			files_errno_text(watching->number ? watching->number : ENOMEM, reason));
	return NULL;
}

static void watch_begin(struct conn *conn, json_t *request, void (*done)(struct job *job))
{
	struct watch_job *watching = calloc(1, sizeof(*watching));

	if (!watching) {
		connect_refuse(conn, CONNECT_INTERNAL, "no memory");
		return;
	}
	if (!read_request(conn, request, &watching->request) ||
	    !check_request(conn, &watching->request)) {
		free(watching);
		return;
	}
	watching->job = (struct job){.run = watch_run, .done = done};
	watching->watchers = &conn->guest->watchers;
	watching->watchers->n++;
	job_start(&watching->job, conn);
}

/* -- WatchDir ------------------------------------------------------------------------------------
 */

static uint64_t header_number(const struct conn *conn, const char *name, uint64_t otherwise)
{
	uint64_t value;

	return connect_timeout_parse(http_head_value(&conn->head, name), &value) && value
		       ? value
		       : otherwise;
}

static void stream_done(struct job *job)
{
	struct watcher *watcher = watch_take_over((struct watch_job *)job);
	struct conn *conn = job->conn;

	if (watcher)
		watcher_stream(
			watcher, conn,
			1000 * header_number(conn, "keepalive-ping-interval", WATCHER_KEEPALIVE_S),
			header_number(conn, "connect-timeout-ms", 0));
	free(job);
}

void filesystem_watch_dir(struct conn *conn, json_t *request)
{
	watch_begin(conn, request, stream_done);
}

/* -- Polled --------------------------------------------------------------------------------------
 */

static void create_done(struct job *job)
{
	struct watcher *watcher = watch_take_over((struct watch_job *)job);

	if (watcher) {
		watcher_poll(watcher);
		connect_answer(job->conn, json_pack("{s:s}", "watcherId", watcher->id));
	}
	free(job);
}

void filesystem_create_watcher(struct conn *conn, json_t *request)
{
	watch_begin(conn, request, create_done);
}

/* NULL when there is none, the call is then answered. */
static struct watcher *select_watcher(struct conn *conn, json_t *request)
{
	const char *id = json_string_value(json_object_get(request, "watcherId"));
	struct watcher *watcher = watcher_find(&conn->guest->watchers, id ? id : "");

	if (!watcher)
		connect_refuse(conn, CONNECT_NOT_FOUND, "watcher with id %s not found",
			       id ? id : "");
	return watcher;
}

void filesystem_get_watcher_events(struct conn *conn, json_t *request)
{
	static const char head[] = "{\"events\":[", tail[] = "]}";
	struct watcher *watcher = select_watcher(conn, request);
	char *events, *text;
	size_t text_max;

	if (!watcher)
		return;
	events = watcher_drain(watcher);
	/* What was seen is told first, and then that there will be no more. */
	if (events && !events[0] && watcher->watch.problem) {
		connect_refuse(conn, CONNECT_INTERNAL, "%s", watcher->watch.problem);
		free(events);
		return;
	}
	text_max = events ? sizeof(head) + sizeof(tail) + strlen(events) : 0;
	text = events ? malloc(text_max) : NULL;
	if (text) {
		snprintf(text, text_max, "%s%s%s", head, events, tail);
		conn_answer(conn, 200, "application/json", NULL, text, strlen(text));
	} else {
		connect_refuse(conn, CONNECT_INTERNAL, "no memory");
	}
	free(events);
	free(text);
}

void filesystem_remove_watcher(struct conn *conn, json_t *request)
{
	struct watcher *watcher = select_watcher(conn, request);

	if (!watcher)
		return;
	watcher_remove(watcher);
	connect_answer(conn, json_object());
}
