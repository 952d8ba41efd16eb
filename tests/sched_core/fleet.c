/* The nodes of a fleet: what they do with what arrives, and what they log of it. */
#include "tests/sched_core/fleet.h"

#include "common/base/check.h"

#include <stdio.h>
#include <string.h>

int64_t fleet_now_ns(const struct fleet *fleet)
{
	return fleet->replicas[0]->now.ns;
}

bool fleet_is_frozen(const struct fleet *fleet, const struct fleet_node *node)
{
	return fleet->lease_ms && fleet_now_ns(fleet) >= node->lease_ns;
}

static void log_add(struct fleet *fleet, struct fleet_node *node, enum wire_record_kind kind,
		    struct fleet_memory *memory)
{
	const struct wire_order *claim = &memory->claim;
	struct wire_record *record = &node->journal[node->journal_n++];

	CHECK(node->journal_n <= FLEET_JOURNAL);
	*record = (struct wire_record){.kind = kind,
				       .seq = node->journal_n,
				       .sandbox = claim->sandbox,
				       .attempt = claim->attempt,
				       .incarnation = 1,
				       .tenant = claim->tenant,
				       .vcpus = claim->vcpus,
				       .mem_mib = claim->mem_mib,
				       .disk_mib = 10,
				       .deadline_version = memory->deadline_version,
				       .at_wall_ns = fleet->replicas[0]->wall.ns};
	memcpy(record->template, claim->template, sizeof(record->template));
	if (kind == WIRE_RECORD_STARTED || kind == WIRE_RECORD_USAGE)
		record->end_wall_ns = memory->end_ns;
	if (kind == WIRE_RECORD_REFUSED)
		record->refusal = REFUSAL_NODE_FULL;
	if (kind == WIRE_RECORD_ENDED)
		record->cause = CAUSE_TIMEOUT;
	if (kind == WIRE_RECORD_USAGE || kind == WIRE_RECORD_ENDED) {
		uint64_t ms = rng_below(&fleet->rng, 1000);
		record->from_ms = memory->told_ms;
		record->to_ms = memory->told_ms += ms;
		node->metered_ms += ms;
	}
}

static void answer(struct fleet *fleet, struct fleet_node *node, struct fleet_memory *memory,
		   bool yes)
{
	memory->answer = yes ? FLEET_RUNNING : FLEET_REFUSED;
	if (yes)
		memory->end_ns =
			fleet->replicas[0]->wall.ns + (int64_t)memory->claim.ttl_ms * NS_PER_MS;
	log_add(fleet, node, yes ? WIRE_RECORD_STARTED : WIRE_RECORD_REFUSED, memory);
}

static void end(struct fleet *fleet, struct fleet_node *node, struct fleet_memory *memory)
{
	if (memory->answer == FLEET_PENDING) {
		answer(fleet, node, memory, false);
	} else if (memory->answer == FLEET_RUNNING) {
		memory->answer = FLEET_ENDED;
		log_add(fleet, node, WIRE_RECORD_ENDED, memory);
	}
}

static void limit(struct fleet *fleet, struct fleet_node *node, struct fleet_memory *memory,
		  const struct wire_order *order)
{
	if (memory->answer != FLEET_RUNNING || order->deadline_version <= memory->deadline_version)
		return;
	memory->deadline_version = order->deadline_version;
	memory->end_ns = order->end_wall_ns;
	log_add(fleet, node, WIRE_RECORD_USAGE, memory);
}

static struct fleet_memory *recall(struct fleet_node *node, uint64_t attempt)
{
	for (uint32_t i = 0; i < node->memory_n; i++)
		if (node->memories[i].claim.attempt == attempt)
			return &node->memories[i];
	return NULL;
}

void fleet_obey(struct fleet *fleet, struct fleet_node *node, const struct wire_order *order,
		uint64_t epoch)
{
	struct fleet_memory *memory = recall(node, order->attempt);
	bool is_new = !memory;

	if (epoch < node->epoch)
		return;
	node->epoch = epoch;
	if (is_new) {
		CHECK(order->kind != WIRE_ORDER_DEADLINE);
		memory = &node->memories[node->memory_n++];
		CHECK(node->memory_n <= FLEET_ATTEMPTS);
		*memory = (struct fleet_memory){.claim = *order};
	}
	switch (order->kind) {
	case WIRE_ORDER_CLAIM:
		/* A leader claims by attempts of its own, and by nobody else's. */
		CHECK(order->attempt >> 32 == epoch);
		if (is_new && order->attempt < node->lost_below)
			answer(fleet, node, memory, false);
		else if (is_new && !rng_one_in(&fleet->rng, 3))
			answer(fleet, node, memory, !rng_one_in(&fleet->rng, 4));
		break;
	case WIRE_ORDER_KILL:
		end(fleet, node, memory);
		break;
	case WIRE_ORDER_DEADLINE:
		limit(fleet, node, memory, order);
		break;
	case WIRE_ORDER_PAUSE:
	case WIRE_ORDER_SNAPSHOT:
	case WIRE_ORDER_SEND:
	case WIRE_ORDER_FETCH:
	case WIRE_ORDER_HAND_OVER:
		check_broken("nobody asks for it here", __FILE__, __LINE__);
	}
}

void fleet_works(struct fleet *fleet, struct fleet_node *node)
{
	for (uint32_t i = 0; i < node->memory_n; i++)
		if (node->memories[i].answer == FLEET_PENDING)
			answer(fleet, node, &node->memories[i], !rng_one_in(&fleet->rng, 4));
}

void fleet_goes_on(struct fleet *fleet, struct fleet_node *node)
{
	struct fleet_memory *memory;

	if (!node->memory_n)
		return;
	memory = &node->memories[rng_below(&fleet->rng, node->memory_n)];
	if (memory->answer != FLEET_RUNNING)
		return;
	if (rng_one_in(&fleet->rng, 2))
		end(fleet, node, memory);
	else
		log_add(fleet, node, WIRE_RECORD_USAGE, memory);
}

/* Given up is ended before anything else may run on. */
void fleet_answered(struct fleet *fleet, struct fleet_node *node, uint64_t epoch,
		    uint64_t lost_below)
{
	if (epoch < node->epoch)
		return;
	node->epoch = epoch;
	for (uint32_t i = 0; i < node->memory_n; i++)
		if (node->memories[i].claim.attempt < lost_below)
			end(fleet, node, &node->memories[i]);
	if (node->lost_below < lost_below)
		node->lost_below = lost_below;
	node->lease_ns = fleet_now_ns(fleet) + (int64_t)fleet->lease_ms * NS_PER_MS;
}

void fleet_says(const struct fleet *fleet, uint32_t n, struct wire_poll *poll)
{
	const struct fleet_node *node = &fleet->nodes[n];

	poll->epoch = node->epoch;
	poll->end_seq = node->journal_n + 1;
	poll->lost_below = node->lost_below;
	poll->pending_n = 0;
	for (uint32_t i = 0; i < node->memory_n; i++)
		poll->pending_n += node->memories[i].answer == FLEET_PENDING &&
				   node->memories[i].claim.attempt >> 32 < node->epoch;
}
