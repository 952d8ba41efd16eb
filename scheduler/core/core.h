/*
 * The scheduler's decisions, as one pure step function: no clock, no I/O, no allocation, no log.
 *
 * The shell turns requests, polls and timers into events and carries the effects out.  It must
 *
 *   1. keep the order: effects of one step, and steps of one batch, go through one queue;
 *   2. write all durable effects (effects.def) of a batch in one transaction, and carry out the
 *      others only when that transaction and all earlier ones are committed;
 *   3. when a commit fails, carry out nothing of it, tell nobody anything, and rebuild: core_init,
 *      LOAD_*, BOOT with a new epoch.  Effects are hints and state is truth: what was not sent is
 *      derived again from the rows.
 *
 * A step cannot fail.  What a caller may not have is refused with a name of proto/refusals.def.
 * Texts and pointers in an event are borrowed for the call; everything kept is copied.
 */
#ifndef FLOTILLA_SCHEDULER_CORE_H
#define FLOTILLA_SCHEDULER_CORE_H

#include "common/base/ids.h"
#include "common/base/units.h"
#include "proto/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CORE_EFFECTS_MAX = 128,        /* most effects of one step; what is left stays due */
	CORE_NODE_TEMPLATES_MAX = 256, /* most templates of one node, as in wire.def */
	CORE_PLAN_MAX = 33,
	CORE_NODE_NAME_MAX = 64,     /* storage, NUL included */
	CORE_TRIES_MAX = 3,          /* nodes that are asked for one sandbox */
	CORE_ATTEMPT_MS = 10000,     /* an unanswered attempt is given up after this */
	CORE_KILL_REPLY_MS = 5000,   /* a kill is answered after this even if the node is not */
	CORE_PAUSE_REPLY_MS = 60000, /* the same of a pause: a large memory is written to disk */
	CORE_COPY_WAIT_MS = 45000,   /* a create waits for its snapshot's copy; clients: 60 s */
	CORE_SNAPSHOTS_MAX = 100,    /* of one tenant; each takes its nodes' disk */
	CORE_RESEND_MS = 2000,       /* an unanswered order is given again after this */
	CORE_TRANSFERS_MAX = 32,     /* copies of templates under way in the fleet */
	CORE_TRANSFERS_KEPT = 16,    /* that failed, for people to see */
	CORE_TRANSFER_MS = 60000,    /* one of which nothing moved for this long is given up */
	CORE_WANT_MS = 60000,        /* a create that found no room is remembered for this long */
	CORE_SILENT_MS = 10000,      /* nothing new is placed on a node unheard for this long */
	/* A lease is over for sure after itself, this, and a fraction of it for slow clocks. */
	CORE_LEASE_MARGIN_MS = 2000,
	CORE_LEASE_DRIFT = 50, /* a fiftieth */
};

/* How many of each the core can hold.  A create beyond sandboxes is refused for capacity; an event
 * that adds one of the others beyond its limit is ignored (core_counts tells). */
struct core_limits {
	uint32_t tenants, nodes, templates, sandboxes;
	/* A node freezes what it runs this long after a leader's last answer; 0: never. */
	uint32_t lease_ms;
	/* Copies of templates between nodes at a time, up to CORE_TRANSFERS_MAX; 0: none is made.
	 */
	uint32_t transfers_max;
	/* Templates that shall be on every node: names with commas between them, `*` for all. NULL:
	 * none.  Borrowed for as long as the core lives. */
	const char *everywhere;
};

/* ---- rows: what the store holds -------------------------------------------------------------- */

struct core_tenant {
	struct id id;
	char plan[CORE_PLAN_MAX]; /* goes with each claim, so that usage can be billed by itself */
	uint32_t price_version;   /* likewise */
	uint32_t concurrent_max;  /* sandboxes at once */
	uint32_t vcpus_max;       /* of all its sandboxes together; UINT32_MAX: no cap */
	uint64_t mem_mib_max;     /* of all its sandboxes together; UINT64_MAX: no cap */
	uint32_t session_max_s;   /* longest life of a sandbox */
	bool credit_exhausted;    /* refuse new sandboxes until it is false */
};

struct core_node {
	struct id id;
	char name[CORE_NODE_NAME_MAX];
	bool cordoned;             /* nothing new is placed there */
	struct wire_room capacity; /* as last reported; zeros: never reported */
	uint64_t next_seq;   /* sequence of the journal record that is expected next, from 1 */
	uint64_t lost_below; /* declared lost: its attempts below this are given up; 0: never */
};

struct core_template {
	char name[TEMPLATE_NAME_MAX];
	uint32_t vcpus, mem_mib, disk_mib; /* of each sandbox */
};

enum sandbox_state {
#define STATE(name, text) SANDBOX_##name,
#include "scheduler/core/sandbox_states.def"
	SANDBOX_STATE_N,
};

struct core_sandbox {
	struct id id, tenant, node; /* node: of the present or last attempt */
	char template_[TEMPLATE_NAME_MAX];
	char plan[CORE_PLAN_MAX]; /* of the tenant, when it was admitted; so too price_version */
	uint32_t price_version;
	uint32_t vcpus, mem_mib, disk_mib;
	uint32_t timeout_s; /* as asked for at create */
	enum sandbox_state state;
	enum refusal refusal; /* why its create was refused after it was admitted, or NONE */
	enum cause cause; /* ENDING: why it shall end; ENDED: why it did, NONE if it never ran */
	uint64_t attempt; /* epoch << 32 | counter: unique for ever; PAUSED: of the last life */
	uint32_t incarnation; /* lives begun, with the one that RESUMING tries; at least 1 */
	/* What the attempt shall resume; 0: it began from the template, or is known to run. */
	uint64_t saved_attempt;
	uint64_t from_attempt; /* of the snapshot that it began from; 0: from its template */
	/* PAUSING: number of the order.  PAUSED: attempt of the copy that its node shall hand over
	 * to; 0: none. */
	uint64_t save;
	enum wire_save_how how;      /* PAUSING: what to save; PAUSED: what is saved */
	uint64_t saved_mib;          /* PAUSED, KEPT: on its node's disk */
	enum wire_on_limit on_limit; /* what its time limit does; 0: it ends */
	uint32_t tries;              /* attempts opened so far, 1..CORE_TRIES_MAX */
	uint64_t deadline_version;   /* 0 at create, one more with each change of end_at */
	uint64_t deadline_known;     /* the newest that the node has confirmed */
	struct wall created_at;      /* admitted */
	/* As the node says of its first life, or when the snapshot was made; 0: not known that it
	 * did, or was. */
	struct wall started_at;
	/* It is a snapshot of this sandbox, or a copy on another node: of this snapshot, or, if it
	 * holds (how) what a pause saves, of this sandbox, to be moved there; empty: it is none. */
	struct id source;
	uint64_t source_attempt; /* SNAPPING: by which that runs, or is saved where it comes from */
	/* A snapshot for creates that are under way: whoever leads after us drops it. */
	bool transient;
	struct wall
		life_at;    /* when this life was asked for: the longest session counts from here */
	struct wall end_at; /* the time limit as told to the tenant */
	struct wall ended_at; /* when ENDED */
};

/* ---- events ---------------------------------------------------------------------------------- */

enum core_event_kind {
#define EVENT(name, member, meaning) CORE_EVENT_##name,
#include "scheduler/core/events.def"
#undef EVENT
	CORE_EVENT_N,
};

struct core_event {
	enum core_event_kind kind;
	struct mono now;  /* never before that of an earlier event since BOOT */
	struct wall wall; /* the same moment, for rows */
	union {
		struct core_tenant tenant;
		/* NODE_SET: capacity and next_seq are not looked at; a lost_below above the one
		 * that is known is taken as NODE_LOST would, any other is not looked at. */
		struct core_node node;
		struct core_template template_;
		struct core_sandbox sandbox;
		struct id node_id;
		struct {
			/* 1..UINT32_MAX.  Alone: greater than every earlier leader's.  Standby:
			 * what is known of the leader's, at least 1. */
			uint64_t epoch;
			bool standby;
		} boot;
		struct {
			uint64_t epoch; /* as when alone; not below the one of BOOT */
		} lead;
		struct {
			struct id node;
			const struct wire_poll *poll; /* borrowed; its records are not looked at */
		} report;
		struct {
			struct id node;
			const struct wire_record *record; /* borrowed */
			/* From the note of a started record, which the core does not read; 0: as
			 * the record lets guess. */
			struct wall created_at;
			uint32_t timeout_s;
		} record;
		struct {
			struct id node;
			/* From core_lost_below: its attempts below this are given up. With several
			 * schedulers it is kept in the fleet's decisions, the same on every replica
			 * for ever, and what was decided is carried out whatever came since; alone
			 * it is ignored when core_lost_below would say 0 now. */
			uint64_t lost_below;
		} lost;
		struct {
			uint64_t request;  /* comes back in REPLY; not 0 */
			struct id sandbox; /* a fresh id */
			struct id tenant;
			char template_[TEMPLATE_NAME_MAX];
			struct id snapshot; /* to begin from, instead of the template; or empty */
			uint32_t timeout_s;
			enum wire_on_limit on_limit; /* as in struct core_sandbox */
		} create;
		struct {
			/* 0: nobody waits (an operator's drain, a credit run out); taken while
			 * TAKING_OVER too, and by a standby left to the leader. */
			uint64_t request;
			struct id sandbox;
			struct id tenant; /* empty: an operator, for any tenant's */
			enum cause cause;
		} kill;
		struct {
			uint64_t request;
			struct id sandbox;
			struct id tenant; /* as in kill */
			uint32_t timeout_s;
			bool cold; /* RESUME: it boots anew on its files, whatever is saved */
		} timeout;
		struct {
			uint64_t request;
			struct id sandbox;
			struct id tenant; /* as in kill */
			enum wire_save_how how;
		} pause;
		struct {
			uint64_t request;
			struct id snapshot; /* a fresh id */
			struct id sandbox;
			struct id tenant; /* as in kill */
			bool transient;   /* as in struct core_sandbox */
		} snapshot;
	};
};

/* ---- effects --------------------------------------------------------------------------------- */

enum core_effect_kind {
#define EFFECT(name, member, durable, meaning) CORE_EFFECT_##name,
#include "scheduler/core/effects.def"
#undef EFFECT
	CORE_EFFECT_N,
};

struct core_effect {
	enum core_effect_kind kind;
	union {
		struct core_node node;
		struct core_template template_;
		struct core_sandbox sandbox;
		struct {
			struct id node;
			struct wire_record record;
		} usage;
		struct {
			uint64_t request;
			enum refusal refusal; /* REFUSAL_NONE: granted */
			bool found;           /* sandbox below is meaningful */
			struct core_sandbox sandbox;
		} reply;
		struct id node_id;
		struct {
			struct id node;
			struct wire_order order; /* the shell adds init, ticket and gateway */
		} order;
		struct {
			struct id node;
			uint64_t next_seq;
			/* A record was not taken: it came from beyond next_seq, or is of a sandbox
			 * whose tenant is not known yet or for which there is no slot. */
			bool resync;
		} ack;
		struct {
			uint64_t seen; /* by a node: newer than ours */
		} epoch_over;
	};
};

struct core_effects {
	uint32_t n;
	struct core_effect items[CORE_EFFECTS_MAX];
};

/* ---- the machine ----------------------------------------------------------------------------- */

struct core;

/* Bytes that core_init wants; untouched parts of it cost nothing when they come from mmap. */
size_t core_size(const struct core_limits *limits);

/* memory: core_size() bytes, zeroed, aligned to 64, owned by the caller and used until he drops it
 * (there is nothing to close). */
struct core *core_init(void *memory, const struct core_limits *limits);

/* Takes one event; out_effects is overwritten.  Cannot fail. */
void core_step(struct core *core, const struct core_event *event, struct core_effects *out_effects);

/* When TICK is wanted; false: not before another event. May be in the past: then TICK at once. */
bool core_next_deadline(const struct core *core, struct mono *out_at);

enum core_role {
	CORE_ALONE,       /* the only scheduler */
	CORE_STANDBY,     /* applies the nodes' logs; orders, times and answers nothing */
	CORE_TAKING_OVER, /* leads, and hears every node before it admits */
	CORE_LEADING,     /* leads and admits */
};

enum core_role core_role(const struct core *core);

/* ---- questions: change nothing --------------------------------------------------------------- */

/* Sandboxes, and snapshots, that have not ended. Rows and pointers are good until the next step.
 * NULL: no such. */
const struct core_sandbox *core_sandbox_find(const struct core *core, const struct id *id);

/* All of them in the order of their slots: start with *cursor 0, NULL at the end. */
const struct core_sandbox *core_sandbox_next(const struct core *core, uint32_t *cursor);

struct core_node_view {
	struct core_node row;
	struct wire_room used; /* by sandboxes that have not ended */
	uint32_t orders_waiting_n, orders_sent_n;
	struct mono heard_at; /* last poll or record */
	bool awake;           /* heard since boot, and not silent */
	bool joined;      /* its log is caught up under our epoch; only such ones are placed upon */
	bool lease_ended; /* what it runs is frozen for sure; a standby cannot know */
	bool lost;        /* declared so, and not heard since boot to have ended what it ran */
	bool leaving;     /* its agent stops: nothing new there until it polls again */
	char trouble[129];   /* why it can start nothing new, for people; empty: nothing is wrong */
	uint64_t lost_below; /* what every answer to it carries */
	uint64_t gaps_n;     /* records that came beyond next_seq */
	uint32_t template_n;
	struct {
		const struct core_template *template_;
		uint32_t warm_n; /* as believed now */
		bool current;    /* of the template's present shape, so that it can be used */
	} templates[CORE_NODE_TEMPLATES_MAX];
};

/*
 * What NODE_LOST shall carry, if the node may be declared lost: greater than every attempt there
 * was.  0: it may not, since it is awake, or its lease is not over (without leases: it is not
 * silent for CORE_SILENT_MS, counted from when we began to lead), or we do not lead.  As of the
 * last step, which comes in time if ticks do.
 */
uint64_t core_lost_below(const struct core *core, const struct id *node);

bool core_node_find(const struct core *core, const struct id *id, struct core_node_view *out_view);
bool core_node_next(const struct core *core, uint32_t *cursor, struct core_node_view *out_view);

/* Copies of templates, and of what is moved, that are under way. */
struct core_transfer_view {
	uint64_t number;
	const char *template_; /* good until the next step */
	struct id sandbox;     /* it is not the template, but this one that is moved; or empty */
	struct id from, to;
	bool offered; /* the source can be fetched from; bytes is meaningful only then */
	uint64_t bytes, done_bytes;
	struct mono began_at;
	enum refusal refusal; /* of one that failed: why, and when */
	struct mono ended_at;
};

bool core_transfer_next(const struct core *core, uint32_t *cursor,
			struct core_transfer_view *out_view);

/* The last ones that came to nothing, up to CORE_TRANSFERS_KEPT, the newest first. */
bool core_transfer_failed_next(const struct core *core, uint32_t *cursor,
			       struct core_transfer_view *out_view);

struct core_tenant_view {
	struct core_tenant row;
	uint32_t concurrent;
	uint64_t vcpus, mem_mib;
};

bool core_tenant_find(const struct core *core, const struct id *id,
		      struct core_tenant_view *out_view);

const struct core_template *core_template_find(const struct core *core, const char *name);
const struct core_template *core_template_next(const struct core *core, uint32_t *cursor);

struct core_counts {
	uint32_t tenants, nodes, nodes_awake, nodes_joined, nodes_lost, templates, sandboxes;
	uint32_t snapshots; /* kept, or being made; counted among the sandboxes */
	uint32_t running, placing, ending, paused; /* pausing is running, resuming placing */
	uint32_t transfers;                        /* under way */
	uint64_t transfers_done, transfers_failed; /* since BOOT */
	uint64_t ignored; /* events that could not be taken: unknown ids, beyond a limit */
};

void core_count(const struct core *core, struct core_counts *out_counts);

/* Why a sandbox of this template is, or is not, placed: every node counted once, under the first
 * reason that keeps it out.  Looks at every node (4 ms for 100,000): for messages to people.
 */
struct core_explanation {
#define REASON(name, text) uint32_t name##_n;
#include "scheduler/core/place_reasons.def"
#undef REASON
};

void core_explain(const struct core *core, const char *template_,
		  struct core_explanation *out_explanation);

const char *core_event_name(enum core_event_kind kind);
const char *core_effect_name(enum core_effect_kind kind);
bool core_effect_is_durable(enum core_effect_kind kind);
const char *sandbox_state_name(enum sandbox_state state);

/* Every invariant over the whole state, by counting again; aborts when one is broken. For tests. */
void core_check(const struct core *core);

#endif
