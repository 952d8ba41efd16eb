/*
 * Slots 0..limit-1 of some array of the caller's, given out and taken back.  A handle is a slot
 * with its generation, so that one kept across time finds nothing once the slot was given back.
 * Fresh slots are given out in order and never touched before, so unused ones cost no memory.
 */
#ifndef FLOTILLA_BASE_POOL_H
#define FLOTILLA_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_NONE UINT32_MAX

struct pool_slot {
	uint32_t generation; /* odd: taken */
	uint32_t next_free;  /* when free and not the last: slot + 1 */
};

struct pool {
	struct pool_slot *slots;
	uint32_t limit, fresh_n, taken_n;
	uint32_t free_head; /* slot + 1; 0: none */
};

struct handle {
	uint32_t slot, generation;
};

/* Bytes for pool_init's memory, a multiple of 8. */
size_t pool_bytes(uint32_t limit);

/* memory: zeroed, aligned to 8, the caller's for as long as the pool is used. */
void pool_init(struct pool *pool, void *memory, uint32_t limit);

/* A free slot, the one last given back first; POOL_NONE when all are taken. */
uint32_t pool_take(struct pool *pool);
void pool_give(struct pool *pool, uint32_t slot);

bool pool_is_taken(const struct pool *pool, uint32_t slot);

/* The first taken slot at or after `slot`, POOL_NONE at the end. */
uint32_t pool_next(const struct pool *pool, uint32_t slot);

struct handle pool_handle(const struct pool *pool, uint32_t slot);

/* The slot of a handle, POOL_NONE when it was given back since. */
uint32_t pool_find(const struct pool *pool, struct handle handle);

#endif
