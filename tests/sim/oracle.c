/* What runs, and what may: rules 1, 2, 3, 6, 10 and 11. */
#include "tests/sim/oracle_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/replica.h"
#include "tests/sim/tenants.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void oracle_open(struct world *world)
{
	world->oracle = calloc(1, sizeof(*world->oracle));
	CHECK(world->oracle);
	for (uint32_t i = 0; i < REPLICAS_MAX; i++)
		for (uint32_t j = 0; j < HOSTS_MAX; j++)
			world->oracle->next_seq[i][j] = 1;
	/* A node whose disk is full may be passed over. */
	world->oracle->caps_are_strict = !world->shape.lease_ms && (world->shape.replicas_n == 1 ||
								    !world->faults.commit_agent_ns);
}

void oracle_close(struct world *world)
{
	free(world->oracle->runs);
	free(world->oracle->known);
	free(world->oracle->keys);
	free(world->oracle);
}

void oracle_stir(struct world *world)
{
	world->oracle->stirred = true;
	world->oracle->stirred_ns = world->now_ns;
}

struct attempt *oracle_attempt(struct world *world, uint64_t number)
{
	size_t place = (number * 0x9e3779b97f4a7c15u >> 40) % ATTEMPTS_MAX;
	struct attempt *attempts = world->oracle->attempts;

	CHECK(number);
	while (attempts[place].number && attempts[place].number != number)
		place = (place + 1) % ATTEMPTS_MAX;
	attempts[place].number = number;
	return &attempts[place];
}

void *oracle_hold(void *data, size_t n, size_t *cap, size_t size)
{
	size_t old = *cap;

	if (n < old)
		return data;
	*cap = 2 * n + 64;
	data = realloc(data, *cap * size);
	CHECK(data);
	memset((char *)data + old * size, 0, (*cap - old) * size);
	return data;
}

struct known *oracle_sandbox(struct world *world, size_t n)
{
	struct oracle *oracle = world->oracle;

	oracle->known = oracle_hold(oracle->known, n, &oracle->known_cap, sizeof(*oracle->known));
	return &oracle->known[n];
}

int64_t oracle_slack_ms(const struct world *world)
{
	return world->faults.drift ? 2500 : 1000;
}

/* ---- 1, 2, 3, 6: what runs ---- */

static void look_at_row(struct world *world, uint32_t host, const struct shim *shim,
			const struct core_sandbox *row)
{
	/* A node that was given up hears of it when it is back. */
	if (row->state == SANDBOX_ENDED && row->attempt == shim->claim.attempt &&
	    row->cause != CAUSE_NODE_LOST)
		world_fail(world, "host %u runs sandbox %zu which has ended", host,
			   sandbox_number(&row->id));
}

static void look_at_run(struct world *world, uint32_t host, const struct shim *shim,
			struct wire_room *held)
{
	size_t n = sandbox_number(&shim->claim.sandbox);
	struct known *known = oracle_sandbox(world, n);
	uint32_t tenant = tenant_number(&shim->claim.tenant);
	bool admitted = false;

	for (uint32_t i = 0; i < world->shape.replicas_n; i++) {
		const struct core_sandbox *row = replica_row(world, i, n);
		admitted = admitted || row;
		if (row)
			look_at_row(world, host, shim, row);
	}
	if (!admitted)
		world_fail(world, "host %u runs sandbox %zu which nobody admitted", host, n);
	if (known->seen == world->oracle->look)
		world_fail(world, "sandbox %zu runs twice", n);
	/* Alone, a kill is told when it is durable; and so is one of what is given up. */
	if (known->killed && world->shape.replicas_n > 1 &&
	    shim->claim.attempt >= world->oracle->hosts[host].lost_below)
		world_fail(world, "sandbox %zu runs, and was told killed", n);
	known->seen = world->oracle->look;
	held[tenant].vcpus += shim->claim.vcpus;
	held[tenant].sandboxes++;
}

static void look_at_host(struct world *world, uint32_t host, struct wire_room *held)
{
	const struct host_vms *vms = world->vms[host];
	const struct wire_room *most = agent_capacity(world, host);
	struct wire_room room = {0}, *before = &world->oracle->hosts[host].used;

	for (size_t i = 0; i < vms->n; i++) {
		const struct shim *shim = &vms->shims[i];
		if (!shim->claim_taken || shim->state == WIRE_SHIM_ENDED)
			continue;
		room.vcpus += shim->claim.vcpus;
		room.mem_mib += shim->claim.mem_mib;
		room.sandboxes++;
		if (shim_is_running(world, host, shim))
			look_at_run(world, host, shim, held);
	}
	/* What was claimed before less was declared may run to its end. */
	if ((room.sandboxes > most->sandboxes && room.sandboxes > before->sandboxes) ||
	    (room.vcpus > most->vcpus && room.vcpus > before->vcpus) ||
	    (room.mem_mib > most->mem_mib && room.mem_mib > before->mem_mib))
		world_fail(world, "host %u is oversold: %u sandboxes, %u vcpus, %" PRIu64 " MiB",
			   host, room.sandboxes, room.vcpus, room.mem_mib);
	*before = room;
}

static void look_at_what_runs(struct world *world)
{
	struct wire_room held[TENANTS_MAX] = {0};
	const struct store *store = replica_store(world, 0);

	world->oracle->stirred = false;
	world->oracle->look++;
	for (uint32_t i = 0; i < world->shape.hosts_n; i++)
		look_at_host(world, i, held);
	for (uint32_t i = 0; i < world->shape.tenants_n && world->oracle->caps_are_strict; i++)
		if (held[i].sandboxes > store->tenants[i].concurrent_max ||
		    held[i].vcpus > store->tenants[i].vcpus_max)
			world_fail(world, "tenant %u has %u sandboxes of %u", i, held[i].sandboxes,
				   store->tenants[i].concurrent_max);
}

/* ---- 10: who leads ---- */

static void look_at_leaders(struct world *world)
{
	uint32_t leaders_n = 0;

	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		leaders_n += replica_leads(world, i);
	if (leaders_n > 1)
		world_fail(world, "%u schedulers lead at once", leaders_n);
}

/* ---- 11: leases ---- */

/* Programs that were stopped in their tracks could not stop anything. */
static bool is_just_back(const struct world *world, uint32_t host)
{
	int64_t back_ns = world->now_ns - world->go_on_ns[HOSTS_MAX + host];

	return world->go_on_ns[HOSTS_MAX + host] && back_ns < MS(STOP_LIMIT_MS);
}

static void look_at_leases(struct world *world)
{
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		const struct host *host = &world->oracle->hosts[i];
		struct mono now = agent_mono(world, i);
		if (host->is_endless || mono_ms_since(now, host->leased) < STOP_LIMIT_MS ||
		    is_just_back(world, i))
			continue;
		for (size_t j = 0; j < world->vms[i]->n; j++)
			if (shim_is_running(world, i, &world->vms[i]->shims[j]))
				world_fail(world, "host %u runs vm %" PRIu64 " without a lease", i,
					   world->vms[i]->shims[j].number);
	}
}

void oracle_leased(struct world *world, uint32_t host, int64_t polled_ns, uint64_t lease_ms)
{
	struct host *known = &world->oracle->hosts[host];
	struct mono until =
		mono_add_ms(clock_mono(agent_clock(world, host), polled_ns), (int64_t)lease_ms);

	if (lease_ms == 0)
		known->is_endless = true;
	else if (until.ns > known->leased.ns)
		known->leased = until;
}

void oracle_look(struct world *world)
{
	if (world->shape.replicas_n > 1)
		look_at_leaders(world);
	if (world->shape.lease_ms)
		look_at_leases(world);
	if (world->oracle->stirred)
		look_at_what_runs(world);
}
