/* Linear probing; removal moves later entries of the same run back, so that there are no graves. */
#include "node-agent/core/map.h"

#include "common/base/check.h"

static uint32_t map_size(uint32_t limit)
{
	uint32_t size = 8;

	CHECK(limit <= 1u << 30);
	while (size < limit + limit / 2 + 1)
		size *= 2;
	return size;
}

size_t map_bytes(uint32_t limit)
{
	return map_size(limit) * sizeof(struct map_entry);
}

void map_init(struct map *map, void *memory, uint32_t limit)
{
	*map = (struct map){.entries = memory, .mask = map_size(limit) - 1, .limit = limit};
}

static uint32_t map_home(const struct map *map, uint64_t key)
{
	key ^= key >> 32;
	key *= 0x9e3779b97f4a7c15u;
	return (uint32_t)(key >> 32) & map->mask;
}

/* Where the key is, or where it would go. */
static uint32_t map_place(const struct map *map, uint64_t key)
{
	uint32_t place = map_home(map, key);

	while (map->entries[place].key && map->entries[place].key != key)
		place = (place + 1) & map->mask;
	return place;
}

uint32_t map_find(const struct map *map, uint64_t key)
{
	const struct map_entry *entry = &map->entries[map_place(map, key)];

	return entry->key ? entry->value : MAP_NONE;
}

void map_set(struct map *map, uint64_t key, uint32_t value)
{
	struct map_entry *entry = &map->entries[map_place(map, key)];

	CHECK(key && value != MAP_NONE);
	if (!entry->key) {
		CHECK(map->n < map->limit);
		map->n++;
	}
	*entry = (struct map_entry){key, value};
}

void map_remove(struct map *map, uint64_t key)
{
	uint32_t hole = map_place(map, key), place = hole;

	CHECK(map->entries[hole].key);
	for (;;) {
		uint32_t home;
		place = (place + 1) & map->mask;
		if (!map->entries[place].key)
			break;
		home = map_home(map, map->entries[place].key);
		/* It may move only if the hole is on its way from home. */
		if (((place - home) & map->mask) < ((place - hole) & map->mask))
			continue;
		map->entries[hole] = map->entries[place];
		hole = place;
	}
	map->entries[hole] = (struct map_entry){0};
	map->n--;
}
