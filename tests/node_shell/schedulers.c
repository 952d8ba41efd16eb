#include "tests/node_shell/schedulers.h"

#include "common/base/check.h"
#include "node-agent/shell/host.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TURN_MS = 50 };

const char scheduler_node[] = "n0000000000000000001";

static void reply_clear(struct scheduler *scheduler, uint64_t token, const struct wire_shape *shape,
			const void *message)
{
	struct err err;
	size_t n;

	CHECK(envelope_write_clear(shape, message, NULL, scheduler->out, WIRE_ENVELOPE_MAX, &n,
				   &err) == 0);
	bus_reply(&scheduler->bus, token, scheduler->out, n);
}

static void on_enrol(struct scheduler *scheduler, uint64_t token, const struct wire_bytes *body)
{
	struct wire_enrol_request request;
	struct wire_enrol_reply reply = {.ok = !scheduler->standby};
	struct wire_arena none = {0};

	CHECK(wire_enrol_request_decode(body->data, body->n, &none, &request, NULL) == 0);
	scheduler->enrols_asked_n++;
	if (scheduler->standby) {
		strcpy(reply.refusal, "this scheduler is a standby");
	} else {
		CHECK(id_parse(scheduler_node, strlen(scheduler_node), &reply.node));
		memcpy(reply.scheduler_public_key, scheduler->self.public_key, IDENTITY_PUBLIC_N);
	}
	reply_clear(scheduler, token, &wire_shape_enrol_reply, &reply);
}

/* Nodes of tests are let in by the key that they have; it is the signature's check that would fail.
 */
static void on_hello(struct scheduler *scheduler, uint64_t token, const struct wire_bytes *body)
{
	struct pump_server_event opened = {.kind = PUMP_SERVER_SESSION, .now = host_mono()};
	uint8_t random[HANDSHAKE_ACCEPT_RANDOM_N];
	struct wire_session_welcome welcome;
	struct wire_session_hello hello;
	struct wire_arena none = {0};
	struct pump_answers answers;
	struct session session;
	struct err err;

	CHECK(wire_session_hello_decode(body->data, body->n, &none, &hello, NULL) == 0);
	randombytes_buf(random, sizeof(random));
	CHECK(handshake_accept(&scheduler->self, scheduler->node_key, &hello,
			       ++scheduler->sessions_n, random, &welcome, &session, &err) == 0);
	envelope_peer_offer(&scheduler->peer, &session);
	pump_server_step(&scheduler->pump, &opened, &answers);
	reply_clear(scheduler, token, &wire_shape_session_welcome, &welcome);
}

static void answer(struct scheduler *scheduler, const struct pump_answers *answers)
{
	struct wire_answer message = {
		.epoch = scheduler->epoch,
		.next_seq = scheduler->next_seq,
		.standby = scheduler->standby,
		.lease_ms = scheduler->lease_ms,
		.lost_below = scheduler->lost_below,
	};
	struct err err;
	size_t n;

	if (scheduler->order.attempt && !scheduler->standby) {
		message.orders = &scheduler->order;
		message.orders_n = 1;
	}
	for (uint32_t i = 0; i < answers->n; i++) {
		message.resync = answers->items[i].resync;
		CHECK(envelope_seal(&scheduler->peer.current, &wire_shape_answer, &message,
				    scheduler->out, WIRE_ENVELOPE_MAX, &n, &err) == 0);
		bus_reply(&scheduler->bus, answers->items[i].token, scheduler->out, n);
	}
}

static void keep_records(struct scheduler *scheduler, const struct wire_poll *poll)
{
	for (size_t i = 0; i < poll->records_n; i++) {
		const struct wire_record *record = &poll->records[i];
		if (record->seq != scheduler->next_seq)
			continue;
		CHECK(record->seq < SCHEDULER_RECORDS_MAX);
		scheduler->records[record->seq] = *record;
		scheduler->records[record->seq].note.data = NULL;
		if (record->note.n) {
			memcpy(scheduler->note, record->note.data, record->note.n);
			scheduler->note_n = record->note.n;
		}
		scheduler->next_seq++;
	}
}

static void on_poll(struct scheduler *scheduler, uint64_t token, const struct wire_poll *poll)
{
	struct pump_server_event event = {.now = host_mono(), .token = token};
	struct pump_answers answers;

	scheduler->polls_n++;
	scheduler->poll = *poll;
	scheduler->poll.records = NULL;
	scheduler->poll.templates = NULL;
	scheduler->was_left |= poll->leaving;
	if (scheduler->on_poll)
		scheduler->on_poll(scheduler, poll);
	event.kind = PUMP_SERVER_POLL;
	event.end_seq = poll->records_n ? poll->first_seq + poll->records_n : 0;
	pump_server_step(&scheduler->pump, &event, &answers);
	answer(scheduler, &answers);
	event.kind = PUMP_SERVER_DURABLE;
	/* The node has cut off what this scheduler would want first. */
	event.resync = poll->first_seq > scheduler->next_seq;
	keep_records(scheduler, poll);
	event.next_seq = scheduler->next_seq;
	pump_server_step(&scheduler->pump, &event, &answers);
	answer(scheduler, &answers);
}

static void on_observed(struct scheduler *scheduler, const struct wire_bytes *body)
{
	struct wire_observed observed;
	struct err err;

	CHECK(wire_observed_decode(body->data, body->n, &scheduler->arena, &observed, &err) == 0);
	scheduler->observed_n++;
	scheduler->observed = observed.sandbox;
	scheduler->samples_n += observed.samples_n;
	scheduler->lines_n += observed.lines_n;
	scheduler->lost_n += observed.lost_n;
}

static void on_sealed(struct scheduler *scheduler, uint64_t token,
		      const struct wire_envelope *envelope)
{
	struct wire_bytes body;
	struct wire_poll poll;
	struct err err;
	bool is_new;

	if (envelope_peer_open(&scheduler->peer, envelope, scheduler->plain, WIRE_BODY_MAX, &body,
			       &is_new, &err))
		return;
	scheduler->arena.used = 0;
	if (envelope->kind == WIRE_KIND_OBSERVED) {
		on_observed(scheduler, &body);
		return;
	}
	CHECK(envelope->kind == WIRE_KIND_POLL);
	CHECK(wire_poll_decode(body.data, body.n, &scheduler->arena, &poll, &err) == 0);
	on_poll(scheduler, token, &poll);
}

static void on_message(struct bus *bus, uint64_t token, const uint8_t *data, size_t n)
{
	struct scheduler *scheduler = bus->user;
	struct wire_envelope envelope;
	struct err err;

	CHECK(envelope_read(data, n, &envelope, &err) == 0);
	if (envelope.session)
		on_sealed(scheduler, token, &envelope);
	else if (envelope.kind == WIRE_KIND_ENROL_REQUEST)
		on_enrol(scheduler, token, &envelope.body);
	else if (envelope.kind == WIRE_KIND_SESSION_HELLO)
		on_hello(scheduler, token, &envelope.body);
}

static void on_turn(uv_timer_t *timer)
{
	struct pump_server_event tick = {.kind = PUMP_SERVER_TICK, .now = host_mono()};
	struct scheduler *scheduler = timer->data;
	struct pump_answers answers;

	pump_server_step(&scheduler->pump, &tick, &answers);
	answer(scheduler, &answers);
}

void scheduler_open(struct scheduler *scheduler, uv_loop_t *loop)
{
	struct bus_options options = {.url = "tcp://127.0.0.1:0", .message_max = WIRE_ENVELOPE_MAX};
	struct bus_callbacks callbacks = {.on_message = on_message, .user = scheduler};
	uint8_t seed[IDENTITY_SEED_N] = {7};
	struct err err;

	memset(scheduler, 0, sizeof(*scheduler));
	identity_make(seed, &scheduler->self);
	scheduler->epoch = 1;
	scheduler->next_seq = 1;
	pump_server_init(&scheduler->pump, 1);
	scheduler->arena.size = wire_arena_need(&wire_shape_poll);
	scheduler->arena.data = malloc(scheduler->arena.size);
	scheduler->plain = malloc(WIRE_BODY_MAX);
	scheduler->out = malloc(WIRE_ENVELOPE_MAX);
	CHECK(scheduler->arena.data && scheduler->plain && scheduler->out);
	CHECK(bus_listen(&scheduler->bus, loop, &options, &callbacks, &err) == 0);
	uv_timer_init(loop, &scheduler->turn);
	scheduler->turn.data = scheduler;
	uv_timer_start(&scheduler->turn, on_turn, TURN_MS, TURN_MS);
}

void scheduler_url(const struct scheduler *scheduler, char out_url[64])
{
	snprintf(out_url, 64, "tcp://127.0.0.1:%d", scheduler->bus.port);
}

void scheduler_wake(struct scheduler *scheduler)
{
	struct pump_server_event wake = {.kind = PUMP_SERVER_WAKE, .now = host_mono()};
	struct pump_answers answers;

	pump_server_step(&scheduler->pump, &wake, &answers);
	answer(scheduler, &answers);
}

void scheduler_close(struct scheduler *scheduler)
{
	if (uv_is_closing((uv_handle_t *)&scheduler->turn))
		return;
	uv_close((uv_handle_t *)&scheduler->turn, NULL);
	bus_close(&scheduler->bus);
}

void scheduler_free(struct scheduler *scheduler)
{
	free(scheduler->arena.data);
	free(scheduler->plain);
	free(scheduler->out);
}
