/* The scheduler's end of the bus: a pump for each host, and the sessions under them. */
#include "tests/sim/leader_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/oracle.h"

#include <inttypes.h>
#include <string.h>

enum { ANSWER_BYTES_MAX = 1 << 18 };

void leader_send_answer(struct world *world, struct leader *leader, const struct item *item)
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

static void on_pump_timer(struct world *world, const struct call *call)
{
	struct pump_server_event event = {.kind = PUMP_SERVER_TICK};
	struct leader *leader = world->leader;

	if (call->life == leader->life && call->a == leader->hosts[call->host].timer)
		leader_pump(world, call->host, &event);
}

void leader_pump(struct world *world, uint32_t host, struct pump_server_event *event)
{
	struct core_event poll = {.kind = CORE_EVENT_NODE_POLL, .node_id = agent_id(host)};
	struct leader *leader = world->leader;
	struct call call = {.fn = on_pump_timer, .host = host, .life = leader->life};
	struct pump_answers answers;
	struct mono at;

	event->now = leader_mono(world);
	pump_server_step(&leader->hosts[host].pump, event, &answers);
	for (uint32_t i = 0; i < answers.n; i++) {
		struct item item = {.is_answer = true, .host = host};
		item.token = answers.items[i].token;
		item.resync = answers.items[i].resync;
		/* Its orders gather in front of it. */
		leader_step_once(world, &poll);
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
		leader_pump(world, message->host, &parked);
}

static void receive_hello(struct world *world, struct leader *leader, const struct message *message)
{
	struct core_event event = {.kind = CORE_EVENT_NODE_SESSION};
	struct pump_server_event session = {.kind = PUMP_SERVER_SESSION};
	struct message welcome = {.kind = MESSAGE_WELCOME, .host = message->host};

	leader->hosts[message->host].session = ++leader->last_session;
	event.node_id = agent_id(message->host);
	leader_step(world, &event);
	leader_pump(world, message->host, &session);
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
