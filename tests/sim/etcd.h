/*
 * An etcd as schedulers see it: one leader key under a lease, decisions, watches in the order of
 * revisions.  It may be slow, away, cut off from one scheduler (one way, too), compacted, and full.
 */
#ifndef FLOTILLA_SIM_ETCD_H
#define FLOTILLA_SIM_ETCD_H

#include "common/base/ids.h"
#include "tests/sim/world.h"

enum decision_kind { DECISION_TENANT, DECISION_NODE };

/* One object as it is from now on. */
struct decision {
	enum decision_kind kind;
	uint32_t n;              /* which tenant or host */
	uint32_t concurrent_max; /* of a tenant */
	bool credit_exhausted;
	bool cordoned; /* of a node; so is the next */
	uint64_t lost_below;
};

enum change_kind { CHANGE_LEADER, CHANGE_LEADER_GONE, CHANGE_DECISION };

struct change {
	enum change_kind kind;
	uint64_t revision;
	int64_t lease;    /* LEADER: that holds the key */
	uint32_t replica; /* LEADER: who wrote it */
	struct decision decision;
};

enum etcd_ask {
	ETCD_GRANT,
	ETCD_KEEP,
	ETCD_CAMPAIGN,
	ETCD_READ,
	ETCD_REVOKE,
	ETCD_DECIDE,   /* only while `revision` created the leader key */
	ETCD_WATCH,    /* changes after `revision`, under this number of a watch */
	ETCD_READ_ALL, /* all decisions, for the watch of that number */
};

struct etcd_request {
	enum etcd_ask kind;
	uint32_t replica;
	uint64_t life; /* of whoever asks */
	uint32_t number;
	int64_t lease;
	uint32_t ttl_ms;
	struct mono asked_at;
	uint64_t revision, watch;
	struct decision decision;
};

struct etcd_answer {
	struct etcd_request to;
	bool failed;    /* was not done, or nobody knows */
	bool compacted; /* WATCH: changes after `revision` are gone */
	int64_t lease;
	uint32_t ttl_ms;
	bool exists;       /* CAMPAIGN, READ: there is a leader key; held by lease, and: */
	uint32_t replica;  /* whose */
	uint64_t revision; /* its creation; without one, or READ_ALL: the present */
	struct decision decisions[TENANTS_MAX + HOSTS_MAX]; /* READ_ALL */
	uint32_t decisions_n;
};

void etcd_open(struct world *world);
void etcd_close(struct world *world);

void etcd_ask(struct world *world, const struct etcd_request *request);

/* What goes wrong. */
void etcd_restart(struct world *world, int64_t away_ns);
void etcd_compact(struct world *world);
void etcd_fill(struct world *world, bool full);
void etcd_cut(struct world *world, uint32_t replica, bool to_etcd, bool from_etcd);
void etcd_break_watches(struct world *world);

/* The newest revision of a decision; 0: there is none, or no etcd. */
uint64_t etcd_decided(const struct world *world);

#endif
