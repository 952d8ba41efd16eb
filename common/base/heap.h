/*
 * Which of many slots is due first: a binary heap of (key, slot) in which a slot can be moved or
 * removed.  Equal keys come in the order of their slots, so that it is deterministic.
 */
#ifndef FLOTILLA_BASE_HEAP_H
#define FLOTILLA_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_entry {
	int64_t key;
	uint32_t slot;
};

struct heap {
	struct heap_entry *entries;
	uint32_t *places; /* of each slot: place + 1; 0: not in the heap */
	uint32_t n, limit;
};

/* Bytes for heap_init's memory, a multiple of 8. */
size_t heap_bytes(uint32_t limit);

/* memory: zeroed, aligned to 8; slots are 0..limit-1. */
void heap_init(struct heap *heap, void *memory, uint32_t limit);

/* Puts the slot in, or moves it to its new key. */
void heap_set(struct heap *heap, uint32_t slot, int64_t key);

/* Harmless when it is not in. */
void heap_remove(struct heap *heap, uint32_t slot);

bool heap_has(const struct heap *heap, uint32_t slot);

/* The smallest, which stays in. False: the heap is empty. */
bool heap_first(const struct heap *heap, struct heap_entry *out_entry);

#endif
