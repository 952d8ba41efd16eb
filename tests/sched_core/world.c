/* The world's store and clock: the part of the scheduler's shell. */
#include "tests/sched_core/world.h"

#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world *world_open(void)
{
	struct world *world = calloc(1, sizeof(*world));

	CHECK(world);
	world->limits = (struct core_limits){.tenants = WORLD_TENANTS,
					     .nodes = WORLD_NODES,
					     .templates = WORLD_TEMPLATES,
					     .sandboxes = WORLD_SANDBOXES};
	world->wall.ns = 1700000000 * NS_PER_S;
	world->now.ns = 5 * NS_PER_S;
	world->sandboxes = calloc(WORLD_REQUESTS, sizeof(*world->sandboxes));
	CHECK(world->sandboxes);
	world_restart(world);
	return world;
}

void world_close(struct world *world)
{
	free(world->sandboxes);
	free(world->memory);
	free(world);
}

/* ---- the shell's part ---- */

/* One that had ended may come again, adopted, with the log of a node that it was on before. */
static void store_sandbox(struct world *world, const struct core_sandbox *row, bool adopted)
{
	for (uint32_t i = 0; i < world->sandbox_n; i++) {
		if (!id_equal(&world->sandboxes[i].id, &row->id))
			continue;
		CHECK((world->sandboxes[i].state == SANDBOX_ENDED) == adopted);
		world->sandboxes[i] = *row;
		return;
	}
	CHECK(world->sandbox_n < WORLD_REQUESTS);
	world->sandboxes[world->sandbox_n++] = *row;
}

static void store_node(struct world *world, const struct core_node *row)
{
	for (uint32_t i = 0; i < world->node_row_n; i++) {
		if (id_equal(&world->node_rows[i].id, &row->id)) {
			world->node_rows[i] = *row;
			return;
		}
	}
	world->node_rows[world->node_row_n++] = *row;
}

static void store_template(struct world *world, const struct core_template *row)
{
	for (uint32_t i = 0; i < world->template_n; i++) {
		if (strcmp(world->templates[i].name, row->name) == 0) {
			world->templates[i] = *row;
			return;
		}
	}
	world->templates[world->template_n++] = *row;
}

static void post(struct world *world, const struct core_effect *effect)
{
	const struct wire_record *record = &effect->usage.record;

	for (uint32_t i = 0; i < world->posted_n; i++)
		CHECK(!id_equal(&world->posted[i].node, &effect->usage.node) ||
		      world->posted[i].seq != record->seq);
	CHECK(world->posted_n < WORLD_POSTED);
	world->posted[world->posted_n].node = effect->usage.node;
	world->posted[world->posted_n].seq = record->seq;
	world->posted[world->posted_n++].ms = record->to_ms - record->from_ms;
}

static void reply(struct world *world, const struct core_effect *effect)
{
	struct world_reply *answer;

	CHECK(effect->reply.request < WORLD_REQUESTS);
	answer = &world->replies[effect->reply.request];
	CHECK(answer->answers_n++ == 0);
	answer->refusal = effect->reply.refusal;
	answer->found = effect->reply.found;
	answer->sandbox = effect->reply.sandbox;
}

static void carry_out(struct world *world, const struct core_effect *effect)
{
	struct world_node *node;

	switch (effect->kind) {
	case CORE_EFFECT_SAVE_NODE:
		store_node(world, &effect->node);
		break;
	case CORE_EFFECT_SAVE_TEMPLATE:
		store_template(world, &effect->template_);
		break;
	case CORE_EFFECT_SAVE_SANDBOX:
		store_sandbox(world, &effect->sandbox, false);
		break;
	case CORE_EFFECT_POST_USAGE:
		post(world, effect);
		break;
	case CORE_EFFECT_ADOPT_SANDBOX:
		store_sandbox(world, &effect->sandbox, true);
		world->adopted_n++;
		break;
	case CORE_EFFECT_ADMITTING:
		world->admitted_n++;
		break;
	case CORE_EFFECT_EPOCH_OVER:
		world->epoch_over_n++;
		break;
	case CORE_EFFECT_REPLY:
		reply(world, effect);
		break;
	case CORE_EFFECT_WAKE:
		node = world_find_node(world, &effect->node_id);
		world->woken[node - world->nodes] = true;
		break;
	case CORE_EFFECT_ORDER:
		break;
	case CORE_EFFECT_ACK:
		node = world_find_node(world, &effect->ack.node);
		node->acked = effect->ack.next_seq;
		node->resync = effect->ack.resync;
		break;
	case CORE_EFFECT_N:
		CHECK(false);
	}
}

void world_step(struct world *world, struct core_event *event)
{
	enum world_crash crash = world->crash;

	world->crash = WORLD_NO_CRASH;
	event->now = world->now;
	event->wall = world->wall;
	core_step(world->core, event, &world->effects);
	core_check(world->core);
	for (uint32_t i = 0; i < world->effects.n; i++)
		if (crash == WORLD_NO_CRASH ||
		    (crash == WORLD_CRASH_AFTER_COMMIT &&
		     core_effect_is_durable(world->effects.items[i].kind)))
			carry_out(world, &world->effects.items[i]);
	if (crash != WORLD_NO_CRASH) {
		world_restart(world);
		world->effects.n = 0;
	}
}

void world_restart(struct world *world)
{
	struct core_event event = {0};

	free(world->memory);
	world->memory = aligned_alloc(64, core_size(&world->limits));
	CHECK(world->memory);
	memset(world->memory, 0, core_size(&world->limits));
	world->core = core_init(world->memory, &world->limits);
	event.kind = CORE_EVENT_LOAD_TENANT;
	for (uint32_t i = 0; i < world->tenant_n; i++) {
		event.tenant = world->tenants[i];
		world_step(world, &event);
	}
	event.kind = CORE_EVENT_LOAD_NODE;
	for (uint32_t i = 0; i < world->node_row_n; i++) {
		event.node = world->node_rows[i];
		world_step(world, &event);
	}
	event.kind = CORE_EVENT_LOAD_TEMPLATE;
	for (uint32_t i = 0; i < world->template_n; i++) {
		event.template_ = world->templates[i];
		world_step(world, &event);
	}
	event.kind = CORE_EVENT_LOAD_SANDBOX;
	for (uint32_t i = 0; i < world->sandbox_n; i++) {
		if (world->sandboxes[i].state == SANDBOX_ENDED)
			continue;
		event.sandbox = world->sandboxes[i];
		world_step(world, &event);
	}
	event.kind = CORE_EVENT_BOOT;
	event.boot.standby = world->stands_by;
	if (!world->stands_by || !world->epoch)
		world->epoch++;
	event.boot.epoch = world->epoch;
	world_step(world, &event);
}

void world_stand_by(struct world *world)
{
	world->stands_by = true;
	world->crash = WORLD_NO_CRASH;
	world_restart(world);
}

void world_lead(struct world *world)
{
	struct core_event event = {.kind = CORE_EVENT_LEAD, .lead.epoch = ++world->epoch};

	world_step(world, &event);
}

void world_pass(struct world *world, int64_t ms)
{
	int64_t until_ns = world->now.ns + ms * NS_PER_MS;
	struct core_event event = {.kind = CORE_EVENT_TICK};
	struct mono due;

	while (core_next_deadline(world->core, &due) && due.ns <= until_ns) {
		if (due.ns > world->now.ns) {
			world->wall.ns += due.ns - world->now.ns;
			world->now = due;
		}
		world_step(world, &event);
	}
	world->wall.ns += until_ns - world->now.ns;
	world->now.ns = until_ns;
}
