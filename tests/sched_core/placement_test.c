/* Which node: rows carry the numbers of the order in scheduler/core/place.c. */
#include "common/base/check.h"
#include "common/base/rng.h"
#include "tests/sched_core/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

/* A node as one row of a table sees it, for sandboxes of 2 vCPUs, 1000 MiB and 100 MiB of disk. */
struct candidate {
	uint32_t vcpus, mem_mib, disk_mib, sandboxes, warm_n;
	enum { FINE, CORDONED, SILENT, WITHOUT } condition;
};

static const struct {
	int rule;
	const char *why;
	struct candidate first, second;
	int best; /* 0, 1; -1: none */
} rows[] = {
	{1, "vCPUs", {1, 9000, 900, 9, 1, FINE}, {2, 9000, 900, 9, 0, FINE}, 1},
	{1, "memory", {9, 999, 900, 9, 1, FINE}, {9, 1000, 900, 9, 0, FINE}, 1},
	{1, "disk", {9, 9000, 99, 9, 1, FINE}, {9, 9000, 100, 9, 0, FINE}, 1},
	{1, "count", {9, 9000, 900, 0, 1, FINE}, {9, 9000, 900, 1, 0, FINE}, 1},
	{1, "cordon", {2, 1000, 100, 1, 1, CORDONED}, {9, 9000, 900, 9, 0, FINE}, 1},
	{1, "silence", {2, 1000, 100, 1, 1, SILENT}, {9, 9000, 900, 9, 0, FINE}, 1},
	{1, "template", {2, 1000, 100, 1, 1, WITHOUT}, {9, 9000, 900, 9, 0, FINE}, 1},
	{1, "neither", {1, 9000, 900, 9, 1, FINE}, {9, 999, 900, 9, 1, FINE}, -1},
	{2, "warm beats full", {2, 1000, 100, 1, 0, FINE}, {128, 64000, 6400, 64, 1, FINE}, 1},
	{2, "any number of warm ones", {4, 2000, 200, 2, 9, FINE}, {2, 1000, 100, 1, 1, FINE}, 1},
	{3, "room of 2 and 1", {4, 2000, 200, 2, 1, FINE}, {2, 1000, 100, 1, 1, FINE}, 1},
	{3, "room of 7 and 6", {14, 9000, 900, 9, 0, FINE}, {12, 9000, 900, 9, 0, FINE}, 1},
	{3, "8-15 and 7", {16, 99000, 9900, 99, 0, FINE}, {99, 7999, 9900, 99, 0, FINE}, 1},
	{3, "16-31 and 8-15", {32, 99000, 9900, 99, 0, FINE}, {99, 99000, 1500, 99, 0, FINE}, 1},
	{3, "32-63 and 16-31", {64, 99000, 9900, 99, 0, FINE}, {99, 99000, 9900, 31, 0, FINE}, 1},
	{3, "64 and 32-63", {128, 99000, 9900, 99, 0, FINE}, {126, 99000, 9900, 99, 0, FINE}, 1},
	{4, "equal", {4, 2000, 200, 2, 1, FINE}, {4, 2000, 200, 2, 1, FINE}, 0},
	{4, "one class", {20, 99000, 9900, 99, 0, FINE}, {16, 99000, 9900, 99, 0, FINE}, 0},
	{4,
	 "as good as empty",
	 {900, 900000, 90000, 900, 0, FINE},
	 {200, 900000, 90000, 99, 0, FINE},
	 0},
};

static void make_node(struct world *world, const char *id, const struct candidate *as)
{
	struct world_node *node =
		world_node(world, id, as->vcpus, as->mem_mib, as->disk_mib, as->sandboxes);
	struct core_event event = {.kind = CORE_EVENT_NODE_SET};

	if (as->condition != WITHOUT)
		world_offer(node, "base", 2, 1000, 100, as->warm_n);
	world_report(world, node);
	if (as->condition == SILENT)
		world_node_event(world, node, CORE_EVENT_NODE_SILENT);
	event.node.id = node->id;
	event.node.cordoned = as->condition == CORDONED;
	world_step(world, &event);
}

static void the_best_node_is_taken_by_the_numbered_order(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		struct world *world = world_open();
		const struct core_sandbox *row;

		world_tenant(world, "ten_a", 20);
		make_node(world, "nod_0", &rows[i].first);
		make_node(world, "nod_1", &rows[i].second);
		world_create(world, "i1", "ten_a", "base", 60);
		row = world_find(world, "i1");
		if (rows[i].best < 0 && row)
			fail_msg("rule %d, %s: placed", rows[i].rule, rows[i].why);
		if (rows[i].best >= 0 && (!row || row->node.text[4] - '0' != rows[i].best))
			fail_msg("rule %d, %s: on %s", rows[i].rule, rows[i].why,
				 row ? row->node.text : "none");
		world_close(world);
	}
}

static void a_warm_clone_is_counted_for_one_sandbox_only(void **state)
{
	struct world *world = world_open();

	(void)state;
	world_tenant(world, "ten_a", 20);
	make_node(world, "nod_0", &(struct candidate){8, 8000, 800, 8, 1, FINE});
	make_node(world, "nod_1", &(struct candidate){80, 80000, 8000, 80, 1, FINE});
	world_create(world, "i1", "ten_a", "base", 60);
	world_create(world, "i2", "ten_a", "base", 60);
	world_create(world, "i3", "ten_a", "base", 60);
	assert_string_equal(world_find(world, "i1")->node.text, "nod_0");
	assert_string_equal(world_find(world, "i2")->node.text, "nod_1");
	assert_string_equal(world_find(world, "i3")->node.text, "nod_0");
	world_close(world);
}

static void exactly_as_many_run_as_fit(void **state)
{
	struct world *world = world_open();
	uint32_t placed = 0, refused = 0;
	struct core_node_view view;
	char id[16];

	(void)state;
	world_fleet(world, 3);
	world_tenant(world, "ten_a", 100);
	for (int i = 0; i < 40; i++) {
		uint64_t request;
		snprintf(id, sizeof(id), "i%d", i);
		request = world_create(world, id, "ten_a", "base", 60);
		if (!world_reply(world, request))
			placed++;
		else
			refused += world_reply(world, request)->refusal == REFUSAL_CAPACITY;
	}
	assert_int_equal(placed, 24);
	assert_int_equal(refused, 16);
	for (uint32_t cursor = 0; core_node_next(world->core, &cursor, &view);)
		assert_int_equal(view.used.vcpus, view.row.capacity.vcpus);
	world_close(world);
}

static void each_node_is_explained_by_the_first_reason_that_keeps_it_out(void **state)
{
	struct world *world = world_open();
	struct core_explanation why;

	(void)state;
	world_tenant(world, "ten_a", 20);
	make_node(world, "nod_0", &(struct candidate){1, 999, 99, 0, 0, FINE});
	make_node(world, "nod_1", &(struct candidate){9, 999, 99, 0, 0, FINE});
	make_node(world, "nod_2", &(struct candidate){9, 9000, 99, 0, 0, FINE});
	make_node(world, "nod_3", &(struct candidate){9, 9000, 900, 0, 0, FINE});
	make_node(world, "nod_4", &(struct candidate){9, 9000, 900, 9, 0, WITHOUT});
	make_node(world, "nod_5", &(struct candidate){9, 9000, 900, 9, 0, SILENT});
	make_node(world, "nod_6", &(struct candidate){9, 9000, 900, 9, 0, CORDONED});
	make_node(world, "nod_7", &(struct candidate){9, 9000, 900, 9, 0, FINE});
	core_explain(world->core, "base", &why);
	assert_int_equal(why.vcpus_n, 1);
	assert_int_equal(why.memory_n, 1);
	assert_int_equal(why.disk_n, 1);
	assert_int_equal(why.count_n, 1);
	assert_int_equal(why.no_template_n, 1);
	assert_int_equal(why.silent_n, 1);
	assert_int_equal(why.cordoned_n, 1);
	assert_int_equal(why.fits_n, 1);
	core_explain(world->core, "elsewhere", &why);
	assert_int_equal(why.no_template_n, 6);
	world_close(world);
}

static void a_template_keeps_its_shape_while_any_node_offers_it(void **state)
{
	struct world *world = world_open();
	struct world_node *first, *second;

	(void)state;
	world_fleet(world, 2);
	first = &world->nodes[0];
	second = &world->nodes[1];
	world_offer(first, "base", 2, 1024, 1024, 1);
	world_report(world, first);
	assert_int_equal(core_template_find(world->core, "base")->vcpus, 1);
	world_create(world, "i1", "ten_a", "base", 60);
	assert_string_equal(world_find(world, "i1")->node.text, "nod_1");
	world_offer(second, "base", 2, 1024, 1024, 1);
	world_report(world, second);
	assert_int_equal(core_template_find(world->core, "base")->vcpus, 2);
	assert_int_equal(world->templates[0].vcpus, 2);
	assert_int_equal(world_find(world, "i1")->vcpus, 1);
	world_report(world, first);
	world_create(world, "i2", "ten_a", "base", 60);
	assert_string_equal(world_find(world, "i2")->node.text, "nod_1");
	assert_int_equal(world_find(world, "i2")->vcpus, 2);
	world_close(world);
}

/* ---- the sets of nodes against a look at all of them ---- */

static unsigned naive_class(uint64_t room)
{
	unsigned class = 8;

	if (room < 8)
		return (unsigned)room;
	for (uint64_t n = 16; n <= room && class < 11; n *= 2)
		class ++;
	return class;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The node that the order names, by looking at each; -1: none. */
static int naive_best(const struct world *world, const char *name)
{
	const struct core_template *shape = core_template_find(world->core, name);
	int best = -1;
	unsigned best_class = 0;
	bool best_warm = false;

	for (uint32_t i = 0; i < world->node_n; i++) {
		struct core_node_view view;
		uint64_t room;
		bool has = false, warm = false, better;

		assert_true(core_node_find(world->core, &world->nodes[i].id, &view));
		if (!view.awake || view.row.cordoned)
			continue;
		for (uint32_t t = 0; t < view.template_n; t++)
			if (view.templates[t].template_ == shape && view.templates[t].current) {
				has = true;
				warm = view.templates[t].warm_n > 0;
			}
		room = least(
			least((view.row.capacity.vcpus - view.used.vcpus) / shape->vcpus,
			      (view.row.capacity.mem_mib - view.used.mem_mib) / shape->mem_mib),
			least((view.row.capacity.disk_mib - view.used.disk_mib) / shape->disk_mib,
			      view.row.capacity.sandboxes - view.used.sandboxes));
		if (!has || room == 0)
			continue;
		better = best < 0 || (warm != best_warm ? warm : naive_class(room) < best_class);
		if (better) {
			best = (int)i;
			best_class = naive_class(room);
			best_warm = warm;
		}
	}
	return best;
}

static const char *const names[] = {"base", "big", "tiny"};

static void random_report(struct world *world, struct rng *rng, struct world_node *node)
{
	node->poll.templates_n = 0;
	for (uint32_t t = 0; t < ARRAY_N(names); t++)
		if (!rng_one_in(rng, 4))
			world_offer(node, names[t], 1 + t, 256u << t, 100 + 300 * t,
				    (uint32_t)rng_below(rng, 3));
	world_report(world, node);
}

static void random_fleet(struct world *world, struct rng *rng)
{
	char id[16];

	world_tenant(world, "ten_a", WORLD_SANDBOXES);
	for (int i = 0; i < WORLD_NODES; i++) {
		snprintf(id, sizeof(id), "nod_%d", i);
		world_node(world, id, 4 + (uint32_t)rng_below(rng, 30),
			   1024 + rng_below(rng, 30000), 1000 + rng_below(rng, 20000),
			   (uint32_t)rng_below(rng, 80));
		random_report(world, rng, &world->nodes[i]);
	}
	for (uint32_t t = 0; t < ARRAY_N(names); t++) /* so that every template is known */
		world_offer(&world->nodes[0], names[t], 1 + t, 256u << t, 100 + 300 * t, 1);
	world_report(world, &world->nodes[0]);
}

static void the_sets_name_the_same_node_as_a_look_at_all(void **state)
{
	char ids[WORLD_SANDBOXES][16] = {{0}};

	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct world *world = world_open();
		struct rng rng = {seed};
		random_fleet(world, &rng);
		for (int i = 0; i < 300; i++) {
			const char *name = names[rng_below(&rng, ARRAY_N(names))];
			char *id = ids[rng_below(&rng, WORLD_SANDBOXES)];
			const struct core_sandbox *row = *id ? world_find(world, id) : NULL;
			int best = naive_best(world, name);

			if (row) {
				world_say(world, world_find_node(world, &row->node),
					  WIRE_RECORD_ENDED, id, row->attempt);
				*id = 0;
			} else {
				snprintf(id, 16, "i%d", i);
				world_create(world, id, "ten_a", name, 60);
				row = world_find(world, id);
				assert_int_equal(best, row ? row->node.text[4] - '0' : -1);
			}
			if (rng_one_in(&rng, 8))
				random_report(world, &rng,
					      &world->nodes[rng_below(&rng, WORLD_NODES)]);
		}
		memset(ids, 0, sizeof(ids));
		world_close(world);
	}
}

static void nothing_is_placed_on_a_node_in_trouble_or_leaving(void **state)
{
	struct world *world = world_open();
	uint64_t request;

	(void)state;
	world_fleet(world, 1);
	world->nodes[0].poll.leaving = true;
	world_report(world, &world->nodes[0]);
	request = world_create(world, "sbx_a", "ten_a", "base", 60);
	assert_int_equal(world_reply(world, request)->refusal, REFUSAL_CAPACITY);
	world->nodes[0].poll.leaving = false;
	world->nodes[0].poll.trouble[0] = 'x';
	world_report(world, &world->nodes[0]);
	request = world_create(world, "sbx_b", "ten_a", "base", 60);
	assert_int_equal(world_reply(world, request)->refusal, REFUSAL_CAPACITY);
	world->nodes[0].poll.trouble[0] = 0;
	world_report(world, &world->nodes[0]);
	world_run(world, "sbx_c", 60);
	world_close(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_placed_on_a_node_in_trouble_or_leaving),
		cmocka_unit_test(the_best_node_is_taken_by_the_numbered_order),
		cmocka_unit_test(a_warm_clone_is_counted_for_one_sandbox_only),
		cmocka_unit_test(exactly_as_many_run_as_fit),
		cmocka_unit_test(each_node_is_explained_by_the_first_reason_that_keeps_it_out),
		cmocka_unit_test(a_template_keeps_its_shape_while_any_node_offers_it),
		cmocka_unit_test(the_sets_name_the_same_node_as_a_look_at_all),
	};

	return cmocka_run_group_tests_name("sched_core.placement", tests, NULL, NULL);
}
