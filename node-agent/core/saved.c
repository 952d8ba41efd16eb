/*
 * Paused sandboxes: how they come to be, go on, and go.
 *
 * A pause ends a life of a sandbox like any other end, with its last milliseconds in the record;
 * but the folder of the microVM stays, because what it was is written there, and so does a row
 * under the attempt by which it ran.  From then on it holds no room.  A claim that names this
 * attempt gets a microVM restored from that folder, for itself alone: no pool, and no other try
 * than the same folder once more.  When it runs, and only then, the row and the folder go; a claim
 * that fails leaves both as they were.  A kill of the attempt discards them.
 *
 * It may be copied to another node, where it is like a snapshot that nobody begins from, until this
 * node hands over: the record says so to all who read the log, and only then does the copy count.
 * So there is one place at a time from which it can go on.
 *
 * An order to pause is repeated until a record answers it, like every order, and may come too late:
 * its number, which counts up, tells which ones were answered.
 */
#include "node-agent/core/state.h"

#include <string.h>

struct saved *saved_find(struct node_core *core, uint64_t attempt)
{
	uint32_t place = attempt_find(core, attempt);

	if (place == MAP_NONE || ATTEMPT_KIND(place) != ATTEMPT_SAVED)
		return NULL;
	return &core->saved[ATTEMPT_SLOT(place)];
}

struct saved *saved_take(struct node_core *core, const struct node_saved *row)
{
	uint32_t slot = pool_take(&core->saved_pool);
	struct saved *saved;

	if (slot == POOL_NONE)
		return NULL;
	saved = &core->saved[slot];
	*saved = (struct saved){.row = *row, .maker = POOL_NONE};
	attempt_live(core, row->attempt, ATTEMPT_SAVED | slot);
	map_set(&core->saved_numbers, row->vm, slot);
	return saved;
}

void saved_free(struct node_core *core, struct saved *saved)
{
	uint32_t slot = (uint32_t)(saved - core->saved);

	for (uint32_t i = pool_next(&core->claim_pool, 0); saved->claims_n && i != POOL_NONE;
	     i = pool_next(&core->claim_pool, i + 1)) {
		saved->claims_n -= core->claims[i].saved == slot;
		if (core->claims[i].saved == slot)
			core->claims[i].saved = POOL_NONE;
	}
	core->missing_n -= !saved->is_found;
	map_remove(&core->saved_numbers, saved->row.vm);
	pool_give(&core->saved_pool, slot);
	memset(saved, 0, sizeof(*saved));
}

/* Its attempt is over for good. */
static void drop(struct node_core *core, struct saved *saved)
{
	node_effect_add(core, NODE_EFFECT_JOURNAL_SAVED_GONE)->attempt = saved->row.attempt;
	/* One that a start has still to report is forgotten then. */
	if (saved->is_found)
		node_effect_add(core, NODE_EFFECT_VM_FORGET)->vm = saved->row.vm;
	carry_source_gone(core, saved->row.attempt);
	attempt_answer(core, saved->row.attempt);
	saved_free(core, saved);
}

/* ---- what a start finds ---- */

void saved_load(struct node_core *core, const struct node_saved *row)
{
	/* There may be less room than there was: then its folder goes, as one that nobody knows. */
	if (row->vm > core->last_vm)
		core->last_vm = row->vm;
	if (map_find(&core->saved_numbers, row->vm) == MAP_NONE && saved_take(core, row))
		core->missing_n++;
	else
		core->counts.ignored++;
}

bool saved_adopt(struct node_core *core, uint64_t number)
{
	uint32_t slot = map_find(&core->saved_numbers, number);

	if (slot == MAP_NONE)
		return false;
	core->missing_n -= !core->saved[slot].is_found;
	core->saved[slot].is_found = true;
	return true;
}

void saved_settle(struct node_core *core)
{
	for (uint32_t slot = pool_next(&core->saved_pool, 0);
	     slot != POOL_NONE && core->missing_n && node_effects_fit(core);
	     slot = pool_next(&core->saved_pool, slot + 1))
		if (!core->saved[slot].is_found && !core->saved[slot].claims_n)
			saved_discard(core, &core->saved[slot], CAUSE_PLATFORM);
}

/* ---- pausing ---- */

bool saved_fits(const struct node_core *core)
{
	return core->saved_pool.taken_n + core->saving_n < core->limits.saved_max;
}

void saved_add(struct node_core *core, const struct node_sandbox *sandbox, enum wire_save_how how,
	       uint64_t mib)
{
	struct node_saved row = {
		.id = sandbox->id,
		.tenant = sandbox->tenant,
		.attempt = sandbox->attempt,
		.incarnation = sandbox->incarnation,
		.vcpus = sandbox->vcpus,
		.mem_mib = sandbox->mem_mib,
		.disk_mib = sandbox->disk_mib,
		.how = how,
		.mib = mib,
		.vm = sandbox->vm,
	};
	struct saved *saved;

	memcpy(row.template_, sandbox->template_, sizeof(row.template_));
	saved = saved_take(core, &row);
	CHECK(saved);
	saved->is_found = true;
	node_effect_add(core, NODE_EFFECT_JOURNAL_SAVED)->saved = row;
}

static void answer_no(struct node_core *core, struct vm *vm, uint64_t save)
{
	vm->sandbox.save_answered = save;
	node_effect_add(core, NODE_EFFECT_JOURNAL_SANDBOX)->sandbox = vm->sandbox;
	outbox_runs_on(core, &vm->sandbox, save, REFUSAL_PAUSE_FAILED);
}

void saved_pause(struct node_core *core, struct vm *vm, const struct wire_order *order)
{
	struct node_effect *effect;

	if (vm->state != NODE_VM_RUNNING || order->save <= vm->sandbox.save_answered || vm->save ||
	    vm->snapshot)
		return;
	if (!saved_fits(core)) {
		answer_no(core, vm, order->save);
		return;
	}
	vm->save = order->save;
	core->saving_n++;
	effect = node_effect_add(core, NODE_EFFECT_VM_SAVE);
	effect->save.vm = vm->number;
	effect->save.save = order->save;
	effect->save.how = order->how;
}

void saved_runs_on(struct node_core *core, const struct node_event *event)
{
	struct vm *vm = vm_find(core, event->runs_on.vm);
	uint64_t save = event->runs_on.save;

	if (!vm || vm->state != NODE_VM_RUNNING || save <= vm->sandbox.save_answered)
		return;
	/* None is under way: an agent before us wanted it. */
	core->saving_n -= vm->save != 0;
	vm->save = 0;
	answer_no(core, vm, save);
}

/* ---- going on, and going ---- */

void saved_use_up(struct node_core *core, struct saved *saved)
{
	drop(core, saved);
}

void saved_discard(struct node_core *core, struct saved *saved, enum cause cause)
{
	outbox_discarded(core, &saved->row, cause);
	drop(core, saved);
}

void saved_hand_over(struct node_core *core, struct saved *saved, const struct wire_order *order)
{
	/* What goes on from it is not answered yet; what is being made nobody knows. */
	if (saved->claims_n || saved->maker != POOL_NONE) {
		core->counts.ignored++;
		return;
	}
	outbox_handed_over(core, &saved->row, order);
	drop(core, saved);
}

void resume_settle(struct node_core *core)
{
	struct list *link;

	while (lease_holds(core) && node_effects_fit(core) &&
	       (link = list_first(&core->resume_ready))) {
		struct vm *vm = LIST_OBJECT(link, struct vm, pooled);
		claim_give(core, &core->claims[vm->claim], vm);
	}
	while (node_effects_fit(core) && warm_may_restore(core) &&
	       (link = list_first(&core->resumes)))
		if (!vm_resume(core, LIST_OBJECT(link, struct claim, waiting)))
			return;
}
