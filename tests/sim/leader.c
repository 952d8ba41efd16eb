#include "tests/sim/leader_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/oracle.h"
#include "tests/sim/tenants.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_MS = 500 };

static void start(struct world *world, const struct call *call);

struct mono leader_mono(const struct world *world)
{
	return (struct mono){world->now_ns + S(1000)};
}

static struct wall wall_now(const struct world *world)
{
	return (struct wall){world->now_ns + S(1700000000)};
}

uint32_t leader_host_of(const struct id *id)
{
	return (uint32_t)strtoul(id->text + 4, NULL, 10);
}

/* ---- what the core wants told ---- */

static bool is_durable(const void *item)
{
	return store_takes(item);
}

static void write_durable(struct world *world, void *owner, const void *item)
{
	store_write(world, &((struct leader *)owner)->store, &((const struct item *)item)->effect);
}

static void carry_out(struct world *world, void *owner, const void *item_)
{
	const struct item *item = item_;
	const struct core_effect *effect = &item->effect;
	struct pump_server_event event = {.kind = PUMP_SERVER_WAKE};
	struct leader *leader = owner;

	if (item->is_answer) {
		leader_send_answer(world, leader, item);
		return;
	}
	switch (effect->kind) {
	case CORE_EFFECT_REPLY:
		tenants_answer(world, effect);
		break;
	case CORE_EFFECT_WAKE:
		leader_pump(world, leader_host_of(&effect->node_id), &event);
		break;
	case CORE_EFFECT_ORDER:
		/* What does not fit comes again by itself. */
		pump_batch_add(&leader->hosts[leader_host_of(&effect->order.node)].batch,
			       &effect->order.order);
		break;
	case CORE_EFFECT_ACK:
		event.kind = PUMP_SERVER_DURABLE;
		event.next_seq = effect->ack.next_seq;
		event.resync = effect->ack.resync;
		leader_pump(world, leader_host_of(&effect->ack.node), &event);
		break;
	case CORE_EFFECT_ADMITTING:
	case CORE_EFFECT_EPOCH_OVER:
		break;
	case CORE_EFFECT_ADOPT_SANDBOX:
	case CORE_EFFECT_SAVE_NODE:
	case CORE_EFFECT_SAVE_TEMPLATE:
	case CORE_EFFECT_SAVE_SANDBOX:
	case CORE_EFFECT_POST_USAGE:
	case CORE_EFFECT_N:
		check_broken("an effect to be told", __FILE__, __LINE__);
	}
}

static void say_effect(struct world *world, const struct core_effect *effect)
{
	const struct core_sandbox *row = &effect->sandbox;

	switch (effect->kind) {
	case CORE_EFFECT_SAVE_SANDBOX:
		world_say(world,
			  "leader   -> SANDBOX %s %s on %s attempt %" PRIx64
			  " refusal %d cause %d dv %" PRIu64 "/%" PRIu64 " end %" PRId64,
			  row->id.text + 14, sandbox_state_name(row->state), row->node.text + 22,
			  row->attempt, (int)row->refusal, (int)row->cause, row->deadline_known,
			  row->deadline_version, row->end_at.ns);
		break;
	case CORE_EFFECT_SAVE_NODE:
		world_say(world, "leader   -> NODE %s next %" PRIu64, effect->node.id.text + 22,
			  effect->node.next_seq);
		break;
	case CORE_EFFECT_POST_USAGE:
		world_say(world, "leader   -> USAGE %s seq %" PRIu64 " %" PRIu64 "..%" PRIu64,
			  effect->usage.node.text + 22, effect->usage.record.seq,
			  effect->usage.record.from_ms, effect->usage.record.to_ms);
		break;
	case CORE_EFFECT_REPLY:
		world_say(world, "leader   -> REPLY %" PRIu64 " refusal %d", effect->reply.request,
			  (int)effect->reply.refusal);
		break;
	case CORE_EFFECT_ORDER:
		world_say(world, "leader   -> ORDER %s kind %d attempt %" PRIx64,
			  effect->order.node.text + 22, (int)effect->order.order.kind,
			  effect->order.order.attempt);
		break;
	case CORE_EFFECT_ADOPT_SANDBOX:
	case CORE_EFFECT_ADMITTING:
	case CORE_EFFECT_EPOCH_OVER:
	case CORE_EFFECT_SAVE_TEMPLATE:
	case CORE_EFFECT_WAKE:
	case CORE_EFFECT_ACK:
	case CORE_EFFECT_N:
		world_say(world, "leader   -> %s", core_effect_name(effect->kind));
	}
}

/* ---- stepping ---- */

void leader_step_once(struct world *world, struct core_event *event)
{
	static struct core_effects effects;
	struct leader *leader = world->leader;

	event->now = leader_mono(world);
	event->wall = wall_now(world);
	world_say(world, "leader %s", core_event_name(event->kind));
	core_step(leader->core, event, &effects);
	if (world_verifies)
		core_check(leader->core);
	for (uint32_t i = 0; i < effects.n; i++) {
		struct item item = {.effect = effects.items[i]};
		say_effect(world, &effects.items[i]);
		rounds_add(world, &leader->rounds, &item);
	}
}

static void on_timer(struct world *world, const struct call *call)
{
	struct core_event event = {.kind = CORE_EVENT_TICK};

	if (call->life == world->leader->life && call->a == world->leader->timer)
		leader_step(world, &event);
}

static void set_timer(struct world *world, struct leader *leader)
{
	struct call call = {.fn = on_timer, .life = leader->life, .a = ++leader->timer};
	struct mono now = leader_mono(world), at;

	if (core_next_deadline(leader->core, &at))
		world_plan(world, at.ns > now.ns ? at.ns - now.ns : 0, call);
}

void leader_step(struct world *world, struct core_event *event)
{
	struct leader *leader = world->leader;
	uint64_t life = leader->life;

	if (!leader->core)
		return;
	leader_step_once(world, event);
	rounds_flush(world, &leader->rounds);
	if (leader->life == life)
		set_timer(world, leader);
}

bool leader_request(struct world *world, struct core_event *event)
{
	if (!world->leader->core)
		return false;
	leader_step(world, event);
	return true;
}

/* ---- life ---- */

static void boot(struct world *world, struct leader *leader)
{
	struct core_event event = {.kind = CORE_EVENT_BOOT};

	store_load(world, &leader->store);
	event.boot.epoch = leader->store.epoch;
	leader_step(world, &event);
}

static void start(struct world *world, const struct call *call)
{
	struct leader *leader = world->leader;

	if (call->life != leader->life)
		return;
	if (leader->rounds.disk_fails) {
		world_plan(world, MS(RETRY_MS), *call);
		return;
	}
	leader->store.epoch++; /* written before anything else */
	memset(leader->memory, 0, leader->memory_n);
	leader->core = core_init(leader->memory, &leader->limits);
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		memset(&leader->hosts[i], 0, sizeof(leader->hosts[i]));
		pump_server_init(&leader->hosts[i].pump, leader->store.nodes[i].next_seq);
	}
	boot(world, leader);
}

static void fall(struct world *world, struct leader *leader, int64_t back_in_ns)
{
	leader->life++;
	leader->core = NULL;
	rounds_die(world, &leader->rounds);
	tenants_abandon(world);
	world_plan(world, back_in_ns, (struct call){.fn = start, .life = leader->life});
}

static void commit_failed(struct world *world, void *owner)
{
	world_say(world, "leader: a commit failed");
	fall(world, owner, MS(RETRY_MS));
}

void leader_crash(struct world *world)
{
	world_say(world, "leader dies");
	world->totals.crashes_leader++;
	fall(world, world->leader,
	     world_between(world, MS(10), world_chance(world, 500000) ? MS(200) : S(12)));
}

static void die(struct world *world, void *owner)
{
	(void)owner;
	leader_crash(world);
}

void leader_disk_fails(struct world *world, bool fails)
{
	world->leader->rounds.disk_fails = fails;
}

const struct store *leader_store(const struct world *world)
{
	return &world->leader->store;
}

const struct core *leader_core(const struct world *world)
{
	return world->leader->core;
}

const struct core_sandbox *leader_row(const struct world *world, size_t n)
{
	const struct store *store = &world->leader->store;

	if (n >= store->sandboxes_n || store->sandboxes[n].state == SANDBOX_NONE)
		return NULL;
	return &store->sandboxes[n];
}

void leader_open(struct world *world)
{
	static const struct rounds_kind kind = {sizeof(struct item), is_durable,    write_durable,
						carry_out,           commit_failed, die};
	struct leader *leader = calloc(1, sizeof(*leader));

	CHECK(leader);
	world->leader = leader;
	leader->limits = (struct core_limits){TENANTS_MAX, HOSTS_MAX, TEMPLATES_N, 128, 0};
	leader->memory_n = core_size(&leader->limits);
	leader->memory = aligned_alloc(64, leader->memory_n);
	CHECK(leader->memory);
	rounds_open(&leader->rounds, &kind, leader);
	store_fill(world, &leader->store);
	world_plan(world, 0, (struct call){.fn = start});
}

void leader_close(struct world *world)
{
	rounds_close(&world->leader->rounds);
	free(world->leader->store.sandboxes);
	free(world->leader->memory);
	free(world->leader);
}
