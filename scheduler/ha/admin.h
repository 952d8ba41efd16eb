/*
 * What a person does with etcd by `flotilla ha`: making a fleet of what one scheduler keeps, and
 * looking at it.  These calls block, on a loop of their own.
 */
#ifndef FLOTILLA_HA_ADMIN_H
#define FLOTILLA_HA_ADMIN_H

#include "scheduler/ha/fleet.h"

enum { ADMIN_REPLICAS_MAX = 64 };

struct admin_options {
	const char *endpoints;
	const char *ca_file;   /* or NULL */
	const char *state_dir; /* init: of the scheduler that keeps the books */
	/* Told now and then; may be NULL. */
	void (*on_progress)(void *data, int64_t done, int64_t all);
	void *data;
};

struct admin_init {
	struct fleet fleet;
	int64_t decisions_n;
};

/*
 * Writes all that the scheduler in state_dir has decided, and then the fleet's key, with which
 * replicas may start.  Takes that scheduler's lock, so it must be stopped.  May be repeated when it
 * was cut off.  Refused when etcd has a fleet, or decisions without one.
 */
int admin_init(const struct admin_options *options, struct admin_init *out, struct err *err);

struct admin_status {
	bool has_fleet, has_leader;
	struct fleet fleet;
	struct ha_peer leader;
	uint64_t epoch; /* of the leader */
	struct ha_peer replicas[ADMIN_REPLICAS_MAX];
	size_t replicas_n;
	int64_t revision, decisions_n;
	char endpoint[256]; /* that answered */
};

int admin_status(const struct admin_options *options, struct admin_status *out, struct err *err);

#endif
