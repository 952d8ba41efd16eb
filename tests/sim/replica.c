/* The life of a scheduler: started, stepped, crashed, stopped, and rebuilt from its store. */
#include "tests/sim/replica_internal.h"

#include "tests/sim/oracle.h"
#include "tests/sim/tenants.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_MS = 500, REBUILD_MS = 20 };

static void start(struct world *world, const struct call *call);

struct mono replica_mono(const struct world *world, const struct replica *replica)
{
	return clock_mono(&replica->clock, world->now_ns);
}

uint32_t replica_host_of(const struct id *id)
{
	return (uint32_t)strtoul(id->text + 4, NULL, 10);
}

bool replica_is_alone(const struct world *world)
{
	return world->shape.replicas_n == 1;
}

/* ---- stepping ---- */

static void add_effect(struct world *world, struct replica *replica,
		       const struct core_effect *effect)
{
	struct item item = {.kind = ITEM_EFFECT, .effect = *effect};
	struct item adopted = {.kind = ITEM_ADOPTED, .key = replica->stepping_key};

	replica_say_effect(world, replica, effect);
	if (effect->kind == CORE_EFFECT_SAVE_SANDBOX) {
		item.rules = replica->stepping_rules;
		item.next_rules = replica->stepping_change;
	}
	if (effect->kind == CORE_EFFECT_ADOPT_SANDBOX)
		item.rules = replica->stepping_rules;
	if (effect->kind == CORE_EFFECT_SAVE_SANDBOX)
		item.key = requests_key_of(replica, &effect->sandbox.id);
	/* As of now: a create that is given up in the same round loses its key. */
	if (effect->kind == CORE_EFFECT_ORDER)
		item.key = requests_key_of(replica, &effect->order.order.sandbox);
	if (effect->kind == CORE_EFFECT_ADOPT_SANDBOX)
		item.key = replica->stepping_key;
	rounds_add(world, &replica->rounds, &item);
	if (effect->kind == CORE_EFFECT_ADOPT_SANDBOX)
		rounds_add(world, &replica->rounds, &adopted);
}

void replica_step_once(struct world *world, struct replica *replica, struct core_event *event)
{
	static struct core_effects effects;

	event->now = replica_mono(world, replica);
	event->wall = clock_wall(&replica->clock, world->now_ns);
	world_say(world, "replica %u %s", replica->number, core_event_name(event->kind));
	core_step(replica->core, event, &effects);
	if (world_verifies)
		core_check(replica->core);
	for (uint32_t i = 0; i < effects.n; i++)
		add_effect(world, replica, &effects.items[i]);
	oracle_stepped(world, replica->number, event, &effects);
}

static void on_timer(struct world *world, const struct call *call)
{
	struct replica *replica = world->replicas[call->replica];
	struct core_event event = {.kind = CORE_EVENT_TICK};

	if (call->life == replica->life && call->a == replica->timer)
		replica_step(world, replica, &event);
}

static void set_timer(struct world *world, struct replica *replica)
{
	struct call call = {.fn = on_timer, .replica = replica->number, .life = replica->life};
	struct mono at;

	call.of = OF_REPLICA(replica->number);
	call.a = ++replica->timer;
	if (core_next_deadline(replica->core, &at))
		world_plan(world, clock_until_ns(&replica->clock, world->now_ns, at), call);
}

void replica_step(struct world *world, struct replica *replica, struct core_event *event)
{
	uint64_t life = replica->life;

	if (!replica->core)
		return;
	replica_step_once(world, replica, event);
	rounds_flush(world, &replica->rounds);
	if (replica->life == life)
		set_timer(world, replica);
}

/* ---- life ---- */

static void plan_start(struct world *world, const struct replica *replica, int64_t in_ns)
{
	struct call call = {.fn = start, .replica = replica->number, .life = replica->life};

	call.of = OF_REPLICA(replica->number);
	world_plan(world, in_ns, call);
}

static void boot(struct world *world, struct replica *replica)
{
	struct core_event event = {.kind = CORE_EVENT_BOOT};

	store_load(world, replica);
	event.boot.epoch =
		replica_is_alone(world) ? replica->store.epoch : EPOCH_BASE + replica->ha.known;
	event.boot.standby = !replica_is_alone(world);
	replica_step(world, replica, &event);
}

static void start(struct world *world, const struct call *call)
{
	struct replica *replica = world->replicas[call->replica];

	if (call->life != replica->life)
		return;
	if (replica->rounds.disk_fails) {
		world_plan(world, MS(RETRY_MS), *call);
		return;
	}
	replica->leaving = false;
	replica->store.epoch += replica_is_alone(world); /* written before anything else */
	memset(replica->memory, 0, replica->memory_n);
	replica->core = core_init(replica->memory, &replica->limits);
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		memset(&replica->hosts[i], 0, sizeof(replica->hosts[i]));
		pump_server_init(&replica->hosts[i].pump, replica->store.nodes[i].next_seq);
		pump_server_lease(&replica->hosts[i].pump, world->shape.lease_ms);
	}
	boot(world, replica);
	if (!replica_is_alone(world))
		ha_start(world, replica);
}

/* What the core knew is gone. */
static void drop(struct world *world, struct replica *replica)
{
	replica->life++;
	replica->core = NULL;
	rounds_die(world, &replica->rounds);
	requests_break(world, replica);
}

void replica_follow(struct world *world, struct replica *replica, const char *why)
{
	world_say(world, "replica %u leads no more: %s", replica->number, why);
	/* An epoch is never led twice. */
	replica->ha.won = replica->ha.led = 0;
	drop(world, replica);
	plan_start(world, replica, world_between(world, 0, MS(REBUILD_MS)));
}

static void commit_failed(struct world *world, void *owner)
{
	struct replica *replica = owner;

	world_say(world, "replica %u: a commit failed", replica->number);
	if (!replica_is_alone(world))
		ha_resign(world, replica);
	drop(world, replica);
	plan_start(world, replica, MS(RETRY_MS));
}

static void fall(struct world *world, struct replica *replica)
{
	ha_die(replica);
	drop(world, replica);
	plan_start(world, replica,
		   world_between(world, MS(10), world_chance(world, 500000) ? MS(200) : S(12)));
}

void replica_crash(struct world *world, uint32_t number)
{
	world_say(world, "replica %u dies", number);
	world->totals.crashes_replica++;
	world_go_on(world, OF_REPLICA(number));
	fall(world, world->replicas[number]);
}

static void die(struct world *world, void *owner)
{
	replica_crash(world, ((struct replica *)owner)->number);
}

/* Lets the last round out, then gives its lease back. */
static void on_leave(struct world *world, const struct call *call)
{
	struct replica *replica = world->replicas[call->replica];

	if (call->life != replica->life)
		return;
	if (!rounds_are_idle(&replica->rounds)) {
		world_plan(world, MS(1), *call);
		return;
	}
	if (!replica_is_alone(world))
		ha_resign(world, replica);
	fall(world, replica);
}

void replica_hand_over(struct world *world, uint32_t number)
{
	struct replica *replica = world->replicas[number];
	struct call call = {.fn = on_leave, .replica = number, .life = replica->life};

	if (!replica->core || replica->leaving || world->stopped & OF_REPLICA(number))
		return;
	call.of = OF_REPLICA(number);
	world_say(world, "replica %u is stopped in good order", number);
	world->totals.hand_overs++;
	replica->leaving = true;
	world_plan(world, 0, call);
}

void replica_disk_fails(struct world *world, uint32_t number, bool fails)
{
	world->replicas[number]->rounds.disk_fails = fails;
}

void replica_set_skew(struct world *world, uint32_t number, int64_t skew_ns)
{
	world->replicas[number]->clock.skew_ns = skew_ns;
}

/* ---- questions ---- */

const struct store *replica_store(const struct world *world, uint32_t number)
{
	return &world->replicas[number]->store;
}

const struct core *replica_core(const struct world *world, uint32_t number)
{
	return world->replicas[number]->core;
}

uint64_t replica_rules(const struct world *world, uint32_t number, size_t n)
{
	return world->replicas[number]->store.rows[n].rules;
}

const struct core_sandbox *replica_row(const struct world *world, uint32_t number, size_t n)
{
	const struct store *store = &world->replicas[number]->store;

	if (n >= store->rows_n || store->rows[n].it.state == SANDBOX_NONE)
		return NULL;
	return &store->rows[n].it;
}

bool replica_leads(const struct world *world, uint32_t number)
{
	const struct replica *replica = world->replicas[number];

	if (!replica->core)
		return false;
	switch (core_role(replica->core)) {
	case CORE_ALONE:
		return true;
	case CORE_STANDBY:
		return false;
	case CORE_TAKING_OVER:
	case CORE_LEADING:
		return election_leads(&replica->ha.election, replica_mono(world, replica));
	}
	return false;
}

bool replica_admits(const struct world *world, uint32_t number)
{
	return replica_leads(world, number) &&
	       core_role(world->replicas[number]->core) != CORE_TAKING_OVER;
}

uint64_t replica_epoch(const struct world *world, uint32_t number)
{
	const struct replica *replica = world->replicas[number];

	return replica_is_alone(world) ? replica->store.epoch : EPOCH_BASE + replica->ha.led;
}

uint32_t replica_leader(const struct world *world)
{
	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		if (replica_leads(world, i))
			return i;
	return REPLICAS_MAX;
}

/* ---- beginning and end ---- */

void replica_open(struct world *world, uint32_t number)
{
	static const struct rounds_kind kind = {
		.item_size = sizeof(struct item),
		.is_durable = store_takes,
		.write = store_write_item,
		.carry_out = replica_carry_out,
		.failed = commit_failed,
		.die = die,
	};
	struct replica *replica = calloc(1, sizeof(*replica));

	CHECK(replica);
	world->replicas[number] = replica;
	replica->number = number;
	replica->clock.origin_ns = S(1000);
	if (world->faults.drift)
		replica->clock.fast_ppm = (int32_t)world_between(world, -DRIFT_PPM, DRIFT_PPM);
	replica->limits = (struct core_limits){TENANTS_MAX,
					       HOSTS_MAX,
					       TEMPLATES_N,
					       128,
					       world->shape.lease_ms,
					       world->shape.transfers_max,
					       world->shape.everywhere ? "*" : NULL};
	replica->memory_n = core_size(&replica->limits);
	replica->memory = aligned_alloc(64, replica->memory_n);
	CHECK(replica->memory);
	replica->ha.leader = REPLICAS_MAX;
	rounds_open(&replica->rounds, &kind, replica, OF_REPLICA(number));
	/* What was decided before the beginning is the same everywhere. */
	if (number == 0)
		store_fill(world, &replica->store);
	else
		replica->store = world->replicas[0]->store;
	plan_start(world, replica, number ? world_between(world, 0, S(2)) : 0);
}

void replica_close(struct world *world, uint32_t number)
{
	struct replica *replica = world->replicas[number];

	rounds_close(&replica->rounds);
	free(replica->store.rows);
	free(replica->store.copies);
	free(replica->memory);
	free(replica);
}

void replica_decide(struct world *world, uint32_t number, const struct decision *decision)
{
	struct replica *replica = world->replicas[number];
	struct item item = {.kind = ITEM_DECIDED, .decision = *decision};

	if (!replica->core)
		return;
	if (!replica_is_alone(world)) {
		ha_decide(world, replica, decision);
		return;
	}
	rounds_add(world, &replica->rounds, &item);
	item.kind = ITEM_APPLY;
	rounds_add(world, &replica->rounds, &item);
	rounds_flush(world, &replica->rounds);
}
