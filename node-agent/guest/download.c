/* GET /files: a file is read as fast as the client takes it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "node-agent/guest/encoding.h"
#include "node-agent/guest/path.h"
#include "node-agent/guest/range.h"
#include "node-agent/guest/routes.h"
#include "node-agent/guest/transfer.h"

enum { DOWNLOAD_PSEUDO_MAX = 1024 * 1024 };

/* The work of a connection is the file's descriptor. */
static int fd_of(const struct conn *conn)
{
	return (int)(intptr_t)conn->work;
}

static void on_gone(struct conn *conn)
{
	close(fd_of(conn));
}

static void on_room(struct conn *conn)
{
	size_t room = conn_room(conn);
	ssize_t n = room ? read(fd_of(conn), conn_reserve(conn), room) : 0;

	if (n > 0)
		conn_commit(conn, (size_t)n);
	if (!conn->answer_left) {
		conn_finish(conn);
		close(fd_of(conn));
	} else if (n <= 0 && !(n < 0 && errno == EINTR)) {
		/* The file has shrunk or cannot be read: the promised length cannot be kept. */
		conn_abort(conn);
	}
}

static bool is_plain_name(const char *name)
{
	for (const char *at = name; *at; at++)
		if (*at < ' ' || *at > '~' || *at == '"' || *at == '\\')
			return false;
	return true;
}

/* A name that needs no quoting is given as it is, any other one as RFC 5987 encodes it.  out has
 * room for three times a file's name. */
static const char *disposition(const char *path, char *out, size_t out_max)
{
	const char *name = path_name(path);
	size_t n;

	if (is_plain_name(name)) {
		snprintf(out, out_max, "Content-Disposition: inline; filename=\"%s\"\r\n", name);
		return out;
	}
	n = (size_t)snprintf(out, out_max, "Content-Disposition: inline; filename*=utf-8''");
	for (; *name; name++)
		n += (size_t)snprintf(out + n, out_max - n, "%%%02X", (unsigned char)*name);
	snprintf(out + n, out_max - n, "\r\n");
	return out;
}

static void answer_outside(struct conn *conn, uint64_t size)
{
	char extra[64];

	snprintf(extra, sizeof(extra), "Content-Range: bytes */%llu\r\n", (unsigned long long)size);
	conn_answer(conn, 416, "text/plain", extra, NULL, 0);
}

/* The descriptor is the connection's from here on. */
static void begin(struct conn *conn, const char *path, int fd, uint64_t size)
{
	static const struct work_ops ops = {.on_room = on_room, .on_gone = on_gone};
	char extra[PATH_MAX], *end = extra;
	uint64_t at, n;
	enum range range = range_read(http_head_value(&conn->head, "range"), size, &at, &n);

	if (range == RANGE_OUTSIDE || lseek(fd, (off_t)at, SEEK_SET) < 0) {
		close(fd);
		answer_outside(conn, size);
		return;
	}
	disposition(path, extra, sizeof(extra) - 128);
	end += strlen(extra);
	end += snprintf(end, 128, "Accept-Ranges: bytes\r\n");
	if (range == RANGE_PART)
		snprintf(end, 100, "Content-Range: bytes %llu-%llu/%llu\r\n",
			 (unsigned long long)at, (unsigned long long)(at + n - 1),
			 (unsigned long long)size);
	conn_begin_length(conn, range == RANGE_PART ? 206 : 200, "application/octet-stream", extra,
			  n);
	conn->work = (void *)(intptr_t)fd;
	conn->work_ops = &ops;
	on_room(conn);
}

/*
 * Files of the kernel's own (/proc, /sys) do not say how long they are, or say a whole page: as
 * much as there is, up to a bound, is read at once.  The descriptor is closed.
 */
static void answer_pseudo(struct conn *conn, const char *path, int fd)
{
	char extra[PATH_MAX], *bytes = malloc(DOWNLOAD_PSEUDO_MAX);
	size_t bytes_n = 0;
	ssize_t n = 1;

	while (bytes && n > 0 && bytes_n < DOWNLOAD_PSEUDO_MAX) {
		n = read(fd, bytes + bytes_n, DOWNLOAD_PSEUDO_MAX - bytes_n);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			bytes_n += (size_t)n;
	}
	if (bytes && n >= 0)
		conn_answer(conn, 200, "application/octet-stream",
			    disposition(path, extra, sizeof(extra)), bytes, bytes_n);
	else
		transfer_refuse(conn, path);
	free(bytes);
	close(fd);
}

static bool is_pseudo(int fd)
{
	struct statfs system;

	return !fstatfs(fd, &system) &&
	       (system.f_type == PROC_SUPER_MAGIC || system.f_type == SYSFS_MAGIC ||
		system.f_type == CGROUP2_SUPER_MAGIC);
}

void files_get(struct conn *conn, json_t *request)
{
	char path[PATH_MAX];
	struct stat status;
	struct user user;
	bool given;
	int fd;

	(void)request;
	if (!transfer_user(conn, &user) || !transfer_path(conn, &user, &given, path))
		return;
	/* Not waiting for the other end of a pipe. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &status)) {
		transfer_refuse(conn, path);
	} else if (S_ISDIR(status.st_mode)) {
		errno = EISDIR;
		transfer_refuse(conn, path);
	} else if (!S_ISREG(status.st_mode)) {
		conn_answer_error(conn, 400, "path '%s' is not a regular file", path);
	} else if (!encoding_identity_allowed(http_head_value(&conn->head, "accept-encoding"))) {
		conn_answer_error(conn, 406, "no acceptable encoding found, supported: [identity]");
	} else if (is_pseudo(fd)) {
		answer_pseudo(conn, path, fd);
		return;
	} else {
		begin(conn, path, fd, (uint64_t)status.st_size);
		return;
	}
	if (fd >= 0)
		close(fd);
}
