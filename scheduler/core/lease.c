/*
 * Which nodes are heard, which may still be running something, and which are lost.
 *
 * Silence is not an answer: whatever runs on a silent node keeps its room and its quota, and only
 * nothing new goes there.  But where leases are given, a node freezes what it runs when its own is
 * over; we count the same lease from a later moment and a little slower, and after that it runs
 * nothing, whether it is dead or cut off.  Then an operator may give it up: declare it lost.
 *
 * All nodes have the same patience, so a list in the order of last hearing is a timer: one for
 * silence, one for leases.
 */
#include "scheduler/core/state.h"

void lease_wake(struct core *core, struct node *node)
{
	node->awake = true;
	lease_hear(core, node);
}

void lease_hear(struct core *core, struct node *node)
{
	node->heard_at = node->counts_from = core->now;
	/* A standby gives no leases, so it counts none. */
	if (core->role != CORE_STANDBY) {
		list_remove(&node->alive_link);
		list_append(&core->alive, &node->alive_link);
	}
	if (!node->awake)
		return;
	list_remove(&node->awake_link);
	list_append(&core->awake, &node->awake_link);
}

void lease_silence(struct core *core, struct node *node)
{
	if (!node->awake)
		return;
	node->awake = false;
	node->fresh = true;
	list_remove(&node->awake_link);
	place_withdraw(core, node);
}

int64_t lease_patience_ms(const struct core *core)
{
	int64_t lease_ms = core->limits.lease_ms;

	if (!lease_ms)
		return CORE_SILENT_MS;
	return lease_ms + CORE_LEASE_MARGIN_MS + lease_ms / CORE_LEASE_DRIFT;
}

static void lease_tick_silence(struct core *core)
{
	struct list *link;

	while ((link = list_first(&core->awake))) {
		struct node *node = LIST_OBJECT(link, struct node, awake_link);
		if (mono_ms_since(core->now, node->heard_at) < CORE_SILENT_MS)
			break;
		lease_silence(core, node);
	}
}

void lease_tick(struct core *core)
{
	struct list *link;

	lease_tick_silence(core);
	while ((link = list_first(&core->alive))) {
		struct node *node = LIST_OBJECT(link, struct node, alive_link);
		if (mono_ms_since(core->now, node->counts_from) < lease_patience_ms(core))
			break;
		list_remove(link);
		if (core->limits.lease_ms)
			join_unblock(core, node);
	}
}

/* ---- lost nodes ---- */

bool lease_may_lose(const struct core *core, const struct node *node)
{
	return core->booted && core->role != CORE_STANDBY && !node->awake &&
	       !list_is_linked(&node->alive_link);
}

bool lease_is_lost(const struct node *node)
{
	return node->lost_carried < node->row.lost_below;
}

/*
 * With several schedulers a loss is decided by one of them, who asked lease_may_lose, and comes to
 * all from the fleet's decisions: each must do the same, even if the node is back by then.  It is
 * told in the next answer.  Alone, it is decided here.
 */
void lease_lose(struct core *core, struct node *node, uint64_t lost_below)
{
	if (lost_below <= node->row.lost_below ||
	    (core->role == CORE_ALONE && !lease_may_lose(core, node))) {
		core->ignored_n++;
		return;
	}
	node->row.lost_below = lost_below;
	effect_save_node(core, node);
	place_refresh(core, node);
	join_unblock(core, node);
	settle_node(core, node);
}

uint64_t core_lost_below(const struct core *core, const struct id *node)
{
	uint32_t slot = index_find(&core->node_index, node->text);

	if (slot == INDEX_NONE || !lease_may_lose(core, &core->nodes[slot]))
		return 0;
	return wire_attempt(core->epoch, core->attempts_n + 1);
}
