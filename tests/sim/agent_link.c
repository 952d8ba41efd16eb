/* The agent's end of the bus: its pump, and the sessions under it. */
#include "tests/sim/agent_internal.h"

#include <inttypes.h>
#include <string.h>

enum { GREET_AGAIN_MS = 1000, POLL_BYTES_MAX = 1 << 18 };

static void on_greet_again(struct world *world, const struct call *call)
{
	struct agent *agent = world->agents[call->host];

	if (call->life == agent->life && call->a == agent->greets && !agent->pump.is_open)
		agent_greet(world, agent);
}

void agent_greet(struct world *world, struct agent *agent)
{
	struct message hello = {.kind = MESSAGE_HELLO, .to_leader = true, .host = agent->host};
	struct pump_client_event closed = {.kind = PUMP_CLIENT_CLOSED};
	struct call again = {.fn = on_greet_again, .host = agent->host, .life = agent->life};

	agent_pump(world, agent, &closed, NULL);
	hello.hello = again.a = ++agent->greets;
	net_send(world, &hello);
	world_plan(world, MS(GREET_AGAIN_MS), again);
}

static void on_pump_timer(struct world *world, const struct call *call)
{
	struct agent *agent = world->agents[call->host];
	struct pump_client_event event = {.kind = PUMP_CLIENT_TICK};

	if (call->life == agent->life && call->a == agent->pump_timer)
		agent_pump(world, agent, &event, NULL);
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
	agent_boot_id(agent, poll.boot_id);
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

void agent_pump(struct world *world, struct agent *agent, struct pump_client_event *event,
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
			agent_greet(world, agent);
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
	agent_pump(world, agent, &event, &answer);
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
		agent_pump(world, agent, &open, NULL);
		break;
	case MESSAGE_UNKNOWN:
		if (message->session == agent->session && agent->pump.is_open)
			agent_greet(world, agent);
		break;
	case MESSAGE_ANSWER:
		receive_answer(world, agent, message);
		break;
	case MESSAGE_HELLO:
	case MESSAGE_POLL:
		check_broken("a message to an agent", __FILE__, __LINE__);
	}
}
