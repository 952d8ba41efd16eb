/* Which troubles a seed has, and their beginning and end. */
#include "tests/sim/faults.h"

#include "tests/sim/agent.h"
#include "tests/sim/etcd.h"
#include "tests/sim/net.h"
#include "tests/sim/operator.h"
#include "tests/sim/replica.h"
#include "tests/sim/troubles.h"

#include <string.h>

static uint32_t often(struct world *world, uint32_t most)
{
	return world_chance(world, 400000) ? (uint32_t)world_between(world, 1, most) : 0;
}

static int64_t mean_ns(struct world *world, int64_t least, int64_t most)
{
	return world_chance(world, 400000) ? world_between(world, least, most) : 0;
}

static void choose_shape(struct world *world)
{
	struct shape *shape = &world->shape;

	shape->replicas_n = world_chance(world, 333333) ? 1 : (uint32_t)world_between(world, 2, 3);
	shape->hosts_n = (uint32_t)world_between(world, 1, HOSTS_MAX);
	shape->tenants_n = (uint32_t)world_between(world, 1, TENANTS_MAX);
	shape->lease_ms =
		world_chance(world, 600000) ? (uint32_t)world_between(world, 8000, 25000) : 0;
	shape->tick_ms = (uint32_t)world_between(world, 1000, 15000);
	shape->keep_ms = (uint32_t)world_between(world, 0, 60000);
	shape->capacity_sandboxes = (uint32_t)world_between(world, 1, 8);
	shape->attempts_spare = (uint32_t)world_between(world, 2, 40);
	shape->chaos_ns =
		world_between(world, S(20), world_chance(world, 100000) ? S(600) : S(120));
	shape->tell_ns = (50 * NS_PER_US) << world_between(world, 0, 9);
	shape->ask_ns = world_between(world, MS(100), S(2));
	shape->transfers_max =
		world_chance(world, 700000) ? (uint32_t)world_between(world, 1, 4) : 0;
	shape->everywhere = world_chance(world, 500000);
	shape->platforms_n = (uint32_t)world_between(world, 1, 2);
	shape->alike = shape->transfers_max && world_chance(world, 400000);
	if (shape->alike)
		shape->platforms_n = 1;
}

static void choose_of_several(struct world *world)
{
	struct faults *faults = &world->faults;

	faults->cut_pair_ns = mean_ns(world, S(3), S(40));
	faults->cut_replica_ns = mean_ns(world, S(5), S(60));
	faults->apart_ns = mean_ns(world, S(5), S(60));
	faults->hand_over_ns = mean_ns(world, S(5), S(60));
	faults->etcd_cut_ns = mean_ns(world, S(5), S(60));
	faults->etcd_restart_ns = mean_ns(world, S(10), S(90));
	faults->etcd_compact_ns = mean_ns(world, S(2), S(30));
	faults->etcd_full_ns = mean_ns(world, S(10), S(90));
	faults->etcd_slow = often(world, 200000);
}

void faults_choose(struct world *world)
{
	struct faults *faults = &world->faults;

	choose_shape(world);
	faults->loss = often(world, 100000);
	faults->repeat = often(world, 100000);
	faults->late = often(world, 200000);
	faults->cut_ns = mean_ns(world, S(3), S(40));
	faults->crash_replica_ns = mean_ns(world, S(5), S(60));
	faults->crash_agent_ns = mean_ns(world, S(2), S(40));
	faults->crash_both_ns = mean_ns(world, S(10), S(90));
	faults->reboot_ns = mean_ns(world, S(10), S(90));
	faults->leave_ns = mean_ns(world, S(5), S(60));
	faults->commit_replica_ns = mean_ns(world, S(5), S(60));
	faults->commit_agent_ns = mean_ns(world, S(5), S(60));
	faults->stop_ns = mean_ns(world, S(5), S(60));
	faults->jump_ns = mean_ns(world, S(1), S(20));
	faults->decide_ns = mean_ns(world, S(1), S(20));
	faults->lose_ns = mean_ns(world, S(1), S(10));
	faults->flood_ns = mean_ns(world, S(5), S(60));
	faults->template_ns = mean_ns(world, S(1), S(30));
	if (world->shape.alike) {
		faults->decide_ns = S(3);
		faults->template_ns = 0;
	}
	faults->vm_fault_ns = mean_ns(world, S(1), S(30));
	faults->restore_fail = often(world, 300000);
	faults->claim_fail = often(world, 200000);
	faults->save_fail = often(world, 400000);
	faults->gone = often(world, 500000);
	faults->carry_fail = often(world, 200000);
	faults->carry_corrupt = often(world, 500000);
	faults->slow_claim = often(world, 300000);
	faults->die_after_commit = often(world, 5000);
	faults->resize = often(world, 500000);
	faults->impatience = often(world, 300000);
	faults->unheard = often(world, 200000);
	faults->skew = world_chance(world, 500000);
	faults->wild = world_chance(world, 100000);
	faults->drift = world_chance(world, 500000);
	faults->slow_disk = world_chance(world, 500000);
	if (world->shape.replicas_n > 1)
		choose_of_several(world);
}

static int64_t mean_of(const struct world *world, const struct trouble *trouble)
{
	int64_t mean;

	memcpy(&mean, (const char *)&world->faults + trouble->mean_offset, sizeof(mean));
	return mean;
}

static void on_trouble(struct world *world, const struct call *call)
{
	const struct trouble *trouble = &troubles[call->a];

	if (world->calm)
		return;
	trouble->strike(world);
	world_plan(world, world_around(world, mean_of(world, trouble)), *call);
}

void faults_begin(struct world *world)
{
	for (size_t i = 0; i < troubles_n; i++)
		if (mean_of(world, &troubles[i]))
			world_plan(world, world_around(world, mean_of(world, &troubles[i])),
				   (struct call){.fn = on_trouble, .a = i});
}

static void mend_replica(struct world *world, uint32_t replica)
{
	replica_disk_fails(world, replica, false);
	for (uint32_t i = 0; i < world->shape.hosts_n; i++)
		net_cut(world, i, replica, false, false);
	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		net_part(world, i, replica, false);
	if (world->etcd)
		etcd_cut(world, replica, false, false);
}

void faults_end(struct world *world)
{
	struct faults *faults = &world->faults;
	struct faults clocks = {.skew = faults->skew, .wild = faults->wild, .drift = faults->drift};

	world_say(world, "the faults are over");
	world->calm = true;
	*faults = clocks;
	world_go_on(world, world->stopped);
	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		mend_replica(world, i);
	if (world->etcd)
		etcd_fill(world, false);
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		agent_disk_fails(world, i, false);
		agent_mend_templates(world, i);
	}
	operator_mend(world);
}
