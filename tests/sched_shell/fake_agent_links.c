/* A fake node's schedulers: a session and a pump with each, as every agent has them. */
#include "tests/sched_shell/fake_agent.h"

#include "common/base/check.h"
#include "common/io/bus.h"
#include "proto/envelope.h"
#include "proto/handshake.h"
#include "proto/pump.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	GREET_ID = 1 << 30, /* ids of the bus from here on: not the pump's */
	GREET_AGAIN_MS = 300,
};

struct link {
	struct bus bus;
	bool is_up;
	struct handshake handshake;
	struct session session;
	struct pump_client pump;
	struct mono greeted_at;
	uint32_t greet_id;
};

static struct link links[FAKE_SCHEDULERS_MAX];
static struct identity self;
static struct id node; /* empty: not enrolled yet */
static uint8_t scheduler_key[IDENTITY_PUBLIC_N];
static uint8_t out[WIRE_ENVELOPE_MAX], plain[WIRE_BODY_MAX];
static struct wire_arena arena;

static void step_pump(struct link *link, struct pump_client_event *event,
		      const struct wire_answer *answer);

/* ---- sending ---- */

static void send_clear(struct link *link, const struct wire_shape *shape, const void *message)
{
	struct err err;
	size_t n;

	if (envelope_write_clear(shape, message, id_is_empty(&node) ? NULL : &node, out,
				 sizeof(out), &n, &err) == 0)
		bus_send(&link->bus, ++link->greet_id, out, n);
}

/* All are asked for an enrolment: the one that leads gives it. */
static void ask_to_enrol(struct link *link)
{
	struct wire_enrol_request request = {0};

	snprintf(request.token, sizeof(request.token), "%s", options.token);
	memcpy(request.node_public_key, self.public_key, IDENTITY_PUBLIC_N);
	snprintf(request.host_name, sizeof(request.host_name), "%s", options.name);
	snprintf(request.version, sizeof(request.version), "fake");
	send_clear(link, &wire_shape_enrol_request, &request);
}

static void greet(struct link *link)
{
	struct pump_client_event closed = {.kind = PUMP_CLIENT_CLOSED};
	uint8_t random[HANDSHAKE_START_RANDOM_N];

	link->greeted_at = now_mono();
	if (link->pump.is_open)
		step_pump(link, &closed, NULL);
	session_close(&link->session);
	if (id_is_empty(&node)) {
		ask_to_enrol(link);
		return;
	}
	randombytes_buf(random, sizeof(random));
	handshake_start(&link->handshake, &self, &node, "fake", scheduler_key, random);
	send_clear(link, &wire_shape_session_hello, &link->handshake.hello);
}

static void send_poll(struct link *link, const struct pump_client_effect *effect)
{
	struct wire_template template_ = {
		.vcpus = 2, .mem_mib = 512, .disk_mib = 1024, .ready = true};
	struct wire_poll poll = {
		.templates = &template_,
		.templates_n = 1,
		.first_seq = effect->first_seq,
		.records_n = effect->records_n,
	};
	struct err err;
	size_t n;

	vms_fill_poll(&poll);
	if (effect->records_n)
		poll.records = (struct wire_record *)(uintptr_t)vms_records(effect->first_seq);
	snprintf(template_.name, sizeof(template_.name), "%s", options.template_);
	snprintf(template_.template_id, sizeof(template_.template_id), "fake");
	template_.warm_n = options.sandboxes - vms_running_n();
	if (envelope_seal(&link->session, &wire_shape_poll, &poll, out, sizeof(out), &n, &err)) {
		fprintf(stderr, "fake_agent: %s\n", err.text);
		exit(1);
	}
	bus_send(&link->bus, effect->id, out, n);
}

/* ---- the pumps ---- */

/* A leader's. Answers of an older epoch are refused from now on, whoever gives them. */
static void take_answer(const struct wire_answer *answer, struct mono sent_at)
{
	for (uint32_t i = 0; i < options.buses_n; i++)
		if (links[i].pump.epoch < answer->epoch)
			links[i].pump.epoch = answer->epoch;
	vms_take_answer(answer, sent_at);
}

static void step_pump(struct link *link, struct pump_client_event *event,
		      const struct wire_answer *answer)
{
	struct pump_client_effects effects;
	bool renew = false;

	event->now = now_mono();
	pump_client_step(&link->pump, event, &effects);
	for (uint32_t i = 0; i < effects.n; i++) {
		switch (effects.items[i].kind) {
		case PUMP_CLIENT_SEND:
			send_poll(link, &effects.items[i]);
			break;
		case PUMP_CLIENT_TAKE:
			take_answer(answer, effects.items[i].sent_at);
			break;
		case PUMP_CLIENT_RENEW:
			renew = true;
			break;
		case PUMP_CLIENT_REFUSE:
			fprintf(stderr, "fake_agent: an answer of epoch %llu is over\n",
				(unsigned long long)answer->epoch);
			break;
		case PUMP_CLIENT_ACKED:
			break;
		}
	}
	if (renew)
		greet(link);
}

void links_tell_records(void)
{
	for (uint32_t i = 0; i < options.buses_n; i++) {
		struct pump_client_event event = {.kind = PUMP_CLIENT_RECORDS,
						  .end_seq = vms_end_seq()};
		if (links[i].pump.end_seq < event.end_seq)
			step_pump(&links[i], &event, NULL);
	}
}

void links_tell_observed(const struct wire_observed *observed)
{
	struct err err;
	size_t n;

	for (uint32_t i = 0; i < options.buses_n; i++) {
		if (!links[i].pump.is_open)
			continue;
		CHECK(envelope_seal(&links[i].session, &wire_shape_observed, observed, out,
				    sizeof(out), &n, &err) == 0);
		bus_send(&links[i].bus, INT32_MAX, out, n);
	}
}

void links_tell_news(void)
{
	for (uint32_t i = 0; i < options.buses_n; i++) {
		struct pump_client_event event = {.kind = PUMP_CLIENT_NEWS, .urgent = true};
		if (links[i].pump.is_open)
			step_pump(&links[i], &event, NULL);
	}
}

/* ---- receiving ---- */

static void on_enrol_reply(const struct wire_enrol_reply *reply)
{
	if (!reply->ok && strstr(reply->refusal, "stands by"))
		return; /* asked again in a while */
	if (!reply->ok) {
		fprintf(stderr, "fake_agent: %s\n", reply->refusal);
		exit(1);
	}
	if (!id_is_empty(&node))
		return;
	node = reply->node;
	memcpy(scheduler_key, reply->scheduler_public_key, sizeof(scheduler_key));
	for (uint32_t i = 0; i < options.buses_n; i++)
		if (links[i].is_up)
			greet(&links[i]);
}

static void on_welcome(struct link *link, uint64_t token,
		       const struct wire_session_welcome *welcome)
{
	struct pump_client_event open = {.kind = PUMP_CLIENT_OPEN};
	struct err err;

	if (token != link->greet_id) {
		if (mono_ms_since(now_mono(), link->greeted_at) > GREET_AGAIN_MS)
			greet(link);
		return;
	}
	if (handshake_finish(&link->handshake, welcome, &link->session, &err) == 0)
		step_pump(link, &open, NULL);
}

static void on_clear(struct link *link, uint64_t token, const struct wire_envelope *envelope)
{
	const struct wire_bytes *body = &envelope->body;
	struct wire_session_welcome welcome;
	struct wire_enrol_reply reply;
	struct err err;

	arena.used = 0;
	if (envelope->kind == WIRE_KIND_ENROL_REPLY &&
	    wire_enrol_reply_decode(body->data, body->n, &arena, &reply, &err) == 0)
		on_enrol_reply(&reply);
	else if (envelope->kind == WIRE_KIND_SESSION_WELCOME &&
		 wire_session_welcome_decode(body->data, body->n, &arena, &welcome, &err) == 0)
		on_welcome(link, token, &welcome);
}

static void on_message(struct bus *from, uint64_t token, const uint8_t *data, size_t n)
{
	struct pump_client_event event = {.kind = PUMP_CLIENT_ANSWER};
	struct link *link = from->user;
	struct wire_envelope envelope;
	struct wire_answer answer;
	struct wire_bytes body;
	struct err err;

	if (envelope_read(data, n, &envelope, &err))
		return;
	if (envelope.session == 0) {
		on_clear(link, token, &envelope);
		return;
	}
	arena.used = 0;
	if (envelope_open(&link->session, &envelope, plain, sizeof(plain), &body, &err) ||
	    wire_answer_decode(body.data, body.n, &arena, &answer, &err))
		return;
	event.answer.id = (uint32_t)token;
	event.answer.epoch = answer.epoch;
	event.answer.next_seq = answer.next_seq;
	event.answer.resync = answer.resync;
	event.answer.standby = answer.standby;
	step_pump(link, &event, &answer);
}

static void on_link(struct bus *from, bool up)
{
	struct pump_client_event closed = {.kind = PUMP_CLIENT_CLOSED};
	struct link *link = from->user;

	link->is_up = up;
	if (up)
		greet(link);
	else if (link->pump.is_open)
		step_pump(link, &closed, NULL);
}

void links_turn(void)
{
	for (uint32_t i = 0; i < options.buses_n; i++) {
		struct pump_client_event tick = {.kind = PUMP_CLIENT_TICK};
		struct link *link = &links[i];
		struct mono at;

		if (pump_client_next_deadline(&link->pump, &at) && at.ns <= now_mono().ns)
			step_pump(link, &tick, NULL);
		if (!link->pump.is_open && link->is_up &&
		    mono_ms_since(now_mono(), link->greeted_at) > GREET_AGAIN_MS)
			greet(link);
	}
}

/* ---- life ---- */

int links_open(uv_loop_t *loop, struct err *err)
{
	uint8_t seed[IDENTITY_SEED_N];

	randombytes_buf(seed, sizeof(seed));
	identity_make(seed, &self);
	arena.size = wire_arena_need(&wire_shape_answer);
	arena.data = malloc(arena.size);
	CHECK(arena.data);
	for (uint32_t i = 0; i < options.buses_n; i++) {
		struct bus_options to = {.url = options.buses[i], .message_max = WIRE_ENVELOPE_MAX};
		struct bus_callbacks callbacks = {
			.on_message = on_message, .on_link = on_link, .user = &links[i]};

		links[i].greet_id = GREET_ID;
		pump_client_init(&links[i].pump, 0, 1, 1);
		if (bus_dial(&links[i].bus, loop, &to, &callbacks, err))
			return err_wrap(err, "%s", options.buses[i]);
	}
	return 0;
}

void links_close(void)
{
	for (uint32_t i = 0; i < options.buses_n; i++)
		bus_close(&links[i].bus);
}
