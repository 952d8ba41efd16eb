/* What the node core wants carried out, and how it is told of in the story. */
#include "tests/sim/agent_internal.h"

#include <inttypes.h>

static void drop_payload(struct world *world, struct agent *agent, uint64_t payload)
{
	for (size_t i = 0; i < agent->payloads_n; i++)
		if (agent->payloads[i] == payload) {
			agent->payloads[i] = agent->payloads[--agent->payloads_n];
			return;
		}
	world_fail(world, "host %u: payload %" PRIu64 " is dropped and was not kept", agent->host,
		   payload);
}

static void need_payload(struct world *world, struct agent *agent, uint64_t payload)
{
	for (size_t i = 0; i < agent->payloads_n; i++)
		if (agent->payloads[i] == payload)
			return;
	world_fail(world, "host %u: a claim without its payload", agent->host);
}

void agent_carry_out(struct world *world, struct agent *agent, const struct node_effect *effect)
{
	struct pump_client_event event = {.kind = PUMP_CLIENT_NEWS};

	switch (effect->kind) {
	case NODE_EFFECT_VM_START:
		shims_start(world, agent->host, effect);
		break;
	case NODE_EFFECT_VM_CLAIM:
		need_payload(world, agent, effect->claim.payload);
		shims_claim(world, agent->host, effect);
		break;
	case NODE_EFFECT_LEASE:
	case NODE_EFFECT_EPOCH:
		break;
	case NODE_EFFECT_VM_DEADLINE:
		shims_deadline(world, agent->host, effect);
		break;
	case NODE_EFFECT_VM_METER:
		shims_meter(world, agent->host, effect->vm);
		break;
	case NODE_EFFECT_VM_KILL:
		shims_kill(world, agent->host, effect);
		break;
	case NODE_EFFECT_VM_FORGET:
		shims_forget(world, agent->host, effect->vm);
		break;
	case NODE_EFFECT_PAYLOAD_DROP:
		drop_payload(world, agent, effect->payload);
		break;
	case NODE_EFFECT_RECORDS:
		if (!agent->is_ready)
			break;
		event.kind = PUMP_CLIENT_RECORDS;
		event.end_seq = effect->records.end_seq;
		agent_pump(world, agent, &event, NULL);
		break;
	case NODE_EFFECT_NEWS:
		if (agent->is_ready)
			agent_pump(world, agent, &event, NULL);
		break;
	case NODE_EFFECT_JOURNAL_META:
	case NODE_EFFECT_JOURNAL_ATTEMPT:
	case NODE_EFFECT_JOURNAL_ATTEMPT_GONE:
	case NODE_EFFECT_JOURNAL_SANDBOX:
	case NODE_EFFECT_JOURNAL_SANDBOX_GONE:
	case NODE_EFFECT_JOURNAL_RECORD:
	case NODE_EFFECT_JOURNAL_TRIM:
	case NODE_EFFECT_N:
		check_broken("an effect to be carried out", __FILE__, __LINE__);
	}
}

void agent_say_effect(struct world *world, const struct agent *agent,
		      const struct node_effect *effect)
{
	const struct wire_record *record = &effect->record;
	const char *name = node_effect_name(effect->kind);

	if (effect->kind == NODE_EFFECT_JOURNAL_RECORD)
		world_say(world,
			  "host %u   -> RECORD %" PRIu64 " kind %d %s attempt %" PRIx64
			  " refusal %d cause %d %" PRIu64 "..%" PRIu64 " dv %" PRIu64,
			  agent->host, record->seq, (int)record->kind, record->sandbox.text + 14,
			  record->attempt, (int)record->refusal, (int)record->cause,
			  record->from_ms, record->to_ms, record->deadline_version);
	else if (effect->kind == NODE_EFFECT_JOURNAL_META)
		world_say(world,
			  "host %u   -> META acked %" PRIu64 " epoch %" PRIu64 " floor %" PRIx64,
			  agent->host, effect->meta.acked_seq, effect->meta.epoch,
			  effect->meta.attempt_floor);
	else if (effect->kind == NODE_EFFECT_JOURNAL_SANDBOX)
		world_say(world, "host %u   -> SANDBOX %" PRIx64 " vm %" PRIu64 " at %" PRIu64,
			  agent->host, effect->sandbox.attempt, effect->sandbox.vm,
			  effect->sandbox.metered_ms);
	else
		world_say(world, "host %u   -> %s %" PRIx64, agent->host, name, effect->vm);
}
