#include "tests/sim/faults.h"

#include "tests/sim/agent.h"
#include "tests/sim/leader.h"
#include "tests/sim/net.h"
#include "tests/sim/shims.h"

#include <string.h>

static uint32_t often(struct world *world, uint32_t most)
{
	return world_chance(world, 500000) ? (uint32_t)world_between(world, 1, most) : 0;
}

static int64_t mean_ns(struct world *world, int64_t least, int64_t most)
{
	return world_chance(world, 500000) ? world_between(world, least, most) : 0;
}

void faults_choose(struct world *world)
{
	struct faults *faults = &world->faults;
	struct shape *shape = &world->shape;

	shape->hosts_n = (uint32_t)world_between(world, 1, HOSTS_MAX);
	shape->tenants_n = (uint32_t)world_between(world, 1, TENANTS_MAX);
	shape->tick_ms = (uint32_t)world_between(world, 1000, 15000);
	shape->keep_ms = (uint32_t)world_between(world, 0, 60000);
	shape->capacity_sandboxes = (uint32_t)world_between(world, 1, 8);
	shape->attempts_spare = (uint32_t)world_between(world, 2, 40);
	shape->chaos_ns =
		world_between(world, S(20), world_chance(world, 100000) ? S(900) : S(150));
	shape->tell_ns = (50 * NS_PER_US) << world_between(world, 0, 9);
	shape->ask_ns = world_between(world, MS(100), S(2));
	faults->loss = often(world, 100000);
	faults->repeat = often(world, 100000);
	faults->late = often(world, 200000);
	faults->cut_ns = mean_ns(world, S(3), S(40));
	faults->crash_leader_ns = mean_ns(world, S(5), S(60));
	faults->crash_agent_ns = mean_ns(world, S(2), S(40));
	faults->reboot_ns = mean_ns(world, S(10), S(90));
	faults->commit_leader_ns = mean_ns(world, S(5), S(60));
	faults->commit_agent_ns = mean_ns(world, S(5), S(60));
	faults->template_ns = mean_ns(world, S(1), S(30));
	faults->vm_fault_ns = mean_ns(world, S(1), S(30));
	faults->restore_fail = often(world, 300000);
	faults->claim_fail = often(world, 200000);
	faults->gone = often(world, 500000);
	faults->slow_claim = often(world, 300000);
	faults->die_after_commit = often(world, 5000);
	faults->resize = often(world, 500000);
	faults->skew = world_chance(world, 500000);
	faults->slow_disk = world_chance(world, 500000);
}

static uint32_t some_host(struct world *world)
{
	return (uint32_t)world_between(world, 0, world->shape.hosts_n - 1);
}

static void on_mend(struct world *world, const struct call *call)
{
	net_cut(world, call->host, false, false);
}

static void cut(struct world *world)
{
	uint32_t host = some_host(world);
	int64_t which = world_between(world, 0, 2);

	world_say(world, "host %u is cut off: %d", host, (int)which);
	net_cut(world, host, which != 0, which != 1);
	world_plan(world, world_between(world, MS(50), S(25)),
		   (struct call){.fn = on_mend, .host = host});
}

static void on_leader_disk_works(struct world *world, const struct call *call)
{
	(void)call;
	leader_disk_fails(world, false);
}

static void on_agent_disk_works(struct world *world, const struct call *call)
{
	agent_disk_fails(world, call->host, false);
}

static void fail_leader_disk(struct world *world)
{
	leader_disk_fails(world, true);
	world_plan(world, world_between(world, MS(1), S(4)),
		   (struct call){.fn = on_leader_disk_works});
}

static void fail_agent_disk(struct world *world)
{
	uint32_t host = some_host(world);

	agent_disk_fails(world, host, true);
	world_plan(world, world_between(world, MS(1), S(4)),
		   (struct call){.fn = on_agent_disk_works, .host = host});
}

static void crash_agent(struct world *world)
{
	agent_crash(world, some_host(world));
}

static void reboot(struct world *world)
{
	agent_reboot(world, some_host(world));
}

static void fault_vm(struct world *world)
{
	shims_fault(world, some_host(world), world_chance(world, world->faults.gone));
}

static void change_template(struct world *world)
{
	agent_change_template(world, some_host(world), world_chance(world, 300000));
}

/* Each trouble comes again and again, at its own pace. */
struct trouble {
	void (*strike)(struct world *world);
	size_t mean_offset; /* in struct faults */
};

static const struct trouble troubles[] = {
	{cut, offsetof(struct faults, cut_ns)},
	{leader_crash, offsetof(struct faults, crash_leader_ns)},
	{crash_agent, offsetof(struct faults, crash_agent_ns)},
	{reboot, offsetof(struct faults, reboot_ns)},
	{fail_leader_disk, offsetof(struct faults, commit_leader_ns)},
	{fail_agent_disk, offsetof(struct faults, commit_agent_ns)},
	{change_template, offsetof(struct faults, template_ns)},
	{fault_vm, offsetof(struct faults, vm_fault_ns)},
};

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
	for (size_t i = 0; i < ARRAY_N(troubles); i++)
		if (mean_of(world, &troubles[i]))
			world_plan(world, world_around(world, mean_of(world, &troubles[i])),
				   (struct call){.fn = on_trouble, .a = i});
}

void faults_end(struct world *world)
{
	bool skew = world->faults.skew;

	world_say(world, "the faults are over");
	world->calm = true;
	memset(&world->faults, 0, sizeof(world->faults));
	world->faults.skew = skew;
	leader_disk_fails(world, false);
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		net_cut(world, i, false, false);
		agent_disk_fails(world, i, false);
		agent_mend_templates(world, i);
	}
}
