#include "common/base/bitset.h"

#include "common/base/check.h"

static size_t words_of(size_t bits)
{
	return (bits + 63) / 64;
}

size_t bitset_bytes(uint32_t limit)
{
	size_t words = 0, level = limit;

	CHECK(limit <= 1u << 24);
	for (int i = 0; i < BITSET_LEVELS; i++) {
		level = words_of(level);
		words += level;
	}
	return words * sizeof(uint64_t);
}

void bitset_init(struct bitset *set, void *memory, uint32_t limit)
{
	uint64_t *words = memory;
	size_t level = limit;

	set->limit = limit;
	for (int i = 0; i < BITSET_LEVELS; i++) {
		set->levels[i] = words;
		level = words_of(level);
		words += level;
	}
}

void bitset_add(struct bitset *set, uint32_t number)
{
	CHECK(number < set->limit);
	for (int i = 0; i < BITSET_LEVELS; i++) {
		uint64_t *word = &set->levels[i][number / 64];
		bool was_empty = *word == 0;

		*word |= 1ull << number % 64;
		if (!was_empty)
			break;
		number /= 64;
	}
}

void bitset_remove(struct bitset *set, uint32_t number)
{
	CHECK(number < set->limit);
	for (int i = 0; i < BITSET_LEVELS; i++) {
		uint64_t *word = &set->levels[i][number / 64];

		*word &= ~(1ull << number % 64);
		if (*word)
			break;
		number /= 64;
	}
}

bool bitset_has(const struct bitset *set, uint32_t number)
{
	CHECK(number < set->limit);
	return set->levels[0][number / 64] >> number % 64 & 1;
}

uint32_t bitset_next(const struct bitset *set, uint32_t from)
{
	int level = 0;
	size_t bits = set->limit;

	/* Up, until some word has a bit at or after where we are; then down along its lowest. */
	for (;; level++) {
		uint64_t word;

		if (level == BITSET_LEVELS || from >= bits)
			return BITSET_NONE;
		word = set->levels[level][from / 64] & ~0ull << from % 64;
		if (word) {
			from = from / 64 * 64 + (uint32_t)__builtin_ctzll(word);
			break;
		}
		from = from / 64 + 1;
		bits = words_of(bits);
	}
	while (level-- > 0)
		from = from * 64 + (uint32_t)__builtin_ctzll(set->levels[level][from]);
	return from;
}
