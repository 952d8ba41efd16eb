#include "common/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads until the end or until n bytes are there; the count, or -1 with errno. */
static ssize_t read_upto(int fd, void *data, size_t n)
{
	size_t have = 0;

	while (have < n) {
		ssize_t got = read(fd, (char *)data + have, n - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		have += (size_t)got;
	}
	return (ssize_t)have;
}

static int write_all(int fd, const void *data, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t put = write(fd, (const char *)data + done, n - done);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -1;
		done += (size_t)put;
	}
	return 0;
}

int file_read(const char *path, size_t limit_n, char **out_text, size_t *out_n, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t room = 4096, have = 0;
	char *text = NULL;
	int kept;

	if (fd < 0) {
		kept = errno;
		err_errno(err, kept, "read %s", path);
		errno = kept;
		return -1;
	}
	/* Grows as it reads, because files in /proc and pipes have no size to ask for. */
	for (;;) {
		char *larger = realloc(text, room + 1);
		ssize_t got;

		if (!larger) {
			errno = ENOMEM;
			goto fail;
		}
		text = larger;
		got = read_upto(fd, text + have, room - have);
		if (got < 0)
			goto fail;
		have += (size_t)got;
		if (have > limit_n) {
			errno = EFBIG;
			goto fail;
		}
		if (have < room)
			break;
		room *= 2;
	}
	close(fd);
	text[have] = 0;
	*out_text = text;
	*out_n = have;
	return 0;
fail:
	kept = errno;
	free(text);
	close(fd);
	err_errno(err, kept, "read %s", path);
	errno = kept;
	return -1;
}

int file_read_secret(const char *path, uint8_t *out, size_t n, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat about;
	ssize_t got;
	char more;

	if (fd < 0 || fstat(fd, &about)) {
		err_errno(err, errno, "read %s", path);
		goto fail;
	}
	if (about.st_mode & (S_IRWXG | S_IRWXO)) {
		err_set(err, "%s may be read by others; run: chmod 600 %s", path, path);
		goto fail;
	}
	got = read_upto(fd, out, n);
	if (got < 0) {
		err_errno(err, errno, "read %s", path);
		goto fail;
	}
	if ((size_t)got != n || read_upto(fd, &more, 1) != 0) {
		err_set(err, "%s must be exactly %zu bytes", path, n);
		goto fail;
	}
	close(fd);
	return 0;
fail:
	if (fd >= 0)
		close(fd);
	return -1;
}

/* The folder of path into out (PATH_MAX bytes): "." when path has none. */
static void folder_of(const char *path, char *out)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		snprintf(out, PATH_MAX, ".");
	else if (slash == path)
		snprintf(out, PATH_MAX, "/");
	else
		snprintf(out, PATH_MAX, "%.*s", (int)(slash - path), path);
}

static int sync_folder_of(const char *path)
{
	char folder[PATH_MAX];
	int fd, failed;

	folder_of(path, folder);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	failed = fsync(fd);
	close(fd);
	return failed;
}

int file_write_atomic(const char *path, const void *data, size_t n, mode_t mode, struct err *err)
{
	char beside[PATH_MAX];
	int fd, kept;

	if (snprintf(beside, sizeof(beside), "%s.XXXXXX", path) >= (int)sizeof(beside))
		return err_errno(err, ENAMETOOLONG, "write %s", path);
	fd = mkostemp(beside, O_CLOEXEC);
	if (fd < 0)
		return err_errno(err, errno, "write %s", path);
	if (fchmod(fd, mode) || write_all(fd, data, n) || fsync(fd))
		goto fail;
	kept = close(fd);
	fd = -1;
	if (kept || rename(beside, path))
		goto fail;
	if (sync_folder_of(path))
		return err_errno(err, errno, "sync the folder of %s", path);
	return 0;
fail:
	kept = errno;
	if (fd >= 0)
		close(fd);
	unlink(beside);
	return err_errno(err, kept, "write %s", path);
}

int file_make_dirs(const char *path, mode_t mode, struct err *err)
{
	char part[PATH_MAX];
	struct stat about;

	if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
		return err_errno(err, ENAMETOOLONG, "make folder %s", path);
	for (char *slash = part + 1; part[0] && *slash; slash++) {
		if (*slash != '/')
			continue;
		*slash = 0;
		if (mkdir(part, mode) && errno != EEXIST)
			return err_errno(err, errno, "make folder %s", part);
		*slash = '/';
	}
	if (mkdir(part, mode) && errno != EEXIST)
		return err_errno(err, errno, "make folder %s", part);
	if (stat(part, &about))
		return err_errno(err, errno, "make folder %s", part);
	if (!S_ISDIR(about.st_mode))
		return err_errno(err, ENOTDIR, "make folder %s", part);
	return 0;
}
