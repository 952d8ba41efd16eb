/* The world's tenants and nodes: what they ask, say and see.  world.c has its store and clock. */
#include "tests/sched_core/world.h"

#include "common/base/check.h"

#include <stdio.h>
#include <string.h>

struct id world_id(const char *text)
{
	struct id id = {0};

	snprintf(id.text, sizeof(id.text), "%s", text);
	return id;
}

/* ---- tenants ---- */

void world_tenant_set(struct world *world, const struct core_tenant *row)
{
	struct core_event event = {.kind = CORE_EVENT_TENANT_SET, .tenant = *row};
	uint32_t i = 0;

	while (i < world->tenant_n && !id_equal(&world->tenants[i].id, &row->id))
		i++;
	CHECK(i < WORLD_TENANTS);
	if (i == world->tenant_n)
		world->tenant_n++;
	world->tenants[i] = *row;
	world_step(world, &event);
}

void world_tenant(struct world *world, const char *id, uint32_t concurrent_max)
{
	struct core_tenant row = {.id = world_id(id),
				  .plan = "hobby",
				  .price_version = 1,
				  .concurrent_max = concurrent_max,
				  .vcpus_max = UINT32_MAX,
				  .mem_mib_max = UINT64_MAX,
				  .session_max_s = 3600};

	world_tenant_set(world, &row);
}

uint64_t world_create(struct world *world, const char *sandbox, const char *tenant,
		      const char *template_, uint32_t timeout_s)
{
	struct core_event event = {.kind = CORE_EVENT_CREATE};

	event.create.request = ++world->request;
	event.create.sandbox = world_id(sandbox);
	event.create.tenant = world_id(tenant);
	snprintf(event.create.template_, sizeof(event.create.template_), "%s", template_);
	event.create.timeout_s = timeout_s;
	world_step(world, &event);
	return world->request;
}

uint64_t world_kill(struct world *world, const char *sandbox, const char *tenant)
{
	struct core_event event = {.kind = CORE_EVENT_KILL};

	event.kill.request = ++world->request;
	event.kill.sandbox = world_id(sandbox);
	event.kill.tenant = world_id(tenant);
	event.kill.cause = CAUSE_REQUEST;
	world_step(world, &event);
	return world->request;
}

uint64_t world_timeout(struct world *world, enum core_event_kind kind, const char *sandbox,
		       const char *tenant, uint32_t timeout_s)
{
	struct core_event event = {.kind = kind};

	event.timeout.request = ++world->request;
	event.timeout.sandbox = world_id(sandbox);
	event.timeout.tenant = world_id(tenant);
	event.timeout.timeout_s = timeout_s;
	world_step(world, &event);
	return world->request;
}

uint64_t world_resume_cold(struct world *world, const char *sandbox, const char *tenant,
			   uint32_t timeout_s)
{
	struct core_event event = {.kind = CORE_EVENT_RESUME};

	event.timeout.request = ++world->request;
	event.timeout.sandbox = world_id(sandbox);
	event.timeout.tenant = world_id(tenant);
	event.timeout.timeout_s = timeout_s;
	event.timeout.cold = true;
	world_step(world, &event);
	return world->request;
}

uint64_t world_pause(struct world *world, const char *sandbox, const char *tenant)
{
	struct core_event event = {.kind = CORE_EVENT_PAUSE};

	event.pause.request = ++world->request;
	event.pause.sandbox = world_id(sandbox);
	event.pause.tenant = world_id(tenant);
	event.pause.how = WIRE_SAVE_PAUSE;
	world_step(world, &event);
	return world->request;
}

const struct world_reply *world_reply(const struct world *world, uint64_t request)
{
	const struct world_reply *answer = &world->replies[request];

	return answer->answers_n ? answer : NULL;
}

/* ---- nodes ---- */

struct world_node *world_find_node(struct world *world, const struct id *id)
{
	for (uint32_t i = 0; i < world->node_n; i++)
		if (id_equal(&world->nodes[i].id, id))
			return &world->nodes[i];
	CHECK(false);
	return NULL;
}

struct world_node *world_node(struct world *world, const char *id, uint32_t vcpus, uint64_t mem_mib,
			      uint64_t disk_mib, uint32_t sandboxes)
{
	struct world_node *node = &world->nodes[world->node_n++];
	struct core_event event = {.kind = CORE_EVENT_NODE_SET};

	CHECK(world->node_n <= WORLD_NODES);
	node->id = world_id(id);
	node->seq = 1;
	node->poll.templates = node->templates;
	node->poll.capacity.vcpus = vcpus;
	node->poll.capacity.mem_mib = mem_mib;
	node->poll.capacity.disk_mib = disk_mib;
	node->poll.capacity.sandboxes = sandboxes;
	event.node.id = node->id;
	snprintf(event.node.name, sizeof(event.node.name), "host of %s", id);
	world_step(world, &event);
	return node;
}

void world_offer(struct world_node *node, const char *name, uint32_t vcpus, uint32_t mem_mib,
		 uint32_t disk_mib, uint32_t warm_n)
{
	struct wire_template *template = node->templates;

	while (template <node->templates + node->poll.templates_n &&strcmp(template->name, name) !=
			 0)
		template ++;
	CHECK(template <node->templates + WORLD_TEMPLATES);
	if (template == node->templates + node->poll.templates_n)
		node->poll.templates_n++;
	snprintf(template->name, sizeof(template->name), "%s", name);
	template->vcpus = vcpus;
	template->mem_mib = mem_mib;
	template->disk_mib = disk_mib;
	template->warm_n = warm_n;
	template->ready = true;
}

void world_report(struct world *world, struct world_node *node)
{
	struct core_event event = {.kind = CORE_EVENT_NODE_REPORT};

	event.report.node = node->id;
	event.report.poll = &node->poll;
	world_step(world, &event);
}

void world_join(struct world *world, struct world_node *node)
{
	node->poll.epoch = world->epoch;
	node->poll.end_seq = node->seq;
	world_report(world, node);
}

bool world_is_joined(const struct world *world, const struct world_node *node)
{
	struct core_node_view view;

	CHECK(core_node_find(world->core, &node->id, &view));
	return view.joined;
}

void world_lost(struct world *world, struct world_node *node, uint64_t lost_below)
{
	struct core_event event = {.kind = CORE_EVENT_NODE_LOST};

	event.lost.node = node->id;
	event.lost.lost_below = lost_below;
	world_step(world, &event);
}

uint64_t world_lose(struct world *world, struct world_node *node)
{
	uint64_t lost_below = core_lost_below(world->core, &node->id);

	if (lost_below)
		world_lost(world, node, lost_below);
	return lost_below;
}

void world_node_event(struct world *world, struct world_node *node, enum core_event_kind kind)
{
	struct core_event event = {.kind = kind, .node_id = node->id};

	world_step(world, &event);
}

void world_fleet(struct world *world, uint32_t n)
{
	char id[16];

	world_tenant(world, "ten_a", 20);
	for (uint32_t i = 0; i < n; i++) {
		struct world_node *node;
		snprintf(id, sizeof(id), "nod_%u", i);
		node = world_node(world, id, 8, 8192, 81920, 8);
		world_offer(node, "base", 1, 512, 1024, 2);
		world_report(world, node);
	}
}

const struct wire_order *world_poll(struct world *world, struct world_node *node)
{
	world->woken[node - world->nodes] = false;
	world_node_event(world, node, CORE_EVENT_NODE_POLL);
	for (uint32_t i = 0; i < world->effects.n; i++)
		if (world->effects.items[i].kind == CORE_EFFECT_ORDER)
			return &world->effects.items[i].order.order;
	return NULL;
}

struct wire_record world_record(struct world *world, struct world_node *node,
				enum wire_record_kind kind, const char *sandbox, uint64_t attempt)
{
	struct wire_record record = {.kind = kind,
				     .seq = node->seq++,
				     .sandbox = world_id(sandbox),
				     .attempt = attempt,
				     .incarnation = 1,
				     .at_wall_ns = world->wall.ns};

	if (kind == WIRE_RECORD_REFUSED)
		record.refusal = REFUSAL_NODE_FULL;
	if (kind == WIRE_RECORD_ENDED)
		record.cause = CAUSE_TIMEOUT;
	return record;
}

struct wire_record world_started(struct world *world, struct world_node *node, const char *sandbox,
				 uint64_t attempt)
{
	struct wire_record record =
		world_record(world, node, WIRE_RECORD_STARTED, sandbox, attempt);

	record.tenant = world_id("ten_a");
	snprintf(record.plan, sizeof(record.plan), "pro");
	record.price_version = 3;
	snprintf(record.template, sizeof(record.template), "base");
	record.vcpus = 1;
	record.mem_mib = 512;
	record.disk_mib = 1024;
	record.end_wall_ns = world->wall.ns + 60 * NS_PER_S;
	return record;
}

void world_send(struct world *world, struct world_node *node, const struct wire_record *record)
{
	struct core_event event = {.kind = CORE_EVENT_RECORD};

	event.record.node = node->id;
	event.record.record = record;
	world_step(world, &event);
}

void world_say(struct world *world, struct world_node *node, enum wire_record_kind kind,
	       const char *sandbox, uint64_t attempt)
{
	struct wire_record record = world_record(world, node, kind, sandbox, attempt);

	world_send(world, node, &record);
}

/* ---- questions ---- */

const struct core_sandbox *world_find(const struct world *world, const char *sandbox)
{
	struct id id = world_id(sandbox);

	return core_sandbox_find(world->core, &id);
}

const struct core_sandbox *world_stored(const struct world *world, const char *sandbox)
{
	for (uint32_t i = 0; i < world->sandbox_n; i++)
		if (strcmp(world->sandboxes[i].id.text, sandbox) == 0)
			return &world->sandboxes[i];
	return NULL;
}

uint64_t world_run(struct world *world, const char *sandbox, uint32_t timeout_s)
{
	const struct core_sandbox *row;
	struct world_node *node;
	uint64_t attempt;

	world_create(world, sandbox, "ten_a", "base", timeout_s);
	row = world_find(world, sandbox);
	CHECK(row);
	attempt = row->attempt;
	node = world_find_node(world, &row->node);
	CHECK(world_poll(world, node));
	world_say(world, node, WIRE_RECORD_STARTED, sandbox, attempt);
	CHECK(world_find(world, sandbox)->state == SANDBOX_RUNNING);
	return attempt;
}

uint64_t world_used(const struct world *world, const struct world_node *node)
{
	struct core_node_view view;

	CHECK(core_node_find(world->core, &node->id, &view));
	return view.used.sandboxes;
}

uint32_t world_held(const struct world *world)
{
	struct id id = world_id("ten_a");
	struct core_tenant_view view;

	CHECK(core_tenant_find(world->core, &id, &view));
	return view.concurrent;
}

uint32_t world_effects(const struct world *world, enum core_effect_kind kind)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < world->effects.n; i++)
		n += world->effects.items[i].kind == kind;
	return n;
}
