/*
 * The shim's end of the data plane: keeps one connection to the gateway and joins each stream that
 * the gateway opens with a stream of its own to the guest.
 *
 * It leaves to the shim: the guest's mux engine and the socket under it, the microVM's life, and
 * who may bind.  Nothing is buffered beyond one read of the gateway's socket: bytes go from one
 * engine straight into the other, and credit is passed end to end, so a slow stream holds up
 * itself alone.
 *
 * The shim and the relay share the guest's engine:
 *
 *   the shim, when the guest's socket is readable:
 *       feed;
 *       while (relay_has_room(relay) && mux_next(guest, &event))
 *               if (relay_owns(relay, &event))
 *                       relay_on_guest_event(relay, &event);
 *               else
 *                       ... the shim's own streams, READY, BROKEN ...
 *       flush the guest's output; relay_flush(relay);
 *     If room ran out it keeps its bytes, stops reading, and goes on at callbacks.on_room.
 *   the shim, after mux_output_done on the guest's engine:  relay_on_guest_room(relay);
 *   the relay, when it has put output into the guest's engine:  callbacks.on_guest_output.
 *
 * All instants are the loop's own; all calls are on the loop's thread; callbacks may call anything
 * here but relay_close's completion is always later.
 */
#ifndef FLOTILLA_SHIM_RELAY_H
#define FLOTILLA_SHIM_RELAY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "common/base/err.h"
#include "common/base/ids.h"
#include "common/mux/fleet_key.h"
#include "common/mux/mux.h"
#include "common/mux/tunnel.h"

enum {
	RELAY_READ_MAX = 32 * 1024,
	RELAY_RETRY_MIN_MS = 20,
	RELAY_RETRY_MAX_MS = 2000,
	RELAY_VERDICT_WAIT_MS = 10000, /* for the gateway's answer to a BIND */
};

enum relay_state {
	RELAY_IDLE,       /* no address yet */
	RELAY_DIALLING,   /* the connection is being made */
	RELAY_WAITING,    /* until the next try */
	RELAY_CONNECTED,  /* ready; nothing to bind yet */
	RELAY_BINDING,    /* BIND sent */
	RELAY_BOUND,      /* streams flow */
	RELAY_TURNED_OFF, /* the gateway refused the ticket: no more tries */
	RELAY_CLOSED,
};

struct relay_callbacks {
	void (*on_bound)(void *arg);   /* each time: also after a reconnect */
	void (*on_refused)(void *arg); /* the ticket is wrong; state is RELAY_TURNED_OFF */
	void (*on_guest_output)(void *arg);
	void (*on_room)(void *arg); /* relay_has_room has become true again */
	void *arg;
};

struct relay_config {
	uv_loop_t *loop;
	struct mux *guest; /* the shim's engine towards the guest; outlives the relay */
	/* Streams at a time: MUX_STREAMS_EARLY..MUX_STREAMS_MAX. The guest engine's open_max must
	 * leave room for the shim's own beside them. */
	uint16_t streams_max;
	struct relay_callbacks callbacks; /* all set */
};

struct relay_pair;
struct relay_connection;

struct relay {
	struct relay_config config;
	enum relay_state state;
	struct sockaddr_storage address;
	bool has_claim;                /* what to bind to is known */
	uint8_t bind[TUNNEL_BIND_MAX]; /* what is said of it then */
	size_t bind_n;
	uint64_t streams_opened_n; /* since relay_open, for the shim's figures */
	/* private */
	uint32_t retry_ms;                   /* the next wait */
	struct mux *gate;                    /* engine towards the gateway */
	struct relay_connection *connection; /* of the current try; NULL between tries */
	struct relay_pair *pairs;
	uint16_t pair_free, pairs_used_n;
	bool wants_room; /* the shim was told that there is none */
	bool is_pumping;
	bool is_held;
	uint8_t verdict[TUNNEL_VERDICT_N];
	size_t verdict_n;
	uint8_t *read_buffer;
	uv_timer_t timer;
	unsigned handles_n; /* still known to the loop */
	void (*on_closed)(void *arg);
	void *on_closed_arg;
};

/* relay is the caller's storage. */
int relay_open(struct relay *relay, const struct relay_config *config, struct err *err);

/* Begins to dial and goes on until it is closed; calling it again changes the address of the next
 * try. */
void relay_dial(struct relay *relay, const struct sockaddr *gateway);

/* The microVM has become this sandbox: bind now, or as soon as connected, and after each
 * reconnect.  Once in a relay's life.  ingress: for the gateway, at most TUNNEL_INGRESS_MAX. */
void relay_bind(struct relay *relay, const struct id *sandbox, const struct ticket *ticket,
		const uint8_t *ingress, size_t ingress_n);

/* Whether the event is about a stream that the relay opened. */
bool relay_owns(const struct relay *relay, const struct mux_event *event);

void relay_on_guest_event(struct relay *relay, const struct mux_event *event);

/* Whether any event of the guest could be taken now. Always true while not bound. */
bool relay_has_room(struct relay *relay);

void relay_on_guest_room(struct relay *relay);

/* Resets all streams at both ends, and until relay_release takes nothing of the gateway: what it
 * sends waits.  The connections stay. */
void relay_hold(struct relay *relay);
void relay_release(struct relay *relay);

/* Sends what the guest's events left to send; call it once after a batch of them. */
void relay_flush(struct relay *relay);

/* The guest restarted its engine or is broken: its streams are gone already, the gateway's are
 * reset; the connection stays. */
void relay_on_guest_gone(struct relay *relay);

/* Sends what can be sent at once, closes the connection (the gateway then aborts what is open),
 * and calls on_closed (may be NULL) from the loop when nothing of the relay is left in it.  The
 * guest's streams of the relay are reset. */
void relay_close(struct relay *relay, void (*on_closed)(void *arg), void *arg);

#endif
