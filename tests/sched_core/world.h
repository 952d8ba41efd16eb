/*
 * A world around the scheduler's core: a store that keeps what it saves, nodes that report what
 * they are told to, tenants that wait for replies, and a clock that only moves when asked.  After
 * each step everything is counted again (core_check).
 */
#ifndef FLOTILLA_TESTS_SCHED_CORE_WORLD_H
#define FLOTILLA_TESTS_SCHED_CORE_WORLD_H

#include "scheduler/core/core.h"

enum { WORLD_NODES = 8, WORLD_TENANTS = 4, WORLD_TEMPLATES = 8, WORLD_SANDBOXES = 80 };
enum { WORLD_REQUESTS = 4096, WORLD_POSTED = 65536 };

struct world_node {
	struct id id;
	struct wire_poll poll; /* what it reports */
	struct wire_template templates[WORLD_TEMPLATES];
	uint64_t seq; /* of its next record */
	uint64_t acked;
	bool resync;
};

struct world_reply {
	uint32_t answers_n;
	enum refusal refusal;
	bool found;
	struct core_sandbox sandbox;
};

/* What becomes of the scheduler in its next step. */
enum world_crash {
	WORLD_NO_CRASH,
	WORLD_CRASH_BEFORE_COMMIT, /* nothing of the step is stored, nothing is told */
	WORLD_CRASH_AFTER_COMMIT,  /* it is stored, but nobody is told */
};

struct world {
	enum world_crash crash;
	struct core_limits limits;
	void *memory;
	struct core *core;
	uint64_t epoch;
	bool stands_by;        /* one of several: it boots as a standby */
	uint32_t admitted_n;   /* times that ADMITTING came */
	uint64_t epoch_over_n; /* times that EPOCH_OVER came */
	uint32_t adopted_n;
	struct mono now;
	struct wall wall;
	struct core_effects effects; /* of the last step */
	struct world_node nodes[WORLD_NODES];
	uint32_t node_n;
	struct world_reply replies[WORLD_REQUESTS]; /* by request */
	uint64_t request;                           /* the last one */
	bool woken[WORLD_NODES];

	/* the store */
	struct core_tenant tenants[WORLD_TENANTS];
	struct core_node node_rows[WORLD_NODES];
	struct core_template templates[WORLD_TEMPLATES];
	struct core_sandbox *sandboxes; /* every one ever */
	uint32_t tenant_n, node_row_n, template_n, sandbox_n;
	struct {
		struct id node;
		uint64_t seq, ms;
	} posted[WORLD_POSTED];
	uint32_t posted_n;
};

/* Booted and empty. */
struct world *world_open(void);
void world_close(struct world *world);

/* All but the store is forgotten: another leader boots from it. Unanswered requests stay so. */
void world_restart(struct world *world);

/* The same, but as one of several, which does not lead. */
void world_stand_by(struct world *world);

/* It leads from now on, with the next epoch. */
void world_lead(struct world *world);

/* Steps; event's now and wall are filled in. */
void world_step(struct world *world, struct core_event *event);

/* Time passes, with a TICK whenever one is due. */
void world_pass(struct world *world, int64_t ms);

void world_tenant(struct world *world, const char *id, uint32_t concurrent_max);
void world_tenant_set(struct world *world, const struct core_tenant *row);

/* Enrols a node; it reports nothing yet. */
struct world_node *world_node(struct world *world, const char *id, uint32_t vcpus, uint64_t mem_mib,
			      uint64_t disk_mib, uint32_t sandboxes);

/* The node has (or has now) this template, in this shape. */
void world_offer(struct world_node *node, const char *name, uint32_t vcpus, uint32_t mem_mib,
		 uint32_t disk_mib, uint32_t warm_n);
void world_report(struct world *world, struct world_node *node);

/* The node has journaled the leader's epoch, owes no answer, and reports so with its log's end. */
void world_join(struct world *world, struct world_node *node);
bool world_is_joined(const struct world *world, const struct world_node *node);

/* An operator declares the node lost, if that may be; what was decided, or 0. */
uint64_t world_lose(struct world *world, struct world_node *node);
void world_lost(struct world *world, struct world_node *node, uint64_t lost_below);

struct world_node *world_find_node(struct world *world, const struct id *id);
void world_node_event(struct world *world, struct world_node *node, enum core_event_kind kind);

/* A fleet of one tenant ten_a (cap 20) and n nodes nod_0... of 8 vCPUs, 8 GiB, 80 GiB and 8
 * sandboxes, that have reported a template "base" of 1 vCPU, 512 MiB and 1 GiB, 2 of them warm. */
void world_fleet(struct world *world, uint32_t n);

/* These step and return the number of the request; see world_reply. */
uint64_t world_create(struct world *world, const char *sandbox, const char *tenant,
		      const char *template_, uint32_t timeout_s);
uint64_t world_kill(struct world *world, const char *sandbox, const char *tenant);
uint64_t world_timeout(struct world *world, enum core_event_kind kind, const char *sandbox,
		       const char *tenant, uint32_t timeout_s);

uint64_t world_resume_cold(struct world *world, const char *sandbox, const char *tenant,
			   uint32_t timeout_s);

uint64_t world_pause(struct world *world, const char *sandbox, const char *tenant);

/* The answer to a request; NULL: not yet. It was answered at most once. */
const struct world_reply *world_reply(const struct world *world, uint64_t request);

/* The node polls; the first order of the answer, or NULL. The others are in effects. */
const struct wire_order *world_poll(struct world *world, struct world_node *node);

/* The node's next record, about this sandbox's attempt; it was not sent yet. */
struct wire_record world_record(struct world *world, struct world_node *node,
				enum wire_record_kind kind, const char *sandbox, uint64_t attempt);
void world_send(struct world *world, struct world_node *node, const struct wire_record *record);

/* A started record of ten_a, as some leader's claim of "base" for 60 s left it in the log. */
struct wire_record world_started(struct world *world, struct world_node *node, const char *sandbox,
				 uint64_t attempt);

/* world_record and world_send in one. */
void world_say(struct world *world, struct world_node *node, enum wire_record_kind kind,
	       const char *sandbox, uint64_t attempt);

/* As in the core; NULL: ended or never there. */
const struct core_sandbox *world_find(const struct world *world, const char *sandbox);

/* As in the store; NULL: never saved. */
const struct core_sandbox *world_stored(const struct world *world, const char *sandbox);

/* Creates and starts one; its attempt. */
uint64_t world_run(struct world *world, const char *sandbox, uint32_t timeout_s);

/* Sandboxes that hold room on the node; and that hold quota of ten_a. */
uint64_t world_used(const struct world *world, const struct world_node *node);
uint32_t world_held(const struct world *world);

/* How many effects of this kind the last step had. */
uint32_t world_effects(const struct world *world, enum core_effect_kind kind);

struct id world_id(const char *text);

#endif
