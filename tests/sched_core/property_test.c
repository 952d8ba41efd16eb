/*
 * Many seeds of a small fleet under a bad network, with schedulers that crash before and after
 * their commits.  The nodes keep the truth: what really runs, and what they really metered.  At
 * every moment no node holds more than it has, no sandbox runs on two nodes and no tenant has more
 * than its cap; and when the faults stop, everything is finished, paused or runs, the scheduler
 * knows exactly what runs and what is saved, and every second was posted once.
 */
#include "common/base/check.h"
#include "common/base/rng.h"
#include "tests/sched_core/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS = 60, MOVES = 1500, NODES = 3, TENANTS = 2, CAP = 4, ATTEMPTS = 4096, JOURNAL = 8192 };
enum { FLIGHT = 64, NAMES = 1024 };

/* What a node remembers of an attempt, for ever. */
struct memory {
	uint64_t attempt;
	char sandbox[ID_MAX];
	uint32_t tenant, vcpus, mem_mib;
	uint32_t incarnation;
	uint64_t told_ms, deadline_version, save_answered;
	enum { REFUSED, RUNNING, SAVED, ENDED } answer;
};

struct model_node {
	struct memory memories[ATTEMPTS];
	uint32_t memory_n;
	struct wire_record journal[JOURNAL]; /* seq - 1 */
	uint32_t journal_n;
	struct wire_order flight[FLIGHT]; /* orders on their way to it */
	uint32_t flight_n;
	uint64_t metered_ms;
};

struct model {
	struct world *world;
	struct rng rng;
	struct model_node nodes[NODES];
	char names[NAMES][16]; /* of sandboxes that were asked for */
	uint64_t creates[NAMES];
	uint32_t name_n;
};

static void journal_add(struct model *model, struct model_node *node, enum wire_record_kind kind,
			struct memory *memory)
{
	struct wire_record *record = &node->journal[node->journal_n++];

	CHECK(node->journal_n <= JOURNAL);
	*record = (struct wire_record){.kind = kind,
				       .seq = node->journal_n,
				       .sandbox = world_id(memory->sandbox),
				       .attempt = memory->attempt,
				       .incarnation = memory->incarnation,
				       .deadline_version = memory->deadline_version,
				       .at_wall_ns = model->world->wall.ns};
	if (kind == WIRE_RECORD_REFUSED)
		record->refusal = REFUSAL_NODE_FULL;
	if (kind == WIRE_RECORD_ENDED)
		record->cause = memory->answer == SAVED ? CAUSE_PAUSE : CAUSE_TIMEOUT;
	if (kind == WIRE_RECORD_DISCARDED)
		record->cause = CAUSE_REQUEST;
	if (kind == WIRE_RECORD_RUNS_ON) {
		record->refusal = REFUSAL_PAUSE_FAILED;
		record->save = memory->save_answered;
	}
	if (kind == WIRE_RECORD_USAGE || kind == WIRE_RECORD_ENDED) {
		uint64_t ms = rng_below(&model->rng, 1000);
		record->from_ms = memory->told_ms;
		record->to_ms = memory->told_ms += ms;
		node->metered_ms += ms;
	}
}

static struct memory *remember(struct model_node *node, const struct wire_order *order)
{
	struct memory *memory;

	for (uint32_t i = 0; i < node->memory_n; i++)
		if (node->memories[i].attempt == order->attempt)
			return &node->memories[i];
	memory = &node->memories[node->memory_n++];
	CHECK(node->memory_n <= ATTEMPTS);
	*memory = (struct memory){.attempt = order->attempt,
				  .incarnation = order->incarnation,
				  .tenant = (uint32_t)(order->tenant.text[4] - 'a'),
				  .vcpus = order->vcpus,
				  .mem_mib = order->mem_mib};
	memcpy(memory->sandbox, order->sandbox.text, sizeof(memory->sandbox));
	return memory;
}

static void pause(struct model *model, struct model_node *node, struct memory *memory,
		  const struct wire_order *order)
{
	if (memory->answer != RUNNING || order->save <= memory->save_answered)
		return;
	if (rng_one_in(&model->rng, 3)) {
		memory->save_answered = order->save;
		journal_add(model, node, WIRE_RECORD_RUNS_ON, memory);
		return;
	}
	memory->answer = SAVED;
	journal_add(model, node, WIRE_RECORD_ENDED, memory);
}

/* What a claim resumes is used up when it is a yes. */
static void claim(struct model *model, struct model_node *node, struct memory *memory,
		  const struct wire_order *order)
{
	struct memory *saved = NULL;

	for (uint32_t i = 0; i < node->memory_n; i++)
		if (order->resume && node->memories[i].attempt == order->resume)
			saved = &node->memories[i];
	CHECK(!order->resume || saved);
	memory->answer = rng_one_in(&model->rng, 4) ? REFUSED : RUNNING;
	if (saved && saved->answer != SAVED)
		memory->answer = REFUSED;
	if (saved && memory->answer == RUNNING)
		saved->answer = ENDED;
	journal_add(model, node,
		    memory->answer == RUNNING ? WIRE_RECORD_STARTED : WIRE_RECORD_REFUSED, memory);
}

/* An order arrives; the node keeps its word: one answer to an attempt, for ever. */
static void obey(struct model *model, struct model_node *node, const struct wire_order *order)
{
	uint32_t known_n = node->memory_n;
	struct memory *memory = remember(node, order);
	bool is_new = node->memory_n > known_n;

	switch (order->kind) {
	case WIRE_ORDER_CLAIM:
		if (is_new)
			claim(model, node, memory, order);
		break;
	case WIRE_ORDER_KILL:
		if (is_new) {
			memory->answer = REFUSED;
			journal_add(model, node, WIRE_RECORD_REFUSED, memory);
		} else if (memory->answer == RUNNING) {
			memory->answer = ENDED;
			journal_add(model, node, WIRE_RECORD_ENDED, memory);
		} else if (memory->answer == SAVED) {
			memory->answer = ENDED;
			journal_add(model, node, WIRE_RECORD_DISCARDED, memory);
		}
		break;
	case WIRE_ORDER_PAUSE:
		CHECK(!is_new);
		pause(model, node, memory, order);
		break;
	case WIRE_ORDER_SEND:
	case WIRE_ORDER_FETCH:
	case WIRE_ORDER_HAND_OVER:
		check_broken("no template is copied here", __FILE__, __LINE__);
	case WIRE_ORDER_DEADLINE:
		CHECK(!is_new);
		if (memory->answer != RUNNING ||
		    order->deadline_version <= memory->deadline_version)
			return;
		memory->deadline_version = order->deadline_version;
		journal_add(model, node, WIRE_RECORD_USAGE, memory);
		break;
	case WIRE_ORDER_SNAPSHOT:
		check_broken("nobody asks for a snapshot here", __FILE__, __LINE__);
	}
}

/* The truth, looked at from outside. */
static void look(const struct model *model)
{
	uint32_t held[TENANTS] = {0};

	for (int n = 0; n < NODES; n++) {
		const struct model_node *node = &model->nodes[n];
		const struct wire_room *capacity = &model->world->nodes[n].poll.capacity;
		uint64_t vcpus = 0, mem_mib = 0, count = 0;
		for (uint32_t i = 0; i < node->memory_n; i++) {
			const struct memory *memory = &node->memories[i];
			if (memory->answer != RUNNING && memory->answer != SAVED)
				continue;
			for (int m = 0; m < NODES; m++)
				for (uint32_t j = 0; j < model->nodes[m].memory_n; j++)
					assert_false(
						&model->nodes[m].memories[j] != memory &&
						(model->nodes[m].memories[j].answer == RUNNING ||
						 model->nodes[m].memories[j].answer == SAVED) &&
						strcmp(model->nodes[m].memories[j].sandbox,
						       memory->sandbox) == 0);
			if (memory->answer == SAVED)
				continue;
			vcpus += memory->vcpus;
			mem_mib += memory->mem_mib;
			count++;
			held[memory->tenant]++;
		}
		assert_true(vcpus <= capacity->vcpus && mem_mib <= capacity->mem_mib);
		assert_true(count <= capacity->sandboxes);
	}
	for (int t = 0; t < TENANTS; t++)
		assert_true(held[t] <= CAP);
}

static void node_polls(struct model *model, uint32_t n, bool faulty)
{
	struct world *world = model->world;
	struct model_node *node = &model->nodes[n];

	world_report(world, &world->nodes[n]);
	world_poll(world, &world->nodes[n]);
	for (uint32_t i = 0; i < world->effects.n; i++) {
		const struct core_effect *effect = &world->effects.items[i];
		uint64_t copies = faulty ? rng_below(&model->rng, 3) : 1;
		if (effect->kind != CORE_EFFECT_ORDER)
			continue;
		while (copies-- > 0 && node->flight_n < FLIGHT)
			node->flight[node->flight_n++] = effect->order.order;
	}
}

/* One order of those on their way arrives, not always the oldest. */
static void order_arrives(struct model *model, uint32_t n)
{
	struct model_node *node = &model->nodes[n];
	struct wire_order order;
	uint64_t i;

	if (!node->flight_n)
		return;
	i = rng_below(&model->rng, node->flight_n);
	order = node->flight[i];
	node->flight[i] = node->flight[--node->flight_n];
	obey(model, node, &order);
}

static void node_sends(struct model *model, uint32_t n, uint64_t seq)
{
	if (seq >= 1 && seq <= model->nodes[n].journal_n)
		world_send(model->world, &model->world->nodes[n],
			   &model->nodes[n].journal[seq - 1]);
}

/* Most often what is expected; sometimes what was sent before, or what is too early. */
static void node_sends_something(struct model *model, uint32_t n)
{
	uint64_t next = model->world->nodes[n].acked;

	next = next ? next : 1;
	if (rng_one_in(&model->rng, 5))
		next = next + rng_below(&model->rng, 5) - 2;
	node_sends(model, n, next);
}

static void something_ends(struct model *model, uint32_t n)
{
	struct model_node *node = &model->nodes[n];
	struct memory *memory;

	if (!node->memory_n)
		return;
	memory = &node->memories[rng_below(&model->rng, node->memory_n)];
	if (memory->answer != RUNNING)
		return;
	/* By its limit it may be paused. */
	if (rng_one_in(&model->rng, 2))
		memory->answer = rng_one_in(&model->rng, 3) ? SAVED : ENDED;
	journal_add(model, node, memory->answer != RUNNING ? WIRE_RECORD_ENDED : WIRE_RECORD_USAGE,
		    memory);
}

static void a_tenant_asks(struct model *model)
{
	static const char *const tenants[TENANTS] = {"ten_a", "ten_b"};
	static const char *const templates[] = {"base", "big"};
	const char *tenant = tenants[rng_below(&model->rng, TENANTS)];
	const char *name = model->name_n ? model->names[rng_below(&model->rng, model->name_n)] : "";
	uint32_t timeout_s = 1 + (uint32_t)rng_below(&model->rng, 3600);

	switch (rng_below(&model->rng, 8)) {
	case 0:
	case 1:
		world_kill(model->world, name, rng_one_in(&model->rng, 5) ? "" : tenant);
		break;
	case 2:
		world_pause(model->world, name, tenant);
		break;
	case 3:
		world_timeout(model->world, CORE_EVENT_RESUME, name, tenant, timeout_s);
		break;
	case 4:
		world_timeout(model->world,
			      rng_one_in(&model->rng, 2) ? CORE_EVENT_EXTEND
							 : CORE_EVENT_SET_TIMEOUT,
			      name, tenant, timeout_s);
		break;
	default:
		CHECK(model->name_n < NAMES);
		snprintf(model->names[model->name_n], 16, "i%u", model->name_n);
		model->creates[model->name_n] =
			world_create(model->world, model->names[model->name_n], tenant,
				     templates[rng_below(&model->rng, 2)], timeout_s);
		model->name_n++;
		break;
	}
}

static void move(struct model *model)
{
	uint32_t n = (uint32_t)rng_below(&model->rng, NODES);

	if (rng_one_in(&model->rng, 40))
		model->world->crash = rng_one_in(&model->rng, 2) ? WORLD_CRASH_BEFORE_COMMIT
								 : WORLD_CRASH_AFTER_COMMIT;
	switch (rng_below(&model->rng, 8)) {
	case 0:
		a_tenant_asks(model);
		break;
	case 1:
		node_polls(model, n, true);
		break;
	case 2:
	case 3:
		order_arrives(model, n);
		break;
	case 4:
	case 5:
		node_sends_something(model, n);
		break;
	case 6:
		something_ends(model, n);
		break;
	case 7:
		if (rng_one_in(&model->rng, 10))
			world_node_event(model->world, &model->world->nodes[n],
					 CORE_EVENT_NODE_SESSION);
		world_pass(model->world, (int64_t)rng_below(&model->rng, 2500));
		break;
	}
}

/* The faults stop: all that is on its way arrives, and all that waits is done. */
static void calm_down(struct model *model)
{
	struct world *world = model->world;

	world->crash = WORLD_NO_CRASH;
	for (int round = 0; round < 12; round++) {
		for (uint32_t n = 0; n < NODES; n++) {
			node_polls(model, n, false);
			while (model->nodes[n].flight_n)
				order_arrives(model, n);
			if (!world->nodes[n].acked)
				node_sends(model, n, 1);
			else
				node_sends(model, n, world->nodes[n].acked - 1);
			while (world->nodes[n].acked <= model->nodes[n].journal_n &&
			       model->nodes[n].journal_n)
				node_sends(model, n, world->nodes[n].acked);
		}
		world_pass(world, 2000);
		look(model);
	}
}

static void require_calm(const struct model *model)
{
	struct world *world = model->world;
	uint64_t metered_ms = 0, posted_ms = 0;
	struct core_counts counts;
	uint32_t running = 0, saved = 0;

	core_count(world->core, &counts);
	assert_int_equal(counts.placing, 0);
	assert_int_equal(counts.ending, 0);
	for (int n = 0; n < NODES; n++) {
		const struct model_node *node = &model->nodes[n];
		metered_ms += node->metered_ms;
		for (uint32_t i = 0; i < node->memory_n; i++) {
			const struct core_sandbox *row;
			if (node->memories[i].answer != RUNNING &&
			    node->memories[i].answer != SAVED)
				continue;
			row = world_find(world, node->memories[i].sandbox);
			assert_non_null(row);
			assert_int_equal(row->attempt, node->memories[i].attempt);
			assert_int_equal(row->incarnation, node->memories[i].incarnation);
			running += node->memories[i].answer == RUNNING;
			saved += node->memories[i].answer == SAVED;
		}
	}
	assert_int_equal(counts.running, running);
	assert_int_equal(counts.paused, saved);
	for (uint32_t i = 0; i < world->posted_n; i++)
		posted_ms += world->posted[i].ms;
	assert_int_equal(posted_ms, metered_ms);
	for (uint32_t i = 0; i < model->name_n; i++) {
		const struct world_reply *reply = world_reply(world, model->creates[i]);
		const struct core_sandbox *row = world_stored(world, model->names[i]);
		if (reply && reply->refusal == REFUSAL_NONE)
			assert_true(row && row->started_at.ns);
	}
}

static uint64_t run_seed(uint64_t seed)
{
	struct model *model = calloc(1, sizeof(*model));
	uint64_t hash = 0;

	CHECK(model);
	model->rng.state = seed;
	model->world = world_open();
	world_tenant(model->world, "ten_a", CAP);
	world_tenant(model->world, "ten_b", CAP);
	for (int n = 0; n < NODES; n++) {
		static const char *const ids[NODES] = {"nod_0", "nod_1", "nod_2"};
		struct world_node *node = world_node(model->world, ids[n], 4, 2048, 99999, 5);
		world_offer(node, "base", 1, 512, 10, 1);
		if (n)
			world_offer(node, "big", 2, 1024, 10, 1);
		world_report(model->world, node);
	}
	for (int i = 0; i < MOVES; i++) {
		move(model);
		look(model);
		hash = hash * 31 + model->world->effects.n + model->world->posted_n;
	}
	calm_down(model);
	require_calm(model);
	hash = hash * 31 + model->world->sandbox_n;
	world_close(model->world);
	free(model);
	return hash;
}

static void whatever_is_lost_repeated_or_crashed_the_promises_hold(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run_seed(seed);
}

static void the_same_events_give_the_same_effects(void **state)
{
	(void)state;
	for (uint64_t seed = 1000; seed < 1003; seed++)
		assert_int_equal(run_seed(seed), run_seed(seed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_is_lost_repeated_or_crashed_the_promises_hold),
		cmocka_unit_test(the_same_events_give_the_same_effects),
	};

	return cmocka_run_group_tests_name("sched_core.property", tests, NULL, NULL);
}
