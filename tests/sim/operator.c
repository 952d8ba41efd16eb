/* What an operator does, by way of whoever leads. */
#include "tests/sim/operator.h"

#include "tests/sim/agent.h"
#include "tests/sim/etcd.h"
#include "tests/sim/oracle.h"
#include "tests/sim/replica.h"

#include <inttypes.h>

/* As the leader has it now, so that one decision changes one thing. */
static struct decision decision_of(const struct world *world, uint32_t leader,
				   enum decision_kind kind, uint32_t n)
{
	const struct store *store = replica_store(world, leader);
	struct decision decision = {.kind = kind, .n = n};

	if (kind == DECISION_TENANT) {
		decision.concurrent_max = store->tenants[n].concurrent_max;
		decision.credit_exhausted = store->tenants[n].credit_exhausted;
	} else {
		decision.cordoned = store->nodes[n].cordoned;
		decision.lost_below = store->nodes[n].lost_below;
	}
	return decision;
}

void operator_decide(struct world *world)
{
	uint32_t leader = replica_leader(world);
	struct decision decision;

	if (leader == REPLICAS_MAX)
		return;
	if (world_chance(world, 500000)) {
		decision =
			decision_of(world, leader, DECISION_TENANT,
				    (uint32_t)world_between(world, 0, world->shape.tenants_n - 1));
		oracle_cap_changes(world);
		decision.concurrent_max = (uint32_t)world_between(world, 1, 12);
		decision.credit_exhausted = world_chance(world, 200000);
	} else {
		decision = decision_of(world, leader, DECISION_NODE,
				       (uint32_t)world_between(world, 0, world->shape.hosts_n - 1));
		decision.cordoned = world_chance(world, world->shape.alike ? 600000 : 300000);
	}
	world_say(world, "operator: %s %u", decision.kind == DECISION_TENANT ? "tenant" : "node",
		  decision.n);
	replica_decide(world, leader, &decision);
}

void operator_cordon(struct world *world, uint32_t host, bool cordoned)
{
	uint32_t leader = replica_leader(world);
	struct decision decision;

	if (leader == REPLICAS_MAX)
		return;
	decision = decision_of(world, leader, DECISION_NODE, host);
	decision.cordoned = cordoned;
	replica_decide(world, leader, &decision);
}

bool operator_lose(struct world *world, uint32_t host)
{
	uint32_t leader = replica_leader(world);
	const struct id node = agent_id(host);
	struct decision decision;
	uint64_t below;

	if (leader == REPLICAS_MAX)
		return false;
	below = core_lost_below(replica_core(world, leader), &node);
	if (below == 0)
		return false;
	decision = decision_of(world, leader, DECISION_NODE, host);
	decision.lost_below = below;
	world_say(world, "operator: node %u is lost below %" PRIx64, host, below);
	world->totals.nodes_lost++;
	oracle_declared_lost(world, leader, host, below);
	replica_decide(world, leader, &decision);
	return true;
}

static void on_mend(struct world *world, const struct call *call)
{
	uint32_t leader = replica_leader(world);
	bool mended = leader != REPLICAS_MAX;

	for (uint32_t i = 0; leader != REPLICAS_MAX && i < world->shape.hosts_n; i++) {
		struct decision decision = decision_of(world, leader, DECISION_NODE, i);
		if (!decision.cordoned)
			continue;
		decision.cordoned = mended = false;
		replica_decide(world, leader, &decision);
	}
	for (uint32_t i = 0; leader != REPLICAS_MAX && i < world->shape.tenants_n; i++) {
		struct decision decision = decision_of(world, leader, DECISION_TENANT, i);
		if (!decision.credit_exhausted)
			continue;
		decision.credit_exhausted = mended = false;
		replica_decide(world, leader, &decision);
	}
	if (!mended)
		world_plan(world, S(2), *call);
}

void operator_mend(struct world *world)
{
	world_plan(world, S(1), (struct call){.fn = on_mend});
}
