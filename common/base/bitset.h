/*
 * A set of numbers 0..limit-1 that finds its smallest in a few steps however large it is: bits,
 * and above them bits that say which words below are not zero.  Zeroed memory is the empty set.
 */
#ifndef FLOTILLA_BASE_BITSET_H
#define FLOTILLA_BASE_BITSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITSET_NONE UINT32_MAX

enum { BITSET_LEVELS = 4 }; /* 64^4: 16 million numbers */

struct bitset {
	uint64_t *
		levels[BITSET_LEVELS]; /* [0]: one bit a number; each above: one bit a word below */
	uint32_t limit;
};

/* Bytes for bitset_init's memory, a multiple of 8. limit: at most 2^24. */
size_t bitset_bytes(uint32_t limit);

/* memory: zeroed, aligned to 8. */
void bitset_init(struct bitset *set, void *memory, uint32_t limit);

void bitset_add(struct bitset *set, uint32_t number);
void bitset_remove(struct bitset *set, uint32_t number); /* harmless when it is not in */
bool bitset_has(const struct bitset *set, uint32_t number);

static inline bool bitset_is_empty(const struct bitset *set)
{
	return *set->levels[BITSET_LEVELS - 1] == 0;
}

/* The smallest at or above `from`, or BITSET_NONE. */
uint32_t bitset_next(const struct bitset *set, uint32_t from);

#endif
