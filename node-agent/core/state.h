/*
 * What the core remembers, and what its files offer to each other.  Nobody outside includes this.
 *
 *   core.c       the step: hands each event to whose matter it is, then settles what is due
 *   claim.c      orders, and claims on their way to a microVM
 *   attempt.c    which attempts were answered
 *   warm.c       templates and the pool of each
 *   vm.c         the life of one microVM, what it holds of the node with it
 *   adopt.c      what a start finds: journaled sandboxes, and folders
 *   meter.c      what a sandbox has run
 *   outbox.c     the log of records, and what the scheduler has of it
 *   map.c        from numbers to slots
 *   questions.c  what can be asked
 *   verify.c     every sum counted again
 */
#ifndef FLOTILLA_NODE_CORE_STATE_H
#define FLOTILLA_NODE_CORE_STATE_H

#include "common/base/check.h"
#include "common/base/heap.h"
#include "common/base/list.h"
#include "common/base/pool.h"
#include "node-agent/core/core.h"
#include "node-agent/core/map.h"

enum {
	SETTLE_ROOM = 12,       /* effects that must be left before one more thing is done */
	FINAL_ROOM = 3,         /* of META, RECORDS and NEWS, at the end of a step */
	CLAIM_GRACE_MS = 60000, /* a claim not resumed this long after VM_CLAIM never is */
	HOUSE_MS = 60000,       /* how often the journal is tidied */
	RETRY_MIN_MS = 1000,    /* after a failed restore; doubled by each further one */
	RETRY_MAX_MS = 60000,
};

#define DEADLINE_MAX_MS (1LL << 40) /* deadlines are no farther away */

/* Where an attempt is: the kind in the two upper bits, the slot below. */
enum attempt_place {
	ATTEMPT_ANSWERED = 0u << 30, /* in the ring */
	ATTEMPT_CLAIM = 1u << 30,    /* claims[slot] */
	ATTEMPT_VM = 2u << 30,       /* vms[slot] runs it, or did */
};
#define ATTEMPT_SLOT(place) ((place) & ((1u << 30) - 1))
#define ATTEMPT_KIND(place) ((place) & ~((1u << 30) - 1))

struct answered {
	uint64_t attempt;
	uint64_t final_seq; /* no later record speaks of it */
};

struct claim {
	struct wire_order order; /* without init, ticket, gateway */
	uint64_t payload;
	uint32_t template_; /* slot, unless orphan */
	uint32_t disk_mib;
	uint32_t tries;      /* microVMs that failed it */
	bool cancelled;      /* killed while a microVM was taking it */
	bool orphan;         /* taken by an agent before us: cannot be tried again */
	enum cause cause;    /* when cancelled */
	struct list waiting; /* in its template's list while it has no microVM */
};

struct template_ {
	char name[TEMPLATE_NAME_MAX];
	char id[NODE_TEMPLATE_ID_MAX];
	struct wire_room shape; /* of one sandbox; sandboxes is 1 */
	struct list ready;      /* microVMs, the one that waits longest first */
	struct list starting;   /* microVMs starting or warming, the oldest first */
	struct list waiting;    /* claims, the oldest first */
	uint32_t ready_n, starting_n, waiting_n;
	uint32_t claims_n; /* that wait, or whose microVM may yet fail them */
	bool gone;         /* or another one has its name: no name any more, dissolving */
	uint32_t claims_now_n, claims_before_n; /* in this window of demand_ms, in the one before */
	uint32_t fails_n;                       /* restores that failed since one succeeded */
	struct mono retry_at;                   /* no refill before, if fails_n */
};

struct vm {
	uint64_t number;
	enum node_vm_state state;
	uint32_t template_;    /* slot, while STARTING, WARMING or READY; else POOL_NONE */
	uint32_t claim;        /* slot, while CLAIMING, or ENDING after it failed; else POOL_NONE */
	bool has_sandbox;      /* LOADED, RUNNING, or ENDING after that */
	enum cause kill_cause; /* ENDING */
	struct node_sandbox sandbox;
	struct list pooled; /* in ready or starting of its template */
};

struct node_core {
	struct node_limits limits;
	bool booted, ready;
	bool answer_stale;
	bool unfinished; /* effects ran out: step TICK at once */
	bool meta_changed, records_changed, news_changed;
	char boot_id[NODE_BOOT_ID_MAX];
	struct mono now;
	struct wall wall;
	struct node_effects *out;
	struct node_meta meta;
	uint64_t meta_acked; /* acked_seq as journaled */
	struct mono house_at;
	struct mono refill_at; /* no refill before */
	uint64_t last_vm;      /* highest number in use so far */
	int64_t window;        /* of demand: now / demand_ms */
	struct wire_room used;
	struct node_counts counts;
	struct pool vm_pool, claim_pool, template_pool;
	struct vm *vms;
	struct claim *claims;
	struct template_ *templates;
	struct heap meter_due; /* microVMs by when they are metered next */
	struct map vm_numbers, attempts;
	struct answered *ring; /* of attempts_max, oldest at ring_first */
	uint32_t ring_first, ring_n;
};

/* ---- core.c ---- */

/* A new effect, zeroed but for its kind. */
struct node_effect *node_effect_add(struct node_core *core, enum node_effect_kind kind);

/* Whether there is room to do one more thing; if not, the rest stays due. */
bool node_effects_fit(struct node_core *core);

/* ---- room.c: amounts of everything ---- */

void room_add(struct wire_room *room, const struct wire_room *more);
void room_take(struct wire_room *room, const struct wire_room *less);

/* Whether used and more together are within capacity. */
bool room_fits(const struct wire_room *capacity, const struct wire_room *used,
	       const struct wire_room *more);
struct wire_room room_of_sandbox(const struct node_sandbox *sandbox);
struct wire_room room_of_claim(const struct claim *claim);

/* ---- claim.c ---- */

void claim_order(struct node_core *core, const struct wire_order *order, uint64_t payload);

/* Gives waiting claims of the template the microVMs that are ready. */
void claim_serve(struct node_core *core, struct template_ *template_);

void claim_answered(struct node_core *core, const struct node_event *event);

/* The microVM that should have taken the claim is no more. */
void claim_vm_lost(struct node_core *core, uint32_t slot);

/* A restore failed while claims of this template wait: the oldest one is charged with it. */
void claim_charge(struct node_core *core, struct template_ *template_);

/* There is one. */
void claim_refuse_first(struct node_core *core, struct template_ *template_, enum refusal refusal);

/* A claim that was found under way in the microVM. */
void claim_adopt(struct node_core *core, struct vm *vm, const struct wire_order *order,
		 uint32_t disk_mib);

/* The sandbox that a claim makes. resumed: when the microVM began to run for it. */
struct node_sandbox claim_sandbox(const struct node_core *core, const struct wire_order *order,
				  uint32_t disk_mib, uint64_t vm, struct mono resumed);

/* The yes to a claim: journals the attempt, its sandbox and the record. */
void claim_say_yes(struct node_core *core, struct vm *vm);

/* ---- attempt.c ---- */

/* Where the attempt is, or MAP_NONE. */
uint32_t attempt_find(const struct node_core *core, uint64_t attempt);

/* Whether one more attempt can be remembered; forgets an old one for it if need be. */
bool attempt_make_room(struct node_core *core);

/* It is answered and over: goes from where it was, or from nowhere, into the ring. */
void attempt_answer(struct node_core *core, uint64_t attempt);

void attempt_load(struct node_core *core, uint64_t attempt);

/* It is on its way or runs, there: kind and slot. */
void attempt_live(struct node_core *core, uint64_t attempt, uint32_t place);

/* It was on its way and is unanswered: as if it had never come. */
void attempt_drop(struct node_core *core, uint64_t attempt);

/* ---- warm.c ---- */

struct template_ *warm_find(struct node_core *core, const char *name);
void warm_set(struct node_core *core, const struct node_event *event);
void warm_gone(struct node_core *core, const char *name);
void warm_failed(struct node_core *core, struct template_ *template_);

/* A claim for this template came. */
void warm_demand(struct node_core *core, struct template_ *template_);

/* Starts and ends microVMs until the pool is as it should be. */
void warm_settle(struct node_core *core);

/* A claim has just succeeded: leave its tenant the processor for a moment. */
void warm_pause(struct node_core *core);

/* When the pool wants a TICK, at the latest out_at. */
void warm_deadline(const struct node_core *core, struct mono *out_at);

/* ---- vm.c ---- */

/* The only way to a new state: checks the edge, keeps the lists and counts. */
void vm_move(struct node_core *core, struct vm *vm, enum node_vm_state to);

/* A slot in NONE with this number; NULL: none is free. */
struct vm *vm_take(struct node_core *core, uint64_t number);
struct vm *vm_find(struct node_core *core, uint64_t number);
uint32_t vm_slot(const struct node_core *core, const struct vm *vm);

/* Ends it: VM_KILL. */
void vm_kill(struct node_core *core, struct vm *vm, enum cause cause);

/* It is no more: its sandbox's end (having run up to to_ms) is journaled, its slot given back. */
void vm_end(struct node_core *core, struct vm *vm, uint64_t to_ms, enum cause cause);

/* The same when nobody saw the end. */
void vm_lose(struct node_core *core, struct vm *vm);

/* What a shim says; of a number that is not known, only the end matters: the folder goes. */
void vm_warming(struct node_core *core, uint64_t number);
void vm_ready(struct node_core *core, uint64_t number);
void vm_metered(struct node_core *core, uint64_t number, struct mono at);
void vm_ended(struct node_core *core, uint64_t number, struct mono at, enum cause cause);
void vm_gone(struct node_core *core, uint64_t number);

void vm_deadline(struct node_core *core, struct vm *vm, const struct wire_order *order);

/* Gives the slot back without a word. */
void vm_drop(struct node_core *core, struct vm *vm);

/* ---- adopt.c ---- */

void adopt_load(struct node_core *core, const struct node_sandbox *row);
void adopt_folder(struct node_core *core, const struct node_event *event);

/* Ends journaled sandboxes that nothing was found of. */
void adopt_settle(struct node_core *core);

/* ---- meter.c ---- */

/* It runs from now on, so it is metered. */
void meter_begin(struct node_core *core, const struct vm *vm);
void meter_end(struct node_core *core, const struct vm *vm);

/* Running time at an instant, never less than what was told. */
uint64_t meter_ms(const struct node_sandbox *sandbox, struct mono at);
void meter_reading(struct node_core *core, struct vm *vm, struct mono at);
void meter_settle(struct node_core *core);

/* ---- outbox.c ---- */

void outbox_started(struct node_core *core, const struct node_sandbox *sandbox);
void outbox_usage(struct node_core *core, struct node_sandbox *sandbox, uint64_t to_ms);
void outbox_ended(struct node_core *core, const struct node_sandbox *sandbox, uint64_t to_ms,
		  enum cause cause);
void outbox_refused(struct node_core *core, const struct wire_order *order, enum refusal refusal);
void outbox_acked(struct node_core *core, uint64_t next_seq);
void outbox_settle(struct node_core *core);

#endif
