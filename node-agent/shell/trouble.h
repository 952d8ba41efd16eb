/*
 * What an agent does while its journal cannot be written (the disk is full, read-only, failing),
 * be it from its start on.  Nothing new begins, nobody is told anything that is not durable, and
 * there is no core, as if the agent were dead; but it is known: polls say why, and shims are given
 * the leases that leaders give, so that what runs goes on.  Once a second it tries to write; when
 * that works it starts from what is journaled and what the shims say.
 */
#ifndef FLOTILLA_NODE_TROUBLE_H
#define FLOTILLA_NODE_TROUBLE_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { TROUBLE_TEXT_MAX = 129 }; /* as in wire.def */

struct trouble {
	char text[TROUBLE_TEXT_MAX];  /* empty: the journal can be written, as far as we know */
	char space[TROUBLE_TEXT_MAX]; /* empty: there is room for microVMs' disks */
	uint64_t epoch;               /* the highest that leases came from meanwhile */
};

/* The journal cannot be written, for this reason. True: that is new. */
bool trouble_begin(struct trouble *trouble, const struct err *why);

/* A commit succeeded. */
void trouble_end(struct trouble *trouble);

/* Looks how much is left below the folder. True: what it says of that changed. */
bool trouble_look_at_space(struct trouble *trouble, const char *run_dir);

/* Whether it is the disk (full, read-only, failing) that keeps files from being written into the
 * folder: then whatever failed there may succeed later. */
bool trouble_is_disk(const char *dir);

#endif
