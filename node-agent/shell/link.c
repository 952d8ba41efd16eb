#include "node-agent/shell/link.h"

#include "common/base/check.h"
#include "common/io/bus.h"
#include "common/io/log.h"
#include "node-agent/shell/agent.h"
#include "node-agent/shell/enrolment.h"
#include "node-agent/shell/host.h"
#include "proto/pump.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	LINK_RETRY_MS = 1000,        /* between handshakes that stay unanswered */
	LINK_HINT_MS = 200,          /* a hint that our session is unknown counts once in this */
	LINK_HANDSHAKE_ID = 1 << 30, /* ids of the bus from here on: not the pump's */
};

struct link {
	struct agent *agent;
	struct enrolment enrolment;
	struct bus bus;
	uv_timer_t timer;
	int open_handles_n;
	bool may_begin;
	struct pump_client pump;
	struct session session;
	struct handshake handshake;
	uint32_t handshake_id; /* of the request under way; 0: none */
	uint32_t last_handshake_id;
	struct mono handshake_at; /* when the last one was begun */
	struct wire_arena arena;  /* for answers */
	struct wire_record records[PUMP_RECORDS_MAX];
	uint8_t out[WIRE_ENVELOPE_MAX];
	uint8_t plain[WIRE_BODY_MAX];
};

static void link_pump(struct link *link, struct pump_client_event *event,
		      const struct wire_answer *answer);
static void link_set_timer(struct link *link);

/* ---- enrolment and handshake ---- */

static void link_send_clear(struct link *link, const struct wire_shape *shape, const void *message)
{
	struct err err;
	size_t n;

	if (++link->last_handshake_id >= INT32_MAX)
		link->last_handshake_id = LINK_HANDSHAKE_ID;
	link->handshake_id = link->last_handshake_id;
	if (envelope_write_clear(shape, message, &link->enrolment.node, link->out,
				 sizeof(link->out), &n, &err)) {
		log_error("link", "cannot write a message", LOG_ERR(&err));
		return;
	}
	bus_send(&link->bus, link->handshake_id, link->out, n);
}

static void link_drop_session(struct link *link)
{
	struct pump_client_event closed = {.kind = PUMP_CLIENT_CLOSED, .now = host_mono()};
	struct pump_client_effects none;

	if (link->pump.is_open)
		pump_client_step(&link->pump, &closed, &none);
	session_close(&link->session);
}

/* Enrols if that is still to be done, or opens a session. */
static void link_greet(struct link *link)
{
	const struct agent_options *options = link->agent->options;
	struct wire_enrol_request request;
	uint8_t random[HANDSHAKE_START_RANDOM_N];
	struct err err;

	link->handshake_at = host_mono();
	link_drop_session(link);
	if (!link->enrolment.is_done) {
		if (enrolment_request(&link->enrolment, options->enrol_token_file,
				      options->node_name, &request, &err))
			log_error("link", "cannot enrol", LOG_ERR(&err));
		else
			link_send_clear(link, &wire_shape_enrol_request, &request);
		return;
	}
	randombytes_buf(random, sizeof(random));
	handshake_start(&link->handshake, &link->enrolment.self, &link->enrolment.node,
			link->agent->boot_id, link->enrolment.scheduler_public_key, random);
	link_send_clear(link, &wire_shape_session_hello, &link->handshake.hello);
}

static void link_on_enrol_reply(struct link *link, const struct wire_enrol_reply *reply)
{
	struct err err;

	if (!reply->ok) {
		log_error("link", "enrolment was refused", LOG_TEXT("reason", reply->refusal));
		return; /* an operator may mend it: tried again by the timer */
	}
	if (enrolment_keep(link->agent->options->state_dir, &link->enrolment, reply, &err)) {
		log_error("link", "cannot keep the enrolment", LOG_ERR(&err));
		return;
	}
	log_info("link", "enrolled", LOG_TEXT("node", reply->node.text));
	link_greet(link);
}

static void link_on_welcome(struct link *link, uint32_t id,
			    const struct wire_session_welcome *welcome)
{
	struct pump_client_event event = {.kind = PUMP_CLIENT_OPEN, .now = host_mono()};
	struct err err;

	if (id != link->handshake_id) {
		/* The scheduler started anew and does not know our session.  Anybody could say so,
		 * hence not too often. */
		if (mono_ms_since(event.now, link->handshake_at) >= LINK_HINT_MS)
			link_greet(link);
		return;
	}
	link->handshake_id = 0;
	if (handshake_finish(&link->handshake, welcome, &link->session, &err)) {
		log_warn("link", "no session", LOG_ERR(&err));
		return;
	}
	log_info("link", "session is open", LOG_UINT("session", link->session.number));
	link_pump(link, &event, NULL);
}

static void link_on_clear(struct link *link, uint32_t id, const struct wire_envelope *envelope)
{
	struct wire_session_welcome welcome;
	struct wire_enrol_reply reply;
	struct wire_arena arena = {0}; /* neither holds lists */
	struct err err;

	if (envelope->kind == WIRE_KIND_SESSION_WELCOME) {
		if (wire_session_welcome_decode(envelope->body.data, envelope->body.n, &arena,
						&welcome, &err) == 0)
			link_on_welcome(link, id, &welcome);
	} else if (envelope->kind == WIRE_KIND_ENROL_REPLY && !link->enrolment.is_done &&
		   id == link->handshake_id) {
		link->handshake_id = 0;
		if (wire_enrol_reply_decode(envelope->body.data, envelope->body.n, &arena, &reply,
					    &err) == 0)
			link_on_enrol_reply(link, &reply);
	}
}

/* ---- polls and answers ---- */

static void link_send_poll(struct link *link, const struct pump_client_effect *effect)
{
	struct wire_template templates[NODE_TEMPLATES_MAX];
	struct agent *agent = link->agent;
	struct wire_poll poll = {.first_seq = effect->first_seq, .records = link->records};
	struct err err;
	size_t n;

	if (effect->records_n && journal_records(&agent->journal, effect->first_seq, link->records,
						 effect->records_n, &poll.records_n, &err)) {
		log_error("link", "cannot read the journal", LOG_ERR(&err));
		return; /* the pump gives this poll up in time */
	}
	node_core_report(agent->core, &poll);
	snprintf(poll.boot_id, sizeof(poll.boot_id), "%s", agent->boot_id);
	poll.at_wall_ns = host_wall().ns;
	poll.uptime_ms = (uint64_t)mono_ms_since(host_mono(), agent->started_at);
	poll.templates = templates;
	poll.templates_n = node_core_templates(agent->core, templates);
	snprintf(poll.version, sizeof(poll.version), "%s", FLOTILLA_VERSION);
	snprintf(poll.accelerator, sizeof(poll.accelerator), "%s",
		 agent->templates.kvm_works ? "kvm" : "tcg");
	if (envelope_seal(&link->session, &wire_shape_poll, &poll, link->out, sizeof(link->out), &n,
			  &err)) {
		log_error("link", "cannot write a poll", LOG_ERR(&err));
		return;
	}
	bus_send(&link->bus, effect->id, link->out, n);
}

static void link_take(struct link *link, const struct wire_answer *answer)
{
	struct agent *agent = link->agent;
	struct node_event event = {.kind = NODE_EVENT_ANSWER};

	event.answer.epoch = answer->epoch;
	agent_step(agent, &event);
	for (size_t i = 0; i < answer->orders_n; i++) {
		const struct wire_order *order = &answer->orders[i];
		event = (struct node_event){.kind = NODE_EVENT_ORDER};
		event.order.order = order;
		if (order->kind == WIRE_ORDER_CLAIM)
			event.order.payload = payloads_keep(&agent->payloads, order);
		agent_step(agent, &event);
	}
}

/* answer: the one that PUMP_CLIENT_ANSWER is about, or NULL. */
static void link_pump(struct link *link, struct pump_client_event *event,
		      const struct wire_answer *answer)
{
	struct pump_client_effects effects;
	struct node_event acked = {.kind = NODE_EVENT_ACKED};

	event->now = host_mono();
	pump_client_step(&link->pump, event, &effects);
	for (uint32_t i = 0; i < effects.n; i++) {
		const struct pump_client_effect *effect = &effects.items[i];
		switch (effect->kind) {
		case PUMP_CLIENT_SEND:
			link_send_poll(link, effect);
			break;
		case PUMP_CLIENT_TAKE:
			link_take(link, answer);
			break;
		case PUMP_CLIENT_REFUSE:
			log_warn("link", "refused an answer of a leader that is none any more",
				 LOG_UINT("epoch", answer->epoch));
			break;
		case PUMP_CLIENT_ACKED:
			acked.acked.next_seq = effect->first_seq;
			agent_step(link->agent, &acked);
			break;
		case PUMP_CLIENT_RENEW:
			link_greet(link);
			break;
		}
	}
	link_set_timer(link);
}

static void link_on_sealed(struct link *link, uint32_t id, const struct wire_envelope *envelope)
{
	struct pump_client_event event = {.kind = PUMP_CLIENT_ANSWER};
	struct wire_bytes body;
	struct wire_answer answer;
	struct err err;

	link->arena.used = 0;
	if (!link->pump.is_open || envelope->kind != WIRE_KIND_ANSWER ||
	    envelope_open(&link->session, envelope, link->plain, sizeof(link->plain), &body,
			  &err) ||
	    wire_answer_decode(body.data, body.n, &link->arena, &answer, &err))
		return; /* of a session that is over, or garbage: the pump does not miss it */
	event.answer.id = id;
	event.answer.epoch = answer.epoch;
	event.answer.next_seq = answer.next_seq;
	event.answer.resync = answer.resync;
	link_pump(link, &event, &answer);
}

static void link_on_message(struct bus *bus, uint64_t token, const uint8_t *body, size_t body_n)
{
	struct link *link = bus->user;
	struct wire_envelope envelope;
	struct err err;

	if (!link->may_begin || envelope_read(body, body_n, &envelope, &err))
		return;
	if (envelope.session == 0)
		link_on_clear(link, (uint32_t)token, &envelope);
	else
		link_on_sealed(link, (uint32_t)token, &envelope);
	link_set_timer(link);
}

static void link_on_link(struct bus *bus, bool up)
{
	struct link *link = bus->user;

	log_info("link",
		 up ? "connected to the scheduler" : "the connection to the scheduler is lost");
	if (!link->may_begin)
		return;
	if (up)
		link_greet(link);
	else
		link_drop_session(link);
	link_set_timer(link);
}

/* ---- time ---- */

static void link_on_timer(uv_timer_t *timer)
{
	struct pump_client_event tick = {.kind = PUMP_CLIENT_TICK};
	struct link *link = timer->data;

	if (link->pump.is_open)
		link_pump(link, &tick, NULL);
	else
		link_greet(link);
	link_set_timer(link);
}

static void link_set_timer(struct link *link)
{
	struct mono now = host_mono(), at;
	int64_t wait_ms;

	if (!link->may_begin) {
		uv_timer_stop(&link->timer);
		return;
	}
	if (!link->pump.is_open)
		at = mono_add_ms(link->handshake_at, LINK_RETRY_MS);
	else if (!pump_client_next_deadline(&link->pump, &at))
		at = mono_add_ms(now, LINK_RETRY_MS);
	wait_ms = mono_ms_since(at, now) + 1;
	uv_timer_start(&link->timer, link_on_timer, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
}

/* ---- life ---- */

static void link_free_handle(struct link *link)
{
	if (--link->open_handles_n == 0) {
		sodium_memzero(&link->enrolment, sizeof(link->enrolment));
		session_close(&link->session);
		free(link->arena.data);
		free(link);
	}
}

static void link_on_bus_closed(struct bus *bus)
{
	link_free_handle(bus->user);
}

static void link_on_timer_closed(uv_handle_t *handle)
{
	link_free_handle(handle->data);
}

int link_open(struct link **out_link, struct agent *agent, struct err *err)
{
	struct bus_options options = {
		.url = agent->options->scheduler,
		.message_max = WIRE_ENVELOPE_MAX,
	};
	struct link *link = calloc(1, sizeof(*link));
	struct bus_callbacks callbacks = {
		.on_message = link_on_message,
		.on_link = link_on_link,
		.on_closed = link_on_bus_closed,
		.user = link,
	};

	CHECK(link);
	link->agent = agent;
	link->last_handshake_id = LINK_HANDSHAKE_ID;
	link->arena.size = wire_arena_need(&wire_shape_answer);
	link->arena.data = malloc(link->arena.size);
	CHECK(link->arena.data);
	if (enrolment_load(agent->options->state_dir, &link->enrolment, err))
		goto fail;
	if (bus_dial(&link->bus, agent->loop, &options, &callbacks, err))
		goto fail;
	uv_timer_init(agent->loop, &link->timer);
	link->timer.data = link;
	link->open_handles_n = 2;
	*out_link = link;
	return 0;
fail:
	free(link->arena.data);
	free(link);
	return -1;
}

void link_begin(struct link *link)
{
	struct node_meta meta = node_core_meta(link->agent->core);

	/* Where the outbox ends is told by RECORDS, when it is durable. */
	pump_client_init(&link->pump, meta.epoch, meta.acked_seq, meta.acked_seq);
	link->may_begin = true;
	link_greet(link);
	link_set_timer(link);
}

void link_stop(struct link *link)
{
	link->may_begin = false;
	link_drop_session(link);
	link_set_timer(link);
}

void link_records(struct link *link, uint64_t end_seq)
{
	struct pump_client_event event = {.kind = PUMP_CLIENT_RECORDS, .end_seq = end_seq};

	if (link->may_begin)
		link_pump(link, &event, NULL);
}

void link_news(struct link *link)
{
	struct pump_client_event event = {.kind = PUMP_CLIENT_NEWS};

	if (link->may_begin)
		link_pump(link, &event, NULL);
}

const char *link_node_id(const struct link *link)
{
	return link->enrolment.node.text;
}

void link_close(struct link *link)
{
	link->may_begin = false;
	bus_close(&link->bus);
	uv_close((uv_handle_t *)&link->timer, link_on_timer_closed);
}
