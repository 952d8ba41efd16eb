/*
 * Orders, and claims on their way to a microVM.
 *
 * An order is repeated until a record answers it, so whatever is not answered here (an agent that
 * dies, a claim without memory for it) comes again, and whatever was answered is not done again.
 *
 * A claim: 1. known attempt: nothing; its record says, or will say, what became of it
 *          2. below the floor (see attempt.c), or given up (see lost.c): no
 *          3. no such template, or not of this shape: no
 *          4. does not fit beside what sandboxes and claims hold: no
 *          5. the lease is over: ignored; it comes again, with a lease, if it is still wanted
 *          6. the microVM that is ready for longest, or the next to become ready, takes it; one
 *             that resumes gets its own (see saved.c), and in place of 3: what it resumes is here
 *          7. a microVM that fails it is ended first, then another one is tried, once
 */
#include "node-agent/core/state.h"

#include <string.h>

/* ---- answers ---- */

void claim_say_no(struct node_core *core, const struct wire_order *order, enum refusal refusal)
{
	node_effect_add(core, NODE_EFFECT_JOURNAL_ATTEMPT)->attempt = order->attempt;
	outbox_refused(core, order, refusal);
	attempt_answer(core, order->attempt);
	core->counts.claims_refused++;
}

void claim_drop_payload(struct node_core *core, uint64_t payload)
{
	if (payload)
		node_effect_add(core, NODE_EFFECT_PAYLOAD_DROP)->payload = payload;
}

static void stop_waiting(struct node_core *core, struct claim *claim)
{
	if (!list_is_linked(&claim->waiting))
		return;
	list_remove(&claim->waiting);
	if (claim->template_ != POOL_NONE)
		core->templates[claim->template_].waiting_n--;
}

void claim_wait(struct node_core *core, struct claim *claim, bool first)
{
	struct template_ *template_ =
		claim->template_ == POOL_NONE ? NULL : &core->templates[claim->template_];
	struct list *list = template_ ? &template_->waiting : &core->resumes;

	if (first)
		list_prepend(list, &claim->waiting);
	else
		list_append(list, &claim->waiting);
	if (template_)
		template_->waiting_n++;
}

/* Forgets the claim; its attempt and its room are someone else's matter by now. */
static void claim_free(struct node_core *core, struct claim *claim)
{
	claim_drop_payload(core, claim->payload);
	stop_waiting(core, claim);
	if (claim->template_ != POOL_NONE)
		core->templates[claim->template_].claims_n--;
	if (claim->saved != POOL_NONE)
		core->saved[claim->saved].claims_n--;
	pool_give(&core->claim_pool, (uint32_t)(claim - core->claims));
	memset(claim, 0, sizeof(*claim));
}

static void claim_give_room(struct node_core *core, const struct claim *claim)
{
	struct wire_room room = room_of_claim(claim);

	room_take(&core->used, &room);
	core->news_changed = true;
}

void claim_refuse(struct node_core *core, struct claim *claim, enum refusal refusal)
{
	claim_give_room(core, claim);
	claim_say_no(core, &claim->order, refusal);
	claim_free(core, claim);
}

void claim_say_yes(struct node_core *core, struct vm *vm, uint64_t payload)
{
	node_effect_add(core, NODE_EFFECT_JOURNAL_ATTEMPT)->attempt = vm->sandbox.attempt;
	node_effect_add(core, NODE_EFFECT_JOURNAL_SANDBOX)->sandbox = vm->sandbox;
	outbox_started(core, &vm->sandbox, payload);
	attempt_live(core, vm->sandbox.attempt, ATTEMPT_VM | vm_slot(core, vm));
	core->counts.claims_ok++;
	warm_pause(core);
}

struct node_sandbox claim_sandbox(const struct node_core *core, const struct wire_order *order,
				  uint32_t disk_mib, uint64_t vm, struct mono resumed)
{
	struct node_sandbox row = {
		.id = order->sandbox,
		.tenant = order->tenant,
		.attempt = order->attempt,
		.incarnation = order->incarnation,
		.price_version = order->price_version,
		.vcpus = order->vcpus,
		.mem_mib = order->mem_mib,
		.disk_mib = disk_mib,
		.vm = vm,
		.resumed_mono = resumed,
		.resumed_wall.ns = core->wall.ns - (core->now.ns - resumed.ns),
	};

	memcpy(row.plan, order->plan, sizeof(row.plan));
	memcpy(row.template_, order->template, sizeof(row.template_));
	memcpy(row.boot_id, core->boot_id, sizeof(row.boot_id));
	row.end_mono = mono_add_ms(resumed, (int64_t)order->ttl_ms);
	row.end_wall.ns = row.resumed_wall.ns + (int64_t)order->ttl_ms * NS_PER_MS;
	return row;
}

/* ---- the way of a claim ---- */

static struct claim *claim_add(struct node_core *core, const struct wire_order *order,
			       uint64_t payload, uint32_t disk_mib)
{
	uint32_t slot = pool_take(&core->claim_pool);
	struct claim *claim;
	struct wire_room room;

	if (slot == POOL_NONE)
		return NULL;
	claim = &core->claims[slot];
	*claim = (struct claim){.order = *order, .payload = payload, .disk_mib = disk_mib};
	claim->template_ = claim->saved = claim->vm = POOL_NONE;
	claim->order.init = claim->order.note = claim->order.ingress = claim->order.egress =
		(struct wire_bytes){0};
	memset(claim->order.ticket, 0, sizeof(claim->order.ticket));
	memset(claim->order.gateway, 0, sizeof(claim->order.gateway));
	room = room_of_claim(claim);
	room_add(&core->used, &room);
	attempt_live(core, order->attempt, ATTEMPT_CLAIM | slot);
	core->news_changed = true;
	return claim;
}

/* shape: of what it would run; NULL: there is no such thing, for this reason. */
static enum refusal claim_refuses(const struct node_core *core, const struct wire_order *order,
				  const struct wire_room *shape, enum refusal missing)
{
	if (order->attempt < core->meta.attempt_floor || order->attempt < core->lost_below)
		return REFUSAL_STALE_ATTEMPT;
	if (!shape)
		return missing;
	if (shape->vcpus != order->vcpus || shape->mem_mib != order->mem_mib)
		return REFUSAL_NO_COMPATIBLE_NODE;
	if (!room_fits(&core->limits.capacity, &core->used, shape))
		return REFUSAL_NODE_FULL;
	return REFUSAL_NONE;
}

static bool claim_is_refused(struct node_core *core, const struct wire_order *order,
			     uint64_t payload, enum refusal refusal)
{
	if (refusal == REFUSAL_NONE)
		return false;
	claim_say_no(core, order, refusal);
	claim_drop_payload(core, payload);
	return true;
}

/* Several may go on from a snapshot at once, and from what was paused one alone. */
static bool may_go_on(const struct saved *saved)
{
	return saved->maker == POOL_NONE && (saved_is_snapshot(saved) || !saved->claims_n);
}

static void claim_go_on(struct node_core *core, struct claim *claim, struct saved *saved)
{
	claim->saved = (uint32_t)(saved - core->saved);
	saved->claims_n++;
}

/* False: as below, or another claim that resumes it is unanswered. */
static bool order_resume(struct node_core *core, const struct wire_order *order, uint64_t payload)
{
	struct saved *saved = saved_find(core, order->resume);
	struct wire_room shape = saved ? room_of_saved(&saved->row) : (struct wire_room){0};
	struct claim *claim;

	if (claim_is_refused(core, order, payload,
			     claim_refuses(core, order, saved ? &shape : NULL, REFUSAL_SAVED_GONE)))
		return true;
	claim = lease_holds(core) && may_go_on(saved)
			? claim_add(core, order, payload, saved->row.disk_mib)
			: NULL;
	if (!claim)
		return false;
	claim_go_on(core, claim, saved);
	claim_wait(core, claim, false);
	return true;
}

/* False: there is no memory or no lease for it now; the order will come again. */
static bool order_claim(struct node_core *core, const struct wire_order *order, uint64_t payload)
{
	struct template_ *template_ = warm_find(core, order->template);
	struct claim *claim;

	if (claim_is_refused(core, order, payload,
			     claim_refuses(core, order, template_ ? &template_->shape : NULL,
					   REFUSAL_NO_COMPATIBLE_NODE)))
		return true;
	claim = lease_holds(core)
			? claim_add(core, order, payload, (uint32_t)template_->shape.disk_mib)
			: NULL;
	if (!claim)
		return false;
	claim->template_ = (uint32_t)(template_ - core->templates);
	claim_wait(core, claim, false);
	template_->claims_n++;
	core->counts.claims_warm += template_->ready_n >= template_->waiting_n;
	warm_demand(core, template_);
	return true;
}

void claim_cancel(struct node_core *core, struct claim *claim, enum cause cause)
{
	struct vm *vm = claim->vm == POOL_NONE ? NULL : &core->vms[claim->vm];

	claim->cause = cause;
	claim->cancelled = true;
	/* Restored for it alone, and not given to it yet. */
	if (vm) {
		vm->claim = POOL_NONE;
		vm_kill(core, vm, CAUSE_PLATFORM);
	}
	if (vm || list_is_linked(&claim->waiting))
		claim_refuse(core, claim, REFUSAL_CANCELLED);
}

static void order_kill(struct node_core *core, const struct wire_order *order)
{
	uint32_t place = attempt_find(core, order->attempt), slot = ATTEMPT_SLOT(place);

	/* Whatever comes for it later finds that it was answered. */
	if (place == MAP_NONE) {
		claim_say_no(core, order, REFUSAL_CANCELLED);
		carry_cancel(core, order->attempt);
	} else if (ATTEMPT_KIND(place) == ATTEMPT_CLAIM) {
		claim_cancel(core, &core->claims[slot], order->cause);
	} else if (ATTEMPT_KIND(place) == ATTEMPT_VM) {
		if (core->vms[slot].state == NODE_VM_RUNNING)
			vm_kill(core, &core->vms[slot], order->cause);
	} else if (ATTEMPT_KIND(place) == ATTEMPT_SAVED) {
		/* Being resumed it comes again, if it is still wanted. */
		if (core->saved[slot].maker != POOL_NONE) {
			snapshot_cancel(&core->saved[slot]);
		} else if (!core->saved[slot].claims_n) {
			/* What was a copy is a sandbox's by now, if that is what is killed. */
			core->saved[slot].row.id = order->sandbox;
			saved_discard(core, &core->saved[slot], order->cause);
		} else {
			core->counts.ignored++;
		}
	}
}

static void order_hand_over(struct node_core *core, const struct wire_order *order)
{
	struct saved *saved = saved_find(core, order->attempt);

	/* Of what is no more its record has told. */
	if (!saved)
		return;
	saved->row.id = order->sandbox; /* as in a kill */
	saved_hand_over(core, saved, order);
}

static void order_pause(struct node_core *core, const struct wire_order *order)
{
	uint32_t place = attempt_find(core, order->attempt);

	if (place != MAP_NONE && ATTEMPT_KIND(place) == ATTEMPT_VM)
		saved_pause(core, &core->vms[ATTEMPT_SLOT(place)], order);
}

static bool order_deadline(struct node_core *core, const struct wire_order *order, uint64_t payload)
{
	uint32_t place = attempt_find(core, order->attempt);

	/* For a sandbox that is over, or not yet there, the records say so. */
	return place != MAP_NONE && ATTEMPT_KIND(place) == ATTEMPT_VM &&
	       vm_deadline(core, &core->vms[ATTEMPT_SLOT(place)], order, payload);
}

void claim_order(struct node_core *core, const struct wire_order *order, uint64_t payload)
{
	bool known = attempt_find(core, order->attempt) != MAP_NONE;
	bool taken = false;

	if (!core->ready || core->answer_stale) {
		core->counts.ignored++;
		claim_drop_payload(core, payload);
		return;
	}
	switch (order->kind) {
	case WIRE_ORDER_CLAIM:
		if (known)
			break;
		taken = attempt_make_room(core) &&
			(order->resume ? order_resume(core, order, payload)
				       : order_claim(core, order, payload));
		core->counts.ignored += !taken;
		break;
	case WIRE_ORDER_KILL:
		if (known || attempt_make_room(core))
			order_kill(core, order);
		else
			core->counts.ignored++;
		break;
	case WIRE_ORDER_DEADLINE:
		taken = order_deadline(core, order, payload);
		break;
	case WIRE_ORDER_PAUSE:
		order_pause(core, order);
		break;
	case WIRE_ORDER_SEND:
	case WIRE_ORDER_FETCH:
		carry_order(core, order, payload);
		break;
	case WIRE_ORDER_HAND_OVER:
		order_hand_over(core, order);
		break;
	case WIRE_ORDER_SNAPSHOT:
		if (known)
			break;
		taken = attempt_make_room(core) && snapshot_order(core, order, payload);
		core->counts.ignored += !taken;
		break;
	}
	if (!taken)
		claim_drop_payload(core, payload);
}

void claim_give(struct node_core *core, struct claim *claim, struct vm *vm)
{
	struct node_effect *effect;

	stop_waiting(core, claim);
	vm_move(core, vm, NODE_VM_CLAIMING);
	vm->claim = (uint32_t)(claim - core->claims);
	claim->vm = POOL_NONE;
	effect = node_effect_add(core, NODE_EFFECT_VM_CLAIM);
	effect->claim.vm = vm->number;
	effect->claim.payload = claim->payload;
	effect->claim.order = claim->order;
	effect->claim.lease_mono = claim->lease = core->lease.until;
	effect->claim.end_mono =
		mono_add_ms(core->now, (int64_t)claim->order.ttl_ms + CLAIM_GRACE_MS);
}

void claim_serve(struct node_core *core, struct template_ *template_)
{
	struct list *claim, *vm;

	while (lease_holds(core) && node_effects_fit(core) &&
	       (claim = list_first(&template_->waiting)) && (vm = list_first(&template_->ready)))
		claim_give(core, LIST_OBJECT(claim, struct claim, waiting),
			   LIST_OBJECT(vm, struct vm, pooled));
}

static void claim_runs(struct node_core *core, struct vm *vm, struct mono resumed)
{
	struct claim *claim = &core->claims[vm->claim];
	bool cancelled = claim->cancelled;
	enum cause cause = claim->cause;

	vm->sandbox = claim_sandbox(core, &claim->order, claim->disk_mib, vm->number, resumed);
	vm->has_sandbox = true;
	vm->claim = POOL_NONE;
	claim_say_yes(core, vm, claim->payload);
	if (claim->saved != POOL_NONE && !saved_is_snapshot(&core->saved[claim->saved]))
		saved_use_up(core, &core->saved[claim->saved]);
	lease_claimed(core, claim);
	claim_free(core, claim);
	vm_move(core, vm, NODE_VM_RUNNING);
	meter_begin(core, vm);
	if (cancelled)
		vm_kill(core, vm, cause);
}

void claim_answered(struct node_core *core, const struct node_event *event)
{
	struct vm *vm = vm_find(core, event->claimed.vm);
	bool expected;

	if (!vm)
		return;
	expected = vm->state == NODE_VM_CLAIMING &&
		   core->claims[vm->claim].order.attempt == event->claimed.attempt;
	if (expected && event->claimed.ok)
		claim_runs(core, vm, event->claimed.resumed_mono);
	else if (expected)
		vm_kill(core, vm, CAUSE_PLATFORM);
	else if (vm->state == NODE_VM_CLAIMING || vm->state == NODE_VM_READY)
		/* It runs for a claim of an agent before us that it did not tell of. */
		vm_kill(core, vm, CAUSE_PLATFORM);
}

void claim_vm_lost(struct node_core *core, uint32_t slot)
{
	struct claim *claim = &core->claims[slot];

	claim->tries++;
	claim->vm = POOL_NONE;
	if (claim->cancelled) {
		claim_refuse(core, claim, REFUSAL_CANCELLED);
	} else if (claim->orphan) {
		/* Unanswered, so the order comes again, with all that is needed for a new try. */
		attempt_drop(core, claim->order.attempt);
		claim_give_room(core, claim);
		claim_free(core, claim);
	} else if (claim->tries >= NODE_CLAIM_TRIES_MAX) {
		claim_refuse(core, claim, REFUSAL_VM_FAILED);
	} else {
		claim_wait(core, claim, true);
	}
}

void claim_charge(struct node_core *core, struct template_ *template_)
{
	struct list *link = list_first(&template_->waiting);
	struct claim *claim;

	if (!link)
		return;
	claim = LIST_OBJECT(link, struct claim, waiting);
	if (++claim->tries >= NODE_CLAIM_TRIES_MAX)
		claim_refuse(core, claim, REFUSAL_VM_FAILED);
}

void claim_refuse_first(struct node_core *core, struct template_ *template_, enum refusal refusal)
{
	claim_refuse(core, LIST_OBJECT(list_first(&template_->waiting), struct claim, waiting),
		     refusal);
}

void claim_adopt(struct node_core *core, struct vm *vm, const struct node_event *event,
		 uint32_t disk_mib)
{
	struct claim *claim =
		claim_add(core, event->adopted.claim, event->adopted.payload, disk_mib);
	struct saved *saved = saved_find(core, event->adopted.claim->resume);

	/* As many claims as microVMs are possible, and this is the only one of its. */
	CHECK(claim);
	claim->orphan = true;
	if (saved && may_go_on(saved))
		claim_go_on(core, claim, saved);
	vm_move(core, vm, NODE_VM_CLAIMING);
	vm->claim = (uint32_t)(claim - core->claims);
}
