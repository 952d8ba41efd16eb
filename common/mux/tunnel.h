/*
 * How a tunnel begins: what a shim and the gateway say on a TCP connection before it carries a mux.
 *
 * The shim dials while its microVM is still in the pool and stays silent; at the claim it sends one
 * BIND; the gateway answers with TUNNEL_VERDICT_N bytes; after BOUND the connection is a mux with
 * the gateway as initiator.  Pure.
 *
 *	BIND    magic and version (8), sandbox (ID_MAX), ticket (TICKET_N)
 *	        and, in version 2: length of ingress (2, big-endian, never 0), ingress
 *
 * A shim that has nothing to say beyond the ticket speaks version 1, which every gateway knows.
 */
#ifndef FLOTILLA_MUX_TUNNEL_H
#define FLOTILLA_MUX_TUNNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/ids.h"
#include "common/mux/fleet_key.h"

enum {
	TUNNEL_BIND_N = 8 + ID_MAX + TICKET_N, /* of any BIND, at its front */
	TUNNEL_INGRESS_MAX = 1024,
	TUNNEL_BIND_MAX = TUNNEL_BIND_N + 2 + TUNNEL_INGRESS_MAX,
	TUNNEL_VERDICT_N = 8,
};

enum tunnel_verdict {
	TUNNEL_BOUND = 1,
	TUNNEL_REFUSED = 2, /* the ticket is not for this sandbox: asking again will not help */
	TUNNEL_BUSY = 3,    /* the gateway is full or stopping: try later */
};

/* Its length. ingress_n: at most TUNNEL_INGRESS_MAX. */
size_t tunnel_bind_encode(const struct id *sandbox, const struct ticket *ticket,
			  const uint8_t *ingress, size_t ingress_n,
			  uint8_t out_bytes[TUNNEL_BIND_MAX]);

/* Its front. False when it is not a BIND of our versions with a well-formed sandbox id. */
bool tunnel_bind_decode(const uint8_t bytes[TUNNEL_BIND_N], struct id *out_sandbox,
			struct ticket *out_ticket);

/* How long the BIND is that these bytes begin, as far as they tell: more than bytes_n while some
 * are missing. 0: it is none. */
size_t tunnel_bind_length(const uint8_t *bytes, size_t bytes_n);

void tunnel_verdict_encode(enum tunnel_verdict verdict, uint8_t out_bytes[TUNNEL_VERDICT_N]);
bool tunnel_verdict_decode(const uint8_t bytes[TUNNEL_VERDICT_N], enum tunnel_verdict *out_verdict);

#endif
