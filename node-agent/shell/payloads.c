#include "node-agent/shell/payloads.h"

#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t payloads_keep(struct payloads *payloads, const struct wire_order *order)
{
	struct payload *payload = calloc(1, sizeof(*payload) + order->init.n + order->note.n +
						    order->ingress.n + order->egress.n);

	CHECK(payload);
	payload->number = ++payloads->last_number;
	memcpy(payload->ticket, order->ticket, sizeof(payload->ticket));
	snprintf(payload->gateway, sizeof(payload->gateway), "%s", order->gateway);
	payload->sandbox = order->sandbox;
	snprintf(payload->url, sizeof(payload->url), "%s", order->url);
	snprintf(payload->token, sizeof(payload->token), "%s", order->token);
	payload->init_n = order->init.n;
	payload->note_n = order->note.n;
	payload->ingress_n = order->ingress.n;
	payload->egress_n = order->egress.n;
	if (order->init.n)
		memcpy(payload->bytes, order->init.data, order->init.n);
	if (order->note.n)
		memcpy(payload->bytes + order->init.n, order->note.data, order->note.n);
	if (order->ingress.n)
		memcpy(payload->bytes + order->init.n + order->note.n, order->ingress.data,
		       order->ingress.n);
	if (order->egress.n)
		memcpy(payload->bytes + order->init.n + order->note.n + order->ingress.n,
		       order->egress.data, order->egress.n);
	payload->next = payloads->first;
	payloads->first = payload;
	return payload->number;
}

const struct payload *payloads_find(const struct payloads *payloads, uint64_t number)
{
	const struct payload *payload = payloads->first;

	while (payload && payload->number != number)
		payload = payload->next;
	return payload;
}

struct wire_bytes payload_init(const struct payload *payload)
{
	return (struct wire_bytes){payload->bytes, payload->init_n};
}

struct wire_bytes payload_note(const struct payload *payload)
{
	return (struct wire_bytes){payload->bytes + payload->init_n, payload->note_n};
}

struct wire_bytes payload_ingress(const struct payload *payload)
{
	return (struct wire_bytes){payload->bytes + payload->init_n + payload->note_n,
				   payload->ingress_n};
}

struct wire_bytes payload_egress(const struct payload *payload)
{
	return (struct wire_bytes){payload->bytes + payload->init_n + payload->note_n +
					   payload->ingress_n,
				   payload->egress_n};
}

void payloads_drop(struct payloads *payloads, uint64_t number)
{
	for (struct payload **at = &payloads->first; *at; at = &(*at)->next) {
		if ((*at)->number == number) {
			struct payload *payload = *at;
			*at = payload->next;
			free(payload);
			return;
		}
	}
}

void payloads_drop_all(struct payloads *payloads)
{
	while (payloads->first)
		payloads_drop(payloads, payloads->first->number);
}
