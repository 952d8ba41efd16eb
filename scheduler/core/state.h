/*
 * What the core remembers, and what its files offer to each other.  Nobody outside includes this.
 *
 *   core.c       the step: hands each event to whose matter it is
 *   admit.c      may this request be; requests that create, end and extend
 *   quota.c      what a tenant holds of what it may hold
 *   place.c      which node
 *   sandbox.c    the life of one sandbox: every change of state, room and quota with it
 *   pause.c      what pausing and resuming add to that
 *   snapshot.c   snapshots of what runs
 *   snapshot_copy.c  copies of them on other nodes
 *   move.c       what is paused goes on on another node
 *   dispatch.c   what a node shall do: orders out, answers in, time limits of both
 *   join.c       who leads, and which nodes it has heard out
 *   lease.c      which nodes are heard, which may still be running something, which are lost
 *   settle.c     ends what never began, and what was given up
 *   adopt.c      makes rows of what only a node's log knew
 *   transfer.c   what is copied from node to node
 *   usage.c      a node's journal in, each record once
 *   questions.c  what can be asked
 *   verify.c     every sum counted again
 */
#ifndef FLOTILLA_SCHEDULER_CORE_STATE_H
#define FLOTILLA_SCHEDULER_CORE_STATE_H

#include "common/base/bitset.h"
#include "common/base/check.h"
#include "common/base/index.h"
#include "common/base/list.h"
#include "common/base/pool.h"
#include "scheduler/core/core.h"

enum {
	PLACE_CLASS_N = 11,               /* of room, see place.c */
	PLACE_RANK_N = 2 * PLACE_CLASS_N, /* with a warm clone, then without */
	TEMPLATE_HOLDERS = 4,             /* nodes that are remembered to have a template */
	NODE_SHUNNED_MAX = 8,             /* templates that one node failed to get */
	ORDERS_PER_POLL_MAX = 64,         /* as many as an answer takes, see wire.def */
};

struct tenant {
	struct core_tenant row;
	uint32_t concurrent;
	uint64_t vcpus, mem_mib;
	uint32_t snapshots_n; /* kept, or being made; without copies */
};

struct template_ {
	struct core_template row;
	uint32_t having_n;     /* awake nodes that have it in the row's shape, and so keep it */
	uint32_t offering_n;   /* those of them that have joined, so that it can be placed there */
	uint32_t ranks_filled; /* bit r: ranks[r] is not empty */
	struct bitset ranks[PLACE_RANK_N];
	struct list wanted_link; /* in core.wanted: a create found no room, or took the last, at */
	struct mono wanted_at;
	struct list everywhere_link;        /* in core.everywhere */
	uint32_t holders[TEMPLATE_HOLDERS]; /* slots, and 1, of nodes that offered it lately; 0 */
	uint32_t holder_next;
};

/* One template on one node. */
struct offer {
	uint16_t template_;  /* slot */
	uint16_t warm_n;     /* as last reported, less what was placed since */
	uint8_t rank_plus_1; /* the set of the template that holds the node; 0: none */
	bool current;        /* has the template's present shape, on a node that is awake */
};

/* A template that a node failed to get. */
struct shunned {
	uint32_t template_, fails_n; /* 0: an empty place */
	struct mono until;
};

/* A template, or what is saved, on its way from one node to another. */
struct transfer {
	uint64_t number;              /* 0: an empty place; of a copy: its attempt */
	uint32_t template_, from, to; /* slots */
	/* What is saved of this one, and the row of what it will be; empty: it is the template. */
	struct id sandbox, copy;
	bool offered; /* the source said what there is to fetch: */
	char artefact[64];
	uint8_t digest[32];
	uint64_t bytes;
	uint64_t prepared_bytes, done_bytes;  /* as the source, as the destination said last */
	bool from_knows, to_knows;            /* their last report told of it */
	struct mono from_sent_at, to_sent_at; /* of the order; 0: it was not given yet */
	struct mono began_at, moved_at;       /* the last progress */
	enum refusal refusal;                 /* when it has failed, at: */
	struct mono ended_at;
};

struct node {
	struct core_node row;
	struct wire_room used;
	bool awake;
	bool joined; /* heard out under this leader's epoch; alone: always; as a standby: never */
	bool blocks; /* TAKING_OVER: nothing is admitted before it joined */
	bool told_epoch; /* an answer with ours is wanted, or went out, in this session */
	/* It opened a session, or was silent, and has not reported since: whatever waits for it
	 * was not called for, or in vain. */
	bool fresh;
	bool behind; /* its last report's log ended before what was taken of it: it was put back */
	bool refusing; /* said no to an attempt, and has not reported since */
	bool leaving;  /* as last reported, like these */
	char trouble[129];
	uint64_t platform; /* hash of what it said; 0: it takes no copies */
	struct shunned shunned[NODE_SHUNNED_MAX];
	uint64_t lost_carried; /* the node ended its attempts below this */
	/* Once next_seq reaches heard_seq, all that came of attempts of epochs before heard_epoch
	 * is known, and nothing more will: when it reported that end of its log, the node had
	 * journaled that epoch and had answered all older claims.  0: it has not said so. */
	uint64_t heard_epoch, heard_seq;
	uint64_t settle_epoch; /* attempts of epochs before this that did not begin never will */
	struct mono heard_at;
	struct mono counts_from; /* as heard_at, but not before we began to lead, or to know it */
	struct list awake_link, alive_link, settle_link;
	struct list sandboxes;     /* all on it, by node_link */
	struct list waiting, sent; /* orders: sandboxes by order_link; sent: the oldest first */
	uint64_t gaps_n;
	uint32_t offer_n;
	struct offer offers[CORE_NODE_TEMPLATES_MAX];
};

struct sandbox {
	struct core_sandbox row;
	uint32_t tenant, node;            /* slots */
	struct list node_link, copy_link; /* the latter of a copy of a snapshot, in core.copies */
	/* Who waits for the node's yes; PAUSED: for another node to have it. 0: nobody. */
	uint64_t create_request;
	/* RESUMING: as whoever waits for it asked.  Not in the row: who was not answered asks
	 * again. */
	bool resumes_cold;
	/* PLACING: what it begins from is on its way there, so that its claim is no order yet. */
	bool waits;
	uint32_t resume_timeout_s; /* PAUSED: the same, of whoever waits until it is moved */
	/* Of a copy: place of the record that it is kept; 0: it was read before we were started. */
	uint64_t kept_seq;
	/* Who waits for what a record must confirm; ENDING, DISCARDING: a kill, RUNNING: a time
	 * limit, PAUSING: the pause, SNAPPING: the snapshot. */
	uint64_t confirm_request;
	/* In core.attempts or core.copy_waits; or, if one waits, in core.confirms or core.pauses.
	 */
	struct list timer_link;
	struct mono timer_at;   /* since when it is there */
	struct list order_link; /* in waiting or sent of its node, when it wants an order there */
	struct mono sent_at;    /* when in sent */
	uint32_t refused_by[CORE_TRIES_MAX - 1]; /* nodes that said no; tries - 1 of them */
};

struct core {
	struct core_limits limits;
	bool booted;
	enum core_role role;        /* meaningful once booted */
	uint64_t epoch, attempts_n; /* attempts of this epoch */
	struct mono led_at;         /* LEAD */
	uint32_t blocking_n;        /* nodes that block */
	struct mono now;
	struct wall wall;
	struct core_effects *out;
	uint64_t ignored_n;
	struct list awake; /* nodes, the one unheard for longest first */
	struct list
		alive; /* nodes that cannot be given up yet, the one unheard for longest first */
	struct list unsettled; /* nodes with something to settle that did not fit into a step */
	/* Sandboxes PLACING by this leader, and RESUMING, or PAUSED and being moved, while somebody
	 * waits; the oldest first. */
	struct list attempts;
	struct list copies;     /* of snapshots: sandboxes by copy_link */
	struct list copy_waits; /* sandboxes PLACING that wait, the oldest first */
	struct list confirms;   /* sandboxes with a confirm_request, the oldest first, but for: */
	struct list pauses;     /* those that are PAUSING or SNAPPING */
	struct list wanted; /* templates that found no room, the one asked for last at the end */
	struct list everywhere; /* templates that shall be on every node */
	struct transfer transfers[CORE_TRANSFERS_MAX];
	uint32_t transfers_n;
	uint64_t transfers_done_n, transfers_failed_n;
	struct transfer
		failed[CORE_TRANSFERS_KEPT]; /* transfers_failed_n's rest is the next place */
	uint32_t state_n[SANDBOX_STATE_N];
	struct pool tenant_pool, node_pool, template_pool, sandbox_pool;
	struct index tenant_index, node_index, template_index, sandbox_index;
	struct tenant *tenants;
	struct node *nodes;
	struct template_ *templates;
	struct sandbox *sandboxes;
	char *rank_memory; /* bitsets of all templates */
};

/* ---- core.c ---- */

/* A new effect, zeroed but for its kind. */
struct core_effect *effect_add(struct core *core, enum core_effect_kind kind);
uint32_t effects_left(const struct core *core);
void effect_wake(struct core *core, const struct node *node);
void effect_save_sandbox(struct core *core, const struct sandbox *sandbox);
void effect_save_node(struct core *core, const struct node *node);

/* Answers a request; 0: nobody asked. sandbox may be NULL. */
void effect_reply(struct core *core, uint64_t request, enum refusal refusal,
		  const struct sandbox *sandbox);

/* These find what an event names, or return NULL. */
struct tenant *find_tenant(struct core *core, const char *id);
struct node *find_node(struct core *core, const char *id);
struct template_ *find_template(struct core *core, const char *name);
struct sandbox *find_sandbox(struct core *core, const char *id);

/* ---- admit.c ---- */

void admit_create(struct core *core, const struct core_event *event);
void admit_kill(struct core *core, const struct core_event *event);
void admit_network(struct core *core, const struct core_event *event);
void admit_timeout(struct core *core, const struct core_event *event, bool only_later);

/* The sandbox, if it may be known to this tenant (empty: an operator, who may know all). */
struct sandbox *admit_find(struct core *core, const struct id *id, const struct id *tenant);

/* ---- quota.c ---- */

enum refusal quota_refuses(const struct tenant *tenant, uint32_t vcpus, uint64_t mem_mib);
void quota_take(struct tenant *tenant, const struct core_sandbox *row);
void quota_give(struct tenant *tenant, const struct core_sandbox *row);

/* ---- place.c ---- */

/* A new template; NULL when there is no room for one more. */
struct template_ *place_add_template(struct core *core, const struct core_template *row);

/* What the node has, as it reports. */
void place_report(struct core *core, struct node *node, const struct wire_poll *poll);

/* The node is silent: it offers nothing until it reports again. */
void place_withdraw(struct core *core, struct node *node);

/* The node has joined, or has not any more: it offers what it has, or nothing. */
void place_join(struct core *core, struct node *node, bool joined);

/* The node's room, or whether it may be used, changed. */
void place_refresh(struct core *core, struct node *node);

/* The best node but the first 'refused_n' of refused_by; POOL_NONE: there is none. */
uint32_t place_pick(const struct template_ *template_, const uint32_t *refused_by,
		    uint32_t refused_n);

void place_take_room(struct core *core, struct node *node, const struct core_sandbox *row);
void place_give_room(struct core *core, struct node *node, const struct core_sandbox *row);

/* A sandbox was placed: probably it takes a warm clone. */
void place_take_warm(struct core *core, struct node *node, const char *template_);

/* Whether anything new may be placed on the node at all, room aside. */
bool place_may(const struct node *node);

/* How many more of this shape the node has room for. */
uint64_t place_room(const struct node *node, const struct core_template *shape);

/* Which rank the node belongs to, as rank + 1; 0: none. */
uint8_t place_rank_plus_1(const struct core *core, const struct node *node,
			  const struct offer *offer);

/* ---- sandbox.c ---- */

/* A sandbox as loaded. Its tenant and node must be there, and room in the pool. */
void sandbox_load(struct core *core, const struct core_sandbox *row);

/* Admitted: a slot with the row's ids, shape and times; opens the first attempt on the node. waits:
 * what it begins from is not there yet. */
struct sandbox *sandbox_place(struct core *core, const struct core_sandbox *row, uint32_t tenant,
			      uint32_t node, bool waits, uint64_t request);

/* A snapshot: a slot with the row, its attempt's number too; its node shall make it. */
struct sandbox *sandbox_snap(struct core *core, const struct core_sandbox *row, uint32_t tenant,
			     uint32_t node);

/* A copy of what is saved (see move.c), that node shall have: the same. */
struct sandbox *sandbox_copy(struct core *core, const struct core_sandbox *row, uint32_t tenant,
			     uint32_t node);

/* Only its node's log knew it: a slot with the row, RUNNING or KEPT. */
struct sandbox *sandbox_adopt(struct core *core, const struct core_sandbox *row, uint32_t tenant,
			      uint32_t node);

/* The only way to a new state: along an edge, with what the state holds. */
void sandbox_move(struct core *core, struct sandbox *sandbox, enum sandbox_state to);

/* An attempt's number that never comes again. */
uint64_t sandbox_attempt(struct core *core);

/* Whoever waits for the node's yes is answered. */
void sandbox_answer(struct core *core, struct sandbox *sandbox, enum refusal refusal);

/* Another node has it from now on; it holds no room. */
void sandbox_sit(struct core *core, struct sandbox *sandbox, uint32_t node);

/* Loaded, and now the role is known: its timer and its order. */
void sandbox_boot(struct core *core, struct sandbox *sandbox);

/* The node said no: on to this one. */
void sandbox_place_again(struct core *core, struct sandbox *sandbox, uint32_t node);

/* It is paused, and going on waits until another node has it. */
void sandbox_wait_for_move(struct core *core, struct sandbox *sandbox, uint64_t request);

/* The node said yes. */
void sandbox_run(struct core *core, struct sandbox *sandbox);

/* It shall end. */
void sandbox_end(struct core *core, struct sandbox *sandbox, enum cause cause);

/* Somebody waits for the node to confirm it, instead of whoever did. */
void sandbox_await(struct core *core, struct sandbox *sandbox, uint64_t request);

/* Whoever waits for the node to confirm it is answered. */
void sandbox_confirm(struct core *core, struct sandbox *sandbox, enum refusal refusal);

/* It has ended: saved for the last time, given back, and forgotten. Whoever waited is answered. */
void sandbox_finish(struct core *core, struct sandbox *sandbox);

/* Whether it holds room and quota. */
bool sandbox_holds(enum sandbox_state state);

/* What must be true of a sandbox in each state, whatever way it came there. */
void sandbox_verify(const struct core *core, const struct sandbox *sandbox);

/* ---- pause.c ---- */

void admit_pause(struct core *core, const struct core_event *event);
void admit_resume(struct core *core, const struct core_event *event);

/* Its node says that it is paused. */
void pause_done(struct core *core, struct sandbox *sandbox, const struct wire_record *record);

/* Its node says that it is not. */
void pause_failed(struct core *core, struct sandbox *sandbox, const struct wire_record *record);

/* An attempt to resume it never began: it is paused as before, or, killed, to be discarded. */
void pause_again(struct core *core, struct sandbox *sandbox, enum refusal refusal);

/* Its node has nothing saved of it any more. */
void pause_gone(struct core *core, struct sandbox *sandbox, const struct wire_record *record);

/* A later life than is known here has begun, under another leader.  False: it has not. */
bool pause_follow(struct core *core, struct node *node, const struct core_event *event);

/* It was moved, and somebody still waits for it to go on. */
void pause_resume(struct core *core, struct sandbox *sandbox, uint64_t request);

/* Why nothing that is saved on its node can go on there now; NONE: it can. */
enum refusal pause_node_refuses(const struct core *core, const struct sandbox *saved);

/* ---- snapshot.c ---- */

void admit_snapshot(struct core *core, const struct core_event *event);
void admit_drop(struct core *core, const struct core_event *event);

/* The snapshot, if this tenant may begin something from it. */
struct sandbox *snapshot_find(struct core *core, const struct id *id, const struct id *tenant);

bool snapshot_is(const struct core_sandbox *row);

/* Whether it is one of those that its tenant may have so many of, in this state. */
bool snapshot_counts(const struct core_sandbox *row, enum sandbox_state state);

/* Its node says that it has it; that it has not, or will not. */
void snapshot_kept(struct core *core, struct sandbox *sandbox, const struct wire_record *record);
void snapshot_refused(struct core *core, struct sandbox *sandbox, const struct wire_record *record);

/* Nobody wants it any more: its node shall drop it. */
void snapshot_give_up(struct core *core, struct sandbox *sandbox, enum cause cause);

/* ---- snapshot_copy.c ---- */

/* Whether the row is a copy of a snapshot, which looks like one. */
bool snapshot_copy_is(const struct core_sandbox *row);

/* Of whom the record is, if it calls a snapshot by what it was a copy of, or as: who has its
 * attempt on that node, if that is a snapshot. */
struct sandbox *snapshot_copy_find(struct core *core, const struct node *node,
				   const struct wire_record *record);

/* From which of them a create begins; if that is SNAPPING it has to wait.  Else why it cannot. */
enum refusal snapshot_copy_choose(struct core *core, const struct sandbox *snapshot,
				  const struct sandbox **out_from);

/* It has waited long enough, or in vain: its create is refused. */
void snapshot_copy_give_up(struct core *core, struct sandbox *sandbox);

/* The copy's node has it. */
void snapshot_copy_kept(struct core *core, struct sandbox *copy, const struct wire_record *record);

/* Nobody wants the row of a snapshot, or of a copy, any more; or it has ended. */
void snapshot_copy_given_up(struct core *core, const struct core_sandbox *row);

/* A copy of what is no more, or that an earlier start had under way. */
bool snapshot_copy_is_left_over(const struct core *core, const struct node *node,
				const struct core_sandbox *row);

/* The snapshot's node is lost. False: there is no copy that could be it from now on. */
bool snapshot_copy_takes_over(struct core *core, struct sandbox *snapshot);

/* ---- move.c ---- */

/* Whether the row is a copy of a paused sandbox, which looks like a snapshot. */
bool move_is_copy(const struct core_sandbox *row);

/* Of whom the record is: what was a copy may say so still, and of a copy it is if the sandbox is
 * not known.  NULL: of nobody known. */
struct sandbox *move_find(struct core *core, const struct node *node,
			  const struct wire_record *record);

/* It is paused. Whether another node is to have it. */
bool move_is_under_way(struct core *core, const struct sandbox *sandbox);

/* False: there is no node for it now, or no way. */
bool move_begin(struct core *core, struct sandbox *sandbox);

/* It can go on where it is. */
void move_stop(struct core *core, struct sandbox *sandbox);

/* The copy's node has it. source_attempt: of which it was wanted; 0: that is not known here. */
void move_kept(struct core *core, struct sandbox *copy, const struct wire_record *record,
	       uint64_t source_attempt);

/* What the sandbox's node is to be told. */
void move_order(struct core *core, const struct sandbox *sandbox, struct wire_order *order);

/* Nobody wants the row, perhaps a copy's, any more; or it has ended, and is forgotten. */
void move_given_up(struct core *core, const struct core_sandbox *row);
void move_ended(struct core *core, const struct core_sandbox *row);

/* A copy of an older leader's that will not be handed over to. */
bool move_is_left_over(const struct core *core, const struct core_sandbox *row);

/* The sandbox is on another node: a copy of it may be left over. */
void move_consider(struct core *core, const struct sandbox *sandbox);

/* The node has joined: what was copied from it may be left over. */
void move_joined(struct core *core, struct node *node);

/* The record is of a sandbox that, as far as is known here, is on another node still; or of a copy
 * whose sandbox has another one. */
bool move_is_ahead(struct core *core, const struct node *node, const struct wire_record *record);

/* Its node has handed the sandbox over. */
void move_handed_over(struct core *core, struct sandbox *sandbox, const struct wire_record *record);

/* A sandbox runs there: what it went on from, if that was a copy, is used up. */
void move_started(struct core *core, const struct node *node, const struct wire_record *record);

/* ---- dispatch.c ---- */

/* What the sandbox wants of its node is queued; true: something is. */
bool dispatch_queue(struct core *core, struct sandbox *sandbox);

/* The same, when it may have changed: the node is woken for it. */
void dispatch_refresh(struct core *core, struct sandbox *sandbox);
void dispatch_session(struct node *node);

/* A poll of it is there to be answered: for what waited for that. */
void dispatch_report(struct core *core, struct node *node);
void dispatch_poll(struct core *core, struct node *node);
void dispatch_answer(struct core *core, struct node *node, const struct wire_record *record);
void dispatch_tick(struct core *core);

/* ---- join.c ---- */

void join_boot(struct core *core, const struct core_event *event);
void join_lead(struct core *core, uint64_t epoch);

/* A node is new, after BOOT. */
void join_add(struct core *core, struct node *node);

/* What the node says of its epoch and of its log. */
void join_report(struct core *core, struct node *node, const struct wire_poll *poll);

/* What was told in the session before may not have arrived. */
void join_session(struct node *node);

/* A report or a record came: perhaps the node is heard out now. */
void join_refresh(struct core *core, struct node *node);

/* The take-over need not wait for the node any more. */
void join_unblock(struct core *core, struct node *node);

/* If nothing blocks any more, requests are admitted from now on. */
void join_admit(struct core *core);

/* Why no request can be taken in this role; NONE: it can. */
enum refusal join_refuses(const struct core *core);

/* ---- lease.c ---- */

/* The node reported: it is awake from now on, until it is silent for too long. */
void lease_wake(struct core *core, struct node *node);

/* Something came from the node, be it awake or not. */
void lease_hear(struct core *core, struct node *node);
void lease_silence(struct core *core, struct node *node);
void lease_tick(struct core *core);

/* For how long an unheard node is not given up: until what it runs is frozen for sure. */
int64_t lease_patience_ms(const struct core *core);

/* The node may be declared lost. */
bool lease_may_lose(const struct core *core, const struct node *node);

/* It was declared lost and has not ended yet, as far as it said, what was given up. */
bool lease_is_lost(const struct node *node);

/* It was declared lost: what it ran below this is given up. */
void lease_lose(struct core *core, struct node *node, uint64_t lost_below);

/* ---- settle.c ---- */

/* Ends what can be ended of the node's sandboxes; what does not fit into this step stays due. */
void settle_node(struct core *core, struct node *node);
void settle_tick(struct core *core);

/* There may be something to settle on it: with the next tick. */
void settle_later(struct core *core, struct node *node);

/* Whether the sandbox never began, or was given up. */
bool settle_is_due(const struct core *core, const struct node *node,
		   const struct core_sandbox *row);

/* ---- adopt.c ---- */

/* A record of a sandbox that is perhaps not known here. False: it cannot be taken yet. */
bool adopt_record(struct core *core, struct node *node, const struct core_event *event);

/* ---- transfer.c ---- */

/* A template is new. */
void transfer_template_added(struct core *core, struct template_ *template_);

/* There is no room for one more of it, as far as is known. */
void transfer_want(struct core *core, struct template_ *template_);

/* The node offers it. */
void transfer_offered(struct template_ *template_, uint32_t node);

/* What the node says of transfers; and whether it shall get something. */
void transfer_report(struct core *core, struct node *node, const struct wire_poll *poll);

/* Orders of transfers for the node, which has joined: at most three. */
void transfer_poll(struct core *core, const struct node *node);
void transfer_tick(struct core *core);
bool transfer_next_deadline(const struct core *core, struct mono *out_at);
void transfer_verify(const struct core *core);

/* Whether what is saved of the template on one node can be copied to the other now. */
bool transfer_may_copy(struct core *core, uint32_t from, uint32_t to,
		       const struct template_ *template_);

/* What is saved on that node is to be copied to the copy's; transfer_may_copy has said so. */
void transfer_copy(struct core *core, const struct sandbox *copy, uint32_t from);

/* The copy of this attempt is kept, or will never be: if it is on its way still, that is over. */
void transfer_copied(struct core *core, uint64_t attempt, enum refusal refusal);

/* What a transfer is called at the gateway: each by a name that no other has. */
struct id transfer_id(uint64_t number);

/* ---- usage.c ---- */

void usage_record(struct core *core, struct node *node, const struct core_event *event);

#endif
