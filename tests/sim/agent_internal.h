/* What the files of the agent's shell offer to each other. */
#ifndef FLOTILLA_SIM_AGENT_INTERNAL_H
#define FLOTILLA_SIM_AGENT_INTERNAL_H

#include "proto/pump.h"
#include "tests/sim/agent.h"

enum { PAYLOADS_MAX = 256 };

struct agent {
	uint32_t host;
	bool is_up;      /* the program runs */
	bool has_core;   /* and its state is loaded */
	bool is_ready;   /* READY was stepped */
	uint64_t life;   /* of the present core */
	uint64_t greets; /* sessions asked for */
	int64_t booted_ns, skew_ns;
	uint32_t boots_n;
	struct journal journal;
	void *memory;
	size_t memory_n;
	struct node_limits limits;
	struct node_core *core;
	struct rounds rounds;
	struct pump_client pump;
	uint64_t session;           /* meaningful if pump.is_open */
	uint64_t timer, pump_timer; /* number of the newest timer planned */
	uint32_t adopting_n;
	uint64_t payloads[PAYLOADS_MAX];
	size_t payloads_n;
	uint64_t last_payload;
	uint32_t contents[TEMPLATES_N]; /* of each template, at present; 0: it is gone */
	uint32_t last_content;
	uint64_t epoch_heard; /* highest epoch of an answer that was stepped */
};

/* ---- agent.c ---- */

/* Steps the core and hands its effects on; nothing is committed yet. */
void agent_step_once(struct world *world, struct agent *agent, struct node_event *event);
void agent_boot_id(const struct agent *agent, char out[NODE_BOOT_ID_MAX]);

/* ---- agent_effects.c ---- */

void agent_carry_out(struct world *world, struct agent *agent, const struct node_effect *effect);
void agent_say_effect(struct world *world, const struct agent *agent,
		      const struct node_effect *effect);

/* ---- journal.c ---- */

bool journal_takes(const void *effect);
void journal_write(struct world *world, struct agent *agent, const struct node_effect *effect);

/* Steps everything that is journaled. */
void journal_load(struct world *world, struct agent *agent);
void journal_free(struct journal *journal);

/* ---- agent_link.c ---- */

/* Opens a session. */
void agent_greet(struct world *world, struct agent *agent);

/* answer: the one that PUMP_CLIENT_ANSWER is about, or NULL. */
void agent_pump(struct world *world, struct agent *agent, struct pump_client_event *event,
		const struct wire_answer *answer);

#endif
