/*
 * A snapshot on more than one node.
 *
 * One begins on the node that made it.  When a create cannot begin from it there, because that node
 * is full or cordoned, another one gets a copy: a row of its own, as in move.c, that is not saved
 * there but fetched, by a transfer.  But this one stays: it is as good as what it was made of, and
 * the next create begins from whichever there is room beside.  Its id is made of its attempt, so
 * that there is never another one, whoever leads.
 *
 * From which may a create begin?  The first of these that says yes:
 *
 *   1. the snapshot, on its own node
 *   2. a copy that is kept
 *   3. the copy that is on its way, whose node has room: there the create waits
 *   4. a new copy, if none is on its way: likewise
 *
 * Who waits holds room and quota where he will begin, and his claim is no order before the copy is
 * kept.  He is told no when nothing comes of the copy, or when it takes too long; the copy goes on,
 * and his next try finds it nearer.
 *
 * A copy goes with its snapshot, whoever drops that.  Only when the snapshot's node is declared
 * lost a copy that is kept takes its place: its node and its attempt become the snapshot's, and its
 * own row ends.  Every replica decides that for itself, since each hears of the loss.  What one has
 * not read by then of the copy's log is a copy of nothing there, and dropped if that one ever
 * leads; a lease is longer than a standby is behind.
 */
#include "scheduler/core/state.h"

#include <string.h>

enum {
	COPY_LETTER = 'p',
	COPIES_MAX = 3, /* of one snapshot */
};

bool snapshot_copy_is(const struct core_sandbox *row)
{
	return snapshot_is(row) && row->how == WIRE_SAVE_SNAPSHOT && row->id.text[0] == COPY_LETTER;
}

/* The next copy of the snapshot, after that one; NULL first, and at last. */
static struct sandbox *next_copy(const struct core *core, const struct id *snapshot,
				 const struct sandbox *after)
{
	struct list *link =
		after ? list_next(&core->copies, &after->copy_link) : list_first(&core->copies);

	for (; link; link = list_next(&core->copies, link)) {
		struct sandbox *copy = LIST_OBJECT(link, struct sandbox, copy_link);
		if (id_equal(&copy->row.source, snapshot))
			return copy;
	}
	return NULL;
}

struct sandbox *snapshot_copy_find(struct core *core, const struct node *node,
				   const struct wire_record *record)
{
	if (!list_first(&core->copies) && record->sandbox.text[0] != COPY_LETTER)
		return NULL;
	for (struct list *link = list_first(&node->sandboxes); link;
	     link = list_next(&node->sandboxes, link)) {
		struct sandbox *row = LIST_OBJECT(link, struct sandbox, node_link);
		if (row->row.attempt == record->attempt)
			return snapshot_is(&row->row) ? row : NULL;
	}
	return NULL;
}

/* ---- where a create begins ---- */

/* Where a new one may be made, and of what; POOL_NONE: nowhere, now. */
static uint32_t pick(struct core *core, const struct sandbox *snapshot,
		     const struct sandbox *holders[], uint32_t holders_n,
		     const struct sandbox **out_from)
{
	const struct core_sandbox *row = &snapshot->row;
	struct template_ *template_ = find_template(core, row->template_);
	uint32_t not_to[1 + COPIES_MAX + CORE_TRIES_MAX], n = 0, to;

	/* Older records say nothing of the disk. */
	if (!template_ || template_->row.vcpus != row->vcpus ||
	    template_->row.mem_mib != row->mem_mib ||
	    (row->disk_mib && template_->row.disk_mib != row->disk_mib))
		return POOL_NONE;
	for (; n < holders_n; n++)
		not_to[n] = holders[n]->node;
	for (; n < holders_n + CORE_TRIES_MAX; n++) {
		to = place_pick(template_, not_to, n);
		for (uint32_t i = 0; to != POOL_NONE && i < holders_n; i++) {
			*out_from = holders[i];
			if (holders[i]->row.state == SANDBOX_KEPT &&
			    transfer_may_copy(core, holders[i]->node, to, template_))
				return to;
		}
		if (to == POOL_NONE)
			break;
		not_to[n] = to;
	}
	transfer_want(core, template_);
	return POOL_NONE;
}

static struct sandbox *begin(struct core *core, const struct sandbox *snapshot,
			     const struct sandbox *holders[], uint32_t holders_n)
{
	struct core_sandbox row = snapshot->row;
	const struct sandbox *from;
	struct sandbox *copy;
	uint32_t to;

	/* The create needs one as well. */
	if (core->sandbox_pool.taken_n + 1 >= core->limits.sandboxes)
		return NULL;
	to = pick(core, snapshot, holders, holders_n, &from);
	if (to == POOL_NONE)
		return NULL;
	row.attempt = sandbox_attempt(core);
	row.id = transfer_id(row.attempt);
	row.id.text[0] = COPY_LETTER;
	row.state = SANDBOX_NONE;
	row.source = snapshot->row.id;
	row.source_attempt = from->row.attempt;
	row.transient = false; /* it goes with its snapshot, whatever that is */
	row.started_at = (struct wall){0};
	row.created_at = row.life_at = core->wall;
	copy = sandbox_copy(core, &row, snapshot->tenant, to);
	transfer_copy(core, copy, from->node);
	return copy;
}

enum refusal snapshot_copy_choose(struct core *core, const struct sandbox *snapshot,
				  const struct sandbox **out_from)
{
	const struct sandbox *holders[1 + COPIES_MAX] = {snapshot};
	enum refusal refusal = pause_node_refuses(core, snapshot);
	const struct sandbox *under_way = NULL, *copy = NULL;
	uint32_t n = 1;

	*out_from = snapshot;
	if (refusal == REFUSAL_NONE)
		return REFUSAL_NONE;
	while ((copy = next_copy(core, &snapshot->row.id, copy))) {
		if (n <= COPIES_MAX)
			holders[n++] = copy;
		if (copy->row.state == SANDBOX_SNAPPING)
			under_way = copy;
		if (copy->row.state != SANDBOX_KEPT || pause_node_refuses(core, copy))
			continue;
		*out_from = copy;
		return REFUSAL_NONE;
	}
	if (under_way && pause_node_refuses(core, under_way))
		return refusal;
	if (!under_way && n <= COPIES_MAX)
		under_way = begin(core, snapshot, holders, n);
	*out_from = under_way;
	return under_way ? REFUSAL_NONE : refusal;
}

/* ---- who waits ---- */

/* The copy that it waits for; NULL: nothing came of it. */
static const struct sandbox *awaited(const struct core *core, const struct sandbox *sandbox)
{
	const struct list *all = &core->nodes[sandbox->node].sandboxes;

	for (struct list *link = list_first(all); link; link = list_next(all, link)) {
		const struct sandbox *copy = LIST_OBJECT(link, struct sandbox, node_link);
		if (copy->row.state == SANDBOX_SNAPPING &&
		    copy->row.attempt == sandbox->row.from_attempt)
			return copy;
	}
	return NULL;
}

void snapshot_copy_give_up(struct core *core, struct sandbox *sandbox)
{
	enum refusal refusal =
		awaited(core, sandbox) ? REFUSAL_PLACEMENT_TIMEOUT : REFUSAL_SAVED_AWAY;

	/* It was never ordered, so that there is nothing to cancel. */
	sandbox->row.refusal = sandbox->create_request ? refusal : REFUSAL_CANCELLED;
	sandbox->row.ended_at = core->wall;
	sandbox_finish(core, sandbox);
}

/* All that wait for it on its node may begin; or are overdue, so that each is told when there is
 * room for the effects of that. */
static void release(struct core *core, const struct core_sandbox *copy, bool is_kept)
{
	struct node *node = find_node(core, copy->node.text);
	bool any = false;

	for (struct list *link = list_first(&node->sandboxes); link;
	     link = list_next(&node->sandboxes, link)) {
		struct sandbox *sandbox = LIST_OBJECT(link, struct sandbox, node_link);

		if (!sandbox->waits || sandbox->row.from_attempt != copy->attempt)
			continue;
		list_remove(&sandbox->timer_link);
		if (!is_kept) {
			sandbox->timer_at = mono_add_ms(core->now, -CORE_COPY_WAIT_MS);
			list_prepend(&core->copy_waits, &sandbox->timer_link);
			continue;
		}
		sandbox->waits = false;
		sandbox->timer_at = core->now;
		list_append(&core->attempts, &sandbox->timer_link);
		any = dispatch_queue(core, sandbox) || any;
	}
	if (any)
		effect_wake(core, node);
}

/* ---- the copy's life ---- */

void snapshot_copy_kept(struct core *core, struct sandbox *copy, const struct wire_record *record)
{
	struct sandbox *snapshot = find_sandbox(core, copy->row.source.text);

	/* An agent of before this was there took it for what one alone goes on from. */
	if (record->saved_how != WIRE_SAVE_SNAPSHOT) {
		snapshot_give_up(core, copy, CAUSE_PLATFORM);
		return;
	}
	transfer_copied(core, copy->row.attempt, REFUSAL_NONE);
	if (core->role == CORE_STANDBY || !snapshot || snapshot->row.state != SANDBOX_KEPT)
		settle_later(core, &core->nodes[copy->node]);
	release(core, &copy->row, true);
}

static void drop_all(struct core *core, const struct id *snapshot)
{
	struct sandbox *copy = NULL;

	while ((copy = next_copy(core, snapshot, copy)))
		if (copy->row.state == SANDBOX_SNAPPING || copy->row.state == SANDBOX_KEPT)
			snapshot_give_up(core, copy, CAUSE_PLATFORM);
}

void snapshot_copy_given_up(struct core *core, const struct core_sandbox *row)
{
	if (snapshot_copy_is(row)) {
		transfer_copied(core, row->attempt, REFUSAL_CANCELLED);
		release(core, row, false);
	} else if (core->role != CORE_STANDBY && snapshot_is(row)) {
		drop_all(core, &row->id);
	}
}

bool snapshot_copy_is_left_over(const struct core *core, const struct node *node,
				const struct core_sandbox *row)
{
	uint32_t slot = index_find(&core->sandbox_index, row->source.text);

	if (core->role == CORE_STANDBY || !node->joined)
		return false;
	/* Of several, the node was heard out. */
	if (row->state == SANDBOX_SNAPPING)
		return core->role == CORE_ALONE && wire_attempt_epoch(row->attempt) < core->epoch;
	if (row->state != SANDBOX_KEPT)
		return false;
	/* The log that tells of it may not be here yet. */
	if (slot == INDEX_NONE)
		return core->role != CORE_TAKING_OVER;
	return core->sandboxes[slot].row.state == SANDBOX_DISCARDING;
}

bool snapshot_copy_takes_over(struct core *core, struct sandbox *snapshot)
{
	struct sandbox *copy = NULL;

	if (snapshot->row.state != SANDBOX_KEPT || snapshot_copy_is(&snapshot->row))
		return false;
	while ((copy = next_copy(core, &snapshot->row.id, copy)))
		if (copy->row.state == SANDBOX_KEPT &&
		    copy->row.attempt >= core->nodes[copy->node].row.lost_below)
			break;
	if (!copy)
		return false;
	sandbox_sit(core, snapshot, copy->node);
	snapshot->row.attempt = copy->row.attempt;
	effect_save_sandbox(core, snapshot);
	copy->row.ended_at = core->wall;
	sandbox_finish(core, copy);
	return true;
}
