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
#include <stdlib.h>
#include <string.h>

enum { SEEDS = 60, MOVES = 3000, LEASE_MS = 15000 };

static struct fleet *fleet;

/* What the seeds went through together, so that they cannot pass by doing nothing. */
static struct {
	uint32_t led, admitted, adopted, lost, granted_kills, granted_limits, unconfirmed;
} seen;

/* ---- the truth, looked at from outside ---- */

static void look_at_node(uint32_t n, uint32_t *held)
{
	const struct fleet_node *node = &fleet->nodes[n];
	const struct wire_room *capacity = &fleet->replicas[0]->nodes[n].poll.capacity;
	const struct world *leader = fleet_leading(fleet);
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
		    claim->attempt >= fleet_lost_below(leader, n))
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
	const struct world *leader = fleet_leading(fleet);

	for (uint32_t n = 0; n < FLEET_NODES; n++) {
		const struct fleet_node *node = &fleet->nodes[n];
		for (uint32_t i = 0; i < node->memory_n && !fleet->lost_then[n]; i++) {
			const struct fleet_memory *memory = &node->memories[i];
			if (memory->answer == FLEET_RUNNING && !fleet_is_frozen(fleet, node) &&
			    memory->claim.attempt >= fleet_lost_below(leader, n))
				assert_non_null(world_find(leader, memory->claim.sandbox.text));
		}
	}
}

/* ---- in the end ---- */

/* The faults stop: all that is on its way arrives, and all that waits is done. */
static void calm_down(void)
{
	for (int r = 0; r < FLEET_REPLICAS; r++) {
		fleet->replicas[r]->crash = WORLD_NO_CRASH;
		fleet_read_decisions(fleet, fleet->replicas[r]);
	}
	if (!fleet_leading(fleet))
		fleet_somebody_leads(fleet);
	for (int round = 0; round < 20; round++) {
		for (uint32_t n = 0; n < FLEET_NODES; n++) {
			fleet_works(fleet, &fleet->nodes[n]);
			fleet_polls(fleet, n, false);
			while (fleet->nodes[n].flight_n)
				fleet_order_arrives(fleet, n);
			for (int r = 0; r < FLEET_REPLICAS; r++) {
				struct world *world = fleet->replicas[r];
				fleet_sends(fleet, world, n,
					    1); /* for a cursor that was never told */
				while (world->nodes[n].acked <= fleet->nodes[n].journal_n &&
				       fleet->nodes[n].journal_n)
					fleet_sends(fleet, world, n, world->nodes[n].acked);
			}
			fleet_works(fleet, &fleet->nodes[n]);
		}
		fleet_time_passes(fleet, 2000);
		look();
	}
}

/* What really runs is what the leader says, to the last field that was told; and a standby agrees.
 */
static uint32_t require_truth(const struct fleet_node *node)
{
	const struct world *leader = fleet_leading(fleet), *other = fleet->replicas[!fleet->leader];
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
static void require_granted(const struct fleet_asked *ask, const struct world_reply *reply,
			    const struct core_sandbox *row)
{
	const struct core_sandbox *told = &reply->sandbox;
	/* Then its log may not have come here before it was given up. */
	bool lost = told->attempt < fleet->decided[told->node.text[4] - '0'];

	switch (ask->kind) {
	case FLEET_ASKED_CREATE:
		assert_true(lost || (row && row->started_at.ns));
		break;
	case FLEET_ASKED_KILL:
		assert_true(!row || row->state == SANDBOX_ENDED);
		break;
	case FLEET_ASKED_LIMIT:
		assert_int_equal(told->deadline_known, told->deadline_version);
		assert_true(lost || row);
		/* One that ends needs no limit any more. */
		assert_true(!row || row->state != SANDBOX_RUNNING ||
			    row->deadline_known >= told->deadline_known);
		break;
	}
}

static void require_promises(void)
{
	for (uint32_t i = 0; i < fleet->asked_n; i++) {
		const struct fleet_asked *ask = &fleet->asked[i];
		const struct world_reply *reply =
			world_reply(fleet->replicas[ask->replica], ask->request);
		bool granted = reply && reply->refusal == REFUSAL_NONE;
		seen.unconfirmed += reply && reply->refusal == REFUSAL_UNCONFIRMED;
		seen.granted_kills += granted && ask->kind == FLEET_ASKED_KILL;
		seen.granted_limits += granted && ask->kind == FLEET_ASKED_LIMIT;
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
	assert_int_equal(core_role(fleet_leading(fleet)->core), CORE_LEADING);
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
	seen.led += fleet->led_n;
	seen.lost += fleet->lost_n;
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
	fleet->rng.state = seed;
	fleet->lease_ms = lease_ms;
	fleet->leader = -1;
	fleet->epoch = 1;
	for (int r = 0; r < FLEET_REPLICAS; r++)
		open_replica(r);
	for (int i = 0; i < MOVES; i++) {
		const struct world *leader = fleet_leading(fleet);
		uint32_t admitted_n = leader ? leader->admitted_n : 0;
		fleet_move(fleet);
		look();
		if (leader && leader == fleet_leading(fleet) && leader->admitted_n > admitted_n)
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
