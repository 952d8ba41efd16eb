/* One scheduler, one host. */
#include "tests/sim/stories_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/net.h"
#include "tests/sim/operator.h"
#include "tests/sim/replica.h"

static void leader_dies(struct world *world)
{
	replica_crash(world, 0);
}

static void agent_dies(struct world *world)
{
	agent_crash(world, 0);
}

static void all_die(struct world *world)
{
	replica_crash(world, 0);
	agent_crash(world, 0);
}

static void leader_disk_breaks(struct world *world)
{
	replica_disk_fails(world, 0, true);
}

static void leader_disk_works(struct world *world)
{
	replica_disk_fails(world, 0, false);
}

static void agent_disk_breaks(struct world *world)
{
	agent_disk_fails(world, 0, true);
}

static void agent_disk_works(struct world *world)
{
	agent_disk_fails(world, 0, false);
}

static void host_is_cut_off(struct world *world)
{
	net_cut(world, 0, 0, true, true);
}

static void orders_are_lost(struct world *world)
{
	net_cut(world, 0, 0, true, false);
}

static void records_are_lost(struct world *world)
{
	net_cut(world, 0, 0, false, true);
}

static void host_is_back(struct world *world)
{
	net_cut(world, 0, 0, false, false);
}

static void host_reboots(struct world *world)
{
	agent_reboot(world, 0);
}

static void host_stops_in_its_tracks(struct world *world)
{
	world_stop(world, OF_AGENT(0) | OF_SHIMS(0), S(6));
}

static void lost_host_is_back(struct world *world)
{
	if (!operator_lose(world, 0))
		world_fail(world, "story: it may not be declared lost");
	host_is_back(world);
}

static void host_loses_its_templates(struct world *world)
{
	agent_lose_templates(world, 1);
}

static void on_sender_dies(struct world *world, const struct call *call)
{
	(void)call;
	agent_crash(world, 0);
}

static void a_sender_dies(struct world *world)
{
	agent_lose_templates(world, 1);
	world_plan(world, S(3), (struct call){.fn = on_sender_dies});
}

static void templates_are_there(struct world *world)
{
	if (!agent_has_templates(world, 1))
		world_fail(world, "story: what one host has did not come to another");
}

const struct story stories_alone[] = {
	{.promise = "an agent's restart ends no sandbox", .happens = agent_dies},
	{.promise = "a scheduler's restart ends no sandbox", .happens = leader_dies},
	{.promise = "all daemons die at once and no sandbox ends", .happens = all_die},
	{.promise = "a scheduler that cannot write grants nothing",
	 .happens = leader_disk_breaks,
	 .is_over = leader_disk_works,
	 .nothing_is_granted = true},
	{.promise = "a node that cannot write starts nothing",
	 .happens = agent_disk_breaks,
	 .is_over = agent_disk_works,
	 .nothing_is_granted = true},
	{.promise = "a full disk of a node ends no lease",
	 .lease_ms = 10000,
	 .happens = agent_disk_breaks,
	 .is_over = agent_disk_works,
	 .later_s = 20,
	 .nothing_is_granted = true},
	{.promise = "a node that is cut off runs on and is found again",
	 .happens = host_is_cut_off,
	 .is_over = host_is_back,
	 .nothing_is_granted = true},
	{.promise = "a node that hears nothing runs on",
	 .happens = orders_are_lost,
	 .is_over = host_is_back,
	 .nothing_is_granted = true},
	{.promise = "a node that nobody hears runs on",
	 .happens = records_are_lost,
	 .is_over = host_is_back,
	 .nothing_is_granted = true},
	{.promise = "a reboot ends what ran, and the fleet goes on",
	 .happens = host_reboots,
	 .fate = FATE_ENDED},
	{.promise = "a host that is stopped in its tracks goes on with what it ran",
	 .happens = host_stops_in_its_tracks},
	{.promise = "a lease that is over freezes, and a later one thaws",
	 .lease_ms = 10000,
	 .happens = host_is_cut_off,
	 .is_over = host_is_back,
	 .later_s = 14,
	 .fate = FATE_FROZEN,
	 .nothing_is_granted = true},
	{.promise = "a node that nobody hears freezes, too, when its lease is over",
	 .lease_ms = 10000,
	 .happens = orders_are_lost,
	 .is_over = host_is_back,
	 .later_s = 14,
	 .fate = FATE_FROZEN,
	 .nothing_is_granted = true},
	{.promise = "a node that was declared lost ends what it ran when it returns",
	 .lease_ms = 10000,
	 .happens = host_is_cut_off,
	 .is_over = lost_host_is_back,
	 .later_s = 20,
	 .fate = FATE_GIVEN_UP,
	 .nothing_is_granted = true},
	{.promise = "a template that one host has comes to another",
	 .hosts_n = 2,
	 .happens = host_loses_its_templates,
	 .is_over = templates_are_there,
	 .later_s = 40,
	 .fate = FATE_ANY},
	{.promise = "a template comes though its sender dies in the middle",
	 .hosts_n = 2,
	 .happens = a_sender_dies,
	 .is_over = templates_are_there,
	 .later_s = 80,
	 .fate = FATE_ANY},
	{.promise = "without leases a silent node may be declared lost, too, and returns",
	 .happens = host_is_cut_off,
	 .is_over = lost_host_is_back,
	 .later_s = 20,
	 .fate = FATE_GIVEN_UP,
	 .nothing_is_granted = true},
};

const size_t stories_alone_n = ARRAY_N(stories_alone);
