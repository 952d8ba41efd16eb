/*
 * Every sum counted again from the rows.  What the step keeps up to date bit by bit must be what
 * one would find by looking at everything.
 */
#include "scheduler/core/state.h"

#include <string.h>

static void verify_join(const struct core *core, const struct node *node)
{
	CHECK(!node->joined || !node->blocks);
	CHECK(!node->blocks || core->role == CORE_TAKING_OVER);
	if (!core->booted)
		return;
	switch (core->role) {
	case CORE_ALONE:
		CHECK(node->joined);
		break;
	case CORE_STANDBY:
		CHECK(!node->joined && !list_is_linked(&node->alive_link));
		break;
	case CORE_TAKING_OVER:
	case CORE_LEADING:
		CHECK(!node->joined || (node->heard_epoch == core->epoch && !node->behind &&
					node->row.next_seq >= node->heard_seq));
		CHECK(node->settle_epoch <= core->epoch);
		break;
	}
}

static void verify_node(const struct core *core, uint32_t slot)
{
	const struct node *node = &core->nodes[slot];
	struct wire_room used = {0};

	for (uint32_t at = pool_next(&core->sandbox_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->sandbox_pool, at + 1)) {
		const struct core_sandbox *row = &core->sandboxes[at].row;
		if (core->sandboxes[at].node != slot)
			continue;
		if (sandbox_holds(row->state)) {
			used.vcpus += row->vcpus;
			used.mem_mib += row->mem_mib;
			used.disk_mib += row->disk_mib;
			used.sandboxes++;
		}
		CHECK(list_is_linked(&core->sandboxes[at].node_link));
		/* What can be settled is, or stays due. */
		CHECK(!core->booted || list_is_linked(&node->settle_link) ||
		      !settle_is_due(core, node, row));
	}
	CHECK(used.vcpus == node->used.vcpus && used.mem_mib == node->used.mem_mib);
	CHECK(used.disk_mib == node->used.disk_mib && used.sandboxes == node->used.sandboxes);
	CHECK(node->awake == list_is_linked(&node->awake_link));
	verify_join(core, node);
	for (uint32_t i = 0; i < node->offer_n; i++) {
		const struct offer *offer = &node->offers[i];
		const struct template_ *template_ = &core->templates[offer->template_];
		CHECK(offer->rank_plus_1 == place_rank_plus_1(core, node, offer));
		CHECK(node->awake || !offer->current);
		CHECK(node->joined || !offer->rank_plus_1);
		for (uint8_t rank = 0; rank < PLACE_RANK_N; rank++)
			CHECK(bitset_has(&template_->ranks[rank], slot) ==
			      (rank + 1 == offer->rank_plus_1));
	}
}

static void verify_tenant(const struct core *core, uint32_t slot)
{
	const struct tenant *tenant = &core->tenants[slot];
	uint64_t vcpus = 0, mem_mib = 0;
	uint32_t concurrent = 0, snapshots_n = 0;

	for (uint32_t at = pool_next(&core->sandbox_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->sandbox_pool, at + 1)) {
		snapshots_n +=
			core->sandboxes[at].tenant == slot &&
			snapshot_counts(&core->sandboxes[at].row, core->sandboxes[at].row.state);
		if (core->sandboxes[at].tenant != slot ||
		    !sandbox_holds(core->sandboxes[at].row.state))
			continue;
		concurrent++;
		vcpus += core->sandboxes[at].row.vcpus;
		mem_mib += core->sandboxes[at].row.mem_mib;
	}
	CHECK(concurrent == tenant->concurrent && snapshots_n == tenant->snapshots_n);
	CHECK(vcpus == tenant->vcpus && mem_mib == tenant->mem_mib);
}

static void verify_template(const struct core *core, uint32_t slot)
{
	const struct template_ *template_ = &core->templates[slot];
	uint32_t offering_n = 0, having_n = 0;

	for (uint32_t at = pool_next(&core->node_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->node_pool, at + 1))
		for (uint32_t i = 0; i < core->nodes[at].offer_n; i++) {
			bool has = core->nodes[at].offers[i].template_ == slot &&
				   core->nodes[at].offers[i].current;
			having_n += has;
			offering_n += has && core->nodes[at].joined;
		}
	CHECK(having_n == template_->having_n && offering_n == template_->offering_n);
	for (uint32_t rank = 0; rank < PLACE_RANK_N; rank++)
		CHECK(bitset_is_empty(&template_->ranks[rank]) ==
		      !(template_->ranks_filled >> rank & 1));
}

/* Who waits, for what, and what runs out; and what is ordered. */
static void verify_waiting(const struct core *core, const struct sandbox *sandbox)
{
	const struct core_sandbox *row = &sandbox->row;
	bool leads = core->role == CORE_TAKING_OVER || core->role == CORE_LEADING;
	bool ours = core->role == CORE_ALONE ||
		    (leads && wire_attempt_epoch(row->attempt) == core->epoch);

	if (!core->booted)
		return;
	CHECK(!sandbox->create_request || ours ||
	      (row->state == SANDBOX_PAUSED && core->role == CORE_LEADING));
	CHECK(!sandbox->confirm_request || core->role == CORE_ALONE || core->role == CORE_LEADING);
	CHECK(core->role != CORE_ALONE || !sandbox->confirm_request ||
	      row->state == SANDBOX_RUNNING || row->state == SANDBOX_ENDING ||
	      row->state == SANDBOX_DISCARDING || row->state == SANDBOX_PAUSING ||
	      row->state == SANDBOX_SNAPPING);
	CHECK(row->state != SANDBOX_RUNNING || !sandbox->confirm_request ||
	      row->deadline_known < row->deadline_version);
	if (row->state == SANDBOX_PLACING) {
		CHECK(list_is_linked(&sandbox->timer_link) == ours);
		CHECK(list_is_linked(&sandbox->order_link) == (ours && !sandbox->waits));
	}
	if (row->state == SANDBOX_SNAPPING)
		CHECK(list_is_linked(&sandbox->order_link) ==
		      (ours && !move_is_copy(row) && !snapshot_copy_is(row)));
	if (row->state == SANDBOX_PAUSED)
		CHECK(list_is_linked(&sandbox->order_link) == (row->save != 0));
	if (row->state == SANDBOX_RESUMING) {
		CHECK(list_is_linked(&sandbox->order_link) == ours);
		CHECK(!list_is_linked(&sandbox->timer_link) || ours);
	}
	if (row->state == SANDBOX_PAUSING)
		CHECK(core->role == CORE_ALONE || core->role == CORE_LEADING);
	if (row->state == SANDBOX_ENDING || row->state == SANDBOX_DISCARDING ||
	    row->state == SANDBOX_PAUSING)
		CHECK(list_is_linked(&sandbox->order_link));
}

void core_check(const struct core *core)
{
	uint32_t state_n[SANDBOX_STATE_N] = {0}, blocking_n = 0;

	for (uint32_t at = pool_next(&core->node_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->node_pool, at + 1))
		verify_node(core, at);
	for (uint32_t at = pool_next(&core->tenant_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->tenant_pool, at + 1))
		verify_tenant(core, at);
	for (uint32_t at = pool_next(&core->template_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->template_pool, at + 1))
		verify_template(core, at);
	for (uint32_t at = pool_next(&core->sandbox_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->sandbox_pool, at + 1)) {
		const struct sandbox *sandbox = &core->sandboxes[at];
		CHECK(index_find(&core->sandbox_index, sandbox->row.id.text) == at);
		sandbox_verify(core, sandbox);
		verify_waiting(core, sandbox);
		state_n[sandbox->row.state]++;
	}
	CHECK(memcmp(state_n, core->state_n, sizeof(state_n)) == 0);
	for (uint32_t at = pool_next(&core->node_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->node_pool, at + 1))
		blocking_n += core->nodes[at].blocks;
	CHECK(blocking_n == core->blocking_n);
	CHECK(core->role != CORE_TAKING_OVER || blocking_n > 0);
	transfer_verify(core);
}
