/* The agent's end of the bus: its pump, and the sessions under it. */
#include "tests/sim/agent_internal.h"

#include "tests/sim/oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { GREET_AGAIN_MS = 1000, POLL_BYTES_MAX = 1 << 18 };

static void on_greet_again(struct world *world, const struct call *call)
{
	struct agent *agent = world->agents[call->host];
	const struct link *link = &agent->links[call->replica];

	if (call->life == agent->life && call->a == link->greets && !link->pump.is_open)
		agent_greet(world, agent, call->replica);
}

void agent_greet(struct world *world, struct agent *agent, uint32_t replica)
{
	struct message hello = {.kind = MESSAGE_HELLO, .to_replica = true, .host = agent->host};
	struct pump_client_event closed = {.kind = PUMP_CLIENT_CLOSED};
	struct call again = {.fn = on_greet_again, .host = agent->host, .life = agent->life};

	agent_pump(world, agent, replica, &closed, NULL);
	hello.replica = again.replica = replica;
	hello.hello = again.a = ++agent->links[replica].greets;
	again.of = OF_AGENT(agent->host);
	net_send(world, &hello);
	world_plan(world, MS(GREET_AGAIN_MS), again);
}

static void on_pump_timer(struct world *world, const struct call *call)
{
	struct agent *agent = world->agents[call->host];
	struct pump_client_event event = {.kind = PUMP_CLIENT_TICK};

	if (call->life == agent->life && call->a == agent->links[call->replica].timer)
		agent_pump(world, agent, call->replica, &event, NULL);
}

static void set_pump_timer(struct world *world, struct agent *agent, uint32_t replica)
{
	struct call call = {.fn = on_pump_timer, .host = agent->host, .life = agent->life};
	struct link *link = &agent->links[replica];
	struct mono at;

	call.of = OF_AGENT(agent->host);
	call.replica = replica;
	call.a = ++link->timer;
	if (pump_client_next_deadline(&link->pump, &at))
		world_plan(world, clock_until_ns(&agent->clock, world->now_ns, at), call);
}

/* ---- polls ---- */

static void fill_poll(struct world *world, struct agent *agent, struct wire_poll *poll)
{
	static struct wire_template templates[NODE_TEMPLATES_MAX];
	static struct wire_transfer transfers[NODE_TRANSFERS_MAX];

	poll->templates = templates;
	if (agent->is_troubled) {
		agent_report_without_core(agent, poll);
	} else {
		node_core_report(agent->core, poll);
		poll->templates_n = node_core_templates(agent->core, templates);
		poll->transfers = transfers;
		poll->transfers_n = node_core_transfers(agent->core, transfers);
	}
	poll->epoch = agent->epoch_said;
	poll->leaving = agent->is_leaving;
	if (agent->rounds.disk_fails)
		snprintf(poll->trouble, sizeof(poll->trouble), "its journal cannot be written");
	snprintf(poll->platform, sizeof(poll->platform), "platform-%u",
		 platform_of_host(world, agent->host));
	agent_boot_id(agent, poll->boot_id);
	poll->at_wall_ns = clock_wall(&agent->clock, world->now_ns).ns;
	oracle_polls(world, agent->host, poll);
}

static void send_poll(struct world *world, struct agent *agent, uint32_t replica,
		      const struct pump_client_effect *effect)
{
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
	fill_poll(world, agent, &poll);
	memset(message, 0, sizeof(*message));
	message->kind = MESSAGE_POLL;
	message->to_replica = true;
	message->host = agent->host;
	message->replica = replica;
	message->session = agent->links[replica].session;
	message->polled_ns = world->now_ns;
	message->poll_id = effect->id;
	if (wire_poll_encode(&poll, message->body, POLL_BYTES_MAX, &message->body_n, &err))
		world_fail(world, "a poll cannot be written: %s", err.text);
	world_say(world,
		  "host %u polls replica %u, %u: %zu records from %" PRIu64 " epoch %" PRIu64
		  " pending %u",
		  agent->host, replica, effect->id, poll.records_n, effect->first_seq, poll.epoch,
		  poll.pending_n);
	net_send(world, message);
}

/* ---- answers ---- */

static void give_order(struct world *world, struct agent *agent, const struct wire_order *order)
{
	struct node_event event = {.kind = NODE_EVENT_ORDER};

	event.order.order = order;
	if (order->kind == WIRE_ORDER_CLAIM || order->kind == WIRE_ORDER_SNAPSHOT ||
	    (order->kind == WIRE_ORDER_DEADLINE && order->note.n) ||
	    order->kind == WIRE_ORDER_SEND || order->kind == WIRE_ORDER_FETCH)
		event.order.payload = agent_keep_payload(agent, &order->note);
	world_say(world, "host %u order %d attempt %" PRIx64, agent->host, (int)order->kind,
		  order->attempt);
	agent_step(world, agent->host, &event);
}

static void take(struct world *world, struct agent *agent, const struct answered *answered,
		 struct mono sent_at)
{
	const struct wire_answer *answer = answered->answer;
	struct node_event event = {.kind = NODE_EVENT_ANSWER};
	bool stale = agent_is_stale(agent, answer);
	struct node_counts before, after;

	if (agent->is_troubled) {
		agent_keep_leases(world, agent, answered, sent_at);
		return;
	}
	node_core_count(agent->core, &before);
	event.answer.epoch = answer->epoch;
	event.answer.lease_ms = answer->lease_ms;
	event.answer.lost_below = answer->lost_below;
	event.answer.sent_at = sent_at;
	if (!stale) {
		agent->epoch_heard = answer->epoch;
		oracle_leased(world, agent->host, answered->polled_ns, answer->lease_ms);
	}
	agent_step(world, agent->host, &event);
	for (size_t i = 0; i < answer->orders_n && agent->has_core; i++)
		give_order(world, agent, &answer->orders[i]);
	if (!agent->has_core)
		return;
	node_core_count(agent->core, &after);
	world->totals.stale += stale;
	if (stale && after.ignored - before.ignored != answer->orders_n)
		world_fail(world, "host %u obeys epoch %" PRIu64 " which is over", agent->host,
			   answer->epoch);
}

static void step_acked(struct world *world, struct agent *agent, uint32_t replica,
		       uint64_t next_seq, const struct answered *answered)
{
	struct node_event event = {.kind = NODE_EVENT_ACKED};

	event.acked.next_seq = next_seq;
	event.acked.replica = replica;
	event.acked.leader =
		answered && !answered->answer->standby && !agent_is_stale(agent, answered->answer);
	agent_step(world, agent->host, &event);
}

void agent_pump(struct world *world, struct agent *agent, uint32_t replica,
		struct pump_client_event *event, const struct answered *answered)
{
	struct pump_client_effects effects;
	uint64_t life = agent->life;

	event->now = agent_mono(world, agent->host);
	pump_client_step(&agent->links[replica].pump, event, &effects);
	for (uint32_t i = 0; i < effects.n && agent->life == life; i++) {
		const struct pump_client_effect *effect = &effects.items[i];
		switch (effect->kind) {
		case PUMP_CLIENT_SEND:
			send_poll(world, agent, replica, effect);
			break;
		case PUMP_CLIENT_TAKE:
			take(world, agent, answered, effect->sent_at);
			break;
		case PUMP_CLIENT_REFUSE:
			world->totals.stale++;
			break;
		case PUMP_CLIENT_ACKED:
			step_acked(world, agent, replica, effect->first_seq, answered);
			break;
		case PUMP_CLIENT_RENEW:
			agent_greet(world, agent, replica);
			break;
		}
	}
	if (agent->life == life)
		set_pump_timer(world, agent, replica);
}

void agent_pump_all(struct world *world, struct agent *agent, const struct pump_client_event *event)
{
	uint64_t life = agent->life;

	for (uint32_t i = 0; i < world->shape.replicas_n && agent->life == life; i++) {
		struct pump_client_event one = *event;
		agent_pump(world, agent, i, &one, NULL);
	}
}

static void receive_answer(struct world *world, struct agent *agent, const struct message *message)
{
	struct pump_client_event event = {.kind = PUMP_CLIENT_ANSWER};
	static _Alignas(16) uint8_t lists[1 << 18];
	struct wire_arena arena = {lists, sizeof(lists), 0};
	const struct link *link = &agent->links[message->replica];
	struct wire_answer answer;
	struct answered answered = {&answer, message->polled_ns};
	struct err err;

	if (message->session != link->session || !link->pump.is_open)
		return;
	if (wire_answer_decode(message->body, message->body_n, &arena, &answer, &err))
		world_fail(world, "an answer cannot be read: %s", err.text);
	event.answer.id = message->poll_id;
	event.answer.epoch = answer.epoch;
	event.answer.next_seq = answer.next_seq;
	event.answer.resync = answer.resync;
	event.answer.standby = answer.standby;
	agent_pump(world, agent, message->replica, &event, &answered);
}

void agent_receive(struct world *world, const struct message *message)
{
	struct agent *agent = world->agents[message->host];
	struct link *link = &agent->links[message->replica];
	struct pump_client_event open = {.kind = PUMP_CLIENT_OPEN};

	if (!agent_is_there(agent))
		return;
	switch (message->kind) {
	case MESSAGE_WELCOME:
		if (message->hello != link->greets || link->pump.is_open)
			break;
		link->session = message->session;
		agent_pump(world, agent, message->replica, &open, NULL);
		break;
	case MESSAGE_UNKNOWN:
		if (message->session == link->session && link->pump.is_open)
			agent_greet(world, agent, message->replica);
		break;
	case MESSAGE_ANSWER:
		receive_answer(world, agent, message);
		break;
	case MESSAGE_HELLO:
	case MESSAGE_POLL:
		check_broken("a message to an agent", __FILE__, __LINE__);
	}
}
