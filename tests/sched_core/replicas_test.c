/*
 * Many seeds of two replicas and a small fleet: leaders come and go, crash before and after their
 * commits, and leave orders on their way; logs reach each replica at its own pace; nodes are cut
 * off until their leases are over, declared lost, and come back.  Whatever happens: what a leader
 * believes of a node that has joined is true, it admits nothing before it knows what can run, and
 * what it told is so for all leaders after it.
 */
#include "common/base/check.h"
#include "tests/sched_core/fleet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS = 60, MOVES = 3000, ASKED = 2048, LEASE_MS = 15000 };

enum asked_kind { ASKED_CREATE, ASKED_KILL, ASKED_LIMIT };

static struct fleet *fleet;

static struct asked {
	enum asked_kind kind;
	int replica;
	uint64_t request;
	char name[ID_MAX];
} asked[ASKED];
static uint32_t asked_n, name_n;

/* Nodes that were lost, as far as the leader knew when it began to lead; it waits for none of them.
 */
static bool lost_then[FLEET_NODES];

/* What the seeds went through together, so that they cannot pass by doing nothing. */
static struct {
	uint32_t led, admitted, adopted, lost, granted_kills, granted_limits, unconfirmed;
} seen;

static struct world *leading(void)
{
	return fleet->leader < 0 ? NULL : fleet->replicas[fleet->leader];
}

static uint64_t lost_below(const struct world *world, uint32_t n)
{
	struct core_node_view view;

	CHECK(core_node_find(world->core, &world->nodes[n].id, &view));
	return view.lost_below;
}

/* The watch of the decisions catches up. */
static void read_decisions(struct world *world)
{
	for (uint32_t n = 0; n < FLEET_NODES; n++)
		while (fleet->decided[n] > lost_below(world, n))
			world_lost(world, &world->nodes[n], fleet->decided[n]);
}

/* ---- the truth, looked at from outside ---- */

static void look_at_node(uint32_t n, uint32_t *held)
{
	const struct fleet_node *node = &fleet->nodes[n];
	const struct wire_room *capacity = &fleet->replicas[0]->nodes[n].poll.capacity;
	const struct world *leader = leading();
	uint64_t vcpus = 0, mem_mib = 0, count = 0;

	for (uint32_t i = 0; i < node->memory_n; i++) {
		const struct wire_order *claim = &node->memories[i].claim;
		if (node->memories[i].answer != FLEET_RUNNING)
			continue;
		vcpus += claim->vcpus;
		mem_mib += claim->mem_mib;
		count++;
		held[claim->tenant.text[4] - 'a']++;
		for (uint32_t m = 0; m < FLEET_NODES; m++)
			for (uint32_t j = 0; j < fleet->nodes[m].memory_n; j++) {
				const struct fleet_memory *other = &fleet->nodes[m].memories[j];
				assert_false(other != &node->memories[i] &&
					     other->answer == FLEET_RUNNING &&
					     id_equal(&other->claim.sandbox, &claim->sandbox));
			}
		if (leader && world_is_joined(leader, &leader->nodes[n]) &&
		    claim->attempt >= lost_below(leader, n))
			assert_non_null(world_find(leader, claim->sandbox.text));
	}
	assert_true(vcpus <= capacity->vcpus && mem_mib <= capacity->mem_mib);
	assert_true(count <= capacity->sandboxes);
}

static void look(void)
{
	uint32_t held[FLEET_TENANTS] = {0};

	for (uint32_t n = 0; n < FLEET_NODES; n++)
		look_at_node(n, held);
	/* With leases, what a node ran that nobody knew may come back over the caps. */
	for (int t = 0; t < FLEET_TENANTS && !fleet->lease_ms; t++)
		assert_true(held[t] <= FLEET_CAP);
}

/* When requests are admitted, nothing can run that the leader does not know. */
static void look_at_admission(void)
{
	const struct world *leader = leading();

	for (uint32_t n = 0; n < FLEET_NODES; n++) {
		const struct fleet_node *node = &fleet->nodes[n];
		for (uint32_t i = 0; i < node->memory_n && !lost_then[n]; i++) {
			const struct fleet_memory *memory = &node->memories[i];
			if (memory->answer == FLEET_RUNNING && !fleet_is_frozen(fleet, node) &&
			    memory->claim.attempt >= lost_below(leader, n))
				assert_non_null(world_find(leader, memory->claim.sandbox.text));
		}
	}
}

/* ---- what happens ---- */

static void somebody_leads(void)
{
	struct core_event tick = {.kind = CORE_EVENT_TICK};
	struct world *world;

	if (leading())
		world_stand_by(leading());
	fleet->leader = (int)rng_below(&fleet->rng, FLEET_REPLICAS);
	world = leading();
	read_decisions(world);
	world_step(world, &tick);
	world->epoch = fleet->epoch;
	world_lead(world);
	fleet->epoch = world->epoch;
	for (uint32_t n = 0; n < FLEET_NODES; n++) {
		struct core_node_view view;
		CHECK(core_node_find(world->core, &world->nodes[n].id, &view));
		lost_then[n] = view.lost;
	}
	seen.led++;
}

/* A leader that crashed is none any more. */
static void note_crashes(void)
{
	if (leading() && core_role(leading()->core) == CORE_STANDBY)
		fleet->leader = -1;
}

static void node_polls(uint32_t n, bool faulty)
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
			fleet_answered(fleet, node, epoch, lost_below(world, n));
	}
}

/* One order of those on their way arrives, not always the oldest. */
static void order_arrives(uint32_t n)
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

static void node_sends(struct world *world, uint32_t n, uint64_t seq)
{
	if (seq >= 1 && seq <= fleet->nodes[n].journal_n)
		world_send(world, &world->nodes[n], &fleet->nodes[n].journal[seq - 1]);
}

static void node_sends_something(uint32_t n)
{
	struct world *world = fleet->replicas[rng_below(&fleet->rng, FLEET_REPLICAS)];
	uint64_t next = world->nodes[n].acked ? world->nodes[n].acked : 1;

	if (rng_one_in(&fleet->rng, 6))
		next = next + rng_below(&fleet->rng, 5) - 2;
	node_sends(world, n, next);
}

/* One that this replica knows, or any. */
static void choose_name(const struct world *world, char *out_name, size_t name_max)
{
	const struct core_sandbox *row;
	uint32_t cursor = 0;

	snprintf(out_name, name_max, "i%u", name_n ? (unsigned)rng_below(&fleet->rng, name_n) : 0);
	while ((row = core_sandbox_next(world->core, &cursor)))
		if (rng_one_in(&fleet->rng, 3))
			snprintf(out_name, name_max, "%s", row->id.text);
}

static void a_tenant_asks(void)
{
	int replica = fleet->leader >= 0 && !rng_one_in(&fleet->rng, 10)
			      ? fleet->leader
			      : (int)rng_below(&fleet->rng, FLEET_REPLICAS);
	struct world *world = fleet->replicas[replica];
	struct asked *ask = &asked[asked_n++];
	uint32_t timeout_s = 1 + (uint32_t)rng_below(&fleet->rng, 3600);
	uint64_t which = rng_below(&fleet->rng, 4);

	CHECK(asked_n <= ASKED);
	ask->kind = which == 0 ? ASKED_KILL : which == 1 ? ASKED_LIMIT : ASKED_CREATE;
	ask->replica = replica;
	if (ask->kind == ASKED_CREATE)
		snprintf(ask->name, sizeof(ask->name), "i%u", name_n++);
	else
		choose_name(world, ask->name, sizeof(ask->name));
	if (ask->kind == ASKED_CREATE)
		ask->request = world_create(world, ask->name,
					    rng_one_in(&fleet->rng, 2) ? "ten_a" : "ten_b",
					    rng_one_in(&fleet->rng, 2) ? "base" : "big", timeout_s);
	else if (ask->kind == ASKED_KILL)
		ask->request = world_kill(world, ask->name, "");
	else
		ask->request = world_timeout(world,
					     rng_one_in(&fleet->rng, 2) ? CORE_EVENT_EXTEND
									: CORE_EVENT_SET_TIMEOUT,
					     ask->name, "", timeout_s);
}

static void an_operator_looks(uint32_t n)
{
	struct world *leader = leading();
	uint64_t below = leader ? core_lost_below(leader->core, &leader->nodes[n].id) : 0;

	if (!below)
		return;
	assert_true(fleet_is_frozen(fleet, &fleet->nodes[n]));
	fleet->decided[n] = below;
	seen.lost++;
	for (int r = 0; r < FLEET_REPLICAS; r++)
		if (r == fleet->leader || rng_one_in(&fleet->rng, 2))
			read_decisions(fleet->replicas[r]);
}

static void time_passes(int64_t ms)
{
	for (int r = 0; r < FLEET_REPLICAS; r++)
		world_pass(fleet->replicas[r], ms);
}

static void move_of_node(uint32_t n, uint64_t which)
{
	if (fleet->nodes[n].cut_ns > fleet_now_ns(fleet))
		return;
	if (which < 3)
		node_polls(n, true);
	else if (which < 6)
		order_arrives(n);
	else if (which < 10)
		node_sends_something(n);
	else if (which == 10)
		fleet_goes_on(fleet, &fleet->nodes[n]);
	else
		fleet_works(fleet, &fleet->nodes[n]);
}

static void move(void)
{
	uint32_t n = (uint32_t)rng_below(&fleet->rng, FLEET_NODES);
	uint64_t which = rng_below(&fleet->rng, 15);

	if (rng_one_in(&fleet->rng, 150))
		fleet->replicas[rng_below(&fleet->rng, FLEET_REPLICAS)]->crash =
			rng_one_in(&fleet->rng, 2) ? WORLD_CRASH_BEFORE_COMMIT
						   : WORLD_CRASH_AFTER_COMMIT;
	if (rng_one_in(&fleet->rng, fleet->leader < 0 ? 5 : 300))
		somebody_leads();
	if (fleet->lease_ms && rng_one_in(&fleet->rng, 200))
		fleet->nodes[n].cut_ns = fleet_now_ns(fleet) + 40 * NS_PER_S;
	if (fleet->lease_ms && rng_one_in(&fleet->rng, 10))
		an_operator_looks(n);
	if (which < 12)
		move_of_node(n, which);
	else if (which < 14)
		a_tenant_asks();
	else
		time_passes((int64_t)rng_below(&fleet->rng, 2500));
}

/* ---- in the end ---- */

/* The faults stop: all that is on its way arrives, and all that waits is done. */
static void calm_down(void)
{
	for (int r = 0; r < FLEET_REPLICAS; r++) {
		fleet->replicas[r]->crash = WORLD_NO_CRASH;
		read_decisions(fleet->replicas[r]);
	}
	if (!leading())
		somebody_leads();
	for (int round = 0; round < 20; round++) {
		for (uint32_t n = 0; n < FLEET_NODES; n++) {
			fleet_works(fleet, &fleet->nodes[n]);
			node_polls(n, false);
			while (fleet->nodes[n].flight_n)
				order_arrives(n);
			for (int r = 0; r < FLEET_REPLICAS; r++) {
				struct world *world = fleet->replicas[r];
				node_sends(world, n, 1); /* for a cursor that was never told */
				while (world->nodes[n].acked <= fleet->nodes[n].journal_n &&
				       fleet->nodes[n].journal_n)
					node_sends(world, n, world->nodes[n].acked);
			}
			fleet_works(fleet, &fleet->nodes[n]);
		}
		time_passes(2000);
		look();
	}
}

/* What really runs is what the leader says, to the last field that was told; and a standby agrees.
 */
static uint32_t require_truth(const struct fleet_node *node)
{
	const struct world *leader = leading(), *other = fleet->replicas[!fleet->leader];
	uint32_t running = 0;

	for (uint32_t i = 0; i < node->memory_n; i++) {
		const struct fleet_memory *memory = &node->memories[i];
		const struct core_sandbox *row, *copy;
		if (memory->answer != FLEET_RUNNING)
			continue;
		running++;
		row = world_find(leader, memory->claim.sandbox.text);
		assert_non_null(row);
		assert_int_equal(row->attempt, memory->claim.attempt);
		assert_int_equal(row->deadline_version, memory->deadline_version);
		assert_int_equal(row->deadline_known, memory->deadline_version);
		assert_int_equal(row->end_at.ns, memory->end_ns);
		copy = world_find(other, memory->claim.sandbox.text);
		assert_non_null(copy);
		assert_int_equal(copy->attempt, row->attempt);
		/* What it had ordered when it led, and told nobody, is still its wish. */
		if (copy->state == SANDBOX_RUNNING &&
		    copy->deadline_version == copy->deadline_known)
			assert_int_equal(copy->end_at.ns, memory->end_ns);
	}
	return running;
}

/* What was told is so on every replica, whoever told it. */
static void require_granted(const struct asked *ask, const struct world_reply *reply,
			    const struct core_sandbox *row)
{
	const struct core_sandbox *told = &reply->sandbox;

	switch (ask->kind) {
	case ASKED_CREATE:
		/* Unless its node was lost before its log came here. */
		assert_true((row && row->started_at.ns) ||
			    told->attempt < fleet->decided[told->node.text[4] - '0']);
		break;
	case ASKED_KILL:
		assert_true(!row || row->state == SANDBOX_ENDED);
		break;
	case ASKED_LIMIT:
		assert_int_equal(told->deadline_known, told->deadline_version);
		assert_true(row);
		/* One that ends needs no limit any more. */
		assert_true(row->state != SANDBOX_RUNNING ||
			    row->deadline_known >= told->deadline_known);
		break;
	}
}

static void require_promises(void)
{
	for (uint32_t i = 0; i < asked_n; i++) {
		const struct asked *ask = &asked[i];
		const struct world_reply *reply =
			world_reply(fleet->replicas[ask->replica], ask->request);
		bool granted = reply && reply->refusal == REFUSAL_NONE;
		seen.unconfirmed += reply && reply->refusal == REFUSAL_UNCONFIRMED;
		seen.granted_kills += granted && ask->kind == ASKED_KILL;
		seen.granted_limits += granted && ask->kind == ASKED_LIMIT;
		for (int r = 0; r < FLEET_REPLICAS && granted; r++)
			require_granted(ask, reply, world_stored(fleet->replicas[r], ask->name));
	}
}

static void require_calm(void)
{
	uint64_t metered_ms = 0, running = 0;
	struct core_counts counts;

	for (uint32_t n = 0; n < FLEET_NODES; n++) {
		running += require_truth(&fleet->nodes[n]);
		metered_ms += fleet->nodes[n].metered_ms;
	}
	assert_int_equal(core_role(leading()->core), CORE_LEADING);
	for (int r = 0; r < FLEET_REPLICAS; r++) {
		const struct world *world = fleet->replicas[r];
		uint64_t posted_ms = 0;
		core_count(world->core, &counts);
		assert_int_equal(counts.placing, 0);
		assert_int_equal(counts.running + counts.ending, running);
		assert_true(r != fleet->leader || counts.ending == 0);
		assert_int_equal(counts.nodes_lost, 0);
		for (uint32_t i = 0; i < world->posted_n; i++)
			posted_ms += world->posted[i].ms;
		assert_int_equal(posted_ms, metered_ms);
		seen.admitted += world->admitted_n;
		seen.adopted += world->adopted_n;
	}
	require_promises();
}

static void open_replica(int r)
{
	static const char *const ids[FLEET_NODES] = {"nod_0", "nod_1", "nod_2"};
	struct world *world = world_open();

	fleet->replicas[r] = world;
	world->limits.lease_ms = fleet->lease_ms;
	world_stand_by(world);
	world_tenant(world, "ten_a", FLEET_CAP);
	world_tenant(world, "ten_b", FLEET_CAP);
	for (uint32_t n = 0; n < FLEET_NODES; n++) {
		struct world_node *node = world_node(world, ids[n], 4, 2048, 99999, 5);
		fleet->nodes[n].id = node->id;
		world_offer(node, "base", 1, 512, 10, 1);
		if (n)
			world_offer(node, "big", 2, 1024, 10, 1);
	}
}

static void run_seed(uint64_t seed, uint32_t lease_ms)
{
	fleet = calloc(1, sizeof(*fleet));
	CHECK(fleet);
	asked_n = name_n = 0;
	fleet->rng.state = seed;
	fleet->lease_ms = lease_ms;
	fleet->leader = -1;
	fleet->epoch = 1;
	for (int r = 0; r < FLEET_REPLICAS; r++)
		open_replica(r);
	for (int i = 0; i < MOVES; i++) {
		const struct world *leader = leading();
		uint32_t admitted_n = leader ? leader->admitted_n : 0;
		move();
		note_crashes();
		look();
		if (leader && leader == leading() && leader->admitted_n > admitted_n)
			look_at_admission();
	}
	calm_down();
	require_calm();
	for (int r = 0; r < FLEET_REPLICAS; r++)
		world_close(fleet->replicas[r]);
	free(fleet);
}

static void require_that_it_was_lived(bool leases)
{
	assert_true(seen.led > SEEDS && seen.admitted > SEEDS && seen.adopted > SEEDS);
	assert_true(seen.granted_kills > SEEDS && seen.granted_limits > SEEDS / 4);
	assert_true(seen.unconfirmed > SEEDS / 2);
	assert_true(!leases || seen.lost > SEEDS);
	memset(&seen, 0, sizeof(seen));
}

static void leaders_come_and_go_and_the_promises_hold(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run_seed(seed, 0);
	require_that_it_was_lived(false);
}

static void nodes_are_cut_off_and_given_up_and_the_promises_hold(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run_seed(seed, LEASE_MS);
	require_that_it_was_lived(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaders_come_and_go_and_the_promises_hold),
		cmocka_unit_test(nodes_are_cut_off_and_given_up_and_the_promises_hold),
	};

	return cmocka_run_group_tests_name("sched_core.replicas", tests, NULL, NULL);
}
