/* See two_nodes.h. */
#include "tests/sched_core/two_nodes.h"

#include "common/base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

struct world *world;
struct world_node *one, *two;
struct wire_transfer said[2];

static void open_fleet(void)
{
	world->limits.transfers_max = 4;
	world_restart(world);
	world_fleet(world, 2);
	one = &world->nodes[0];
	two = &world->nodes[1];
	for (int i = 0; i < 2; i++) {
		strcpy(world->nodes[i].poll.platform, "tcg 7.2");
		world->nodes[i].poll.transfers = &said[i];
		world_report(world, &world->nodes[i]);
	}
}

int two_nodes_open_alone(void **state)
{
	(void)state;
	world = world_open();
	open_fleet();
	return 0;
}

int two_nodes_open_standby(void **state)
{
	(void)state;
	world = world_open();
	world_stand_by(world);
	open_fleet();
	return 0;
}

int two_nodes_close(void **state)
{
	(void)state;
	world_close(world);
	return 0;
}

void cordon(struct world_node *node, bool cordoned)
{
	struct core_event event = {.kind = CORE_EVENT_NODE_SET};

	event.node.id = node->id;
	event.node.cordoned = cordoned;
	world_step(world, &event);
}

enum refusal refusal_of(uint64_t request)
{
	assert_non_null(world_reply(world, request));
	return world_reply(world, request)->refusal;
}

void says(struct world_node *node, uint64_t number, enum wire_transfer_state state,
	  enum refusal refusal)
{
	struct wire_transfer *transfer = &said[node - world->nodes];

	*transfer = (struct wire_transfer){
		.number = number, .state = state, .bytes = 1000, .refusal = refusal};
	strcpy(transfer->template_id, "content");
	node->poll.transfers_n = 1;
	world_report(world, node);
}

const struct wire_order *ordered(struct world_node *node, enum wire_order_kind kind)
{
	world_poll(world, node);
	for (uint32_t i = 0; i < world->effects.n; i++) {
		const struct core_effect *effect = &world->effects.items[i];
		if (effect->kind == CORE_EFFECT_ORDER && effect->order.order.kind == kind)
			return &effect->order.order;
	}
	return NULL;
}
