/* What must hold when nothing fails any more, and when everything has ended: rules 17 and 18. */
#include "tests/sim/oracle_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/etcd.h"
#include "tests/sim/replica.h"
#include "tests/sim/tenants.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- 17: the calm ---- */

static void look_at_calm_host(struct world *world, uint32_t host)
{
	const struct node_core *core = agent_core(world, host);
	uint64_t end_seq = agent_journal(world, host)->records_n + 1;
	struct wire_room runs = {0};
	struct node_counts counts;
	struct wire_poll poll = {0};

	if (!core)
		world_fail(world, "host %u has not come back", host);
	for (size_t i = 0; i < world->vms[host]->n; i++) {
		const struct shim *shim = &world->vms[host]->shims[i];
		if (shim_is_alive(shim))
			runs.vcpus += shim->claim.vcpus, runs.sandboxes++;
		if (shim_is_alive(shim) && shim->freeze != FREEZE_RUNS)
			world_fail(world, "host %u: vm %" PRIu64 " is frozen", host, shim->number);
	}
	node_core_report(core, &poll);
	if (poll.used.sandboxes != runs.sandboxes || poll.used.vcpus != runs.vcpus)
		world_fail(world, "host %u holds room for nothing", host);
	node_core_count(core, &counts);
	if (counts.claims_waiting || counts.vms[NODE_VM_CLAIMING] || counts.vms[NODE_VM_LOADED] ||
	    counts.vms[NODE_VM_ENDING])
		world_fail(world, "host %u: something still waits", host);
	if (agent_payloads_n(world, host))
		world_fail(world, "host %u: a payload is never dropped", host);
	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		if (world->oracle->next_seq[i][host] != end_seq)
			world_fail(world, "host %u: records were not fetched by replica %u", host,
				   i);
	if (node_core_meta(core).acked_seq != end_seq)
		world_fail(world, "host %u does not know what was fetched", host);
}

/* The microVM that runs the sandbox of this row, on the host that the row names. */
static const struct shim *find_run(const struct world *world, const struct core_sandbox *row)
{
	const struct host_vms *vms = world->vms[strtoul(row->node.text + 4, NULL, 10)];

	for (size_t i = 0; i < vms->n; i++)
		if (shim_is_alive(&vms->shims[i]) && vms->shims[i].claim.attempt == row->attempt)
			return &vms->shims[i];
	return NULL;
}

static void look_at_calm_row(struct world *world, uint32_t replica, const struct core_sandbox *row)
{
	size_t n = sandbox_number(&row->id);
	const struct shim *shim = find_run(world, row);
	uint32_t host = (uint32_t)strtoul(row->node.text + 4, NULL, 10);
	int64_t off_ms;

	if (row->state == SANDBOX_PAUSED || row->state == SANDBOX_KEPT ||
	    (row->state == SANDBOX_DISCARDING && replica != replica_leader(world))) {
		if (!shims_find_saved(world, host, row->attempt))
			world_fail(world,
				   "replica %u calls sandbox %zu paused, and it is not saved",
				   replica, n);
		return;
	}
	/* What a leader could not tell of stays with it: a kill to the sandbox's end, a pause until
	   it leads again or the sandbox is paused. */
	if (row->state != SANDBOX_RUNNING &&
	    ((row->state != SANDBOX_ENDING && row->state != SANDBOX_PAUSING) ||
	     replica == replica_leader(world)))
		world_fail(world, "replica %u: sandbox %zu is still %s", replica, n,
			   sandbox_state_name(row->state));
	if (!shim)
		world_fail(world, "replica %u calls sandbox %zu running, and it does not", replica,
			   n);
	if (row->state != SANDBOX_RUNNING)
		return;
	if (row->deadline_known != row->deadline_version)
		world_fail(world, "replica %u: the time limit of sandbox %zu was not confirmed",
			   replica, n);
	/* What nobody was told of may be in force and not known. */
	if (shim->rules != replica_rules(world, replica, n) &&
	    oracle_rules_are_told(world, n, shim->rules))
		world_fail(world,
			   "replica %u: sandbox %zu may reach what %" PRIu64
			   " wanted, not %" PRIu64,
			   replica, n, shim->rules, replica_rules(world, replica, n));
	off_ms = (row->end_at.ns - CLOCK_WALL_BEGIN_NS -
		  clock_world_ns(agent_clock(world, host), shim->end)) /
		 NS_PER_MS;
	if (!world->faults.wild &&
	    (off_ms > oracle_slack_ms(world) || off_ms < -oracle_slack_ms(world)))
		world_fail(world, "replica %u: sandbox %zu ends %" PRId64 " ms off its time limit",
			   replica, n, off_ms);
}

bool oracle_is_settled(const struct world *world)
{
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		const struct node_core *core = agent_core(world, i);
		uint64_t next_seq = agent_journal(world, i)->records_n + 1;
		if (!core || node_core_meta(core).acked_seq != next_seq)
			return false;
		for (uint32_t j = 0; j < world->shape.replicas_n; j++)
			if (world->oracle->next_seq[j][i] != next_seq)
				return false;
	}
	return world->now_ns - world->oracle->stirred_ns > MS(50);
}

/* Copies of snapshots stay; and nothing else, nor without what it is of. */
static uint32_t look_at_calm_copies(struct world *world, uint32_t replica)
{
	const struct store *store = replica_store(world, replica);
	bool leads = replica == replica_leader(world);
	uint32_t rows_n = 0;

	for (size_t i = 0; i < store->copies_n; i++) {
		const struct core_sandbox *copy = &store->copies[i].it, *of;

		if (copy->state == SANDBOX_NONE || copy->state == SANDBOX_ENDED)
			continue;
		if (copy->how != WIRE_SAVE_SNAPSHOT)
			world_fail(world, "replica %u has a copy of sandbox %zu", replica,
				   sandbox_number(&copy->source));
		of = replica_row(world, replica, sandbox_number(&copy->source));
		if (leads && (!of || of->state != SANDBOX_KEPT))
			world_fail(world, "a copy is left of snapshot %zu",
				   sandbox_number(&copy->source));
		look_at_calm_row(world, replica, copy);
		rows_n++;
	}
	return rows_n;
}

static void look_at_calm_replica(struct world *world, uint32_t replica, uint32_t open_n)
{
	uint32_t rows_n = 0;
	struct core_counts counts;

	if (!replica_core(world, replica))
		world_fail(world, "replica %u has not come back", replica);
	if (replica_store(world, replica)->revision < etcd_decided(world))
		world_fail(world, "replica %u has not heard what was decided", replica);
	for (size_t i = 0; i < sandboxes_n(world); i++) {
		const struct core_sandbox *row = replica_row(world, replica, i);
		const struct known *known = oracle_sandbox(world, i);
		const struct attempt *told =
			known->told_attempt ? oracle_attempt(world, known->told_attempt) : NULL;
		if (!row && told && told->number >= world->oracle->hosts[told->host].lost_below)
			world_fail(world, "replica %u does not know sandbox %zu, which was told",
				   replica, i);
		if (!row || row->state == SANDBOX_ENDED)
			continue;
		look_at_calm_row(world, replica, row);
		rows_n++;
	}
	rows_n += look_at_calm_copies(world, replica);
	core_count(replica_core(world, replica), &counts);
	if (rows_n != open_n || counts.sandboxes != rows_n)
		world_fail(world, "replica %u: %u sandboxes are open, %u run or are saved", replica,
			   rows_n, open_n);
}

void oracle_look_at_calm(struct world *world)
{
	uint32_t open_n = 0, leader = replica_leader(world);

	world_say(world, "the calm is looked at");
	if (leader == REPLICAS_MAX || !replica_admits(world, leader))
		world_fail(world, "nobody leads in the calm");
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		look_at_calm_host(world, i);
		for (size_t j = 0; j < world->vms[i]->n; j++)
			open_n += shim_is_alive(&world->vms[i]->shims[j]) ||
				  world->vms[i]->shims[j].saved;
	}
	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		look_at_calm_replica(world, i, open_n);
}

/* ---- 18: the end ---- */

static void look_at_bill(struct world *world, uint32_t replica, const struct attempt *attempt)
{
	const struct run *run = &world->oracle->runs[attempt->serial];
	uint64_t posted_ms = attempt->posted[replica].ms;

	if (!attempt->posted[replica].end || posted_ms != attempt->told_ms)
		world_fail(world, "attempt %" PRIx64 " is not posted to its end", attempt->number);
	if (!attempt->serial || !run->ended)
		world_fail(world, "attempt %" PRIx64 " is billed and never ran", attempt->number);
	if (run->lost ? posted_ms > run->ran_ms || posted_ms < run->journaled_ms
		      : posted_ms != run->ran_ms)
		world_fail(world, "attempt %" PRIx64 " ran %" PRIu64 " ms and is billed %" PRIu64,
			   attempt->number, run->ran_ms, posted_ms);
}

static void look_at_end_replica(struct world *world, uint32_t replica)
{
	for (size_t i = 0; i < sandboxes_n(world); i++) {
		const struct core_sandbox *row = replica_row(world, replica, i);
		if (row && row->state != SANDBOX_ENDED)
			world_fail(world, "replica %u: sandbox %zu is still %s", replica, i,
				   sandbox_state_name(row->state));
	}
	for (size_t i = 0; i < replica_store(world, replica)->copies_n; i++) {
		const struct core_sandbox *copy = &replica_store(world, replica)->copies[i].it;
		if (copy->state != SANDBOX_NONE && copy->state != SANDBOX_ENDED)
			world_fail(world, "replica %u: a copy of %zu is still %s", replica,
				   sandbox_number(&copy->source), sandbox_state_name(copy->state));
	}
	for (size_t i = 0; i < ATTEMPTS_MAX; i++)
		if (world->oracle->attempts[i].yes)
			look_at_bill(world, replica, &world->oracle->attempts[i]);
}

void oracle_look_at_end(struct world *world)
{
	world_say(world, "the end is looked at");
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		look_at_calm_host(world, i);
		if (agent_journal(world, i)->sandboxes_n)
			world_fail(world, "host %u: a sandbox is still journaled", i);
		if (agent_journal(world, i)->saved_n)
			world_fail(world, "host %u: a sandbox is still saved", i);
		for (size_t j = 0; j < world->vms[i]->n; j++)
			if (shim_is_alive(&world->vms[i]->shims[j]))
				world_fail(world, "host %u: a sandbox still runs", i);
	}
	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		look_at_end_replica(world, i);
}
