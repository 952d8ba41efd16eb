/*
 * What a sandbox has run: whole milliseconds of its host's boot clock since its microVM was
 * resumed for it.  The journal holds how far that was told; each record goes on from there, so the
 * records of an incarnation have no gap and no overlap, whatever agent wrote them.
 *
 * A microVM that was frozen did not run meanwhile: its resume is moved on by as long, on both
 * clocks, so that what passed since then is what it ran, and positions after the freeze are right.
 *
 * The agent's own clock is not evidence that a microVM ran: it may have ended a moment ago.  So at
 * each tick the shim is asked, and what is journaled is what the shim vouches for.
 */
#include "node-agent/core/state.h"

uint64_t meter_ms(const struct node_sandbox *sandbox, struct mono at)
{
	int64_t ms = mono_ms_since(at, sandbox->resumed_mono);

	return ms > 0 && (uint64_t)ms > sandbox->metered_ms ? (uint64_t)ms : sandbox->metered_ms;
}

/* The next instant after now that is the sandbox's own phase past a multiple of the tick: the load
 * of many sandboxes spreads, and stays spread after a restart. */
static struct mono next_tick(const struct node_core *core, const struct node_sandbox *sandbox)
{
	int64_t tick_ns = core->limits.tick_ms * NS_PER_MS;
	int64_t phase_ns = (int64_t)(sandbox->attempt * 0x9e3779b97f4a7c15u >> 2) % tick_ns;
	int64_t past_ns = (core->now.ns - phase_ns) % tick_ns;

	if (past_ns < 0)
		past_ns += tick_ns;
	return (struct mono){core->now.ns - past_ns + tick_ns};
}

void meter_begin(struct node_core *core, const struct vm *vm)
{
	heap_set(&core->meter_due, vm_slot(core, vm), next_tick(core, &vm->sandbox).ns);
}

void meter_end(struct node_core *core, const struct vm *vm)
{
	heap_remove(&core->meter_due, vm_slot(core, vm));
}

bool meter_rebase(struct node_sandbox *sandbox, struct mono resumed, struct mono at)
{
	struct mono latest = mono_add_ms(at, -(int64_t)sandbox->metered_ms);

	/* What was told is not taken back, whatever the shim says. */
	if (resumed.ns > latest.ns)
		resumed = latest;
	if (resumed.ns <= sandbox->resumed_mono.ns)
		return false;
	sandbox->resumed_wall.ns += resumed.ns - sandbox->resumed_mono.ns;
	sandbox->resumed_mono = resumed;
	return true;
}

void meter_reading(struct node_core *core, struct vm *vm, struct mono at, struct mono resumed)
{
	bool rebased = meter_rebase(&vm->sandbox, resumed, at);
	uint64_t to_ms = meter_ms(&vm->sandbox, at);

	if (to_ms == vm->sandbox.metered_ms && !rebased)
		return;
	if (to_ms != vm->sandbox.metered_ms)
		outbox_usage(core, &vm->sandbox, to_ms);
	node_effect_add(core, NODE_EFFECT_JOURNAL_SANDBOX)->sandbox = vm->sandbox;
}

void meter_settle(struct node_core *core)
{
	struct heap_entry first;

	while (heap_first(&core->meter_due, &first) && first.key <= core->now.ns &&
	       node_effects_fit(core)) {
		const struct vm *vm = &core->vms[first.slot];
		node_effect_add(core, NODE_EFFECT_VM_METER)->vm = vm->number;
		meter_begin(core, vm);
	}
}
