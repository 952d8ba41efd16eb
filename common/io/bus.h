/*
 * One NNG socket on the libuv loop: raw REP for whoever is dialled by many (the scheduler), raw REQ
 * for those who dial (agents).
 *
 * Raw, because then one socket with one poll descriptor serves a whole fleet, requests can be
 * answered in any order and at any time, and a request that waits is nothing but its token. Nothing
 * is sent again by itself and nothing times out here: the pump's rules (proto/pump.h) see to both.
 *
 * Messages may be lost at any time: when a connection breaks, when a peer is slow, or when too many
 * wait to be sent.  What arrives is whole.  Who sent it is not known: proto/envelope.h proves that.
 *
 * On the connection NNG speaks its WebSocket mapping, though addresses are tcp:// and tls+tcp://.
 * Its plain TCP mapping is not used, because Debian's 1.5.2 has a race in it: a peer that breaks
 * off while it is being answered can stop the one thread that cleans up after connections, for
 * good; from then on every connection leaks its descriptor, and a dialler never dials again.
 * (tests/proto/bus_test.c holds us to it.)
 *
 * All calls and callbacks are on the loop's thread.
 */
#ifndef FLOTILLA_IO_BUS_H
#define FLOTILLA_IO_BUS_H

#include "common/base/err.h"

#include <nng/nng.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum {
	BUS_URL_MAX = 300,
	BUS_UNSENT_MAX = 256,        /* messages waiting until NNG takes them */
	BUS_RECEIVED_AT_ONCE = 64,   /* callbacks in a row before the loop turns */
	BUS_QUEUE_MAX = 128,         /* messages within NNG, each way */
	BUS_RECONNECT_MIN_MS = 100,  /* NNG dials again after this, then after longer, */
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
	 * Who dials must name the host as the listener does, unless that listens on 0.0.0.0 or
	 * [::].
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
	nng_socket socket;
	bool is_listening, is_closing;
	uint16_t port; /* listening: the port bound */
	uv_poll_t receive, send;
	uv_async_t link;
	int open_handles_n;
	atomic_uint links_made, links_lost; /* connections so far; counted on NNG's threads */
	unsigned int links_told;
	bool is_up;
	nng_msg *unsent[BUS_UNSENT_MAX]; /* a ring */
	size_t unsent_first, unsent_n;
	uint64_t dropped_n; /* messages given up because too many waited; for metrics */
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
