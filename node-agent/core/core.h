/*
 * A node's decisions, as one pure step function: no clock, no I/O, no allocation, no log.
 *
 * The shell turns answers of the scheduler, words of the shims and timers into events and carries
 * the effects out.  It must
 *
 *   1. keep the order: effects of one step, and steps of one batch, go through one queue;
 *   2. write all DURABLE effects (effects.def) of a batch in one transaction (the effects of one
 *      step are never in two), and carry out the AFTER ones only when that transaction and all
 * earlier ones are committed.  EARLY effects may be carried out at once: resuming a microVM
 * overlaps with the commits before it, and what it answers comes in as an event, hence is told only
 * after a later commit;
 *   3. when a commit fails, carry out nothing of that batch or a later one, tell nobody anything,
 *      and start over: node_core_init, LOAD_*, BOOT, ADOPTED, READY.  Effects are hints; the
 *      journal and the shims are the truth.
 *
 * A microVM has a number, given by VM_START, that its folder is named after.  A step cannot fail.
 * Texts and pointers in an event are borrowed for the call; everything kept is copied.
 *
 * What the core does not look at of a claim (init, ticket, gateway, note) it never holds: the shell
 * keeps that under a number, the payload, until PAYLOAD_DROP, and effects say where it goes:
 *
 *   VM_NETWORK      rules (egress) to the shim;
 *   VM_CLAIM        init, ticket and gateway to the shim, and the note into what the shim remembers
 *                   for ADOPTED, beside the order;
 *   JOURNAL_RECORD  the note of payload note_of into record.note, before it is encoded.
 *
 * PAYLOAD_DROP is an AFTER effect of the same step as the record or of a later one, so the
 * payload's bytes stay until the record is committed: record.note may simply point at them, and it
 * is set where effects are gathered, by the thread that keeps the payloads.  A note that comes back
 * from a shim with ADOPTED is kept as a payload again, before the event is stepped.
 */
#ifndef FLOTILLA_NODE_CORE_H
#define FLOTILLA_NODE_CORE_H

#include "common/base/ids.h"
#include "common/base/units.h"
#include "proto/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	NODE_EFFECTS_MAX = 64, /* most effects of one step; what is left stays due */
	NODE_BOOT_ID_MAX = 37, /* storage, NUL included, as in wire.def */
	NODE_PLAN_MAX = 33,
	NODE_TEMPLATES_MAX = 256, /* as many as a poll takes */
	NODE_TEMPLATE_ID_MAX = 64,
	NODE_DIGEST_N = 32,
	NODE_TRANSFERS_MAX = 16, /* as many as a poll takes */
	NODE_REPLICAS_MAX = 8,
	NODE_CLAIM_TRIES_MAX = 2,  /* microVMs that are tried for one claim */
	NODE_REFILL_PAUSE_MS = 25, /* after a claim: its tenant's first request comes now */
};

struct node_limits {
	struct wire_room capacity; /* what sandboxes may hold together; declared by the operator */
	uint32_t vms_max;          /* microVMs at once: running, warm, starting and ending */
	uint32_t saved_max;        /* paused sandboxes at once; 0: none can be paused */
	/* Answered attempts that are remembered; more than 2 * (vms_max + saved_max). */
	uint32_t attempts_max;
	uint32_t pool_floor;   /* warm microVMs of each template at the least, room permitting */
	uint32_t pool_ceiling; /* and at the most */
	uint32_t restores_max; /* restores at once to refill the pool */
	uint32_t
		claim_restores_max; /* restores at once, of any kind, while a claim waits for one */
	uint32_t demand_ms;  /* how far back the pool looks for claims to come; 0: stay at the floor
			      */
	uint32_t tick_ms;    /* how often a running sandbox's usage is journaled */
	uint64_t keep_ms;    /* acknowledged records are kept this long */
	uint32_t replicas_n; /* schedulers that take the log: 1..NODE_REPLICAS_MAX; 0 is 1 */
};

/* ---- rows: what the journal holds ------------------------------------------------------------ */

struct node_meta {
	uint64_t next_seq;      /* LOAD only: one past the newest record ever written; at least 1 */
	uint64_t acked_seq;     /* records below are durable at every scheduler; may lag behind */
	uint64_t epoch;         /* highest ever seen in a leader's answer */
	uint64_t attempt_floor; /* an unknown attempt below it is refused (see claim.c) */
};

struct node_sandbox {
	struct id id, tenant;
	uint64_t attempt; /* the key */
	uint32_t incarnation;
	char plan[NODE_PLAN_MAX];
	uint32_t price_version;
	char template_[TEMPLATE_NAME_MAX];
	uint32_t vcpus, mem_mib, disk_mib;
	uint64_t vm;                    /* number of its microVM */
	char boot_id[NODE_BOOT_ID_MAX]; /* in which the two mono below mean something */
	/* Since when it would have run, had it never been frozen: moved on by each thaw, so that
	 * running time is what passed since then, and so are positions. */
	struct mono resumed_mono;
	struct wall resumed_wall;
	uint64_t metered_ms; /* running time that usage records already tell */
	uint64_t deadline_version;
	struct mono end_mono;
	struct wall end_wall;
	uint64_t save_answered; /* orders to pause it up to this number came to nothing */
};

/* A paused sandbox, or a snapshot. */
struct node_saved {
	struct id id, tenant;
	uint64_t attempt; /* the key: by which it ran */
	uint32_t incarnation;
	char template_[TEMPLATE_NAME_MAX];
	uint32_t vcpus, mem_mib, disk_mib; /* of the sandbox when it runs */
	/* SNAPSHOT: nothing ran by this attempt; it was made of what ran on, into a folder of its
	 * own.  Then claims do not use it up, and there may be several at once. */
	enum wire_save_how how;
	uint64_t mib; /* on disk */
	uint64_t vm;  /* number of the microVM that it was, whose folder holds it */
};

/* ---- events ---------------------------------------------------------------------------------- */

enum node_event_kind {
#define EVENT(name, member, meaning) NODE_EVENT_##name,
#include "node-agent/core/events.def"
#undef EVENT
	NODE_EVENT_N,
};

struct node_event {
	enum node_event_kind kind;
	struct mono now;  /* never before that of an earlier event since BOOT */
	struct wall wall; /* the same moment */
	union {
		struct node_meta meta;
		uint64_t attempt;
		struct node_sandbox sandbox;
		struct node_saved saved;
		struct {
			char boot_id[NODE_BOOT_ID_MAX];
		} boot;
		struct {
			uint64_t vm;
			enum wire_shim_state state; /* CLAIMED, or ENDED, or what it was before */
			/* Of the snapshot that it was restored from: */
			char template_[TEMPLATE_NAME_MAX];
			char template_id[NODE_TEMPLATE_ID_MAX];
			/* The claim that the shim took, as given in VM_CLAIM (borrowed); NULL: it
			 * took none.  With one, and a state before CLAIMED, VM_CLAIMED will follow,
			 * or VM_ENDED. */
			const struct wire_order *claim;
			uint64_t payload;         /* with a claim: of its note, as in order */
			struct mono resumed_mono; /* CLAIMED or later, with a claim; as in
						     struct node_sandbox */
			struct mono end_mono;     /* the same: the time limit that the shim holds */
			struct mono ended_mono;   /* ENDED; frozen: of the freeze */
			enum cause cause;         /* ENDED; PAUSE: the folder holds all of it */
			enum wire_save_how saved_how; /* ENDED by PAUSE */
			uint64_t saved_mib;           /* the same */
			bool resumes; /* restored from what was saved, not from the template */
			/* ENDED in an earlier boot of the host: its instants are of that boot. */
			bool other_boot;
		} adopted;
		struct {
			char name[TEMPLATE_NAME_MAX];
			char id[NODE_TEMPLATE_ID_MAX];
			uint32_t vcpus, mem_mib, disk_mib; /* of each sandbox */
		} template_;
		struct {
			uint64_t epoch;
			uint64_t lease_ms, lost_below; /* as in wire.def */
			/* When the answered poll was sent; 0: not known, so no lease that ends
			 * follows from it. */
			struct mono sent_at;
		} answer;
		struct {
			const struct wire_order *order; /* borrowed */
			/* The shell's name for what it keeps of a claim (init, ticket, gateway,
			 * note) until PAYLOAD_DROP, which comes exactly once; 0: nothing is
			 * kept. */
			uint64_t payload;
		} order;
		struct {
			uint64_t next_seq;
			uint32_t replica; /* 0..replicas_n - 1 */
			bool leader;      /* it spoke as the leader */
		} acked;
		uint64_t vm;
		struct {
			uint64_t vm;
			uint64_t attempt; /* of the claim that is answered */
			bool ok;
			struct mono resumed_mono; /* when ok */
		} claimed;
		struct {
			uint64_t vm;
			struct mono at; /* not before its resume, not after its end or freeze */
			struct mono resumed_mono; /* as in struct node_sandbox */
		} metered;
		struct {
			uint64_t vm;
			enum cause cause;             /* PAUSE: its folder holds all of it */
			struct mono at;               /* frozen: of the freeze */
			struct mono resumed_mono;     /* as in struct node_sandbox; 0: as it was */
			enum wire_save_how saved_how; /* PAUSE */
			uint64_t saved_mib;           /* PAUSE */
		} ended;
		struct {
			uint64_t vm;
			uint64_t change; /* of VM_NETWORK */
			bool ok;
		} network;
		struct {
			uint64_t vm;
			uint64_t save; /* of VM_SAVE */
		} runs_on;
		struct {
			uint64_t number; /* of the effect that it goes back to */
			/* OFFERED: that there are; PROGRESS: that are done; ENDED, of what is
			 * saved: that it takes on disk. */
			uint64_t bytes;
			uint8_t digest[NODE_DIGEST_N]; /* OFFERED, ARRIVED */
			/* ARRIVED, and OFFERED of what is saved: as that says itself. */
			char id[NODE_TEMPLATE_ID_MAX];
			enum refusal refusal; /* ENDED; NONE: as it should */
		} carry;
		struct {
			uint64_t vm;
			uint64_t save, into; /* of VM_SAVE */
			bool ok;             /* all of it is in the folder `into`, durably */
			uint64_t mib;        /* when ok */
		} snapped;
	};
};

/* ---- effects --------------------------------------------------------------------------------- */

enum node_effect_kind {
#define EFFECT(name, member, class, meaning) NODE_EFFECT_##name,
#include "node-agent/core/effects.def"
#undef EFFECT
	NODE_EFFECT_N,
};

enum node_effect_class { NODE_CLASS_DURABLE, NODE_CLASS_EARLY, NODE_CLASS_AFTER };

struct node_effect {
	enum node_effect_kind kind;
	union {
		struct node_meta meta;
		uint64_t attempt;
		struct node_sandbox sandbox;
		struct node_saved saved;
		struct {
			struct wire_record record; /* without its note */
			/* The payload whose note it gets; 0: none. */
			uint64_t note_of;
		};
		struct {
			uint64_t below_seq;      /* never the newest record */
			struct wall before_wall; /* by the record's at_wall_ns */
		} trim;
		struct {
			uint64_t vm;
			char template_[TEMPLATE_NAME_MAX];
			char template_id[NODE_TEMPLATE_ID_MAX];
			bool warm; /* false: a claim waits for it, so report VM_READY once restored
				    */
			/* Not 0: restore what is saved in the folder of this number instead, which
			 * is to stay as it is until the claim has succeeded.  Then template_id is
			 * empty: what was saved knows its template. */
			uint64_t resume;
			bool cold; /* with it: only its disk counts, and boots anew */
		} start;
		struct {
			uint64_t vm;
			uint64_t
				payload; /* good until PAYLOAD_DROP, which comes after the answer */
			/* To be kept by the shim, for ADOPTED, with the payload's note. Its own
			 * init, ticket, gateway and note are empty, its disk is the template's. */
			struct wire_order order;
			struct mono end_mono;   /* upper bound; ttl_ms counts from the resume */
			struct mono lease_mono; /* it freezes then; 0: never */
		} claim;
		struct mono lease_mono;
		uint64_t epoch;
		struct {
			uint64_t vm;
			struct mono end_mono;
		} deadline;
		struct {
			uint64_t vm;
			uint64_t change; /* comes back in VM_NETWORK_SET */
			uint64_t payload;
		} network;
		uint64_t vm;
		struct {
			uint64_t vm;
			enum cause cause;
		} kill;
		struct {
			uint64_t vm;
			uint64_t save; /* of a snapshot: its attempt */
			enum wire_save_how how;
			uint64_t into; /* a snapshot: number of the folder it is to be in */
		} save;
		struct {
			uint64_t number;
			/* SEND, FETCH: gateway, ticket, url and token; good until PAYLOAD_DROP,
			 * which comes at once. */
			uint64_t payload;
			char template_[TEMPLATE_NAME_MAX];
			char id[NODE_TEMPLATE_ID_MAX];
			uint8_t digest[NODE_DIGEST_N]; /* FETCH: what may be installed */
			uint64_t bytes;                /* FETCH: that there are to copy */
			/* Not 0: it is no template, but what is saved: in the folder of this
			 * number, or to be installed as that. */
			uint64_t folder;
		} carry;
		uint64_t payload;
		struct {
			uint64_t end_seq; /* one past the newest */
		} records;
	};
};

struct node_effects {
	uint32_t n;
	struct node_effect items[NODE_EFFECTS_MAX];
};

/* ---- the machine ----------------------------------------------------------------------------- */

struct node_core;

/* Bytes that node_core_init wants. */
size_t node_core_size(const struct node_limits *limits);

/* memory: node_core_size() bytes, zeroed, aligned to 64, owned by the caller and used until he
 * drops it (there is nothing to close). */
struct node_core *node_core_init(void *memory, const struct node_limits *limits);

/* Takes one event; out_effects is overwritten.  Cannot fail. */
void node_core_step(struct node_core *core, const struct node_event *event,
		    struct node_effects *out_effects);

/* When TICK is wanted; false: not before another event. May be in the past: then TICK at once. */
bool node_core_next_deadline(const struct node_core *core, struct mono *out_at);

/* ---- questions: change nothing --------------------------------------------------------------- */

/* For a poll: capacity, used, end_seq, pending_n (of epochs below the highest seen), lost_below
 * (once it is carried out), and the highest epoch, which the shell replaces by the highest that is
 * journaled. The rest of the poll is the shell's and the pump's. */
void node_core_report(const struct node_core *core, struct wire_poll *poll);

/* For a poll: the templates, at most NODE_TEMPLATES_MAX. */
size_t node_core_templates(const struct node_core *core,
			   struct wire_template out_templates[NODE_TEMPLATES_MAX]);

/* For a poll: copies of templates. */
size_t node_core_transfers(const struct node_core *core,
			   struct wire_transfer out_transfers[NODE_TRANSFERS_MAX]);

/* For pump_client_init: the highest epoch, and what is acknowledged (as the end of the outbox too:
 * how far that reaches is told by the first RECORDS, once it is durable). */
struct node_meta node_core_meta(const struct node_core *core);

enum node_vm_state {
#define STATE(name, text) NODE_VM_##name,
#include "node-agent/core/vm_states.def"
	NODE_VM_STATE_N,
};

struct node_vm_view {
	uint64_t vm;
	enum node_vm_state state;
	const struct node_sandbox *sandbox; /* NULL: it has none. Good until the next step. */
};

/* Every microVM in the order of their slots: start with *cursor 0; false at the end. */
bool node_core_vm_next(const struct node_core *core, uint32_t *cursor,
		       struct node_vm_view *out_view);

struct node_counts {
	uint32_t vms[NODE_VM_STATE_N];
	uint32_t claims_waiting, attempts_known, saved;
	/* Since the start: */
	uint64_t claims_ok, claims_refused, claims_warm; /* warm: a ready microVM was there */
	uint64_t restores_failed;
	uint64_t stale_answers; /* of an epoch that is over */
	uint64_t ignored;       /* orders that could not be taken: not ready, or no memory left */
};

void node_core_count(const struct node_core *core, struct node_counts *out_counts);

const char *node_event_name(enum node_event_kind kind);
const char *node_effect_name(enum node_effect_kind kind);
enum node_effect_class node_effect_class(enum node_effect_kind kind);
const char *node_vm_state_name(enum node_vm_state state);

/* Every invariant over the whole state, by counting again; aborts when one is broken. For tests. */
void node_core_check(const struct node_core *core);

#endif
