/* The step: hands each event to whose matter it is.  And the memory that everything lives in. */
#include "scheduler/core/state.h"

#include <string.h>

/* ---- memory ---- */

struct layout {
	char *base; /* NULL: only count */
	size_t used;
};

/* The next bytes of the layout, aligned to a cache line. */
static void *lay(struct layout *layout, size_t bytes)
{
	void *at = layout->base ? layout->base + layout->used : NULL;

	layout->used += (bytes + 63) & ~(size_t)63;
	return at;
}

static size_t lay_out(struct core *core, const struct core_limits *limits, char *base)
{
	struct layout layout = {base, 0};
	size_t ranks = (size_t)limits->templates * PLACE_RANK_N * bitset_bytes(limits->nodes);
	struct core parts = {0};
	void *tenant_slots, *node_slots, *template_slots, *sandbox_slots;
	void *tenant_names, *node_names, *template_names, *sandbox_names;

	lay(&layout, sizeof(struct core));
	tenant_slots = lay(&layout, pool_bytes(limits->tenants));
	node_slots = lay(&layout, pool_bytes(limits->nodes));
	template_slots = lay(&layout, pool_bytes(limits->templates));
	sandbox_slots = lay(&layout, pool_bytes(limits->sandboxes));
	tenant_names = lay(&layout, index_bytes(limits->tenants));
	node_names = lay(&layout, index_bytes(limits->nodes));
	template_names = lay(&layout, index_bytes(limits->templates));
	sandbox_names = lay(&layout, index_bytes(limits->sandboxes));
	parts.tenants = lay(&layout, limits->tenants * sizeof(struct tenant));
	parts.nodes = lay(&layout, limits->nodes * sizeof(struct node));
	parts.templates = lay(&layout, limits->templates * sizeof(struct template_));
	parts.sandboxes = lay(&layout, limits->sandboxes * sizeof(struct sandbox));
	parts.rank_memory = lay(&layout, ranks);
	if (!core)
		return layout.used;
	*core = parts;
	pool_init(&core->tenant_pool, tenant_slots, limits->tenants);
	pool_init(&core->node_pool, node_slots, limits->nodes);
	pool_init(&core->template_pool, template_slots, limits->templates);
	pool_init(&core->sandbox_pool, sandbox_slots, limits->sandboxes);
	index_init(&core->tenant_index, tenant_names, limits->tenants, core->tenants,
		   sizeof(struct tenant));
	index_init(&core->node_index, node_names, limits->nodes, core->nodes, sizeof(struct node));
	index_init(&core->template_index, template_names, limits->templates, core->templates,
		   sizeof(struct template_));
	index_init(&core->sandbox_index, sandbox_names, limits->sandboxes, core->sandboxes,
		   sizeof(struct sandbox));
	return layout.used;
}

size_t core_size(const struct core_limits *limits)
{
	CHECK(limits->tenants && limits->nodes && limits->templates && limits->sandboxes);
	CHECK(limits->templates <= UINT16_MAX && limits->transfers_max <= CORE_TRANSFERS_MAX);
	return lay_out(NULL, limits, NULL);
}

struct core *core_init(void *memory, const struct core_limits *limits)
{
	struct core *core = memory;

	lay_out(core, limits, memory);
	core->limits = *limits;
	core->now.ns = INT64_MIN;
	list_init(&core->awake);
	list_init(&core->attempts);
	list_init(&core->copies);
	list_init(&core->copy_waits);
	list_init(&core->confirms);
	list_init(&core->pauses);
	list_init(&core->alive);
	list_init(&core->unsettled);
	list_init(&core->wanted);
	list_init(&core->everywhere);
	return core;
}

/* ---- effects ---- */

struct core_effect *effect_add(struct core *core, enum core_effect_kind kind)
{
	struct core_effect *effect;

	CHECK(core->out->n < CORE_EFFECTS_MAX);
	effect = &core->out->items[core->out->n++];
	memset(effect, 0, sizeof(*effect));
	effect->kind = kind;
	return effect;
}

uint32_t effects_left(const struct core *core)
{
	return CORE_EFFECTS_MAX - core->out->n;
}

/* A node that has not joined gets no orders, so that it need not be woken. */
void effect_wake(struct core *core, const struct node *node)
{
	if (node->joined)
		effect_add(core, CORE_EFFECT_WAKE)->node_id = node->row.id;
}

void effect_save_sandbox(struct core *core, const struct sandbox *sandbox)
{
	effect_add(core, CORE_EFFECT_SAVE_SANDBOX)->sandbox = sandbox->row;
}

void effect_save_node(struct core *core, const struct node *node)
{
	effect_add(core, CORE_EFFECT_SAVE_NODE)->node = node->row;
}

void effect_reply(struct core *core, uint64_t request, enum refusal refusal,
		  const struct sandbox *sandbox)
{
	struct core_effect *effect;

	if (!request)
		return;
	effect = effect_add(core, CORE_EFFECT_REPLY);
	effect->reply.request = request;
	effect->reply.refusal = refusal;
	effect->reply.found = sandbox != NULL;
	if (sandbox)
		effect->reply.sandbox = sandbox->row;
}

/* ---- finding ---- */

struct tenant *find_tenant(struct core *core, const char *id)
{
	uint32_t slot = index_find(&core->tenant_index, id);

	return slot == INDEX_NONE ? NULL : &core->tenants[slot];
}

struct node *find_node(struct core *core, const char *id)
{
	uint32_t slot = index_find(&core->node_index, id);

	return slot == INDEX_NONE ? NULL : &core->nodes[slot];
}

struct template_ *find_template(struct core *core, const char *name)
{
	uint32_t slot = index_find(&core->template_index, name);

	return slot == INDEX_NONE ? NULL : &core->templates[slot];
}

struct sandbox *find_sandbox(struct core *core, const char *id)
{
	uint32_t slot = index_find(&core->sandbox_index, id);

	return slot == INDEX_NONE ? NULL : &core->sandboxes[slot];
}

/* ---- events about what the fleet consists of ---- */

static void tenant_set(struct core *core, const struct core_tenant *row)
{
	struct tenant *tenant = find_tenant(core, row->id.text);
	uint32_t slot;

	if (tenant) {
		tenant->row = *row;
		return;
	}
	slot = pool_take(&core->tenant_pool);
	if (slot == POOL_NONE) {
		core->ignored_n++;
		return;
	}
	core->tenants[slot].row = *row;
	index_add(&core->tenant_index, slot);
}

static struct node *node_add(struct core *core, const struct core_node *row)
{
	uint32_t slot = pool_take(&core->node_pool);
	struct node *node;

	if (slot == POOL_NONE) {
		core->ignored_n++;
		return NULL;
	}
	node = &core->nodes[slot];
	node->row = *row;
	node->fresh = true;
	if (node->row.next_seq == 0)
		node->row.next_seq = 1;
	list_init(&node->sandboxes);
	list_init(&node->waiting);
	list_init(&node->sent);
	index_add(&core->node_index, slot);
	return node;
}

static void node_set(struct core *core, const struct core_node *row)
{
	struct node *node = find_node(core, row->id.text);

	if (!node) {
		struct core_node fresh = *row;
		fresh.capacity = (struct wire_room){0};
		fresh.next_seq = 1;
		node = node_add(core, &fresh);
		if (!node)
			return;
		join_add(core, node);
	}
	memcpy(node->row.name, row->name, sizeof(node->row.name));
	node->row.cordoned = row->cordoned;
	place_refresh(core, node);
	effect_save_node(core, node);
	if (row->lost_below > node->row.lost_below)
		lease_lose(core, node, row->lost_below);
}

static void template_load(struct core *core, const struct core_template *row)
{
	if (find_template(core, row->name) || !place_add_template(core, row))
		core->ignored_n++;
}

static bool room_equal(const struct wire_room *a, const struct wire_room *b)
{
	return a->vcpus == b->vcpus && a->mem_mib == b->mem_mib && a->disk_mib == b->disk_mib &&
	       a->sandboxes == b->sandboxes;
}

static void node_report(struct core *core, struct node *node, const struct wire_poll *poll)
{
	bool same = room_equal(&node->row.capacity, &poll->capacity);

	dispatch_report(core, node);
	lease_wake(core, node);
	place_report(core, node, poll);
	if (!same)
		effect_save_node(core, node);
	join_report(core, node, poll);
	join_refresh(core, node);
	transfer_report(core, node, poll);
}

/* ---- the step ---- */

static const struct id *event_node(const struct core_event *event)
{
	switch (event->kind) {
	case CORE_EVENT_NODE_SESSION:
	case CORE_EVENT_NODE_POLL:
	case CORE_EVENT_NODE_SILENT:
		return &event->node_id;
	case CORE_EVENT_NODE_LOST:
		return &event->lost.node;
	case CORE_EVENT_NODE_REPORT:
		return &event->report.node;
	case CORE_EVENT_RECORD:
		return &event->record.node;
	case CORE_EVENT_LOAD_TENANT:
	case CORE_EVENT_LOAD_NODE:
	case CORE_EVENT_LOAD_TEMPLATE:
	case CORE_EVENT_LOAD_SANDBOX:
	case CORE_EVENT_BOOT:
	case CORE_EVENT_LEAD:
	case CORE_EVENT_TENANT_SET:
	case CORE_EVENT_NODE_SET:
	case CORE_EVENT_CREATE:
	case CORE_EVENT_KILL:
	case CORE_EVENT_PAUSE:
	case CORE_EVENT_SNAPSHOT:
	case CORE_EVENT_DROP_SNAPSHOT:
	case CORE_EVENT_RESUME:
	case CORE_EVENT_SET_TIMEOUT:
	case CORE_EVENT_EXTEND:
	case CORE_EVENT_SET_NETWORK:
	case CORE_EVENT_TICK:
	case CORE_EVENT_N:
		return NULL;
	}
	return NULL;
}

static void step_of_node(struct core *core, struct node *node, const struct core_event *event)
{
	if (event->kind == CORE_EVENT_NODE_SESSION) {
		dispatch_session(node);
		join_session(node);
	} else if (event->kind == CORE_EVENT_NODE_POLL)
		dispatch_poll(core, node);
	else if (event->kind == CORE_EVENT_NODE_SILENT)
		lease_silence(core, node);
	else if (event->kind == CORE_EVENT_NODE_LOST)
		lease_lose(core, node, event->lost.lost_below);
	else if (event->kind == CORE_EVENT_NODE_REPORT)
		node_report(core, node, event->report.poll);
	else
		usage_record(core, node, event);
}

static void step_request(struct core *core, const struct core_event *event)
{
	enum refusal refusal = join_refuses(core);

	if (event->kind == CORE_EVENT_CREATE) {
		if (refusal == REFUSAL_NONE)
			admit_create(core, event);
		else
			effect_reply(core, event->create.request, refusal, NULL);
	} else if (event->kind == CORE_EVENT_KILL) {
		/* Where nobody waits, nobody would know to repeat it. */
		if (refusal == REFUSAL_NONE ||
		    (refusal == REFUSAL_TAKING_OVER && !event->kill.request))
			admit_kill(core, event);
		else
			effect_reply(core, event->kill.request, refusal, NULL);
	} else if (event->kind == CORE_EVENT_PAUSE) {
		if (refusal == REFUSAL_NONE)
			admit_pause(core, event);
		else
			effect_reply(core, event->pause.request, refusal, NULL);
	} else if (event->kind == CORE_EVENT_SNAPSHOT) {
		if (refusal == REFUSAL_NONE)
			admit_snapshot(core, event);
		else
			effect_reply(core, event->snapshot.request, refusal, NULL);
	} else if (event->kind == CORE_EVENT_DROP_SNAPSHOT) {
		if (refusal == REFUSAL_NONE)
			admit_drop(core, event);
		else
			effect_reply(core, event->kill.request, refusal, NULL);
	} else if (refusal != REFUSAL_NONE) {
		effect_reply(core, event->timeout.request, refusal, NULL);
	} else if (event->kind == CORE_EVENT_RESUME) {
		admit_resume(core, event);
	} else if (event->kind == CORE_EVENT_SET_NETWORK) {
		admit_network(core, event);
	} else {
		admit_timeout(core, event, event->kind == CORE_EVENT_EXTEND);
	}
}

static void tick(struct core *core)
{
	lease_tick(core);
	settle_tick(core);
	dispatch_tick(core);
	transfer_tick(core);
}

static void step_of_fleet(struct core *core, const struct core_event *event)
{
	switch (event->kind) {
	case CORE_EVENT_LOAD_TENANT:
	case CORE_EVENT_TENANT_SET:
		tenant_set(core, &event->tenant);
		break;
	case CORE_EVENT_LOAD_NODE:
		node_add(core, &event->node);
		break;
	case CORE_EVENT_LOAD_TEMPLATE:
		template_load(core, &event->template_);
		break;
	case CORE_EVENT_LOAD_SANDBOX:
		sandbox_load(core, &event->sandbox);
		break;
	case CORE_EVENT_BOOT:
		join_boot(core, event);
		break;
	case CORE_EVENT_LEAD:
		join_lead(core, event->lead.epoch);
		break;
	case CORE_EVENT_NODE_SET:
		node_set(core, &event->node);
		break;
	case CORE_EVENT_CREATE:
	case CORE_EVENT_KILL:
	case CORE_EVENT_PAUSE:
	case CORE_EVENT_SNAPSHOT:
	case CORE_EVENT_DROP_SNAPSHOT:
	case CORE_EVENT_RESUME:
	case CORE_EVENT_SET_TIMEOUT:
	case CORE_EVENT_EXTEND:
	case CORE_EVENT_SET_NETWORK:
		step_request(core, event);
		break;
	case CORE_EVENT_TICK:
		tick(core);
		break;
	case CORE_EVENT_NODE_SESSION:
	case CORE_EVENT_NODE_POLL:
	case CORE_EVENT_NODE_SILENT:
	case CORE_EVENT_NODE_LOST:
	case CORE_EVENT_NODE_REPORT:
	case CORE_EVENT_RECORD:
	case CORE_EVENT_N:
		check_broken("an event of the fleet", __FILE__, __LINE__);
	}
}

void core_step(struct core *core, const struct core_event *event, struct core_effects *out_effects)
{
	const struct id *node_id = event_node(event);
	struct node *node;

	CHECK(core->booted == (event->kind > CORE_EVENT_BOOT));
	CHECK(event->now.ns >= core->now.ns);
	core->now = event->now;
	core->wall = event->wall;
	core->out = out_effects;
	out_effects->n = 0;
	if (!node_id) {
		step_of_fleet(core, event);
	} else {
		node = find_node(core, node_id->text);
		if (node)
			step_of_node(core, node, event);
		else
			core->ignored_n++;
	}
	join_admit(core);
	core->out = NULL;
}
