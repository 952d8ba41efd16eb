/*
 * From numbers to slots: a hash table of (key, value) for keys that are not 0.  For attempts and
 * microVMs, which are numbered.
 */
#ifndef FLOTILLA_NODE_CORE_MAP_H
#define FLOTILLA_NODE_CORE_MAP_H

#include <stddef.h>
#include <stdint.h>

#define MAP_NONE UINT32_MAX

struct map_entry {
	uint64_t key; /* 0: empty */
	uint32_t value;
};

struct map {
	struct map_entry *entries;
	uint32_t mask, limit, n;
};

/* Bytes for map_init's memory, a multiple of 8. limit: at most 2^30 keys. */
size_t map_bytes(uint32_t limit);

/* memory: zeroed, aligned to 8. */
void map_init(struct map *map, void *memory, uint32_t limit);

/* The value, or MAP_NONE. */
uint32_t map_find(const struct map *map, uint64_t key);

/* A new key, or a new value for one that is there. */
void map_set(struct map *map, uint64_t key, uint32_t value);

/* The key is there. */
void map_remove(struct map *map, uint64_t key);

#endif
