/* A question of a sandbox's, and an answer of the world's: what is read of them can be written. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/egress/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[DNS_QUERY_MAX];
	uint32_t addresses[DNS_ADDRESSES_MAX];
	struct dns_question question, again;
	size_t n;

	CHECK(dns_addresses_read(data, size, addresses) <= DNS_ADDRESSES_MAX);
	if (!dns_question_read(data, size, &question))
		return 0;
	CHECK(question.end <= size);
	n = dns_answer_empty(data, &question, DNS_REFUSED, bytes);
	CHECK(dns_answers(bytes, n, &question, question.id));
	n = dns_query_write(question.name, question.id, bytes);
	CHECK(n && dns_question_read(bytes, n, &again));
	CHECK(strcmp(question.name, again.name) == 0 && again.id == question.id);
	return 0;
}
