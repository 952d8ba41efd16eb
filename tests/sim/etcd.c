/* etcd: its history, leases and watches, and what goes wrong with it. */
#include "tests/sim/etcd_internal.h"

#include "tests/sim/replica.h"
#include "tests/sim/replica_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int64_t delay_ns(struct world *world)
{
	if (world_chance(world, world->faults.etcd_slow))
		return world_between(world, MS(20), S(3));
	return world_between(world, 200 * NS_PER_US, MS(5));
}

/* ---- watches ---- */

static void on_watch_broken(struct world *world, const struct call *call)
{
	ha_watch_lost(world, call->replica, call->a);
}

/* Whoever watches finds out in a while. */
static void break_watch(struct world *world, uint32_t replica)
{
	struct etcd_watch *watch = &world->etcd->watches[replica];
	struct call call = {.fn = on_watch_broken, .of = OF_REPLICA(replica), .replica = replica};

	if (!watch->number)
		return;
	call.a = watch->number;
	watch->number = 0;
	world_plan(world, world_between(world, MS(500), S(3)), call);
}

static void on_told(struct world *world, const struct call *call)
{
	struct etcd *etcd = world->etcd;

	if (etcd->away || etcd->from_cut[call->replica]) {
		if (etcd->watches[call->replica].number == call->a)
			break_watch(world, call->replica);
		return;
	}
	ha_change(world, call->replica, call->a, &etcd->history[call->b]);
}

void etcd_tell(struct world *world, uint32_t replica)
{
	struct etcd *etcd = world->etcd;
	struct etcd_watch *watch = &etcd->watches[replica];

	for (; watch->number && watch->next < etcd->history_n; watch->next++) {
		struct call call = {.fn = on_told, .of = OF_REPLICA(replica), .replica = replica};
		int64_t at_ns = world->now_ns + delay_ns(world);
		call.a = watch->number;
		call.b = watch->next;
		if (at_ns < watch->told_ns)
			at_ns = watch->told_ns;
		watch->told_ns = at_ns;
		world_plan(world, at_ns - world->now_ns, call);
	}
}

void etcd_change(struct world *world, struct change change)
{
	struct etcd *etcd = world->etcd;

	if (etcd->history_n == etcd->history_cap) {
		etcd->history_cap = etcd->history_cap ? 2 * etcd->history_cap : 64;
		etcd->history = realloc(etcd->history, etcd->history_cap * sizeof(change));
		CHECK(etcd->history);
	}
	change.revision = ++etcd->revision;
	if (change.kind == CHANGE_DECISION)
		etcd->decided = change.revision;
	etcd->history[etcd->history_n++] = change;
	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		etcd_tell(world, i);
}

/* ---- leases ---- */

void etcd_leader_gone(struct world *world)
{
	world->etcd->leader_lease = 0;
	world_say(world, "etcd: the leader key is gone");
	etcd_change(world, (struct change){.kind = CHANGE_LEADER_GONE});
}

static void on_expired(struct world *world, const struct call *call)
{
	struct etcd_lease *lease = &world->etcd->leases[call->a];
	int64_t id = lease->id;

	if (lease->kept != call->b || !id || world->etcd->away)
		return;
	lease->id = 0;
	if (world->etcd->leader_lease == id)
		etcd_leader_gone(world);
}

/* Never before its time, as far as its clock may be wrong, and a little later as the case may be.
 */
void etcd_expire(struct world *world, struct etcd_lease *lease)
{
	struct call call = {.fn = on_expired};
	int64_t ttl_ns = MS(lease->ttl_ms) / 1000 * (1000 - world->etcd->fast);

	call.a = (uint64_t)(lease - world->etcd->leases);
	call.b = ++lease->kept;
	world_plan(world, ttl_ns + world_between(world, 0, MS(500)), call);
}

/* ---- requests ---- */

static void on_answered(struct world *world, const struct call *call)
{
	const struct etcd_answer *answer = call->data;

	if ((!world->etcd->away || answer->failed) && !world->etcd->from_cut[call->replica])
		ha_answer(world, call->replica, answer);
}

static void plan_answer(struct world *world, const struct etcd_answer *answer)
{
	struct call call = {.fn = on_answered, .replica = answer->to.replica, .owned = true};

	call.of = OF_REPLICA(call.replica);
	call.data = malloc(sizeof(*answer));
	CHECK(call.data);
	memcpy(call.data, answer, sizeof(*answer));
	world_plan(world, delay_ns(world), call);
}

static void on_asked(struct world *world, const struct call *call)
{
	const struct etcd_request *request = call->data;
	struct etcd_answer answer = {.to = *request};

	if (world->etcd->to_cut[request->replica])
		return;
	/* Its host may still be there and refuse connections. */
	answer.failed = world->etcd->away;
	if (answer.failed && world_chance(world, 300000))
		return;
	if (answer.failed)
		plan_answer(world, &answer);
	else if (etcd_serve(world, request, &answer))
		plan_answer(world, &answer);
}

void etcd_ask(struct world *world, const struct etcd_request *request)
{
	struct call call = {.fn = on_asked, .owned = true};

	call.data = malloc(sizeof(*request));
	CHECK(call.data);
	memcpy(call.data, request, sizeof(*request));
	world_plan(world, delay_ns(world), call);
}

/* ---- what goes wrong ---- */

/* Leases live on in it, and count anew. */
static void on_back(struct world *world, const struct call *call)
{
	(void)call;
	world->etcd->away = false;
	for (size_t i = 0; i < LEASES_MAX; i++)
		if (world->etcd->leases[i].id)
			etcd_expire(world, &world->etcd->leases[i]);
}

void etcd_restart(struct world *world, int64_t away_ns)
{
	if (world->etcd->away)
		return;
	world_say(world, "etcd is restarted");
	world->totals.etcd_restarts++;
	world->etcd->away = true;
	etcd_break_watches(world);
	world_plan(world, away_ns, (struct call){.fn = on_back});
}

void etcd_break_watches(struct world *world)
{
	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		break_watch(world, i);
}

void etcd_compact(struct world *world)
{
	world_say(world, "etcd is compacted");
	world->totals.etcd_compactions++;
	world->etcd->compacted = world->etcd->revision;
}

void etcd_fill(struct world *world, bool full)
{
	if (full)
		world_say(world, "etcd is full");
	world->totals.etcd_full += full;
	world->etcd->full = full;
}

void etcd_cut(struct world *world, uint32_t replica, bool to_etcd, bool from_etcd)
{
	if (to_etcd || from_etcd)
		world_say(world, "replica %u is cut off etcd: %d%d", replica, to_etcd, from_etcd);
	world->totals.etcd_cuts += to_etcd || from_etcd;
	world->etcd->to_cut[replica] = to_etcd;
	world->etcd->from_cut[replica] = from_etcd;
}

uint64_t etcd_decided(const struct world *world)
{
	return world->etcd ? world->etcd->decided : 0;
}

void etcd_open(struct world *world)
{
	world->etcd = calloc(1, sizeof(*world->etcd));
	CHECK(world->etcd);
	world->etcd->revision = 1;
	/* A fifth is the elections' margin. */
	world->etcd->fast = world->faults.drift ? world_between(world, 0, 150) : 0;
}

void etcd_close(struct world *world)
{
	if (!world->etcd)
		return;
	free(world->etcd->history);
	free(world->etcd);
}
