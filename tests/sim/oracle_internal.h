/* What the oracle knows. */
#ifndef FLOTILLA_SIM_ORACLE_INTERNAL_H
#define FLOTILLA_SIM_ORACLE_INTERNAL_H

#include "tests/sim/oracle.h"

enum {
	ATTEMPTS_MAX = 1 << 15,
	STOP_LIMIT_MS = 1500, /* a microVM has stopped so long after its lease */
};

/* What is known of an attempt. */
struct attempt {
	uint64_t number;        /* 0: an empty place */
	bool yes, no, ended;    /* as journaled */
	bool paused, discarded; /* the same */
	bool kept, transient;   /* it is a snapshot, the same */
	bool copy;              /* and a copy of what is saved elsewhere, that does not count yet */
	bool spread;            /* or one of a snapshot, that counts at once */
	bool handed;            /* a copy of it counts instead, the same */
	uint64_t resumes;       /* what its claim was to go on from; 0: it began, or is not known */
	uint64_t resumed_by;    /* the attempt that went on from it, as journaled; 0: none */
	uint32_t incarnation;
	bool told; /* to a tenant, as running */
	uint32_t host;
	uint64_t serial;        /* of the microVM that ran it; 0: none is known */
	uint64_t limit_version; /* of its time limit, as journaled */
	uint64_t told_ms;       /* running time that records tell */
	struct {
		uint64_t ms; /* that this scheduler has posted */
		bool end;
	} posted[REPLICAS_MAX];
};

/* What a microVM ran. */
struct run {
	bool ended, lost;
	uint64_t ran_ms;
	uint64_t journaled_ms; /* lost: as its journal had it */
};

/* What is known of a sandbox. */
enum { RULES_MAX = 8 };

struct known {
	uint64_t seen;     /* the look in which it was seen running */
	bool killed;       /* a tenant was told that it is killed, or dropped */
	int64_t killed_ns; /* when, first */
	bool asked;        /* somebody asked for its end */
	bool asked_pause;
	uint64_t told_attempt; /* as running; 0: it was not told */
	bool moved;            /* it was handed over at least once */
	uint32_t open_n;       /* requests for its kill or its limit whose outcome is not known */
	uint64_t rules[RULES_MAX]; /* that were told to be in force, the newest first */
	bool limit_is_told;        /* when there was no other: */
	int64_t limit_ns;          /* a wall clock's */
};

enum { CONTENTS_MAX = 4096 };

/* What is known of a host. */
struct host {
	struct wire_room used;  /* at the last look */
	struct mono leased;     /* what runs there may run until then */
	bool is_endless;        /* or without end */
	uint64_t said_epoch;    /* it said so, and that nothing older is pending */
	uint64_t trouble_epoch; /* of who led when it last said that it cannot write */
	uint64_t said_seq;      /* and that its log was so long then, be it durable or not */
	uint64_t lost_below;    /* it was declared lost */
	uint32_t contents[CONTENTS_MAX]; /* of templates that were rightly there, ever */
	uint32_t contents_n;
};

struct oracle {
	bool stirred;
	int64_t stirred_ns;                    /* last */
	struct attempt attempts[ATTEMPTS_MAX]; /* by their number's hash, then the next free */
	struct run *runs;                      /* by serial */
	size_t runs_cap;
	uint64_t next_seq[REPLICAS_MAX][HOSTS_MAX], posted_seq[REPLICAS_MAX][HOSTS_MAX];
	struct host hosts[HOSTS_MAX];
	struct known *known; /* by sandbox */
	size_t known_cap;
	uint64_t *keys; /* by key: the sandbox that was told, and 1 */
	size_t keys_cap;
	uint64_t look;
	bool caps_are_strict; /* in this seed */
};

/* ---- oracle.c ---- */

struct attempt *oracle_attempt(struct world *world, uint64_t number);
struct known *oracle_sandbox(struct world *world, size_t n);

/* An array that grows, zeroed, to hold index n. */
void *oracle_hold(void *data, size_t n, size_t *cap, size_t size);

/* ---- oracle_carries.c ---- */

void oracle_offers(struct world *world, uint32_t host, const struct wire_poll *poll);
void oracle_look_at_transfers(struct world *world, uint32_t replica);

/* Whether it was told that what this request wanted is in force. */
bool oracle_rules_are_told(struct world *world, size_t n, uint64_t rules);

/* How far a time limit may be missed: clocks differ. */
int64_t oracle_slack_ms(const struct world *world);

#endif
