/*
 * What was seen of sandboxes: samples, log lines and lifecycle events, in an SQLite file of its own
 * (DIR/observations.db), so that it can neither delay nor harm what is billed.
 *
 * Best effort throughout: a thread writes what the loop has gathered; when it cannot keep up, or
 * the disk is full, the newest is lost and counted.  The oldest goes when it is older than the
 * retention or the file larger than its limit.  A second connection serves the loop.
 */
#ifndef FLOTILLA_SHELL_OBSERVATIONS_H
#define FLOTILLA_SHELL_OBSERVATIONS_H

#include "common/base/err.h"
#include "common/io/sqlite.h"
#include "proto/wire.h"

enum observations_read {
#define STATEMENT(name, sql) OBSERVATIONS_READ_##name,
#include "scheduler/shell/observe/reader.def"
#undef STATEMENT
	OBSERVATIONS_READ_N,
};

enum observed_event {
#define EVENT(number, upper, name, running) OBSERVED_##upper = number,
#include "scheduler/shell/observe/events.def"
#undef EVENT
};

/* One entry of a node's log, as far as it is a lifecycle event. */
struct observed_change {
	enum observed_event type;
	struct id node, sandbox, tenant;
	uint64_t seq;
	uint32_t incarnation;
	int64_t at_wall_ns, until_wall_ns; /* until: UPDATED */
	const char *template_;
};

struct observations_options {
	const char *dir;
	uint64_t retention_ms;
	uint64_t size_max; /* bytes */
	uint64_t *dropped; /* counted up on the loop's thread */
};

struct observations;

int observations_open(struct observations **out_observations,
		      const struct observations_options *options, struct err *err);

/* Writes what was gathered. NULL is fine. */
void observations_close(struct observations *observations);

/* Copied. NULL is fine: nothing is kept then. */
void observations_add(struct observations *observations, const struct wire_observed *observed);
void observations_add_change(struct observations *observations,
			     const struct observed_change *change);

/* With the statements of enum observations_read. */
struct sqlite *observations_reader(struct observations *observations);

#endif
