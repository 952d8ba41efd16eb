/* A scheduler's store, as it is on its disk. */
#include "tests/sim/replica_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/oracle.h"
#include "tests/sim/tenants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The row of this number, zeroed if there was none. */
static struct row *row_at(struct row **rows, size_t *rows_n, size_t *cap, size_t n)
{
	if (n >= *cap) {
		*cap = 2 * n + 64;
		*rows = realloc(*rows, *cap * sizeof(**rows));
		CHECK(*rows);
	}
	while (*rows_n <= n)
		memset(&(*rows)[(*rows_n)++], 0, sizeof(**rows));
	return &(*rows)[n];
}

/* The last one of that id; of what has ended the place is used again. */
static struct row *copy_at(struct store *store, const struct id *id)
{
	size_t free_ = store->copies_n;

	for (size_t i = 0; i < store->copies_n; i++) {
		if (id_equal(&store->copies[i].it.id, id))
			return &store->copies[i];
		if (store->copies[i].it.state == SANDBOX_ENDED)
			free_ = i;
	}
	return row_at(&store->copies, &store->copies_n, &store->copies_cap, free_);
}

static void write_sandbox(struct world *world, struct replica *replica, const struct item *item)
{
	const struct core_sandbox *row = &item->effect.sandbox;
	struct store *store = &replica->store;
	size_t n = sandbox_number(&row->id);
	bool adopts = item->effect.kind == CORE_EFFECT_ADOPT_SANDBOX;

	if (is_copy_id(&row->id)) {
		copy_at(store, &row->id)->it = *row;
		return;
	}
	row_at(&store->rows, &store->rows_n, &store->rows_cap, n);
	world->totals.adopted += adopts;
	if (adopts)
		oracle_adopted(world, replica->number, row, item->key);
	oracle_saved(world, replica->number, adopts, &store->rows[n].it, row);
	if (store->rows[n].it.state == SANDBOX_NONE)
		store->rows[n].key = item->key;
	/* A create that was refused frees its key. */
	if (row->refusal != REFUSAL_NONE)
		store->rows[n].key = 0;
	if (item->rules)
		store->rows[n].rules = item->rules;
	if (item->next_rules)
		store->rows[n].next_rules = item->next_rules;
	/* Nothing is to be confirmed any more. */
	if (row->deadline_known == row->deadline_version)
		store->rows[n].next_rules = 0;
	store->rows[n].it = *row;
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

/* What the core knows of a node; what was decided of it is written with the decision. */
static void write_node(struct world *world, struct replica *replica, const struct core_node *row)
{
	uint32_t host = replica_host_of(&row->id);
	struct core_node *node = &replica->store.nodes[host];

	oracle_expects(world, replica->number, host, row->next_seq);
	node->next_seq = row->next_seq;
	node->capacity = row->capacity;
	if (replica_is_alone(world))
		node->lost_below = row->lost_below;
}

static void write_decision(const struct world *world, struct store *store, const struct item *item)
{
	const struct decision *decision = &item->decision;
	struct core_tenant *tenant = &store->tenants[decision->n % TENANTS_MAX];
	struct core_node *node = &store->nodes[decision->n % HOSTS_MAX];

	if (decision->kind == DECISION_TENANT) {
		tenant->concurrent_max = decision->concurrent_max;
		tenant->credit_exhausted = decision->credit_exhausted;
	} else {
		node->cordoned = decision->cordoned;
		/* Alone, the core still asks whether it may be: then it says so itself. */
		if (!replica_is_alone(world) && decision->lost_below > node->lost_below)
			node->lost_below = decision->lost_below;
	}
	if (item->revision > store->revision)
		store->revision = item->revision;
}

bool store_takes(const void *item_)
{
	const struct item *item = item_;

	return item->kind == ITEM_DECIDED ||
	       (item->kind == ITEM_EFFECT && core_effect_is_durable(item->effect.kind));
}

void store_write_item(struct world *world, void *owner, const void *item_)
{
	struct replica *replica = owner;
	const struct item *item = item_;
	const struct core_effect *effect = &item->effect;

	if (item->kind == ITEM_DECIDED) {
		write_decision(world, &replica->store, item);
		return;
	}
	switch (effect->kind) {
	case CORE_EFFECT_SAVE_NODE:
		write_node(world, replica, &effect->node);
		break;
	case CORE_EFFECT_SAVE_TEMPLATE:
		write_template(&replica->store, &effect->template_);
		break;
	case CORE_EFFECT_ADOPT_SANDBOX:
	case CORE_EFFECT_SAVE_SANDBOX:
		write_sandbox(world, replica, item);
		break;
	case CORE_EFFECT_POST_USAGE:
		oracle_posted(world, replica->number, replica_host_of(&effect->usage.node),
			      &effect->usage.record);
		break;
	case CORE_EFFECT_REPLY:
	case CORE_EFFECT_ADMITTING:
	case CORE_EFFECT_EPOCH_OVER:
	case CORE_EFFECT_WAKE:
	case CORE_EFFECT_ORDER:
	case CORE_EFFECT_ACK:
	case CORE_EFFECT_N:
		check_broken("a durable effect", __FILE__, __LINE__);
	}
}

static void load_rows(struct world *world, struct replica *replica, const struct row *rows,
		      size_t rows_n)
{
	for (size_t i = 0; i < rows_n; i++) {
		const struct core_sandbox *row = &rows[i].it;
		struct core_event event = {.kind = CORE_EVENT_LOAD_SANDBOX, .sandbox = *row};
		if (row->state != SANDBOX_NONE && row->state != SANDBOX_ENDED)
			replica_step_once(world, replica, &event);
	}
}

void store_load(struct world *world, struct replica *replica)
{
	const struct store *store = &replica->store;
	struct core_event event;

	for (uint32_t i = 0; i < world->shape.tenants_n; i++) {
		event = (struct core_event){.kind = CORE_EVENT_LOAD_TENANT,
					    .tenant = store->tenants[i]};
		replica_step_once(world, replica, &event);
	}
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		event = (struct core_event){.kind = CORE_EVENT_LOAD_NODE, .node = store->nodes[i]};
		replica_step_once(world, replica, &event);
	}
	for (size_t i = 0; i < store->templates_n; i++) {
		event = (struct core_event){.kind = CORE_EVENT_LOAD_TEMPLATE,
					    .template_ = store->templates[i]};
		replica_step_once(world, replica, &event);
	}
	load_rows(world, replica, store->rows, store->rows_n);
	load_rows(world, replica, store->copies, store->copies_n);
}

const struct row *store_find_key(const struct store *store, uint32_t key)
{
	const struct row *newest = NULL;

	for (size_t i = 0; i < store->rows_n; i++) {
		const struct row *row = &store->rows[i];
		if (row->it.state != SANDBOX_NONE && row->key == key &&
		    (!newest || row->it.attempt > newest->it.attempt))
			newest = row;
	}
	return newest;
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
		if (world->shape.cap) {
			tenant->concurrent_max = world->shape.cap;
			tenant->vcpus_max = UINT32_MAX;
		}
		tenant->mem_mib_max = UINT64_MAX;
		tenant->session_max_s = 60;
	}
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		store->nodes[i].id = agent_id(i);
		store->nodes[i].next_seq = 1;
	}
}
