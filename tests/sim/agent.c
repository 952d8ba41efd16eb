#include "tests/sim/agent_internal.h"

#include "tests/sim/oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RETRY_MS = 1000 };

static void start(struct world *world, const struct call *call);
/* ---- clocks and names ---- */

const struct clock *agent_clock(const struct world *world, uint32_t host)
{
	return &world->agents[host]->clock;
}

struct mono agent_mono(const struct world *world, uint32_t host)
{
	return clock_mono(&world->agents[host]->clock, world->now_ns);
}

void agent_set_skew(struct world *world, uint32_t host, int64_t skew_ns)
{
	world->agents[host]->clock.skew_ns = skew_ns;
}

struct id agent_id(uint32_t host)
{
	struct id id;

	memset(&id, 0, sizeof(id));
	snprintf(id.text, sizeof(id.text), "nod_%020u", host);
	return id;
}

void agent_boot_id(const struct agent *agent, char out[NODE_BOOT_ID_MAX])
{
	snprintf(out, NODE_BOOT_ID_MAX, "boot-%u-%u", agent->host, agent->boots_n);
}

/* ---- stepping ---- */

static void write_durable(struct world *world, void *owner, const void *item)
{
	journal_write(world, owner, item);
}

static void carry_out(struct world *world, void *owner, const void *item)
{
	agent_carry_out(world, owner, item);
}

static void set_timer(struct world *world, struct agent *agent);

static void on_timer(struct world *world, const struct call *call)
{
	struct agent *agent = world->agents[call->host];
	struct node_event event = {.kind = NODE_EVENT_TICK};

	if (call->life == agent->life && call->a == agent->timer)
		agent_step(world, call->host, &event);
}

static void set_timer(struct world *world, struct agent *agent)
{
	struct call call = {.fn = on_timer, .host = agent->host, .life = agent->life};
	struct mono at;

	call.of = OF_AGENT(agent->host);
	call.a = ++agent->timer;
	if (node_core_next_deadline(agent->core, &at))
		world_plan(world, clock_until_ns(&agent->clock, world->now_ns, at), call);
}

void agent_step_once(struct world *world, struct agent *agent, struct node_event *event)
{
	static struct node_effects effects;

	event->now = agent_mono(world, agent->host);
	event->wall = clock_wall(&agent->clock, world->now_ns);
	world_say(world, "host %u %s", agent->host, node_event_name(event->kind));
	node_core_step(agent->core, event, &effects);
	if (world_verifies)
		node_core_check(agent->core);
	for (uint32_t i = 0; i < effects.n; i++) {
		agent_say_effect(world, agent, &effects.items[i]);
		if (effects.items[i].kind == NODE_EFFECT_JOURNAL_RECORD)
			agent_add_note(world, agent, &effects.items[i]);
		if (node_effect_class(effects.items[i].kind) == NODE_CLASS_EARLY)
			agent_carry_out(world, agent, &effects.items[i]);
		else
			rounds_add(world, &agent->rounds, &effects.items[i]);
	}
}

void agent_step(struct world *world, uint32_t host, struct node_event *event)
{
	struct agent *agent = world->agents[host];
	uint64_t life = agent->life;

	if (!agent->has_core)
		return;
	agent_step_once(world, agent, event);
	rounds_flush(world, &agent->rounds);
	if (agent->has_core && agent->life == life)
		set_timer(world, agent);
}

/* ---- life ---- */

static void get_ready(struct world *world, struct agent *agent)
{
	struct node_event ready = {.kind = NODE_EVENT_READY};
	struct node_meta meta = node_core_meta(agent->core);

	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		pump_client_init(&agent->links[i].pump, meta.epoch, meta.acked_seq, meta.acked_seq);
	agent->is_ready = true;
	agent->epoch_heard = agent->epoch_said = agent->journal.meta.epoch;
	agent_step(world, agent->host, &ready);
	for (uint32_t i = 0; agent->is_ready && i < world->shape.replicas_n; i++)
		agent_greet(world, agent, i);
}

void agent_adopt(struct world *world, uint32_t host, struct shim *shim)
{
	struct node_event event = {.kind = NODE_EVENT_ADOPTED};
	struct agent *agent = world->agents[host];

	if (shim->gone) {
		shims_forget(world, host, shim->number);
	} else {
		event.adopted.vm = shim->number;
		event.adopted.state = shim->state;
		memcpy(event.adopted.template_, shim->template_, sizeof(shim->template_));
		memcpy(event.adopted.template_id, shim->template_id, sizeof(shim->template_id));
		if (shim->claim_taken) {
			event.adopted.claim = &shim->claim;
			event.adopted.payload = agent_keep_payload(
				agent, &(struct wire_bytes){shim->note.bytes, shim->note.n});
			event.adopted.end_mono = shim->end;
		}
		event.adopted.resumed_mono = shims_resumed(shim);
		if (shim->state == WIRE_SHIM_ENDED)
			event.adopted.ended_mono = shim->ended;
		event.adopted.cause = shim->cause;
		event.adopted.saved_how = shim->saved ? shim->how : 0;
		event.adopted.saved_mib = shim->saved ? 40 : 0;
		event.adopted.resumes = shim->resumes;
		event.adopted.other_boot = shim->boot != agent->boots_n;
		agent_step(world, host, &event);
	}
	if (agent->has_core && --agent->adopting_n == 0)
		get_ready(world, agent);
}

static void load(struct world *world, struct agent *agent)
{
	struct node_event boot = {.kind = NODE_EVENT_BOOT};

	journal_load(world, agent);
	agent_boot_id(agent, boot.boot.boot_id);
	agent_step_once(world, agent, &boot);
}

static void declare(struct agent *agent, uint32_t sandboxes)
{
	agent->limits.capacity =
		(struct wire_room){2 * sandboxes, 384ULL * sandboxes, 1 << 20, sandboxes};
}

/* No two hosts make the same. */
static uint32_t build(struct world *world, struct agent *agent)
{
	uint32_t content = ++agent->last_content * HOSTS_MAX + agent->host;

	oracle_built(world, agent->host, content);
	return content;
}

static void take_templates_of_first(struct world *world, struct agent *agent)
{
	for (uint32_t i = 0; i < TEMPLATES_N; i++) {
		agent->contents[i] = world->agents[0]->contents[i];
		oracle_built(world, agent->host, agent->contents[i]);
	}
}

void agent_set_template(struct world *world, struct agent *agent, uint32_t i)
{
	struct node_event event = {.kind = NODE_EVENT_TEMPLATE_SET};

	snprintf(event.template_.name, sizeof(event.template_.name), "template-%u", i);
	if (agent->contents[i] == 0) {
		event.kind = NODE_EVENT_TEMPLATE_GONE;
		agent_step(world, agent->host, &event);
		return;
	}
	snprintf(event.template_.id, sizeof(event.template_.id), "content-%u", agent->contents[i]);
	event.template_.vcpus = 1 + i;
	event.template_.mem_mib = 256U << i;
	event.template_.disk_mib = 512;
	agent_step(world, agent->host, &event);
}

void agent_change_template(struct world *world, uint32_t host, bool gone)
{
	struct agent *agent = world->agents[host];
	uint32_t i = (uint32_t)world_between(world, 0, TEMPLATES_N - 1);

	/* Programs that are stopped do not look; a start does. */
	agent->contents[i] = gone ? 0 : build(world, agent);
	if (!(world->stopped & OF_AGENT(host)))
		agent_set_template(world, agent, i);
}

void agent_mend_templates(struct world *world, uint32_t host)
{
	struct agent *agent = world->agents[host];

	if (host && world->shape.alike)
		take_templates_of_first(world, agent);
	for (uint32_t i = 0; i < TEMPLATES_N; i++) {
		if (!host || !world->shape.alike)
			agent->contents[i] = build(world, agent);
		agent_set_template(world, agent, i);
	}
}

void agent_lose_templates(struct world *world, uint32_t host)
{
	struct agent *agent = world->agents[host];

	for (uint32_t i = 0; i < TEMPLATES_N; i++) {
		agent->contents[i] = 0;
		agent_set_template(world, agent, i);
	}
}

bool agent_has_templates(const struct world *world, uint32_t host)
{
	struct wire_template templates[NODE_TEMPLATES_MAX];
	const struct agent *agent = world->agents[host];

	return agent->is_ready && node_core_templates(agent->core, templates) == TEMPLATES_N;
}

bool agent_is_there(const struct agent *agent)
{
	return agent->is_ready || agent->is_troubled;
}

static void start(struct world *world, const struct call *call)
{
	struct agent *agent = world->agents[call->host];

	if (call->life != agent->life)
		return;
	if (agent->rounds.disk_fails) {
		agent_go_on_without_core(world, agent);
		world_plan(world, MS(RETRY_MS), *call);
		return;
	}
	agent->life++;
	agent->is_up = agent->has_core = true;
	agent->is_leaving = agent->is_troubled = false;
	agent->payloads_n = 0;
	if (world_chance(world, world->faults.resize))
		declare(agent, (uint32_t)world_between(world, 1, world->shape.capacity_sandboxes));
	memset(agent->memory, 0, agent->memory_n);
	agent->core = node_core_init(agent->memory, &agent->limits);
	load(world, agent);
	for (uint32_t i = 0; i < TEMPLATES_N; i++)
		agent_set_template(world, agent, i);
	agent->adopting_n = shims_adopt(world, agent->host);
	if (agent->adopting_n == 0)
		get_ready(world, agent);
}

/* The state is dropped; a new one is loaded in a while. */
static void fall(struct world *world, struct agent *agent, int64_t back_in_ns)
{
	struct call call = {.fn = start, .of = OF_AGENT(agent->host), .host = agent->host};

	agent->life++;
	agent->has_core = agent->is_ready = agent->is_troubled = false;
	rounds_die(world, &agent->rounds);
	shims_unhear(world, agent->host);
	carries_forget(agent);
	call.life = agent->life;
	world_plan(world, back_in_ns, call);
}

static void commit_failed(struct world *world, void *owner)
{
	struct agent *agent = owner;

	world_say(world, "host %u: a commit failed", agent->host);
	if (agent->is_ready)
		agent_remember_report(agent);
	fall(world, agent, MS(RETRY_MS));
	agent_go_on_without_core(world, agent);
}

void agent_crash(struct world *world, uint32_t host)
{
	/* Nothing at all happens on a host that is stopped. */
	if (world->stopped & OF_SHIMS(host))
		return;
	world_say(world, "host %u: the agent dies", host);
	world->totals.crashes_agent++;
	world_go_on(world, OF_AGENT(host));
	fall(world, world->agents[host],
	     world_between(world, MS(10), world_chance(world, 500000) ? MS(200) : S(8)));
}

static void on_leave(struct world *world, const struct call *call)
{
	if (call->life == world->agents[call->host]->life)
		agent_crash(world, call->host);
}

void agent_leave(struct world *world, uint32_t host)
{
	struct agent *agent = world->agents[host];
	struct pump_client_event news = {.kind = PUMP_CLIENT_NEWS, .urgent = true};
	struct call call = {.fn = on_leave, .of = OF_AGENT(host), .host = host};

	if (!agent->is_ready || agent->is_leaving || world->stopped & OF_AGENT(host))
		return;
	world_say(world, "host %u: the agent is stopped in good order", host);
	agent->is_leaving = true;
	call.life = agent->life;
	agent_pump_all(world, agent, &news);
	world_plan(world, MS(50), call);
}

void agent_reboot(struct world *world, uint32_t host)
{
	struct agent *agent = world->agents[host];

	world_say(world, "host %u reboots", host);
	world->totals.reboots++;
	world_go_on(world, OF_AGENT(host) | OF_SHIMS(host));
	fall(world, agent, world_between(world, S(1), S(20)));
	shims_reboot(world, host);
	agent->clock.booted_ns = world->now_ns;
	agent->boots_n++;
}

void agent_disk_fails(struct world *world, uint32_t host, bool fails)
{
	(void)world;
	world->agents[host]->rounds.disk_fails = fails;
}

static void die(struct world *world, void *owner)
{
	agent_crash(world, ((struct agent *)owner)->host);
}

const struct journal *agent_journal(const struct world *world, uint32_t host)
{
	return &world->agents[host]->journal;
}

const struct node_core *agent_core(const struct world *world, uint32_t host)
{
	return world->agents[host]->is_ready ? world->agents[host]->core : NULL;
}

const struct wire_room *agent_capacity(const struct world *world, uint32_t host)
{
	return &world->agents[host]->limits.capacity;
}

uint32_t agent_boot(const struct world *world, uint32_t host)
{
	return world->agents[host]->boots_n;
}

size_t agent_payloads_n(const struct world *world, uint32_t host)
{
	return world->agents[host]->payloads_n;
}

uint64_t agent_life(const struct world *world, uint32_t host)
{
	return world->agents[host]->life;
}

void agent_open(struct world *world, uint32_t host)
{
	static const struct rounds_kind kind = {sizeof(struct node_effect),
						journal_takes,
						write_durable,
						carry_out,
						commit_failed,
						die};
	struct agent *agent = calloc(1, sizeof(*agent));
	struct call call = {.fn = start, .of = OF_AGENT(host), .host = host};
	uint32_t vms_max = world->shape.capacity_sandboxes + (uint32_t)world_between(world, 2, 12);
	uint32_t saved_max = (uint32_t)world_between(world, 0, 8);

	CHECK(agent);
	world->agents[host] = agent;
	agent->host = host;
	agent->clock.origin_ns = S(10);
	agent->clock.skew_ns = world->faults.skew ? world_between(world, -MS(200), MS(200)) : 0;
	if (world->faults.drift)
		agent->clock.fast_ppm = (int32_t)world_between(world, -DRIFT_PPM, DRIFT_PPM);
	agent->limits = (struct node_limits){
		.vms_max = vms_max,
		.saved_max = saved_max,
		.attempts_max = 2 * (vms_max + saved_max) + world->shape.attempts_spare,
		.pool_floor = (uint32_t)world_between(world, 0, 2),
		.pool_ceiling = (uint32_t)world_between(world, 2, 5),
		.restores_max = (uint32_t)world_between(world, 1, 2),
		.claim_restores_max = (uint32_t)world_between(world, 1, 4),
		.demand_ms = world_chance(world, 700000) ? 10000 : 0,
		.tick_ms = world->shape.tick_ms,
		.keep_ms = world->shape.keep_ms,
		.replicas_n = world->shape.replicas_n,
	};
	declare(agent, world->shape.capacity_sandboxes);
	/* Some hosts come without any, and get them from others. */
	if (host && world->shape.alike)
		take_templates_of_first(world, agent);
	else if (host == 0 || !world->shape.transfers_max || !world_chance(world, 300000))
		for (uint32_t i = 0; i < TEMPLATES_N; i++)
			agent->contents[i] = build(world, agent);
	agent->memory_n = node_core_size(&agent->limits);
	agent->memory = aligned_alloc(64, agent->memory_n);
	CHECK(agent->memory);
	rounds_open(&agent->rounds, &kind, agent, OF_AGENT(host));
	world_plan(world, 0, call);
}

void agent_close(struct world *world, uint32_t host)
{
	struct agent *agent = world->agents[host];

	rounds_close(&agent->rounds);
	journal_free(&agent->journal);
	free(agent->memory);
	free(agent);
}
