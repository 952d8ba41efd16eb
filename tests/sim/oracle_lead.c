/* What a leader may do, and what it knows then: rules 3, 12 and 13. */
#include "tests/sim/oracle_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/replica.h"
#include "tests/sim/tenants.h"

#include <inttypes.h>

/* What runs there and is not known to this scheduler: of one tenant or (NULL) at all; only what its
 * host has journaled, or all. */
static const struct shim *unknown_run(struct world *world, uint32_t replica, uint32_t host,
				      const struct id *tenant, bool journaled)
{
	const struct host_vms *vms = world->vms[host];

	for (size_t i = 0; i < vms->n; i++) {
		const struct shim *shim = &vms->shims[i];
		if (!shim_is_running(world, host, shim) ||
		    (tenant && !id_equal(&shim->claim.tenant, tenant)) ||
		    (journaled && !oracle_attempt(world, shim->claim.attempt)->yes))
			continue;
		if (!core_sandbox_find(replica_core(world, replica), &shim->claim.sandbox))
			return shim;
	}
	return NULL;
}

/* The quota was granted knowing everything that runs on nodes which have joined. */
static void look_at_admission(struct world *world, uint32_t replica, const struct core_sandbox *row)
{
	const struct core *core = replica_core(world, replica);
	struct core_tenant_view tenant;

	CHECK(core_tenant_find(core, &row->tenant, &tenant));
	if (tenant.concurrent > tenant.row.concurrent_max || tenant.vcpus > tenant.row.vcpus_max)
		world_fail(world, "replica %u admits sandbox %zu beyond the cap", replica,
			   sandbox_number(&row->id));
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		const struct id node = agent_id(i);
		struct core_node_view view;
		const struct shim *shim = unknown_run(world, replica, i, &row->tenant, false);
		if (!shim || !core_node_find(core, &node, &view) || !view.joined ||
		    shim->claim.attempt < view.lost_below)
			continue;
		world_fail(world, "replica %u admits, and does not know of sandbox %zu on host %u",
			   replica, sandbox_number(&shim->claim.sandbox), i);
	}
}

static bool runs_anything(const struct world *world, uint32_t host)
{
	/* Programs that just went on have had no time to stop it. */
	if (world->now_ns - world->go_on_ns[HOSTS_MAX + host] < MS(STOP_LIMIT_MS))
		return false;
	for (size_t i = 0; i < world->vms[host]->n; i++)
		if (shim_is_running(world, host, &world->vms[host]->shims[i]))
			return true;
	return false;
}

/* The node said that it knows this epoch and owes nothing to an older one, or that it cannot even
 * write that; and was heard out. */
static bool was_heard(struct world *world, uint32_t replica, uint32_t host,
		      const struct core_node_view *view)
{
	const struct host *known = &world->oracle->hosts[host];
	bool said = known->said_epoch >= replica_epoch(world, replica);
	bool in_trouble = view->trouble[0] || known->trouble_epoch == replica_epoch(world, replica);

	/* What could not be journaled was told to nobody, and is adopted when it can be. */
	return (said || in_trouble) && !unknown_run(world, replica, host, NULL, !said);
}

static void look_at_admitting(struct world *world, uint32_t replica)
{
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		const struct id node = agent_id(i);
		struct core_node_view view;
		CHECK(core_node_find(replica_core(world, replica), &node, &view));
		if (was_heard(world, replica, i, &view) || view.lost_below)
			continue;
		if (world->shape.lease_ms == 0)
			world_fail(world, "replica %u admits, and has not heard host %u", replica,
				   i);
		if (runs_anything(world, i))
			world_fail(world, "replica %u admits, and host %u runs unheard", replica,
				   i);
	}
}

void oracle_stepped(struct world *world, uint32_t replica, const struct core_event *event,
		    const struct core_effects *effects)
{
	bool leads = replica_leads(world, replica);

	if (event->kind == CORE_EVENT_NODE_REPORT)
		oracle_look_at_transfers(world, replica);
	for (uint32_t i = 0; i < effects->n; i++) {
		const struct core_effect *effect = &effects->items[i];
		if (effect->kind == CORE_EFFECT_ORDER &&
		    core_role(replica_core(world, replica)) == CORE_STANDBY)
			world_fail(world, "replica %u orders, and is a standby", replica);
		/* What it decides and may not tell, its clock being over, is dropped with it. */
		if (effect->kind == CORE_EFFECT_ADMITTING && leads)
			look_at_admitting(world, replica);
		if (effect->kind == CORE_EFFECT_SAVE_SANDBOX && event->kind == CORE_EVENT_CREATE &&
		    leads)
			look_at_admission(world, replica, &effect->sandbox);
	}
}

void oracle_cap_changes(struct world *world)
{
	world->oracle->caps_are_strict = false;
}

void oracle_declared_lost(struct world *world, uint32_t replica, uint32_t host, uint64_t lost_below)
{
	struct host *known = &world->oracle->hosts[host];
	const struct id node = agent_id(host);
	const struct core_sandbox *row;
	uint32_t cursor = 0;

	while ((row = core_sandbox_next(replica_core(world, replica), &cursor)))
		if (id_equal(&row->node, &node) && row->attempt >= lost_below)
			world_fail(world, "replica %u gives host %u up, but not sandbox %zu",
				   replica, host, sandbox_number(&row->id));
	if (world->shape.lease_ms && runs_anything(world, host))
		world_fail(world, "replica %u gives host %u up, which runs", replica, host);
	world->oracle->caps_are_strict = false;
	if (lost_below > known->lost_below)
		known->lost_below = lost_below;
}

void oracle_polls(struct world *world, uint32_t host, const struct wire_poll *poll)
{
	struct host *known = &world->oracle->hosts[host];

	uint32_t leader = replica_leader(world);

	oracle_offers(world, host, poll);
	if (poll->trouble[0] && leader != REPLICAS_MAX)
		known->trouble_epoch = replica_epoch(world, leader);
	if (poll->epoch > known->said_epoch && poll->pending_n == 0) {
		known->said_epoch = poll->epoch;
		known->said_seq = poll->end_seq;
	}
	for (size_t i = 0; i < world->vms[host]->n; i++) {
		const struct shim *shim = &world->vms[host]->shims[i];
		if (shim->claim_taken && shim->state != WIRE_SHIM_ENDED &&
		    shim->claim.attempt < poll->lost_below)
			world_fail(world, "host %u gave up attempt %" PRIx64 ", and it is there",
				   host, shim->claim.attempt);
	}
}
