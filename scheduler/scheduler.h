/* What the files of flotilla-scheduler's program share. */
#ifndef FLOTILLA_SCHEDULER_SCHEDULER_H
#define FLOTILLA_SCHEDULER_SCHEDULER_H

#include "common/io/daemon.h"
#include "common/io/options.h"
#include "scheduler/shell/api/api.h"
#include "scheduler/shell/bus/nodes.h"
#include "scheduler/shell/decisions.h"
#include "scheduler/shell/egress/renew.h"
#include "scheduler/shell/engine.h"
#include "scheduler/shell/replica.h"
#include "scheduler/shell/secrets.h"

struct scheduler_options {
#define OPTION OPTION_MEMBER
#include "scheduler/options.def"
#undef OPTION
};

/* How a replica stops: see several_leave. */
struct leaving {
	uv_timer_t *timer; /* freed by its close callback */
	struct mono since;
	struct mono followed_at; /* another leads since; 0: not yet */
	bool has_resigned;
};

struct scheduler {
	struct scheduler_options options;
	uv_loop_t loop;
	int lock_fd;
	struct secrets secrets;
	struct scheduler_metrics metrics;
	struct engine *engine;
	struct decisions decisions;
	struct replica replica; /* unused where there is one scheduler */
	char replica_name[HA_NAME_MAX];
	struct observations *observations; /* NULL: they cannot be kept */
	struct builds *builds;
	char issuer[320]; /* of identity tokens; "": there are none */
	struct renewals *renewals;
	struct api *api;
	struct nodes *nodes;
	struct daemon_signals signals;
	struct leaving leaving;
};

/* ---- several.c: this scheduler as one of several ---- */

bool is_replica(const struct scheduler *scheduler);

/* The options that only make sense together; fills in what follows from them. */
int several_check_options(struct scheduler *scheduler, struct err *err);

/* Everything else is open. Nothing to do where there is one scheduler. */
int several_open(struct scheduler *scheduler, struct err *err);

/* Stops the loop soon. */
void several_leave(struct scheduler *scheduler);

/* Hooks of the bus and the API: data is the scheduler. */
bool several_leads(void *data);
const struct ha_peer *several_leader(void *data);
const char *several_leader_bus(void *data);

void several_close(struct scheduler *scheduler);

#endif
