#include "common/base/index.h"

#include "common/base/check.h"

#include <string.h>

static uint32_t text_hash(const char *text)
{
	uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a, folded: its high bits are the better ones */

	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
	return (uint32_t)(hash ^ (hash >> 32));
}

static const char *slot_text(const struct index *index, uint32_t slot)
{
	return index->texts + (size_t)slot * index->stride;
}

/* Twice the limit, so that probes stay short; a power of two, so that they wrap by a mask. */
static uint32_t entry_count(uint32_t limit)
{
	uint32_t count = 8;

	CHECK(limit <= 1u << 30);
	while (count < 2 * limit)
		count *= 2;
	return count;
}

size_t index_bytes(uint32_t limit)
{
	return (size_t)entry_count(limit) * sizeof(struct index_entry);
}

void index_init(struct index *index, void *memory, uint32_t limit, const void *texts, size_t stride)
{
	*index = (struct index){.entries = memory,
				.mask = entry_count(limit) - 1,
				.limit = limit,
				.texts = texts,
				.stride = stride};
}

/* Where the text is, or the empty place where it would go. */
static uint32_t probe(const struct index *index, const char *text, uint32_t hash)
{
	uint32_t at = hash & index->mask;

	while (index->entries[at].slot_plus_1) {
		const struct index_entry *entry = &index->entries[at];
		if (entry->hash == hash &&
		    strcmp(slot_text(index, entry->slot_plus_1 - 1), text) == 0)
			break;
		at = (at + 1) & index->mask;
	}
	return at;
}

uint32_t index_find(const struct index *index, const char *text)
{
	uint32_t at = probe(index, text, text_hash(text));

	return index->entries[at].slot_plus_1 - 1; /* empty: 0 - 1 is INDEX_NONE */
}

void index_add(struct index *index, uint32_t slot)
{
	const char *text = slot_text(index, slot);
	uint32_t hash = text_hash(text);
	uint32_t at = probe(index, text, hash);

	CHECK(!index->entries[at].slot_plus_1);
	CHECK(index->n < index->limit);
	index->entries[at] = (struct index_entry){hash, slot + 1};
	index->n++;
}

void index_remove(struct index *index, uint32_t slot)
{
	const char *text = slot_text(index, slot);
	uint32_t hole = probe(index, text, text_hash(text));

	CHECK(index->entries[hole].slot_plus_1 == slot + 1);
	index->n--;
	/* Close the hole: whoever probed across it moves into it, so no tombstones are needed. */
	for (uint32_t at = (hole + 1) & index->mask; index->entries[at].slot_plus_1;
	     at = (at + 1) & index->mask) {
		uint32_t home = index->entries[at].hash & index->mask;
		if (((at - home) & index->mask) >= ((at - hole) & index->mask)) {
			index->entries[hole] = index->entries[at];
			hole = at;
		}
	}
	index->entries[hole] = (struct index_entry){0};
}
