/* What happens to a fleet and its two replicas, in any order. */
#include "common/base/check.h"
#include "tests/sched_core/fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

struct world *fleet_leading(struct fleet *fleet)
{
	return fleet->leader < 0 ? NULL : fleet->replicas[fleet->leader];
}

uint64_t fleet_lost_below(const struct world *world, uint32_t n)
{
	struct core_node_view view;

	CHECK(core_node_find(world->core, &world->nodes[n].id, &view));
	return view.lost_below;
}

/* The watch of the decisions catches up. */
void fleet_read_decisions(struct fleet *fleet, struct world *world)
{
	for (uint32_t n = 0; n < FLEET_NODES; n++)
		while (fleet->decided[n] > fleet_lost_below(world, n))
			world_lost(world, &world->nodes[n], fleet->decided[n]);
}

void fleet_somebody_leads(struct fleet *fleet)
{
	struct core_event tick = {.kind = CORE_EVENT_TICK};
	struct world *world;

	if (fleet_leading(fleet))
		world_stand_by(fleet_leading(fleet));
	fleet->leader = (int)rng_below(&fleet->rng, FLEET_REPLICAS);
	world = fleet_leading(fleet);
	fleet_read_decisions(fleet, world);
	world_step(world, &tick);
	world->epoch = fleet->epoch;
	world_lead(world);
	fleet->epoch = world->epoch;
	for (uint32_t n = 0; n < FLEET_NODES; n++) {
		struct core_node_view view;
		CHECK(core_node_find(world->core, &world->nodes[n].id, &view));
		fleet->lost_then[n] = view.lost;
	}
	fleet->led_n++;
}

/* A leader that crashed is none any more. */
static void note_crashes(struct fleet *fleet)
{
	if (fleet_leading(fleet) && core_role(fleet_leading(fleet)->core) == CORE_STANDBY)
		fleet->leader = -1;
}

void fleet_polls(struct fleet *fleet, uint32_t n, bool faulty)
{
	struct fleet_node *node = &fleet->nodes[n];

	for (int r = 0; r < FLEET_REPLICAS; r++) {
		struct world *world = fleet->replicas[r];
		uint64_t epoch = world->epoch;
		if (faulty && rng_one_in(&fleet->rng, 3))
			continue;
		fleet_says(fleet, n, &world->nodes[n].poll);
		world_report(world, &world->nodes[n]);
		world_poll(world, &world->nodes[n]);
		if (r != fleet->leader || core_role(world->core) == CORE_STANDBY) {
			assert_int_equal(world_effects(world, CORE_EFFECT_ORDER), 0);
			continue;
		}
		for (uint32_t i = 0; i < world->effects.n; i++) {
			uint64_t copies = faulty ? rng_below(&fleet->rng, 3) : 1;
			if (world->effects.items[i].kind != CORE_EFFECT_ORDER)
				continue;
			for (; copies > 0 && node->flight_n < FLEET_FLIGHT; copies--) {
				node->flight[node->flight_n].order =
					world->effects.items[i].order.order;
				node->flight[node->flight_n++].epoch = epoch;
			}
		}
		if (!faulty || rng_one_in(&fleet->rng, 2))
			fleet_answered(fleet, node, epoch, fleet_lost_below(world, n));
	}
}

/* One order of those on their way arrives, not always the oldest. */
void fleet_order_arrives(struct fleet *fleet, uint32_t n)
{
	struct fleet_node *node = &fleet->nodes[n];
	uint64_t i, epoch;
	struct wire_order order;

	if (!node->flight_n)
		return;
	i = rng_below(&fleet->rng, node->flight_n);
	order = node->flight[i].order;
	epoch = node->flight[i].epoch;
	node->flight[i] = node->flight[--node->flight_n];
	fleet_obey(fleet, node, &order, epoch);
}

void fleet_sends(struct fleet *fleet, struct world *world, uint32_t n, uint64_t seq)
{
	if (seq >= 1 && seq <= fleet->nodes[n].journal_n)
		world_send(world, &world->nodes[n], &fleet->nodes[n].journal[seq - 1]);
}

static void sends_something(struct fleet *fleet, uint32_t n)
{
	struct world *world = fleet->replicas[rng_below(&fleet->rng, FLEET_REPLICAS)];
	uint64_t next = world->nodes[n].acked ? world->nodes[n].acked : 1;

	if (rng_one_in(&fleet->rng, 6))
		next = next + rng_below(&fleet->rng, 5) - 2;
	fleet_sends(fleet, world, n, next);
}

/* One that this replica knows, or any. */
static void choose_name(struct fleet *fleet, const struct world *world, char *out_name,
			size_t name_max)
{
	const struct core_sandbox *row;
	uint32_t cursor = 0;

	snprintf(out_name, name_max, "i%u",
		 fleet->name_n ? (unsigned)rng_below(&fleet->rng, fleet->name_n) : 0);
	while ((row = core_sandbox_next(world->core, &cursor)))
		if (rng_one_in(&fleet->rng, 3))
			snprintf(out_name, name_max, "%s", row->id.text);
}

static void a_tenant_asks(struct fleet *fleet)
{
	int replica = fleet->leader >= 0 && !rng_one_in(&fleet->rng, 10)
			      ? fleet->leader
			      : (int)rng_below(&fleet->rng, FLEET_REPLICAS);
	struct world *world = fleet->replicas[replica];
	struct fleet_asked *ask = &fleet->asked[fleet->asked_n++];
	uint32_t timeout_s = 1 + (uint32_t)rng_below(&fleet->rng, 3600);
	uint64_t which = rng_below(&fleet->rng, 4);

	CHECK(fleet->asked_n <= FLEET_ASKED);
	ask->kind = which == 0   ? FLEET_ASKED_KILL
		    : which == 1 ? FLEET_ASKED_LIMIT
				 : FLEET_ASKED_CREATE;
	ask->replica = replica;
	if (ask->kind == FLEET_ASKED_CREATE)
		snprintf(ask->name, sizeof(ask->name), "i%u", fleet->name_n++);
	else
		choose_name(fleet, world, ask->name, sizeof(ask->name));
	if (ask->kind == FLEET_ASKED_CREATE)
		ask->request = world_create(world, ask->name,
					    rng_one_in(&fleet->rng, 2) ? "ten_a" : "ten_b",
					    rng_one_in(&fleet->rng, 2) ? "base" : "big", timeout_s);
	else if (ask->kind == FLEET_ASKED_KILL)
		ask->request = world_kill(world, ask->name, "");
	else
		ask->request = world_timeout(world,
					     rng_one_in(&fleet->rng, 2) ? CORE_EVENT_EXTEND
									: CORE_EVENT_SET_TIMEOUT,
					     ask->name, "", timeout_s);
}

static void an_operator_looks(struct fleet *fleet, uint32_t n)
{
	struct world *leader = fleet_leading(fleet);
	uint64_t below = leader ? core_lost_below(leader->core, &leader->nodes[n].id) : 0;

	if (!below)
		return;
	assert_true(fleet_is_frozen(fleet, &fleet->nodes[n]));
	fleet->decided[n] = below;
	fleet->lost_n++;
	for (int r = 0; r < FLEET_REPLICAS; r++)
		if (r == fleet->leader || rng_one_in(&fleet->rng, 2))
			fleet_read_decisions(fleet, fleet->replicas[r]);
}

void fleet_time_passes(struct fleet *fleet, int64_t ms)
{
	for (int r = 0; r < FLEET_REPLICAS; r++)
		world_pass(fleet->replicas[r], ms);
}

static void move_of_node(struct fleet *fleet, uint32_t n, uint64_t which)
{
	if (fleet->nodes[n].cut_ns > fleet_now_ns(fleet))
		return;
	if (which < 3)
		fleet_polls(fleet, n, true);
	else if (which < 6)
		fleet_order_arrives(fleet, n);
	else if (which < 10)
		sends_something(fleet, n);
	else if (which == 10)
		fleet_goes_on(fleet, &fleet->nodes[n]);
	else
		fleet_works(fleet, &fleet->nodes[n]);
}

void fleet_move(struct fleet *fleet)
{
	uint32_t n = (uint32_t)rng_below(&fleet->rng, FLEET_NODES);
	uint64_t which = rng_below(&fleet->rng, 15);

	if (rng_one_in(&fleet->rng, 150))
		fleet->replicas[rng_below(&fleet->rng, FLEET_REPLICAS)]->crash =
			rng_one_in(&fleet->rng, 2) ? WORLD_CRASH_BEFORE_COMMIT
						   : WORLD_CRASH_AFTER_COMMIT;
	if (rng_one_in(&fleet->rng, fleet->leader < 0 ? 5 : 300))
		fleet_somebody_leads(fleet);
	if (fleet->lease_ms && rng_one_in(&fleet->rng, 200))
		fleet->nodes[n].cut_ns = fleet_now_ns(fleet) + 40 * NS_PER_S;
	if (fleet->lease_ms && rng_one_in(&fleet->rng, 10))
		an_operator_looks(fleet, n);
	if (which < 12)
		move_of_node(fleet, n, which);
	else if (which < 14)
		a_tenant_asks(fleet);
	else
		fleet_time_passes(fleet, (int64_t)rng_below(&fleet->rng, 2500));
	note_crashes(fleet);
}
