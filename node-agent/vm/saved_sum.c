/* See saved_sum.h. */
#include "node-agent/vm/saved_sum.h"

#include "common/base/check.h"

#include <string.h>

#define SUM_PRIME 0x100000001b3ULL

void vm_sum_begin(struct vm_sum *sum)
{
	for (size_t i = 0; i < ARRAY_N(sum->lanes); i++)
		sum->lanes[i] = 0xcbf29ce484222325ULL + i;
}

void vm_sum_add(struct vm_sum *sum, const void *bytes, size_t n)
{
	const uint8_t *at = bytes;
	uint64_t words[8], lanes[8];

	_Static_assert(sizeof(words) == VM_SUM_STEP, "one word for each lane");
	CHECK(n % VM_SUM_STEP == 0);
	memcpy(lanes, sum->lanes, sizeof(lanes));
	for (; n; n -= VM_SUM_STEP, at += VM_SUM_STEP) {
		memcpy(words, at, sizeof(words));
		for (size_t i = 0; i < 8; i++)
			lanes[i] = (lanes[i] ^ words[i]) * SUM_PRIME;
	}
	memcpy(sum->lanes, lanes, sizeof(lanes));
}

uint64_t vm_sum_join(uint64_t sum, uint64_t of_block)
{
	sum = (sum ^ of_block) * SUM_PRIME;
	return (sum ^ sum >> 29) & INT64_MAX;
}

uint64_t vm_sum_end(const struct vm_sum *sum)
{
	uint64_t all = 0;

	for (size_t i = 0; i < ARRAY_N(sum->lanes); i++) {
		all = (all ^ sum->lanes[i]) * SUM_PRIME;
		all ^= all >> 29;
	}
	return all & INT64_MAX;
}
