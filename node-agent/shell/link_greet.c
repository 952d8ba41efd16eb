/* Enrolment and sessions of one link. */
#include "node-agent/shell/link_internal.h"

#include "common/io/log.h"
#include "node-agent/shell/agent.h"
#include "node-agent/shell/host.h"

#include <sodium.h>

static void link_send_clear(struct link *link, const struct wire_shape *shape, const void *message)
{
	struct links_scratch *scratch = link->links->scratch;
	struct err err;
	size_t n;

	if (++link->last_handshake_id >= INT32_MAX)
		link->last_handshake_id = LINK_HANDSHAKE_ID;
	link->handshake_id = link->last_handshake_id;
	if (envelope_write_clear(shape, message, &link->links->enrolment.node, scratch->out,
				 sizeof(scratch->out), &n, &err)) {
		log_error("link", "cannot write a message", LOG_ERR(&err));
		return;
	}
	bus_send(&link->bus, link->handshake_id, scratch->out, n);
}

void link_drop_session(struct link *link)
{
	struct pump_client_event closed = {.kind = PUMP_CLIENT_CLOSED, .now = host_mono()};
	struct pump_client_effects none;

	if (link->pump.is_open)
		pump_client_step(&link->pump, &closed, &none);
	session_close(&link->session);
	if (link->owes_goodbye) {
		link->owes_goodbye = false;
		links_goodbye_told(link->links);
	}
}

static void link_ask_to_enrol(struct link *link)
{
	const struct agent_options *options = link->agent->options;
	struct wire_enrol_request request;
	struct err err;

	if (link->links->turn != link->replica)
		return;
	if (enrolment_request(&link->links->enrolment, options->enrol_token_file,
			      options->node_name, &request, &err))
		log_error("link", "cannot enrol", LOG_ERR(&err));
	else
		link_send_clear(link, &wire_shape_enrol_request, &request);
}

void link_greet(struct link *link)
{
	const struct enrolment *enrolment = &link->links->enrolment;
	uint8_t random[HANDSHAKE_START_RANDOM_N];

	link->handshake_at = host_mono();
	link_drop_session(link);
	link_set_timer(link);
	if (!enrolment->is_done) {
		link_ask_to_enrol(link);
		return;
	}
	randombytes_buf(random, sizeof(random));
	handshake_start(&link->handshake, &enrolment->self, &enrolment->node, link->agent->boot_id,
			enrolment->scheduler_public_key, random);
	link_send_clear(link, &wire_shape_session_hello, &link->handshake.hello);
}

static void link_on_enrol_reply(struct link *link, const struct wire_enrol_reply *reply)
{
	struct links *links = link->links;
	struct err err;

	if (!reply->ok) {
		log_warn("link", "enrolment was refused", LOG_TEXT("scheduler", link->url),
			 LOG_TEXT("reason", reply->refusal));
		links_enrol_elsewhere(links, reply->refusal);
		return;
	}
	if (enrolment_keep(link->agent->options->state_dir, &links->enrolment, reply, &err)) {
		log_error("link", "cannot keep the enrolment", LOG_ERR(&err));
		return;
	}
	log_info("link", "enrolled", LOG_TEXT("node", reply->node.text),
		 LOG_TEXT("scheduler", link->url));
	links_enrolled(links);
}

static void link_on_welcome(struct link *link, uint32_t id,
			    const struct wire_session_welcome *welcome)
{
	struct pump_client_event event = {.kind = PUMP_CLIENT_OPEN, .now = host_mono()};
	struct err err;

	if (!link->links->enrolment.is_done)
		return;
	if (id != link->handshake_id) {
		/* The scheduler started anew and does not know our session.  Anybody could say so,
		 * hence not too often. */
		if (mono_ms_since(event.now, link->handshake_at) >= LINK_HINT_MS)
			link_greet(link);
		return;
	}
	link->handshake_id = 0;
	if (handshake_finish(&link->handshake, welcome, &link->session, &err)) {
		log_warn("link", "no session", LOG_TEXT("scheduler", link->url), LOG_ERR(&err));
		return;
	}
	log_info("link", "session is open", LOG_TEXT("scheduler", link->url),
		 LOG_UINT("session", link->session.number));
	link_pump(link, &event, NULL);
}

void link_on_clear(struct link *link, uint32_t id, const struct wire_envelope *envelope)
{
	struct wire_session_welcome welcome;
	struct wire_enrol_reply reply;
	struct wire_arena arena = {0}; /* neither holds lists */
	struct err err;

	if (envelope->kind == WIRE_KIND_SESSION_WELCOME) {
		if (wire_session_welcome_decode(envelope->body.data, envelope->body.n, &arena,
						&welcome, &err) == 0)
			link_on_welcome(link, id, &welcome);
	} else if (envelope->kind == WIRE_KIND_ENROL_REPLY && !link->links->enrolment.is_done &&
		   id == link->handshake_id) {
		link->handshake_id = 0;
		if (wire_enrol_reply_decode(envelope->body.data, envelope->body.n, &arena, &reply,
					    &err) == 0)
			link_on_enrol_reply(link, &reply);
	}
}
