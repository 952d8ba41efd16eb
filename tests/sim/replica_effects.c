/* What the scheduler's core wants carried out, and how it is told of in the story. */
#include "tests/sim/replica_internal.h"

#include "tests/sim/oracle.h"
#include "tests/sim/tenants.h"

#include <inttypes.h>

static void carry_out_effect(struct world *world, struct replica *replica, const struct item *item)
{
	const struct core_effect *effect = &item->effect;
	struct pump_server_event event = {.kind = PUMP_SERVER_WAKE};

	switch (effect->kind) {
	case CORE_EFFECT_REPLY:
		requests_answer(world, replica, effect);
		break;
	case CORE_EFFECT_WAKE:
		replica_pump(world, replica, replica_host_of(&effect->node_id), &event);
		break;
	case CORE_EFFECT_ORDER:
		replica_order(world, replica, item);
		break;
	case CORE_EFFECT_ACK:
		event.kind = PUMP_SERVER_DURABLE;
		event.next_seq = effect->ack.next_seq;
		event.resync = effect->ack.resync;
		replica_pump(world, replica, replica_host_of(&effect->ack.node), &event);
		break;
	case CORE_EFFECT_ADMITTING:
		world->totals.admissions++;
		requests_admit(world, replica);
		break;
	case CORE_EFFECT_EPOCH_OVER:
		if (replica_is_alone(world))
			world_fail(world, "a scheduler that is alone begins an epoch that was");
		ha_resign(world, replica);
		replica_follow(world, replica, "a node has seen a newer epoch");
		break;
	case CORE_EFFECT_ADOPT_SANDBOX:
	case CORE_EFFECT_SAVE_NODE:
	case CORE_EFFECT_SAVE_TEMPLATE:
	case CORE_EFFECT_SAVE_SANDBOX:
	case CORE_EFFECT_POST_USAGE:
	case CORE_EFFECT_N:
		check_broken("an effect to be told", __FILE__, __LINE__);
	}
}

static void apply(struct world *world, struct replica *replica, const struct item *item)
{
	struct core_event event = {.kind = CORE_EVENT_TENANT_SET};
	const struct decision *decision = &item->decision;

	if (decision->kind == DECISION_TENANT) {
		event.tenant = replica->store.tenants[decision->n];
		replica_step(world, replica, &event);
	} else {
		event.kind = CORE_EVENT_NODE_SET;
		event.node = replica->store.nodes[decision->n];
		replica_step(world, replica, &event);
		event = (struct core_event){.kind = CORE_EVENT_NODE_LOST};
		event.lost.node = replica->store.nodes[decision->n].id;
		event.lost.lost_below = decision->lost_below;
		if (event.lost.lost_below)
			replica_step(world, replica, &event);
	}
	if (replica->core)
		ha_applied(world, replica);
}

/* A leader asks its own clock whether it is one before it says anything as such. */
static bool may_speak(const struct world *world, const struct replica *replica)
{
	enum core_role role = core_role(replica->core);

	return role == CORE_ALONE || role == CORE_STANDBY || replica_leads(world, replica->number);
}

void replica_carry_out(struct world *world, void *owner, const void *item_)
{
	struct replica *replica = owner;
	const struct item *item = item_;

	if (!may_speak(world, replica)) {
		replica_follow(world, replica, "its clock says so");
		return;
	}
	switch (item->kind) {
	case ITEM_EFFECT:
		carry_out_effect(world, replica, item);
		break;
	case ITEM_ANSWER:
		replica_send_answer(world, replica, item);
		break;
	case ITEM_APPLY:
		apply(world, replica, item);
		break;
	case ITEM_ADOPTED:
		requests_look_at_key(world, replica, item->key);
		break;
	case ITEM_DECIDED:
		check_broken("something to be told", __FILE__, __LINE__);
	}
}

void replica_say_effect(struct world *world, const struct replica *replica,
			const struct core_effect *effect)
{
	const struct core_sandbox *row = &effect->sandbox;
	const uint32_t number = replica->number;

	switch (effect->kind) {
	case CORE_EFFECT_ADOPT_SANDBOX:
	case CORE_EFFECT_SAVE_SANDBOX:
		world_say(world,
			  "replica %u   -> %s %s %s on %s attempt %" PRIx64
			  " refusal %d cause %d dv %" PRIu64 "/%" PRIu64 " end %" PRId64,
			  number, effect->kind == CORE_EFFECT_SAVE_SANDBOX ? "SANDBOX" : "ADOPT",
			  row->id.text + 14, sandbox_state_name(row->state), row->node.text + 22,
			  row->attempt, (int)row->refusal, (int)row->cause, row->deadline_known,
			  row->deadline_version, row->end_at.ns);
		break;
	case CORE_EFFECT_SAVE_NODE:
		world_say(world, "replica %u   -> NODE %s next %" PRIu64 " lost %" PRIx64, number,
			  effect->node.id.text + 22, effect->node.next_seq,
			  effect->node.lost_below);
		break;
	case CORE_EFFECT_POST_USAGE:
		world_say(world, "replica %u   -> USAGE %s seq %" PRIu64 " %" PRIu64 "..%" PRIu64,
			  number, effect->usage.node.text + 22, effect->usage.record.seq,
			  effect->usage.record.from_ms, effect->usage.record.to_ms);
		break;
	case CORE_EFFECT_REPLY:
		world_say(world, "replica %u   -> REPLY %" PRIu64 " refusal %d", number,
			  effect->reply.request, (int)effect->reply.refusal);
		break;
	case CORE_EFFECT_ORDER:
		world_say(world, "replica %u   -> ORDER %s kind %d attempt %" PRIx64, number,
			  effect->order.node.text + 22, (int)effect->order.order.kind,
			  effect->order.order.attempt);
		break;
	case CORE_EFFECT_ADMITTING:
	case CORE_EFFECT_EPOCH_OVER:
	case CORE_EFFECT_SAVE_TEMPLATE:
	case CORE_EFFECT_WAKE:
	case CORE_EFFECT_ACK:
	case CORE_EFFECT_N:
		world_say(world, "replica %u   -> %s", number, core_effect_name(effect->kind));
	}
}
