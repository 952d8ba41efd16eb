/* What can be asked of the core without changing it. */
#include "scheduler/core/state.h"

#include <string.h>

/* ---- names ---- */

const char *core_event_name(enum core_event_kind kind)
{
	static const char *const names[] = {
#define EVENT(name, member, meaning) #name,
#include "scheduler/core/events.def"
#undef EVENT
	};

	CHECK(kind < CORE_EVENT_N);
	return names[kind];
}

static const struct {
	const char *name;
	bool durable;
} effects[] = {
#define EFFECT(name, member, durable, meaning) {#name, durable},
#include "scheduler/core/effects.def"
#undef EFFECT
};

const char *core_effect_name(enum core_effect_kind kind)
{
	CHECK(kind < CORE_EFFECT_N);
	return effects[kind].name;
}

bool core_effect_is_durable(enum core_effect_kind kind)
{
	CHECK(kind < CORE_EFFECT_N);
	return effects[kind].durable;
}

const char *sandbox_state_name(enum sandbox_state state)
{
	static const char *const names[] = {
#define STATE(name, text) text,
#include "scheduler/core/sandbox_states.def"
	};

	CHECK(state < SANDBOX_STATE_N);
	return names[state];
}

/* ---- questions ---- */

static void sooner(int64_t *first_ns, struct mono since, int64_t patience_ms)
{
	int64_t at_ns = mono_add_ms(since, patience_ms).ns;

	if (at_ns < *first_ns)
		*first_ns = at_ns;
}

bool core_next_deadline(const struct core *core, struct mono *out_at)
{
	const struct list *node = list_first(&core->awake);
	const struct list *attempt = list_first(&core->attempts);
	const struct list *copy_wait = list_first(&core->copy_waits);
	const struct list *confirm = list_first(&core->confirms);
	const struct list *pause = list_first(&core->pauses);
	const struct list *alive = list_first(&core->alive);
	int64_t first_ns = INT64_MAX;
	struct mono transfer;

	if (!core->booted)
		return false;
	if (node)
		sooner(&first_ns, LIST_OBJECT(node, struct node, awake_link)->heard_at,
		       CORE_SILENT_MS);
	if (attempt)
		sooner(&first_ns, LIST_OBJECT(attempt, struct sandbox, timer_link)->timer_at,
		       CORE_ATTEMPT_MS);
	if (copy_wait)
		sooner(&first_ns, LIST_OBJECT(copy_wait, struct sandbox, timer_link)->timer_at,
		       CORE_COPY_WAIT_MS);
	if (confirm)
		sooner(&first_ns, LIST_OBJECT(confirm, struct sandbox, timer_link)->timer_at,
		       CORE_KILL_REPLY_MS);
	if (pause)
		sooner(&first_ns, LIST_OBJECT(pause, struct sandbox, timer_link)->timer_at,
		       CORE_PAUSE_REPLY_MS);
	if (alive)
		sooner(&first_ns, LIST_OBJECT(alive, struct node, alive_link)->counts_from,
		       lease_patience_ms(core));
	if (transfer_next_deadline(core, &transfer))
		sooner(&first_ns, transfer, 0);
	if (list_first(&core->unsettled))
		sooner(&first_ns, core->now, 0);
	if (first_ns == INT64_MAX)
		return false;
	out_at->ns = first_ns;
	return true;
}

const struct core_sandbox *core_sandbox_find(const struct core *core, const struct id *id)
{
	uint32_t slot = index_find(&core->sandbox_index, id->text);

	return slot == INDEX_NONE ? NULL : &core->sandboxes[slot].row;
}

const struct core_sandbox *core_sandbox_next(const struct core *core, uint32_t *cursor)
{
	uint32_t slot = pool_next(&core->sandbox_pool, *cursor);

	if (slot == POOL_NONE)
		return NULL;
	*cursor = slot + 1;
	return &core->sandboxes[slot].row;
}

static uint32_t list_count(const struct list *head)
{
	uint32_t n = 0;

	for (const struct list *link = list_first(head); link; link = list_next(head, link))
		n++;
	return n;
}

static void view_node(const struct core *core, const struct node *node,
		      struct core_node_view *out_view)
{
	memset(out_view, 0, sizeof(*out_view));
	out_view->row = node->row;
	out_view->used = node->used;
	out_view->orders_waiting_n = list_count(&node->waiting);
	out_view->orders_sent_n = list_count(&node->sent);
	out_view->heard_at = node->heard_at;
	out_view->awake = node->awake;
	out_view->joined = node->joined;
	out_view->lease_ended = core->limits.lease_ms && lease_may_lose(core, node);
	out_view->lost = lease_is_lost(node);
	out_view->leaving = node->leaving;
	out_view->lost_below = node->row.lost_below;
	memcpy(out_view->trouble, node->trouble, sizeof(out_view->trouble));
	out_view->gaps_n = node->gaps_n;
	out_view->template_n = node->offer_n;
	for (uint32_t i = 0; i < node->offer_n; i++) {
		const struct offer *offer = &node->offers[i];
		out_view->templates[i].template_ = &core->templates[offer->template_].row;
		out_view->templates[i].warm_n = offer->warm_n;
		out_view->templates[i].current = offer->current;
	}
}

bool core_node_find(const struct core *core, const struct id *id, struct core_node_view *out_view)
{
	uint32_t slot = index_find(&core->node_index, id->text);

	if (slot == INDEX_NONE)
		return false;
	view_node(core, &core->nodes[slot], out_view);
	return true;
}

bool core_node_next(const struct core *core, uint32_t *cursor, struct core_node_view *out_view)
{
	uint32_t slot = pool_next(&core->node_pool, *cursor);

	if (slot == POOL_NONE)
		return false;
	*cursor = slot + 1;
	view_node(core, &core->nodes[slot], out_view);
	return true;
}

bool core_tenant_find(const struct core *core, const struct id *id,
		      struct core_tenant_view *out_view)
{
	uint32_t slot = index_find(&core->tenant_index, id->text);
	const struct tenant *tenant;

	if (slot == INDEX_NONE)
		return false;
	tenant = &core->tenants[slot];
	out_view->row = tenant->row;
	out_view->concurrent = tenant->concurrent;
	out_view->vcpus = tenant->vcpus;
	out_view->mem_mib = tenant->mem_mib;
	return true;
}

const struct core_template *core_template_find(const struct core *core, const char *name)
{
	uint32_t slot = index_find(&core->template_index, name);

	return slot == INDEX_NONE ? NULL : &core->templates[slot].row;
}

const struct core_template *core_template_next(const struct core *core, uint32_t *cursor)
{
	uint32_t slot = pool_next(&core->template_pool, *cursor);

	if (slot == POOL_NONE)
		return NULL;
	*cursor = slot + 1;
	return &core->templates[slot].row;
}

void core_count(const struct core *core, struct core_counts *out_counts)
{
	*out_counts = (struct core_counts){
		.tenants = core->tenant_pool.taken_n,
		.nodes = core->node_pool.taken_n,
		.nodes_awake = list_count(&core->awake),
		.templates = core->template_pool.taken_n,
		.sandboxes = core->sandbox_pool.taken_n,
		.running = core->state_n[SANDBOX_RUNNING] + core->state_n[SANDBOX_PAUSING],
		.placing = core->state_n[SANDBOX_PLACING] + core->state_n[SANDBOX_RESUMING],
		.ending = core->state_n[SANDBOX_ENDING] + core->state_n[SANDBOX_DISCARDING],
		.paused = core->state_n[SANDBOX_PAUSED],
		.snapshots = core->state_n[SANDBOX_SNAPPING] + core->state_n[SANDBOX_KEPT],
		.transfers = core->transfers_n,
		.transfers_done = core->transfers_done_n,
		.transfers_failed = core->transfers_failed_n,
		.ignored = core->ignored_n,
	};
	for (uint32_t at = pool_next(&core->node_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->node_pool, at + 1)) {
		out_counts->nodes_joined += core->nodes[at].joined;
		out_counts->nodes_lost += lease_is_lost(&core->nodes[at]);
	}
}

static void explain_node(const struct node *node, const struct template_ *template_, uint32_t slot,
			 struct core_explanation *out)
{
	const struct wire_room *capacity = &node->row.capacity, *used = &node->used;
	const struct core_template *shape = template_ ? &template_->row : NULL;
	bool offered = false;

	for (uint32_t i = 0; i < node->offer_n; i++)
		offered = offered || (node->offers[i].template_ == slot && node->offers[i].current);
	if (node->row.cordoned)
		out->cordoned_n++;
	else if (!node->awake)
		out->silent_n++;
	else if (!node->joined)
		out->joining_n++;
	else if (!shape || !offered)
		out->no_template_n++;
	else if (node->refusing)
		out->refusing_n++;
	else if (node->leaving)
		out->leaving_n++;
	else if (node->trouble[0])
		out->trouble_n++;
	else if (lease_is_lost(node))
		out->lost_n++;
	else if (used->vcpus + shape->vcpus > capacity->vcpus)
		out->vcpus_n++;
	else if (used->mem_mib + shape->mem_mib > capacity->mem_mib)
		out->memory_n++;
	else if (shape->disk_mib && used->disk_mib + shape->disk_mib > capacity->disk_mib)
		out->disk_n++;
	else if (used->sandboxes + 1 > capacity->sandboxes)
		out->count_n++;
	else
		out->fits_n++;
}

void core_explain(const struct core *core, const char *template_,
		  struct core_explanation *out_explanation)
{
	uint32_t slot = index_find(&core->template_index, template_);

	memset(out_explanation, 0, sizeof(*out_explanation));
	for (uint32_t at = pool_next(&core->node_pool, 0); at != POOL_NONE;
	     at = pool_next(&core->node_pool, at + 1))
		explain_node(&core->nodes[at], slot == INDEX_NONE ? NULL : &core->templates[slot],
			     slot, out_explanation);
}
