/*
 * Who leads, and which nodes it has heard out.
 *
 * A new leader knows what the nodes' logs say, and no more: what the one before it ordered may
 * still be under way.  A node has joined when it has journaled the new epoch, owes no answer to an
 * older claim, and all of its log up to that moment is here.  From then on nothing can come of an
 * older attempt; until then nothing is ordered there.
 *
 * Requests are admitted once every node has joined, or is known to run nothing; alone, at once.
 */
#include "scheduler/core/state.h"

static void boot_nodes(struct core *core)
{
	for (uint32_t at = pool_next(&core->node_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->node_pool, at + 1)) {
		struct node *node = &core->nodes[at];
		join_add(core, node);
		/* A crash may have come between two steps of giving up, and left snapshots that
		 * nobody waits for. */
		if (node->row.lost_below || core->role == CORE_ALONE)
			settle_later(core, node);
	}
}

void join_boot(struct core *core, const struct core_event *event)
{
	CHECK(!core->booted && event->boot.epoch >= 1 && event->boot.epoch <= UINT32_MAX);
	core->epoch = event->boot.epoch;
	core->role = event->boot.standby ? CORE_STANDBY : CORE_ALONE;
	boot_nodes(core);
	for (uint32_t at = pool_next(&core->sandbox_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->sandbox_pool, at + 1))
		sandbox_boot(core, &core->sandboxes[at]);
	core->booted = true;
}

void join_lead(struct core *core, uint64_t epoch)
{
	CHECK(core->role == CORE_STANDBY);
	CHECK(epoch >= core->epoch && epoch <= UINT32_MAX);
	core->epoch = epoch;
	core->role = CORE_TAKING_OVER;
	core->led_at = core->now;
	for (uint32_t at = pool_next(&core->node_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->node_pool, at + 1)) {
		struct node *node = &core->nodes[at];
		join_add(core, node);
		node->told_epoch = false;
		/* A node may have seen a leader that is newer still; that is not about ours. */
		if (node->settle_epoch > epoch)
			node->settle_epoch = epoch;
	}
}

void join_add(struct core *core, struct node *node)
{
	/* The leader before us may have given a lease up to this moment. */
	node->counts_from = core->now;
	switch (core->role) {
	case CORE_ALONE:
		node->joined = true;
		break;
	case CORE_STANDBY:
		return;
	case CORE_TAKING_OVER:
		node->blocks = !lease_is_lost(node);
		core->blocking_n += node->blocks;
		break;
	case CORE_LEADING:
		break;
	}
	list_append(&core->alive, &node->alive_link);
}

/*
 * A node that cannot write will not join, and must not stop the fleet.  All that anybody was told
 * of it is in its log; what it may still answer to an older claim is adopted, as from one that
 * joins late.  Other nodes get this long to say it in order.
 */
static void join_despite_trouble(struct core *core, struct node *node, const struct wire_poll *poll)
{
	if (core->role == CORE_TAKING_OVER && poll->trouble[0] &&
	    node->row.next_seq >= poll->end_seq &&
	    mono_ms_since(core->now, core->led_at) >= CORE_SILENT_MS)
		join_unblock(core, node);
}

/*
 * A node that has not seen our epoch is answered at once, because a parked poll would keep it from
 * joining for seconds; but once in a session, since it first has to journal what it hears.
 */
static void tell_epoch(struct core *core, struct node *node, const struct wire_poll *poll)
{
	bool leads = core->role == CORE_TAKING_OVER || core->role == CORE_LEADING;

	if (!leads || node->told_epoch || poll->epoch >= core->epoch)
		return;
	node->told_epoch = true;
	effect_add(core, CORE_EFFECT_WAKE)->node_id = node->row.id;
}

void join_session(struct node *node)
{
	node->told_epoch = false;
}

void join_report(struct core *core, struct node *node, const struct wire_poll *poll)
{
	/* Alone too: then this is an older copy of the database. */
	if (core->role != CORE_STANDBY && poll->epoch > core->epoch)
		effect_add(core, CORE_EFFECT_EPOCH_OVER)->epoch_over.seen = poll->epoch;
	node->behind = poll->end_seq < node->row.next_seq;
	join_despite_trouble(core, node, poll);
	tell_epoch(core, node, poll);
	if (poll->epoch == node->heard_epoch && poll->pending_n == 0) {
		/* The end of its log as it was then is enough, however it grows.  But what was not
		 * durable then may never come: an agent that was started again says a lower end. */
		if (poll->end_seq > 0 && poll->end_seq < node->heard_seq)
			node->heard_seq = poll->end_seq;
		return;
	}
	if (poll->pending_n == 0 && poll->end_seq > 0) {
		node->heard_epoch = poll->epoch;
		node->heard_seq = poll->end_seq;
	} else {
		node->heard_epoch = node->heard_seq = 0;
	}
}

static void join(struct core *core, struct node *node, bool joined)
{
	if (node->joined == joined)
		return;
	place_join(core, node, joined);
	if (joined && core->state_n[SANDBOX_KEPT]) {
		settle_later(core, node);
		move_joined(core, node);
	}
	if (joined && list_first(&node->waiting))
		effect_wake(core, node);
}

static void heard_out(struct core *core, struct node *node)
{
	if (node->settle_epoch >= node->heard_epoch)
		return;
	node->settle_epoch = node->heard_epoch;
	if (core->state_n[SANDBOX_PLACING] || core->state_n[SANDBOX_RESUMING] ||
	    core->state_n[SANDBOX_ENDING] || core->state_n[SANDBOX_DISCARDING] ||
	    core->state_n[SANDBOX_SNAPPING] || core->state_n[SANDBOX_KEPT])
		settle_node(core, node);
}

void join_refresh(struct core *core, struct node *node)
{
	bool heard = node->heard_epoch && node->row.next_seq >= node->heard_seq;

	switch (core->role) {
	case CORE_ALONE:
		break;
	case CORE_STANDBY:
		/* Another leader has heard it out, or will: the log says what it can know. */
		if (heard)
			heard_out(core, node);
		break;
	case CORE_TAKING_OVER:
	case CORE_LEADING:
		heard = heard && node->heard_epoch == core->epoch;
		join(core, node, heard && !node->behind);
		if (heard) {
			heard_out(core, node);
			join_unblock(core, node);
		}
		break;
	}
}

void join_unblock(struct core *core, struct node *node)
{
	core->blocking_n -= node->blocks;
	node->blocks = false;
}

void join_admit(struct core *core)
{
	if (core->role != CORE_TAKING_OVER || core->blocking_n > 0)
		return;
	core->role = CORE_LEADING;
	effect_add(core, CORE_EFFECT_ADMITTING);
	/* Copies of what has ended are left over from now on. */
	for (uint32_t at = pool_next(&core->node_pool, 0);
	     core->state_n[SANDBOX_KEPT] && at != POOL_NONE;
	     at = pool_next(&core->node_pool, at + 1))
		settle_later(core, &core->nodes[at]);
}

enum refusal join_refuses(const struct core *core)
{
	switch (core->role) {
	case CORE_STANDBY:
		return REFUSAL_NO_LEADER;
	case CORE_TAKING_OVER:
		return REFUSAL_TAKING_OVER;
	case CORE_ALONE:
	case CORE_LEADING:
		break;
	}
	return REFUSAL_NONE;
}

enum core_role core_role(const struct core *core)
{
	return core->role;
}
