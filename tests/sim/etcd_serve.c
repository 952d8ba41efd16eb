/* What etcd answers. */
#include "tests/sim/etcd_internal.h"

static struct etcd_lease *find(struct etcd *etcd, int64_t id)
{
	for (size_t i = 0; i < LEASES_MAX; i++)
		if (id && etcd->leases[i].id == id)
			return &etcd->leases[i];
	return NULL;
}

static void grant(struct world *world, const struct etcd_request *request,
		  struct etcd_answer *answer)
{
	struct etcd *etcd = world->etcd;

	answer->failed = true;
	for (size_t i = 0; i < LEASES_MAX && !etcd->full && answer->failed; i++) {
		struct etcd_lease *lease = &etcd->leases[i];
		if (lease->id)
			continue;
		lease->id = ++etcd->last_lease;
		lease->ttl_ms = request->ttl_ms;
		etcd_expire(world, lease);
		answer->failed = false;
		answer->lease = lease->id;
		answer->ttl_ms = lease->ttl_ms;
	}
}

static void read_leader(const struct etcd *etcd, struct etcd_answer *answer)
{
	answer->exists = etcd->leader_lease != 0;
	answer->lease = etcd->leader_lease;
	answer->replica = etcd->leader;
	answer->revision = answer->exists ? etcd->leader_revision : etcd->revision;
}

static void campaign(struct world *world, const struct etcd_request *request,
		     struct etcd_answer *answer)
{
	struct etcd *etcd = world->etcd;
	struct change change = {.kind = CHANGE_LEADER, .replica = request->replica};

	if (etcd->full || !find(etcd, request->lease)) {
		answer->failed = true;
		return;
	}
	if (!etcd->leader_lease) {
		change.lease = request->lease;
		etcd->leader_lease = request->lease;
		etcd->leader = request->replica;
		etcd->leader_revision = etcd->revision + 1;
		etcd_change(world, change);
	}
	read_leader(etcd, answer);
}

static void revoke(struct world *world, const struct etcd_request *request)
{
	struct etcd_lease *lease = find(world->etcd, request->lease);

	if (!lease)
		return;
	lease->id = 0;
	if (world->etcd->leader_lease == request->lease)
		etcd_leader_gone(world);
}

static void decide(struct world *world, const struct etcd_request *request,
		   struct etcd_answer *answer)
{
	const struct decision *decision = &request->decision;
	struct etcd *etcd = world->etcd;
	struct change change = {.kind = CHANGE_DECISION, .decision = *decision};

	answer->failed =
		etcd->full || !etcd->leader_lease || etcd->leader_revision != request->revision;
	if (answer->failed)
		return;
	if (decision->kind == DECISION_TENANT) {
		etcd->has_tenant[decision->n] = true;
		etcd->tenants[decision->n] = *decision;
	} else {
		etcd->has_node[decision->n] = true;
		etcd->nodes[decision->n] = *decision;
	}
	etcd_change(world, change);
}

static void read_all(const struct etcd *etcd, struct etcd_answer *answer)
{
	for (uint32_t i = 0; i < TENANTS_MAX; i++)
		if (etcd->has_tenant[i])
			answer->decisions[answer->decisions_n++] = etcd->tenants[i];
	for (uint32_t i = 0; i < HOSTS_MAX; i++)
		if (etcd->has_node[i])
			answer->decisions[answer->decisions_n++] = etcd->nodes[i];
	answer->revision = etcd->revision;
}

static void watch(struct world *world, const struct etcd_request *request,
		  struct etcd_answer *answer)
{
	struct etcd *etcd = world->etcd;
	struct etcd_watch *watch = &etcd->watches[request->replica];

	answer->compacted = request->revision < etcd->compacted;
	/* One that came late is of a watch that was given up. */
	if (answer->compacted || request->watch < watch->number)
		return;
	*watch = (struct etcd_watch){.number = request->watch, .told_ns = watch->told_ns};
	while (watch->next < etcd->history_n &&
	       etcd->history[watch->next].revision <= request->revision)
		watch->next++;
	etcd_tell(world, request->replica);
}

bool etcd_serve(struct world *world, const struct etcd_request *request, struct etcd_answer *answer)
{
	struct etcd_lease *lease = find(world->etcd, request->lease);

	switch (request->kind) {
	case ETCD_GRANT:
		grant(world, request, answer);
		break;
	case ETCD_KEEP:
		answer->ttl_ms = lease ? lease->ttl_ms : 0;
		if (lease)
			etcd_expire(world, lease);
		break;
	case ETCD_CAMPAIGN:
		campaign(world, request, answer);
		break;
	case ETCD_READ:
		read_leader(world->etcd, answer);
		break;
	case ETCD_REVOKE:
		revoke(world, request);
		return false;
	case ETCD_DECIDE:
		decide(world, request, answer);
		break;
	case ETCD_WATCH:
		watch(world, request, answer);
		break;
	case ETCD_READ_ALL:
		read_all(world->etcd, answer);
		break;
	}
	return true;
}
