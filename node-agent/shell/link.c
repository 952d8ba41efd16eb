#include "node-agent/shell/link_internal.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "node-agent/shell/agent.h"
#include "node-agent/shell/host.h"
#include "node-agent/shell/report.h"

#include <stdlib.h>

/* ---- polls and answers ---- */

/* The records that the pump wants sent. A poll without them is better than none. */
static size_t link_read_records(struct link *link, const struct pump_client_effect *effect)
{
	struct wire_record *records = link->links->scratch->records;
	struct err err;
	size_t n;

	if (effect->records_n == 0 || !link->agent->has_journal)
		return 0;
	if (journal_records(&link->agent->journal, effect->first_seq, records, effect->records_n,
			    &n, &err)) {
		log_error("link", "cannot read the journal", LOG_ERR(&err));
		return 0;
	}
	if (n && records[0].seq != effect->first_seq) {
		if (!link->is_gap_logged)
			log_error("link",
				  "this scheduler wants records of this node that are gone: start "
				  "it from a copy of another's ledger",
				  LOG_TEXT("scheduler", link->url),
				  LOG_UINT("wants", effect->first_seq),
				  LOG_UINT("oldest", records[0].seq));
		link->is_gap_logged = true;
		return 0;
	}
	link->is_gap_logged = false;
	return n;
}

static void link_send_poll(struct link *link, const struct pump_client_effect *effect)
{
	struct links_scratch *scratch = link->links->scratch;
	struct wire_template templates[NODE_TEMPLATES_MAX];
	struct wire_poll poll = {.first_seq = effect->first_seq};
	struct err err;
	size_t n;

	report_fill(link->agent, &poll, templates);
	poll.epoch = link->links->epoch;
	poll.leaving = link->links->is_leaving;
	poll.records = scratch->records;
	poll.records_n = link_read_records(link, effect);
	if (envelope_seal(&link->session, &wire_shape_poll, &poll, scratch->out,
			  sizeof(scratch->out), &n, &err)) {
		log_error("link", "cannot write a poll", LOG_ERR(&err));
		return;
	}
	bus_send(&link->bus, effect->id, scratch->out, n);
}

static void link_take(struct link *link, const struct wire_answer *answer, struct mono sent_at)
{
	struct node_event event = {.kind = NODE_EVENT_ANSWER};
	struct agent *agent = link->agent;

	if (!agent->is_loaded) {
		agent_keep_leases(agent, answer, sent_at);
		return;
	}
	event.answer.epoch = answer->epoch;
	event.answer.lease_ms = answer->lease_ms;
	event.answer.lost_below = answer->lost_below;
	event.answer.sent_at = sent_at;
	agent_step(agent, &event);
	/* What cannot be journaled is not begun, nor what is left to the next agent: it comes
	 * again. */
	if (agent->trouble.text[0] || link->links->is_leaving)
		return;
	for (size_t i = 0; i < answer->orders_n; i++) {
		const struct wire_order *order = &answer->orders[i];
		event = (struct node_event){.kind = NODE_EVENT_ORDER};
		event.order.order = order;
		if ((order->kind == WIRE_ORDER_DEADLINE && order->egress.n) ||
		    order->kind == WIRE_ORDER_CLAIM || order->kind == WIRE_ORDER_SNAPSHOT ||
		    order->kind == WIRE_ORDER_SEND || order->kind == WIRE_ORDER_FETCH)
			event.order.payload = payloads_keep(&agent->payloads, order);
		agent_step(agent, &event);
	}
}

static void link_acked(struct link *link, uint64_t next_seq, const struct wire_answer *answer)
{
	struct node_event event = {.kind = NODE_EVENT_ACKED};
	struct agent *agent = link->agent;

	if (!agent->is_loaded)
		return; /* it is told again after the next start */
	event.acked.next_seq = next_seq;
	event.acked.replica = link->replica;
	event.acked.leader = !answer->standby && answer->epoch >= node_core_meta(agent->core).epoch;
	agent_step(agent, &event);
}

void link_pump(struct link *link, struct pump_client_event *event, const struct wire_answer *answer)
{
	struct pump_client_effects effects;

	event->now = host_mono();
	pump_client_step(&link->pump, event, &effects);
	for (uint32_t i = 0; i < effects.n; i++) {
		const struct pump_client_effect *effect = &effects.items[i];
		switch (effect->kind) {
		case PUMP_CLIENT_SEND:
			link_send_poll(link, effect);
			break;
		case PUMP_CLIENT_TAKE:
			link_take(link, answer, effect->sent_at);
			break;
		case PUMP_CLIENT_REFUSE:
			log_warn("link", "refused an answer of a leader that is none any more",
				 LOG_TEXT("scheduler", link->url),
				 LOG_UINT("epoch", answer->epoch));
			break;
		case PUMP_CLIENT_ACKED:
			link_acked(link, effect->first_seq, answer);
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
	struct links_scratch *scratch = link->links->scratch;
	struct pump_client_event event = {.kind = PUMP_CLIENT_ANSWER};
	struct wire_bytes body;
	struct wire_answer answer;
	struct err err;

	scratch->arena.used = 0;
	if (!link->pump.is_open || envelope->kind != WIRE_KIND_ANSWER ||
	    envelope_open(&link->session, envelope, scratch->plain, sizeof(scratch->plain), &body,
			  &err) ||
	    wire_answer_decode(body.data, body.n, &scratch->arena, &answer, &err))
		return; /* of a session that is over, or garbage: the pump does not miss it */
	event.answer.id = id;
	event.answer.epoch = answer.epoch;
	event.answer.next_seq = answer.next_seq;
	event.answer.resync = answer.resync;
	event.answer.standby = answer.standby;
	link_pump(link, &event, &answer);
	if (link->owes_goodbye) {
		link->owes_goodbye = false;
		links_goodbye_told(link->links);
	}
}

static void link_on_tell(struct link *link, const struct wire_envelope *envelope)
{
	struct links_scratch *scratch = link->links->scratch;
	struct wire_build_tell tell;
	struct wire_bytes body;
	struct err err;

	scratch->arena.used = 0;
	if (link->pump.is_open && envelope->kind == WIRE_KIND_BUILD_TELL &&
	    envelope_open(&link->session, envelope, scratch->plain, sizeof(scratch->plain), &body,
			  &err) == 0 &&
	    wire_build_tell_decode(body.data, body.n, &scratch->arena, &tell, &err) == 0)
		builds_on_tell(&link->agent->builds, &tell);
}

static void link_on_message(struct bus *bus, uint64_t token, const uint8_t *body, size_t body_n)
{
	struct link *link = bus->user;
	struct wire_envelope envelope;
	struct err err;

	if (!link->links->may_speak || envelope_read(body, body_n, &envelope, &err))
		return;
	if (envelope.session == 0)
		link_on_clear(link, (uint32_t)token, &envelope);
	else if (token == LINK_BUILD_ID)
		link_on_tell(link, &envelope);
	else
		link_on_sealed(link, (uint32_t)token, &envelope);
}

static void link_on_link(struct bus *bus, bool up)
{
	struct link *link = bus->user;

	log_info("link",
		 up ? "connected to the scheduler" : "the connection to the scheduler is lost",
		 LOG_TEXT("scheduler", link->url));
	if (!link->links->may_speak)
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
	struct links *links = link->links;

	if (link->pump.is_open) {
		link_pump(link, &tick, NULL);
	} else if (links->enrolment.is_done) {
		link_greet(link);
	} else if (links->turn == link->replica) {
		/* Unanswered, or it is not there. */
		links_enrol_elsewhere(links, NULL);
	} else {
		link->handshake_at = host_mono();
	}
	link_set_timer(link);
}

void link_set_timer(struct link *link)
{
	struct mono now = host_mono(), at;
	int64_t wait_ms;

	if (link->is_closing)
		return;
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
		session_close(&link->session);
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

int link_open(struct link **out_link, struct links *links, uint32_t replica, const char *url,
	      struct err *err)
{
	struct bus_options options = {.url = url, .message_max = WIRE_ENVELOPE_MAX};
	struct link *link = calloc(1, sizeof(*link));
	struct bus_callbacks callbacks = {
		.on_message = link_on_message,
		.on_link = link_on_link,
		.on_closed = link_on_bus_closed,
		.user = link,
	};

	CHECK(link);
	link->links = links;
	link->agent = links->agent;
	link->replica = replica;
	link->url = url;
	link->last_handshake_id = LINK_HANDSHAKE_ID;
	if (bus_dial(&link->bus, links->agent->loop, &options, &callbacks, err)) {
		free(link);
		return -1;
	}
	uv_timer_init(links->agent->loop, &link->timer);
	link->timer.data = link;
	link->open_handles_n = 2;
	*out_link = link;
	return 0;
}

void link_begin(struct link *link, const struct node_meta *meta)
{
	uint64_t acked_seq = meta->acked_seq ? meta->acked_seq : 1;

	/* Where the outbox ends is told by RECORDS, when it is durable. */
	link_drop_session(link);
	pump_client_init(&link->pump, meta->epoch, acked_seq, acked_seq);
	link_greet(link);
}

void link_records(struct link *link, uint64_t end_seq)
{
	struct pump_client_event event = {.kind = PUMP_CLIENT_RECORDS, .end_seq = end_seq};

	if (link->links->may_speak)
		link_pump(link, &event, NULL);
}

void link_news(struct link *link, bool urgent)
{
	struct pump_client_event event = {.kind = PUMP_CLIENT_NEWS, .urgent = urgent};

	if (link->links->may_speak)
		link_pump(link, &event, NULL);
}

void link_observed(struct link *link, const struct wire_observed *observed)
{
	struct links_scratch *scratch = link->links->scratch;
	struct err err;
	size_t n;

	if (!link->pump.is_open)
		return;
	if (envelope_seal(&link->session, &wire_shape_observed, observed, scratch->out,
			  sizeof(scratch->out), &n, &err))
		log_error("link", "cannot write an observation", LOG_ERR(&err));
	else
		bus_send(&link->bus, LINK_OBSERVED_ID, scratch->out, n);
}

bool link_build_ask(struct link *link, const struct wire_build_ask *ask)
{
	struct links_scratch *scratch = link->links->scratch;
	struct err err;
	size_t n;

	if (!link->pump.is_open)
		return false;
	if (envelope_seal(&link->session, &wire_shape_build_ask, ask, scratch->out,
			  sizeof(scratch->out), &n, &err)) {
		log_error("link", "cannot ask for a build", LOG_ERR(&err));
		return false;
	}
	return bus_send(&link->bus, LINK_BUILD_ID, scratch->out, n);
}

bool link_leave(struct link *link)
{
	if (!link->pump.is_open)
		return false;
	link->owes_goodbye = true;
	link_news(link, true);
	return true;
}

void link_close(struct link *link)
{
	link->is_closing = true;
	link->owes_goodbye = false;
	bus_close(&link->bus);
	uv_close((uv_handle_t *)&link->timer, link_on_timer_closed);
}
