/*
 * One of several schedulers: its engine, and its side of etcd, kept in step.  When it leads, the
 * engine does; when its store fails or a node has seen a newer epoch, it gives the lead back, and
 * campaigns again once it could.
 */
#ifndef FLOTILLA_SHELL_REPLICA_H
#define FLOTILLA_SHELL_REPLICA_H

#include "scheduler/ha/ha.h"
#include "scheduler/shell/decisions.h"
#include "scheduler/shell/engine.h"

struct replica_hooks {
	void *data;
	void (*on_lead)(void *data); /* the engine leads: every node is to hear of it */
	void (*on_role)(void *data); /* this replica's role, or who leads, has changed */
};

struct replica {
	uv_loop_t *loop;
	struct engine *engine;
	struct decisions *decisions; /* its ha is kept up to date */
	struct ha_options options;   /* what its pointers point to is the caller's */
	struct replica_hooks hooks;
	struct ha *ha;
	uv_timer_t *again; /* freed by its close callback */
	bool is_stopping;
};

/* engine is open, as a replica's. Begins to campaign. */
int replica_open(struct replica *replica, struct err *err);

/* It cannot lead now: gives the lead back, and campaigns again after a while. Harmless when it
 * does not lead. */
void replica_step_down(struct replica *replica);

/* Gives the lead back for good. */
void replica_resign(struct replica *replica);

/* By its own clock, at this moment. */
bool replica_leads(const struct replica *replica);

/* NULL: nobody is known to lead. */
const struct ha_peer *replica_leader(const struct replica *replica);

/* Takes a zeroed one too. */
void replica_close(struct replica *replica);

#endif
