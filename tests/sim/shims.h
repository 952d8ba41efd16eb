/*
 * The microVMs of one host and their shims: what really runs.  They outlive the agent, end a
 * sandbox at its time limit whoever is there, and keep an end record until they are forgotten.
 * A reboot of the host takes all of them, records too, but not what is saved.
 */
#ifndef FLOTILLA_SIM_SHIMS_H
#define FLOTILLA_SIM_SHIMS_H

#include "node-agent/core/core.h"
#include "tests/sim/world.h"

/* A claim's note, as it is kept. */
struct note {
	uint32_t n;
	uint8_t bytes[128];
};

enum freeze { FREEZE_RUNS, FREEZE_FREEZING, FREEZE_FROZEN, FREEZE_THAWING };

/* Instants are of its host's clock; 0: did not come. */
struct shim {
	uint64_t number;
	uint64_t serial; /* of all shims there ever were */
	enum wire_shim_state state;
	char template_[TEMPLATE_NAME_MAX], template_id[NODE_TEMPLATE_ID_MAX];
	bool claim_taken;
	struct wire_order claim;
	struct note note;
	uint64_t rules;              /* what it may reach, as in struct row */
	uint64_t change, next_rules; /* what was asked last */
	struct mono resumed;         /* since when it runs, or ran when it is frozen */
	int64_t ran_ns;              /* before that */
	struct mono end;             /* the time limit */
	struct mono lease;           /* it freezes then; 0: never */
	enum freeze freeze;
	struct mono froze; /* when it was asked to stop, unless it runs */
	struct mono ended; /* where metering ends */
	int64_t ended_ns;  /* of the world */
	enum cause cause;
	bool gone;     /* died without a record */
	bool saved;    /* ENDED by a pause, and its folder holds what it was; or a snapshot's */
	bool snapshot; /* it never lived: its folder holds a snapshot, by its claim's attempt */
	bool by_limit; /* and that was its time limit's doing */
	bool resumes;  /* was restored from such a folder */
	bool cold;     /* without its memory */
	uint64_t save; /* it is being saved, by this order; 0: it is not */
	uint64_t into; /* and to this folder, as a snapshot; 0: for a pause */
	uint64_t into_life;    /* of the agent that named it: another one knows no folder */
	uint64_t last_snapped; /* the snapshot that was made last */
	bool is_moved;         /* and the agent has put it into a folder of its own */
	enum wire_save_how how;
	uint32_t boot; /* of its host, in which it was started */
	bool told;     /* the agent knows of it: it was started by it, or adopted */
};

struct host_vms {
	struct shim *shims; /* folders that are there, in the order of their numbers' start */
	size_t n, cap;
};

void shims_open(struct world *world, uint32_t host);
void shims_close(struct world *world, uint32_t host);

/* Runs for a sandbox, or would if it were not frozen. */
bool shim_is_alive(const struct shim *shim);

/* Runs at this moment, as far as anybody could see. */
bool shim_is_running(const struct world *world, uint32_t host, const struct shim *shim);

/* Since when it would have run, had it never been frozen; 0: it did not begin. */
struct mono shims_resumed(const struct shim *shim);

/* Until when its running counts, at this moment. */
struct mono shims_metered(const struct world *world, uint32_t host, const struct shim *shim);

/* What the agent wants. */
void shims_start(struct world *world, uint32_t host, const struct node_effect *effect);
void shims_claim(struct world *world, uint32_t host, const struct node_effect *effect,
		 const struct note *note);

/* Of all that was claimed for attempts from this one on. */
void shims_lease(struct world *world, uint32_t host, struct mono until, uint64_t attempts_from);
void shims_deadline(struct world *world, uint32_t host, const struct node_effect *effect);
void shims_network(struct world *world, uint32_t host, const struct node_effect *effect,
		   const struct note *note);
void shims_meter(struct world *world, uint32_t host, uint64_t number);
void shims_save(struct world *world, uint32_t host, const struct node_effect *effect);
void shims_kill(struct world *world, uint32_t host, const struct node_effect *effect);
void shims_forget(struct world *world, uint32_t host, uint64_t number);

/* A folder that holds what is saved: a number that tells it from all others; 0: there is none. */
uint32_t shims_content(const struct world *world, uint32_t host, uint64_t folder);

/* Copied from another host: a folder more, with what is saved, for this attempt. */
void shims_copy(struct world *world, uint32_t host, uint64_t folder, uint64_t attempt);

/* The folder that holds what this attempt was; NULL: none does. */
const struct shim *shims_find_saved(const struct world *world, uint32_t host, uint64_t attempt);

/* A new agent looks for folders: each reports to agent_adopt in a while. Returns how many. */
uint32_t shims_adopt(struct world *world, uint32_t host);

/* The agent is no more: nobody hears. */
void shims_unhear(struct world *world, uint32_t host);
void shims_reboot(struct world *world, uint32_t host);

/* One microVM fails; with or without a record of it. */
void shims_fault(struct world *world, uint32_t host, bool gone);

#endif
