/*
 * What a start finds.  The journal says which sandboxes there were; folders say which microVMs
 * there are, and a shim knows what its microVM was claimed for.  They can differ by what happened
 * while no agent was there, and by the last moments of the agent before:
 *
 *   sandbox journaled, microVM runs      go on
 *   sandbox journaled, microVM ended     its end, as the shim recorded it
 *   sandbox journaled, no folder         lost: with the host's boot, or by a fault
 *   paused and journaled                 its folder stays; without one it is discarded
 *   restored from what was saved, and
 *   unclaimed                            not wanted: its claim comes again
 *   claimed and not journaled            the claim succeeded, so it is a yes, said now
 *   claim under way                      wait how it ends
 *   claimed by an attempt answered or
 *   running elsewhere                    not wanted: the claim was given up
 *   unclaimed                            into the pool, if its template is still the same
 */
#include "node-agent/core/state.h"

#include <string.h>

void adopt_load(struct node_core *core, const struct node_sandbox *row)
{
	struct wire_room room = room_of_sandbox(row);
	struct vm *vm =
		map_find(&core->vm_numbers, row->vm) == MAP_NONE ? vm_take(core, row->vm) : NULL;

	if (!vm) {
		core->counts.ignored++;
		return;
	}
	vm->sandbox = *row;
	vm->has_sandbox = true;
	vm_move(core, vm, NODE_VM_LOADED);
	room_add(&core->used, &room);
	attempt_live(core, row->attempt, ATTEMPT_VM | vm_slot(core, vm));
}

static void end_unwanted(struct node_core *core, uint64_t number)
{
	struct node_effect *effect = node_effect_add(core, NODE_EFFECT_VM_KILL);

	/* Its end comes from a number that is not known, and so its folder is removed. */
	effect->kill.vm = number;
	effect->kill.cause = CAUSE_PLATFORM;
	if (number > core->last_vm)
		core->last_vm = number;
}

static void end_adopted(struct node_core *core, struct vm *vm, const struct node_event *event)
{
	vm_end_as_told(core, vm, meter_ms(&vm->sandbox, event->adopted.ended_mono),
		       event->adopted.cause, event->adopted.saved_how, event->adopted.saved_mib);
}

static void adopt_loaded(struct node_core *core, struct vm *vm, const struct node_event *event)
{
	bool ended = event->adopted.state == WIRE_SHIM_ENDED, rebased;
	struct mono end = event->adopted.end_mono;
	struct node_effect *effect;

	rebased = meter_rebase(&vm->sandbox, event->adopted.resumed_mono,
			       ended ? event->adopted.ended_mono : core->now);
	if (ended) {
		end_adopted(core, vm, event);
		return;
	}
	if (rebased)
		node_effect_add(core, NODE_EFFECT_JOURNAL_SANDBOX)->sandbox = vm->sandbox;
	vm_move(core, vm, NODE_VM_RUNNING);
	meter_begin(core, vm);
	/* A new time limit may have been journaled and not have reached the shim. */
	if (vm->sandbox.deadline_version && end.ns != vm->sandbox.end_mono.ns) {
		effect = node_effect_add(core, NODE_EFFECT_VM_DEADLINE);
		effect->deadline.vm = vm->number;
		effect->deadline.end_mono = vm->sandbox.end_mono;
	}
}

/* The time limit that the shim holds; a freeze does not move it. */
static void keep_limit(const struct node_core *core, struct node_sandbox *row, struct mono end)
{
	if (end.ns == 0)
		return;
	row->end_mono = end;
	row->end_wall.ns = core->wall.ns + (end.ns - core->now.ns);
}

/* A claim that was taken, and that the journal knows nothing of. */
static void adopt_claimed(struct node_core *core, struct vm *vm, const struct node_event *event)
{
	const struct wire_order *claim = event->adopted.claim;
	const struct template_ *template_ = warm_find(core, claim->template);
	struct saved *saved = saved_find(core, claim->resume);
	uint32_t disk_mib = saved       ? saved->row.disk_mib
			    : template_ ? (uint32_t)template_->shape.disk_mib
					: 0;
	struct wire_room room;

	if (event->adopted.state != WIRE_SHIM_CLAIMED && event->adopted.state != WIRE_SHIM_ENDED) {
		claim_adopt(core, vm, event, disk_mib);
		return;
	}
	vm->sandbox = claim_sandbox(core, claim, disk_mib, vm->number, event->adopted.resumed_mono);
	vm->has_sandbox = true;
	keep_limit(core, &vm->sandbox, event->adopted.end_mono);
	room = room_of_sandbox(&vm->sandbox);
	room_add(&core->used, &room);
	claim_say_yes(core, vm, event->adopted.payload);
	claim_drop_payload(core, event->adopted.payload);
	if (saved && !saved_is_snapshot(saved))
		saved_use_up(core, saved);
	vm_move(core, vm, NODE_VM_RUNNING);
	meter_begin(core, vm);
	if (event->adopted.state == WIRE_SHIM_ENDED)
		end_adopted(core, vm, event);
}

static void adopt_unclaimed(struct node_core *core, struct vm *vm, const struct node_event *event)
{
	struct template_ *template_ = warm_find(core, event->adopted.template_);

	/* Claimed by who knows what: a shim whose memory of it cannot be read. */
	if (!template_ || strcmp(template_->id, event->adopted.template_id) != 0 ||
	    event->adopted.state == WIRE_SHIM_CLAIMED) {
		vm_kill(core, vm, CAUSE_PLATFORM);
		return;
	}
	vm->template_ = (uint32_t)(template_ - core->templates);
	if (event->adopted.state == WIRE_SHIM_READY)
		vm_move(core, vm, NODE_VM_READY);
	else if (event->adopted.state == WIRE_SHIM_WARMING)
		vm_move(core, vm, NODE_VM_WARMING);
	else
		vm_move(core, vm, NODE_VM_STARTING);
}

/* The end record of something nobody needs to know of: a clone, or a claim that was given up, or
 * one of an earlier boot that was never told of. */
static bool is_leftover(const struct node_core *core, const struct node_event *event)
{
	const struct wire_order *claim = event->adopted.claim;

	return event->adopted.state == WIRE_SHIM_ENDED &&
	       (!claim || attempt_find(core, claim->attempt) != MAP_NONE ||
		event->adopted.resumed_mono.ns == 0 || event->adopted.other_boot ||
		event->adopted.ended_mono.ns > core->now.ns);
}

/* Whether it was taken in with a claim, whose payload is looked after then. */
static bool adopt(struct node_core *core, const struct node_event *event)
{
	const struct wire_order *claim = event->adopted.claim;
	uint64_t number = event->adopted.vm;
	struct vm *vm = vm_find(core, number);

	if (vm && vm->state == NODE_VM_LOADED && claim && claim->attempt == vm->sandbox.attempt) {
		adopt_loaded(core, vm, event);
		return false;
	}
	if (event->adopted.state == WIRE_SHIM_ENDED && saved_adopt(core, number))
		return false;
	if (is_leftover(core, event)) {
		node_effect_add(core, NODE_EFFECT_VM_FORGET)->vm = number;
		return false;
	}
	if (vm || (!claim && event->adopted.resumes) ||
	    (claim &&
	     (attempt_find(core, claim->attempt) != MAP_NONE || !attempt_make_room(core)))) {
		end_unwanted(core, number);
		return false;
	}
	vm = vm_take(core, number);
	if (!vm)
		end_unwanted(core, number);
	else if (claim)
		adopt_claimed(core, vm, event);
	else
		adopt_unclaimed(core, vm, event);
	return vm && claim;
}

void adopt_folder(struct node_core *core, const struct node_event *event)
{
	if (!adopt(core, event))
		claim_drop_payload(core, event->adopted.payload);
}

void adopt_settle(struct node_core *core)
{
	for (uint32_t slot = pool_next(&core->vm_pool, 0);
	     slot != POOL_NONE && core->counts.vms[NODE_VM_LOADED] && node_effects_fit(core);
	     slot = pool_next(&core->vm_pool, slot + 1))
		if (core->vms[slot].state == NODE_VM_LOADED)
			vm_lose(core, &core->vms[slot]);
}
