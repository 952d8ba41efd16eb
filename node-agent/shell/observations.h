/*
 * What shims saw of their sandboxes, on its way to the schedulers.  Nothing is kept: samples are
 * passed on at once; log lines too, as long as all sandboxes of the node together stay within a
 * budget, so that no sandbox can fill the bus with its output.
 */
#ifndef FLOTILLA_NODE_OBSERVATIONS_H
#define FLOTILLA_NODE_OBSERVATIONS_H

#include "proto/wire.h"

struct links;

enum {
	OBSERVATIONS_BYTES_PER_S = 256 * 1024, /* of lines, of the whole node */
	OBSERVATIONS_FULL_MS = 4000,           /* of silence make the budget full */
	OBSERVATIONS_BURST = OBSERVATIONS_FULL_MS / 1000 * OBSERVATIONS_BYTES_PER_S,
	OBSERVATIONS_LINE_COST = 64, /* of one line, beside its text */
};

struct observations {
	int64_t budget; /* bytes */
	int64_t at_ns;  /* when that was true; 0: never used */
};

/* Without its lines, which are then counted as lost, when they are too many. */
void observations_pass(struct observations *observations, struct links *links,
		       const struct wire_observed *observed);

#endif
