/* See dns.h. */
#include "node-agent/egress/dns.h"

#include <ctype.h>
#include <string.h>

enum { HEADER_N = 12, LABEL_MAX = 63, CLASS_IN = 1, FLAG_ANSWER = 0x80 };

static uint16_t number_at(const uint8_t *bytes, size_t at)
{
	return (uint16_t)(bytes[at] << 8 | bytes[at + 1]);
}

static bool is_name_byte(uint8_t c)
{
	return isalnum(c) || c == '-' || c == '_';
}

/* A name without pointers, as questions have; where it ends, or 0. */
static size_t name_read(const uint8_t *bytes, size_t n, size_t at, char out_name[EGRESS_NAME_MAX])
{
	size_t out_n = 0;

	while (at < n && bytes[at]) {
		size_t label_n = bytes[at++];

		if (label_n > LABEL_MAX || at + label_n > n ||
		    out_n + label_n + 1 >= EGRESS_NAME_MAX)
			return 0;
		if (out_n)
			out_name[out_n++] = '.';
		for (size_t i = 0; i < label_n; i++) {
			if (!is_name_byte(bytes[at + i]))
				return 0;
			out_name[out_n++] = (char)bytes[at + i];
		}
		at += label_n;
	}
	out_name[out_n] = 0;
	return at < n && out_n ? at + 1 : 0;
}

static bool question_at(const uint8_t *bytes, size_t n, struct dns_question *out)
{
	size_t end;

	if (n < HEADER_N || number_at(bytes, 4) != 1)
		return false;
	end = name_read(bytes, n, HEADER_N, out->name);
	if (!end || end + 4 > n || number_at(bytes, end + 2) != CLASS_IN)
		return false;
	out->id = number_at(bytes, 0);
	out->type = number_at(bytes, end);
	out->end = end + 4;
	return true;
}

bool dns_question_read(const uint8_t *query, size_t n, struct dns_question *out_question)
{
	struct dns_question question;

	/* A standard query: no answer, and no other operation. */
	if (n > DNS_QUERY_MAX || !question_at(query, n, &question) || (query[2] & 0xf8) != 0)
		return false;
	*out_question = question;
	return true;
}

size_t dns_answer_empty(const uint8_t *query, const struct dns_question *question, uint8_t code,
			uint8_t out_bytes[DNS_QUERY_MAX])
{
	memcpy(out_bytes, query, question->end);
	out_bytes[2] = (uint8_t)(FLAG_ANSWER | (query[2] & 1)); /* recursion as it was desired */
	out_bytes[3] = (uint8_t)(0x80 | code);
	memset(out_bytes + 6, 0, 6);
	return question->end;
}

size_t dns_query_write(const char *name, uint16_t id, uint8_t out_bytes[DNS_QUERY_MAX])
{
	size_t at = HEADER_N;

	if (!name[0] || strlen(name) >= EGRESS_NAME_MAX)
		return 0;
	memset(out_bytes, 0, HEADER_N);
	out_bytes[0] = (uint8_t)(id >> 8);
	out_bytes[1] = (uint8_t)id;
	out_bytes[2] = 1; /* recursion desired */
	out_bytes[5] = 1;
	while (*name) {
		size_t label_n = strcspn(name, ".");

		if (label_n == 0 || label_n > LABEL_MAX)
			return 0;
		out_bytes[at++] = (uint8_t)label_n;
		memcpy(out_bytes + at, name, label_n);
		at += label_n;
		name += label_n + (name[label_n] == '.');
	}
	out_bytes[at++] = 0;
	memcpy(out_bytes + at, (uint8_t[]){0, DNS_TYPE_A, 0, CLASS_IN}, 4);
	return at + 4;
}

bool dns_answers(const uint8_t *answer, size_t n, const struct dns_question *question, uint16_t id)
{
	struct dns_question echoed;

	return n <= DNS_ANSWER_MAX && question_at(answer, n, &echoed) &&
	       (answer[2] & FLAG_ANSWER) && echoed.id == id && echoed.type == question->type &&
	       strcasecmp(echoed.name, question->name) == 0;
}

/* Over a name with or without a pointer; 0: it does not end. */
static size_t name_skip(const uint8_t *bytes, size_t n, size_t at)
{
	while (at < n && bytes[at]) {
		if ((bytes[at] & 0xc0) == 0xc0)
			return at + 2 <= n ? at + 2 : 0;
		if (bytes[at] > LABEL_MAX)
			return 0;
		at += 1 + (size_t)bytes[at];
	}
	return at < n ? at + 1 : 0;
}

size_t dns_addresses_read(const uint8_t *answer, size_t n, uint32_t out[DNS_ADDRESSES_MAX])
{
	struct dns_question question;
	size_t at, records_n, out_n = 0;

	if (!question_at(answer, n, &question))
		return 0;
	at = question.end;
	records_n = number_at(answer, 6);
	while (records_n-- && out_n < DNS_ADDRESSES_MAX) {
		size_t data_n;

		at = name_skip(answer, n, at);
		if (!at || at + 10 > n)
			break;
		data_n = number_at(answer, at + 8);
		if (at + 10 + data_n > n)
			break;
		if (number_at(answer, at) == DNS_TYPE_A && number_at(answer, at + 2) == CLASS_IN &&
		    data_n == 4)
			out[out_n++] = (uint32_t)number_at(answer, at + 10) << 16 |
				       number_at(answer, at + 12);
		at += 10 + data_n;
	}
	return out_n;
}
