/*
 * Until when microVMs may run: as node-agent/shim/lease.c has it, by the host's own clock, whoever
 * else is there.  An earlier lease changes nothing; a claim whose lease ends before it is carried
 * out fails.
 */
#include "tests/sim/shims_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/oracle.h"

#include <inttypes.h>

static bool may_run(const struct world *world, uint32_t host, const struct shim *shim)
{
	return shim->lease.ns == 0 || agent_mono(world, host).ns < shim->lease.ns;
}

static void on_lease_over(struct world *world, const struct call *call)
{
	struct shim *shim = shims_find_serial(world, call->host, call->a);

	if (!shim || shim->state == WIRE_SHIM_ENDED || may_run(world, call->host, shim))
		return;
	if (shim->claim_taken && shim->state != WIRE_SHIM_CLAIMED)
		shims_end(world, call->host, shim, CAUSE_PLATFORM, false);
	else
		shims_lease_look(world, call->host, shim);
}

static void set_timer(struct world *world, uint32_t host, const struct shim *shim)
{
	if (shim->lease.ns)
		shims_plan(world, host, shim,
			   clock_until_ns(agent_clock(world, host), world->now_ns, shim->lease),
			   on_lease_over);
}

static void on_stopped(struct world *world, const struct call *call)
{
	struct shim *shim = shims_find_serial(world, call->host, call->a);

	if (!shim || shim->state == WIRE_SHIM_ENDED || shim->freeze != FREEZE_FREEZING)
		return;
	shim->freeze = FREEZE_FROZEN;
	world->totals.freezes++;
	world_say(world, "host %u vm %" PRIu64 " is frozen", call->host, shim->number);
	oracle_stir(world);
	shims_lease_look(world, call->host, shim);
}

static void on_thawed(struct world *world, const struct call *call)
{
	struct shim *shim = shims_find_serial(world, call->host, call->a);
	struct mono now;

	if (!shim || shim->state == WIRE_SHIM_ENDED || shim->freeze != FREEZE_THAWING)
		return;
	now = agent_mono(world, call->host);
	world->totals.thaws++;
	world->totals.frozen_ms += (uint64_t)mono_ms_since(now, shim->froze);
	world_say(world, "host %u vm %" PRIu64 " is thawed", call->host, shim->number);
	shim->ran_ns += shim->froze.ns - shim->resumed.ns;
	shim->resumed = now;
	shim->froze = (struct mono){0};
	shim->freeze = FREEZE_RUNS;
	oracle_stir(world);
	shims_lease_look(world, call->host, shim);
}

void shims_lease_look(struct world *world, uint32_t host, struct shim *shim)
{
	if (shim->state != WIRE_SHIM_CLAIMED)
		return;
	if (shim->freeze == FREEZE_RUNS && !may_run(world, host, shim)) {
		shim->freeze = FREEZE_FREEZING;
		shim->froze = agent_mono(world, host);
		shims_plan(world, host, shim, world_between(world, MS(1), MS(200)), on_stopped);
	} else if (shim->freeze == FREEZE_FROZEN && may_run(world, host, shim)) {
		shim->freeze = FREEZE_THAWING;
		shims_plan(world, host, shim, world_between(world, MS(1), MS(200)), on_thawed);
	}
}

bool shims_lease_begin(struct world *world, uint32_t host, struct shim *shim, struct mono until)
{
	shim->lease = until;
	if (!may_run(world, host, shim)) {
		shim->lease = (struct mono){0};
		return false;
	}
	set_timer(world, host, shim);
	return true;
}

static void move_lease(struct world *world, uint32_t host, struct shim *shim, struct mono until)
{
	if (!shim->claim_taken || shim->state == WIRE_SHIM_ENDED)
		return;
	if (shim->lease.ns && until.ns && until.ns <= shim->lease.ns)
		return;
	shim->lease = until;
	set_timer(world, host, shim);
	shims_lease_look(world, host, shim);
}

void shims_lease(struct world *world, uint32_t host, struct mono until, uint64_t attempts_from)
{
	struct host_vms *vms = world->vms[host];

	for (size_t i = 0; i < vms->n; i++)
		if (vms->shims[i].claim.attempt >= attempts_from)
			move_lease(world, host, &vms->shims[i], until);
}
