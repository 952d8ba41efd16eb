/*
 * flotilla-shim DIR: keeps one microVM, whose folder DIR is.  Started by an agent, which it
 * outlives, with the listening control socket as descriptor 3; or by flotilla-template.
 */
#include "node-agent/shim/shim.h"

#include "common/base/check.h"
#include "common/io/log.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Nothing of whoever started us is held open: not its pipes, not its sockets. */
static void let_go_of_parent(const char *dir)
{
	char path[PATH_MAX];
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int log = -1;

	if (snprintf(path, sizeof(path), "%s/%s", dir, VM_FILE_LOG) < PATH_MAX)
		log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	CHECK(null >= 0);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(log >= 0 ? log : null, STDERR_FILENO);
	syscall(SYS_close_range, SHIM_CONTROL_FD + 1, ~0U, 0);
	/* A control socket is not for QEMU. */
	fcntl(SHIM_CONTROL_FD, F_SETFD, FD_CLOEXEC);
}

static void ignore_signals(void)
{
	static const int ignored[] = {SIGPIPE, SIGHUP, SIGINT, SIGTERM};
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t none;

	/* A stop of the agent's service or a Ctrl-C at its terminal is not meant for sandboxes:
	 * they end by order, by their limit, or by KILL. */
	for (size_t i = 0; i < ARRAY_N(ignored); i++)
		sigaction(ignored[i], &ignore, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

int main(int argc, char **argv)
{
	static struct shim shim;
	struct err err;

	if (argc != 2 || argv[1][0] != '/') {
		fprintf(stderr, "flotilla-shim DIR: keeps the microVM of an absolute folder; "
				"agents start it, not people\n");
		return 2;
	}
	shim.dir = argv[1];
	let_go_of_parent(shim.dir);
	ignore_signals();
	/* Its buffers are given back to the system when they are freed. */
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	mallopt(M_ARENA_MAX, 1);
	/* What goes beside the loop goes one after the other. */
	setenv("UV_THREADPOOL_SIZE", "1", 1);
	log_setup("info", "text");
	CHECK(uv_loop_init(&shim.loop) == 0);
	if (vm_config_read(shim.dir, &shim.config, &err) || shim_life_open(&shim, &err)) {
		log_error("shim", "cannot begin", LOG_ERR(&err));
		return 1;
	}
	shim.exit_code = 0;
	if (shim_start(&shim, &err)) {
		log_error("shim", "cannot start the microVM", LOG_ERR(&err));
		shim_end(&shim, CAUSE_VM_FAULT, err.text);
	}
	uv_run(&shim.loop, UV_RUN_DEFAULT);
	log_info("shim", "done");
	return shim.exit_code;
}
