/* The map against the plainest model of one. */
#include "common/base/rng.h"
#include "node-agent/core/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LIMIT = 50, KEYS = 120 };

static void a_map_holds_what_was_set_and_not_removed(void **state)
{
	void *memory = calloc(1, map_bytes(LIMIT));
	uint32_t model[KEYS + 1];
	struct rng rng = {7};
	struct map map;

	(void)state;
	memset(model, 0xff, sizeof(model));
	map_init(&map, memory, LIMIT);
	for (uint32_t step = 0; step < 200000; step++) {
		/* Keys that differ in few bits, as attempts do. */
		uint64_t key = 1 + rng_below(&rng, KEYS);
		uint64_t number = key << (key % 3 * 16);
		if (model[key] == MAP_NONE && map.n < LIMIT) {
			map_set(&map, number, step);
			model[key] = step;
		} else if (model[key] != MAP_NONE) {
			map_remove(&map, number);
			model[key] = MAP_NONE;
		}
		key = 1 + rng_below(&rng, KEYS);
		assert_int_equal(map_find(&map, key << (key % 3 * 16)), model[key]);
	}
	free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_map_holds_what_was_set_and_not_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
