/* See identity.h. */
#include "node-agent/shim/identity.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool read_word(const char *path, char *out, size_t out_n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, out_n - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	out[n] = 0;
	return true;
}

bool identity_of(pid_t pid, struct identity *out)
{
	char path[64], text[1024], state;
	unsigned long long start;
	const char *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (pid <= 0 || !read_word(path, text, sizeof(text)))
		return false;
	/* The name may hold anything, so it is skipped from its end; the 22nd field is wanted. */
	at = strrchr(text, ')');
	if (!at ||
	    sscanf(at + 1,
		   " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
		   "%*s %llu",
		   &state, &start) != 2 ||
	    state == 'Z' || state == 'X')
		return false;
	*out = (struct identity){pid, start};
	return true;
}

static bool read_boot(char out[64])
{
	if (!read_word("/proc/sys/kernel/random/boot_id", out, 64))
		return false;
	out[strcspn(out, "\n")] = 0;
	return true;
}

/* Not synced: it means nothing in the next boot. */
int identity_write(const char *dir, const struct identity *shim, const struct identity *qemu,
		   struct err *err)
{
	char path[PATH_MAX], temporary[PATH_MAX + 8], text[256], boot[64];
	bool is_written = false;
	int n, fd;

	if (!read_boot(boot) || snprintf(path, sizeof(path), "%s/" IDENTITY_FILE, dir) >= PATH_MAX)
		return err_set(err, "%s/" IDENTITY_FILE ": cannot be written", dir);
	snprintf(temporary, sizeof(temporary), "%s.new", path);
	n = snprintf(text, sizeof(text), "%s %d %" PRIu64 " %d %" PRIu64 "\n", boot, (int)shim->pid,
		     shim->start, (int)qemu->pid, qemu->start);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd >= 0) {
		is_written = write(fd, text, (size_t)n) == n;
		close(fd);
	}
	return is_written && rename(temporary, path) == 0
		       ? 0
		       : err_set(err, "%s: cannot be written", path);
}

bool identity_read(const char *dir, struct identity *out_shim, struct identity *out_qemu)
{
	char path[PATH_MAX], text[256], boot[64], then[64];
	struct identity shim, qemu;

	if (snprintf(path, sizeof(path), "%s/" IDENTITY_FILE, dir) >= PATH_MAX ||
	    !read_word(path, text, sizeof(text)) || !read_boot(boot) ||
	    sscanf(text, "%63s %d %" SCNu64 " %d %" SCNu64, then, &shim.pid, &shim.start, &qemu.pid,
		   &qemu.start) != 5 ||
	    strcmp(boot, then) != 0)
		return false;
	*out_shim = shim;
	*out_qemu = qemu;
	return true;
}

bool identity_kill(const struct identity *identity)
{
	struct identity now;
	int fd = identity->pid > 0 ? (int)syscall(SYS_pidfd_open, identity->pid, 0) : -1;
	bool is_it;

	if (fd < 0)
		return false;
	/* Looked at after opening: what the descriptor means cannot change any more. */
	is_it = identity_of(identity->pid, &now) && now.start == identity->start;
	if (is_it)
		syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
	close(fd);
	return is_it;
}
