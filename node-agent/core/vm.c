/*
 * The life of one microVM: what it holds of the node, and what its end means, whichever way it
 * comes.
 */
#include "node-agent/core/state.h"

#include <string.h>

static bool edge_exists(enum node_vm_state from, enum node_vm_state to)
{
	static const struct {
		enum node_vm_state from, to;
	} edges[] = {
#define EDGE(from, to, why) {NODE_VM_##from, NODE_VM_##to},
#include "node-agent/core/vm_states.def"
	};

	for (size_t i = 0; i < ARRAY_N(edges); i++)
		if (edges[i].from == from && edges[i].to == to)
			return true;
	return false;
}

static bool is_starting(enum node_vm_state state)
{
	return state == NODE_VM_STARTING || state == NODE_VM_WARMING;
}

/* The pool's lists follow the state. */
static void repool(struct node_core *core, struct vm *vm, enum node_vm_state to)
{
	struct template_ *template_;

	if (vm->template_ == POOL_NONE)
		return;
	template_ = &core->templates[vm->template_];
	list_remove(&vm->pooled);
	template_->starting_n -= is_starting(vm->state);
	template_->ready_n -= vm->state == NODE_VM_READY;
	template_->starting_n += is_starting(to);
	template_->ready_n += to == NODE_VM_READY;
	if (is_starting(to))
		list_append(&template_->starting, &vm->pooled);
	else if (to == NODE_VM_READY)
		list_append(&template_->ready, &vm->pooled);
	else
		vm->template_ = POOL_NONE;
	core->news_changed |= to == NODE_VM_READY || vm->state == NODE_VM_READY;
}

/* One that resumes is in no pool. */
static void requeue(struct node_core *core, struct vm *vm, enum node_vm_state to)
{
	list_remove(&vm->pooled);
	if (to == NODE_VM_READY)
		list_append(&core->resume_ready, &vm->pooled);
	else if (!is_starting(to))
		vm->resumes = false;
}

void vm_move(struct node_core *core, struct vm *vm, enum node_vm_state to)
{
	CHECK(edge_exists(vm->state, to));
	if (vm->resumes)
		requeue(core, vm, to);
	repool(core, vm, to);
	core->counts.vms[vm->state] -= vm->state != NODE_VM_NONE;
	core->counts.vms[to] += to != NODE_VM_NONE;
	vm->state = to;
	if (to != NODE_VM_RUNNING)
		meter_end(core, vm);
}

struct vm *vm_take(struct node_core *core, uint64_t number)
{
	uint32_t slot = pool_take(&core->vm_pool);
	struct vm *vm;

	if (slot == POOL_NONE)
		return NULL;
	vm = &core->vms[slot];
	*vm = (struct vm){.number = number, .template_ = POOL_NONE, .claim = POOL_NONE};
	map_set(&core->vm_numbers, number, slot);
	if (number > core->last_vm)
		core->last_vm = number;
	return vm;
}

struct vm *vm_find(struct node_core *core, uint64_t number)
{
	uint32_t slot = map_find(&core->vm_numbers, number);

	return slot == MAP_NONE ? NULL : &core->vms[slot];
}

uint32_t vm_slot(const struct node_core *core, const struct vm *vm)
{
	return (uint32_t)(vm - core->vms);
}

void vm_kill(struct node_core *core, struct vm *vm, enum cause cause)
{
	struct node_effect *effect = node_effect_add(core, NODE_EFFECT_VM_KILL);

	effect->kill.vm = vm->number;
	effect->kill.cause = cause;
	vm->kill_cause = cause;
	vm_move(core, vm, NODE_VM_ENDING);
}

static void vm_forget(struct node_core *core, uint64_t number)
{
	node_effect_add(core, NODE_EFFECT_VM_FORGET)->vm = number;
}

/* Its row and its room go. */
static void sandbox_leave(struct node_core *core, struct vm *vm)
{
	struct wire_room room = room_of_sandbox(&vm->sandbox);

	node_effect_add(core, NODE_EFFECT_JOURNAL_SANDBOX_GONE)->attempt = vm->sandbox.attempt;
	room_take(&core->used, &room);
	core->news_changed = true;
	core->saving_n -= vm->save != 0;
	vm->save = 0;
	network_forget(core, vm);
	if (vm->snapshot)
		snapshot_lost(core, vm);
}

/* Its slot goes. */
static void vm_leave(struct node_core *core, struct vm *vm)
{
	uint32_t claim = vm->claim;
	uint32_t failed = is_starting(vm->state) ? vm->template_ : POOL_NONE;

	vm_move(core, vm, NODE_VM_NONE);
	map_remove(&core->vm_numbers, vm->number);
	pool_give(&core->vm_pool, vm_slot(core, vm));
	memset(vm, 0, sizeof(*vm));
	if (claim != POOL_NONE)
		claim_vm_lost(core, claim);
	if (failed != POOL_NONE)
		warm_failed(core, &core->templates[failed]);
}

void vm_end(struct node_core *core, struct vm *vm, uint64_t to_ms, enum cause cause)
{
	if (vm->has_sandbox) {
		outbox_ended(core, &vm->sandbox, to_ms, cause);
		sandbox_leave(core, vm);
		attempt_answer(core, vm->sandbox.attempt);
	}
	vm_forget(core, vm->number);
	vm_leave(core, vm);
}

void vm_end_as_told(struct node_core *core, struct vm *vm, uint64_t to_ms, enum cause cause,
		    enum wire_save_how how, uint64_t mib)
{
	if (cause != CAUSE_PAUSE) {
		vm_end(core, vm, to_ms, cause == CAUSE_NONE ? CAUSE_VM_FAULT : cause);
		return;
	}
	/* A pause that a kill overtook, or that there is no room for: its own limit paused it. */
	if (!vm->has_sandbox || vm->state == NODE_VM_ENDING ||
	    core->saved_pool.taken_n == core->limits.saved_max) {
		vm_end(core, vm, to_ms,
		       vm->state == NODE_VM_ENDING ? vm->kill_cause : CAUSE_PLATFORM);
		return;
	}
	outbox_paused(core, &vm->sandbox, to_ms, how, mib);
	sandbox_leave(core, vm);
	saved_add(core, &vm->sandbox, how, mib);
	vm_leave(core, vm);
}

struct vm *vm_resume(struct node_core *core, struct claim *claim)
{
	const struct node_saved *saved;
	struct vm *vm = vm_take(core, core->last_vm + 1);
	struct node_effect *effect;

	if (!vm)
		return NULL;
	CHECK(claim->saved != POOL_NONE);
	saved = &core->saved[claim->saved].row;
	list_remove(&claim->waiting);
	vm->resumes = true;
	vm->claim = (uint32_t)(claim - core->claims);
	claim->vm = vm_slot(core, vm);
	vm_move(core, vm, NODE_VM_STARTING);
	effect = node_effect_add(core, NODE_EFFECT_VM_START);
	effect->start.vm = vm->number;
	memcpy(effect->start.template_, saved->template_, sizeof(effect->start.template_));
	effect->start.resume = saved->vm;
	effect->start.cold = claim->order.cold;
	return vm;
}

void vm_lose(struct node_core *core, struct vm *vm)
{
	/* Its keeper would have told of a fault of the microVM's own. */
	enum cause cause = CAUSE_SHIM_FAULT;

	if (vm->state == NODE_VM_ENDING)
		cause = vm->kill_cause;
	else if (vm->has_sandbox && strcmp(vm->sandbox.boot_id, core->boot_id) != 0)
		cause = CAUSE_NODE_RESTARTED;
	vm_end(core, vm, vm->sandbox.metered_ms, cause);
}

void vm_move_limit(struct node_core *core, struct vm *vm, uint64_t version, int64_t end_wall_ns,
		   uint64_t note_of)
{
	const int64_t far_ns = DEADLINE_MAX_MS * NS_PER_MS;
	int64_t left_ns = end_wall_ns / 2 - core->wall.ns / 2;
	struct node_sandbox *row = &vm->sandbox;
	struct node_effect *effect;

	/* Halves, so that no two instants are too far apart to be subtracted. */
	left_ns = left_ns > far_ns / 2 ? far_ns : left_ns < -far_ns / 2 ? -far_ns : left_ns * 2;
	row->deadline_version = version;
	row->end_wall.ns = core->wall.ns + left_ns;
	row->end_mono.ns = core->now.ns + left_ns > 0 ? core->now.ns + left_ns : 0;
	/* Nothing more is metered by this record; it says that the limit was moved. */
	outbox_usage(core, row, row->metered_ms);
	core->out->items[core->out->n - 1].note_of = note_of;
	node_effect_add(core, NODE_EFFECT_JOURNAL_SANDBOX)->sandbox = *row;
	effect = node_effect_add(core, NODE_EFFECT_VM_DEADLINE);
	effect->deadline.vm = vm->number;
	effect->deadline.end_mono = row->end_mono;
}

bool vm_deadline(struct node_core *core, struct vm *vm, const struct wire_order *order,
		 uint64_t payload)
{
	if (vm->state != NODE_VM_RUNNING || order->deadline_version <= vm->sandbox.deadline_version)
		return false;
	if (payload) {
		network_order(core, vm, order, payload);
		return true;
	}
	network_forget(core, vm);
	vm_move_limit(core, vm, order->deadline_version, order->end_wall_ns, 0);
	return false;
}

void vm_warming(struct node_core *core, uint64_t number)
{
	struct vm *vm = vm_find(core, number);

	if (vm && vm->state == NODE_VM_STARTING)
		vm_move(core, vm, NODE_VM_WARMING);
}

void vm_ready(struct node_core *core, uint64_t number)
{
	struct vm *vm = vm_find(core, number);

	if (!vm || !is_starting(vm->state))
		return;
	if (vm->template_ != POOL_NONE)
		core->templates[vm->template_].fails_n = 0;
	vm_move(core, vm, NODE_VM_READY);
}

void vm_metered(struct node_core *core, const struct node_event *event)
{
	struct vm *vm = vm_find(core, event->metered.vm);

	if (vm && vm->state == NODE_VM_RUNNING)
		meter_reading(core, vm, event->metered.at, event->metered.resumed_mono);
}

void vm_ended(struct node_core *core, const struct node_event *event)
{
	struct vm *vm = vm_find(core, event->ended.vm);

	if (!vm) {
		vm_forget(core, event->ended.vm);
		return;
	}
	/* Its row is about to go, so that need not be journaled. */
	meter_rebase(&vm->sandbox, event->ended.resumed_mono, event->ended.at);
	vm_end_as_told(core, vm, meter_ms(&vm->sandbox, event->ended.at), event->ended.cause,
		       event->ended.saved_how, event->ended.saved_mib);
}

void vm_gone(struct node_core *core, uint64_t number)
{
	struct vm *vm = vm_find(core, number);

	if (vm)
		vm_lose(core, vm);
	else
		vm_forget(core, number);
}
