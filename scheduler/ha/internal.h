/*
 * Shared by the parts of a replica's side of etcd:
 *
 *	ha.c        the object, and all that is told: by ha_run, from the loop, in one order
 *	campaign.c  carries out what scheduler/election wants
 *	mirror.c    the fleet's key, the leader's, and decisions: read once, then watched
 *	decide.c    decisions out
 */
#ifndef FLOTILLA_HA_INTERNAL_H
#define FLOTILLA_HA_INTERNAL_H

#include "common/base/list.h"
#include "common/io/etcd.h"
#include "scheduler/ha/fleet.h"
#include "scheduler/ha/ha.h"

enum ha_timer {
	HA_TIMER_RUN,    /* something is to be told */
	HA_TIMER_TICK,   /* the election's deadline */
	HA_TIMER_LOOK,   /* ask etcd for the fleet's key again */
	HA_TIMER_AGAIN,  /* give the same decisions again */
	HA_TIMER_SETTLE, /* ask again what became of a decision */
	HA_TIMER_N,
};

enum { HA_PAUSE_MS = 200, HA_REFUSED_PAUSE_MS = 1000, HA_PAGE_N = 200 };

/* ---- campaign.c ---- */

struct campaign {
	struct election election;
	bool runs;             /* false: neither leads nor tries to */
	uint64_t round;        /* of starts: answers of an earlier one are not looked at */
	struct list requests;  /* under way */
	unsigned revokes_n;    /* under way: ha_close waits for them */
	int64_t key_revision;  /* how new what is known of the leader key is */
	int64_t fence;         /* create revision of our leader key; 0: we have none */
	int64_t replica_lease; /* under which the replica's own key was written */
};

/* ---- mirror.c ---- */

struct mirror_ops {
	struct store_op *items;
	size_t n, room;
	uint64_t position; /* that they lead to */
	bool is_whole, is_due;
};

struct mirror {
	bool is_looking; /* asked for the fleet's key */
	bool has_fleet;
	struct fleet fleet;
	struct etcd_watch *watch;
	int64_t pages_at;    /* a reading as of this revision is under way; 0: none */
	int64_t pages_since; /* of what was changed from this revision on; 0: of all */
	bool is_paging;      /* a page was asked for and is not here */
	char after[256];     /* the last key of the page before */
	struct mirror_ops reading, waiting, given;
	bool is_given; /* to on_decisions, and not answered */
	bool is_pausing;
	bool is_stuck; /* the last ones could not be written */
	uint64_t applied;
	int64_t seen_revision; /* all changes up to it are here */
	int64_t look_revision; /* to have seen before we campaign */
	int64_t look_floor;    /* etcd cannot answer with less, unless it was set back */
	uint64_t set_back_at;  /* the generation that was; 0: none */
	bool needs_whole;      /* the changes since what we have are not to be had */
};

/* ---- decide.c ---- */

struct decide {
	struct list waiting; /* the first is under way */
	struct list written; /* until they are applied */
	struct list answered;
	bool is_asking;
	int64_t asked_fence; /* as whose leader */
	/* A transaction may yet be carried out, unless the leader key is written first. */
	bool is_in_doubt;
	int64_t fence_mod; /* mod revision of our leader key, as last known */
};

struct ha {
	uv_loop_t *loop;
	struct ha_callbacks callbacks;
	struct ha_options options; /* endpoints and ca_file are our own copies */
	char *self_json;
	struct etcd *etcd;      /* for what is urgent: elections, watches */
	struct etcd *etcd_slow; /* for what may take its time */
	uv_timer_t timers[HA_TIMER_N];
	unsigned timers_open_n;
	struct campaign campaign;
	struct mirror mirror;
	struct decide decide;

	bool is_resigned, is_unfit, is_spent;
	bool is_blocked; /* why was told: not our fleet, or set back */
	bool is_closed, is_running, is_finished;
	/* ha_run's: what was told, and what is to be */
	uint64_t told_epoch; /* 0: does not lead */
	bool follow_is_due;
	bool knows_leader, leader_is_due;
	struct ha_peer leader;
};

struct mono ha_now(void);
/* Something is to be told: by the loop, soon. */
void ha_poke(struct ha *ha);
void ha_set_timer(struct ha *ha, enum ha_timer timer, int64_t ms);
void ha_stop_timer(struct ha *ha, enum ha_timer timer);
/* Who leads, as was just learnt: NULL: nobody. */
void ha_set_leader(struct ha *ha, const struct ha_peer *leader);
/* This replica may not lead, or may again. */
void ha_block(struct ha *ha, const struct err *why);
void ha_unblock(struct ha *ha);
/* Starts and stops the campaign, as all that has to be true for it is or is not. */
void ha_consider(struct ha *ha);

void campaign_open(struct ha *ha);
void campaign_close(struct ha *ha);
void campaign_start(struct ha *ha);
void campaign_stop(struct ha *ha); /* gives the lease back */
void campaign_tick(struct ha *ha);
bool campaign_leads(const struct ha *ha, struct mono now);
/* The leader key as it was at `revision`; kv NULL: there was none. */
void campaign_see(struct ha *ha, const struct etcd_kv *kv, int64_t revision);
void campaign_lose_sight(struct ha *ha);

void mirror_open(struct ha *ha);
void mirror_close(struct ha *ha);
void mirror_look(struct ha *ha);
/* Every decision up to this revision was applied. */
bool mirror_has(const struct ha *ha, int64_t revision);
/* Gives what waits, when nothing is given. True when it called back. */
bool mirror_give(struct ha *ha);

void decide_open(struct ha *ha);
void decide_close(struct ha *ha);
void decide_carry_on(struct ha *ha);
void decide_refuse_all(struct ha *ha, enum refusal refusal);
/* Answers one; true when it called back. */
bool decide_answer(struct ha *ha);

#endif
