/*
 * A paused sandbox goes on on another node than that which holds it, when that one can be reached
 * but cannot run it: it is full, or cordoned.
 *
 *   1. A row of its own, a copy, is made of it: like a snapshot (see snapshot.c) that is not saved
 *      there but fetched, by a transfer.  Its id is the sandbox's with another first letter, so
 *      that there is one at a time and each is found by the other.
 *   2. The copy is kept.  The node that holds the sandbox is ordered to hand over to it, and does
 *      so by a record, with which what it has is gone.  Until then it can go on there and nowhere
 *      else, from then on only from the copy, whoever leads: one log decides.
 *   3. That record makes the copy's node and attempt the sandbox's, and the copy's row ends.
 *
 * Whoever asked for it to go on waits for as long as for any start; when he has given up, the move
 * goes on, and the next one finds it nearer.
 *
 * The logs of two nodes come in any order.  A record of the sandbox from the node that it was moved
 * to waits until the other node's log has told of that.  Where the sandbox is not known at all, and
 * its later lives are taken from the one log before the other is read, the other begins it anew; it
 * ends with the hand-over, since the copy is not here although its log was read up to where it was
 * kept: then the rest has been read as well.
 *
 * A copy whose making a leader did not live to see through is dropped by the next one, but not
 * before the node that was perhaps told to hand over to it was heard out.
 */
#include "scheduler/core/state.h"

#include <string.h>

enum {
	COPY_LETTER = 'x',
	SANDBOX_LETTER = 'i',
	MOVE_TRIES_MAX = 4, /* nodes that are looked at */
};

bool move_is_copy(const struct core_sandbox *row)
{
	return snapshot_is(row) && row->how != WIRE_SAVE_SNAPSHOT;
}

static struct sandbox *copy_of(struct core *core, const struct id *sandbox)
{
	struct id id = *sandbox;
	struct sandbox *copy;

	id.text[0] = COPY_LETTER;
	copy = find_sandbox(core, id.text);
	return copy && move_is_copy(&copy->row) ? copy : NULL;
}

struct sandbox *move_find(struct core *core, const struct node *node,
			  const struct wire_record *record)
{
	struct sandbox *sandbox = find_sandbox(core, record->sandbox.text);
	struct sandbox *of_snapshot = NULL;
	struct id id = record->sandbox;

	if (!sandbox || (snapshot_is(&sandbox->row) && sandbox->row.attempt != record->attempt))
		of_snapshot = snapshot_copy_find(core, node, record);
	if (of_snapshot)
		return of_snapshot;
	if (sandbox && (!move_is_copy(&sandbox->row) || sandbox->row.attempt == record->attempt))
		return sandbox;
	if (id.text[0] != COPY_LETTER)
		return copy_of(core, &id);
	id.text[0] = SANDBOX_LETTER;
	return find_sandbox(core, id.text);
}

bool move_is_under_way(struct core *core, const struct sandbox *sandbox)
{
	const struct sandbox *copy = copy_of(core, &sandbox->row.id);

	return sandbox->row.save || (copy && copy->row.state == SANDBOX_SNAPPING &&
				     copy->row.source_attempt == sandbox->row.attempt);
}

/* ---- beginning ---- */

/* Where it is to go; POOL_NONE: nowhere, now. */
static uint32_t pick(struct core *core, const struct sandbox *sandbox)
{
	const struct core_sandbox *row = &sandbox->row;
	struct template_ *template_ = find_template(core, row->template_);
	uint32_t not_to[MOVE_TRIES_MAX] = {sandbox->node};
	uint32_t to = POOL_NONE;

	/* Older records say nothing of the disk. */
	if (row->id.text[0] != SANDBOX_LETTER || !template_ || template_->row.vcpus != row->vcpus ||
	    template_->row.mem_mib != row->mem_mib ||
	    (row->disk_mib && template_->row.disk_mib != row->disk_mib))
		return POOL_NONE;
	for (uint32_t n = 1; n <= MOVE_TRIES_MAX; n++) {
		to = place_pick(template_, not_to, n);
		if (to == POOL_NONE || transfer_may_copy(core, sandbox->node, to, template_))
			break;
		if (n < MOVE_TRIES_MAX)
			not_to[n] = to;
		to = POOL_NONE;
	}
	if (to == POOL_NONE)
		transfer_want(core, template_);
	return to;
}

bool move_begin(struct core *core, struct sandbox *sandbox)
{
	struct core_sandbox row = sandbox->row;
	struct sandbox *copy;
	uint32_t to;

	if (copy_of(core, &row.id) || core->sandbox_pool.taken_n == core->limits.sandboxes)
		return false;
	to = pick(core, sandbox);
	if (to == POOL_NONE)
		return false;
	row.state = SANDBOX_NONE;
	row.source = row.id;
	row.source_attempt = row.attempt;
	row.id.text[0] = COPY_LETTER;
	row.transient = true;
	row.tries = 1;
	row.started_at = row.end_at = (struct wall){0};
	row.timeout_s = 0;
	row.deadline_version = row.deadline_known = 0;
	row.from_attempt = 0;
	row.created_at = row.life_at = core->wall;
	row.attempt = sandbox_attempt(core);
	copy = sandbox_copy(core, &row, sandbox->tenant, to);
	transfer_copy(core, copy, sandbox->node);
	return true;
}

void move_stop(struct core *core, struct sandbox *sandbox)
{
	struct sandbox *copy = copy_of(core, &sandbox->row.id);

	if (copy && copy->row.state == SANDBOX_SNAPPING)
		snapshot_give_up(core, copy, CAUSE_PLATFORM);
}

/* ---- the copy's life ---- */

void move_kept(struct core *core, struct sandbox *copy, const struct wire_record *record,
	       uint64_t source_attempt)
{
	struct sandbox *sandbox = find_sandbox(core, copy->row.source.text);
	uint64_t attempt = copy->row.attempt;

	copy->kept_seq = record->seq;
	transfer_copied(core, attempt, REFUSAL_NONE);
	if (core->role == CORE_STANDBY || wire_attempt_epoch(attempt) != core->epoch) {
		settle_later(core, &core->nodes[copy->node]);
		return;
	}
	if (!sandbox || sandbox->row.state != SANDBOX_PAUSED ||
	    sandbox->row.attempt != source_attempt) {
		snapshot_give_up(core, copy, CAUSE_PLATFORM);
		return;
	}
	sandbox->row.save = attempt;
	effect_save_sandbox(core, sandbox);
	dispatch_refresh(core, sandbox);
}

void move_order(struct core *core, const struct sandbox *sandbox, struct wire_order *order)
{
	const struct sandbox *copy = copy_of(core, &sandbox->row.id);

	CHECK(copy && copy->row.attempt == sandbox->row.save);
	order->kind = WIRE_ORDER_HAND_OVER;
	order->save = copy->row.attempt;
	order->to = copy->row.node;
	order->to_seq = copy->kept_seq;
}

/* Nothing will come of the copy: the sandbox stays where it is. */
static void copy_lost(struct core *core, const struct core_sandbox *copy)
{
	struct sandbox *sandbox = find_sandbox(core, copy->source.text);
	enum refusal refusal;

	transfer_copied(core, copy->attempt, REFUSAL_CANCELLED);
	if (!sandbox || sandbox->row.state != SANDBOX_PAUSED)
		return;
	if (sandbox->row.save == copy->attempt) {
		sandbox->row.save = 0;
		effect_save_sandbox(core, sandbox);
		dispatch_refresh(core, sandbox);
	}
	if (!sandbox->create_request || move_is_under_way(core, sandbox))
		return;
	refusal = pause_node_refuses(core, sandbox);
	list_remove(&sandbox->timer_link);
	sandbox_answer(core, sandbox, refusal == REFUSAL_NONE ? REFUSAL_CAPACITY : refusal);
}

void move_given_up(struct core *core, const struct core_sandbox *row)
{
	if (move_is_copy(row))
		copy_lost(core, row);
}

void move_ended(struct core *core, const struct core_sandbox *row)
{
	struct sandbox *copy;

	move_given_up(core, row);
	if (snapshot_is(row) || core->role == CORE_STANDBY)
		return;
	copy = copy_of(core, &row->id);
	if (copy && (copy->row.state == SANDBOX_SNAPPING || copy->row.state == SANDBOX_KEPT))
		snapshot_give_up(core, copy, CAUSE_PLATFORM);
}

bool move_is_left_over(const struct core *core, const struct core_sandbox *row)
{
	uint32_t slot = index_find(&core->sandbox_index, row->source.text);
	const struct sandbox *sandbox = slot == INDEX_NONE ? NULL : &core->sandboxes[slot];

	/* The log that tells of it may not be here yet. */
	if (!sandbox)
		return core->role != CORE_TAKING_OVER;
	/* Which of the two orders its node has followed, its record will say. */
	if (sandbox->row.state == SANDBOX_DISCARDING || sandbox->row.state == SANDBOX_ENDING)
		return false;
	return core->nodes[sandbox->node].joined && sandbox->row.save != row->attempt;
}

void move_consider(struct core *core, const struct sandbox *sandbox)
{
	const struct sandbox *copy = copy_of(core, &sandbox->row.id);

	if (copy)
		settle_later(core, &core->nodes[copy->node]);
}

void move_joined(struct core *core, struct node *node)
{
	for (struct list *link = list_first(&node->sandboxes); link;
	     link = list_next(&node->sandboxes, link))
		move_consider(core, LIST_OBJECT(link, struct sandbox, node_link));
}

/* ---- what nodes say ---- */

static void finish_copy(struct core *core, struct sandbox *copy, int64_t at_wall_ns)
{
	copy->row.ended_at.ns = at_wall_ns;
	sandbox_finish(core, copy);
}

/* Why there is nothing of it on the node that it was handed to; NONE: there is. */
static enum cause gone(const struct node *to, const struct sandbox *copy,
		       const struct wire_record *record)
{
	if (!to || record->save < to->row.lost_below)
		return CAUSE_NODE_LOST;
	return !copy && to->row.next_seq > record->to_seq ? CAUSE_PLATFORM : CAUSE_NONE;
}

bool move_is_ahead(struct core *core, const struct node *node, const struct wire_record *record)
{
	const struct sandbox *sandbox = find_sandbox(core, record->sandbox.text);

	/* A copy comes after the end of the one before it, of which another node tells. */
	if (record->kind == WIRE_RECORD_KEPT)
		return sandbox && move_is_copy(&sandbox->row) &&
		       record->attempt > sandbox->row.attempt;
	if (record->kind != WIRE_RECORD_HANDED_OVER && record->kind != WIRE_RECORD_DISCARDED &&
	    (record->kind != WIRE_RECORD_STARTED || record->incarnation == 1))
		return false;
	return sandbox && !snapshot_is(&sandbox->row) && &core->nodes[sandbox->node] != node &&
	       record->attempt > sandbox->row.attempt && record->attempt >= node->row.lost_below;
}

/* The next copy, if it was handed over again already; that was read without the sandbox. */
static struct sandbox *later_copy(struct core *core, const struct sandbox *sandbox, uint64_t than)
{
	struct sandbox *copy = copy_of(core, &sandbox->row.id);

	return copy && copy->row.state == SANDBOX_KEPT && copy->row.attempt > than ? copy : NULL;
}

/* It is there, under that attempt, if it is: then its copy is it. */
static void sit(struct core *core, struct sandbox *sandbox, const struct node *to, uint64_t attempt)
{
	sandbox->row.save = 0;
	sandbox->row.attempt = attempt;
	if (to)
		sandbox_sit(core, sandbox, (uint32_t)(to - core->nodes));
}

static void end(struct core *core, struct sandbox *sandbox, enum cause cause, int64_t at_wall_ns)
{
	if (sandbox->row.state == SANDBOX_PAUSED)
		sandbox->row.cause = cause;
	sandbox->row.ended_at.ns = at_wall_ns;
	sandbox_finish(core, sandbox);
}

void move_handed_over(struct core *core, struct sandbox *sandbox, const struct wire_record *record)
{
	struct node *to = find_node(core, record->to.text);
	struct sandbox *copy = copy_of(core, &sandbox->row.id);
	uint64_t request;
	enum cause cause;

	/* It is known as the copy that it was, and as nothing else. */
	if (move_is_copy(&sandbox->row)) {
		finish_copy(core, sandbox, record->at_wall_ns);
		return;
	}
	/* A try to let it go on where it was, that its node will say no to. */
	if (sandbox->row.saved_attempt)
		pause_again(core, sandbox, REFUSAL_SAVED_AWAY);
	if (sandbox->row.state != SANDBOX_PAUSED && sandbox->row.state != SANDBOX_DISCARDING)
		return;
	if (copy && copy->row.attempt != record->save)
		copy = NULL;
	cause = gone(to, copy, record);
	sit(core, sandbox, to, record->save);
	if (cause == CAUSE_PLATFORM && (copy = later_copy(core, sandbox, record->save))) {
		sit(core, sandbox, &core->nodes[copy->node], copy->row.attempt);
		cause = CAUSE_NONE;
	}
	if (cause != CAUSE_NONE) {
		end(core, sandbox, cause, record->at_wall_ns);
		return;
	}
	dispatch_refresh(core, sandbox);
	effect_save_sandbox(core, sandbox);
	request = sandbox->create_request;
	if (request) {
		sandbox->create_request = 0;
		list_remove(&sandbox->timer_link);
	}
	if (copy)
		finish_copy(core, copy, record->at_wall_ns);
	else
		move_consider(core, sandbox);
	if (request)
		pause_resume(core, sandbox, request);
}

void move_started(struct core *core, const struct node *node, const struct wire_record *record)
{
	struct sandbox *copy = copy_of(core, &record->sandbox);

	if (copy && &core->nodes[copy->node] == node && copy->row.attempt < record->attempt)
		finish_copy(core, copy, record->at_wall_ns);
}
