/* What must hold when nothing fails any more, and when everything has ended. */
#include "tests/sim/oracle_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/leader.h"
#include "tests/sim/tenants.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- 10: the calm ---- */

static void look_at_calm_host(struct world *world, uint32_t host)
{
	const struct node_core *core = agent_core(world, host);
	struct wire_room runs = {0};
	struct node_counts counts;
	struct wire_poll poll;

	if (!core)
		world_fail(world, "host %u has not come back", host);
	for (size_t i = 0; i < world->vms[host]->n; i++)
		if (shim_is_running(&world->vms[host]->shims[i]))
			runs.vcpus += world->vms[host]->shims[i].claim.vcpus, runs.sandboxes++;
	node_core_report(core, &poll);
	if (poll.used.sandboxes != runs.sandboxes || poll.used.vcpus != runs.vcpus)
		world_fail(world, "host %u holds room for nothing", host);
	node_core_count(core, &counts);
	if (counts.claims_waiting || counts.vms[NODE_VM_CLAIMING] || counts.vms[NODE_VM_LOADED] ||
	    counts.vms[NODE_VM_ENDING])
		world_fail(world, "host %u: something still waits", host);
	if (agent_payloads_n(world, host))
		world_fail(world, "host %u: a payload is never dropped", host);
	if (world->oracle->next_seq[host] != agent_journal(world, host)->records_n + 1)
		world_fail(world, "host %u: records were not fetched", host);
	if (node_core_meta(core).acked_seq != world->oracle->next_seq[host])
		world_fail(world, "host %u does not know what was fetched", host);
}

/* The microVM that runs the sandbox of this row, on the host that the row names. */
static const struct shim *find_run(const struct world *world, const struct core_sandbox *row)
{
	const struct host_vms *vms = world->vms[strtoul(row->node.text + 4, NULL, 10)];

	for (size_t i = 0; i < vms->n; i++)
		if (shim_is_running(&vms->shims[i]) && vms->shims[i].claim.attempt == row->attempt)
			return &vms->shims[i];
	return NULL;
}

static void look_at_calm_row(struct world *world, const struct core_sandbox *row)
{
	size_t n = sandbox_number(&row->id);
	const struct shim *shim = find_run(world, row);
	int64_t off_ms;

	if (row->state != SANDBOX_RUNNING)
		world_fail(world, "sandbox %zu is still %s", n, sandbox_state_name(row->state));
	if (!shim)
		world_fail(world, "sandbox %zu is called running and does not", n);
	if (row->deadline_known != row->deadline_version)
		world_fail(world, "sandbox %zu: its time limit was not confirmed", n);
	off_ms = (row->end_at.ns - S(1700000000) - shim->end_ns) / NS_PER_MS;
	if (off_ms > SLACK_MS || off_ms < -SLACK_MS)
		world_fail(world, "sandbox %zu ends %" PRId64 " ms off its time limit", n, off_ms);
}

bool oracle_is_settled(const struct world *world)
{
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		const struct node_core *core = agent_core(world, i);
		uint64_t next_seq = agent_journal(world, i)->records_n + 1;
		if (!core || node_core_meta(core).acked_seq != next_seq ||
		    world->oracle->next_seq[i] != next_seq)
			return false;
	}
	return world->now_ns - world->oracle->stirred_ns > MS(50);
}

void oracle_look_at_calm(struct world *world)
{
	uint32_t rows_n = 0, runs_n = 0;
	struct core_counts counts;

	world_say(world, "the calm is looked at");
	if (!leader_core(world))
		world_fail(world, "the scheduler has not come back");
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		look_at_calm_host(world, i);
		for (size_t j = 0; j < world->vms[i]->n; j++)
			runs_n += shim_is_running(&world->vms[i]->shims[j]);
	}
	for (size_t i = 0; i < sandboxes_n(world); i++) {
		const struct core_sandbox *row = leader_row(world, i);
		if (!row || row->state == SANDBOX_ENDED)
			continue;
		look_at_calm_row(world, row);
		rows_n++;
	}
	core_count(leader_core(world), &counts);
	if (rows_n != runs_n || counts.running != rows_n)
		world_fail(world, "%u sandboxes are called running, %u run", rows_n, runs_n);
}

/* ---- 11: the end ---- */

static void look_at_bill(struct world *world, const struct attempt *attempt)
{
	const struct run *run = &world->oracle->runs[attempt->serial];

	if (!attempt->posted_end || attempt->posted_ms != attempt->told_ms)
		world_fail(world, "attempt %" PRIx64 " is not posted to its end", attempt->number);
	if (!attempt->serial || !run->ended)
		world_fail(world, "attempt %" PRIx64 " is billed and never ran", attempt->number);
	if (run->lost ? attempt->posted_ms > run->ran_ms || attempt->posted_ms < run->journaled_ms
		      : attempt->posted_ms != run->ran_ms)
		world_fail(world, "attempt %" PRIx64 " ran %" PRIu64 " ms and is billed %" PRIu64,
			   attempt->number, run->ran_ms, attempt->posted_ms);
}

void oracle_look_at_end(struct world *world)
{
	world_say(world, "the end is looked at");
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		look_at_calm_host(world, i);
		if (agent_journal(world, i)->sandboxes_n)
			world_fail(world, "host %u: a sandbox is still journaled", i);
		for (size_t j = 0; j < world->vms[i]->n; j++)
			if (shim_is_running(&world->vms[i]->shims[j]))
				world_fail(world, "host %u: a sandbox still runs", i);
	}
	for (size_t i = 0; i < sandboxes_n(world); i++) {
		const struct core_sandbox *row = leader_row(world, i);
		if (row && row->state != SANDBOX_ENDED)
			world_fail(world, "sandbox %zu is still %s", i,
				   sandbox_state_name(row->state));
	}
	for (size_t i = 0; i < ATTEMPTS_MAX; i++)
		if (world->oracle->attempts[i].yes)
			look_at_bill(world, &world->oracle->attempts[i]);
}
