/* Every sum counted again, every reference followed. For tests. */
#include "node-agent/core/state.h"

#include <string.h>

static uint32_t list_length(const struct list *head)
{
	uint32_t n = 0;

	for (const struct list *link = list_first(head); link; link = list_next(head, link))
		n++;
	return n;
}

static bool room_equal(const struct wire_room *a, const struct wire_room *b)
{
	return a->vcpus == b->vcpus && a->mem_mib == b->mem_mib && a->disk_mib == b->disk_mib &&
	       a->sandboxes == b->sandboxes;
}

static void verify_vm(const struct node_core *core, uint32_t slot)
{
	const struct vm *vm = &core->vms[slot];
	bool unclaimed = vm->state == NODE_VM_STARTING || vm->state == NODE_VM_WARMING ||
			 vm->state == NODE_VM_READY;
	bool pooled = unclaimed && !vm->resumes;
	bool sandbox = vm->state == NODE_VM_LOADED || vm->state == NODE_VM_RUNNING;

	CHECK(vm->state != NODE_VM_NONE);
	CHECK(vm->number && vm->number <= core->last_vm);
	CHECK(map_find(&core->vm_numbers, vm->number) == slot);
	CHECK(pooled == (vm->template_ != POOL_NONE));
	CHECK(!vm->resumes || unclaimed);
	CHECK((pooled || (vm->resumes && vm->state == NODE_VM_READY)) ==
	      list_is_linked(&vm->pooled));
	CHECK(!vm->snapshot || vm->has_sandbox);
	CHECK(!vm->save ||
	      (vm->has_sandbox && (vm->state == NODE_VM_RUNNING || vm->state == NODE_VM_ENDING)));
	CHECK(!vm->resumes || core->claims[vm->claim].vm == slot);
	CHECK((vm->state == NODE_VM_RUNNING) == heap_has(&core->meter_due, slot));
	CHECK(vm->state == NODE_VM_ENDING || sandbox == vm->has_sandbox);
	CHECK(vm->state == NODE_VM_ENDING ||
	      (vm->state == NODE_VM_CLAIMING || vm->resumes) == (vm->claim != POOL_NONE));
	CHECK(!vm->has_sandbox || vm->claim == POOL_NONE);
	if (vm->has_sandbox)
		CHECK(attempt_find(core, vm->sandbox.attempt) == (ATTEMPT_VM | slot));
	if (vm->claim != POOL_NONE)
		CHECK(pool_is_taken(&core->claim_pool, vm->claim));
}

static void verify_template(const struct node_core *core, uint32_t slot)
{
	const struct template_ *template_ = &core->templates[slot];
	uint32_t claims_n = 0;

	CHECK(list_length(&template_->ready) == template_->ready_n);
	CHECK(list_length(&template_->starting) == template_->starting_n);
	CHECK(list_length(&template_->waiting) == template_->waiting_n);
	for (uint32_t i = pool_next(&core->claim_pool, 0); i != POOL_NONE;
	     i = pool_next(&core->claim_pool, i + 1))
		claims_n += core->claims[i].template_ == slot;
	CHECK(claims_n == template_->claims_n);
}

static void verify_room(const struct node_core *core)
{
	struct wire_room used = {0}, room;

	for (uint32_t i = pool_next(&core->vm_pool, 0); i != POOL_NONE;
	     i = pool_next(&core->vm_pool, i + 1)) {
		if (!core->vms[i].has_sandbox)
			continue;
		room = room_of_sandbox(&core->vms[i].sandbox);
		room_add(&used, &room);
	}
	for (uint32_t i = pool_next(&core->claim_pool, 0); i != POOL_NONE;
	     i = pool_next(&core->claim_pool, i + 1)) {
		room = room_of_claim(&core->claims[i]);
		room_add(&used, &room);
	}
	CHECK(room_equal(&used, &core->used));
}

static void verify_attempts(const struct node_core *core)
{
	uint32_t known_n = core->claim_pool.taken_n + core->ring_n;

	for (uint32_t i = 0; i < core->ring_n; i++) {
		uint32_t place = (core->ring_first + i) % core->limits.attempts_max;
		uint64_t attempt = core->ring[place].attempt;
		CHECK(attempt_find(core, attempt) == (ATTEMPT_ANSWERED | place));
	}
	for (uint32_t i = pool_next(&core->vm_pool, 0); i != POOL_NONE;
	     i = pool_next(&core->vm_pool, i + 1))
		known_n += core->vms[i].has_sandbox;
	CHECK(known_n + core->saved_pool.taken_n == core->attempts.n);
}

static void verify_saved(const struct node_core *core)
{
	uint32_t missing_n = 0, saving_n = 0, making_n = 0, claims_n = 0;

	for (uint32_t i = pool_next(&core->saved_pool, 0); i != POOL_NONE;
	     i = pool_next(&core->saved_pool, i + 1)) {
		const struct saved *saved = &core->saved[i];
		CHECK(attempt_find(core, saved->row.attempt) == (ATTEMPT_SAVED | i));
		CHECK(map_find(&core->saved_numbers, saved->row.vm) == i);
		CHECK(saved->row.vm <= core->last_vm);
		CHECK(saved_is_snapshot(saved) ||
		      (saved->claims_n <= 1 && saved->maker == POOL_NONE));
		CHECK(saved->maker == POOL_NONE ||
		      (!saved->claims_n && core->vms[saved->maker].snapshot == saved->row.attempt));
		making_n += saved->maker != POOL_NONE;
		CHECK(!core->ready || saved->row.attempt >= core->lost_done);
		missing_n += !saved->is_found;
		claims_n -= saved->claims_n;
	}
	for (uint32_t i = pool_next(&core->claim_pool, 0); i != POOL_NONE;
	     i = pool_next(&core->claim_pool, i + 1)) {
		const struct claim *claim = &core->claims[i];
		CHECK(claim->saved == POOL_NONE || pool_is_taken(&core->saved_pool, claim->saved));
		claims_n += claim->saved != POOL_NONE;
		CHECK(claim->vm == POOL_NONE || core->vms[claim->vm].claim == i);
	}
	for (uint32_t i = pool_next(&core->vm_pool, 0); i != POOL_NONE;
	     i = pool_next(&core->vm_pool, i + 1))
		CHECK(!core->vms[i].network.payload ||
		      (core->vms[i].has_sandbox &&
		       core->vms[i].network.version > core->vms[i].sandbox.deadline_version));
	for (uint32_t i = pool_next(&core->vm_pool, 0); i != POOL_NONE;
	     i = pool_next(&core->vm_pool, i + 1))
		saving_n += core->vms[i].save != 0, making_n -= core->vms[i].snapshot != 0;
	CHECK(core->saved_numbers.n == core->saved_pool.taken_n);
	CHECK(missing_n == core->missing_n && saving_n == core->saving_n);
	CHECK(!making_n && !claims_n);
}

/* What all have, each has; what a leader has is no more than there is. */
static void verify_acks(const struct node_core *core)
{
	CHECK(core->meta.acked_seq <= core->meta.next_seq);
	CHECK(core->meta.acked_seq == outbox_acked_by_all(core));
	CHECK(core->meta_acked <= core->meta.acked_seq);
	CHECK(core->leader_acked_seq >= core->meta.acked_seq);
	CHECK(core->leader_acked_seq <= core->meta.next_seq);
	for (uint32_t i = 0; i < NODE_REPLICAS_MAX; i++)
		CHECK(core->acked_seqs[i] <= core->meta.next_seq);
}

static void verify_lease(const struct node_core *core)
{
	const struct lease *lease = &core->lease;

	CHECK(lease->known || (!lease->is_told && !lease->until.ns));
	CHECK(lease->epoch <= core->meta.epoch);
	CHECK(!lease->until.ns == !lease->ms);
	/* What was told is of the same kind, and only moves on. */
	CHECK(!lease->is_told || !lease->told.ns == !lease->until.ns);
	CHECK(!lease->is_told || lease->told.ns <= lease->until.ns);
}

/* What is said to be carried out is: nothing below is left. */
static void verify_lost(const struct node_core *core)
{
	CHECK(core->lost_done <= core->lost_below);
	for (uint32_t i = pool_next(&core->claim_pool, 0); core->ready && i != POOL_NONE;
	     i = pool_next(&core->claim_pool, i + 1))
		CHECK(core->claims[i].order.attempt >= core->lost_done);
	for (uint32_t i = pool_next(&core->vm_pool, 0); core->ready && i != POOL_NONE;
	     i = pool_next(&core->vm_pool, i + 1))
		CHECK(!core->vms[i].has_sandbox || core->vms[i].sandbox.attempt >= core->lost_done);
}

void node_core_check(const struct node_core *core)
{
	uint32_t states[NODE_VM_STATE_N] = {0};

	for (uint32_t i = pool_next(&core->vm_pool, 0); i != POOL_NONE;
	     i = pool_next(&core->vm_pool, i + 1)) {
		verify_vm(core, i);
		states[core->vms[i].state]++;
	}
	CHECK(!memcmp(states, core->counts.vms, sizeof(states)));
	carry_verify(core);
	CHECK(core->vm_numbers.n == core->vm_pool.taken_n);
	for (uint32_t i = pool_next(&core->template_pool, 0); i != POOL_NONE;
	     i = pool_next(&core->template_pool, i + 1))
		verify_template(core, i);
	for (uint32_t i = pool_next(&core->claim_pool, 0); i != POOL_NONE;
	     i = pool_next(&core->claim_pool, i + 1))
		CHECK(attempt_find(core, core->claims[i].order.attempt) == (ATTEMPT_CLAIM | i));
	verify_room(core);
	verify_attempts(core);
	verify_saved(core);
	verify_acks(core);
	verify_lease(core);
	verify_lost(core);
}
