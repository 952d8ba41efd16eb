/* Tells each story some times over: lets it happen, and looks. */
#include "tests/sim/stories_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/replica.h"
#include "tests/sim/shims.h"

#include <stdio.h>

enum { BEFORE_S = 15, HAPPENS_S = 25, LOOK_S = 35, WATCHED_MAX = 64, TIMES = 3 };

/* What ran on host 0, by serial, when it happened; and how many were granted until when. */
static uint64_t watched[WATCHED_MAX];
static size_t watched_n;
static uint64_t granted_soon;
static uint32_t leader_then;
static uint64_t epoch_then;
static const struct story *told_now;

uint32_t stories_leader(void)
{
	return leader_then;
}

static void watch(struct world *world)
{
	watched_n = 0;
	for (size_t i = 0; i < world->vms[0]->n; i++) {
		const struct shim *shim = &world->vms[0]->shims[i];
		if (shim_is_running(world, 0, shim) && watched_n < WATCHED_MAX)
			watched[watched_n++] = shim->serial;
	}
	if (watched_n == 0)
		world_fail(world, "story: nothing runs when it happens");
}

struct survivors {
	size_t alive_n, frozen_n;
};

static struct survivors survivors(const struct world *world)
{
	struct survivors survivors = {0};

	for (size_t i = 0; i < world->vms[0]->n; i++)
		for (size_t j = 0; j < watched_n; j++) {
			const struct shim *shim = &world->vms[0]->shims[i];
			if (!shim_is_alive(shim) || shim->serial != watched[j])
				continue;
			survivors.alive_n++;
			survivors.frozen_n += shim->freeze == FREEZE_FROZEN;
		}
	return survivors;
}

static void on_before(struct world *world, const struct call *call)
{
	(void)call;
	leader_then = replica_leader(world);
	if (leader_then == REPLICAS_MAX)
		world_fail(world, "story: nobody leads at its beginning");
	if (told_now->before)
		told_now->before(world);
}

static void on_happens(struct world *world, const struct call *call)
{
	(void)call;
	watch(world);
	leader_then = replica_leader(world);
	if (leader_then == REPLICAS_MAX)
		world_fail(world, "story: nobody leads when it happens");
	epoch_then = replica_epoch(world, leader_then);
	world_say(world, "story: %s", told_now->promise);
	told_now->happens(world);
	if (told_now->fate == FATE_ENDED && survivors(world).alive_n)
		world_fail(world, "story: something outlived the host");
}

static void on_soon(struct world *world, const struct call *call)
{
	(void)call;
	granted_soon = world->totals.granted;
}

static void look_at_leader(struct world *world)
{
	uint32_t leader = replica_leader(world);

	bool same = leader != REPLICAS_MAX && replica_epoch(world, leader) == epoch_then;

	if (told_now->leader_changes && (same || leader == REPLICAS_MAX))
		world_fail(world, "story: no new leader has come");
	if (told_now->leader_stays && !same)
		world_fail(world, "story: it leads no more");
}

static void on_later(struct world *world, const struct call *call)
{
	struct survivors alive = survivors(world);

	(void)call;
	if (told_now->fate == FATE_RUNS && alive.alive_n == alive.frozen_n)
		world_fail(world, "story: nothing that ran before runs still");
	if (told_now->fate == FATE_FROZEN && (!alive.alive_n || alive.frozen_n < alive.alive_n))
		world_fail(world, "story: what ran is not frozen");
	if (told_now->nothing_is_granted && world->totals.granted != granted_soon)
		world_fail(world, "story: a sandbox is granted meanwhile");
	if (told_now->something_is && world->totals.granted == granted_soon)
		world_fail(world, "story: nothing is granted meanwhile");
	look_at_leader(world);
	granted_soon = world->totals.granted;
	if (told_now->is_over)
		told_now->is_over(world);
}

static void on_look(struct world *world, const struct call *call)
{
	struct survivors alive = survivors(world);

	(void)call;
	if (world->totals.granted == granted_soon)
		world_fail(world, "story: nothing is granted any more");
	if (alive.frozen_n)
		world_fail(world, "story: something is frozen still");
	if (told_now->fate == FATE_GIVEN_UP && alive.alive_n)
		world_fail(world, "story: what was given up is still there");
}

static void begin(struct world *world)
{
	uint32_t later_s = told_now->later_s ? told_now->later_s : LATER_S;
	uint32_t soon_s = told_now->soon_s ? told_now->soon_s : 1;

	world_plan(world, S(BEFORE_S), (struct call){.fn = on_before});
	world_plan(world, S(HAPPENS_S), (struct call){.fn = on_happens});
	world_plan(world, S(HAPPENS_S + soon_s), (struct call){.fn = on_soon});
	world_plan(world, S(HAPPENS_S + later_s), (struct call){.fn = on_later});
	world_plan(world, S(HAPPENS_S + later_s + LOOK_S), (struct call){.fn = on_look});
}

static void tell(const struct story *story, bool print_trace, struct totals *totals)
{
	struct plot plot = {story->replicas_n, story->hosts_n, story->lease_ms, begin};
	uint64_t hash;

	told_now = story;
	for (uint64_t seed = 1; seed <= TIMES; seed++)
		world_run_story(seed, &plot, print_trace, totals, &hash);
	printf("ok: %s\n", story->promise);
}

void stories_run(bool print_trace, struct totals *totals)
{
	for (size_t i = 0; i < stories_alone_n; i++)
		tell(&stories_alone[i], print_trace, totals);
	for (size_t i = 0; i < stories_several_n; i++)
		tell(&stories_several[i], print_trace, totals);
}
