/* The builder's process, and what it says; for builds.c alone. */
#ifndef FLOTILLA_NODE_BUILDS_PROCESS_H
#define FLOTILLA_NODE_BUILDS_PROCESS_H

#include "node-agent/shell/builds.h"

/* flotilla-template, as the state says: build, or rm.  One that cannot be started ends at once. */
void builds_process_start(struct builds *builds);
void builds_process_kill(struct builds *builds, int signal);
/* Its handles, from the loop; it is not waited for. */
void builds_process_close(struct builds *builds);

/* builds.c: the build is over. reason: why it failed, if nothing said so yet; NULL: it did not. */
void builds_end(struct builds *builds, const char *reason);

#endif
