/* Slots, index, lists, heap and sets, each against the simplest thing that does the same. */
#include "common/base/bitset.h"
#include "common/base/check.h"
#include "common/base/heap.h"
#include "common/base/ids.h"
#include "common/base/index.h"
#include "common/base/list.h"
#include "common/base/pool.h"
#include "common/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 100, MOVES = 20000 };

/* ---- pool ---- */

static void a_handle_finds_nothing_once_its_slot_was_given_back(void **state)
{
	void *memory = calloc(1, pool_bytes(2));
	struct pool pool;
	struct handle first, again;

	(void)state;
	pool_init(&pool, memory, 2);
	first = pool_handle(&pool, pool_take(&pool));
	assert_int_equal(pool_find(&pool, first), first.slot);
	pool_give(&pool, first.slot);
	assert_int_equal(pool_find(&pool, first), POOL_NONE);
	again = pool_handle(&pool, pool_take(&pool));
	assert_int_equal(again.slot, first.slot);
	assert_int_equal(pool_find(&pool, first), POOL_NONE);
	assert_int_equal(pool_find(&pool, again), again.slot);
	assert_int_equal(pool_find(&pool, (struct handle){7, 1}), POOL_NONE);
	free(memory);
}

static void a_pool_gives_each_slot_to_one_at_a_time(void **state)
{
	void *memory = calloc(1, pool_bytes(LIMIT));
	bool taken[LIMIT] = {false};
	struct rng rng = {1};
	struct pool pool;
	uint32_t taken_n = 0;

	(void)state;
	pool_init(&pool, memory, LIMIT);
	for (int i = 0; i < MOVES; i++) {
		uint32_t slot = (uint32_t)rng_below(&rng, LIMIT);
		if (taken[slot]) {
			pool_give(&pool, slot);
			taken[slot] = false;
			taken_n--;
		} else if ((slot = pool_take(&pool)) != POOL_NONE) {
			assert_false(taken[slot]);
			taken[slot] = true;
			taken_n++;
		} else {
			assert_int_equal(taken_n, LIMIT);
		}
		assert_int_equal(pool.taken_n, taken_n);
	}
	for (uint32_t slot = 0, at = 0; slot < LIMIT; slot++) {
		assert_int_equal(pool_is_taken(&pool, slot), taken[slot]);
		if (!taken[slot])
			continue;
		at = pool_next(&pool, at);
		assert_int_equal(at++, slot);
	}
	free(memory);
}

/* ---- index ---- */

static void an_index_finds_exactly_what_is_in_it(void **state)
{
	void *memory = calloc(1, index_bytes(LIMIT));
	struct id ids[LIMIT];
	bool in[LIMIT] = {false};
	struct rng rng = {2};
	struct index index;

	(void)state;
	for (int i = 0; i < LIMIT; i++)
		snprintf(ids[i].text, sizeof(ids[i].text), "i%d", i);
	index_init(&index, memory, LIMIT, ids, sizeof(ids[0]));
	for (int i = 0; i < MOVES; i++) {
		uint32_t slot = (uint32_t)rng_below(&rng, LIMIT);
		if (in[slot])
			index_remove(&index, slot);
		else
			index_add(&index, slot);
		in[slot] = !in[slot];
		slot = (uint32_t)rng_below(&rng, LIMIT);
		assert_int_equal(index_find(&index, ids[slot].text), in[slot] ? slot : INDEX_NONE);
	}
	assert_int_equal(index_find(&index, "i100"), INDEX_NONE);
	free(memory);
}

static void a_full_index_still_finds_and_removes(void **state)
{
	void *memory = calloc(1, index_bytes(LIMIT));
	struct id ids[LIMIT];
	struct index index;

	(void)state;
	for (int i = 0; i < LIMIT; i++)
		snprintf(ids[i].text, sizeof(ids[i].text), "node_%d", i * 7919);
	index_init(&index, memory, LIMIT, ids, sizeof(ids[0]));
	for (uint32_t i = 0; i < LIMIT; i++)
		index_add(&index, i);
	for (uint32_t i = 0; i < LIMIT; i++) {
		assert_int_equal(index_find(&index, ids[i].text), i);
		index_remove(&index, i);
		for (uint32_t rest = i + 1; rest < LIMIT; rest++)
			assert_int_equal(index_find(&index, ids[rest].text), rest);
	}
	free(memory);
}

/* ---- list ---- */

struct item {
	int number;
	struct list link;
};

static void a_list_keeps_its_order_and_lets_go_anywhere(void **state)
{
	struct item items[4] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
	struct list head, *link;
	int n = 0, expected[] = {3, 0, 2};

	(void)state;
	list_init(&head);
	assert_null(list_first(&head));
	for (int i = 0; i < 3; i++)
		list_append(&head, &items[i].link);
	list_prepend(&head, &items[3].link);
	list_remove(&items[1].link);
	list_remove(&items[1].link);
	assert_false(list_is_linked(&items[1].link));
	assert_true(list_is_linked(&items[2].link));
	for (link = list_first(&head); link; link = list_next(&head, link))
		assert_int_equal(LIST_OBJECT(link, struct item, link)->number, expected[n++]);
	assert_int_equal(n, 3);
}

/* ---- heap ---- */

static void a_heap_names_the_smallest_key_and_then_the_smallest_slot(void **state)
{
	void *memory = calloc(1, heap_bytes(LIMIT));
	int64_t keys[LIMIT];
	bool in[LIMIT] = {false};
	struct rng rng = {3};
	struct heap heap;

	(void)state;
	heap_init(&heap, memory, LIMIT);
	for (int i = 0; i < MOVES; i++) {
		uint32_t slot = (uint32_t)rng_below(&rng, LIMIT), best = LIMIT;
		struct heap_entry first = {0};

		in[slot] = rng_below(&rng, 3) != 0;
		keys[slot] = (int64_t)rng_below(&rng, 50) - 25;
		if (in[slot])
			heap_set(&heap, slot, keys[slot]);
		else
			heap_remove(&heap, slot);
		for (uint32_t s = 0; s < LIMIT; s++) {
			assert_int_equal(heap_has(&heap, s), in[s]);
			if (in[s] && (best == LIMIT || keys[s] < keys[best]))
				best = s;
		}
		assert_int_equal(heap_first(&heap, &first), best != LIMIT);
		if (best != LIMIT) {
			assert_int_equal(first.slot, best);
			assert_int_equal(first.key, keys[best]);
		}
	}
	free(memory);
}

/* ---- bitset ---- */

static void compare_sets(uint32_t limit, uint32_t spread, uint64_t seed)
{
	void *memory = calloc(1, bitset_bytes(limit));
	bool *in = calloc(limit, sizeof(*in));
	struct rng rng = {seed};
	struct bitset set;

	bitset_init(&set, memory, limit);
	for (int i = 0; i < 500; i++) {
		uint32_t number = (uint32_t)rng_below(&rng, limit) / spread * spread, from, next;

		in[number] = rng_below(&rng, 2) != 0;
		if (in[number])
			bitset_add(&set, number);
		else
			bitset_remove(&set, number);
		from = (uint32_t)rng_below(&rng, limit);
		for (next = from; next < limit && !in[next]; next++)
			;
		assert_int_equal(bitset_next(&set, from), next == limit ? BITSET_NONE : next);
		assert_int_equal(bitset_has(&set, from), in[from]);
	}
	for (uint32_t number = 0; number < limit; number++)
		bitset_remove(&set, number);
	assert_true(bitset_is_empty(&set));
	assert_int_equal(bitset_next(&set, limit - 1), BITSET_NONE);
	assert_int_equal(bitset_next(&set, limit), BITSET_NONE);
	free(in);
	free(memory);
}

static void a_set_finds_the_next_number_at_every_size(void **state)
{
	static const uint32_t limits[] = {1, 2, 63, 64, 65, 4095, 4096, 4097, 262144, 300000};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(limits); i++) {
		compare_sets(limits[i], 1, i);
		compare_sets(limits[i], limits[i] / 3 + 1, i); /* far apart: across words */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_handle_finds_nothing_once_its_slot_was_given_back),
		cmocka_unit_test(a_pool_gives_each_slot_to_one_at_a_time),
		cmocka_unit_test(an_index_finds_exactly_what_is_in_it),
		cmocka_unit_test(a_full_index_still_finds_and_removes),
		cmocka_unit_test(a_list_keeps_its_order_and_lets_go_anywhere),
		cmocka_unit_test(a_heap_names_the_smallest_key_and_then_the_smallest_slot),
		cmocka_unit_test(a_set_finds_the_next_number_at_every_size),
	};

	return cmocka_run_group_tests_name("base.containers", tests, NULL, NULL);
}
