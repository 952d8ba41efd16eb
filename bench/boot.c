/*
 * How long the same machine takes without a snapshot: from starting QEMU on a template's files to
 * the guest's process 1 saying that it is ready.  A create that finds neither a clone nor a
 * snapshot would wait at least this long.
 *
 * usage: bench_boot STORE TEMPLATE ROUNDS          prints milliseconds, one line a round
 */
#include "node-agent/vm/machine.h"
#include "node-agent/vm/store.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char ready[] = "flotilla-guest: ready";

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench_boot: %s\n", what);
	exit(1);
}

static double now_ms(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec * 1e3 + (double)at.tv_nsec / 1e6;
}

static void pair(int *out_ours, int *out_theirs)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		die("socketpair");
	*out_ours = fds[0];
	*out_theirs = fds[1];
}

/* Reads the guest's words until it says that it is ready. */
static void wait_until_ready(int fd)
{
	static char text[256 * 1024];
	size_t text_n = 0;

	while (!strstr(text, ready)) {
		ssize_t n = read(fd, text + text_n, sizeof(text) - 1 - text_n);
		if (n <= 0) {
			fputs(text, stderr);
			die("the machine ended before its guest was ready");
		}
		text_n += (size_t)n;
		text[text_n] = 0;
	}
	memset(text, 0, text_n);
}

static double boot(struct vm_launch *launch)
{
	static const char begin[] = "{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"cont\"}\n";
	static struct vm_argv argv;
	int qmp, mux, console, kernel;
	struct err err;
	double began;
	pid_t pid;

	pair(&qmp, &launch->qmp_fd);
	pair(&mux, &launch->mux_fd);
	pair(&console, &launch->console_fd);
	pair(&kernel, &launch->kernel_fd);
	if (vm_argv_build(launch, &argv, &err))
		die(err.text);
	began = now_ms();
	pid = fork();
	if (pid == 0) {
		execvp(argv.words[0], argv.words);
		_exit(127);
	}
	close(launch->qmp_fd);
	close(launch->mux_fd);
	close(launch->console_fd);
	close(launch->kernel_fd);
	if (write(qmp, begin, sizeof(begin) - 1) < 0)
		die("QEMU does not listen");
	wait_until_ready(kernel);
	began = now_ms() - began;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(qmp);
	close(mux);
	close(console);
	close(kernel);
	return began;
}

int main(int argc, char **argv)
{
	char disk[] = "/var/tmp/bench-boot-XXXXXX", mem[] = "/var/tmp/bench-boot-XXXXXX";
	char copy[2 * PATH_MAX];
	struct vm_template template_;
	struct vm_template_files files;
	struct vm_launch launch;
	struct err err;
	bool found;

	if (argc != 4) {
		fprintf(stderr, "usage: %s STORE TEMPLATE ROUNDS\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (vm_store_find(argv[1], argv[2], &template_, &found, &err) || !found ||
	    vm_template_files(&template_, &files, &err))
		die("no such template");
	close(mkstemp(disk));
	close(mkstemp(mem));
	launch = (struct vm_launch){.name = "bench",
				    .shape = template_.shape,
				    .accel = template_.accel,
				    .kernel = files.kernel,
				    .initrd = files.initrd,
				    .rootfs = files.rootfs,
				    .disk = disk,
				    .mem = mem};
	snprintf(copy, sizeof(copy), "cp --sparse=always '%s' '%s'", files.disk, disk);
	for (int i = atoi(argv[3]); i > 0; i--) {
		if (system(copy) || truncate(mem, 0) ||
		    truncate(mem, (off_t)template_.shape.mem_mib << 20))
			die("cannot prepare the disk");
		printf("%.2f\n", boot(&launch));
		fflush(stdout);
	}
	unlink(disk);
	unlink(mem);
	return 0;
}
