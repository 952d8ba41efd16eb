/* What the files of etcd offer to each other. */
#ifndef FLOTILLA_SIM_ETCD_INTERNAL_H
#define FLOTILLA_SIM_ETCD_INTERNAL_H

#include "tests/sim/etcd.h"

enum { LEASES_MAX = 64 };

struct etcd_lease {
	int64_t id; /* 0: none */
	uint32_t ttl_ms;
	uint64_t kept; /* counts keep-alives */
};

struct etcd_watch {
	uint64_t number; /* the replica's name for it; 0: none */
	size_t next;     /* in the history */
	int64_t told_ns; /* of the newest change that is on its way: they keep their order */
};

struct etcd {
	bool away, full;
	int64_t fast; /* thousandths by which its clock may end leases early */
	bool to_cut[REPLICAS_MAX], from_cut[REPLICAS_MAX];
	uint64_t revision, compacted;
	int64_t last_lease;
	struct etcd_lease leases[LEASES_MAX];
	int64_t leader_lease; /* 0: there is no leader key */
	uint32_t leader;
	uint64_t leader_revision;
	struct change *history;
	size_t history_n, history_cap;
	bool has_tenant[TENANTS_MAX], has_node[HOSTS_MAX];
	struct decision tenants[TENANTS_MAX], nodes[HOSTS_MAX];
	uint64_t decided; /* revision of the newest decision */
	struct etcd_watch watches[REPLICAS_MAX];
};

/* ---- etcd.c ---- */

void etcd_change(struct world *world, struct change change);
void etcd_tell(struct world *world, uint32_t replica);
void etcd_leader_gone(struct world *world);
void etcd_expire(struct world *world, struct etcd_lease *lease);

/* ---- etcd_serve.c ---- */

/* False: nobody hears of it. */
bool etcd_serve(struct world *world, const struct etcd_request *request,
		struct etcd_answer *answer);

#endif
