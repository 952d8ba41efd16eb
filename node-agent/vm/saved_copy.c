/* A copy of a sandbox's disk. See saved.h. */
#include "node-agent/vm/saved.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

/* Not copy_file_range: the two may be on different file systems. */
static int copy_piece(int in, int out, off_t at, off_t end)
{
	if (lseek(out, at, SEEK_SET) < 0)
		return -1;
	while (at < end) {
		ssize_t n = sendfile(out, in, &at, (size_t)(end - at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (n == 0)
				errno = EIO;
			return -1;
		}
	}
	return 0;
}

static int copy_pieces(int in, int out, off_t length)
{
	off_t data = 0, hole;

	while (data < length) {
		data = lseek(in, data, SEEK_DATA);
		if (data < 0 && errno == ENXIO) /* the rest is a hole */
			break;
		if (data < 0)
			return -1;
		hole = lseek(in, data, SEEK_HOLE);
		if (hole < 0 || copy_piece(in, out, data, hole))
			return -1;
		data = hole;
	}
	return ftruncate(out, length);
}

int vm_saved_copy_disk(const char *from, const char *to, struct err *err)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = -1, result = -1;
	struct stat stat_;

	if (in < 0 || fstat(in, &stat_)) {
		err_errno(err, errno, "%s", from);
		goto done;
	}
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0) {
		err_errno(err, errno, "%s", to);
		goto done;
	}
	if (ioctl(out, FICLONE, in) == 0 || copy_pieces(in, out, stat_.st_size) == 0) {
		result = 0;
		goto done;
	}
	err_errno(err, errno, "%s", to);
	unlink(to);
done:
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return result;
}
