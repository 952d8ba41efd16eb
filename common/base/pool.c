#include "common/base/pool.h"

#include "common/base/check.h"

size_t pool_bytes(uint32_t limit)
{
	return (size_t)limit * sizeof(struct pool_slot);
}

void pool_init(struct pool *pool, void *memory, uint32_t limit)
{
	CHECK(limit < POOL_NONE);
	*pool = (struct pool){.slots = memory, .limit = limit};
}

uint32_t pool_take(struct pool *pool)
{
	uint32_t slot;

	if (pool->free_head) {
		slot = pool->free_head - 1;
		pool->free_head = pool->slots[slot].next_free;
	} else if (pool->fresh_n < pool->limit) {
		slot = pool->fresh_n++;
	} else {
		return POOL_NONE;
	}
	pool->slots[slot].generation++;
	pool->taken_n++;
	return slot;
}

void pool_give(struct pool *pool, uint32_t slot)
{
	CHECK(pool_is_taken(pool, slot));
	pool->slots[slot].generation++;
	pool->slots[slot].next_free = pool->free_head;
	pool->free_head = slot + 1;
	pool->taken_n--;
}

bool pool_is_taken(const struct pool *pool, uint32_t slot)
{
	return slot < pool->fresh_n && pool->slots[slot].generation % 2 == 1;
}

uint32_t pool_next(const struct pool *pool, uint32_t slot)
{
	for (; slot < pool->fresh_n; slot++)
		if (pool_is_taken(pool, slot))
			return slot;
	return POOL_NONE;
}

struct handle pool_handle(const struct pool *pool, uint32_t slot)
{
	CHECK(pool_is_taken(pool, slot));
	return (struct handle){slot, pool->slots[slot].generation};
}

uint32_t pool_find(const struct pool *pool, struct handle handle)
{
	if (!pool_is_taken(pool, handle.slot) ||
	    pool->slots[handle.slot].generation != handle.generation)
		return POOL_NONE;
	return handle.slot;
}
