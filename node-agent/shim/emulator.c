/* QEMU, its birth and its death. See emulator.h. */
#include "node-agent/shim/emulator.h"

#include "common/base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The descriptors in QEMU. All else is closed there. */
enum { FD_QMP = 3, FD_MUX = 4, FD_CONSOLE = 5, FD_KERNEL = 6, FD_STATE = EMULATOR_STATE_FD };
/* Above those in QEMU, so that moving one there cannot overwrite another. */
enum { FD_HIGH = 16 };

/* ---- the console ---- */

static void note_line(struct emulator *emulator)
{
	static const char panic[] = "Kernel panic - not syncing: ";
	const char *found;

	emulator->line[emulator->line_n] = 0;
	emulator->line_n = 0;
	if (strstr(emulator->line, "Out of memory: Killed process 1 ") ||
	    strstr(emulator->line, "System is deadlocked on memory"))
		emulator->is_out_of_memory = true;
	found = strstr(emulator->line, panic);
	if (!found)
		return;
	snprintf(emulator->panic, sizeof(emulator->panic), "%s", found + sizeof(panic) - 1);
	for (char *c = emulator->panic; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

static void note_bytes(struct emulator *emulator, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] == '\n' || emulator->line_n == sizeof(emulator->line) - 1)
			note_line(emulator);
		if (bytes[i] != '\n' && bytes[i] != '\r' && bytes[i] != 0)
			emulator->line[emulator->line_n++] = bytes[i];
	}
}

/* The guest decides how much it says, so the file begins anew when it is full. */
static void log_bytes(struct emulator *emulator, const char *bytes, size_t n)
{
	if (emulator->log_n + (off_t)n > EMULATOR_LOG_MAX && ftruncate(emulator->log_fd, 0) == 0)
		emulator->log_n = 0;
	if (pwrite(emulator->log_fd, bytes, n, emulator->log_n) == (ssize_t)n)
		emulator->log_n += (off_t)n;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	static char bytes[4096]; /* one loop, used up before the next read */

	(void)handle;
	(void)suggested;
	*buf = uv_buf_init(bytes, sizeof(bytes));
}

static void on_console(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct emulator *emulator = stream->data;

	if (n < 0)
		uv_read_stop(stream);
	if (n <= 0)
		return;
	note_bytes(emulator, buf->base, (size_t)n);
	log_bytes(emulator, buf->base, (size_t)n);
}

static int console_open(struct emulator *emulator, uv_loop_t *loop, int fd, uv_pipe_t **out_pipe,
			struct err *err)
{
	uv_pipe_t *pipe = malloc(sizeof(*pipe));
	int status;

	CHECK(pipe);
	uv_pipe_init(loop, pipe, 0);
	pipe->data = emulator;
	*out_pipe = pipe;
	status = uv_pipe_open(pipe, fd);
	if (status) {
		close(fd);
		return err_set(err, "console: %s", uv_strerror(status));
	}
	status = uv_read_start((uv_stream_t *)pipe, on_alloc, on_console);
	return status ? err_set(err, "console: %s", uv_strerror(status)) : 0;
}

static void on_freed(uv_handle_t *handle)
{
	free(handle);
}

static void consoles_close(struct emulator *emulator)
{
	for (size_t i = 0; i < ARRAY_N(emulator->consoles); i++) {
		if (emulator->consoles[i])
			uv_close((uv_handle_t *)emulator->consoles[i], on_freed);
		emulator->consoles[i] = NULL;
	}
}

/* What was said last is still in the socket when the process is gone. */
static void drain_kernel_console(struct emulator *emulator)
{
	char bytes[4096];
	uv_os_fd_t fd;
	ssize_t n;

	if (!emulator->consoles[1] || uv_fileno((uv_handle_t *)emulator->consoles[1], &fd))
		return;
	while ((n = read(fd, bytes, sizeof(bytes))) > 0) {
		note_bytes(emulator, bytes, (size_t)n);
		log_bytes(emulator, bytes, (size_t)n);
	}
}

/* ---- the process ---- */

_Noreturn static void become_qemu(const struct vm_argv *argv, const int fds[5], pid_t parent)
{
	static char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
					    "MALLOC_ARENA_MAX=1", NULL};
	sigset_t none;

	/* Nothing of it may be left when we are gone: we alone know its time limit. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	/* Huge pages under a clone's heap and translation cache cost 3 MiB each and gain nothing.
	 */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	if (getppid() != parent)
		_exit(126);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 0; i < 5; i++)
		if (dup2(fds[i], FD_QMP + i) < 0)
			_exit(126);
	/* Its own complaints go where the guest kernel's go. */
	if (dup2(FD_KERNEL, STDOUT_FILENO) < 0 || dup2(FD_KERNEL, STDERR_FILENO) < 0)
		_exit(126);
	syscall(SYS_close_range, FD_STATE + 1, ~0U, 0);
	execvpe(argv->words[0], argv->words, environment);
	_exit(127);
}

static void on_pid_fd(uv_poll_t *poll, int status, int events)
{
	struct emulator *emulator = poll->data;

	(void)status;
	(void)events;
	if (waitpid(emulator->pid, &emulator->status, WNOHANG) != emulator->pid)
		return;
	emulator->pid = 0;
	drain_kernel_console(emulator);
	consoles_close(emulator);
	uv_close((uv_handle_t *)poll, on_freed);
	emulator->exit_poll = NULL;
	close(emulator->pid_fd);
	close(emulator->log_fd);
	emulator->on_exit(emulator->arg);
}

static int watch_exit(struct emulator *emulator, uv_loop_t *loop, struct err *err)
{
	int status;

	emulator->pid_fd = (int)syscall(SYS_pidfd_open, emulator->pid, 0);
	if (emulator->pid_fd < 0)
		return err_errno(err, errno, "pidfd_open");
	emulator->exit_poll = malloc(sizeof(*emulator->exit_poll));
	CHECK(emulator->exit_poll);
	status = uv_poll_init(loop, emulator->exit_poll, emulator->pid_fd);
	if (!status) {
		emulator->exit_poll->data = emulator;
		status = uv_poll_start(emulator->exit_poll, UV_READABLE, on_pid_fd);
	}
	return status ? err_set(err, "pidfd: %s", uv_strerror(status)) : 0;
}

static int make_pair(int *out_ours, int *out_theirs, struct err *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return err_errno(err, errno, "socketpair");
	*out_ours = pair[0];
	*out_theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, FD_HIGH);
	close(pair[1]);
	return *out_theirs < 0 ? err_errno(err, errno, "socketpair") : 0;
}

/* Kills inside of cgroups are counted here as well. 0: it cannot be told. */
static uint64_t host_oom_kills(void)
{
	FILE *file = fopen("/proc/vmstat", "re");
	unsigned long long n = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "oom_kill %llu", &n) == 1)
			break;
	if (file)
		fclose(file);
	return n;
}

int emulator_start(struct emulator *emulator, uv_loop_t *loop, struct vm_launch *launch,
		   const char *dir, int state_fd, struct err *err)
{
	int ours[4] = {-1, -1, -1, -1}, theirs[5] = {-1, -1, -1, -1, -1};
	struct vm_argv *argv = malloc(sizeof(*argv));
	char path[PATH_MAX];
	pid_t self = getpid();

	CHECK(argv);
	emulator->pid = 0;
	emulator->oom_kills_before = emulator->oom_kills = host_oom_kills();
	emulator->qmp_fd = emulator->mux_fd = emulator->pid_fd = -1;
	launch->qmp_fd = FD_QMP;
	launch->mux_fd = FD_MUX;
	launch->console_fd = FD_CONSOLE;
	launch->kernel_fd = FD_KERNEL;
	snprintf(path, sizeof(path), "%s/kernel.log", dir);
	emulator->log_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (emulator->log_fd < 0) {
		err_errno(err, errno, "%s", path);
		goto fail;
	}
	if (vm_argv_build(launch, argv, err))
		goto fail;
	for (int i = 0; i < 4; i++)
		if (make_pair(&ours[i], &theirs[i], err))
			goto fail;
	theirs[4] = fcntl(state_fd, F_DUPFD_CLOEXEC, FD_HIGH);
	emulator->pid = fork();
	if (emulator->pid < 0) {
		emulator->pid = 0;
		err_errno(err, errno, "fork");
		goto fail;
	}
	if (emulator->pid == 0)
		become_qemu(argv, theirs, self);
	free(argv);
	for (int i = 0; i < 5; i++)
		close(theirs[i]);
	emulator->qmp_fd = ours[0];
	emulator->mux_fd = ours[1];
	if (console_open(emulator, loop, ours[2], &emulator->consoles[0], err) ||
	    console_open(emulator, loop, ours[3], &emulator->consoles[1], err) ||
	    watch_exit(emulator, loop, err)) {
		kill(emulator->pid, SIGKILL);
		waitpid(emulator->pid, &emulator->status, 0);
		emulator->pid = 0;
		return -1;
	}
	return 0;
fail:
	for (int i = 0; i < 4; i++)
		if (ours[i] >= 0)
			close(ours[i]);
	for (int i = 0; i < 5; i++)
		if (theirs[i] >= 0)
			close(theirs[i]);
	free(argv);
	return -1;
}

void emulator_kill(struct emulator *emulator)
{
	/* Not yet waited for, so the number is still its own. */
	if (emulator->pid > 0)
		kill(emulator->pid, SIGKILL);
}

void emulator_note_host(struct emulator *emulator)
{
	emulator->oom_kills_before = emulator->oom_kills;
	emulator->oom_kills = host_oom_kills();
}

bool emulator_was_starved(const struct emulator *emulator)
{
	return WIFSIGNALED(emulator->status) && WTERMSIG(emulator->status) == SIGKILL &&
	       host_oom_kills() > emulator->oom_kills_before;
}

void emulator_describe_exit(const struct emulator *emulator, char *out, size_t out_n)
{
	if (WIFSIGNALED(emulator->status))
		snprintf(out, out_n, "signal %d", WTERMSIG(emulator->status));
	else
		snprintf(out, out_n, "exit code %d", WEXITSTATUS(emulator->status));
}
