/*
 * POST /files/compose: several files become one, and are gone.  The data stays in the kernel, and
 * on file systems that can share blocks it is not even copied.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node-agent/guest/caller.h"
#include "node-agent/guest/files.h"
#include "node-agent/guest/guest.h"
#include "node-agent/guest/job.h"
#include "node-agent/guest/path.h"
#include "node-agent/guest/routes.h"
#include "node-agent/guest/transfer.h"

enum {
	COMPOSE_SOURCES_MAX = 10 * 1000,
	COMPOSE_COPY_N = 64 * 1024 * 1024, /* between looks at whether somebody still waits */
	COMPOSE_BUFFER_N = 128 * 1024,
};

struct compose {
	struct job job; /* the first */
	struct user user;
	json_t *given;   /* the sources as they were named */
	json_t *sources; /* and where they are */
	char destination[PATH_MAX];
	char temporary[PATH_MAX];
	int status; /* of the answer: 200, or an error's */
	char problem[PATH_MAX + 200];
};

static void compose_free(struct compose *compose)
{
	json_decref(compose->given);
	json_decref(compose->sources);
	free(compose);
}

static bool fail(struct compose *compose, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static bool fail(struct compose *compose, int status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(compose->problem, sizeof(compose->problem), format, args);
	va_end(args);
	compose->status = status;
	return false;
}

static bool fail_errno(struct compose *compose, const char *what, const char *path)
{
	char reason[128];

	if (errno == ENOSPC || errno == EDQUOT)
		return fail(compose, 507, "not enough disk space");
	return fail(compose, 500, "%s %s: %s", what, path, files_errno_text(errno, reason));
}

/* -- On a thread ---------------------------------------------------------------------------------
 */

/* Where the kernel cannot copy from the one to the other. 0, or -1. */
static ssize_t copy_by_hand(int from, int to)
{
	char *buffer = malloc(COMPOSE_BUFFER_N);
	ssize_t n = buffer ? read(from, buffer, COMPOSE_BUFFER_N) : -1;

	for (ssize_t done = 0, step; done < n; done += step) {
		step = write(to, buffer + done, (size_t)(n - done));
		if (step < 0) {
			n = -1;
			break;
		}
	}
	free(buffer);
	return n;
}

static ssize_t copy_some(int from, int to)
{
	ssize_t n = copy_file_range(from, NULL, to, NULL, COMPOSE_COPY_N, 0);

	if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP))
		return copy_by_hand(from, to);
	return n;
}

static bool copy_source(struct compose *compose, size_t number, int to)
{
	const char *path = json_string_value(json_array_get(compose->sources, number));
	const char *given = json_string_value(json_array_get(compose->given, number));
	int from = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat status;
	ssize_t n = 0;
	bool done;

	if (from < 0)
		return fail(compose, 404, "source file not found: %s", given);
	if (fstat(from, &status) || !S_ISREG(status.st_mode)) {
		close(from);
		return fail(compose, 400, "source path is not a regular file: %s", given);
	}
	while ((n = copy_some(from, to)) > 0 &&
	       !atomic_load_explicit(&compose->job.is_abandoned, memory_order_relaxed))
		;
	done = n ? n < 0 && fail_errno(compose, "error composing source", path) : true;
	close(from);
	return done;
}

static bool write_all(struct compose *compose, int to)
{
	if (!geteuid() && fchown(to, compose->user.uid, compose->user.gid))
		return fail_errno(compose, "error changing file ownership of",
				  compose->destination);
	for (size_t i = 0; i < json_array_size(compose->sources); i++)
		if (!copy_source(compose, i, to))
			return false;
	return true;
}

/* Beside the destination first, so that a failure leaves what was there. */
static bool write_destination(struct compose *compose)
{
	bool done;
	int to;

	if (files_make_parents(compose->destination, &compose->user))
		return fail_errno(compose, "error ensuring directories of", compose->destination);
	to = open(compose->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (to < 0)
		return fail_errno(compose, "error creating", compose->temporary);
	done = write_all(compose, to);
	if (close(to) && done)
		done = fail_errno(compose, "error closing", compose->destination);
	if (done && rename(compose->temporary, compose->destination))
		done = errno == EISDIR
			       ? fail(compose, 400, "path is a directory: %s", compose->destination)
			       : fail_errno(compose, "error finalizing", compose->destination);
	if (!done)
		unlink(compose->temporary);
	return done;
}

/* That all are there, before anything is written. */
static bool check_sources(struct compose *compose)
{
	for (size_t i = 0; i < json_array_size(compose->sources); i++) {
		const char *given = json_string_value(json_array_get(compose->given, i));
		struct stat status;

		if (stat(json_string_value(json_array_get(compose->sources, i)), &status))
			return fail(compose, 404, "source file not found: %s", given);
		if (!S_ISREG(status.st_mode))
			return fail(compose, 400, "source path is not a regular file: %s", given);
	}
	return true;
}

static void compose_run(struct job *job)
{
	struct compose *compose = (struct compose *)job;

	if (!check_sources(compose) || !write_destination(compose))
		return;
	for (size_t i = 0; i < json_array_size(compose->sources); i++)
		unlink(json_string_value(json_array_get(compose->sources, i)));
}

static void compose_done(struct job *job)
{
	struct compose *compose = (struct compose *)job;

	if (job->conn && compose->status == 200)
		conn_answer_json(job->conn, 200,
				 json_pack("{s:s,s:s,s:s}", "name", path_name(compose->destination),
					   "path", compose->destination, "type", "file"));
	else if (job->conn)
		conn_answer_error(job->conn, compose->status, "%s", compose->problem);
	compose_free(compose);
}

/* -- The request ---------------------------------------------------------------------------------
 */

/* A path of the request made absolute; false when it is refused. */
static bool read_path(struct conn *conn, struct compose *compose, const json_t *value,
		      const char *field, char out[PATH_MAX])
{
	const char *path = json_string_value(value), *problem;

	if (!path || strlen(path) != json_string_length(value))
		return fail(compose, 400, "%s: a path is wanted", field);
	problem = path_resolve(path, compose->user.home, caller_workdir(conn, &compose->user), out);
	return !problem || fail(compose, 400, "%s: %s", field, problem);
}

static bool read_sources(struct conn *conn, struct compose *compose, json_t *given)
{
	char path[PATH_MAX];
	json_t *source;
	size_t i;

	if (!json_array_size(given))
		return fail(compose, 400, "source_paths must not be empty");
	if (json_array_size(given) > COMPOSE_SOURCES_MAX)
		return fail(compose, 400, "source_paths has more than %d paths",
			    COMPOSE_SOURCES_MAX);
	json_array_foreach(given, i, source)
	{
		if (!read_path(conn, compose, source, "source_paths", path))
			return false;
		if (!strcmp(path, compose->destination))
			return fail(compose, 400,
				    "source path \"%s\" cannot be the same as destination",
				    json_string_value(source));
		json_array_append_new(compose->sources, json_string(path));
	}
	compose->given = json_incref(given);
	return true;
}

/* A name beside the destination that nobody else has. */
static bool name_temporary(struct compose *compose)
{
	uint64_t number = 0;

	if (getrandom(&number, sizeof(number), 0) < 0)
		return fail(compose, 500, "no random number");
	if (snprintf(compose->temporary, PATH_MAX, "%s.e2b-compose.%016llx.tmp",
		     compose->destination, (unsigned long long)number) >= PATH_MAX)
		return fail(compose, 400, "destination: the path is too long");
	return true;
}

static bool read_request(struct conn *conn, struct compose *compose, json_t *document)
{
	json_t *destination = json_object_get(document, "destination");

	if (!json_is_object(document))
		return fail(compose, 400, "invalid request body: a JSON object is wanted");
	if (!json_array_size(json_object_get(document, "source_paths")))
		return fail(compose, 400, "source_paths must not be empty");
	if (!json_string_length(destination))
		return fail(compose, 400, "destination is required");
	return read_path(conn, compose, destination, "destination", compose->destination) &&
	       name_temporary(compose) &&
	       read_sources(conn, compose, json_object_get(document, "source_paths"));
}

void files_compose(struct conn *conn, json_t *request)
{
	struct compose *compose = calloc(1, sizeof(*compose));
	json_t *document = conn->body_n ? json_loadb(conn->body, conn->body_n, 0, NULL) : NULL;

	(void)request;
	if (!compose) {
		conn_answer_error(conn, 503, "no memory");
	} else if (!transfer_named_user(conn, json_object_get(document, "username"),
					&compose->user)) {
		compose_free(compose);
	} else {
		compose->job = (struct job){.run = compose_run, .done = compose_done};
		compose->sources = json_array();
		compose->status = 200;
		if (read_request(conn, compose, document)) {
			job_start(&compose->job, conn);
		} else {
			conn_answer_error(conn, compose->status, "%s", compose->problem);
			compose_free(compose);
		}
	}
	json_decref(document);
}
