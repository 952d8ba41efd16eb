#include "tests/sim/stories.h"

#include "tests/sim/agent.h"
#include "tests/sim/net.h"
#include "tests/sim/replica.h"
#include "tests/sim/shims.h"

#include <inttypes.h>
#include <stdio.h>

enum { HAPPENS_S = 20, LATER_S = 8, LOOK_S = 30, WATCHED_MAX = 64 };

struct story {
	const char *promise;
	void (*happens)(struct world *world);
	void (*is_over)(struct world *world); /* LATER_S later; NULL: it is over by itself */
	bool nothing_is_granted;              /* meanwhile, but for its first second */
	bool ends_sandboxes;                  /* of the host that it happens to */
};

/* What ran, by serial, when it happened; and how many were granted until when. */
static uint64_t watched[WATCHED_MAX];
static size_t watched_n;
static uint64_t granted_soon;
static const struct story *told_now;

static void watch(struct world *world)
{
	watched_n = 0;
	for (uint32_t i = 0; i < world->shape.hosts_n; i++)
		for (size_t j = 0; j < world->vms[i]->n; j++) {
			const struct shim *shim = &world->vms[i]->shims[j];
			if (shim_is_running(world, i, shim) && watched_n < WATCHED_MAX)
				watched[watched_n++] = shim->serial;
		}
	if (watched_n == 0)
		world_fail(world, "story: nothing runs when it happens");
}

static size_t survivors(const struct world *world)
{
	size_t n = 0;

	for (uint32_t i = 0; i < world->shape.hosts_n; i++)
		for (size_t j = 0; j < world->vms[i]->n; j++)
			for (size_t k = 0; k < watched_n; k++)
				n += shim_is_alive(&world->vms[i]->shims[j]) &&
				     world->vms[i]->shims[j].serial == watched[k];
	return n;
}

static void on_happens(struct world *world, const struct call *call)
{
	(void)call;
	watch(world);
	world_say(world, "story: %s", told_now->promise);
	told_now->happens(world);
	if (told_now->ends_sandboxes && survivors(world))
		world_fail(world, "story: something outlived the host");
}

static void on_soon(struct world *world, const struct call *call)
{
	(void)call;
	granted_soon = world->totals.granted;
}

static void on_later(struct world *world, const struct call *call)
{
	(void)call;
	if (!told_now->ends_sandboxes && survivors(world) == 0)
		world_fail(world, "story: nothing that ran before runs still");
	if (told_now->nothing_is_granted && world->totals.granted != granted_soon)
		world_fail(world, "story: a sandbox is granted meanwhile");
	granted_soon = world->totals.granted;
	if (told_now->is_over)
		told_now->is_over(world);
}

static void on_look(struct world *world, const struct call *call)
{
	(void)call;
	if (world->totals.granted == granted_soon)
		world_fail(world, "story: nothing is granted any more");
}

/* ---- what happens ---- */

static void leader_dies(struct world *world)
{
	replica_crash(world, 0);
}

static void agent_dies(struct world *world)
{
	agent_crash(world, 0);
}

static void all_die(struct world *world)
{
	replica_crash(world, 0);
	agent_crash(world, 0);
}

static void leader_disk_breaks(struct world *world)
{
	replica_disk_fails(world, 0, true);
}

static void leader_disk_works(struct world *world)
{
	replica_disk_fails(world, 0, false);
}

static void agent_disk_breaks(struct world *world)
{
	agent_disk_fails(world, 0, true);
}

static void agent_disk_works(struct world *world)
{
	agent_disk_fails(world, 0, false);
}

static void host_is_cut_off(struct world *world)
{
	net_cut(world, 0, 0, true, true);
}

static void orders_are_lost(struct world *world)
{
	net_cut(world, 0, 0, true, false);
}

static void records_are_lost(struct world *world)
{
	net_cut(world, 0, 0, false, true);
}

static void host_is_back(struct world *world)
{
	net_cut(world, 0, 0, false, false);
}

static void host_reboots(struct world *world)
{
	agent_reboot(world, 0);
}

static const struct story stories[] = {
	{"an agent's restart ends no sandbox", agent_dies, NULL, false, false},
	{"a scheduler's restart ends no sandbox", leader_dies, NULL, false, false},
	{"all daemons die at once and no sandbox ends", all_die, NULL, false, false},
	{"a scheduler that cannot write grants nothing", leader_disk_breaks, leader_disk_works,
	 true, false},
	{"a node that cannot write starts nothing", agent_disk_breaks, agent_disk_works, true,
	 false},
	{"a node that is cut off runs on and is found again", host_is_cut_off, host_is_back, true,
	 false},
	{"a node that hears nothing runs on", orders_are_lost, host_is_back, true, false},
	{"a node that nobody hears runs on", records_are_lost, host_is_back, true, false},
	{"a reboot ends what ran, and the fleet goes on", host_reboots, NULL, false, true},
};

static void begin(struct world *world)
{
	world_plan(world, S(HAPPENS_S), (struct call){.fn = on_happens});
	world_plan(world, S(HAPPENS_S + 1), (struct call){.fn = on_soon});
	world_plan(world, S(HAPPENS_S + LATER_S), (struct call){.fn = on_later});
	world_plan(world, S(HAPPENS_S + LATER_S + LOOK_S), (struct call){.fn = on_look});
}

void stories_run(bool print_trace, struct totals *totals)
{
	uint64_t hash;

	for (size_t i = 0; i < ARRAY_N(stories); i++) {
		told_now = &stories[i];
		for (uint64_t seed = 1; seed <= 5; seed++)
			world_run_story(seed, &(struct plot){.begin = begin}, print_trace, totals,
					&hash);
		printf("ok: %s\n", told_now->promise);
	}
}
