/* Answers: entries as E2B's VolumeEntryStat, and refusals. */
#include "scheduler/volumes/content_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/check.h"

/* Names are bytes to a file system, and text in JSON. */
static json_t *text_json(const char *text)
{
	json_t *json = json_string(text);
	char *copy;

	if (json)
		return json;
	copy = strdup(text);
	CHECK(copy);
	for (char *at = copy; *at; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	json = json_string(copy);
	free(copy);
	return json;
}

static json_t *time_json(const struct timespec *at)
{
	struct tm tm;
	char text[64];
	size_t n;

	/* Any number can be written into a file's times. */
	if (!gmtime_r(&at->tv_sec, &tm) || tm.tm_year < 0 || tm.tm_year > 8099)
		return json_string("1970-01-01T00:00:00Z");
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%09ldZ", at->tv_nsec);
	return json_string(text);
}

static const char *type_of(mode_t mode)
{
	if (S_ISREG(mode))
		return "file";
	if (S_ISDIR(mode))
		return "directory";
	return S_ISLNK(mode) ? "symlink" : "unknown";
}

json_t *content_entry_json(const char *path, const struct tree_entry *entry)
{
	const struct stat *status = &entry->status;
	const char *slash = strrchr(path, '/');
	json_t *json = json_pack(
		"{s:o,s:o,s:s,s:I,s:I,s:I,s:I,s:o,s:o,s:o}", "name",
		text_json(slash[1] ? slash + 1 : "/"), "path", text_json(path), "type",
		type_of(status->st_mode), "size", (json_int_t)status->st_size, "mode",
		(json_int_t)(status->st_mode & 07777), "uid", (json_int_t)status->st_uid, "gid",
		(json_int_t)status->st_gid, "atime", time_json(&status->st_atim), "mtime",
		time_json(&status->st_mtim), "ctime", time_json(&status->st_ctim));

	CHECK(json);
	if (S_ISLNK(status->st_mode))
		json_object_set_new(json, "target", text_json(entry->target));
	return json;
}

/* ---- sending ---- */

enum MHD_Result content_send(struct MHD_Connection *connection, int status, json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	struct MHD_Response *response = MHD_create_response_from_buffer(
		text ? strlen(text) : 0, text ? text : (char *)"",
		text ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
	enum MHD_Result result;

	json_decref(json);
	CHECK(response);
	if (text)
		MHD_add_response_header(response, "Content-Type", "application/json");
	if (status == 503)
		MHD_add_response_header(response, "Retry-After", "1");
	result = MHD_queue_response(connection, (unsigned)status, response);
	MHD_destroy_response(response);
	return result;
}

enum MHD_Result content_refuse(struct MHD_Connection *connection, int status, const char *code,
			       const char *message)
{
	json_t *text = text_json(message);

	return content_send(connection, status,
			    json_pack("{s:s,s:o}", "code", code, "message", text));
}

static const struct {
	int number, status;
	const char *code, *text;
} faults[] = {
	{ENOENT, 404, "not_found", "path not found"},
	{ELOOP, 400, "invalid_path", "too many symbolic links"},
	{ENOTDIR, 400, "not_a_directory", "not a directory"},
	{EISDIR, 400, "is_a_directory", "is a directory"},
	{ENAMETOOLONG, 400, "invalid_path", "path is too long"},
	{EINVAL, 400, "invalid_path", "this cannot be done to this path"},
	{EXDEV, 400, "invalid_path", "path leads out of the volume"},
	{EOPNOTSUPP, 400, "not_supported", "a symbolic link has no mode of its own"},
	{EEXIST, 409, "already_exists", "path already exists"},
	{EPERM, 403, "forbidden", "operation not permitted"},
	{EACCES, 403, "forbidden", "permission denied"},
	{E2BIG, 413, "too_large",
	 "the folder holds more than one answer can carry: list it with less depth"},
	{ENOSPC, 507, "volume_full", "no space left on the volume"},
	{EDQUOT, 507, "volume_full", "no space left on the volume"},
	{EMFILE, 503, "busy", "too many open files"},
	{ENFILE, 503, "busy", "too many open files"},
};

enum MHD_Result content_refuse_errno(struct MHD_Connection *connection, int number,
				     const char *path)
{
	char message[PATH_MAX + 64];

	for (size_t i = 0; i < ARRAY_N(faults); i++) {
		if (faults[i].number != number)
			continue;
		snprintf(message, sizeof(message), "%s: %s", path, faults[i].text);
		return content_refuse(connection, faults[i].status, faults[i].code, message);
	}
	snprintf(message, sizeof(message), "%s: %s", path, strerror(number));
	return content_refuse(connection, 500, "internal", message);
}
