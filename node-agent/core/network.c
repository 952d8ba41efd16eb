/*
 * What a sandbox may reach, changed while it runs.  The change comes with an order that moves the
 * time limit's version; it is recorded, and so confirmed, only when the shim has it in force. Until
 * then the order is held here with its payload: nothing of it is journaled, and the order comes
 * again if this agent dies.  Held orders of a leader before the present one are counted as pending,
 * for as long as a shim that works takes.
 */
#include "node-agent/core/state.h"

enum { PATIENCE_MS = 10000 };

void network_forget(struct node_core *core, struct vm *vm)
{
	claim_drop_payload(core, vm->network.payload);
	vm->network = (struct network){0};
}

void network_order(struct node_core *core, struct vm *vm, const struct wire_order *order,
		   uint64_t payload)
{
	struct node_effect *effect = node_effect_add(core, NODE_EFFECT_VM_NETWORK);

	network_forget(core, vm);
	/* Never again, not even by a later agent of this boot. */
	core->last_change = core->now.ns > (int64_t)core->last_change ? (uint64_t)core->now.ns
								      : core->last_change + 1;
	vm->network = (struct network){.payload = payload,
				       .change = core->last_change,
				       .version = order->deadline_version,
				       .end_wall_ns = order->end_wall_ns,
				       .epoch = core->meta.epoch,
				       .at = core->now};
	effect->network.vm = vm->number;
	effect->network.change = vm->network.change;
	effect->network.payload = payload;
}

bool network_is_pending(const struct node_core *core, const struct vm *vm)
{
	return vm->network.payload && vm->network.epoch < core->meta.epoch &&
	       mono_ms_since(core->now, vm->network.at) < PATIENCE_MS;
}

void network_set(struct node_core *core, const struct node_event *event)
{
	struct vm *vm = vm_find(core, event->network.vm);
	struct network held;

	if (!vm || !vm->network.payload || vm->network.change != event->network.change)
		return;
	held = vm->network;
	/* Whoever ordered it may have been followed by one who was told that nothing is pending. */
	if (event->network.ok && vm->state == NODE_VM_RUNNING &&
	    (held.epoch == core->meta.epoch || network_is_pending(core, vm)))
		vm_move_limit(core, vm, held.version, held.end_wall_ns, held.payload);
	network_forget(core, vm);
}
