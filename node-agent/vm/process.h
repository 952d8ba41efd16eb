/* Runs a program to its end; for building templates, never on a daemon's loop. */
#ifndef FLOTILLA_VM_PROCESS_H
#define FLOTILLA_VM_PROCESS_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Runs argv[0], looked up in PATH, with standard input from /dev/null.  out: NULL, or a buffer for
 * the beginning of its standard output as text; what does not fit is read and dropped.
 * time_limit_ms: after it, it is killed with all its session; 0 for none.
 * Fault: it could not be started, did not end in time, or its exit code was not 0.
 */
int process_run(char *const argv[], int time_limit_ms, char *out, size_t out_n, struct err *err);

/* Asked several times a second; when it says yes the program is killed as at its time limit. */
struct process_watch {
	bool (*is_enough)(void *arg);
	void *arg;
};

/* The same for a program whose complaints are wanted: out is of standard output and error.
 * watch: NULL for none. */
int process_run_heard(char *const argv[], int time_limit_ms, const struct process_watch *watch,
		      char *out, size_t out_n, struct err *err);

#endif
