/*
 * The microVMs of one host and their shims: what really runs.  They outlive the agent, end a
 * sandbox at its time limit whoever is there, and keep an end record until they are forgotten.
 * A reboot of the host takes all of them, records too.
 */
#ifndef FLOTILLA_SIM_SHIMS_H
#define FLOTILLA_SIM_SHIMS_H

#include "node-agent/core/core.h"
#include "tests/sim/world.h"

struct shim {
	uint64_t number;
	uint64_t serial; /* of all shims there ever were */
	enum wire_shim_state state;
	char template_[TEMPLATE_NAME_MAX], template_id[NODE_TEMPLATE_ID_MAX];
	bool claim_taken;
	struct wire_order claim;
	int64_t resumed_ns, ended_ns; /* of the world's time */
	int64_t end_ns;               /* the time limit */
	enum cause cause;
	bool gone; /* died without a record */
	bool told; /* the agent knows of it: it was started by it, or adopted */
};

struct host_vms {
	struct shim *shims; /* folders that are there, in the order of their numbers' start */
	size_t n, cap;
};

void shims_open(struct world *world, uint32_t host);
void shims_close(struct world *world, uint32_t host);

/* Runs for a sandbox at this moment. */
bool shim_is_running(const struct shim *shim);

/* What the agent wants. */
void shims_start(struct world *world, uint32_t host, const struct node_effect *effect);
void shims_claim(struct world *world, uint32_t host, const struct node_effect *effect);
void shims_deadline(struct world *world, uint32_t host, const struct node_effect *effect);
void shims_meter(struct world *world, uint32_t host, uint64_t number);
void shims_kill(struct world *world, uint32_t host, const struct node_effect *effect);
void shims_forget(struct world *world, uint32_t host, uint64_t number);

/* A new agent looks for folders: each reports to agent_adopt in a while. Returns how many. */
uint32_t shims_adopt(struct world *world, uint32_t host);

/* The agent is no more: nobody hears. */
void shims_unhear(struct world *world, uint32_t host);
void shims_reboot(struct world *world, uint32_t host);

/* One microVM fails; with or without a record of it. */
void shims_fault(struct world *world, uint32_t host, bool gone);

#endif
