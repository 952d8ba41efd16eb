/*
 * POST /files: raw bytes, or the parts of a form, each to its file as it comes.  A file is written
 * in place, so that whoever watches it sees what E2B's clients expect; its metadata is replaced.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "node-agent/guest/caller.h"
#include "node-agent/guest/entry.h"
#include "node-agent/guest/files.h"
#include "node-agent/guest/multipart.h"
#include "node-agent/guest/path.h"
#include "node-agent/guest/routes.h"
#include "node-agent/guest/transfer.h"

#define METADATA_HEADER    "x-metadata-"
#define METADATA_ATTRIBUTE "user.e2b."

enum { UPLOAD_PARTS_MAX = 10 * 1000, METADATA_KEY_MAX = 200 };

struct upload {
	struct user user;
	json_t *written;  /* the answer so far */
	json_t *metadata; /* object of strings, or NULL */
	int fd;           /* -1: no file is open */
	bool is_form;
	bool is_complete;    /* the last boundary has come */
	char path[PATH_MAX]; /* of the open file */
	bool has_path;       /* the query names the file, whatever the parts say */
	char query_path[PATH_MAX];
	struct multipart multipart;
};

static void upload_free(struct upload *upload)
{
	if (upload->fd >= 0)
		close(upload->fd);
	json_decref(upload->written);
	json_decref(upload->metadata);
	free(upload);
}

static void on_gone(struct conn *conn)
{
	upload_free(conn->work);
}

/* Answers with the failure; the rest of the body is read over by the connection. */
static void fail(struct conn *conn, struct upload *upload, const char *message)
{
	if (message)
		conn_answer_error(conn, 400, "%s", message);
	else
		transfer_refuse(conn, upload->path);
	upload_free(upload);
}

/* -- One file -----------------------------------------------------------------------------------
 */

static int metadata_write(const char *path, json_t *metadata)
{
	json_t *old = entry_metadata(path), *value;
	char attribute[sizeof(METADATA_ATTRIBUTE) + METADATA_KEY_MAX];
	const char *key;
	int result = 0;

	json_object_foreach(old, key, value)
	{
		snprintf(attribute, sizeof(attribute), METADATA_ATTRIBUTE "%.200s", key);
		removexattr(path, attribute);
	}
	json_object_foreach(metadata, key, value)
	{
		snprintf(attribute, sizeof(attribute), METADATA_ATTRIBUTE "%.200s", key);
		if (setxattr(path, attribute, json_string_value(value), json_string_length(value),
			     0))
			result = -1;
	}
	json_decref(old);
	return result;
}

/* 0, or -1 with errno. */
static int file_open(struct upload *upload)
{
	struct stat status;
	bool is_new = lstat(upload->path, &status) != 0;

	if (files_make_parents(upload->path, &upload->user))
		return -1;
	upload->fd = open(upload->path,
			  O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
	if (upload->fd < 0)
		return -1;
	if (is_new && !geteuid() && fchown(upload->fd, upload->user.uid, upload->user.gid))
		return -1;
	return 0;
}

static int file_write(struct upload *upload, const char *bytes, size_t bytes_n)
{
	while (bytes_n) {
		ssize_t n = write(upload->fd, bytes, bytes_n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		bytes += n;
		bytes_n -= (size_t)n;
	}
	return 0;
}

static int file_close(struct upload *upload)
{
	int fd = upload->fd;

	upload->fd = -1;
	if (close(fd) || metadata_write(upload->path, upload->metadata))
		return -1;
	json_array_append_new(upload->written,
			      json_pack("{s:s,s:s,s:s,s:O*}", "name", path_name(upload->path),
					"path", upload->path, "type", "file", "metadata",
					upload->metadata));
	return 0;
}

/* -- The body -----------------------------------------------------------------------------------
 */

/* NULL, or what is wrong with the part. Parts that are no files are read over. */
static const char *part_begin(struct conn *conn, struct upload *upload, bool *out_failed)
{
	const char *problem;

	if (strcmp(upload->multipart.name, "file"))
		return NULL;
	if (json_array_size(upload->written) >= UPLOAD_PARTS_MAX)
		return "too many parts";
	if (upload->has_path) {
		strcpy(upload->path, upload->query_path);
	} else {
		if (!upload->multipart.filename[0])
			return "a part without a file name needs the path in the query";
		problem = path_resolve(upload->multipart.filename, upload->user.home,
				       caller_workdir(conn, &upload->user), upload->path);
		if (problem)
			return problem;
	}
	*out_failed = file_open(upload) != 0;
	return NULL;
}

static void on_form_body(struct conn *conn, struct upload *upload, const char *bytes,
			 size_t bytes_n)
{
	while (bytes_n && !upload->is_complete) {
		const char *problem = NULL;
		struct http_text data;
		bool failed = false;
		size_t used;

		switch (multipart_read(&upload->multipart, bytes, bytes_n, &used, &data)) {
		case MULTIPART_MORE:
			return;
		case MULTIPART_PART:
			problem = part_begin(conn, upload, &failed);
			break;
		case MULTIPART_DATA:
			failed = upload->fd >= 0 && file_write(upload, data.at, data.n);
			break;
		case MULTIPART_END:
			failed = upload->fd >= 0 && file_close(upload);
			break;
		case MULTIPART_DONE:
			upload->is_complete = true;
			break;
		case MULTIPART_BAD:
			problem = "malformed multipart body";
			break;
		}
		if (problem || failed) {
			fail(conn, upload, problem);
			return;
		}
		bytes += used;
		bytes_n -= used;
	}
}

static void on_body(struct conn *conn, const char *bytes, size_t bytes_n)
{
	struct upload *upload = conn->work;

	if (upload->is_form)
		on_form_body(conn, upload, bytes, bytes_n);
	else if (file_write(upload, bytes, bytes_n))
		fail(conn, upload, NULL);
}

static void on_body_end(struct conn *conn)
{
	struct upload *upload = conn->work;

	if (upload->is_form && !upload->is_complete) {
		fail(conn, upload, "the multipart body ends too early");
		return;
	}
	if (!upload->is_form && file_close(upload)) {
		fail(conn, upload, NULL);
		return;
	}
	conn_answer_json(conn, 200, json_incref(upload->written));
	upload_free(upload);
}

/* -- The head -----------------------------------------------------------------------------------
 */

/* X-Metadata-Key: value, the keys in lower case. False when one is not to be kept. */
static bool metadata_read(const struct conn *conn, struct upload *upload)
{
	for (size_t i = 0; i < conn->head.headers_n; i++) {
		const struct http_header *header = &conn->head.headers[i];
		struct http_text key = header->name;
		char name[METADATA_KEY_MAX + 1];

		if (!http_text_starts_nocase(key, METADATA_HEADER))
			continue;
		key.at += strlen(METADATA_HEADER);
		key.n -= strlen(METADATA_HEADER);
		if (!key.n || !http_text_copy(key, name, sizeof(name)))
			return false;
		for (char *at = name; *at; at++)
			*at = (char)(*at >= 'A' && *at <= 'Z' ? *at + 32 : *at);
		if (!upload->metadata)
			upload->metadata = json_object();
		if (json_object_set_new(upload->metadata, name,
					json_stringn(header->value.at, header->value.n)))
			return false;
	}
	return true;
}

/* NULL, or what is wrong. */
static const char *upload_begin(struct conn *conn, struct upload *upload, bool *out_failed)
{
	struct http_text type = http_head_value(&conn->head, "content-type");

	if (!metadata_read(conn, upload))
		return "malformed X-Metadata header";
	upload->is_form = http_text_starts_nocase(type, "multipart/form-data");
	if (upload->is_form)
		return multipart_init(&upload->multipart, type)
			       ? NULL
			       : "multipart/form-data without a boundary";
	if (!http_text_starts_nocase(type, "application/octet-stream"))
		return "multipart/form-data or application/octet-stream is wanted";
	if (!upload->has_path)
		return "the path is missing";
	strcpy(upload->path, upload->query_path);
	*out_failed = file_open(upload) != 0;
	return NULL;
}

void files_post(struct conn *conn, json_t *request)
{
	static const struct work_ops ops = {
		.on_body = on_body,
		.on_body_end = on_body_end,
		.on_gone = on_gone,
	};
	struct http_text encoding = http_head_value(&conn->head, "content-encoding");
	struct upload *upload;
	const char *problem;
	bool failed = false;

	(void)request;
	if (encoding.n && !http_text_equal_nocase(encoding, "identity")) {
		conn_answer_error(conn, 415, "content encoding '%.*s' is not supported",
				  HTTP_TEXT_ARG(encoding));
		return;
	}
	upload = malloc(sizeof(*upload));
	if (!upload) {
		conn_answer_error(conn, 503, "no memory");
		return;
	}
	upload->fd = -1;
	upload->metadata = NULL;
	upload->is_complete = false;
	upload->written = json_array();
	if (!transfer_user(conn, &upload->user) ||
	    !transfer_path(conn, &upload->user, &upload->has_path, upload->query_path)) {
		upload_free(upload);
		return;
	}
	problem = upload_begin(conn, upload, &failed);
	if (problem || failed) {
		fail(conn, upload, problem);
		return;
	}
	conn->work = upload;
	conn->work_ops = &ops;
}
