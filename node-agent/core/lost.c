/*
 * What a leader gave up when the node was declared lost: attempts below a bound.  They are ended,
 * and only when nothing of them is left, neither on its way nor running, is the bound said to be
 * carried out.  It is not journaled, because every answer says it again.
 */
#include "node-agent/core/state.h"

void lost_take(struct node_core *core, uint64_t below)
{
	/* Answers overtake each other, and a decision is not taken back. */
	if (below > core->lost_below)
		core->lost_below = below;
}

/* Whether claims below the bound are left. */
static bool lose_claims(struct node_core *core)
{
	bool left = false;

	for (uint32_t slot = pool_next(&core->claim_pool, 0); slot != POOL_NONE;
	     slot = pool_next(&core->claim_pool, slot + 1)) {
		struct claim *claim = &core->claims[slot];
		if (claim->order.attempt >= core->lost_below)
			continue;
		if (!claim->cancelled && node_effects_fit(core))
			claim_cancel(core, claim, CAUSE_NODE_LOST);
		left |= pool_is_taken(&core->claim_pool, slot);
	}
	return left;
}

/* Whether sandboxes below the bound are left. */
static bool lose_sandboxes(struct node_core *core)
{
	bool left = false;

	for (uint32_t slot = pool_next(&core->vm_pool, 0); slot != POOL_NONE;
	     slot = pool_next(&core->vm_pool, slot + 1)) {
		struct vm *vm = &core->vms[slot];
		if (!vm->has_sandbox || vm->sandbox.attempt >= core->lost_below)
			continue;
		if (vm->state == NODE_VM_RUNNING && node_effects_fit(core))
			vm_kill(core, vm, CAUSE_NODE_LOST);
		left = true;
	}
	return left;
}

/* A claim of the same leader that came later than what it goes on from. */
static void cancel_claims_of(struct node_core *core, uint32_t saved)
{
	for (uint32_t slot = pool_next(&core->claim_pool, 0); slot != POOL_NONE;
	     slot = pool_next(&core->claim_pool, slot + 1)) {
		struct claim *claim = &core->claims[slot];
		if (claim->saved == saved && !claim->cancelled && node_effects_fit(core))
			claim_cancel(core, claim, CAUSE_NODE_LOST);
	}
}

/* Whether paused ones, or snapshots, below the bound are left. */
static bool lose_saved(struct node_core *core)
{
	bool left = false;

	for (uint32_t slot = pool_next(&core->saved_pool, 0); slot != POOL_NONE;
	     slot = pool_next(&core->saved_pool, slot + 1)) {
		struct saved *saved = &core->saved[slot];
		if (saved->row.attempt >= core->lost_below)
			continue;
		if (saved->maker != POOL_NONE)
			snapshot_cancel(saved);
		else if (saved->claims_n)
			cancel_claims_of(core, slot);
		else if (node_effects_fit(core))
			saved_discard(core, saved, CAUSE_NODE_LOST);
		left |= pool_is_taken(&core->saved_pool, slot);
	}
	return left;
}

void lost_settle(struct node_core *core)
{
	bool claims_left, sandboxes_left, saved_left;

	if (core->lost_done == core->lost_below)
		return;
	claims_left = lose_claims(core);
	sandboxes_left = lose_sandboxes(core);
	saved_left = lose_saved(core);
	if (claims_left || sandboxes_left || saved_left)
		return;
	core->lost_done = core->lost_below;
	core->news_changed = true;
}
