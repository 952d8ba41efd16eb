/* See process.h. */
#include "node-agent/vm/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WATCH_MS = 250 };

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static pid_t start(char *const argv[], bool is_limited, bool is_heard, int out_fd)
{
	pid_t parent = getpid();
	pid_t pid = fork();
	int null;

	if (pid != 0)
		return pid;
	/* Without a limit it stays in our group, so that Ctrl-C at a terminal reaches all of it. */
	if (is_limited)
		setsid();
	/* What is started here does not outlive us, however we end. */
	prctl(PR_SET_PDEATHSIG, is_limited ? SIGKILL : SIGTERM);
	if (getppid() != parent)
		_exit(127);
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out_fd, STDOUT_FILENO) < 0 ||
	    (is_heard && dup2(out_fd, STDERR_FILENO) < 0))
		_exit(127);
	execvp(argv[0], argv);
	_exit(127);
}

/* Reads until the other end is closed. False when time is up, or it is enough. */
static bool collect(int fd, int time_limit_ms, const struct process_watch *watch, char *out,
		    size_t out_n)
{
	int64_t deadline = now_ms() + time_limit_ms, look = 0;
	size_t used = 0;
	char rest[1024];

	for (;;) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		int64_t left = time_limit_ms ? deadline - now_ms() : -1;
		bool is_full = !out || used + 1 >= out_n;
		ssize_t n;

		if (time_limit_ms && left <= 0)
			return false;
		if (watch && now_ms() >= look) {
			if (watch->is_enough(watch->arg))
				return false;
			look = now_ms() + WATCH_MS;
		}
		if (watch && (left < 0 || left > WATCH_MS))
			left = WATCH_MS;
		if (poll(&poll_fd, 1, (int)left) <= 0)
			continue;
		n = read(fd, is_full ? rest : out + used,
			 is_full ? sizeof(rest) : out_n - used - 1);
		if (n == 0 || (n < 0 && errno != EINTR))
			return true;
		if (!is_full && n > 0) {
			used += (size_t)n;
			out[used] = 0;
		}
	}
}

static int run(char *const argv[], int time_limit_ms, bool is_heard,
	       const struct process_watch *watch, char *out, size_t out_n, struct err *err)
{
	int pipe_fds[2];
	bool is_in_time;
	int status;
	pid_t pid;

	if (out)
		out[0] = 0;
	if (pipe2(pipe_fds, O_CLOEXEC))
		return err_errno(err, errno, "%s", argv[0]);
	pid = start(argv, time_limit_ms > 0, is_heard, pipe_fds[1]);
	close(pipe_fds[1]);
	if (pid < 0) {
		close(pipe_fds[0]);
		return err_errno(err, errno, "%s", argv[0]);
	}
	is_in_time = collect(pipe_fds[0], time_limit_ms, watch, out, out_n);
	close(pipe_fds[0]);
	if (!is_in_time)
		kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!is_in_time)
		return err_set(err, "%s: not done after %d ms", argv[0], time_limit_ms);
	if (WIFSIGNALED(status))
		return err_set(err, "%s: ended by signal %d", argv[0], WTERMSIG(status));
	if (WEXITSTATUS(status) == 127)
		return err_set(err, "%s: not installed, or cannot be started", argv[0]);
	if (WEXITSTATUS(status))
		return err_set(err, "%s: exit code %d", argv[0], WEXITSTATUS(status));
	return 0;
}

int process_run(char *const argv[], int time_limit_ms, char *out, size_t out_n, struct err *err)
{
	return run(argv, time_limit_ms, false, NULL, out, out_n, err);
}

int process_run_heard(char *const argv[], int time_limit_ms, const struct process_watch *watch,
		      char *out, size_t out_n, struct err *err)
{
	return run(argv, time_limit_ms, true, watch, out, out_n, err);
}
