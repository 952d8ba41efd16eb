/*
 * The bus between those who dial (agents) and the one they dial (a scheduler), on the libuv loop:
 * NNG's raw REQ and REP.
 *
 * Raw, because then one bus serves a whole fleet, requests can be answered in any order and at any
 * time, and a request that waits is nothing but its token.  Nothing is sent again by itself and
 * nothing times out here: the pump's rules (proto/pump.h) see to both.
 *
 * Messages may be lost at any time: when a connection breaks, when a peer is slow, or when too much
 * waits to be sent.  What arrives is whole.  Who sent it is not known: proto/envelope.h proves
 * that.
 *
 * tls+tcp:// addresses are served by NNG itself (bus_nng.c); tcp:// ones by its TCP mapping written
 * anew on libuv (bus_sp.c), which talks to NNG's sockets but does without their threads; the reason
 * is there.
 *
 * All calls and callbacks are on the loop's thread.  SIGPIPE is ignored once a bus was opened.
 */
#ifndef FLOTILLA_IO_BUS_H
#define FLOTILLA_IO_BUS_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum {
	BUS_RECONNECT_MIN_MS = 100,  /* who dials dials again after this, then after longer, */
	BUS_RECONNECT_MAX_MS = 2000, /* up to this */
};

struct bus;

struct bus_callbacks {
	/*
	 * A message came.  Listening: token is what bus_reply wants, at once or later.  Dialling:
	 * token is the id that was given to bus_send.  body is borrowed for the call.
	 */
	void (*on_message)(struct bus *bus, uint64_t token, const uint8_t *body, size_t body_n);
	/* Dialling only, may be NULL: a connection was made (again), or the connection was lost. */
	void (*on_link)(struct bus *bus, bool up);
	/* May be NULL: the storage of the bus is free again. */
	void (*on_closed)(struct bus *bus);
	void *user; /* becomes bus->user */
};

struct bus_options {
	/*
	 * tcp://127.0.0.1:3003 or tls+tcp://host:3003; listening, port 0 lets the system pick one.
	 * Who dials with TLS must name the host as the listener does, unless that listens on
	 * 0.0.0.0 or [::].
	 */
	const char *url;
	size_t message_max; /* a peer that sends a longer one is disconnected */
	const char
		*tls_cert_key_file; /* tls+tcp, listening: PEM certificate and key, in one file */
	const char *tls_ca_file;    /* tls+tcp, dialling: PEM certificates to trust */
};

struct bus {
	struct bus_callbacks callbacks;
	void *user;
	bool is_listening, is_closing;
	uint16_t port;          /* listening: the port bound */
	uint32_t connections_n; /* peers that can be spoken to now; tcp:// only */
	uint64_t dropped_n;     /* messages given up because too much waited; for metrics */
	const struct bus_mapping *mapping;
	void *state; /* the mapping's */
};

/*
 * Both copy what they need of the options.  Fault: the address cannot be bound, a certificate
 * cannot be read, ...; nothing is open then, the storage is free, and on_closed does not come.
 * bus_dial does not wait for the connection.
 */
int bus_listen(struct bus *bus, uv_loop_t *loop, const struct bus_options *options,
	       const struct bus_callbacks *callbacks, struct err *err);
int bus_dial(struct bus *bus, uv_loop_t *loop, const struct bus_options *options,
	     const struct bus_callbacks *callbacks, struct err *err);

/* Listening: answers the message that came with this token. False: it was dropped. */
bool bus_reply(struct bus *bus, uint64_t token, const uint8_t *body, size_t body_n);

/* Dialling: id is 1..INT32_MAX and comes back with the answer. False: it was dropped. */
bool bus_send(struct bus *bus, uint32_t id, const uint8_t *body, size_t body_n);

/* No callback but on_closed comes after this; on_closed comes from the loop. */
void bus_close(struct bus *bus);

#endif
