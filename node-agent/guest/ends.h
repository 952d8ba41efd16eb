/* What joins a process to us: a pipe for each of its standard files, or a terminal for all three.
 */
#ifndef FLOTILLA_GUEST_ENDS_H
#define FLOTILLA_GUEST_ENDS_H

#include <stdbool.h>
#include <sys/ioctl.h>

#include "common/base/err.h"
#include "node-agent/guest/users.h"

/* Every descriptor is close-on-exec, ours do not block; -1: none. */
struct ends {
	int input;    /* ours: what is written here the process reads */
	int output;   /* ours: its standard output; -1 with a terminal */
	int error;    /* ours: its standard error; -1 with a terminal */
	int terminal; /* ours: all of its output; -1 without a terminal */
	int held; /* ours: the terminal's other side, which thus is never without anybody who has it
		   * open: to us that would look like its end */
	int theirs[3];
};

/* 0, or -1 with err and errno set; nothing is then open. */
int ends_open_pipes(struct ends *ends, bool has_stdin, struct err *err);

/* A terminal of that size that belongs to the user; errors as above. */
int ends_open_terminal(struct ends *ends, const struct winsize *size, const struct user *user,
		       struct err *err);

void ends_close_theirs(struct ends *ends);
void ends_close_ours(struct ends *ends);

#endif
