/*
 * What a node shall do: orders out, answers in.  An order is no object of its own: it is what a
 * sandbox's state wants of its node (a claim while it is placing, a kill while it is ending, a new
 * time limit while the node knows an older one).  So an order cannot be lost with a message, and
 * after a restart the same orders are there again, with the same attempt.
 */
#include "scheduler/core/state.h"

#include <string.h>

static bool order_wanted(const struct core *core, const struct sandbox *sandbox)
{
	const struct core_sandbox *row = &sandbox->row;

	switch (row->state) {
	case SANDBOX_SNAPPING:
		/* Of a copy the transfer orders. */
		return core->role != CORE_STANDBY && !move_is_copy(row) && !snapshot_copy_is(row);
	case SANDBOX_PAUSED:
		return row->save != 0;
	case SANDBOX_PLACING:
	case SANDBOX_RESUMING:
		/* Alone after a restart too: the same attempt, the same answer. One of several
		 * boots as a standby: others may lead in between, so then the log says. */
		return core->role != CORE_STANDBY && !sandbox->waits;
	case SANDBOX_RUNNING:
		return row->deadline_known < row->deadline_version;
	case SANDBOX_PAUSING:
	case SANDBOX_ENDING:
	case SANDBOX_DISCARDING:
		return true;
	case SANDBOX_NONE:
	case SANDBOX_ENDED:
	case SANDBOX_KEPT:
	case SANDBOX_STATE_N:
		return false;
	}
	return false;
}

bool dispatch_queue(struct core *core, struct sandbox *sandbox)
{
	list_remove(&sandbox->order_link);
	if (!order_wanted(core, sandbox))
		return false;
	list_append(&core->nodes[sandbox->node].waiting, &sandbox->order_link);
	return true;
}

void dispatch_refresh(struct core *core, struct sandbox *sandbox)
{
	if (dispatch_queue(core, sandbox))
		effect_wake(core, &core->nodes[sandbox->node]);
}

void dispatch_session(struct node *node)
{
	struct list *link;

	/* From the newest to the oldest, each to the front: their order stays. */
	while (list_first(&node->sent)) {
		link = node->sent.prev;
		list_remove(link);
		list_prepend(&node->waiting, link);
	}
	node->fresh = true;
}

void dispatch_report(struct core *core, struct node *node)
{
	if (node->fresh && list_first(&node->waiting))
		effect_wake(core, node); /* if it has not joined, joining wakes it */
	node->fresh = false;
}

static void order_claim(struct wire_order *order, const struct core_sandbox *row)
{
	order->kind = WIRE_ORDER_CLAIM;
	memcpy(order->template, row->template_, sizeof(order->template));
	order->vcpus = row->vcpus;
	order->mem_mib = row->mem_mib;
	order->ttl_ms = (uint64_t)row->timeout_s * MS_PER_S;
	order->tenant = row->tenant;
	memcpy(order->plan, row->plan, sizeof(order->plan));
	order->price_version = row->price_version;
	order->on_limit = row->on_limit;
	order->resume = row->state == SANDBOX_PLACING ? row->from_attempt : row->saved_attempt;
}

static void order_send(struct core *core, const struct sandbox *sandbox)
{
	const struct core_sandbox *row = &sandbox->row;
	struct core_effect *effect = effect_add(core, CORE_EFFECT_ORDER);
	struct wire_order *order = &effect->order.order;

	effect->order.node = row->node;
	order->sandbox = row->id;
	order->attempt = row->attempt;
	order->incarnation = row->incarnation;
	switch (row->state) {
	case SANDBOX_PLACING:
	case SANDBOX_RESUMING:
		order_claim(order, row);
		order->cold = row->saved_attempt && sandbox->resumes_cold;
		break;
	case SANDBOX_RUNNING:
		order->kind = WIRE_ORDER_DEADLINE;
		order->tenant = row->tenant;
		order->end_wall_ns = row->end_at.ns;
		order->deadline_version = row->deadline_version;
		break;
	case SANDBOX_PAUSING:
		order->kind = WIRE_ORDER_PAUSE;
		order->save = row->save;
		order->how = row->how;
		break;
	case SANDBOX_ENDING:
	case SANDBOX_DISCARDING:
		order->kind = WIRE_ORDER_KILL;
		order->cause = row->cause;
		break;
	case SANDBOX_SNAPPING:
		order->kind = WIRE_ORDER_SNAPSHOT;
		order->tenant = row->tenant;
		order->source = row->source_attempt;
		order->transient = row->transient;
		break;
	case SANDBOX_PAUSED:
		move_order(core, sandbox, order);
		break;
	case SANDBOX_NONE:
	case SANDBOX_ENDED:
	case SANDBOX_KEPT:
	case SANDBOX_STATE_N:
		check_broken("an order is wanted", __FILE__, __LINE__);
	}
}

void dispatch_poll(struct core *core, struct node *node)
{
	struct list *link;

	lease_hear(core, node);
	if (!node->joined)
		return;
	while ((link = list_first(&node->sent))) {
		struct sandbox *sandbox = LIST_OBJECT(link, struct sandbox, order_link);
		if (mono_ms_since(core->now, sandbox->sent_at) < CORE_RESEND_MS)
			break;
		list_remove(link);
		list_append(&node->waiting, link);
	}
	for (uint32_t n = 0; n < ORDERS_PER_POLL_MAX && (link = list_first(&node->waiting)); n++) {
		struct sandbox *sandbox = LIST_OBJECT(link, struct sandbox, order_link);
		order_send(core, sandbox);
		sandbox->sent_at = core->now;
		list_remove(link);
		list_append(&node->sent, link);
	}
	transfer_poll(core, node);
	if (list_first(&node->waiting))
		effect_wake(core, node);
}

/* An attempt that nobody waits for, or not any more: cancelled on its node, never tried elsewhere,
 * because silence is not a no. */
static void attempt_give_up(struct core *core, struct sandbox *sandbox)
{
	/* What is saved can only go on there, so it stays wanted; whoever waits may ask again. */
	if (sandbox->row.state == SANDBOX_RESUMING || sandbox->row.state == SANDBOX_PAUSED) {
		list_remove(&sandbox->timer_link);
		sandbox_answer(core, sandbox, REFUSAL_PLACEMENT_TIMEOUT);
		return;
	}
	sandbox->row.refusal =
		sandbox->create_request ? REFUSAL_PLACEMENT_TIMEOUT : REFUSAL_CANCELLED;
	sandbox_end(core, sandbox, CAUSE_PLATFORM);
}

static void answer_started(struct core *core, struct sandbox *sandbox,
			   const struct wire_record *record)
{
	struct core_sandbox *row = &sandbox->row;
	bool ending = row->state == SANDBOX_ENDING;

	if (!ending && row->state != SANDBOX_PLACING && row->state != SANDBOX_RESUMING)
		return;
	if (!row->started_at.ns)
		row->started_at.ns = record->at_wall_ns;
	if (record->end_wall_ns)
		row->end_at.ns = record->end_wall_ns;
	row->saved_attempt = ending ? 0 : row->saved_attempt;
	if (ending)
		effect_save_sandbox(core, sandbox);
	else
		sandbox_run(core, sandbox);
}

/* What a tenant is told when the last node said no. */
static enum refusal dispatch_refusal(enum refusal refusal)
{
	if (refusal == REFUSAL_VM_FAILED || refusal == REFUSAL_CREATE_FAILED)
		return refusal;
	/* The snapshot, as that is all that a create can want of what is saved. */
	if (refusal == REFUSAL_SAVED_GONE)
		return REFUSAL_TEMPLATE_UNKNOWN;
	return REFUSAL_CAPACITY;
}

static void answer_refused(struct core *core, struct sandbox *sandbox, struct node *node,
			   const struct wire_record *record)
{
	struct core_sandbox *row = &sandbox->row;
	uint32_t next = POOL_NONE;

	if (snapshot_is(row)) {
		snapshot_refused(core, sandbox, record);
		return;
	}
	/* A late no cannot undo a yes. */
	if (row->state == SANDBOX_RUNNING || row->state == SANDBOX_PAUSING ||
	    row->state == SANDBOX_PAUSED)
		return;
	if (row->saved_attempt) {
		if (record->refusal == REFUSAL_SAVED_GONE)
			pause_gone(core, sandbox, record);
		else
			pause_again(core, sandbox, dispatch_refusal(record->refusal));
		return;
	}
	row->ended_at.ns = record->at_wall_ns;
	if (row->state == SANDBOX_ENDING || row->state == SANDBOX_DISCARDING) {
		if (row->state == SANDBOX_ENDING)
			row->cause = CAUSE_NONE;
		sandbox_finish(core, sandbox);
		return;
	}
	/* Its room is not what it seems, until it reports again. */
	node->refusing |= record->refusal != REFUSAL_SAVED_GONE;
	if (sandbox->create_request && row->tries < CORE_TRIES_MAX && !row->from_attempt) {
		struct template_ *template_ = find_template(core, row->template_);
		sandbox->refused_by[row->tries - 1] = sandbox->node;
		next = place_pick(template_, sandbox->refused_by, row->tries);
		if (next == POOL_NONE)
			transfer_want(core, template_);
	}
	if (next != POOL_NONE) {
		row->ended_at.ns = 0;
		sandbox_place_again(core, sandbox, next);
		return;
	}
	row->refusal =
		sandbox->create_request ? dispatch_refusal(record->refusal) : REFUSAL_CANCELLED;
	sandbox_finish(core, sandbox);
}

static void answer_ended(struct core *core, struct sandbox *sandbox,
			 const struct wire_record *record)
{
	struct core_sandbox *row = &sandbox->row;

	if (record->cause == CAUSE_PAUSE) {
		pause_done(core, sandbox, record);
		return;
	}
	if (row->state == SANDBOX_PLACING)
		row->refusal = REFUSAL_CREATE_FAILED;
	row->cause = record->cause;
	row->ended_at.ns = record->at_wall_ns;
	sandbox_finish(core, sandbox);
}

/* The limit as the node has it is the limit, whoever set it. */
static void follow_deadline(struct core *core, struct sandbox *sandbox,
			    const struct wire_record *record)
{
	struct core_sandbox *row = &sandbox->row;
	int64_t end_ns = record->end_wall_ns ? record->end_wall_ns : row->end_at.ns;

	if (row->deadline_version == record->deadline_version &&
	    row->deadline_known == record->deadline_version && row->end_at.ns == end_ns)
		return;
	row->deadline_version = row->deadline_known = record->deadline_version;
	row->end_at.ns = end_ns;
	effect_save_sandbox(core, sandbox);
	dispatch_refresh(core, sandbox);
}

/*
 * Where this leader orders, a record confirms its newest limit or an older one of its own.  Where
 * it does not (a standby, or before the node has joined), limits are set by others, and one of ours
 * that was not confirmed was never granted.
 */
static void answer_deadline(struct core *core, struct sandbox *sandbox, const struct node *node,
			    const struct wire_record *record)
{
	struct core_sandbox *row = &sandbox->row;
	uint64_t version = record->deadline_version;

	if (row->state != SANDBOX_RUNNING || version < row->deadline_known)
		return;
	if (!node->joined && !sandbox->confirm_request) {
		follow_deadline(core, sandbox, record);
		return;
	}
	if (version == row->deadline_known)
		return;
	if (core->role != CORE_ALONE && version >= row->deadline_version) {
		bool ours = version == row->deadline_version;
		follow_deadline(core, sandbox, record);
		sandbox_confirm(core, sandbox, ours ? REFUSAL_NONE : REFUSAL_UNCONFIRMED);
	} else if (version <= row->deadline_version) {
		row->deadline_known = version;
		effect_save_sandbox(core, sandbox);
		dispatch_refresh(core, sandbox);
		if (version == row->deadline_version && core->role == CORE_ALONE)
			sandbox_confirm(core, sandbox, REFUSAL_NONE);
	}
}

static void answer(struct core *core, struct sandbox *sandbox, struct node *node,
		   const struct wire_record *record)
{
	switch (record->kind) {
	case WIRE_RECORD_STARTED:
		answer_started(core, sandbox, record);
		break;
	case WIRE_RECORD_REFUSED:
		answer_refused(core, sandbox, node, record);
		break;
	case WIRE_RECORD_USAGE:
		answer_deadline(core, sandbox, node, record);
		break;
	case WIRE_RECORD_ENDED:
		answer_ended(core, sandbox, record);
		break;
	case WIRE_RECORD_RUNS_ON:
		pause_failed(core, sandbox, record);
		break;
	case WIRE_RECORD_DISCARDED:
		pause_gone(core, sandbox, record);
		break;
	case WIRE_RECORD_KEPT:
		snapshot_kept(core, sandbox, record);
		break;
	case WIRE_RECORD_HANDED_OVER:
		move_handed_over(core, sandbox, record);
		break;
	}
}

void dispatch_answer(struct core *core, struct node *node, const struct wire_record *record)
{
	struct sandbox *sandbox = move_find(core, node, record);
	bool is_of_saved =
		record->kind == WIRE_RECORD_DISCARDED || record->kind == WIRE_RECORD_HANDED_OVER;

	if (!sandbox || &core->nodes[sandbox->node] != node ||
	    record->attempt < node->row.lost_below)
		return;
	if (is_of_saved && sandbox->row.saved_attempt &&
	    sandbox->row.saved_attempt == record->attempt) {
		if (record->kind == WIRE_RECORD_DISCARDED)
			pause_gone(core, sandbox, record);
		else
			move_handed_over(core, sandbox, record);
	} else if (sandbox->row.attempt == record->attempt)
		answer(core, sandbox, node, record);
}

/* What does not fit into the effects of this step stays due. */
void dispatch_tick(struct core *core)
{
	struct list *link;

	while (effects_left(core) >= 4 && (link = list_first(&core->copy_waits))) {
		struct sandbox *sandbox = LIST_OBJECT(link, struct sandbox, timer_link);
		if (mono_ms_since(core->now, sandbox->timer_at) < CORE_COPY_WAIT_MS)
			break;
		snapshot_copy_give_up(core, sandbox);
	}
	while (effects_left(core) >= 4 && (link = list_first(&core->attempts))) {
		struct sandbox *sandbox = LIST_OBJECT(link, struct sandbox, timer_link);
		if (mono_ms_since(core->now, sandbox->timer_at) < CORE_ATTEMPT_MS)
			break;
		attempt_give_up(core, sandbox);
	}
	while (effects_left(core) >= 4 && (link = list_first(&core->pauses))) {
		struct sandbox *sandbox = LIST_OBJECT(link, struct sandbox, timer_link);
		if (mono_ms_since(core->now, sandbox->timer_at) < CORE_PAUSE_REPLY_MS)
			break;
		if (snapshot_is(&sandbox->row))
			snapshot_give_up(core, sandbox, CAUSE_PLATFORM);
		else
			sandbox_confirm(core, sandbox, REFUSAL_UNCONFIRMED);
	}
	while (effects_left(core) >= 4 && (link = list_first(&core->confirms))) {
		struct sandbox *sandbox = LIST_OBJECT(link, struct sandbox, timer_link);
		if (mono_ms_since(core->now, sandbox->timer_at) < CORE_KILL_REPLY_MS)
			break;
		/* Alone it is durable and nobody else decides, so that it will happen; but of new
		 * rules for what runs it is to be known that they are in force. */
		sandbox_confirm(core, sandbox,
				core->role == CORE_ALONE && sandbox->row.state != SANDBOX_RUNNING
					? REFUSAL_NONE
					: REFUSAL_UNCONFIRMED);
	}
}
