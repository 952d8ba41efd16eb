/*
 * As much of DNS as a filter needs: the question of a query, a refusal of it, and the addresses in
 * an answer.  Pure; queries are a sandbox's and answers the world's, hence both hostile.
 */
#ifndef FLOTILLA_EGRESS_DNS_H
#define FLOTILLA_EGRESS_DNS_H

#include "node-agent/egress/policy.h"

enum {
	DNS_QUERY_MAX = 512,
	DNS_ANSWER_MAX = 1400, /* what fits into one packet on the wire to the sandbox */
	DNS_ADDRESSES_MAX = 16,
	DNS_TYPE_A = 1,
	DNS_TYPE_AAAA = 28,
	DNS_NO_ERROR = 0,
	DNS_SERVER_FAILS = 2,
	DNS_REFUSED = 5,
};

struct dns_question {
	uint16_t id, type;
	char name[EGRESS_NAME_MAX]; /* without a dot at the end */
	size_t end;                 /* bytes of header and question */
};

/* False: not a query with one question, or its name is not one of a host. */
bool dns_question_read(const uint8_t *query, size_t n, struct dns_question *out_question);

/* An answer without any record to that query; returns its length. */
size_t dns_answer_empty(const uint8_t *query, const struct dns_question *question, uint8_t code,
			uint8_t out_bytes[DNS_QUERY_MAX]);

/* A query of our own for a host's addresses; 0: not such a name. */
size_t dns_query_write(const char *name, uint16_t id, uint8_t out_bytes[DNS_QUERY_MAX]);

/* Whether the bytes answer that question, under that id. */
bool dns_answers(const uint8_t *answer, size_t n, const struct dns_question *question, uint16_t id);

/* The IPv4 addresses in an answer, however it names them; how many. */
size_t dns_addresses_read(const uint8_t *answer, size_t n, uint32_t out[DNS_ADDRESSES_MAX]);

#endif
