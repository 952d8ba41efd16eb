/*
 * This node's part in the copying of templates, and of what is saved: it offers one that it has, or
 * fetches one that another node offers.  How bytes travel is the shell's; here is decided what is
 * begun, what of that which arrived is installed, and what is said of it.
 *
 *   SEND   --> CARRY_SEND   --> CARRY_OFFERED: what there is, and its digest --> CARRY_ENDED
 *   FETCH  --> CARRY_FETCH  --> CARRY_ARRIVED: all of it, proved to have this digest
 *          --> CARRY_INSTALL, if that is the one that was ordered
 *          --> TEMPLATE_SET --> CARRY_ENDED: it is said to be here only if it can be restored
 *
 * Nothing of it is journaled.  Who orders reads in polls what is known of a transfer and gives the
 * order again if nothing is; a number that is known is not begun again.  Of what is over the last
 * few are remembered.
 *
 * A copy of what is saved has an attempt of its own, which is the transfer's number, and once it is
 * installed it is like a snapshot that was made here: journaled, and answered by a record that it
 * is kept.  One of a snapshot is as good as that.  One of what is paused counts only when the node
 * that it was copied from has handed over (see saved.c).
 */
#include "node-agent/core/state.h"

#include <string.h>

enum { SENDS_MAX = 4, FETCHES_MAX = 1 };

static struct carry *find(struct node_core *core, uint64_t number)
{
	for (uint32_t i = 0; i < CARRIES_MAX; i++)
		if (core->carries[i].number == number)
			return &core->carries[i];
	return NULL;
}

static uint32_t active_n(const struct node_core *core, bool sends)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < CARRIES_MAX; i++)
		n += core->carries[i].active && core->carries[i].sends == sends;
	return n;
}

/* An empty place, or that of the one that is over for longest. */
static struct carry *take_place(struct node_core *core, const struct wire_order *order)
{
	struct carry *place = NULL;

	for (uint32_t i = 0; i < CARRIES_MAX; i++) {
		struct carry *carry = &core->carries[i];
		if (!carry->active && (!place || carry->touched < place->touched))
			place = carry;
	}
	CHECK(place); /* fewer are active */
	*place = (struct carry){.number = order->attempt,
				.sends = order->kind == WIRE_ORDER_SEND,
				.source = order->source,
				.touched = ++core->carries_n};
	memcpy(place->template_, order->template, sizeof(place->template_));
	core->news_changed = true;
	return place;
}

static void fail(struct node_core *core, struct carry *carry, enum refusal refusal)
{
	carry->active = false;
	carry->state = WIRE_TRANSFER_FAILED;
	carry->refusal = refusal;
	core->news_changed = true;
}

/* Nothing comes of an attempt that was given up, or of a leader before the present one: that has
 * heard this node out. */
static bool is_stale(const struct node_core *core, uint64_t attempt)
{
	return attempt < core->meta.attempt_floor || attempt < core->lost_below ||
	       wire_attempt_epoch(attempt) < core->meta.epoch;
}

/* What it was at is not wanted any more. */
static void drop(struct node_core *core, struct carry *carry, enum refusal refusal)
{
	node_effect_add(core, NODE_EFFECT_CARRY_DROP)->carry.number = carry->number;
	fail(core, carry, refusal);
}

void carry_source_gone(struct node_core *core, uint64_t attempt)
{
	for (uint32_t i = 0; i < CARRIES_MAX; i++) {
		struct carry *carry = &core->carries[i];
		if (carry->active && carry->sends && carry->source == attempt)
			drop(core, carry, REFUSAL_TRANSFER_NO_SOURCE);
	}
}

/* What a leader before wanted to be fetched would be kept by nobody. */
static void drop_stale(struct node_core *core)
{
	for (uint32_t i = 0; i < CARRIES_MAX; i++) {
		struct carry *carry = &core->carries[i];
		if (carry->active && !carry->sends && carry->source && !carry->installing &&
		    is_stale(core, carry->number))
			drop(core, carry, REFUSAL_STALE_ATTEMPT);
	}
}

static void order_send(struct node_core *core, struct carry *carry, uint64_t payload)
{
	const struct template_ *template_ = warm_find(core, carry->template_);
	const struct saved *saved = carry->source ? saved_find(core, carry->source) : NULL;
	struct node_effect *effect;

	if (carry->source ? !saved || saved->maker != POOL_NONE : !template_) {
		fail(core, carry, REFUSAL_TRANSFER_NO_SOURCE);
		return;
	}
	/* It goes to one node only, and this is the latest word of where. */
	if (saved)
		carry_source_gone(core, carry->source);
	if (active_n(core, true) == SENDS_MAX) {
		fail(core, carry, REFUSAL_TRANSFER_BUSY);
		return;
	}
	carry->active = true;
	carry->state = WIRE_TRANSFER_PREPARING;
	if (!saved)
		memcpy(carry->id, template_->id, sizeof(carry->id));
	effect = node_effect_add(core, NODE_EFFECT_CARRY_SEND);
	effect->carry.number = carry->number;
	effect->carry.folder = saved ? saved->row.vm : 0;
	effect->carry.payload = payload;
	memcpy(effect->carry.template_, carry->template_, sizeof(effect->carry.template_));
	memcpy(effect->carry.id, carry->id, sizeof(effect->carry.id));
}

static bool is_offered(struct node_core *core, const struct carry *carry)
{
	const struct template_ *template_ = warm_find(core, carry->template_);

	return template_ && !strcmp(template_->id, carry->id);
}

/* Whether there is nothing to fetch, as is said then. */
static bool is_settled(struct node_core *core, struct carry *carry)
{
	if (is_offered(core, carry)) {
		carry->state = WIRE_TRANSFER_DONE;
		return true;
	}
	if (!warm_find(core, carry->template_))
		return false;
	/* Another content by that name is the operator's, or came by an order before. */
	fail(core, carry, REFUSAL_CANCELLED);
	return true;
}

/* What a copy of what is saved will be here, in a folder of its own. */
static void describe(struct node_core *core, struct carry *carry, const struct wire_order *order,
		     const struct template_ *template_)
{
	carry->saved_of = order->saved;
	carry->row = (struct node_saved){
		.id = order->copy,
		.tenant = order->tenant,
		.attempt = order->attempt,
		.incarnation = order->incarnation,
		.vcpus = order->vcpus,
		.mem_mib = order->mem_mib,
		.disk_mib = (uint32_t)template_->shape.disk_mib,
		.how = order->stays ? WIRE_SAVE_SNAPSHOT : order->how,
		.vm = ++core->last_vm,
	};
	memcpy(carry->row.template_, order->template, sizeof(carry->row.template_));
}

/* The same for what is saved.  Its record says what became of an attempt that is known. */
static bool is_saved_settled(struct node_core *core, struct carry *carry,
			     const struct wire_order *order)
{
	const struct template_ *template_ = warm_find(core, carry->template_);

	if (saved_find(core, order->attempt)) {
		carry->state = WIRE_TRANSFER_DONE;
		return true;
	}
	/* A kill came first, or it is gone again. */
	if (attempt_find(core, order->attempt) != MAP_NONE)
		fail(core, carry, REFUSAL_CANCELLED);
	else if (is_stale(core, order->attempt))
		fail(core, carry, REFUSAL_STALE_ATTEMPT);
	else if (!template_ || strcmp(template_->id, carry->id) != 0)
		fail(core, carry, REFUSAL_TRANSFER_UNUSABLE);
	else if (!saved_fits(core))
		fail(core, carry, REFUSAL_TRANSFER_NO_SPACE);
	else
		describe(core, carry, order, template_);
	return carry->state == WIRE_TRANSFER_FAILED;
}

static void order_fetch(struct node_core *core, struct carry *carry, const struct wire_order *order,
			uint64_t payload)
{
	struct node_effect *effect;

	memcpy(carry->id, order->artefact, sizeof(carry->id));
	memcpy(carry->digest, order->digest, sizeof(carry->digest));
	carry->bytes = order->bytes;
	if (carry->source ? is_saved_settled(core, carry, order) : is_settled(core, carry))
		return;
	drop_stale(core);
	if (active_n(core, false) == FETCHES_MAX) {
		fail(core, carry, REFUSAL_TRANSFER_BUSY);
		return;
	}
	carry->active = true;
	carry->state = WIRE_TRANSFER_FETCHING;
	effect = node_effect_add(core, NODE_EFFECT_CARRY_FETCH);
	effect->carry.number = carry->number;
	effect->carry.payload = payload;
	effect->carry.bytes = carry->bytes;
	effect->carry.folder = carry->row.vm;
	memcpy(effect->carry.template_, carry->template_, sizeof(effect->carry.template_));
	memcpy(effect->carry.id, carry->id, sizeof(effect->carry.id));
	memcpy(effect->carry.digest, carry->digest, sizeof(effect->carry.digest));
}

void carry_order(struct node_core *core, const struct wire_order *order, uint64_t payload)
{
	struct carry *carry;

	if (find(core, order->attempt))
		return;
	carry = take_place(core, order);
	if (carry->sends)
		order_send(core, carry, payload);
	else
		order_fetch(core, carry, order, payload);
}

void carry_offered(struct node_core *core, const struct node_event *event)
{
	struct carry *carry = find(core, event->carry.number);

	if (!carry || !carry->active || !carry->sends)
		return;
	carry->state = WIRE_TRANSFER_SENDING;
	carry->bytes = event->carry.bytes;
	memcpy(carry->digest, event->carry.digest, sizeof(carry->digest));
	if (carry->source)
		memcpy(carry->id, event->carry.id, sizeof(carry->id));
	core->news_changed = true;
}

void carry_progress(struct node_core *core, const struct node_event *event)
{
	struct carry *carry = find(core, event->carry.number);

	if (carry && carry->active)
		carry->done_bytes =
			event->carry.bytes; /* told by the next poll, whenever that is */
}

/* Whatever a relay, a disk or a sender that was changed meanwhile made of it: only what was ordered
 * is installed. */
void carry_arrived(struct node_core *core, const struct node_event *event)
{
	struct carry *carry = find(core, event->carry.number);

	if (!carry || !carry->active || carry->sends || carry->installing)
		return;
	if (memcmp(carry->digest, event->carry.digest, sizeof(carry->digest)) != 0 ||
	    strcmp(carry->id, event->carry.id) != 0) {
		drop(core, carry, REFUSAL_TRANSFER_CORRUPT);
		return;
	}
	carry->done_bytes = carry->bytes;
	carry->installing = true;
	node_effect_add(core, NODE_EFFECT_CARRY_INSTALL)->carry.number = carry->number;
}

/* It is in its folder, durably; unless nobody wants it any more, it is kept from now on. */
static void keep(struct node_core *core, struct carry *carry, uint64_t bytes)
{
	bool is_wanted = attempt_find(core, carry->number) == MAP_NONE &&
			 !is_stale(core, carry->number) && saved_fits(core) &&
			 attempt_make_room(core);
	struct saved *saved;

	if (!is_wanted) {
		node_effect_add(core, NODE_EFFECT_VM_FORGET)->vm = carry->row.vm;
		fail(core, carry, REFUSAL_CANCELLED);
		return;
	}
	carry->row.mib = (bytes + (1 << 20) - 1) >> 20;
	saved = saved_take(core, &carry->row);
	CHECK(saved);
	saved->is_found = true;
	saved->source = carry->saved_of;
	saved->transient = !saved_is_snapshot(saved); /* that one stays */
	node_effect_add(core, NODE_EFFECT_JOURNAL_ATTEMPT)->attempt = saved->row.attempt;
	node_effect_add(core, NODE_EFFECT_JOURNAL_SAVED)->saved = saved->row;
	outbox_kept(core, saved);
	carry->active = false;
	carry->state = WIRE_TRANSFER_DONE;
	core->news_changed = true;
}

void carry_cancel(struct node_core *core, uint64_t attempt)
{
	struct carry *carry = find(core, attempt);

	/* What is being installed is looked at again when it is. */
	if (!carry || !carry->active || carry->sends || carry->installing)
		return;
	drop(core, carry, REFUSAL_CANCELLED);
}

void carry_ended(struct node_core *core, const struct node_event *event)
{
	struct carry *carry = find(core, event->carry.number);

	if (!carry || !carry->active)
		return;
	if (event->carry.refusal != REFUSAL_NONE) {
		fail(core, carry, event->carry.refusal);
	} else if (carry->sends) {
		/* Nobody fetches any more; whoever wants it again says so again. */
		memset(carry, 0, sizeof(*carry));
		core->news_changed = true;
	} else if (carry->installing && carry->source) {
		keep(core, carry, event->carry.bytes);
	} else if (carry->installing && is_offered(core, carry)) {
		carry->active = false;
		carry->state = WIRE_TRANSFER_DONE;
		core->news_changed = true;
	} else {
		fail(core, carry, REFUSAL_TRANSFER_UNUSABLE);
	}
}

size_t node_core_transfers(const struct node_core *core,
			   struct wire_transfer out_transfers[NODE_TRANSFERS_MAX])
{
	size_t n = 0;

	for (uint32_t i = 0; i < CARRIES_MAX; i++) {
		const struct carry *carry = &core->carries[i];
		struct wire_transfer *out = &out_transfers[n];
		if (!carry->number)
			continue;
		memset(out, 0, sizeof(*out));
		out->number = carry->number;
		out->state = carry->state;
		memcpy(out->template_id, carry->id, sizeof(out->template_id));
		memcpy(out->digest, carry->digest, sizeof(out->digest));
		out->bytes = carry->bytes;
		out->done_bytes = carry->done_bytes;
		out->refusal = carry->refusal;
		n++;
	}
	return n;
}

void carry_verify(const struct node_core *core)
{
	for (uint32_t i = 0; i < CARRIES_MAX; i++) {
		const struct carry *carry = &core->carries[i];

		if (!carry->number)
			continue;
		for (uint32_t j = 0; j < i; j++)
			CHECK(core->carries[j].number != carry->number);
		CHECK(carry->active == (carry->state == WIRE_TRANSFER_PREPARING ||
					carry->state == WIRE_TRANSFER_SENDING ||
					carry->state == WIRE_TRANSFER_FETCHING));
		CHECK((carry->state == WIRE_TRANSFER_FAILED) == (carry->refusal != REFUSAL_NONE));
		CHECK(!carry->installing || !carry->sends);
	}
	CHECK(active_n(core, true) <= SENDS_MAX && active_n(core, false) <= FETCHES_MAX);
}
