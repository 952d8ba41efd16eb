/* Starts a program as a user. */
#ifndef FLOTILLA_GUEST_SPAWN_H
#define FLOTILLA_GUEST_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/base/err.h"
#include "node-agent/guest/users.h"

struct spawn {
	const char *file; /* a path, or a name to be looked up in search_path */
	const char *search_path;
	char *const *argv;
	char *const *env;
	const char *cwd;
	const struct user *user;
	int stdio[3];     /* become the child's 0, 1 and 2 */
	bool on_terminal; /* they are a terminal, which becomes its session's */
};

/*
 * A new session, with an ordinary priority and an out-of-memory score that makes the kernel take
 * it before us.  Only a guest that is root can start programs as somebody else.
 * -1 with err and errno set.
 */
int spawn_process(const struct spawn *spawn, pid_t *out_pid, struct err *err);

#endif
