/*
 * POST /files: raw bytes, or the parts of a form, each to its file as it comes.  The body may be
 * compressed as a whole.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node-agent/guest/caller.h"
#include "node-agent/guest/metadata.h"
#include "node-agent/guest/multipart.h"
#include "node-agent/guest/path.h"
#include "node-agent/guest/routes.h"
#include "node-agent/guest/transfer.h"
#include "node-agent/guest/upload_file.h"
#include "node-agent/guest/zipped.h"

enum { UPLOAD_PARTS_MAX = 10 * 1000 };

struct upload {
	struct user user;
	json_t *written;       /* the answer so far: an array */
	json_t *paths;         /* those in it, as the members of an object */
	json_t *metadata;      /* object of strings, or NULL */
	struct zipped *zipped; /* NULL: the body is as it comes */
	bool is_form;
	bool is_complete; /* the last boundary has come */
	bool has_path;    /* the query names the file, whatever the parts say */
	char query_path[PATH_MAX];
	struct upload_file file;
	struct multipart multipart;
};

static void upload_free(struct upload *upload)
{
	upload_file_abandon(&upload->file);
	json_decref(upload->written);
	json_decref(upload->paths);
	json_decref(upload->metadata);
	if (upload->zipped)
		zipped_close(upload->zipped);
	free(upload);
}

static void on_gone(struct conn *conn)
{
	upload_free(conn->work);
}

/* The three ways to end it early: each answers, and the rest of the body is read over by the
 * connection.  False, so that callers can pass it on. */
static bool fail(struct conn *conn, struct upload *upload, const char *message)
{
	conn_answer_error(conn, 400, "%s", message);
	upload_free(upload);
	return false;
}

static bool fail_repeated(struct conn *conn, struct upload *upload)
{
	conn_answer_error(conn, 400,
			  "you cannot upload multiple files to the same path '%s' in one upload "
			  "request, only the first specified file was uploaded",
			  upload->file.path);
	upload_free(upload);
	return false;
}

static bool fail_errno(struct conn *conn, struct upload *upload)
{
	if (errno == EISDIR)
		conn_answer_error(conn, 400, "path is a directory: %s", upload->file.path);
	else
		transfer_refuse(conn, upload->file.path);
	/* What a full disk has cut off stays, as it does with E2B. */
	upload->file.is_new = false;
	upload_free(upload);
	return false;
}

/* -- One file -----------------------------------------------------------------------------------
 */

static bool file_complete(struct conn *conn, struct upload *upload)
{
	const char *path = upload->file.path;

	if (upload_file_close(&upload->file, upload->metadata))
		return fail_errno(conn, upload);
	json_object_set_new(upload->paths, path, json_true());
	json_array_append_new(upload->written,
			      json_pack("{s:s,s:s,s:s,s:o*}", "name", path_name(path), "path", path,
					"type", "file", "metadata", metadata_read(path)));
	return true;
}

/* Parts that are no files are read over. */
static bool part_begin(struct conn *conn, struct upload *upload)
{
	const char *problem = NULL;

	if (strcmp(upload->multipart.name, "file"))
		return true;
	if (json_array_size(upload->written) >= UPLOAD_PARTS_MAX)
		return fail(conn, upload, "too many parts");
	if (upload->has_path)
		strcpy(upload->file.path, upload->query_path);
	else if (!upload->multipart.filename[0])
		problem = "a part without a file name needs the path in the query";
	else
		problem = path_resolve(upload->multipart.filename, upload->user.home,
				       caller_workdir(conn, &upload->user), upload->file.path);
	if (problem)
		return fail(conn, upload, problem);
	if (json_object_get(upload->paths, upload->file.path))
		return fail_repeated(conn, upload);
	return !upload_file_open(&upload->file, &upload->user) || fail_errno(conn, upload);
}

/* -- The body: each returns false when the upload has failed and is gone -------------------------
 */

static bool form_event(struct conn *conn, struct upload *upload, enum multipart_event event,
		       struct http_text data)
{
	bool is_open = upload->file.fd >= 0;

	switch (event) {
	case MULTIPART_MORE:
		return true;
	case MULTIPART_PART:
		return part_begin(conn, upload);
	case MULTIPART_DATA:
		return !is_open || !upload_file_write(&upload->file, data.at, data.n) ||
		       fail_errno(conn, upload);
	case MULTIPART_END:
		return !is_open || file_complete(conn, upload);
	case MULTIPART_DONE:
		upload->is_complete = true;
		return true;
	case MULTIPART_BAD:
		return fail(conn, upload, "malformed multipart body");
	}
	return true;
}

static bool form_bytes(struct conn *conn, struct upload *upload, const char *bytes, size_t bytes_n)
{
	while (bytes_n && !upload->is_complete) {
		struct http_text data;
		size_t used;
		enum multipart_event event =
			multipart_read(&upload->multipart, bytes, bytes_n, &used, &data);

		if (!form_event(conn, upload, event, data))
			return false;
		bytes += used;
		bytes_n -= used;
	}
	return true;
}

static bool plain_bytes(struct conn *conn, struct upload *upload, const char *bytes, size_t bytes_n)
{
	if (upload->is_form)
		return form_bytes(conn, upload, bytes, bytes_n);
	return !upload_file_write(&upload->file, bytes, bytes_n) || fail_errno(conn, upload);
}

static bool on_plain(struct conn *conn, const char *bytes, size_t bytes_n)
{
	return plain_bytes(conn, conn->work, bytes, bytes_n);
}

static void on_bad(struct conn *conn)
{
	fail(conn, conn->work, "error decompressing request body: malformed gzip");
}

static void on_complete(struct conn *conn)
{
	struct upload *upload = conn->work;

	if (upload->is_form && !upload->is_complete) {
		fail(conn, upload, "the multipart body ends too early");
		return;
	}
	if (!upload->is_form && !file_complete(conn, upload))
		return;
	conn_answer_json(conn, 200, json_incref(upload->written));
	upload_free(upload);
}

static void on_body(struct conn *conn, const char *bytes, size_t bytes_n)
{
	struct upload *upload = conn->work;

	if (upload->zipped)
		zipped_bytes(upload->zipped, bytes, bytes_n);
	else
		plain_bytes(conn, upload, bytes, bytes_n);
}

static void on_body_end(struct conn *conn)
{
	struct upload *upload = conn->work;

	if (upload->zipped)
		zipped_end(upload->zipped);
	else
		on_complete(conn);
}

/* -- The head ------------------------------------------------------------------------------------
 */

/* What the head says of the body; false when it is refused, the upload is then gone. */
static bool read_head(struct conn *conn, struct upload *upload)
{
	static const struct zipped_ops ops = {on_plain, on_bad, on_complete};
	struct http_text encoding = http_head_value(&conn->head, "content-encoding");
	char problem[METADATA_PROBLEM_MAX];

	if (http_text_equal_nocase(encoding, "gzip")) {
		upload->zipped = zipped_open(conn, &ops);
		if (!upload->zipped)
			return fail(conn, upload, "error decompressing request body: no memory");
	} else if (encoding.n && !http_text_equal_nocase(encoding, "identity")) {
		snprintf(problem, sizeof(problem),
			 "error decompressing request body: unsupported Content-Encoding: %.*s, "
			 "supported: [gzip]",
			 (int)(encoding.n < 100 ? encoding.n : 100), encoding.at);
		return fail(conn, upload, problem);
	}
	return metadata_from_head(&conn->head, &upload->metadata, problem) ||
	       fail(conn, upload, problem);
}

/* Ready for the body; false when it is refused, the upload is then gone. */
static bool begin(struct conn *conn, struct upload *upload)
{
	struct http_text type = http_head_value(&conn->head, "content-type");

	upload->is_form = http_text_starts_nocase(type, "multipart/");
	if (upload->is_form)
		return multipart_init(&upload->multipart, type) ||
		       fail(conn, upload, "multipart/form-data with a boundary is wanted");
	if (!http_text_starts_nocase(type, "application/octet-stream")) {
		conn_answer_error(conn, 400,
				  "unsupported content type: %.*s, expected multipart/form-data or "
				  "application/octet-stream",
				  HTTP_TEXT_ARG(type));
		upload_free(upload);
		return false;
	}
	if (!upload->has_path)
		return fail(conn, upload, "path query parameter is required for raw body upload");
	strcpy(upload->file.path, upload->query_path);
	return !upload_file_open(&upload->file, &upload->user) || fail_errno(conn, upload);
}

void files_post(struct conn *conn, json_t *request)
{
	static const struct work_ops ops = {
		.on_body = on_body,
		.on_body_end = on_body_end,
		.on_gone = on_gone,
	};
	struct upload *upload = calloc(1, sizeof(*upload));

	(void)request;
	if (!upload) {
		conn_answer_error(conn, 503, "no memory");
		return;
	}
	upload->file.fd = -1;
	upload->written = json_array();
	upload->paths = json_object();
	if (!transfer_user(conn, &upload->user) ||
	    !transfer_path(conn, &upload->user, &upload->has_path, upload->query_path)) {
		upload_free(upload);
		return;
	}
	if (!read_head(conn, upload) || !begin(conn, upload))
		return;
	conn->work = upload;
	conn->work_ops = &ops;
}
