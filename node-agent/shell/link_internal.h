/* One link, between its two files: link.c polls, link_greet.c enrols and opens sessions. */
#ifndef FLOTILLA_NODE_LINK_INTERNAL_H
#define FLOTILLA_NODE_LINK_INTERNAL_H

#include "common/io/bus.h"
#include "node-agent/shell/link.h"
#include "proto/handshake.h"

enum {
	LINK_RETRY_MS = 1000,         /* between handshakes that stay unanswered */
	LINK_HINT_MS = 200,           /* a hint that our session is unknown counts once in this */
	LINK_HANDSHAKE_ID = 1 << 30,  /* ids of the bus from here on: not the pump's */
	LINK_OBSERVED_ID = INT32_MAX, /* of what is never answered */
	LINK_BUILD_ID = INT32_MAX - 1,
};

struct link {
	struct links *links;
	struct agent *agent;
	uint32_t replica;
	const char *url;
	struct bus bus;
	uv_timer_t timer;
	int open_handles_n;
	bool is_closing;
	bool owes_goodbye;  /* told that we stop, and not answered since */
	bool is_gap_logged; /* it wants records that are gone, and we have said so */
	struct pump_client pump;
	struct session session;
	struct handshake handshake;
	uint32_t handshake_id; /* of the request under way; 0: none */
	uint32_t last_handshake_id;
	struct mono handshake_at; /* when the last one was begun */
};

/* answer: the one that PUMP_CLIENT_ANSWER is about, or NULL. */
void link_pump(struct link *link, struct pump_client_event *event,
	       const struct wire_answer *answer);
void link_set_timer(struct link *link);
void link_drop_session(struct link *link);
void link_on_clear(struct link *link, uint32_t id, const struct wire_envelope *envelope);

#endif
