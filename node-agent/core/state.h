/*
 * What the core remembers, and what its files offer to each other.  Nobody outside includes this.
 *
 *   core.c       the step: hands each event to whose matter it is, then settles what is due
 *   claim.c      orders, and claims on their way to a microVM
 *   attempt.c    which attempts were answered
 *   carry.c      templates on their way to other nodes, and from them
 *   warm.c       templates and the pool of each
 *   saved.c      paused sandboxes: how they come to be, go on, and go
 *   snapshot.c   snapshots of what runs: how they come to be
 *   vm.c         the life of one microVM, what it holds of the node with it
 *   adopt.c      what a start finds: journaled sandboxes, and folders
 *   meter.c      what a sandbox has run
 *   lease.c      until when sandboxes may run
 *   lost.c       what was given up when the node was declared lost
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
	FINAL_ROOM = 4,         /* of META, EPOCH, RECORDS and NEWS, at the end of a step */
	CLAIM_GRACE_MS = 60000, /* a claim not resumed this long after VM_CLAIM never is */
	HOUSE_MS = 60000,       /* how often the journal is tidied */
	RETRY_MIN_MS = 1000,    /* after a failed restore; doubled by each further one */
	RETRY_MAX_MS = 60000,
	CARRIES_MAX = 8, /* copies that are under way or remembered */
	LEASE_STEPS = 8, /* a lease is told on when it moved on by such a part of itself */
};

#define DEADLINE_MAX_MS (1LL << 40) /* deadlines are no farther away */

/* Where an attempt is: the kind in the two upper bits, the slot below. */
enum attempt_place {
	ATTEMPT_ANSWERED = 0u << 30, /* in the ring */
	ATTEMPT_CLAIM = 1u << 30,    /* claims[slot] */
	ATTEMPT_VM = 2u << 30,       /* vms[slot] runs it, or did */
	ATTEMPT_SAVED = 3u << 30,    /* saved[slot] is what it was */
};
#define ATTEMPT_SLOT(place) ((place) & ((1u << 30) - 1))
#define ATTEMPT_KIND(place) ((place) & ~((1u << 30) - 1))

struct answered {
	uint64_t attempt;
	uint64_t final_seq; /* no later record speaks of it */
};

struct claim {
	struct wire_order order; /* without init, ticket, gateway, note */
	uint64_t payload;
	uint32_t template_; /* slot; POOL_NONE: an orphan, or it resumes */
	uint32_t saved;     /* slot of what it resumes; POOL_NONE: it begins */
	uint32_t vm;        /* slot of what is restored for it, if it resumes; else POOL_NONE */
	uint32_t disk_mib;
	uint32_t tries;    /* microVMs that failed it */
	bool cancelled;    /* killed while a microVM was taking it */
	bool orphan;       /* taken by an agent before us: cannot be tried again */
	struct mono lease; /* that its microVM was given with it; 0: without end */
	enum cause cause;  /* when cancelled */
	/* While it has no microVM: in its template's list, or in core.resumes. */
	struct list waiting;
};

struct saved {
	struct node_saved row;
	bool is_found;     /* since the start: its folder is there */
	uint32_t claims_n; /* that go on from it, unanswered; one at most unless it is a snapshot */
	/* A snapshot that is being made, and is not journaled: slot of the microVM that it is made
	 * of; else POOL_NONE. */
	uint32_t maker;
	uint64_t payload; /* while it is being made; so are the next three */
	struct id source;
	bool transient;
	bool cancelled; /* nobody wants it any more */
};

static inline bool saved_is_snapshot(const struct saved *saved)
{
	return saved->row.how == WIRE_SAVE_SNAPSHOT;
}

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

/* A copy of a template, or of what is saved, to here or from here. */
struct carry {
	uint64_t number; /* as ordered; 0: an empty place */
	uint64_t touched;
	bool sends, active;
	bool installing; /* what arrived is the one that was ordered */
	enum wire_transfer_state state;
	char template_[TEMPLATE_NAME_MAX];
	char id[NODE_TEMPLATE_ID_MAX];
	uint8_t digest[NODE_DIGEST_N];
	uint64_t bytes, done_bytes;
	enum refusal refusal;
	/* Of what is saved: under this attempt, where it counts; 0: it is a template. */
	uint64_t source;
	struct node_saved row; /* and, to here, what it will be; vm: its folder to be */
	struct id saved_of;
};

/* An order that is held until the shim has its rules in force; see network.c. */
struct network {
	uint64_t payload; /* 0: none is held */
	uint64_t change;  /* what the shim is asked by */
	uint64_t version;
	int64_t end_wall_ns;
	uint64_t epoch; /* of who ordered it */
	struct mono at;
};

struct vm {
	uint64_t number;
	enum node_vm_state state;
	bool resumes; /* restored from what was saved, for its claim alone */
	/* Slot, while STARTING, WARMING or READY; else, and if it resumes, POOL_NONE. */
	uint32_t template_;
	/* Slot, while CLAIMING, or ENDING after it failed, or if it resumes; else POOL_NONE. */
	uint32_t claim;
	bool has_sandbox;       /* LOADED, RUNNING, or ENDING after that */
	enum cause kill_cause;  /* ENDING */
	uint64_t save;          /* RUNNING: the pause that is under way; 0: none */
	struct network network; /* RUNNING */
	uint64_t snapshot;      /* attempt of the snapshot that is being made of it; 0: none */
	struct node_sandbox sandbox;
	struct list pooled; /* in ready or starting of its template, or in core.resume_ready */
};

struct lease {
	bool known;     /* a leader gave one since the start */
	uint64_t epoch; /* whose it is */
	uint64_t ms;
	struct mono until; /* 0: without end */
	bool is_told;      /* what runs has at least: */
	struct mono told;
};

struct node_core {
	struct node_limits limits;
	bool booted, ready;
	bool answer_stale;
	bool unfinished; /* effects ran out: step TICK at once */
	bool meta_changed, epoch_changed, records_changed, news_changed;
	char boot_id[NODE_BOOT_ID_MAX];
	struct mono now;
	struct wall wall;
	struct node_effects *out;
	struct node_meta meta;
	uint64_t meta_acked;                    /* acked_seq as journaled */
	uint64_t acked_seqs[NODE_REPLICAS_MAX]; /* of each scheduler; acked_seq is the least */
	uint64_t leader_acked_seq;              /* what a leader had, or every scheduler */
	struct lease lease;
	uint64_t last_change;           /* of what sandboxes may reach */
	uint64_t lost_below, lost_done; /* as told; and as carried out */
	struct mono house_at;
	struct mono refill_at; /* no refill before */
	uint64_t last_vm;      /* highest number in use so far */
	int64_t window;        /* of demand: now / demand_ms */
	struct wire_room used;
	struct node_counts counts;
	struct pool vm_pool, claim_pool, template_pool, saved_pool;
	struct vm *vms;
	struct claim *claims;
	struct template_ *templates;
	struct saved *saved;
	struct list resumes;      /* claims that resume and have no microVM yet, the oldest first */
	struct list resume_ready; /* microVMs that their claims can take, which resume */
	uint32_t missing_n;       /* saved ones whose folders were not found yet */
	uint32_t saving_n;        /* microVMs with a VM_SAVE under way */
	struct heap meter_due;    /* microVMs by when they are metered next */
	struct map vm_numbers, attempts;
	struct map saved_numbers; /* from numbers of folders to slots of saved */
	struct carry carries[CARRIES_MAX];
	uint64_t carries_n;    /* ever */
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
struct wire_room room_of_saved(const struct node_saved *saved);

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

/* One that waits is refused; one that a microVM is taking may run already: then it is a yes, and
 * an end. */
void claim_cancel(struct node_core *core, struct claim *claim, enum cause cause);

/* A claim that was found under way in the microVM. */
void claim_adopt(struct node_core *core, struct vm *vm, const struct node_event *event,
		 uint32_t disk_mib);

/* A payload is not needed any more; 0: there is none. */
void claim_drop_payload(struct node_core *core, uint64_t payload);

/* It waits for a microVM of its own kind: for one of its template, or its own. */
void claim_wait(struct node_core *core, struct claim *claim, bool first);

/* The microVM, which is ready, takes it. */
void claim_give(struct node_core *core, struct claim *claim, struct vm *vm);
void claim_refuse(struct node_core *core, struct claim *claim, enum refusal refusal);

/* The no to an order, for ever. */
void claim_say_no(struct node_core *core, const struct wire_order *order, enum refusal refusal);

/* The sandbox that a claim makes. resumed: when the microVM began to run for it. */
struct node_sandbox claim_sandbox(const struct node_core *core, const struct wire_order *order,
				  uint32_t disk_mib, uint64_t vm, struct mono resumed);

/* The yes to a claim: journals the attempt, its sandbox and the record, with this payload's note.
 */
void claim_say_yes(struct node_core *core, struct vm *vm, uint64_t payload);

/* ---- carry.c ---- */

void carry_order(struct node_core *core, const struct wire_order *order, uint64_t payload);
void carry_offered(struct node_core *core, const struct node_event *event);
void carry_progress(struct node_core *core, const struct node_event *event);
void carry_arrived(struct node_core *core, const struct node_event *event);
void carry_ended(struct node_core *core, const struct node_event *event);

/* Nothing is saved under this attempt any more: it is not offered either. */
void carry_source_gone(struct node_core *core, uint64_t attempt);

/* A copy of what is saved shall not come to be, under this attempt. */
void carry_cancel(struct node_core *core, uint64_t attempt);
void carry_verify(const struct node_core *core);

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

/* Whether one more may be restored while a claim waits for it. */
bool warm_may_restore(const struct node_core *core);

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

/* The same as its shim tells it; for a pause what it was is kept. */
void vm_end_as_told(struct node_core *core, struct vm *vm, uint64_t to_ms, enum cause cause,
		    enum wire_save_how how, uint64_t mib);

/* The same when nobody saw the end. */
void vm_lose(struct node_core *core, struct vm *vm);

/* What a shim says; of a number that is not known, only the end matters: the folder goes. */
void vm_warming(struct node_core *core, uint64_t number);
void vm_ready(struct node_core *core, uint64_t number);
void vm_metered(struct node_core *core, const struct node_event *event);
void vm_ended(struct node_core *core, const struct node_event *event);
void vm_gone(struct node_core *core, uint64_t number);

/* False: the payload is not needed. */
bool vm_deadline(struct node_core *core, struct vm *vm, const struct wire_order *order,
		 uint64_t payload);
/* Journals, records (with the note of that payload, if not 0) and tells the shim. */
void vm_move_limit(struct node_core *core, struct vm *vm, uint64_t version, int64_t end_wall_ns,
		   uint64_t note_of);

/* network.c */
void network_order(struct node_core *core, struct vm *vm, const struct wire_order *order,
		   uint64_t payload);
void network_set(struct node_core *core, const struct node_event *event);
void network_forget(struct node_core *core, struct vm *vm); /* whether one is held or not */
bool network_is_pending(const struct node_core *core, const struct vm *vm);

/* Restores what is saved in that folder, for this claim; NULL: there is no slot. */
struct vm *vm_resume(struct node_core *core, struct claim *claim);

/* Gives the slot back without a word. */
void vm_drop(struct node_core *core, struct vm *vm);

/* ---- saved.c ---- */

void saved_load(struct node_core *core, const struct node_saved *row);

/* A folder was found that holds a paused sandbox which is journaled. False: it is none of those. */
bool saved_adopt(struct node_core *core, uint64_t number);

/* Gives up those whose folders were not found. */
void saved_settle(struct node_core *core);

/* Its microVM ended by a pause, and its end is recorded; there is room for one more. */
void saved_add(struct node_core *core, const struct node_sandbox *sandbox, enum wire_save_how how,
	       uint64_t mib);
/* Whether one more may be paused. */
bool saved_fits(const struct node_core *core);

void saved_pause(struct node_core *core, struct vm *vm, const struct wire_order *order);
void saved_runs_on(struct node_core *core, const struct node_event *event);

/* Its tenant does not want it any more, and no claim goes on from it. */
void saved_discard(struct node_core *core, struct saved *saved, enum cause cause);

/* What this attempt saved; NULL: nothing is. */
struct saved *saved_find(struct node_core *core, uint64_t attempt);

/* It goes on under another attempt: its attempt is over, its folder not needed any more. */
void saved_use_up(struct node_core *core, struct saved *saved);

/* A copy on another node counts from now on. */
void saved_hand_over(struct node_core *core, struct saved *saved, const struct wire_order *order);

/* A place for one more, taken; NULL: there is none. */
struct saved *saved_take(struct node_core *core, const struct node_saved *row);

/* The place is free again; of its attempt and its folder the caller says what becomes. */
void saved_free(struct node_core *core, struct saved *saved);

/* Starts microVMs for claims that resume, and gives them those. */
void resume_settle(struct node_core *core);

/* ---- snapshot.c ---- */

/* False: ignored; the order comes again.  Else the payload is looked after. */
bool snapshot_order(struct node_core *core, const struct wire_order *order, uint64_t payload);
void snapshot_answered(struct node_core *core, const struct node_event *event);

/* Nobody wants it any more, and it is being made: it is answered when its shim has answered. */
void snapshot_cancel(struct saved *saved);

/* What it is being made of is no more, and its shim said nothing of it. */
void snapshot_lost(struct node_core *core, struct vm *vm);

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
void meter_reading(struct node_core *core, struct vm *vm, struct mono at, struct mono resumed);

/* It was frozen: would have run since then, had it not been.  at: it still ran then.  False: no
 * change (0 is none). */
bool meter_rebase(struct node_sandbox *sandbox, struct mono resumed, struct mono at);
void meter_settle(struct node_core *core);

/* ---- lease.c ---- */

/* The lease that an answer of the highest epoch gives. */
void lease_take(struct node_core *core, uint64_t lease_ms, struct mono sent_at);

/* Whether something may begin to run. */
bool lease_holds(const struct node_core *core);

/* It runs, under the lease that it was given. */
void lease_claimed(struct node_core *core, const struct claim *claim);
void lease_settle(struct node_core *core);

/* ---- lost.c ---- */

void lost_take(struct node_core *core, uint64_t below);
void lost_settle(struct node_core *core);

/* ---- outbox.c ---- */

void outbox_started(struct node_core *core, const struct node_sandbox *sandbox, uint64_t note_of);
void outbox_usage(struct node_core *core, struct node_sandbox *sandbox, uint64_t to_ms);
void outbox_ended(struct node_core *core, const struct node_sandbox *sandbox, uint64_t to_ms,
		  enum cause cause);
void outbox_paused(struct node_core *core, const struct node_sandbox *sandbox, uint64_t to_ms,
		   enum wire_save_how how, uint64_t mib);
void outbox_runs_on(struct node_core *core, const struct node_sandbox *sandbox, uint64_t save,
		    enum refusal refusal);
void outbox_kept(struct node_core *core, const struct saved *saved);
void outbox_discarded(struct node_core *core, const struct node_saved *saved, enum cause cause);

/* It counts elsewhere from now on, as the order says. */
void outbox_handed_over(struct node_core *core, const struct node_saved *saved,
			const struct wire_order *order);
void outbox_refused(struct node_core *core, const struct wire_order *order, enum refusal refusal);
/* All schedulers have the log up to here, as journaled. */
void outbox_load(struct node_core *core, uint64_t acked_seq);
void outbox_acked(struct node_core *core, const struct node_event *event);

/* Counted anew. */
uint64_t outbox_acked_by_all(const struct node_core *core);
void outbox_settle(struct node_core *core);

#endif
