#include "tests/sim/net.h"

#include "tests/sim/agent.h"
#include "tests/sim/replica.h"

#include <stdlib.h>
#include <string.h>

struct net {
	struct {
		bool to_host, from_host;
	} cuts[HOSTS_MAX][REPLICAS_MAX];
	bool apart[REPLICAS_MAX][REPLICAS_MAX];
};

void net_open(struct world *world)
{
	world->net = calloc(1, sizeof(*world->net));
	CHECK(world->net);
}

void net_close(struct world *world)
{
	free(world->net);
}

void net_cut(struct world *world, uint32_t host, uint32_t replica, bool to_host, bool from_host)
{
	world->net->cuts[host][replica].to_host = to_host;
	world->net->cuts[host][replica].from_host = from_host;
}

void net_part(struct world *world, uint32_t a, uint32_t b, bool apart)
{
	world->net->apart[a][b] = world->net->apart[b][a] = apart;
}

bool net_is_apart(const struct world *world, uint32_t a, uint32_t b)
{
	return world->net->apart[a][b];
}

static bool is_cut(const struct world *world, const struct message *message)
{
	return message->to_replica ? world->net->cuts[message->host][message->replica].from_host
				   : world->net->cuts[message->host][message->replica].to_host;
}

static void on_arrived(struct world *world, const struct call *call)
{
	const struct message *message = call->data;

	if (is_cut(world, message))
		world->totals.lost++;
	else if (message->to_replica)
		replica_receive(world, message);
	else
		agent_receive(world, message);
}

static int64_t delay_ns(struct world *world)
{
	if (world_chance(world, world->faults.late))
		return world_between(world, MS(5), S(8));
	return world_between(world, 50 * NS_PER_US, MS(3));
}

static void send_one(struct world *world, const struct message *message)
{
	struct call call = {.fn = on_arrived, .owned = true};
	size_t n = sizeof(*message) + message->body_n;

	call.of = message->to_replica ? OF_REPLICA(message->replica) : OF_AGENT(message->host);
	call.data = malloc(n);
	CHECK(call.data);
	memcpy(call.data, message, n);
	world_plan(world, delay_ns(world), call);
}

void net_send(struct world *world, const struct message *message)
{
	world->totals.messages++;
	if (is_cut(world, message) || world_chance(world, world->faults.loss)) {
		world->totals.lost++;
		return;
	}
	send_one(world, message);
	if (world_chance(world, world->faults.repeat)) {
		world->totals.repeated++;
		send_one(world, message);
	}
}
