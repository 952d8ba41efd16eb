/*
 * The whole path over loopback, as both shells walk it: enrolment, handshake, parked polls, an
 * order, a record, and a scheduler that is killed and returns with nothing but what it had stored.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/io/bus.h"
#include "proto/handshake.h"
#include "proto/pump.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { GUARD_MS = 20000 };

static uv_loop_t loop;
static uv_timer_t guard, agent_timer;
static struct rng rng = {5};
static struct err err;
static uint8_t bytes[WIRE_ENVELOPE_MAX], plain[WIRE_BODY_MAX], room[1 << 20];
static bool timed_out;
static size_t closed_n;

/* What the scheduler has on disk, and below it what it loses when it is killed. */
static struct {
	struct identity self;
	struct id node;
	uint8_t node_public_key[IDENTITY_PUBLIC_N];
	uint64_t next_seq, epoch;

	struct bus bus;
	struct envelope_peer peer;
	struct pump_server pump;
	uint64_t sessions_n;
	bool order_waits;
} scheduler;

/* The agent: disk, then memory. */
static struct {
	struct identity self;
	struct id node;
	uint8_t scheduler_public_key[IDENTITY_PUBLIC_N];
	struct wire_record outbox[8]; /* seq 1.. */
	uint64_t end_seq;

	struct bus bus;
	struct handshake handshake;
	struct session session;
	struct pump_client pump;
	uint32_t last_clear_id;
	size_t sessions_n, orders_n;
	uint64_t acked_seq;
} agent;

static struct mono now(void)
{
	return (struct mono){(int64_t)uv_now(&loop) * NS_PER_MS};
}

static void random_bytes(uint8_t *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)rng_next(&rng);
}

/* ---- the scheduler's shell ---- */

static void scheduler_says_in_clear(uint64_t token, const struct wire_shape *shape,
				    const void *message)
{
	size_t n;

	assert_int_equal(envelope_write_clear(shape, message, &scheduler.node, bytes, sizeof(bytes),
					      &n, &err),
			 0);
	bus_reply(&scheduler.bus, token, bytes, n);
}

static void scheduler_answers(const struct pump_answers *answers)
{
	static struct pump_batch batch;

	for (uint32_t i = 0; i < answers->n; i++) {
		struct wire_answer answer = {.epoch = scheduler.epoch,
					     .next_seq = scheduler.next_seq,
					     .resync = answers->items[i].resync};
		struct wire_order order = {.kind = WIRE_ORDER_KILL,
					   .sandbox = {"i1"},
					   .attempt = 42,
					   .incarnation = 1,
					   .cause = CAUSE_REQUEST};
		size_t n;

		batch.n = batch.bytes = 0;
		if (scheduler.order_waits && pump_batch_add(&batch, &order))
			scheduler.order_waits = false;
		answer.orders = batch.orders;
		answer.orders_n = batch.n;
		assert_int_equal(envelope_seal(&scheduler.peer.current, &wire_shape_answer, &answer,
					       bytes, sizeof(bytes), &n, &err),
				 0);
		bus_reply(&scheduler.bus, answers->items[i].token, bytes, n);
	}
}

static void scheduler_steps(struct pump_server_event event)
{
	struct pump_answers answers;

	event.now = now();
	pump_server_step(&scheduler.pump, &event, &answers);
	scheduler_answers(&answers);
}

static void scheduler_takes_poll(uint64_t token, const struct wire_poll *poll)
{
	uint64_t end_seq = poll->records_n ? poll->first_seq + poll->records_n : 0;
	bool gap = end_seq && poll->first_seq > scheduler.next_seq;

	scheduler_steps((struct pump_server_event){
		.kind = PUMP_SERVER_POLL, .token = token, .end_seq = end_seq});
	if (!gap && end_seq > scheduler.next_seq)
		scheduler.next_seq = end_seq; /* the commit */
	if (end_seq)
		scheduler_steps((struct pump_server_event){.kind = PUMP_SERVER_DURABLE,
							   .next_seq = scheduler.next_seq,
							   .resync = gap});
}

static void scheduler_opens(uint64_t token, const struct wire_envelope *envelope)
{
	struct wire_arena arena = {room, sizeof(room), 0};
	struct wire_session_welcome hint;
	struct wire_bytes body;
	struct wire_poll poll;
	bool is_new;

	if (envelope_peer_open(&scheduler.peer, envelope, plain, sizeof(plain), &body, &is_new,
			       &err)) {
		handshake_refuse(&scheduler.self, NULL, "session unknown", &hint);
		scheduler_says_in_clear(token, &wire_shape_session_welcome, &hint);
		return;
	}
	if (is_new)
		scheduler_steps((struct pump_server_event){.kind = PUMP_SERVER_SESSION});
	assert_int_equal(wire_poll_decode(body.data, body.n, &arena, &poll, &err), 0);
	scheduler_takes_poll(token, &poll);
}

static void scheduler_enrols(uint64_t token, const struct wire_envelope *envelope)
{
	struct wire_enrol_reply reply = {.ok = true, .node = {"nod_a"}};
	struct wire_enrol_request request;
	struct wire_arena nothing = {0};

	assert_int_equal(wire_enrol_request_decode(envelope->body.data, envelope->body.n, &nothing,
						   &request, &err),
			 0);
	assert_string_equal(request.token, "one-time");
	scheduler.node = reply.node;
	memcpy(scheduler.node_public_key, request.node_public_key, IDENTITY_PUBLIC_N);
	memcpy(reply.scheduler_public_key, scheduler.self.public_key, IDENTITY_PUBLIC_N);
	scheduler_says_in_clear(token, &wire_shape_enrol_reply, &reply);
}

static void scheduler_greets(uint64_t token, const struct wire_envelope *envelope)
{
	uint8_t random[HANDSHAKE_ACCEPT_RANDOM_N];
	struct wire_session_welcome welcome;
	struct wire_arena nothing = {0};
	struct wire_session_hello hello;
	struct session session;

	random_bytes(random, sizeof(random));
	assert_int_equal(wire_session_hello_decode(envelope->body.data, envelope->body.n, &nothing,
						   &hello, &err),
			 0);
	if (handshake_accept(&scheduler.self, scheduler.node_public_key, &hello,
			     ++scheduler.sessions_n, random, &welcome, &session, &err))
		handshake_refuse(&scheduler.self, &hello, err.text, &welcome);
	else
		envelope_peer_offer(&scheduler.peer, &session);
	scheduler_says_in_clear(token, &wire_shape_session_welcome, &welcome);
}

static void on_request(struct bus *bus, uint64_t token, const uint8_t *body, size_t body_n)
{
	struct wire_envelope envelope;

	(void)bus;
	if (envelope_read(body, body_n, &envelope, &err))
		return;
	if (envelope.kind == WIRE_KIND_ENROL_REQUEST)
		scheduler_enrols(token, &envelope);
	else if (envelope.kind == WIRE_KIND_SESSION_HELLO)
		scheduler_greets(token, &envelope);
	else if (envelope.kind == WIRE_KIND_POLL)
		scheduler_opens(token, &envelope);
}

static void on_closed(struct bus *bus)
{
	(void)bus;
	closed_n++;
}

static void scheduler_starts(const char *url)
{
	struct bus_options options = {.url = url, .message_max = WIRE_ENVELOPE_MAX};
	struct bus_callbacks callbacks = {.on_message = on_request, .on_closed = on_closed};

	scheduler.epoch++;
	scheduler.peer = (struct envelope_peer){0};
	pump_server_init(&scheduler.pump, scheduler.next_seq);
	if (bus_listen(&scheduler.bus, &loop, &options, &callbacks, &err))
		fail_msg("%s", err.text);
}

/* ---- the agent's shell ---- */

static void agent_says_in_clear(const struct wire_shape *shape, const void *message)
{
	size_t n;

	assert_int_equal(
		envelope_write_clear(shape, message, &agent.node, bytes, sizeof(bytes), &n, &err),
		0);
	/* Polls have ids of their own; these come from the upper half. */
	agent.last_clear_id++;
	bus_send(&agent.bus, (uint32_t)(1 << 30) + agent.last_clear_id, bytes, n);
}

static void agent_greets(void)
{
	uint8_t random[HANDSHAKE_START_RANDOM_N];

	random_bytes(random, sizeof(random));
	handshake_start(&agent.handshake, &agent.self, &agent.node, "boot",
			agent.scheduler_public_key, random);
	agent_says_in_clear(&wire_shape_session_hello, &agent.handshake.hello);
}

static void agent_polls(const struct pump_client_effect *effect)
{
	struct wire_poll poll = {.boot_id = "boot",
				 .at_wall_ns = 1,
				 .first_seq = effect->first_seq,
				 .records = &agent.outbox[effect->first_seq - 1],
				 .records_n = effect->records_n};
	size_t n;

	assert_int_equal(envelope_seal(&agent.session, &wire_shape_poll, &poll, bytes,
				       sizeof(bytes), &n, &err),
			 0);
	bus_send(&agent.bus, effect->id, bytes, n);
}

static void on_agent_timer(uv_timer_t *timer);

static void agent_steps(struct pump_client_event event, const struct wire_answer *answer)
{
	struct pump_client_effects effects;
	struct mono at;

	event.now = now();
	pump_client_step(&agent.pump, &event, &effects);
	for (uint32_t i = 0; i < effects.n; i++) {
		const struct pump_client_effect *effect = &effects.items[i];

		switch (effect->kind) {
		case PUMP_CLIENT_SEND:
			agent_polls(effect);
			break;
		case PUMP_CLIENT_TAKE:
			agent.orders_n += answer->orders_n;
			break;
		case PUMP_CLIENT_ACKED:
			agent.acked_seq = effect->first_seq;
			break;
		case PUMP_CLIENT_RENEW:
			agent_greets();
			break;
		case PUMP_CLIENT_REFUSE:
			break;
		}
	}
	if (pump_client_next_deadline(&agent.pump, &at))
		uv_timer_start(&agent_timer, on_agent_timer,
			       at.ns > now().ns ? (uint64_t)mono_ms_since(at, now()) + 1 : 0, 0);
}

static void on_agent_timer(uv_timer_t *timer)
{
	(void)timer;
	agent_steps((struct pump_client_event){.kind = PUMP_CLIENT_TICK}, NULL);
}

static void agent_is_enrolled(const struct wire_envelope *envelope)
{
	struct wire_arena nothing = {0};
	struct wire_enrol_reply reply;

	assert_int_equal(wire_enrol_reply_decode(envelope->body.data, envelope->body.n, &nothing,
						 &reply, &err),
			 0);
	assert_true(reply.ok);
	agent.node = reply.node;
	memcpy(agent.scheduler_public_key, reply.scheduler_public_key, IDENTITY_PUBLIC_N);
	agent_greets();
}

static void agent_is_welcome(const struct wire_envelope *envelope)
{
	struct wire_session_welcome welcome;
	struct wire_arena nothing = {0};

	assert_int_equal(wire_session_welcome_decode(envelope->body.data, envelope->body.n,
						     &nothing, &welcome, &err),
			 0);
	if (!agent.handshake.is_pending) {
		/* Our session is not known there; anybody may say so, but a new one does no harm.
		 */
		agent_steps((struct pump_client_event){.kind = PUMP_CLIENT_CLOSED}, NULL);
		agent_greets();
		return;
	}
	if (handshake_finish(&agent.handshake, &welcome, &agent.session, &err))
		return;
	agent.sessions_n++;
	agent_steps((struct pump_client_event){.kind = PUMP_CLIENT_OPEN}, NULL);
}

static void on_answer(struct bus *bus, uint64_t token, const uint8_t *body, size_t body_n)
{
	struct wire_arena arena = {room, sizeof(room), 0};
	struct wire_envelope envelope;
	struct wire_bytes opened;
	struct wire_answer answer;

	(void)bus;
	assert_int_equal(envelope_read(body, body_n, &envelope, &err), 0);
	if (envelope.kind == WIRE_KIND_ENROL_REPLY) {
		agent_is_enrolled(&envelope);
	} else if (envelope.kind == WIRE_KIND_SESSION_WELCOME) {
		agent_is_welcome(&envelope);
	} else if (envelope_open(&agent.session, &envelope, plain, sizeof(plain), &opened, &err) ==
		   0) {
		assert_int_equal(wire_answer_decode(opened.data, opened.n, &arena, &answer, &err),
				 0);
		agent_steps((struct pump_client_event){.kind = PUMP_CLIENT_ANSWER,
						       .answer = {.id = (uint32_t)token,
								  .epoch = answer.epoch,
								  .next_seq = answer.next_seq,
								  .resync = answer.resync}},
			    &answer);
	}
}

static void on_link(struct bus *bus, bool up)
{
	struct wire_enrol_request request = {.token = "one-time", .host_name = "here"};

	(void)bus;
	if (!up) {
		agent_steps((struct pump_client_event){.kind = PUMP_CLIENT_CLOSED}, NULL);
	} else if (id_is_empty(&agent.node)) {
		memcpy(request.node_public_key, agent.self.public_key, IDENTITY_PUBLIC_N);
		agent_says_in_clear(&wire_shape_enrol_request, &request);
	} else {
		agent_greets();
	}
}

static void agent_records(enum wire_record_kind kind)
{
	agent.outbox[agent.end_seq - 1] = (struct wire_record){.kind = kind,
							       .seq = agent.end_seq,
							       .sandbox = {"i1"},
							       .attempt = 42,
							       .incarnation = 1,
							       .cause = CAUSE_REQUEST,
							       .at_wall_ns = 1};
	agent.end_seq++;
	agent_steps(
		(struct pump_client_event){.kind = PUMP_CLIENT_RECORDS, .end_seq = agent.end_seq},
		NULL);
}

/* ---- the story ---- */

static void on_guard(uv_timer_t *timer)
{
	(void)timer;
	timed_out = true;
}

#define run_until(condition)                                                                       \
	do {                                                                                       \
		uv_timer_start(&guard, on_guard, GUARD_MS, 0);                                     \
		while (!(condition)) {                                                             \
			uv_run(&loop, UV_RUN_ONCE);                                                \
			if (timed_out)                                                             \
				fail_msg("never: %s (%s)", #condition, err.text);                  \
		}                                                                                  \
		uv_timer_stop(&guard);                                                             \
	} while (0)

static void a_node_enrols_works_and_survives_its_scheduler(void **state)
{
	struct bus_callbacks callbacks = {
		.on_message = on_answer, .on_link = on_link, .on_closed = on_closed};
	struct bus_options options = {.message_max = WIRE_ENVELOPE_MAX};
	char url[64];

	(void)state;
	scheduler.next_seq = 1;
	scheduler_starts("tcp://127.0.0.1:0");
	snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", scheduler.bus.port);
	options.url = url;
	agent.end_seq = 1;
	pump_client_init(&agent.pump, 0, 1, 1);
	assert_int_equal(bus_dial(&agent.bus, &loop, &options, &callbacks, &err), 0);
	run_until(agent.sessions_n == 1 && scheduler.pump.parked_n == 1);

	/* An order needs no poll to be sent for it: one is parked. */
	scheduler.order_waits = true;
	scheduler_steps((struct pump_server_event){.kind = PUMP_SERVER_WAKE});
	run_until(agent.orders_n == 1);

	/* A record is durable at the scheduler before the agent hears so. */
	agent_records(WIRE_RECORD_STARTED);
	run_until(agent.acked_seq == 2);
	assert_int_equal(scheduler.next_seq, 2);

	/* The scheduler is killed, a record is born meanwhile, and it returns. */
	bus_close(&scheduler.bus);
	run_until(closed_n == 1);
	agent_records(WIRE_RECORD_ENDED);
	scheduler_starts(url);
	run_until(agent.acked_seq == 3);
	assert_int_equal(scheduler.next_seq, 3);
	assert_int_equal(agent.pump.epoch, 2);

	/* It forgets the session only: the next poll earns a hint, and the node opens a new one. */
	scheduler.peer = (struct envelope_peer){0};
	agent_records(WIRE_RECORD_USAGE);
	run_until(agent.acked_seq == 4);

	bus_close(&scheduler.bus);
	bus_close(&agent.bus);
	run_until(closed_n == 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_enrols_works_and_survives_its_scheduler),
	};
	uint8_t seed[IDENTITY_SEED_N];
	int failed;

	if (sodium_init() < 0)
		return 1;
	random_bytes(seed, sizeof(seed));
	identity_make(seed, &scheduler.self);
	random_bytes(seed, sizeof(seed));
	identity_make(seed, &agent.self);
	uv_loop_init(&loop);
	uv_timer_init(&loop, &guard);
	uv_timer_init(&loop, &agent_timer);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	uv_close((uv_handle_t *)&guard, NULL);
	uv_close((uv_handle_t *)&agent_timer, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	return failed || uv_loop_close(&loop);
}
