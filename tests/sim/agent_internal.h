/* What the files of the agent's shell offer to each other. */
#ifndef FLOTILLA_SIM_AGENT_INTERNAL_H
#define FLOTILLA_SIM_AGENT_INTERNAL_H

#include "proto/pump.h"
#include "tests/sim/agent.h"
#include "tests/sim/clock.h"

enum { PAYLOADS_MAX = 256, CARRY_JOBS_MAX = 8 };

/* What is kept of a claim for the core, until it says that it may go. */
struct payload {
	uint64_t number;
	struct note note;
};

/* A template on its way, or what is saved, from here or to here. */
struct carry_job {
	uint64_t number;             /* 0: an empty place */
	uint64_t folder;             /* of what is saved; 0: it is a template */
	uint32_t template_, content; /* that it is to be */
	char id[NODE_TEMPLATE_ID_MAX];
	bool serves;                  /* it can be fetched from here */
	int64_t asked_ns;             /* and was, last */
	uint32_t steps, stalls, done; /* to here */
	uint32_t arrived;             /* what there is of it is of this content */
};

/* To one scheduler. */
struct link {
	struct pump_client pump;
	uint64_t greets;  /* sessions asked for */
	uint64_t session; /* meaningful if pump.is_open */
	uint64_t timer;
};

struct agent {
	uint32_t host;
	bool is_up;    /* the program runs */
	bool has_core; /* and its state is loaded */
	bool is_ready; /* READY was stepped */
	bool is_leaving;
	/* There is no core, because the journal cannot be written; but it is known, and hears of
	 * leases, as node-agent/shell/trouble.h has it. */
	bool is_troubled;
	struct wire_poll last; /* what it said of itself before */
	struct wire_template last_templates[TEMPLATES_N];
	uint64_t life; /* of the present core */
	struct clock clock;
	uint32_t boots_n;
	struct journal journal;
	void *memory;
	size_t memory_n;
	struct node_limits limits;
	struct node_core *core;
	struct rounds rounds;
	struct link links[REPLICAS_MAX];
	uint64_t timer; /* number of the newest planned */
	uint32_t adopting_n;
	struct payload payloads[PAYLOADS_MAX];
	size_t payloads_n;
	uint64_t last_payload;
	uint32_t contents[TEMPLATES_N]; /* of each template, at present; 0: it is gone */
	uint32_t last_content;
	struct carry_job jobs[CARRY_JOBS_MAX];
	uint64_t epoch_heard; /* highest epoch of an answer that was stepped */
	uint64_t epoch_said;  /* that polls may say: it is journaled */
};

/* ---- agent.c ---- */

/* Steps the core and hands its effects on; nothing is committed yet. */
void agent_step_once(struct world *world, struct agent *agent, struct node_event *event);
void agent_boot_id(const struct agent *agent, char out[NODE_BOOT_ID_MAX]);

/* There is somebody who speaks with schedulers. */
bool agent_is_there(const struct agent *agent);

/* Tells the core what is on the disk of this template. */
void agent_set_template(struct world *world, struct agent *agent, uint32_t i);

/* ---- carries.c ---- */

void carries_send(struct world *world, struct agent *agent, const struct node_effect *effect);
void carries_fetch(struct world *world, struct agent *agent, const struct node_effect *effect);
void carries_install(struct world *world, struct agent *agent, const struct node_effect *effect);
void carries_drop(struct agent *agent, const struct node_effect *effect);
void carries_forget(struct agent *agent);

/* ---- agent_effects.c ---- */

void agent_carry_out(struct world *world, struct agent *agent, const struct node_effect *effect);
void agent_say_effect(struct world *world, const struct agent *agent,
		      const struct node_effect *effect);

/* Keeps a payload, and names it. */
uint64_t agent_keep_payload(struct agent *agent, const struct wire_bytes *note);
const struct note *agent_note(struct world *world, const struct agent *agent, uint64_t payload);

/* A record gets the note that it is of, before it waits for its commit. */
void agent_add_note(struct world *world, struct agent *agent, struct node_effect *effect);

/* ---- journal.c ---- */

bool journal_takes(const void *effect);
void journal_write(struct world *world, struct agent *agent, const struct node_effect *effect);

/* Steps everything that is journaled. */
void journal_load(struct world *world, struct agent *agent);
void journal_free(struct journal *journal);

/* ---- agent_link.c ---- */

/* Opens a session with one scheduler. */
void agent_greet(struct world *world, struct agent *agent, uint32_t replica);

/* answer: the one that PUMP_CLIENT_ANSWER is about, or NULL. */
struct answered {
	const struct wire_answer *answer;
	int64_t polled_ns; /* in truth */
};

void agent_pump(struct world *world, struct agent *agent, uint32_t replica,
		struct pump_client_event *event, const struct answered *answered);

/* The same for each of them. */
void agent_pump_all(struct world *world, struct agent *agent,
		    const struct pump_client_event *event);

/* ---- agent_trouble.c ---- */

/* Whether an answer is of an epoch that is over: then it must change nothing. */
bool agent_is_stale(const struct agent *agent, const struct wire_answer *answer);

/* What it says of itself is kept for when there is no core; then it is said again. */
void agent_remember_report(struct agent *agent);
void agent_report_without_core(struct agent *agent, struct wire_poll *poll);
void agent_keep_leases(struct world *world, struct agent *agent, const struct answered *answered,
		       struct mono sent_at);
void agent_go_on_without_core(struct world *world, struct agent *agent);

#endif
