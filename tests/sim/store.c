/* The scheduler's store, as it is on its disk. */
#include "tests/sim/leader_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/oracle.h"
#include "tests/sim/tenants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_sandbox(struct world *world, struct store *store, const struct core_sandbox *row)
{
	size_t n = sandbox_number(&row->id);

	if (n >= store->sandboxes_cap) {
		size_t cap = 2 * n + 64;
		store->sandboxes = realloc(store->sandboxes, cap * sizeof(*store->sandboxes));
		CHECK(store->sandboxes);
		store->sandboxes_cap = cap;
	}
	while (store->sandboxes_n <= n)
		memset(&store->sandboxes[store->sandboxes_n++], 0, sizeof(*store->sandboxes));
	oracle_saved(world, &store->sandboxes[n], row);
	store->sandboxes[n] = *row;
}

static void write_template(struct store *store, const struct core_template *row)
{
	size_t i = 0;

	while (i < store->templates_n && strcmp(store->templates[i].name, row->name) != 0)
		i++;
	CHECK(i < TEMPLATES_N);
	store->templates[i] = *row;
	if (i == store->templates_n)
		store->templates_n++;
}

bool store_takes(const struct item *it)
{
	return !it->is_answer && core_effect_is_durable(it->effect.kind);
}

void store_write(struct world *world, struct store *store, const struct core_effect *effect)
{

	switch (effect->kind) {
	case CORE_EFFECT_SAVE_NODE:
		oracle_expects(world, leader_host_of(&effect->node.id), effect->node.next_seq);
		store->nodes[leader_host_of(&effect->node.id)] = effect->node;
		break;
	case CORE_EFFECT_SAVE_TEMPLATE:
		write_template(store, &effect->template_);
		break;
	case CORE_EFFECT_SAVE_SANDBOX:
		write_sandbox(world, store, &effect->sandbox);
		break;
	case CORE_EFFECT_POST_USAGE:
		oracle_posted(world, leader_host_of(&effect->usage.node), &effect->usage.record);
		break;
	case CORE_EFFECT_REPLY:
	case CORE_EFFECT_ADOPT_SANDBOX:
	case CORE_EFFECT_ADMITTING:
	case CORE_EFFECT_EPOCH_OVER:
	case CORE_EFFECT_WAKE:
	case CORE_EFFECT_ORDER:
	case CORE_EFFECT_ACK:
	case CORE_EFFECT_N:
		check_broken("a durable effect", __FILE__, __LINE__);
	}
}

void store_load(struct world *world, const struct store *store)
{
	struct core_event event;

	for (uint32_t i = 0; i < world->shape.tenants_n; i++) {
		event = (struct core_event){.kind = CORE_EVENT_LOAD_TENANT,
					    .tenant = store->tenants[i]};
		leader_step_once(world, &event);
	}
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		event = (struct core_event){.kind = CORE_EVENT_LOAD_NODE, .node = store->nodes[i]};
		leader_step_once(world, &event);
	}
	for (size_t i = 0; i < store->templates_n; i++) {
		event = (struct core_event){.kind = CORE_EVENT_LOAD_TEMPLATE,
					    .template_ = store->templates[i]};
		leader_step_once(world, &event);
	}
	for (size_t i = 0; i < store->sandboxes_n; i++) {
		if (store->sandboxes[i].state == SANDBOX_NONE ||
		    store->sandboxes[i].state == SANDBOX_ENDED)
			continue;
		event = (struct core_event){.kind = CORE_EVENT_LOAD_SANDBOX,
					    .sandbox = store->sandboxes[i]};
		leader_step_once(world, &event);
	}
}

void store_fill(struct world *world, struct store *store)
{
	for (uint32_t i = 0; i < world->shape.tenants_n; i++) {
		struct core_tenant *tenant = &store->tenants[i];
		tenant->id = tenant_id(i);
		snprintf(tenant->plan, sizeof(tenant->plan), "plan-%u", i);
		tenant->price_version = 1;
		tenant->concurrent_max = (uint32_t)world_between(world, 2, 12);
		tenant->vcpus_max = world_chance(world, 500000) ? 10 : UINT32_MAX;
		tenant->mem_mib_max = UINT64_MAX;
		tenant->session_max_s = 60;
	}
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		store->nodes[i].id = agent_id(i);
		store->nodes[i].next_seq = 1;
	}
}
