/*
 * What the scheduler says of a sandbox to the gateway (proto's `ingress`, which the ticket of a
 * tunnel seals), and what follows from it for a request.  Pure.
 */
#ifndef FLOTILLA_GATEWAY_INGRESS_H
#define FLOTILLA_GATEWAY_INGRESS_H

#include "common/http/head.h"
#include "common/mux/fleet_key.h"
#include "scheduler/gateway/route.h"

#define INGRESS_TOKEN_FIELD "e2b-traffic-access-token"

enum {
	INGRESS_HOST_MAX = 256,
	/* After ${PORT} was replaced: at its longest it is shorter. */
	INGRESS_MASKED_MAX = INGRESS_HOST_MAX,
};

/* All zero: everything by default. */
struct ingress {
	char traffic_token[TRAFFIC_TOKEN_TEXT_MAX]; /* wanted of requests; empty: none is */
	char mask_host[INGRESS_HOST_MAX];           /* empty: the client's host is passed on */
	size_t https_ports_n;
	uint16_t https_ports[64];
};

/* NULL when it is malformed, or there is no memory. */
struct ingress *ingress_read(const uint8_t *bytes, size_t bytes_n, const struct fleet_key *key,
			     const struct id *sandbox);

/* ROUTED, or why a request for this port is refused. ingress: NULL is by default. */
enum outcome ingress_judge(const struct ingress *ingress, uint16_t port,
			   const struct http_head *head);

/* The host that the port gets to see, in out; NULL: the client's own. */
const char *ingress_host(const struct ingress *ingress, uint16_t port,
			 char out[INGRESS_MASKED_MAX]);

bool ingress_wants_tls(const struct ingress *ingress, uint16_t port);

#endif
