/* Several schedulers with an etcd. */
#include "tests/sim/stories_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/etcd.h"
#include "tests/sim/net.h"
#include "tests/sim/operator.h"
#include "tests/sim/replica.h"
#include "tests/sim/tenants.h"

static uint32_t a_standby(const struct world *world)
{
	return (stories_leader() + 1) % world->shape.replicas_n;
}

static void cut_all(struct world *world, uint32_t replica, bool cut)
{
	for (uint32_t i = 0; i < world->shape.hosts_n; i++)
		net_cut(world, i, replica, cut, cut);
}

static void cut_host(struct world *world, uint32_t host, bool cut)
{
	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		net_cut(world, host, i, cut, cut);
}

/* ---- leaders ---- */

static void leader_dies(struct world *world)
{
	replica_crash(world, stories_leader());
}

static void leader_is_cut_off_etcd(struct world *world)
{
	etcd_cut(world, stories_leader(), true, true);
}

static void leader_hears_no_etcd(struct world *world)
{
	etcd_cut(world, stories_leader(), false, true);
}

static void leader_finds_etcd(struct world *world)
{
	etcd_cut(world, stories_leader(), false, false);
}

static void leader_is_cut_off_nodes(struct world *world)
{
	cut_all(world, stories_leader(), true);
}

static void leader_finds_nodes(struct world *world)
{
	cut_all(world, stories_leader(), false);
}

static void leader_is_handed_over(struct world *world)
{
	replica_hand_over(world, stories_leader());
}

static void leader_stops_in_its_tracks(struct world *world)
{
	world_stop(world, OF_REPLICA(stories_leader()), S(12));
}

static void leader_disk_is_full(struct world *world)
{
	replica_disk_fails(world, stories_leader(), true);
}

static void leader_disk_works(struct world *world)
{
	replica_disk_fails(world, stories_leader(), false);
}

static void leaders_clock_jumps(struct world *world)
{
	replica_set_skew(world, stories_leader(), S(86400));
}

static void leaders_clock_is_right(struct world *world)
{
	replica_set_skew(world, stories_leader(), 0);
}

/* ---- standbys ---- */

static void standby_disk_is_full(struct world *world)
{
	replica_disk_fails(world, a_standby(world), true);
}

static void standby_disk_works(struct world *world)
{
	replica_disk_fails(world, a_standby(world), false);
}

/* With two of them, it is the only one that can take over. */
static void standby_falls_behind(struct world *world)
{
	cut_all(world, a_standby(world), true);
}

static void leader_dies_and_standby_finds_nodes(struct world *world)
{
	cut_all(world, a_standby(world), false);
	replica_crash(world, stories_leader());
}

/* ---- nodes ---- */

static void leader_and_node_die(struct world *world)
{
	replica_crash(world, stories_leader());
	cut_host(world, 0, true);
}

static void node_is_cut_off(struct world *world)
{
	cut_host(world, 0, true);
}

static void node_is_back(struct world *world)
{
	cut_host(world, 0, false);
}

static void on_leader_dies(struct world *world, const struct call *call)
{
	(void)call;
	replica_crash(world, replica_leader(world));
}

static void on_node_is_back(struct world *world, const struct call *call)
{
	(void)call;
	node_is_back(world);
}

static void node_is_lost(struct world *world)
{
	if (!operator_lose(world, 0))
		world_fail(world, "story: it may not be declared lost");
}

static void node_is_lost_and_back(struct world *world)
{
	node_is_lost(world);
	node_is_back(world);
}

static void node_is_lost_then_leader_then_back(struct world *world)
{
	node_is_lost(world);
	world_plan(world, MS(500), (struct call){.fn = on_leader_dies});
	world_plan(world, S(10), (struct call){.fn = on_node_is_back});
}

/* ---- requests ---- */

static void creates_are_cut_off(struct world *world)
{
	tenants_flood(world);
	world_plan(world, MS(3), (struct call){.fn = on_leader_dies});
}

static void creates_were_answered(struct world *world)
{
	if (tenants_unanswered_n(world))
		world_fail(world, "story: a create under a key has no definite answer");
}

static void kills_are_told(struct world *world)
{
	tenants_kill_all(world);
	world_plan(world, MS(500), (struct call){.fn = on_leader_dies});
}

static void all_die(struct world *world)
{
	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		replica_crash(world, i);
	for (uint32_t i = 0; i < world->shape.hosts_n; i++)
		agent_crash(world, i);
}

/* ---- etcd ---- */

static void etcd_restarts(struct world *world)
{
	etcd_restart(world, MS(400));
}

static void etcd_is_away(struct world *world)
{
	etcd_restart(world, S(20));
}

static void etcd_compacts(struct world *world)
{
	operator_cordon(world, 0, true);
	etcd_compact(world);
	etcd_break_watches(world);
}

static void decisions_were_read(struct world *world)
{
	for (uint32_t i = 0; i < world->shape.replicas_n; i++)
		if (!replica_store(world, i)->nodes[0].cordoned)
			world_fail(world, "story: replica %u does not know what was decided", i);
	operator_cordon(world, 0, false);
}

static void etcd_is_full(struct world *world)
{
	etcd_fill(world, true);
}

static void etcd_has_room(struct world *world)
{
	etcd_fill(world, false);
}

#define SEVERAL .replicas_n = 3, .hosts_n = 2

const struct story stories_several[] = {
	{SEVERAL, .promise = "when a leader dies another leads, and no sandbox ends",
	 .happens = leader_dies, .later_s = 12, .leader_changes = true, .something_is = true},
	{SEVERAL, .promise = "a leader that is cut off etcd ends before another leads",
	 .happens = leader_is_cut_off_etcd, .is_over = leader_finds_etcd, .later_s = 12,
	 .leader_changes = true, .something_is = true},
	{SEVERAL, .promise = "a leader that hears nothing of etcd ends, whatever etcd hears of it",
	 .happens = leader_hears_no_etcd, .is_over = leader_finds_etcd, .later_s = 15,
	 .leader_changes = true, .something_is = true},
	{SEVERAL, .promise = "a leader that is cut off the nodes grants nothing, and ends nothing",
	 .happens = leader_is_cut_off_nodes, .is_over = leader_finds_nodes,
	 .nothing_is_granted = true},
	{SEVERAL, .promise = "a leader that is stopped in good order hands over within seconds",
	 .happens = leader_is_handed_over, .later_s = 3, .leader_changes = true,
	 .something_is = true},
	{SEVERAL, .promise = "a leader that was stopped in its tracks is none when it goes on",
	 .happens = leader_stops_in_its_tracks, .later_s = 16, .leader_changes = true,
	 .something_is = true},
	{SEVERAL, .promise = "a leader whose disk is full hands over",
	 .happens = leader_disk_is_full, .is_over = leader_disk_works, .leader_changes = true,
	 .something_is = true},
	{SEVERAL, .promise = "a leader's wall clock may jump, and it leads on",
	 .happens = leaders_clock_jumps, .is_over = leaders_clock_is_right, .leader_stays = true,
	 .something_is = true},
	{SEVERAL, .promise = "a standby whose disk is full holds nobody up",
	 .happens = standby_disk_is_full, .is_over = standby_disk_works, .leader_stays = true,
	 .something_is = true},
	{.replicas_n = 2,
	 .hosts_n = 2,
	 .promise = "a standby that is far behind catches up before it admits",
	 .before = standby_falls_behind,
	 .happens = leader_dies_and_standby_finds_nodes,
	 .later_s = 15,
	 .leader_changes = true,
	 .something_is = true},
	{SEVERAL, .promise = "all daemons die at once and no sandbox ends", .happens = all_die},
	{SEVERAL,
	 .promise = "when a leader and a node die together, the others wait for its lease, and "
		    "go on",
	 .lease_ms = 10000, .happens = leader_and_node_die, .is_over = node_is_back, .later_s = 30,
	 .fate = FATE_FROZEN, .leader_changes = true, .something_is = true},
	{SEVERAL, .promise = "a node whose lease is over freezes, and thaws when it is back",
	 .lease_ms = 10000, .happens = node_is_cut_off, .is_over = node_is_back, .later_s = 14,
	 .fate = FATE_FROZEN, .leader_stays = true, .something_is = true},
	{SEVERAL, .promise = "a lost node ends what it ran when it returns, and is used again",
	 .lease_ms = 10000, .happens = node_is_cut_off, .is_over = node_is_lost_and_back,
	 .later_s = 16, .fate = FATE_GIVEN_UP},
	{SEVERAL, .promise = "what was declared lost stays lost under another leader",
	 .lease_ms = 10000, .happens = node_is_cut_off,
	 .is_over = node_is_lost_then_leader_then_back, .later_s = 16, .fate = FATE_GIVEN_UP},
	{SEVERAL, .promise = "a restart of etcd changes no leader", .happens = etcd_restarts,
	 .leader_stays = true, .something_is = true},
	{SEVERAL, .promise = "while etcd is away nobody leads, what runs runs on, and it heals",
	 .happens = etcd_is_away, .soon_s = 6, .later_s = 18, .nothing_is_granted = true},
	{SEVERAL, .promise = "what etcd compacted is read anew", .happens = etcd_compacts,
	 .is_over = decisions_were_read, .leader_stays = true, .something_is = true},
	{SEVERAL, .promise = "a full etcd refuses decisions, and everything else goes on",
	 .happens = etcd_is_full, .is_over = etcd_has_room, .leader_stays = true,
	 .something_is = true},
	{SEVERAL, .promise = "creates that are cut off have a definite answer under their key",
	 .happens = creates_are_cut_off, .is_over = creates_were_answered, .later_s = 40,
	 .fate = FATE_ANY},
	{SEVERAL, .promise = "what was told killed stays so when its leader dies",
	 .happens = kills_are_told, .fate = FATE_GIVEN_UP},
};

const size_t stories_several_n = ARRAY_N(stories_several);
