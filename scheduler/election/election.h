/*
 * Who leads, as one pure step function: no clock, no I/O, no allocation, no log.
 *
 * A replica holds a lease of etcd and, by a transaction that succeeds only while there is no such
 * key, writes the leader key under it.  The revision that created the key orders all leaders there
 * ever are.  What makes it safe is not the key but the clock: a leader stops being one at
 * asked_at + ttl - margin of the last keep-alive that was answered, whatever it hears or does not
 * hear, and etcd counts the same ttl from a later moment.  So two never lead at once while clocks
 * differ by less than margin over one ttl; the epoch in every order covers the rest.
 *
 *	etcd is slow or away	a leader leads on until its own clock ends that; others wait and ask
 *				again; nobody new leads, because nobody can write the key
 *	etcd restarted		leases live on in it: as above; one that is gone is told by KEPT
 *with 0 partition		the cut-off leader ends by its own clock, before its key goes away
 *	lease lost		KEPT with ttl 0, or the key gone or another's: the leader stops at
 *once campaign unanswered	it may have been carried out: the key is read, until that is
 *answered watch lost, compacted	WATCH_LOST: the key is read
 *
 * The shell carries each request out once and answers it by its number; what comes late is known by
 * the number and not looked at.
 */
#ifndef FLOTILLA_ELECTION_H
#define FLOTILLA_ELECTION_H

#include "common/base/units.h"

#include <stdbool.h>
#include <stdint.h>

enum { ELECTION_EFFECTS_MAX = 6 };

struct election_limits {
	uint32_t ttl_ms;    /* asked for; what etcd grants counts */
	uint32_t margin_ms; /* clocks may differ by this over one ttl; less than ttl */
	uint32_t retry_ms;  /* pause after a request that failed */
	uint32_t answer_ms; /* a request unanswered for so long has failed */
};

enum election_event_kind {
	ELECTION_START,
	ELECTION_GRANTED,     /* answer to GRANT */
	ELECTION_KEPT,        /* answer to KEEP; ttl_ms 0: there is no such lease */
	ELECTION_KEY,         /* answer to CAMPAIGN or READ: the key as it is now */
	ELECTION_FAILED,      /* the request failed, or nobody knows whether it was carried out */
	ELECTION_LEADER_SEEN, /* by the watch: the key was written */
	ELECTION_LEADER_GONE, /* by the watch: the key was deleted */
	ELECTION_WATCH_LOST,  /* changes may have been missed */
	ELECTION_RESIGN,      /* for good: this replica stops */
	ELECTION_TICK,
};

struct election_event {
	enum election_event_kind kind;
	struct mono now;
	uint32_t request;     /* GRANTED KEPT KEY FAILED: the effect's number */
	int64_t lease;        /* GRANTED: it; KEY LEADER_SEEN: the one that holds the key */
	uint32_t ttl_ms;      /* GRANTED KEPT */
	struct mono asked_at; /* GRANTED KEPT: when the request was sent */
	bool exists;          /* KEY: there is a leader */
	/* KEY LEADER_SEEN: the key's create_revision; LEADER_GONE: of its deletion. */
	uint64_t revision;
};

enum election_effect_kind {
	ELECTION_GRANT,    /* ask for a lease of ttl_ms */
	ELECTION_KEEP,     /* keep `lease` alive */
	ELECTION_CAMPAIGN, /* write the key under `lease` if there is none; answer with what is
			      there */
	ELECTION_READ,     /* read the key */
	ELECTION_REVOKE,   /* give `lease` back; nobody waits for the answer */
	ELECTION_LEAD,     /* leader now, of the epoch that `revision` makes */
	ELECTION_FOLLOW,   /* not the leader (any more); revision: the leader's, 0: none is known */
};

struct election_effect {
	enum election_effect_kind kind;
	uint32_t request; /* GRANT KEEP CAMPAIGN READ */
	int64_t lease;
	uint32_t ttl_ms;
	uint64_t revision;
};

struct election_effects {
	uint32_t n;
	struct election_effect items[ELECTION_EFFECTS_MAX];
};

struct election_request {
	uint32_t number; /* 0: none under way */
	struct mono until;
};

/* Read-only but for election_init and election_step. */
struct election {
	struct election_limits limits;
	bool started, resigned, leads;
	uint32_t last_request;
	int64_t lease;          /* 0: none */
	struct mono lease_ends; /* by our own clock, margin included */
	struct mono keep_at;
	struct election_request keep; /* KEEP */
	struct election_request ask;  /* GRANT, CAMPAIGN or READ */
	enum election_effect_kind asked;
	struct mono ask_at; /* not before this */
	bool knows;         /* what the key is, as far as was told */
	uint64_t leader;    /* its create_revision; 0: there is none */
	uint64_t gone;      /* the newest revision that deleted it */
};

void election_init(struct election *election, const struct election_limits *limits);

/* Takes one event; out is overwritten.  Cannot fail. */
void election_step(struct election *election, const struct election_event *event,
		   struct election_effects *out);

/* When TICK is wanted; false: not before another event. */
bool election_next_deadline(const struct election *election, struct mono *out_at);

/* By its own clock: asked before anything is promised in the leader's name. */
bool election_leads(const struct election *election, struct mono now);

#endif
