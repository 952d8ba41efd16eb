/*
 * Every sum counted again from the rows.  What the step keeps up to date bit by bit must be what
 * one would find by looking at everything.
 */
#include "scheduler/core/state.h"

#include <string.h>

static void verify_node(const struct core *core, uint32_t slot)
{
	const struct node *node = &core->nodes[slot];
	struct wire_room used = {0};

	for (uint32_t at = pool_next(&core->sandbox_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->sandbox_pool, at + 1)) {
		const struct core_sandbox *row = &core->sandboxes[at].row;
		if (core->sandboxes[at].node != slot)
			continue;
		used.vcpus += row->vcpus;
		used.mem_mib += row->mem_mib;
		used.disk_mib += row->disk_mib;
		used.sandboxes++;
	}
	CHECK(used.vcpus == node->used.vcpus && used.mem_mib == node->used.mem_mib);
	CHECK(used.disk_mib == node->used.disk_mib && used.sandboxes == node->used.sandboxes);
	CHECK(node->awake == list_is_linked(&node->awake_link));
	for (uint32_t i = 0; i < node->offer_n; i++) {
		const struct offer *offer = &node->offers[i];
		const struct template_ *template_ = &core->templates[offer->template_];
		CHECK(offer->rank_plus_1 == place_rank_plus_1(core, node, offer));
		CHECK(node->awake || !offer->current);
		for (uint8_t rank = 0; rank < PLACE_RANK_N; rank++)
			CHECK(bitset_has(&template_->ranks[rank], slot) ==
			      (rank + 1 == offer->rank_plus_1));
	}
}

static void verify_tenant(const struct core *core, uint32_t slot)
{
	const struct tenant *tenant = &core->tenants[slot];
	uint64_t vcpus = 0, mem_mib = 0;
	uint32_t concurrent = 0;

	for (uint32_t at = pool_next(&core->sandbox_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->sandbox_pool, at + 1)) {
		if (core->sandboxes[at].tenant != slot)
			continue;
		concurrent++;
		vcpus += core->sandboxes[at].row.vcpus;
		mem_mib += core->sandboxes[at].row.mem_mib;
	}
	CHECK(concurrent == tenant->concurrent);
	CHECK(vcpus == tenant->vcpus && mem_mib == tenant->mem_mib);
}

static void verify_template(const struct core *core, uint32_t slot)
{
	const struct template_ *template_ = &core->templates[slot];
	uint32_t offering_n = 0;

	for (uint32_t at = pool_next(&core->node_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->node_pool, at + 1))
		for (uint32_t i = 0; i < core->nodes[at].offer_n; i++)
			offering_n += core->nodes[at].offers[i].template_ == slot &&
				      core->nodes[at].offers[i].current;
	CHECK(offering_n == template_->offering_n);
	for (uint32_t rank = 0; rank < PLACE_RANK_N; rank++)
		CHECK(bitset_is_empty(&template_->ranks[rank]) ==
		      !(template_->ranks_filled >> rank & 1));
}

void core_check(const struct core *core)
{
	uint32_t state_n[SANDBOX_STATE_N] = {0};

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
		state_n[sandbox->row.state]++;
	}
	CHECK(memcmp(state_n, core->state_n, sizeof(state_n)) == 0);
}
