/*
 * A disk that fails when it is told to, for real daemons: preloaded, it stands before the calls
 * that change files.
 *
 *   FAULTY_PROGRAM  only this program is touched, and what it starts inherits nothing; others pass
 * it on FAULTY_DIR      only files below this folder are touched FAULTY_CONTROL  a file with one
 * line, read anew at every call: MODE [MILLISECONDS]
 *
 *   ok        nothing happens
 *   full      writing fails with ENOSPC
 *   fail      writing and flushing fail with EIO
 *   readonly  writing and opening for writing fail with EROFS
 *   slow      flushing takes so many milliseconds longer
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

static struct {
	ssize_t (*write)(int, const void *, size_t);
	ssize_t (*pwrite64)(int, const void *, size_t, off64_t);
	int (*fsync)(int);
	int (*fdatasync)(int);
	int (*ftruncate64)(int, off64_t);
	int (*open64)(const char *, int, ...);
} real;

static char dir[PATH_MAX], control[PATH_MAX];

struct mode {
	char name[16];
	long ms;
};

static void find_real(void *out, const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	/* A function pointer from an object pointer: the one way that C leaves open. */
	memcpy(out, &found, sizeof(found));
}

__attribute__((constructor)) static void begin(void)
{
	const char *program = getenv("FAULTY_PROGRAM");

	find_real(&real.write, "write");
	find_real(&real.pwrite64, "pwrite64");
	find_real(&real.fsync, "fsync");
	find_real(&real.fdatasync, "fdatasync");
	find_real(&real.ftruncate64, "ftruncate64");
	find_real(&real.open64, "open64");

	if (!program || strcmp(program, program_invocation_short_name) != 0)
		return;
	if (getenv("FAULTY_DIR") && getenv("FAULTY_CONTROL")) {
		snprintf(dir, sizeof(dir), "%s/", getenv("FAULTY_DIR"));
		snprintf(control, sizeof(control), "%s", getenv("FAULTY_CONTROL"));
	}
	unsetenv("LD_PRELOAD");
}

static struct mode mode_now(void)
{
	struct mode mode = {"ok", 0};
	char line[64] = "";
	int fd = control[0] ? real.open64(control, O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0)
		return mode;
	if (read(fd, line, sizeof(line) - 1) > 0)
		sscanf(line, "%15s %ld", mode.name, &mode.ms);
	close(fd);
	return mode;
}

static bool is_mode(const struct mode *mode, const char *name)
{
	return strcmp(mode->name, name) == 0;
}

static bool is_ours(int fd)
{
	char link[64], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return false;
	path[n] = 0;
	return strncmp(path, dir, strlen(dir)) == 0;
}

/* The errno that writing to fd meets now, or 0. */
static int write_fault(int fd)
{
	struct mode mode = mode_now();

	if (is_mode(&mode, "ok") || is_mode(&mode, "slow") || !is_ours(fd))
		return 0;
	return is_mode(&mode, "full") ? ENOSPC : is_mode(&mode, "readonly") ? EROFS : EIO;
}

static int flush_fault(int fd)
{
	struct mode mode = mode_now();

	if (is_mode(&mode, "ok") || !is_ours(fd))
		return 0;
	if (is_mode(&mode, "slow")) {
		struct timespec pause = {mode.ms / 1000, mode.ms % 1000 * 1000000};
		nanosleep(&pause, NULL);
	}
	return is_mode(&mode, "fail") ? EIO : 0;
}

/* fault: an errno, or 0. Returns whether there is one. */
static bool fails(int fault)
{
	if (fault)
		errno = fault;
	return fault != 0;
}

PUBLIC ssize_t write(int fd, const void *data, size_t n)
{
	return fails(write_fault(fd)) ? -1 : real.write(fd, data, n);
}

PUBLIC ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at)
{
	return fails(write_fault(fd)) ? -1 : real.pwrite64(fd, data, n, at);
}

PUBLIC ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
	return pwrite64(fd, data, n, at);
}

PUBLIC int ftruncate64(int fd, off64_t n)
{
	return fails(write_fault(fd)) ? -1 : real.ftruncate64(fd, n);
}

PUBLIC int ftruncate(int fd, off_t n)
{
	return ftruncate64(fd, n);
}

PUBLIC int fsync(int fd)
{
	return fails(flush_fault(fd)) ? -1 : real.fsync(fd);
}

PUBLIC int fdatasync(int fd)
{
	return fails(flush_fault(fd)) ? -1 : real.fdatasync(fd);
}

PUBLIC int open64(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list rest;

	if (flags & (O_CREAT | O_TMPFILE)) {
		va_start(rest, flags);
		mode = va_arg(rest, mode_t);
		va_end(rest);
	}
	if ((flags & O_ACCMODE) != O_RDONLY && dir[0] && strncmp(path, dir, strlen(dir)) == 0) {
		struct mode now = mode_now();
		if (is_mode(&now, "readonly")) {
			errno = EROFS;
			return -1;
		}
	}
	return real.open64(path, flags, mode);
}

PUBLIC int open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list rest;

	if (flags & (O_CREAT | O_TMPFILE)) {
		va_start(rest, flags);
		mode = va_arg(rest, mode_t);
		va_end(rest);
	}
	return open64(path, flags, mode);
}
