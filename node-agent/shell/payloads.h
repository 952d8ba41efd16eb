/*
 * What the core does not look at of a claim order but the shim needs (environment, ticket,
 * ingress, egress, gateway), and what the record of its start gets (the note); and where a template
 * is sent or fetched: kept under a number until the core says PAYLOAD_DROP.
 */
#ifndef FLOTILLA_NODE_PAYLOADS_H
#define FLOTILLA_NODE_PAYLOADS_H

#include "proto/wire.h"

#include <stdint.h>

struct payload {
	uint64_t number;
	struct payload *next;
	uint8_t ticket[32];
	struct id sandbox; /* or the transfer's name */
	char gateway[129];
	char url[129], token[65];
	size_t init_n, note_n, ingress_n, egress_n;
	uint8_t bytes[]; /* init, note, ingress, egress */
};

struct payloads {
	struct payload *first;
	uint64_t last_number;
};

/* Copies; returns its number. */
uint64_t payloads_keep(struct payloads *payloads, const struct wire_order *order);

/* NULL: not there. */
const struct payload *payloads_find(const struct payloads *payloads, uint64_t number);

struct wire_bytes payload_init(const struct payload *payload);
struct wire_bytes payload_note(const struct payload *payload);
struct wire_bytes payload_ingress(const struct payload *payload);
struct wire_bytes payload_egress(const struct payload *payload);

void payloads_drop(struct payloads *payloads, uint64_t number);
void payloads_drop_all(struct payloads *payloads);

#endif
