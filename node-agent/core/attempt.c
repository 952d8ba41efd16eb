/*
 * Which attempts were answered: the same number gets the same answer, for ever.
 *
 * "For ever" in bounded memory: an answered attempt is forgotten, the oldest answer first, only
 * when a new one needs its place, and only when a leader has its last record durably.  From then on
 * no leader can want anything by that number (a new one catches up with the log before it orders),
 * and what comes by it is an old message.  The floor rises above the forgotten number, and an
 * unknown attempt below the floor is refused, never run.  (A new attempt that was overtaken by
 * attempts_max others is refused as well; that costs it another try.)
 */
#include "node-agent/core/state.h"

uint32_t attempt_find(const struct node_core *core, uint64_t attempt)
{
	return map_find(&core->attempts, attempt);
}

static void forget_oldest(struct node_core *core)
{
	uint64_t attempt = core->ring[core->ring_first].attempt;

	map_remove(&core->attempts, attempt);
	if (attempt >= core->meta.attempt_floor) {
		core->meta.attempt_floor = attempt + 1;
		core->meta_changed = true;
	}
	core->ring_first = (core->ring_first + 1) % core->limits.attempts_max;
	core->ring_n--;
}

/* Every attempt that is known has its place in the ring, or will want one when it is over. */
static bool has_room(const struct node_core *core)
{
	return core->attempts.n < core->limits.attempts_max;
}

bool attempt_make_room(struct node_core *core)
{
	while (!has_room(core) && core->ring_n > 0 && node_effects_fit(core)) {
		const struct answered *oldest = &core->ring[core->ring_first];
		if (oldest->final_seq >= core->leader_acked_seq)
			return false;
		node_effect_add(core, NODE_EFFECT_JOURNAL_ATTEMPT_GONE)->attempt = oldest->attempt;
		forget_oldest(core);
	}
	return has_room(core);
}

static void ring_append(struct node_core *core, uint64_t attempt)
{
	uint32_t slot = (core->ring_first + core->ring_n) % core->limits.attempts_max;

	CHECK(core->ring_n < core->limits.attempts_max);
	core->ring[slot] = (struct answered){attempt, core->meta.next_seq - 1};
	core->ring_n++;
	map_set(&core->attempts, attempt, ATTEMPT_ANSWERED | slot);
}

void attempt_answer(struct node_core *core, uint64_t attempt)
{
	ring_append(core, attempt);
}

void attempt_load(struct node_core *core, uint64_t attempt)
{
	/* Those that run are loaded already. */
	if (attempt_find(core, attempt) != MAP_NONE)
		return;
	/* The limit may be lower than it was. */
	if (!has_room(core) && core->ring_n > 0)
		forget_oldest(core);
	if (has_room(core))
		ring_append(core, attempt);
}

void attempt_live(struct node_core *core, uint64_t attempt, uint32_t place)
{
	map_set(&core->attempts, attempt, place);
}

void attempt_drop(struct node_core *core, uint64_t attempt)
{
	map_remove(&core->attempts, attempt);
}
