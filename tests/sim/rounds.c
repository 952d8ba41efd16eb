#include "tests/sim/rounds.h"

#include <stdlib.h>
#include <string.h>

void rounds_open(struct rounds *rounds, const struct rounds_kind *kind, void *owner, uint32_t of)
{
	*rounds = (struct rounds){.kind = kind, .owner = owner, .of = of};
}

bool rounds_are_idle(const struct rounds *rounds)
{
	return !rounds->is_committing && rounds->gathering.n == 0;
}

void rounds_close(struct rounds *rounds)
{
	free(rounds->gathering.data);
	free(rounds->committing.data);
}

void rounds_add(struct world *world, struct rounds *rounds, const void *item)
{
	struct items *items = &rounds->gathering;
	size_t size = rounds->kind->item_size;

	(void)world;
	if (items->n == items->cap) {
		items->cap = items->cap ? items->cap * 2 : 16;
		items->data = realloc(items->data, items->cap * size);
		CHECK(items->data);
	}
	memcpy(items->data + items->n++ * size, item, size);
}

static bool has_durable(const struct rounds *rounds, const struct items *items)
{
	for (size_t i = 0; i < items->n; i++)
		if (rounds->kind->is_durable(items->data + i * rounds->kind->item_size))
			return true;
	return false;
}

static void write_all(struct world *world, struct rounds *rounds)
{
	for (size_t i = 0; i < rounds->committing.n; i++) {
		const void *item = rounds->committing.data + i * rounds->kind->item_size;
		if (rounds->kind->is_durable(item))
			rounds->kind->write(world, rounds->owner, item);
	}
}

static void carry_out_all(struct world *world, struct rounds *rounds)
{
	uint64_t life = rounds->life;

	for (size_t i = 0; i < rounds->committing.n && life == rounds->life; i++) {
		const void *item = rounds->committing.data + i * rounds->kind->item_size;
		if (!rounds->kind->is_durable(item))
			rounds->kind->carry_out(world, rounds->owner, item);
	}
	if (life != rounds->life)
		return;
	rounds->committing.n = 0;
	rounds->is_committing = false;
}

static void on_committed(struct world *world, const struct call *call)
{
	struct rounds *rounds = call->data;

	if (call->life != rounds->life)
		return;
	if (rounds->disk_fails) {
		world->totals.commit_faults++;
		rounds->kind->failed(world, rounds->owner);
		return;
	}
	write_all(world, rounds);
	rounds->is_written = true;
	if (world_chance(world, world->faults.die_after_commit)) {
		rounds->kind->die(world, rounds->owner);
		return;
	}
	carry_out_all(world, rounds);
	rounds_flush(world, rounds);
}

static int64_t commit_ns(struct world *world)
{
	if (world->faults.slow_disk && world_chance(world, 50000))
		return world_between(world, MS(20), MS(800));
	return world_between(world, 200 * NS_PER_US, MS(2));
}

void rounds_flush(struct world *world, struct rounds *rounds)
{
	while (!rounds->is_committing && rounds->gathering.n) {
		struct items items = rounds->committing;
		rounds->committing = rounds->gathering;
		rounds->gathering = items;
		rounds->is_committing = true;
		rounds->is_written = false;
		if (has_durable(rounds, &rounds->committing)) {
			struct call call = {.fn = on_committed, .of = rounds->of};
			call.life = rounds->life;
			call.data = rounds;
			world_plan(world, commit_ns(world), call);
			return;
		}
		rounds->is_written = true;
		carry_out_all(world, rounds);
	}
}

void rounds_die(struct world *world, struct rounds *rounds)
{
	rounds->life++;
	if (rounds->is_committing && !rounds->is_written && !rounds->disk_fails &&
	    world_chance(world, 500000))
		write_all(world, rounds);
	rounds->is_committing = false;
	rounds->gathering.n = rounds->committing.n = 0;
}
