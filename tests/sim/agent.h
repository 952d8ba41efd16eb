/* The shell of the node core as the simulator has it: clock, journal, rounds, pump, shims. */
#ifndef FLOTILLA_SIM_AGENT_H
#define FLOTILLA_SIM_AGENT_H

#include "node-agent/core/core.h"
#include "tests/sim/clock.h"
#include "tests/sim/net.h"
#include "tests/sim/rounds.h"
#include "tests/sim/shims.h"

/* What is on the host's disk. */
struct journal {
	bool has_meta;
	struct node_meta meta;
	uint64_t *attempts; /* in the order of their answers */
	size_t attempts_n, attempts_cap;
	struct node_sandbox *sandboxes;
	size_t sandboxes_n, sandboxes_cap;
	struct node_saved *saved;
	size_t saved_n, saved_cap;
	struct wire_record *records; /* record seq is at seq - 1 */
	bool *trimmed;               /* and whether it is there no more */
	size_t records_n, records_cap;
};

void agent_open(struct world *world, uint32_t host);
void agent_close(struct world *world, uint32_t host);
void agent_receive(struct world *world, const struct message *message);

/* Steps the core, if there is one. */
void agent_step(struct world *world, uint32_t host, struct node_event *event);

/* From a shim: what was asked for by shims_adopt. */
void agent_adopt(struct world *world, uint32_t host, struct shim *shim);

/* Another one for each agent that lives on this host, one after the other. */
uint64_t agent_life(const struct world *world, uint32_t host);

/* The host's clock, and what it says now. */
const struct clock *agent_clock(const struct world *world, uint32_t host);
struct mono agent_mono(const struct world *world, uint32_t host);

/* Its wall clock is off by this from now on. */
void agent_set_skew(struct world *world, uint32_t host, int64_t skew_ns);

/* The agent dies, and comes back in a while. */
void agent_crash(struct world *world, uint32_t host);

/* The agent is stopped in good order, and says so before. */
void agent_leave(struct world *world, uint32_t host);

/* The host's boot ends, and with it every microVM. */
void agent_reboot(struct world *world, uint32_t host);
void agent_disk_fails(struct world *world, uint32_t host, bool fails);

const struct journal *agent_journal(const struct world *world, uint32_t host);
const struct node_core *agent_core(const struct world *world, uint32_t host); /* NULL: is down */

/* One of the host's templates gets a new content, or is gone; or all are there again. */
void agent_change_template(struct world *world, uint32_t host, bool gone);
void agent_mend_templates(struct world *world, uint32_t host);

/* All of them are gone; whether none is. */
void agent_lose_templates(struct world *world, uint32_t host);
bool agent_has_templates(const struct world *world, uint32_t host);

/* What the host's operator declares at present. */
const struct wire_room *agent_capacity(const struct world *world, uint32_t host);

/* Payloads that were given to the core and not dropped yet. */
size_t agent_payloads_n(const struct world *world, uint32_t host);

/* How often the host was booted again. */
uint32_t agent_boot(const struct world *world, uint32_t host);
struct id agent_id(uint32_t host);

#endif
