#include "tests/sim/agent.h"

#include "proto/pump.h"
#include "tests/sim/oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GREET_AGAIN_MS = 1000, RETRY_MS = 1000, PAYLOADS_MAX = 256, POLL_BYTES_MAX = 1 << 18 };

struct agent {
	uint32_t host;
	bool is_up;      /* the program runs */
	bool has_core;   /* and its state is loaded */
	bool is_ready;   /* READY was stepped */
	uint64_t life;   /* of the present core */
	uint64_t greets; /* sessions asked for */
	int64_t booted_ns, skew_ns;
	uint32_t boots_n;
	struct journal journal;
	void *memory;
	size_t memory_n;
	struct node_limits limits;
	struct node_core *core;
	struct rounds rounds;
	struct pump_client pump;
	uint64_t session;           /* meaningful if pump.is_open */
	uint64_t timer, pump_timer; /* number of the newest timer planned */
	uint32_t adopting_n;
	uint64_t payloads[PAYLOADS_MAX];
	size_t payloads_n;
	uint64_t last_payload;
	uint32_t contents[TEMPLATES_N]; /* of each template, at present; 0: it is gone */
	uint32_t last_content;
	uint64_t epoch_heard; /* highest epoch of an answer that was stepped */
};

static void start(struct world *world, const struct call *call);
static void pump_step(struct world *world, struct agent *agent, struct pump_client_event *event,
		      const struct wire_answer *answer);

/* ---- clocks and names ---- */

struct mono agent_mono(const struct world *world, uint32_t host, int64_t at_ns)
{
	return (struct mono){at_ns - world->agents[host]->booted_ns + S(10)};
}

int64_t agent_world_ns(const struct world *world, uint32_t host, struct mono at)
{
	return at.ns + world->agents[host]->booted_ns - S(10);
}

struct wall agent_wall(const struct world *world, uint32_t host, int64_t at_ns)
{
	return (struct wall){at_ns + world->agents[host]->skew_ns + S(1700000000)};
}

struct id agent_id(uint32_t host)
{
	struct id id;

	memset(&id, 0, sizeof(id));
	snprintf(id.text, sizeof(id.text), "nod_%020u", host);
	return id;
}

static void boot_id(const struct agent *agent, char out[NODE_BOOT_ID_MAX])
{
	snprintf(out, NODE_BOOT_ID_MAX, "boot-%u-%u", agent->host, agent->boots_n);
}

/* ---- the journal ---- */

static void *grow(void *data, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return data;
	*cap = *cap ? *cap * 2 : 64;
	data = realloc(data, *cap * size);
	CHECK(data);
	return data;
}

static void write_sandbox(struct journal *journal, const struct node_sandbox *row)
{
	size_t i = 0;

	while (i < journal->sandboxes_n && journal->sandboxes[i].attempt != row->attempt)
		i++;
	journal->sandboxes =
		grow(journal->sandboxes, i, &journal->sandboxes_cap, sizeof(*journal->sandboxes));
	journal->sandboxes[i] = *row;
	if (i == journal->sandboxes_n)
		journal->sandboxes_n++;
}

static void drop_sandbox(struct journal *journal, uint64_t attempt)
{
	for (size_t i = 0; i < journal->sandboxes_n; i++)
		if (journal->sandboxes[i].attempt == attempt)
			journal->sandboxes[i] = journal->sandboxes[--journal->sandboxes_n];
}

static void drop_attempt(struct journal *journal, uint64_t attempt)
{
	size_t kept = 0;

	for (size_t i = 0; i < journal->attempts_n; i++)
		if (journal->attempts[i] != attempt)
			journal->attempts[kept++] = journal->attempts[i];
	journal->attempts_n = kept;
}

static void write_record(struct world *world, struct agent *agent, const struct wire_record *record)
{
	struct journal *journal = &agent->journal;
	size_t cap = journal->records_cap;

	if (record->seq != journal->records_n + 1)
		world_fail(world, "host %u journals record %" PRIu64 " after %zu", agent->host,
			   record->seq, journal->records_n);
	journal->records =
		grow(journal->records, journal->records_n, &cap, sizeof(*journal->records));
	if (cap != journal->records_cap) {
		journal->trimmed = realloc(journal->trimmed, cap);
		CHECK(journal->trimmed);
		journal->records_cap = cap;
	}
	journal->trimmed[journal->records_n] = false;
	journal->records[journal->records_n++] = *record;
	world->totals.records++;
	oracle_recorded(world, agent->host, record);
}

static void trim(struct world *world, struct agent *agent, uint64_t below_seq, int64_t before_ns)
{
	struct journal *journal = &agent->journal;

	for (uint64_t seq = 1; seq < below_seq && seq <= journal->records_n; seq++) {
		if (journal->trimmed[seq - 1] || journal->records[seq - 1].at_wall_ns >= before_ns)
			continue;
		journal->trimmed[seq - 1] = true;
		oracle_trimmed(world, agent->host, seq);
	}
}

static bool is_durable(const void *item)
{
	return node_effect_class(((const struct node_effect *)item)->kind) == NODE_CLASS_DURABLE;
}

static void journal_write(struct world *world, void *owner, const void *item)
{
	const struct node_effect *effect = item;
	struct agent *agent = owner;
	struct journal *journal = &agent->journal;

	switch (effect->kind) {
	case NODE_EFFECT_JOURNAL_META:
		journal->meta = effect->meta;
		journal->has_meta = true;
		break;
	case NODE_EFFECT_JOURNAL_ATTEMPT:
		journal->attempts = grow(journal->attempts, journal->attempts_n,
					 &journal->attempts_cap, sizeof(*journal->attempts));
		journal->attempts[journal->attempts_n++] = effect->attempt;
		break;
	case NODE_EFFECT_JOURNAL_ATTEMPT_GONE:
		drop_attempt(journal, effect->attempt);
		break;
	case NODE_EFFECT_JOURNAL_SANDBOX:
		write_sandbox(journal, &effect->sandbox);
		oracle_journaled(world, agent->host, &effect->sandbox);
		break;
	case NODE_EFFECT_JOURNAL_SANDBOX_GONE:
		drop_sandbox(journal, effect->attempt);
		break;
	case NODE_EFFECT_JOURNAL_RECORD:
		write_record(world, agent, &effect->record);
		break;
	case NODE_EFFECT_JOURNAL_TRIM:
		trim(world, agent, effect->trim.below_seq, effect->trim.before_wall.ns);
		break;
	default:
		CHECK(!"a durable effect");
	}
}

/* ---- what the core wants ---- */

static void drop_payload(struct world *world, struct agent *agent, uint64_t payload)
{
	for (size_t i = 0; i < agent->payloads_n; i++)
		if (agent->payloads[i] == payload) {
			agent->payloads[i] = agent->payloads[--agent->payloads_n];
			return;
		}
	world_fail(world, "host %u: payload %" PRIu64 " is dropped and was not kept", agent->host,
		   payload);
}

static void need_payload(struct world *world, struct agent *agent, uint64_t payload)
{
	for (size_t i = 0; i < agent->payloads_n; i++)
		if (agent->payloads[i] == payload)
			return;
	world_fail(world, "host %u: a claim without its payload", agent->host);
}

static void carry_out(struct world *world, void *owner, const void *item)
{
	struct pump_client_event event = {.kind = PUMP_CLIENT_NEWS};
	const struct node_effect *effect = item;
	struct agent *agent = owner;

	switch (effect->kind) {
	case NODE_EFFECT_VM_START:
		shims_start(world, agent->host, effect);
		break;
	case NODE_EFFECT_VM_CLAIM:
		need_payload(world, agent, effect->claim.payload);
		shims_claim(world, agent->host, effect);
		break;
	case NODE_EFFECT_VM_DEADLINE:
		shims_deadline(world, agent->host, effect);
		break;
	case NODE_EFFECT_VM_METER:
		shims_meter(world, agent->host, effect->vm);
		break;
	case NODE_EFFECT_VM_KILL:
		shims_kill(world, agent->host, effect);
		break;
	case NODE_EFFECT_VM_FORGET:
		shims_forget(world, agent->host, effect->vm);
		break;
	case NODE_EFFECT_PAYLOAD_DROP:
		drop_payload(world, agent, effect->payload);
		break;
	case NODE_EFFECT_RECORDS:
		if (!agent->is_ready)
			break;
		event.kind = PUMP_CLIENT_RECORDS;
		event.end_seq = effect->records.end_seq;
		pump_step(world, agent, &event, NULL);
		break;
	case NODE_EFFECT_NEWS:
		if (agent->is_ready)
			pump_step(world, agent, &event, NULL);
		break;
	default:
		CHECK(!"an effect to be carried out");
	}
}

static void say_effect(struct world *world, const struct agent *agent,
		       const struct node_effect *effect)
{
	const struct wire_record *record = &effect->record;
	const char *name = node_effect_name(effect->kind);

	if (effect->kind == NODE_EFFECT_JOURNAL_RECORD)
		world_say(world,
			  "host %u   -> RECORD %" PRIu64 " kind %d %s attempt %" PRIx64
			  " refusal %d cause %d %" PRIu64 "..%" PRIu64 " dv %" PRIu64,
			  agent->host, record->seq, (int)record->kind, record->sandbox.text + 14,
			  record->attempt, (int)record->refusal, (int)record->cause,
			  record->from_ms, record->to_ms, record->deadline_version);
	else if (effect->kind == NODE_EFFECT_JOURNAL_META)
		world_say(world,
			  "host %u   -> META acked %" PRIu64 " epoch %" PRIu64 " floor %" PRIx64,
			  agent->host, effect->meta.acked_seq, effect->meta.epoch,
			  effect->meta.attempt_floor);
	else if (effect->kind == NODE_EFFECT_JOURNAL_SANDBOX)
		world_say(world, "host %u   -> SANDBOX %" PRIx64 " vm %" PRIu64 " at %" PRIu64,
			  agent->host, effect->sandbox.attempt, effect->sandbox.vm,
			  effect->sandbox.metered_ms);
	else
		world_say(world, "host %u   -> %s %" PRIx64, agent->host, name, effect->vm);
}

/* ---- stepping ---- */

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
	struct mono now = agent_mono(world, agent->host, world->now_ns), at;
	struct call call = {.fn = on_timer, .host = agent->host, .life = agent->life};

	call.a = ++agent->timer;
	if (node_core_next_deadline(agent->core, &at))
		world_plan(world, at.ns > now.ns ? at.ns - now.ns : 0, call);
}

static void step(struct world *world, struct agent *agent, struct node_event *event)
{
	static struct node_effects effects;

	event->now = agent_mono(world, agent->host, world->now_ns);
	event->wall = agent_wall(world, agent->host, world->now_ns);
	world_say(world, "host %u %s", agent->host, node_event_name(event->kind));
	node_core_step(agent->core, event, &effects);
	if (world_verifies)
		node_core_check(agent->core);
	for (uint32_t i = 0; i < effects.n; i++) {
		say_effect(world, agent, &effects.items[i]);
		if (node_effect_class(effects.items[i].kind) == NODE_CLASS_EARLY)
			carry_out(world, agent, &effects.items[i]);
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
	step(world, agent, event);
	rounds_flush(world, &agent->rounds);
	if (agent->has_core && agent->life == life)
		set_timer(world, agent);
}

/* ---- the pump ---- */

static void greet(struct world *world, struct agent *agent);

static void on_greet_again(struct world *world, const struct call *call)
{
	struct agent *agent = world->agents[call->host];

	if (call->life == agent->life && call->a == agent->greets && !agent->pump.is_open)
		greet(world, agent);
}

static void greet(struct world *world, struct agent *agent)
{
	struct message hello = {.kind = MESSAGE_HELLO, .to_leader = true, .host = agent->host};
	struct pump_client_event closed = {.kind = PUMP_CLIENT_CLOSED};
	struct call again = {.fn = on_greet_again, .host = agent->host, .life = agent->life};

	pump_step(world, agent, &closed, NULL);
	hello.hello = again.a = ++agent->greets;
	net_send(world, &hello);
	world_plan(world, MS(GREET_AGAIN_MS), again);
}

static void on_pump_timer(struct world *world, const struct call *call)
{
	struct agent *agent = world->agents[call->host];
	struct pump_client_event event = {.kind = PUMP_CLIENT_TICK};

	if (call->life == agent->life && call->a == agent->pump_timer)
		pump_step(world, agent, &event, NULL);
}

static void set_pump_timer(struct world *world, struct agent *agent)
{
	struct mono now = agent_mono(world, agent->host, world->now_ns), at;
	struct call call = {.fn = on_pump_timer, .host = agent->host, .life = agent->life};

	call.a = ++agent->pump_timer;
	if (pump_client_next_deadline(&agent->pump, &at))
		world_plan(world, at.ns > now.ns ? at.ns - now.ns : 0, call);
}

static void send_poll(struct world *world, struct agent *agent,
		      const struct pump_client_effect *effect)
{
	static struct wire_template templates[NODE_TEMPLATES_MAX];
	static uint8_t buffer[sizeof(struct message) + POLL_BYTES_MAX];
	struct message *message = (struct message *)(void *)buffer;
	struct journal *journal = &agent->journal;
	struct wire_poll poll = {.first_seq = effect->first_seq};
	struct err err;

	/* As from a query: what is durable, and not trimmed. */
	if (effect->records_n && effect->first_seq <= journal->records_n) {
		if (journal->trimmed[effect->first_seq - 1])
			world_fail(world, "host %u: record %" PRIu64 " is wanted, and trimmed",
				   agent->host, effect->first_seq);
		poll.records = &journal->records[effect->first_seq - 1];
		poll.records_n = journal->records_n + 1 - effect->first_seq;
		if (poll.records_n > effect->records_n)
			poll.records_n = effect->records_n;
	}
	node_core_report(agent->core, &poll);
	boot_id(agent, poll.boot_id);
	poll.at_wall_ns = agent_wall(world, agent->host, world->now_ns).ns;
	poll.templates = templates;
	poll.templates_n = node_core_templates(agent->core, templates);
	memset(message, 0, sizeof(*message));
	message->kind = MESSAGE_POLL;
	message->to_leader = true;
	message->host = agent->host;
	message->session = agent->session;
	message->poll_id = effect->id;
	if (wire_poll_encode(&poll, message->body, POLL_BYTES_MAX, &message->body_n, &err))
		world_fail(world, "a poll cannot be written: %s", err.text);
	world_say(world, "host %u polls %u: %zu records from %" PRIu64, agent->host, effect->id,
		  poll.records_n, effect->first_seq);
	net_send(world, message);
}

/* stale: of an epoch that is over, as every node has heard. */
static void take(struct world *world, struct agent *agent, const struct wire_answer *answer)
{
	struct node_event event = {.kind = NODE_EVENT_ANSWER};
	bool stale = answer->epoch < agent->epoch_heard;
	struct node_counts before, after;

	node_core_count(agent->core, &before);
	event.answer.epoch = answer->epoch;
	if (!stale)
		agent->epoch_heard = answer->epoch;
	agent_step(world, agent->host, &event);
	for (size_t i = 0; i < answer->orders_n && agent->has_core; i++) {
		const struct wire_order *order = &answer->orders[i];
		event = (struct node_event){.kind = NODE_EVENT_ORDER};
		event.order.order = order;
		if (order->kind == WIRE_ORDER_CLAIM) {
			CHECK(agent->payloads_n < PAYLOADS_MAX);
			event.order.payload = ++agent->last_payload;
			agent->payloads[agent->payloads_n++] = event.order.payload;
		}
		world_say(world, "host %u order %d attempt %" PRIx64, agent->host, (int)order->kind,
			  order->attempt);
		agent_step(world, agent->host, &event);
	}
	if (!agent->has_core)
		return;
	node_core_count(agent->core, &after);
	world->totals.stale += stale;
	if (stale && after.ignored - before.ignored != answer->orders_n)
		world_fail(world, "host %u obeys epoch %" PRIu64 " which is over", agent->host,
			   answer->epoch);
}

static void pump_step(struct world *world, struct agent *agent, struct pump_client_event *event,
		      const struct wire_answer *answer)
{
	struct node_event acked = {.kind = NODE_EVENT_ACKED};
	struct pump_client_effects effects;
	uint64_t life = agent->life;

	event->now = agent_mono(world, agent->host, world->now_ns);
	pump_client_step(&agent->pump, event, &effects);
	for (uint32_t i = 0; i < effects.n && agent->life == life; i++) {
		const struct pump_client_effect *effect = &effects.items[i];
		switch (effect->kind) {
		case PUMP_CLIENT_SEND:
			send_poll(world, agent, effect);
			break;
		case PUMP_CLIENT_TAKE:
			take(world, agent, answer);
			break;
		case PUMP_CLIENT_REFUSE:
			world->totals.stale++;
			break;
		case PUMP_CLIENT_ACKED:
			acked.acked.next_seq = effect->first_seq;
			agent_step(world, agent->host, &acked);
			break;
		case PUMP_CLIENT_RENEW:
			greet(world, agent);
			break;
		}
	}
	if (agent->life == life)
		set_pump_timer(world, agent);
}

static void receive_answer(struct world *world, struct agent *agent, const struct message *message)
{
	struct pump_client_event event = {.kind = PUMP_CLIENT_ANSWER};
	static _Alignas(16) uint8_t lists[1 << 18];
	struct wire_arena arena = {lists, sizeof(lists), 0};
	struct wire_answer answer;
	struct err err;

	if (wire_answer_decode(message->body, message->body_n, &arena, &answer, &err))
		world_fail(world, "an answer cannot be read: %s", err.text);
	/* With several schedulers, the answers of each come by a pump of its own, which does not
	 * know the epochs of the others: so does what an earlier scheduler left on its way. */
	if (message->session != agent->session || !agent->pump.is_open) {
		take(world, agent, &answer);
		return;
	}
	event.answer.id = message->poll_id;
	event.answer.epoch = answer.epoch;
	event.answer.next_seq = answer.next_seq;
	event.answer.resync = answer.resync;
	pump_step(world, agent, &event, &answer);
}

void agent_receive(struct world *world, const struct message *message)
{
	struct agent *agent = world->agents[message->host];
	struct pump_client_event open = {.kind = PUMP_CLIENT_OPEN};

	if (!agent->is_ready)
		return;
	switch (message->kind) {
	case MESSAGE_WELCOME:
		if (message->hello != agent->greets || agent->pump.is_open)
			break;
		agent->session = message->session;
		pump_step(world, agent, &open, NULL);
		break;
	case MESSAGE_UNKNOWN:
		if (message->session == agent->session && agent->pump.is_open)
			greet(world, agent);
		break;
	case MESSAGE_ANSWER:
		receive_answer(world, agent, message);
		break;
	case MESSAGE_HELLO:
	case MESSAGE_POLL:
		CHECK(!"a message to an agent");
	}
}

/* ---- life ---- */

static void get_ready(struct world *world, struct agent *agent)
{
	struct node_event ready = {.kind = NODE_EVENT_READY};
	struct node_meta meta = node_core_meta(agent->core);

	pump_client_init(&agent->pump, meta.epoch, meta.acked_seq, meta.acked_seq);
	agent->is_ready = true;
	agent->epoch_heard = agent->journal.meta.epoch;
	agent_step(world, agent->host, &ready);
	if (agent->is_ready)
		greet(world, agent);
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
		event.adopted.claim = shim->claim_taken ? &shim->claim : NULL;
		if (shim->resumed_ns)
			event.adopted.resumed_mono = agent_mono(world, host, shim->resumed_ns);
		if (shim->claim_taken)
			event.adopted.end_mono = agent_mono(world, host, shim->end_ns);
		if (shim->state == WIRE_SHIM_ENDED)
			event.adopted.ended_mono = agent_mono(world, host, shim->ended_ns);
		event.adopted.cause = shim->cause;
		agent_step(world, host, &event);
	}
	if (agent->has_core && --agent->adopting_n == 0)
		get_ready(world, agent);
}

static void load(struct world *world, struct agent *agent)
{
	struct journal *journal = &agent->journal;
	struct node_event event = {.kind = NODE_EVENT_LOAD_META, .meta = journal->meta};

	event.meta.next_seq = journal->records_n + 1;
	if (journal->has_meta || journal->records_n)
		step(world, agent, &event);
	for (size_t i = 0; i < journal->sandboxes_n; i++) {
		event = (struct node_event){.kind = NODE_EVENT_LOAD_SANDBOX,
					    .sandbox = journal->sandboxes[i]};
		step(world, agent, &event);
	}
	for (size_t i = 0; i < journal->attempts_n; i++) {
		event = (struct node_event){.kind = NODE_EVENT_LOAD_ATTEMPT,
					    .attempt = journal->attempts[i]};
		step(world, agent, &event);
	}
	event = (struct node_event){.kind = NODE_EVENT_BOOT};
	boot_id(agent, event.boot.boot_id);
	step(world, agent, &event);
}

static void declare(struct agent *agent, uint32_t sandboxes)
{
	agent->limits.capacity =
		(struct wire_room){2 * sandboxes, 384ULL * sandboxes, 1 << 20, sandboxes};
}

static void set_template(struct world *world, struct agent *agent, uint32_t i)
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
	event.template_.mem_mib = 256 << i;
	event.template_.disk_mib = 512;
	agent_step(world, agent->host, &event);
}

void agent_change_template(struct world *world, uint32_t host, bool gone)
{
	struct agent *agent = world->agents[host];
	uint32_t i = (uint32_t)world_between(world, 0, TEMPLATES_N - 1);

	agent->contents[i] = gone ? 0 : ++agent->last_content;
	set_template(world, agent, i);
}

void agent_mend_templates(struct world *world, uint32_t host)
{
	struct agent *agent = world->agents[host];

	for (uint32_t i = 0; i < TEMPLATES_N; i++) {
		agent->contents[i] = ++agent->last_content;
		set_template(world, agent, i);
	}
}

static void start(struct world *world, const struct call *call)
{
	struct agent *agent = world->agents[call->host];

	if (call->life != agent->life)
		return;
	if (agent->rounds.disk_fails) {
		world_plan(world, MS(RETRY_MS), *call);
		return;
	}
	agent->life++;
	agent->is_up = agent->has_core = true;
	agent->payloads_n = 0;
	if (world_chance(world, world->faults.resize))
		declare(agent, (uint32_t)world_between(world, 1, world->shape.capacity_sandboxes));
	memset(agent->memory, 0, agent->memory_n);
	agent->core = node_core_init(agent->memory, &agent->limits);
	load(world, agent);
	for (uint32_t i = 0; i < TEMPLATES_N; i++)
		set_template(world, agent, i);
	agent->adopting_n = shims_adopt(world, agent->host);
	if (agent->adopting_n == 0)
		get_ready(world, agent);
}

/* The state is dropped; a new one is loaded in a while. */
static void fall(struct world *world, struct agent *agent, int64_t back_in_ns)
{
	struct call call = {.fn = start, .host = agent->host};

	agent->life++;
	agent->has_core = agent->is_ready = false;
	rounds_die(world, &agent->rounds);
	shims_unhear(world, agent->host);
	call.life = agent->life;
	world_plan(world, back_in_ns, call);
}

static void commit_failed(struct world *world, void *owner)
{
	struct agent *agent = owner;

	world_say(world, "host %u: a commit failed", agent->host);
	fall(world, agent, MS(RETRY_MS));
}

void agent_crash(struct world *world, uint32_t host)
{
	world_say(world, "host %u: the agent dies", host);
	world->totals.crashes_agent++;
	fall(world, world->agents[host],
	     world_between(world, MS(10), world_chance(world, 500000) ? MS(200) : S(8)));
}

void agent_reboot(struct world *world, uint32_t host)
{
	struct agent *agent = world->agents[host];

	world_say(world, "host %u reboots", host);
	world->totals.reboots++;
	fall(world, agent, world_between(world, S(1), S(20)));
	shims_reboot(world, host);
	agent->booted_ns = world->now_ns;
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
						is_durable,
						journal_write,
						carry_out,
						commit_failed,
						die};
	struct agent *agent = calloc(1, sizeof(*agent));
	struct call call = {.fn = start, .host = host};
	uint32_t vms_max = world->shape.capacity_sandboxes + (uint32_t)world_between(world, 2, 12);

	CHECK(agent);
	world->agents[host] = agent;
	agent->host = host;
	agent->skew_ns = world->faults.skew ? world_between(world, -MS(200), MS(200)) : 0;
	agent->limits = (struct node_limits){
		.vms_max = vms_max,
		.attempts_max = 2 * vms_max + world->shape.attempts_spare,
		.pool_floor = (uint32_t)world_between(world, 0, 2),
		.pool_ceiling = (uint32_t)world_between(world, 2, 5),
		.restores_max = (uint32_t)world_between(world, 1, 2),
		.claim_restores_max = (uint32_t)world_between(world, 1, 4),
		.demand_ms = world_chance(world, 700000) ? 10000 : 0,
		.tick_ms = world->shape.tick_ms,
		.keep_ms = world->shape.keep_ms,
	};
	declare(agent, world->shape.capacity_sandboxes);
	for (uint32_t i = 0; i < TEMPLATES_N; i++)
		agent->contents[i] = ++agent->last_content;
	agent->memory_n = node_core_size(&agent->limits);
	agent->memory = aligned_alloc(64, agent->memory_n);
	CHECK(agent->memory);
	rounds_open(&agent->rounds, &kind, agent);
	world_plan(world, 0, call);
}

void agent_close(struct world *world, uint32_t host)
{
	struct agent *agent = world->agents[host];

	rounds_close(&agent->rounds);
	free(agent->journal.attempts);
	free(agent->journal.sandboxes);
	free(agent->journal.records);
	free(agent->journal.trimmed);
	free(agent->memory);
	free(agent);
}
