/*
 * Starts a program as a user: see spawn.h.
 *
 * By vfork: the child borrows our memory until it has become the program, so that starting one
 * copies no page table (dear in an emulated microVM) and a failure is reported in a variable.  The
 * price is that the child may only make system calls.
 */
#include "node-agent/guest/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/check.h"

enum { IOPRIO_WHO_PROCESS = 1, IOPRIO_BEST_EFFORT_4 = 2 << 13 | 4 };

/* What the child was doing when it failed. */
struct child_failure {
	int number;
	const char *purpose;
};

static void oom_score_set(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "100", 3) < 0) {
		/* A host that forbids it loses nothing but the preference. */
	}
	close(fd);
}

static int identity_set(const struct user *user)
{
	/* Bare system calls: the library's would tell all threads, which are our parent's. */
	if (geteuid() && geteuid() == user->uid)
		return 0;
	if (syscall(SYS_setgroups, user->groups_n, user->groups) ||
	    syscall(SYS_setresgid, user->gid, user->gid, user->gid) ||
	    syscall(SYS_setresuid, user->uid, user->uid, user->uid))
		return -1;
	return 0;
}

static void signals_reset(void)
{
	static const int ours[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGPIPE};
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (size_t i = 0; i < ARRAY_N(ours); i++)
		sigaction(ours[i], &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static const char *become(const struct spawn *spawn, const char *path)
{
	setsid();
	oom_score_set();
	setpriority(PRIO_PROCESS, 0, 0);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_BEST_EFFORT_4);
	umask(022);
	for (int i = 0; i < 3; i++)
		if (dup2(spawn->stdio[i], i) < 0)
			return "standard files";
	if (spawn->on_terminal && ioctl(0, TIOCSCTTY, 0))
		return "take the terminal";
	if (identity_set(spawn->user))
		return "become the user";
	if (chdir(spawn->cwd))
		return "enter the working directory";
	signals_reset();
	execve(path, spawn->argv, spawn->env);
	return "execute";
}

static pid_t start(const struct spawn *spawn, const char *path, volatile struct child_failure *out)
{
	pid_t pid = vfork();

	if (pid == 0) {
		out->purpose = become(spawn, path);
		out->number = errno;
		_exit(127);
	}
	return pid;
}

/* The first executable of that name along the path. */
static bool file_find(const struct spawn *spawn, char out[PATH_MAX])
{
	struct stat status;
	const char *at = spawn->search_path;

	if (strchr(spawn->file, '/'))
		return snprintf(out, PATH_MAX, "%s", spawn->file) < PATH_MAX;
	while (*at) {
		size_t n = strcspn(at, ":");

		if (n && snprintf(out, PATH_MAX, "%.*s/%s", (int)n, at, spawn->file) < PATH_MAX &&
		    !stat(out, &status) && S_ISREG(status.st_mode) && status.st_mode & 0111)
			return true;
		at += n + (at[n] ? 1 : 0);
	}
	return false;
}

int spawn_process(const struct spawn *spawn, pid_t *out_pid, struct err *err)
{
	volatile struct child_failure failure = {0};
	char path[PATH_MAX];
	sigset_t all, before;
	pid_t pid;

	if (!file_find(spawn, path)) {
		errno = ENOENT;
		return err_set(err, "executable file not found in $PATH");
	}
	/* No handler of ours may run in the child while it has our memory. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = start(spawn, path, &failure);
	if (pid < 0) {
		failure.number = errno;
		failure.purpose = "start a process";
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (failure.purpose) {
		while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
		err_errno(err, failure.number, "%s", failure.purpose);
		errno = failure.number;
		return -1;
	}
	*out_pid = pid;
	return 0;
}
