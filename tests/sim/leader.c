#include "tests/sim/leader.h"

#include "proto/pump.h"
#include "tests/sim/agent.h"
#include "tests/sim/oracle.h"
#include "tests/sim/tenants.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_MS = 500, ANSWER_BYTES_MAX = 1 << 18, POLLS_MAX = 4096 };

/* A poll that is parked, or was. */
struct poll_name {
	uint64_t session;
	uint32_t id;
};

/* What waits in a round: an effect of the core; or the end of the orders of an answer. */
struct item {
	bool is_answer;
	uint32_t host; /* of an answer; so are the next two */
	uint64_t token;
	bool resync;
	struct core_effect effect;
};

struct host_end {
	struct pump_server pump;
	uint64_t session; /* 0: none */
	struct pump_batch batch;
	uint64_t timer;
};

struct leader {
	uint64_t life;
	struct store store;
	struct core_limits limits;
	void *memory;
	size_t memory_n;
	struct core *core; /* NULL: down, or nothing can be written */
	struct rounds rounds;
	struct host_end hosts[HOSTS_MAX];
	uint64_t last_session;
	struct poll_name polls[POLLS_MAX]; /* of token t at t % POLLS_MAX */
	uint64_t last_token;
	uint64_t timer;
	int64_t booted_ns;
};

static void start(struct world *world, const struct call *call);
static void pump_step(struct world *world, uint32_t host, struct pump_server_event *event);

static struct mono mono_now(const struct world *world)
{
	return (struct mono){world->now_ns + S(1000)};
}

static struct wall wall_now(const struct world *world)
{
	return (struct wall){world->now_ns + S(1700000000)};
}

static uint32_t host_of(const struct id *id)
{
	return (uint32_t)strtoul(id->text + 4, NULL, 10);
}

/* ---- the store ---- */

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

static bool is_durable(const void *item)
{
	const struct item *it = item;

	return !it->is_answer && core_effect_is_durable(it->effect.kind);
}

static void store_write(struct world *world, void *owner, const void *item)
{
	const struct core_effect *effect = &((const struct item *)item)->effect;
	struct leader *leader = owner;

	switch (effect->kind) {
	case CORE_EFFECT_SAVE_NODE:
		oracle_expects(world, host_of(&effect->node.id), effect->node.next_seq);
		leader->store.nodes[host_of(&effect->node.id)] = effect->node;
		break;
	case CORE_EFFECT_SAVE_TEMPLATE:
		write_template(&leader->store, &effect->template_);
		break;
	case CORE_EFFECT_SAVE_SANDBOX:
		write_sandbox(world, &leader->store, &effect->sandbox);
		break;
	case CORE_EFFECT_POST_USAGE:
		oracle_posted(world, host_of(&effect->usage.node), &effect->usage.record);
		break;
	default:
		CHECK(!"a durable effect");
	}
}

/* ---- what the core wants told ---- */

static void send_answer(struct world *world, struct leader *leader, const struct item *item)
{
	static uint8_t buffer[sizeof(struct message) + ANSWER_BYTES_MAX];
	struct message *message = (struct message *)(void *)buffer;
	struct host_end *end = &leader->hosts[item->host];
	const struct poll_name *poll = &leader->polls[item->token % POLLS_MAX];
	struct wire_answer answer = {
		.epoch = leader->store.epoch,
		.next_seq = end->pump.next_seq,
		.resync = item->resync,
		.orders = end->batch.orders,
		.orders_n = end->batch.n,
	};
	struct err err;

	memset(message, 0, sizeof(*message));
	message->kind = MESSAGE_ANSWER;
	message->host = item->host;
	message->session = poll->session;
	message->poll_id = poll->id;
	if (wire_answer_encode(&answer, message->body, ANSWER_BYTES_MAX, &message->body_n, &err))
		world_fail(world, "an answer cannot be written: %s", err.text);
	world_say(world, "leader answers poll %u of host %u: %zu orders, next %" PRIu64, poll->id,
		  item->host, answer.orders_n, answer.next_seq);
	oracle_acknowledged(world, item->host, answer.next_seq);
	end->batch.n = end->batch.bytes = 0;
	net_send(world, message);
}

static void carry_out(struct world *world, void *owner, const void *item_)
{
	const struct item *item = item_;
	const struct core_effect *effect = &item->effect;
	struct pump_server_event event = {.kind = PUMP_SERVER_WAKE};
	struct leader *leader = owner;

	if (item->is_answer) {
		send_answer(world, leader, item);
		return;
	}
	switch (effect->kind) {
	case CORE_EFFECT_REPLY:
		tenants_answer(world, effect);
		break;
	case CORE_EFFECT_WAKE:
		pump_step(world, host_of(&effect->node_id), &event);
		break;
	case CORE_EFFECT_ORDER:
		/* What does not fit comes again by itself. */
		pump_batch_add(&leader->hosts[host_of(&effect->order.node)].batch,
			       &effect->order.order);
		break;
	case CORE_EFFECT_ACK:
		event.kind = PUMP_SERVER_DURABLE;
		event.next_seq = effect->ack.next_seq;
		event.resync = effect->ack.resync;
		pump_step(world, host_of(&effect->ack.node), &event);
		break;
	default:
		CHECK(!"an effect to be told");
	}
}

static void say_effect(struct world *world, const struct core_effect *effect)
{
	const struct core_sandbox *row = &effect->sandbox;

	switch (effect->kind) {
	case CORE_EFFECT_SAVE_SANDBOX:
		world_say(world,
			  "leader   -> SANDBOX %s %s on %s attempt %" PRIx64
			  " refusal %d cause %d dv %" PRIu64 "/%" PRIu64 " end %" PRId64,
			  row->id.text + 14, sandbox_state_name(row->state), row->node.text + 22,
			  row->attempt, (int)row->refusal, (int)row->cause, row->deadline_known,
			  row->deadline_version, row->end_at.ns);
		break;
	case CORE_EFFECT_SAVE_NODE:
		world_say(world, "leader   -> NODE %s next %" PRIu64, effect->node.id.text + 22,
			  effect->node.next_seq);
		break;
	case CORE_EFFECT_POST_USAGE:
		world_say(world, "leader   -> USAGE %s seq %" PRIu64 " %" PRIu64 "..%" PRIu64,
			  effect->usage.node.text + 22, effect->usage.record.seq,
			  effect->usage.record.from_ms, effect->usage.record.to_ms);
		break;
	case CORE_EFFECT_REPLY:
		world_say(world, "leader   -> REPLY %" PRIu64 " refusal %d", effect->reply.request,
			  (int)effect->reply.refusal);
		break;
	case CORE_EFFECT_ORDER:
		world_say(world, "leader   -> ORDER %s kind %d attempt %" PRIx64,
			  effect->order.node.text + 22, (int)effect->order.order.kind,
			  effect->order.order.attempt);
		break;
	default:
		world_say(world, "leader   -> %s", core_effect_name(effect->kind));
	}
}

/* ---- stepping ---- */

static void step(struct world *world, struct leader *leader, struct core_event *event)
{
	static struct core_effects effects;

	event->now = mono_now(world);
	event->wall = wall_now(world);
	world_say(world, "leader %s", core_event_name(event->kind));
	core_step(leader->core, event, &effects);
	if (world_verifies)
		core_check(leader->core);
	for (uint32_t i = 0; i < effects.n; i++) {
		struct item item = {.effect = effects.items[i]};
		say_effect(world, &effects.items[i]);
		rounds_add(world, &leader->rounds, &item);
	}
}

static void on_timer(struct world *world, const struct call *call)
{
	struct core_event event = {.kind = CORE_EVENT_TICK};

	if (call->life == world->leader->life && call->a == world->leader->timer)
		leader_step(world, &event);
}

static void set_timer(struct world *world, struct leader *leader)
{
	struct call call = {.fn = on_timer, .life = leader->life, .a = ++leader->timer};
	struct mono now = mono_now(world), at;

	if (core_next_deadline(leader->core, &at))
		world_plan(world, at.ns > now.ns ? at.ns - now.ns : 0, call);
}

void leader_step(struct world *world, struct core_event *event)
{
	struct leader *leader = world->leader;
	uint64_t life = leader->life;

	if (!leader->core)
		return;
	step(world, leader, event);
	rounds_flush(world, &leader->rounds);
	if (leader->life == life)
		set_timer(world, leader);
}

bool leader_request(struct world *world, struct core_event *event)
{
	if (!world->leader->core)
		return false;
	leader_step(world, event);
	return true;
}

/* ---- polls ---- */

static void on_pump_timer(struct world *world, const struct call *call)
{
	struct pump_server_event event = {.kind = PUMP_SERVER_TICK};
	struct leader *leader = world->leader;

	if (call->life == leader->life && call->a == leader->hosts[call->host].timer)
		pump_step(world, call->host, &event);
}

static void pump_step(struct world *world, uint32_t host, struct pump_server_event *event)
{
	struct core_event poll = {.kind = CORE_EVENT_NODE_POLL, .node_id = agent_id(host)};
	struct leader *leader = world->leader;
	struct call call = {.fn = on_pump_timer, .host = host, .life = leader->life};
	struct pump_answers answers;
	struct mono at;

	event->now = mono_now(world);
	pump_server_step(&leader->hosts[host].pump, event, &answers);
	for (uint32_t i = 0; i < answers.n; i++) {
		struct item item = {.is_answer = true, .host = host};
		item.token = answers.items[i].token;
		item.resync = answers.items[i].resync;
		/* Its orders gather in front of it. */
		step(world, leader, &poll);
		rounds_add(world, &leader->rounds, &item);
	}
	call.a = ++leader->hosts[host].timer;
	if (pump_server_next_deadline(&leader->hosts[host].pump, &at))
		world_plan(world, at.ns > event->now.ns ? at.ns - event->now.ns : 0, call);
	rounds_flush(world, &leader->rounds);
}

static void receive_poll(struct world *world, struct leader *leader, const struct message *message)
{
	struct pump_server_event parked = {.kind = PUMP_SERVER_POLL};
	struct core_event event = {.kind = CORE_EVENT_NODE_REPORT};
	static _Alignas(16) uint8_t lists[1 << 19];
	struct wire_arena arena = {lists, sizeof(lists), 0};
	struct wire_poll poll;
	struct err err;

	if (wire_poll_decode(message->body, message->body_n, &arena, &poll, &err))
		world_fail(world, "a poll cannot be read: %s", err.text);
	event.report.node = agent_id(message->host);
	event.report.poll = &poll;
	leader_step(world, &event);
	for (size_t i = 0; i < poll.records_n && leader->core; i++) {
		event = (struct core_event){.kind = CORE_EVENT_RECORD};
		event.record.node = agent_id(message->host);
		event.record.record = &poll.records[i];
		leader_step(world, &event);
	}
	parked.token = ++leader->last_token;
	parked.end_seq = poll.records_n ? poll.first_seq + poll.records_n : 0;
	leader->polls[parked.token % POLLS_MAX] =
		(struct poll_name){message->session, message->poll_id};
	if (leader->core)
		pump_step(world, message->host, &parked);
}

static void receive_hello(struct world *world, struct leader *leader, const struct message *message)
{
	struct core_event event = {.kind = CORE_EVENT_NODE_SESSION};
	struct pump_server_event session = {.kind = PUMP_SERVER_SESSION};
	struct message welcome = {.kind = MESSAGE_WELCOME, .host = message->host};

	leader->hosts[message->host].session = ++leader->last_session;
	event.node_id = agent_id(message->host);
	leader_step(world, &event);
	pump_step(world, message->host, &session);
	welcome.session = leader->last_session;
	welcome.hello = message->hello;
	net_send(world, &welcome);
}

void leader_receive(struct world *world, const struct message *message)
{
	struct message unknown = {.kind = MESSAGE_UNKNOWN, .host = message->host};
	struct leader *leader = world->leader;

	if (!leader->core)
		return;
	if (message->kind == MESSAGE_HELLO) {
		receive_hello(world, leader, message);
	} else if (message->session == leader->hosts[message->host].session) {
		receive_poll(world, leader, message);
	} else {
		unknown.session = message->session;
		net_send(world, &unknown);
	}
}

/* ---- life ---- */

static void load(struct world *world, struct leader *leader)
{
	struct store *store = &leader->store;
	struct core_event event;

	for (uint32_t i = 0; i < world->shape.tenants_n; i++) {
		event = (struct core_event){.kind = CORE_EVENT_LOAD_TENANT,
					    .tenant = store->tenants[i]};
		step(world, leader, &event);
	}
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		event = (struct core_event){.kind = CORE_EVENT_LOAD_NODE, .node = store->nodes[i]};
		step(world, leader, &event);
	}
	for (size_t i = 0; i < store->templates_n; i++) {
		event = (struct core_event){.kind = CORE_EVENT_LOAD_TEMPLATE,
					    .template_ = store->templates[i]};
		step(world, leader, &event);
	}
	for (size_t i = 0; i < store->sandboxes_n; i++) {
		if (store->sandboxes[i].state == SANDBOX_NONE ||
		    store->sandboxes[i].state == SANDBOX_ENDED)
			continue;
		event = (struct core_event){.kind = CORE_EVENT_LOAD_SANDBOX,
					    .sandbox = store->sandboxes[i]};
		step(world, leader, &event);
	}
	event = (struct core_event){.kind = CORE_EVENT_BOOT};
	event.boot.epoch = store->epoch;
	leader_step(world, &event);
}

static void start(struct world *world, const struct call *call)
{
	struct leader *leader = world->leader;

	if (call->life != leader->life)
		return;
	if (leader->rounds.disk_fails) {
		world_plan(world, MS(RETRY_MS), *call);
		return;
	}
	leader->store.epoch++; /* written before anything else */
	memset(leader->memory, 0, leader->memory_n);
	leader->core = core_init(leader->memory, &leader->limits);
	for (uint32_t i = 0; i < world->shape.hosts_n; i++) {
		memset(&leader->hosts[i], 0, sizeof(leader->hosts[i]));
		pump_server_init(&leader->hosts[i].pump, leader->store.nodes[i].next_seq);
	}
	load(world, leader);
}

static void fall(struct world *world, struct leader *leader, int64_t back_in_ns)
{
	leader->life++;
	leader->core = NULL;
	rounds_die(world, &leader->rounds);
	tenants_abandon(world);
	world_plan(world, back_in_ns, (struct call){.fn = start, .life = leader->life});
}

static void commit_failed(struct world *world, void *owner)
{
	world_say(world, "leader: a commit failed");
	fall(world, owner, MS(RETRY_MS));
}

void leader_crash(struct world *world)
{
	world_say(world, "leader dies");
	world->totals.crashes_leader++;
	fall(world, world->leader,
	     world_between(world, MS(10), world_chance(world, 500000) ? MS(200) : S(12)));
}

static void die(struct world *world, void *owner)
{
	(void)owner;
	leader_crash(world);
}

void leader_disk_fails(struct world *world, bool fails)
{
	world->leader->rounds.disk_fails = fails;
}

const struct store *leader_store(const struct world *world)
{
	return &world->leader->store;
}

const struct core *leader_core(const struct world *world)
{
	return world->leader->core;
}

const struct core_sandbox *leader_row(const struct world *world, size_t n)
{
	const struct store *store = &world->leader->store;

	if (n >= store->sandboxes_n || store->sandboxes[n].state == SANDBOX_NONE)
		return NULL;
	return &store->sandboxes[n];
}

static void fill_store(struct world *world, struct store *store)
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

void leader_open(struct world *world)
{
	static const struct rounds_kind kind = {sizeof(struct item), is_durable,    store_write,
						carry_out,           commit_failed, die};
	struct leader *leader = calloc(1, sizeof(*leader));

	CHECK(leader);
	world->leader = leader;
	leader->limits = (struct core_limits){TENANTS_MAX, HOSTS_MAX, TEMPLATES_N, 128};
	leader->memory_n = core_size(&leader->limits);
	leader->memory = aligned_alloc(64, leader->memory_n);
	CHECK(leader->memory);
	rounds_open(&leader->rounds, &kind, leader);
	fill_store(world, &leader->store);
	world_plan(world, 0, (struct call){.fn = start});
}

void leader_close(struct world *world)
{
	rounds_close(&world->leader->rounds);
	free(world->leader->store.sandboxes);
	free(world->leader->memory);
	free(world->leader);
}
