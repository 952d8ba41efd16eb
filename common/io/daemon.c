#include "common/io/daemon.h"

#include "common/base/check.h"
#include "common/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { READY_TEXT_MAX = 8192 };

int daemon_lock(const char *dir, int *out_fd, struct err *err)
{
	char path[PATH_MAX], holder[32] = "";
	int fd, length;

	if (snprintf(path, sizeof(path), "%s/lock", dir) >= (int)sizeof(path))
		return err_errno(err, ENAMETOOLONG, "lock %s", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(err, errno, "lock %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		int kept = errno;
		ssize_t got = read(fd, holder, sizeof(holder) - 1);

		holder[got > 0 ? strcspn(holder, "\n") : 0] = 0;
		close(fd);
		if (kept != EWOULDBLOCK)
			return err_errno(err, kept, "lock %s", path);
		return err_set(err, "%s is in use by process %s", dir,
			       holder[0] ? holder : "(unknown)");
	}
	/* The pid only serves the message above; the lock is what counts. */
	length = snprintf(holder, sizeof(holder), "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) || pwrite(fd, holder, (size_t)length, 0) != length) {
		err_errno(err, errno, "lock %s", path);
		close(fd);
		return -1;
	}
	*out_fd = fd;
	return 0;
}

/* All endpoints, each as before + name=address + after. */
static size_t endpoints_print(const struct daemon_endpoint *endpoints, size_t n, const char *before,
			      const char *after, char out_text[READY_TEXT_MAX])
{
	size_t used = 0;

	out_text[0] = 0;
	for (size_t i = 0; i < n; i++) {
		char address[ADDRESS_TEXT_MAX];
		int length;

		address_format(&endpoints[i].address, address);
		length = snprintf(out_text + used, READY_TEXT_MAX - used, "%s%s=%s%s", before,
				  endpoints[i].name, address, after);
		CHECK(length > 0 && (size_t)length < READY_TEXT_MAX - used);
		used += (size_t)length;
	}
	return used;
}

int daemon_ready(const char *ready_file, const struct daemon_endpoint *endpoints, size_t n,
		 struct err *err)
{
	char text[READY_TEXT_MAX];

	if (ready_file && ready_file[0]) {
		size_t used = endpoints_print(endpoints, n, "", "\n", text);

		if (file_write_atomic(ready_file, text, used, 0644, err))
			return -1;
	}
	endpoints_print(endpoints, n, " ", "", text);
	printf("ready%s\n", text);
	fflush(stdout); /* a closed standard output is no reason to stop */
	daemon_notify("READY=1");
	return 0;
}

void daemon_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t n = path ? strlen(path) : 0;
	socklen_t to_n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	int fd;

	if (n < 2 || n >= sizeof(to.sun_path))
		return;
	memcpy(to.sun_path, path, n);
	if (path[0] == '@')
		to.sun_path[0] = 0; /* abstract sockets have no file */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to, to_n);
	close(fd);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct daemon_signals *signals = handle->data;

	if (number == SIGHUP) {
		if (signals->on_reload)
			signals->on_reload(signals);
		return;
	}
	/* Who asks twice does not want to wait; state is durable at any time anyway. */
	if (++signals->stops_n > 1)
		_exit(128 + number);
	daemon_notify("STOPPING=1");
	signals->on_stop(signals);
}

int daemon_signals_start(struct daemon_signals *signals, uv_loop_t *loop, struct err *err)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

	_Static_assert(ARRAY_N(numbers) == ARRAY_N(signals->handle), "a handle each");
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < ARRAY_N(numbers); i++) {
		uv_signal_t *handle = &signals->handle[i];
		int failed = uv_signal_init(loop, handle);

		handle->data = signals;
		if (!failed)
			failed = uv_signal_start(handle, on_signal, numbers[i]);
		if (failed)
			return err_set(err, "watch for signal %d: %s", numbers[i],
				       uv_strerror(failed));
		uv_unref((uv_handle_t *)handle);
	}
	return 0;
}

void daemon_signals_stop(struct daemon_signals *signals)
{
	for (size_t i = 0; i < ARRAY_N(signals->handle); i++) {
		uv_handle_t *handle = (uv_handle_t *)&signals->handle[i];

		/* A half-open struct, zeroed at first, has handles without a loop. */
		if (handle->loop && !uv_is_closing(handle))
			uv_close(handle, NULL);
	}
}

size_t daemon_raise_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 1024;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) && getrlimit(RLIMIT_NOFILE, &limit))
		return 1024;
	return (size_t)limit.rlim_cur;
}
