/* The shell of the scheduler's core as the simulator has it: clock, store, rounds, pumps. */
#ifndef FLOTILLA_SIM_LEADER_H
#define FLOTILLA_SIM_LEADER_H

#include "scheduler/core/core.h"
#include "tests/sim/net.h"
#include "tests/sim/rounds.h"

/* What is on the scheduler's disk. */
struct store {
	uint64_t epoch;
	struct core_tenant tenants[TENANTS_MAX];
	struct core_node nodes[HOSTS_MAX];
	struct core_template templates[TEMPLATES_N];
	size_t templates_n;
	struct core_sandbox *sandboxes; /* all there ever were, in the order of their numbers */
	size_t sandboxes_n, sandboxes_cap;
};

void leader_open(struct world *world);
void leader_close(struct world *world);
void leader_receive(struct world *world, const struct message *message);

/* Steps the core, if there is one. */
void leader_step(struct world *world, struct core_event *event);

/* A request of a tenant. False: nobody is there to take it, or nothing can be written. */
bool leader_request(struct world *world, struct core_event *event);

void leader_crash(struct world *world);
void leader_disk_fails(struct world *world, bool fails);

const struct store *leader_store(const struct world *world);
const struct core *leader_core(const struct world *world); /* NULL: it is down */

/* The stored row of sandbox number n; NULL: there is none. */
const struct core_sandbox *leader_row(const struct world *world, size_t n);

#endif
