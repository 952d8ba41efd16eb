/*
 * Snapshots: what runs is written to disk under an attempt of the snapshot's own, into a folder of
 * its own, and runs on.  From then on it is like something paused under that attempt (see saved.c),
 * but that claims do not use it up, and that nothing ever ran by it.
 *
 *   1. known attempt: nothing; its record says, or will say, what became of it
 *   2. below the floor (see attempt.c), or given up (see lost.c): no
 *   3. nothing runs by the source's attempt: no
 *   4. it is being saved already, for a pause or another snapshot: ignored; the order comes again
 *   5. there is no place for one more: no
 *   6. the shim writes it; its answer is the record: kept, or a no
 *
 * While it is being made nothing of it is journaled.  An agent that dies forgets it; the order
 * comes again, and the shim, which knows the number, gives the same answer.
 */
#include "node-agent/core/state.h"

#include <string.h>

static struct vm *source_of(struct node_core *core, uint64_t attempt)
{
	uint32_t place = attempt_find(core, attempt);
	struct vm *vm;

	if (place == MAP_NONE || ATTEMPT_KIND(place) != ATTEMPT_VM)
		return NULL;
	vm = &core->vms[ATTEMPT_SLOT(place)];
	return vm->state == NODE_VM_RUNNING ? vm : NULL;
}

static enum refusal refuses(const struct node_core *core, const struct wire_order *order,
			    const struct vm *vm)
{
	if (order->attempt < core->meta.attempt_floor || order->attempt < core->lost_below)
		return REFUSAL_STALE_ATTEMPT;
	if (!vm)
		return REFUSAL_SANDBOX_UNKNOWN;
	return saved_fits(core) ? REFUSAL_NONE : REFUSAL_SNAPSHOT_FAILED;
}

static void begin(struct node_core *core, struct vm *vm, const struct wire_order *order,
		  uint64_t payload)
{
	struct node_saved row = {
		.id = order->sandbox,
		.tenant = vm->sandbox.tenant,
		.attempt = order->attempt,
		.incarnation = order->incarnation,
		.vcpus = vm->sandbox.vcpus,
		.mem_mib = vm->sandbox.mem_mib,
		.disk_mib = vm->sandbox.disk_mib,
		.how = WIRE_SAVE_SNAPSHOT,
		.vm = ++core->last_vm,
	};
	struct node_effect *effect;
	struct saved *saved;

	memcpy(row.template_, vm->sandbox.template_, sizeof(row.template_));
	saved = saved_take(core, &row);
	CHECK(saved);
	saved->is_found = true;
	saved->maker = vm_slot(core, vm);
	saved->payload = payload;
	saved->source = vm->sandbox.id;
	saved->transient = order->transient;
	vm->snapshot = order->attempt;
	effect = node_effect_add(core, NODE_EFFECT_VM_SAVE);
	effect->save.vm = vm->number;
	effect->save.save = order->attempt;
	effect->save.how = WIRE_SAVE_SNAPSHOT;
	effect->save.into = row.vm;
}

bool snapshot_order(struct node_core *core, const struct wire_order *order, uint64_t payload)
{
	struct vm *vm = source_of(core, order->source);
	enum refusal refusal = refuses(core, order, vm);

	if (refusal != REFUSAL_NONE) {
		claim_say_no(core, order, refusal);
		claim_drop_payload(core, payload);
		return true;
	}
	if (vm->save || vm->snapshot)
		return false;
	begin(core, vm, order, payload);
	return true;
}

static void say_no(struct node_core *core, struct saved *saved, enum refusal refusal)
{
	struct wire_order order = {
		.sandbox = saved->row.id,
		.tenant = saved->row.tenant,
		.attempt = saved->row.attempt,
		.incarnation = saved->row.incarnation,
	};

	memcpy(order.template, saved->row.template_, sizeof(order.template));
	core->vms[saved->maker].snapshot = 0;
	claim_drop_payload(core, saved->payload);
	saved_free(core, saved);
	claim_say_no(core, &order, refusal);
}

void snapshot_answered(struct node_core *core, const struct node_event *event)
{
	uint64_t into = event->snapped.into;
	struct saved *saved = saved_find(core, event->snapped.save);
	bool cancelled;

	if (!saved || saved->maker == POOL_NONE || saved->row.vm != into) {
		/* Its answer was given, as what it was made of was no more. */
		if (event->snapped.ok && map_find(&core->saved_numbers, into) == MAP_NONE)
			node_effect_add(core, NODE_EFFECT_VM_FORGET)->vm = into;
		return;
	}
	cancelled = saved->cancelled;
	if (!event->snapped.ok || cancelled) {
		say_no(core, saved, cancelled ? REFUSAL_CANCELLED : REFUSAL_SNAPSHOT_FAILED);
		if (event->snapped.ok)
			node_effect_add(core, NODE_EFFECT_VM_FORGET)->vm = into;
		return;
	}
	saved->row.mib = event->snapped.mib;
	node_effect_add(core, NODE_EFFECT_JOURNAL_ATTEMPT)->attempt = saved->row.attempt;
	node_effect_add(core, NODE_EFFECT_JOURNAL_SAVED)->saved = saved->row;
	outbox_kept(core, saved);
	claim_drop_payload(core, saved->payload);
	core->vms[saved->maker].snapshot = 0;
	saved->maker = POOL_NONE;
	saved->payload = 0;
}

void snapshot_cancel(struct saved *saved)
{
	saved->cancelled = true;
}

void snapshot_lost(struct node_core *core, struct vm *vm)
{
	struct saved *saved = saved_find(core, vm->snapshot);

	CHECK(saved && saved->maker == vm_slot(core, vm));
	say_no(core, saved, saved->cancelled ? REFUSAL_CANCELLED : REFUSAL_SNAPSHOT_FAILED);
}
