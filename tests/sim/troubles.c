/* How each trouble strikes, and ends by itself. */
#include "tests/sim/troubles.h"

#include "tests/sim/agent.h"
#include "tests/sim/etcd.h"
#include "tests/sim/net.h"
#include "tests/sim/operator.h"
#include "tests/sim/replica.h"
#include "tests/sim/shims.h"
#include "tests/sim/tenants.h"

static uint32_t some_host(struct world *world)
{
	return (uint32_t)world_between(world, 0, world->shape.hosts_n - 1);
}

/* More often the one that leads: standbys have less to lose. */
static uint32_t some_replica(struct world *world)
{
	uint32_t leader = replica_leader(world);

	if (leader != REPLICAS_MAX && world_chance(world, 500000))
		return leader;
	return (uint32_t)world_between(world, 0, world->shape.replicas_n - 1);
}

/* ---- the network ---- */

static int64_t cut_ns(struct world *world)
{
	return world_chance(world, 150000) ? world_between(world, S(15), S(60))
					   : world_between(world, MS(50), S(25));
}

static void on_mend_pair(struct world *world, const struct call *call)
{
	net_cut(world, call->host, call->replica, false, false);
}

static void cut_one(struct world *world, uint32_t host, uint32_t replica, int64_t which,
		    int64_t for_ns)
{
	net_cut(world, host, replica, which != 0, which != 1);
	world_plan(world, for_ns,
		   (struct call){.fn = on_mend_pair, .host = host, .replica = replica});
}

static void cut_host(struct world *world)
{
	uint32_t host = some_host(world);
	int64_t which = world_between(world, 0, 2), for_ns = cut_ns(world);

	world_say(world, "host %u is cut off: %d", host, (int)which);
	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		cut_one(world, host, i, which, for_ns);
}

static void cut_pair(struct world *world)
{
	uint32_t host = some_host(world), replica = some_replica(world);
	int64_t which = world_between(world, 0, 2);

	world_say(world, "host %u and replica %u are cut off: %d", host, replica, (int)which);
	cut_one(world, host, replica, which, cut_ns(world));
}

static void cut_replica(struct world *world)
{
	uint32_t replica = some_replica(world);
	int64_t which = world_between(world, 0, 2), for_ns = cut_ns(world);

	world_say(world, "replica %u is cut off all hosts: %d", replica, (int)which);
	for (uint32_t i = 0; i < world->shape.hosts_n; i++)
		cut_one(world, i, replica, which, for_ns);
}

static void on_together(struct world *world, const struct call *call)
{
	net_part(world, call->host, call->replica, false);
}

static void part_replicas(struct world *world)
{
	uint32_t a = some_replica(world), b = some_replica(world);

	world_say(world, "replicas %u and %u are apart", a, b);
	net_part(world, a, b, true);
	world_plan(world, cut_ns(world), (struct call){.fn = on_together, .host = a, .replica = b});
}

/* ---- disks ---- */

static void on_replica_disk_works(struct world *world, const struct call *call)
{
	replica_disk_fails(world, call->replica, false);
}

static void on_agent_disk_works(struct world *world, const struct call *call)
{
	agent_disk_fails(world, call->host, false);
}

static void fail_replica_disk(struct world *world)
{
	uint32_t replica = some_replica(world);

	replica_disk_fails(world, replica, true);
	world_plan(world, world_between(world, MS(1), world_chance(world, 200000) ? S(40) : S(4)),
		   (struct call){.fn = on_replica_disk_works, .replica = replica});
}

static void fail_agent_disk(struct world *world)
{
	uint32_t host = some_host(world);

	agent_disk_fails(world, host, true);
	world_plan(world, world_between(world, MS(1), world_chance(world, 200000) ? S(40) : S(4)),
		   (struct call){.fn = on_agent_disk_works, .host = host});
}

/* ---- programs ---- */

static void crash_replica(struct world *world)
{
	replica_crash(world, some_replica(world));
}

static void crash_agent(struct world *world)
{
	agent_crash(world, some_host(world));
}

static void reboot(struct world *world)
{
	agent_reboot(world, some_host(world));
}

/* A leader and a node at once: what only they knew is gone. */
static void crash_both(struct world *world)
{
	replica_crash(world, some_replica(world));
	if (world_chance(world, 500000))
		agent_reboot(world, some_host(world));
	else
		agent_crash(world, some_host(world));
}

static void leave(struct world *world)
{
	agent_leave(world, some_host(world));
}

static void hand_over(struct world *world)
{
	replica_hand_over(world, some_replica(world));
}

/* A host with everything on it; an agent; a scheduler. */
static void stop(struct world *world)
{
	uint32_t host = some_host(world);
	uint32_t programs[] = {OF_AGENT(host) | OF_SHIMS(host), OF_AGENT(host),
			       OF_REPLICA(some_replica(world))};

	world_stop(world, programs[world_between(world, 0, 2)],
		   world_between(world, MS(100), S(30)));
}

static void jump(struct world *world)
{
	int64_t far_ns = world->faults.wild ? S(100000) : MS(200);
	int64_t skew_ns = world_between(world, -far_ns, far_ns);

	if (world_chance(world, 500000))
		agent_set_skew(world, some_host(world), skew_ns);
	else
		replica_set_skew(world, some_replica(world), skew_ns);
}

/* ---- etcd ---- */

static void on_etcd_mended(struct world *world, const struct call *call)
{
	etcd_cut(world, call->replica, false, false);
}

static void cut_etcd(struct world *world)
{
	uint32_t replica = some_replica(world);
	int64_t which = world_between(world, 0, 2);

	etcd_cut(world, replica, which != 0, which != 1);
	world_plan(world, cut_ns(world), (struct call){.fn = on_etcd_mended, .replica = replica});
}

static void restart_etcd(struct world *world)
{
	etcd_restart(world, world_between(world, MS(100), S(12)));
}

static void compact_etcd(struct world *world)
{
	etcd_compact(world);
	if (world_chance(world, 500000))
		etcd_break_watches(world);
}

static void on_etcd_has_room(struct world *world, const struct call *call)
{
	(void)call;
	etcd_fill(world, false);
}

static void fill_etcd(struct world *world)
{
	etcd_fill(world, true);
	world_plan(world, world_between(world, S(1), S(20)), (struct call){.fn = on_etcd_has_room});
}

/* ---- others ---- */

static void lose(struct world *world)
{
	uint32_t first = some_host(world);

	/* One that may be given up, if there is any. */
	for (uint32_t i = 0; i < world->shape.hosts_n; i++)
		if (operator_lose(world, (first + i) % world->shape.hosts_n))
			return;
}

static void fault_vm(struct world *world)
{
	shims_fault(world, some_host(world), world_chance(world, world->faults.gone));
}

static void change_template(struct world *world)
{
	agent_change_template(world, some_host(world), world_chance(world, 300000));
}

#define FAULT(member) offsetof(struct faults, member)

const struct trouble troubles[] = {
	{cut_host, FAULT(cut_ns)},
	{cut_pair, FAULT(cut_pair_ns)},
	{cut_replica, FAULT(cut_replica_ns)},
	{part_replicas, FAULT(apart_ns)},
	{crash_replica, FAULT(crash_replica_ns)},
	{crash_agent, FAULT(crash_agent_ns)},
	{crash_both, FAULT(crash_both_ns)},
	{reboot, FAULT(reboot_ns)},
	{leave, FAULT(leave_ns)},
	{hand_over, FAULT(hand_over_ns)},
	{fail_replica_disk, FAULT(commit_replica_ns)},
	{fail_agent_disk, FAULT(commit_agent_ns)},
	{stop, FAULT(stop_ns)},
	{jump, FAULT(jump_ns)},
	{cut_etcd, FAULT(etcd_cut_ns)},
	{restart_etcd, FAULT(etcd_restart_ns)},
	{compact_etcd, FAULT(etcd_compact_ns)},
	{fill_etcd, FAULT(etcd_full_ns)},
	{operator_decide, FAULT(decide_ns)},
	{lose, FAULT(lose_ns)},
	{tenants_flood, FAULT(flood_ns)},
	{change_template, FAULT(template_ns)},
	{fault_vm, FAULT(vm_fault_ns)},
};

const size_t troubles_n = ARRAY_N(troubles);
