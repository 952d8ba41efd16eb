#include "node-agent/shell/trouble.h"

#include "common/io/daemon.h"
#include "common/io/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
	TROUBLE_PROBE_N = 64 * 1024,
	TROUBLE_PATIENCE_S = 30, /* that a service manager grants a start from now on */
	/* A warm clone takes a few MiB before its sandbox writes anything. */
	TROUBLE_SPACE_LOW_MIB = 64,
	TROUBLE_SPACE_ENOUGH_MIB = 128,
};

/* The words of whatever failed, without the way there. */
static const char *last_words(const struct err *err)
{
	const char *words = err->text;

	for (const char *at = err->text; (at = strstr(at, ": ")); at += 2)
		words = at + 2;
	return words;
}

bool trouble_begin(struct trouble *trouble, const struct err *why)
{
	char text[TROUBLE_TEXT_MAX], status[TROUBLE_TEXT_MAX + 64];
	bool is_new;

	snprintf(text, sizeof(text), "the journal cannot be written: %.90s", last_words(why));
	is_new = strcmp(text, trouble->text) != 0;
	memcpy(trouble->text, text, sizeof(text));
	if (is_new)
		log_error("agent", "in trouble: nothing new is started", LOG_ERR(why));
	snprintf(status, sizeof(status), "STATUS=%s\nEXTEND_TIMEOUT_USEC=%d000000", text,
		 TROUBLE_PATIENCE_S);
	daemon_notify(status);
	return is_new;
}

void trouble_end(struct trouble *trouble)
{
	if (!trouble->text[0])
		return;
	trouble->text[0] = 0;
	log_info("agent", "out of trouble: the journal can be written");
	daemon_notify("STATUS=");
}

bool trouble_look_at_space(struct trouble *trouble, const char *run_dir)
{
	struct statvfs disk;
	uint64_t free_mib;
	bool was_low = trouble->space[0], is_low;

	if (statvfs(run_dir, &disk))
		return false;
	free_mib = (uint64_t)disk.f_bavail * disk.f_frsize >> 20;
	is_low = free_mib < (was_low ? TROUBLE_SPACE_ENOUGH_MIB : TROUBLE_SPACE_LOW_MIB);
	if (is_low == was_low)
		return false;
	snprintf(trouble->space, sizeof(trouble->space), "%s",
		 is_low ? "no space for microVMs' disks" : "");
	if (is_low)
		log_error("agent", "no space for microVMs' disks", LOG_TEXT("folder", run_dir),
			  LOG_UINT("free_mib", free_mib));
	else
		log_info("agent", "there is space for microVMs' disks again",
			 LOG_UINT("free_mib", free_mib));
	return true;
}

bool trouble_is_disk(const char *dir)
{
	static const uint8_t zeros[TROUBLE_PROBE_N];
	char path[PATH_MAX];
	int fd, fault = 0;

	snprintf(path, sizeof(path), "%.*s/probe", PATH_MAX - 32, dir);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, zeros, sizeof(zeros)) != (ssize_t)sizeof(zeros) || fsync(fd))
		fault = errno;
	if (fd >= 0) {
		close(fd);
		unlink(path);
	}
	return fault == ENOSPC || fault == EDQUOT || fault == EROFS || fault == EIO ||
	       fault == EFBIG;
}
