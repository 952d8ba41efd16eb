/*
 * How a tunnel begins: what a shim and the gateway say on a TCP connection before it carries a mux.
 *
 * The shim dials while its microVM is still in the pool and stays silent; at the claim it sends one
 * BIND of TUNNEL_BIND_N bytes; the gateway answers with TUNNEL_VERDICT_N bytes; after BOUND the
 * connection is a mux with the gateway as initiator.  Pure.
 */
#ifndef FLOTILLA_MUX_TUNNEL_H
#define FLOTILLA_MUX_TUNNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/ids.h"
#include "common/mux/fleet_key.h"

enum {
	TUNNEL_BIND_N = 8 + ID_MAX + TICKET_N,
	TUNNEL_VERDICT_N = 8,
};

enum tunnel_verdict {
	TUNNEL_BOUND = 1,
	TUNNEL_REFUSED = 2, /* the ticket is not for this sandbox: asking again will not help */
	TUNNEL_BUSY = 3,    /* the gateway is full or stopping: try later */
};

void tunnel_bind_encode(const struct id *sandbox, const struct ticket *ticket,
			uint8_t out_bytes[TUNNEL_BIND_N]);

/* False when it is not a BIND of our version with a well-formed sandbox id. */
bool tunnel_bind_decode(const uint8_t bytes[TUNNEL_BIND_N], struct id *out_sandbox,
			struct ticket *out_ticket);

void tunnel_verdict_encode(enum tunnel_verdict verdict, uint8_t out_bytes[TUNNEL_VERDICT_N]);
bool tunnel_verdict_decode(const uint8_t bytes[TUNNEL_VERDICT_N], enum tunnel_verdict *out_verdict);

#endif
