/*
 * Ends what a node's log will never end: attempts of older leaders that never began, which is
 * known once the node was heard out; and whatever was given up when the node was declared lost.
 *
 * A node can hold more than fits into the effects of one step, so what is left stays due.
 */
#include "scheduler/core/state.h"

enum {
	SETTLE_EFFECTS = 16
}; /* free ones for one sandbox, and for what the step still has to say */

static bool given_up(const struct node *node, const struct core_sandbox *row)
{
	return row->attempt < node->row.lost_below;
}

/* Nothing came of the attempt, as far as the log says; a kill alone would leave nothing in the log
 * either. */
static bool not_begun(const struct core_sandbox *row)
{
	return row->state == SANDBOX_PLACING || row->state == SANDBOX_RESUMING ||
	       row->state == SANDBOX_SNAPPING ||
	       (row->state == SANDBOX_DISCARDING && snapshot_is(row) && row->started_at.ns == 0) ||
	       (row->state == SANDBOX_ENDING && (row->started_at.ns == 0 || row->saved_attempt));
}

/* A snapshot for creates that a leader before us had under way; or we, before we were started. */
static bool left_over(const struct core *core, const struct node *node,
		      const struct core_sandbox *row)
{
	if (snapshot_copy_is(row))
		return snapshot_copy_is_left_over(core, node, row);
	return row->transient && core->role != CORE_STANDBY && node->joined &&
	       wire_attempt_epoch(row->attempt) < core->epoch &&
	       (!move_is_copy(row) || row->state == SANDBOX_SNAPPING ||
		move_is_left_over(core, row)) &&
	       (row->state == SANDBOX_KEPT ||
		(row->state == SANDBOX_SNAPPING && core->role == CORE_ALONE));
}

bool settle_is_due(const struct core *core, const struct node *node, const struct core_sandbox *row)
{
	return given_up(node, row) ||
	       (not_begun(row) && wire_attempt_epoch(row->attempt) < node->settle_epoch) ||
	       left_over(core, node, row);
}

void settle_later(struct core *core, struct node *node)
{
	if (!list_is_linked(&node->settle_link))
		list_append(&core->unsettled, &node->settle_link);
}

/* When what the node ran was frozen for sure; without leases, when it was last heard. */
static struct wall lost_at(const struct core *core, const struct node *node)
{
	struct mono at = node->counts_from;

	if (core->limits.lease_ms)
		at = mono_add_ms(at, lease_patience_ms(core));
	else if (node->heard_at.ns)
		at = node->heard_at;
	if (at.ns > core->now.ns)
		at = core->now;
	return (struct wall){core->wall.ns - (core->now.ns - at.ns)};
}

static void settle(struct core *core, const struct node *node, struct sandbox *sandbox)
{
	struct core_sandbox *row = &sandbox->row;

	if (given_up(node, row) && snapshot_is(row) && snapshot_copy_takes_over(core, sandbox))
		return;
	if (!given_up(node, row) && row->saved_attempt) {
		pause_again(core, sandbox, REFUSAL_CANCELLED);
		return;
	}
	if (!given_up(node, row) && left_over(core, node, row)) {
		snapshot_give_up(core, sandbox, CAUSE_PLATFORM);
		return;
	}
	if (given_up(node, row)) {
		if (row->state == SANDBOX_PLACING)
			row->refusal = sandbox->create_request ? REFUSAL_PLACEMENT_TIMEOUT
							       : REFUSAL_CANCELLED;
		row->cause = CAUSE_NODE_LOST;
		row->ended_at = lost_at(core, node);
		if (row->ended_at.ns < row->started_at.ns)
			row->ended_at = row->started_at;
	} else {
		if (row->state == SANDBOX_PLACING || row->state == SANDBOX_SNAPPING)
			row->refusal = REFUSAL_CANCELLED;
		row->cause = CAUSE_NONE;
		row->ended_at = core->wall;
	}
	sandbox_finish(core, sandbox);
}

void settle_node(struct core *core, struct node *node)
{
	struct list *link = list_first(&node->sandboxes), *next;

	for (; link; link = next) {
		struct sandbox *sandbox = LIST_OBJECT(link, struct sandbox, node_link);
		next = list_next(&node->sandboxes, link);
		if (!settle_is_due(core, node, &sandbox->row))
			continue;
		if (effects_left(core) < SETTLE_EFFECTS) {
			settle_later(core, node);
			return;
		}
		settle(core, node, sandbox);
	}
	list_remove(&node->settle_link);
}

void settle_tick(struct core *core)
{
	struct list *link;

	while (effects_left(core) >= SETTLE_EFFECTS && (link = list_first(&core->unsettled)))
		settle_node(core, LIST_OBJECT(link, struct node, settle_link));
}
