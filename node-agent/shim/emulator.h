/*
 * QEMU as a child process: started with its channels as socket pairs, killed with us however we
 * die, its end noticed at once.  What it and the guest's kernel say on their console is kept, the
 * last of it, in kernel.log.
 */
#ifndef FLOTILLA_SHIM_EMULATOR_H
#define FLOTILLA_SHIM_EMULATOR_H

#include "common/base/err.h"
#include "node-agent/vm/machine.h"

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

enum {
	EMULATOR_STATE_FD = 7, /* the snapshot's device state, in QEMU */
	EMULATOR_PANIC_MAX = 96,
	EMULATOR_LOG_MAX = 64 * 1024,
};

struct emulator {
	void (*on_exit)(void *arg); /* once; status is set */
	void *arg;
	pid_t pid; /* 0: not running */
	int status;
	int qmp_fd; /* ours, for the caller to take over; -1 when taken or not there */
	int mux_fd;
	char panic[EMULATOR_PANIC_MAX]; /* what the guest's kernel said when it panicked, or empty
					 */
	bool is_out_of_memory;          /* and that it was for want of memory */
	/* private */
	uint64_t oom_kills_before, oom_kills; /* of the host, at the last two looks */
	int pid_fd;
	uv_poll_t *exit_poll;
	uv_pipe_t *consoles[2];
	int log_fd;
	off_t log_n;
	char line[256]; /* of the console, as far as it has come */
	size_t line_n;
};

/*
 * launch: all but the descriptors, which are made here.  dir: for the log.  state_fd: open for
 * reading (a clone) or writing (a template); borrowed.
 */
int emulator_start(struct emulator *emulator, uv_loop_t *loop, struct vm_launch *launch,
		   const char *dir, int state_fd, struct err *err);

/* SIGKILL; on_exit follows. */
void emulator_kill(struct emulator *emulator);

/* Looks how often the host has killed for want of memory; now and then, so that what happened long
 * ago is not taken for the reason of an end. */
void emulator_note_host(struct emulator *emulator);

/* After on_exit: it was killed, and the host has killed for want of memory since the look before
 * the last. */
bool emulator_was_starved(const struct emulator *emulator);

/* "exit code 1", "signal 9": for people; after on_exit. */
void emulator_describe_exit(const struct emulator *emulator, char *out, size_t out_n);

#endif
