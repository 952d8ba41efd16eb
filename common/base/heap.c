#include "common/base/heap.h"

#include "common/base/check.h"

size_t heap_bytes(uint32_t limit)
{
	size_t bytes = (size_t)limit * (sizeof(struct heap_entry) + sizeof(uint32_t));

	return (bytes + 7) & ~(size_t)7;
}

void heap_init(struct heap *heap, void *memory, uint32_t limit)
{
	*heap = (struct heap){.entries = memory, .limit = limit};
	heap->places = (uint32_t *)(void *)(heap->entries + limit);
}

static bool comes_before(struct heap_entry a, struct heap_entry b)
{
	return a.key != b.key ? a.key < b.key : a.slot < b.slot;
}

static void put(struct heap *heap, uint32_t place, struct heap_entry entry)
{
	heap->entries[place] = entry;
	heap->places[entry.slot] = place + 1;
}

/* The entry belongs somewhere on the way from `place` to the root or to a leaf. */
static void settle(struct heap *heap, uint32_t place, struct heap_entry entry)
{
	while (place > 0 && comes_before(entry, heap->entries[(place - 1) / 2])) {
		put(heap, place, heap->entries[(place - 1) / 2]);
		place = (place - 1) / 2;
	}
	for (;;) {
		uint64_t child = 2 * (uint64_t)place + 1;
		if (child >= heap->n)
			break;
		if (child + 1 < heap->n &&
		    comes_before(heap->entries[child + 1], heap->entries[child]))
			child++;
		if (!comes_before(heap->entries[child], entry))
			break;
		put(heap, place, heap->entries[child]);
		place = (uint32_t)child;
	}
	put(heap, place, entry);
}

void heap_set(struct heap *heap, uint32_t slot, int64_t key)
{
	CHECK(slot < heap->limit);
	if (!heap->places[slot])
		heap->places[slot] = ++heap->n;
	settle(heap, heap->places[slot] - 1, (struct heap_entry){key, slot});
}

void heap_remove(struct heap *heap, uint32_t slot)
{
	uint32_t place;

	CHECK(slot < heap->limit);
	if (!heap->places[slot])
		return;
	place = heap->places[slot] - 1;
	heap->places[slot] = 0;
	heap->n--;
	if (place < heap->n)
		settle(heap, place, heap->entries[heap->n]);
}

bool heap_has(const struct heap *heap, uint32_t slot)
{
	CHECK(slot < heap->limit);
	return heap->places[slot] != 0;
}

bool heap_first(const struct heap *heap, struct heap_entry *out_entry)
{
	if (heap->n == 0)
		return false;
	*out_entry = heap->entries[0];
	return true;
}
