/* A scheduler's end of the bus: a pump for each host, and the sessions under them. */
#include "tests/sim/replica_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/oracle.h"
#include "tests/sim/tenants.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_BYTES_MAX = 1 << 18 };

/* ---- orders and answers ---- */

/* All that the row holds beyond a record. */
static struct wire_bytes write_note(struct world *world, const struct replica *replica,
				    const struct wire_order *order, uint32_t key, uint64_t rules,
				    uint8_t out[NOTE_BYTES_MAX])
{
	const struct row *row = &replica->store.rows[sandbox_number(&order->sandbox)];
	struct wire_sandbox_note note = {.created_at_ns = row->it.created_at.ns,
					 .timeout_s = row->it.timeout_s};
	char text[24];
	struct err err;
	size_t n;

	snprintf(text, sizeof(text), "%" PRIu64, rules);
	if (rules)
		note.network = (struct wire_bytes){(const uint8_t *)text, strlen(text)};
	if (key)
		snprintf(note.idempotency_key, sizeof(note.idempotency_key), "key-%u", key);
	if (wire_sandbox_note_encode(&note, out, NOTE_BYTES_MAX, &n, &err))
		world_fail(world, "a note cannot be written: %s", err.text);
	return (struct wire_bytes){out, n};
}

void replica_order(struct world *world, struct replica *replica, const struct item *item)
{
	const struct core_effect *effect = &item->effect;
	struct host_end *end = &replica->hosts[replica_host_of(&effect->order.node)];
	struct wire_order order = effect->order.order;

	if (end->batch.n == PUMP_ORDERS_MAX)
		return; /* it comes again by itself */
	const struct row *row = &replica->store.rows[sandbox_number(&order.sandbox)];

	if (order.kind == WIRE_ORDER_CLAIM || order.kind == WIRE_ORDER_SNAPSHOT)
		order.note = write_note(world, replica, &order, item->key, row->rules,
					end->notes[end->batch.n]);
	if (order.kind == WIRE_ORDER_DEADLINE && row->next_rules)
		order.note = write_note(world, replica, &order, item->key, row->next_rules,
					end->notes[end->batch.n]);
	pump_batch_add(&end->batch, &order);
}

static void fill_answer(struct world *world, struct replica *replica, const struct item *item,
			struct wire_answer *answer)
{
	struct host_end *end = &replica->hosts[item->host];
	const struct id node = agent_id(item->host);
	struct core_node_view view;

	answer->standby = core_role(replica->core) == CORE_STANDBY;
	answer->epoch = replica_is_alone(world) ? replica->store.epoch
			: answer->standby       ? EPOCH_BASE + replica->ha.known
						: replica_epoch(world, replica->number);
	answer->next_seq = end->pump.next_seq;
	answer->resync = item->resync;
	if (answer->standby)
		return;
	answer->orders = end->batch.orders;
	answer->orders_n = end->batch.n;
	answer->lease_ms = world->shape.lease_ms;
	CHECK(core_node_find(replica->core, &node, &view));
	answer->lost_below = view.lost_below;
}

void replica_send_answer(struct world *world, struct replica *replica, const struct item *item)
{
	static uint8_t buffer[sizeof(struct message) + ANSWER_BYTES_MAX];
	struct message *message = (struct message *)(void *)buffer;
	struct host_end *end = &replica->hosts[item->host];
	const struct poll_name *poll = &replica->polls[item->token % POLLS_MAX];
	struct wire_answer answer = {0};
	struct err err;

	fill_answer(world, replica, item, &answer);
	memset(message, 0, sizeof(*message));
	message->kind = MESSAGE_ANSWER;
	message->host = item->host;
	message->replica = replica->number;
	message->session = poll->session;
	message->poll_id = poll->id;
	message->polled_ns = poll->polled_ns;
	if (wire_answer_encode(&answer, message->body, ANSWER_BYTES_MAX, &message->body_n, &err))
		world_fail(world, "an answer cannot be written: %s", err.text);
	world_say(world,
		  "replica %u answers poll %u of host %u%s: %zu orders, next %" PRIu64
		  " lost %" PRIx64,
		  replica->number, poll->id, item->host, answer.standby ? " as a standby" : "",
		  answer.orders_n, answer.next_seq, answer.lost_below);
	oracle_acknowledged(world, replica->number, item->host, answer.next_seq);
	end->batch.n = end->batch.bytes = 0;
	net_send(world, message);
}

/* ---- the pump ---- */

static void on_pump_timer(struct world *world, const struct call *call)
{
	struct pump_server_event event = {.kind = PUMP_SERVER_TICK};
	struct replica *replica = world->replicas[call->replica];

	if (call->life == replica->life && call->a == replica->hosts[call->host].timer)
		replica_pump(world, replica, call->host, &event);
}

void replica_pump(struct world *world, struct replica *replica, uint32_t host,
		  struct pump_server_event *event)
{
	struct core_event poll = {.kind = CORE_EVENT_NODE_POLL, .node_id = agent_id(host)};
	struct call call = {.fn = on_pump_timer, .host = host, .life = replica->life};
	struct pump_answers answers;
	struct mono at;

	event->now = replica_mono(world, replica);
	pump_server_step(&replica->hosts[host].pump, event, &answers);
	for (uint32_t i = 0; i < answers.n; i++) {
		struct item item = {.kind = ITEM_ANSWER, .host = host};
		item.token = answers.items[i].token;
		item.resync = answers.items[i].resync;
		/* Its orders gather in front of it. */
		replica_step_once(world, replica, &poll);
		rounds_add(world, &replica->rounds, &item);
	}
	call.of = OF_REPLICA(replica->number);
	call.replica = replica->number;
	call.a = ++replica->hosts[host].timer;
	if (pump_server_next_deadline(&replica->hosts[host].pump, &at))
		world_plan(world, clock_until_ns(&replica->clock, world->now_ns, at), call);
	rounds_flush(world, &replica->rounds);
}

/* ---- what comes in ---- */

static uint64_t rules_of(const struct wire_sandbox_note *note)
{
	char text[24];

	snprintf(text, sizeof(text), "%.*s", (int)note->network.n,
		 (const char *)note->network.data);
	return note->network.n ? strtoull(text, NULL, 10) : 0;
}

static void step_record(struct world *world, struct replica *replica, uint32_t host,
			const struct wire_record *record)
{
	static _Alignas(16) uint8_t lists[1024];
	struct core_event event = {.kind = CORE_EVENT_RECORD};
	struct wire_arena arena = {lists, sizeof(lists), 0};
	struct wire_sandbox_note note = {0};
	struct err err;

	event.record.node = agent_id(host);
	event.record.record = record;
	if (record->note.n) {
		if (wire_sandbox_note_decode(record->note.data, record->note.n, &arena, &note,
					     &err))
			world_fail(world, "a note cannot be read: %s", err.text);
		event.record.created_at.ns = note.created_at_ns;
		event.record.timeout_s = note.timeout_s;
	}
	replica->stepping_key = 0;
	if (note.idempotency_key[0])
		replica->stepping_key = (uint32_t)strtoul(note.idempotency_key + 4, NULL, 10);
	replica->stepping_rules = rules_of(&note);
	replica_step(world, replica, &event);
	replica->stepping_key = 0;
	replica->stepping_rules = 0;
}

static void receive_poll(struct world *world, struct replica *replica,
			 const struct message *message)
{
	struct pump_server_event parked = {.kind = PUMP_SERVER_POLL};
	struct core_event event = {.kind = CORE_EVENT_NODE_REPORT};
	static _Alignas(16) uint8_t lists[1 << 19];
	struct wire_arena arena = {lists, sizeof(lists), 0};
	uint64_t life = replica->life;
	struct wire_poll poll;
	struct err err;

	if (wire_poll_decode(message->body, message->body_n, &arena, &poll, &err))
		world_fail(world, "a poll cannot be read: %s", err.text);
	event.report.node = agent_id(message->host);
	event.report.poll = &poll;
	replica_step(world, replica, &event);
	for (size_t i = 0; i < poll.records_n && replica->life == life; i++)
		step_record(world, replica, message->host, &poll.records[i]);
	if (replica->life != life)
		return;
	parked.token = ++replica->last_token;
	parked.end_seq = poll.records_n ? poll.first_seq + poll.records_n : 0;
	replica->polls[parked.token % POLLS_MAX] =
		(struct poll_name){message->session, message->poll_id, message->polled_ns};
	replica_pump(world, replica, message->host, &parked);
}

static void receive_hello(struct world *world, struct replica *replica,
			  const struct message *message)
{
	struct core_event event = {.kind = CORE_EVENT_NODE_SESSION};
	struct pump_server_event session = {.kind = PUMP_SERVER_SESSION};
	struct message welcome = {.kind = MESSAGE_WELCOME, .host = message->host};
	uint64_t life = replica->life;

	replica->hosts[message->host].session = ++replica->last_session;
	event.node_id = agent_id(message->host);
	replica_step(world, replica, &event);
	if (replica->life == life)
		replica_pump(world, replica, message->host, &session);
	welcome.replica = replica->number;
	welcome.session = replica->last_session;
	welcome.hello = message->hello;
	net_send(world, &welcome);
}

void replica_receive(struct world *world, const struct message *message)
{
	struct replica *replica = world->replicas[message->replica];
	struct message unknown = {.kind = MESSAGE_UNKNOWN, .host = message->host};

	if (!replica->core)
		return;
	if (message->kind == MESSAGE_HELLO) {
		receive_hello(world, replica, message);
	} else if (message->session == replica->hosts[message->host].session) {
		receive_poll(world, replica, message);
	} else {
		unknown.replica = replica->number;
		unknown.session = message->session;
		net_send(world, &unknown);
	}
}
