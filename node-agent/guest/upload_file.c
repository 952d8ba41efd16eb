/* The file that an upload writes: see upload_file.h. */
#include "node-agent/guest/upload_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node-agent/guest/files.h"
#include "node-agent/guest/metadata.h"

static int own(int fd, const struct user *user)
{
	struct stat status;

	if (fstat(fd, &status))
		return -1;
	/* Only what was written: a device stays the system's. */
	return geteuid() || !S_ISREG(status.st_mode) ? 0 : fchown(fd, user->uid, user->gid);
}

static void close_keeping_errno(struct upload_file *file)
{
	int number = errno;

	close(file->fd);
	file->fd = -1;
	errno = number;
}

int upload_file_open(struct upload_file *file, const struct user *user)
{
	/* Not waiting for the other end of a pipe. */
	static const int flags = O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

	if (files_make_parents(file->path, user))
		return -1;
	file->fd = open(file->path, flags | O_CREAT | O_EXCL, 0666);
	file->is_new = file->fd >= 0;
	if (file->fd < 0 && errno == EEXIST)
		file->fd = open(file->path, flags | O_TRUNC);
	/* A link to what is not there yet. */
	if (file->fd < 0 && errno == ENOENT)
		file->fd = open(file->path, flags | O_CREAT, 0666);
	if (file->fd < 0)
		return -1;
	if (!own(file->fd, user))
		return 0;
	close_keeping_errno(file);
	return -1;
}

int upload_file_write(struct upload_file *file, const char *bytes, size_t bytes_n)
{
	while (bytes_n) {
		ssize_t n = write(file->fd, bytes, bytes_n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		bytes += n;
		bytes_n -= (size_t)n;
	}
	return 0;
}

int upload_file_close(struct upload_file *file, json_t *metadata)
{
	int fd = file->fd;

	if (metadata_write(fd, metadata)) {
		close_keeping_errno(file);
		return -1;
	}
	file->fd = -1;
	return close(fd);
}

void upload_file_abandon(struct upload_file *file)
{
	struct stat ours, there;

	if (file->fd < 0)
		return;
	/* Unless somebody has put another one in its place. */
	if (file->is_new && !fstat(file->fd, &ours) && !lstat(file->path, &there) &&
	    ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
		unlink(file->path);
	close_keeping_errno(file);
}
