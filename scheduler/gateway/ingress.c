/* See ingress.h.  envd's port has a token of its own, and is left alone. */
#include "scheduler/gateway/ingress.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "proto/wire.h"

static const char port_placeholder[] = "${PORT}";

struct ingress *ingress_read(const uint8_t *bytes, size_t bytes_n, const struct fleet_key *key,
			     const struct id *sandbox)
{
	/* For the ports, as many as the message can have. */
	_Alignas(WIRE_ALIGN) uint8_t room[1024];
	struct wire_arena arena = {room, sizeof(room), 0};
	struct ingress *ingress;
	struct wire_ingress said;
	struct err err;

	CHECK(wire_arena_need(&wire_shape_ingress) <= sizeof(room));
	if (wire_ingress_decode(bytes, bytes_n, &arena, &said, &err) ||
	    said.https_ports_n > ARRAY_N(ingress->https_ports))
		return NULL;
	ingress = calloc(1, sizeof(*ingress));
	if (!ingress)
		return NULL;
	if (said.private_traffic)
		fleet_key_traffic_token(key, sandbox, ingress->traffic_token);
	snprintf(ingress->mask_host, sizeof(ingress->mask_host), "%s", said.mask_host);
	ingress->https_ports_n = said.https_ports_n;
	for (size_t at = 0; at < said.https_ports_n; at++)
		ingress->https_ports[at] = said.https_ports[at].number;
	return ingress;
}

enum outcome ingress_judge(const struct ingress *ingress, uint16_t port,
			   const struct http_head *head)
{
	struct http_text token;

	if (!ingress || !ingress->traffic_token[0] || port == ENVD_PORT)
		return OUTCOME_ROUTED;
	token = http_head_value(head, INGRESS_TOKEN_FIELD);
	if (!token.n)
		return OUTCOME_NO_TOKEN;
	if (token.n != strlen(ingress->traffic_token) ||
	    sodium_memcmp(token.at, ingress->traffic_token, token.n))
		return OUTCOME_BAD_TOKEN;
	return OUTCOME_ROUTED;
}

const char *ingress_host(const struct ingress *ingress, uint16_t port, char out[INGRESS_MASKED_MAX])
{
	const char *from;
	size_t n = 0;

	if (!ingress || !ingress->mask_host[0] || port == ENVD_PORT)
		return NULL;
	for (from = ingress->mask_host; *from;) {
		if (!strncmp(from, port_placeholder, strlen(port_placeholder))) {
			n += (size_t)snprintf(out + n, INGRESS_MASKED_MAX - n, "%u", port);
			from += strlen(port_placeholder);
		} else {
			out[n++] = *from++;
		}
	}
	out[n] = '\0';
	return out;
}

bool ingress_wants_tls(const struct ingress *ingress, uint16_t port)
{
	for (size_t at = 0; ingress && at < ingress->https_ports_n; at++) {
		if (ingress->https_ports[at] == port && port != ENVD_PORT)
			return true;
	}
	return false;
}
