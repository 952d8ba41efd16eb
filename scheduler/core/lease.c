/*
 * Which nodes are heard.  Silence is not an answer: whatever runs on a silent node still runs, and
 * keeps its room and its quota; only nothing new goes there.  (With several schedulers, a node
 * freezes its sandboxes when its lease runs out, and this is where the scheduler counts with it.)
 *
 * All nodes have the same patience, so a list in the order of last hearing is the timer.
 */
#include "scheduler/core/state.h"

void lease_wake(struct core *core, struct node *node)
{
	node->awake = true;
	lease_hear(core, node);
}

void lease_hear(struct core *core, struct node *node)
{
	node->heard_at = core->now;
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
	list_remove(&node->awake_link);
	place_withdraw(core, node);
}

void lease_tick(struct core *core)
{
	struct list *link;

	while ((link = list_first(&core->awake))) {
		struct node *node = LIST_OBJECT(link, struct node, awake_link);
		if (mono_ms_since(core->now, node->heard_at) < CORE_SILENT_MS)
			break;
		lease_silence(core, node);
	}
}
