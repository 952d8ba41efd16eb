/* What the node core wants carried out, and how it is told of in the story. */
#include "tests/sim/agent_internal.h"

#include <inttypes.h>
#include <string.h>

/* ---- payloads ---- */

uint64_t agent_keep_payload(struct agent *agent, const struct wire_bytes *note)
{
	struct payload *payload = &agent->payloads[agent->payloads_n++];

	CHECK(agent->payloads_n <= PAYLOADS_MAX && note->n <= sizeof(payload->note.bytes));
	payload->number = ++agent->last_payload;
	payload->note.n = (uint32_t)note->n;
	if (note->n)
		memcpy(payload->note.bytes, note->data, note->n);
	return payload->number;
}

static void drop_payload(struct world *world, struct agent *agent, uint64_t number)
{
	for (size_t i = 0; i < agent->payloads_n; i++)
		if (agent->payloads[i].number == number) {
			agent->payloads[i] = agent->payloads[--agent->payloads_n];
			return;
		}
	world_fail(world, "host %u: payload %" PRIu64 " is dropped and was not kept", agent->host,
		   number);
}

const struct note *agent_note(struct world *world, const struct agent *agent, uint64_t number)
{
	for (size_t i = 0; i < agent->payloads_n; i++)
		if (agent->payloads[i].number == number)
			return &agent->payloads[i].note;
	world_fail(world, "host %u: payload %" PRIu64 " is wanted and was not kept", agent->host,
		   number);
}

/* The bytes stay in this payload's place only until it is dropped, and others move: so they are
 * copied into what the journal will keep. */
void agent_add_note(struct world *world, struct agent *agent, struct node_effect *effect)
{
	const struct note *note;

	if (!effect->note_of)
		return;
	note = agent_note(world, agent, effect->note_of);
	effect->record.note.n = note->n;
	effect->record.note.data = world_keep(world, note->bytes, note->n);
}

/* ---- effects ---- */

void agent_carry_out(struct world *world, struct agent *agent, const struct node_effect *effect)
{
	struct pump_client_event event = {.kind = PUMP_CLIENT_NEWS};

	switch (effect->kind) {
	case NODE_EFFECT_VM_START:
		shims_start(world, agent->host, effect);
		break;
	case NODE_EFFECT_VM_CLAIM:
		shims_claim(world, agent->host, effect,
			    agent_note(world, agent, effect->claim.payload));
		break;
	case NODE_EFFECT_LEASE:
		shims_lease(world, agent->host, effect->lease_mono, 0);
		break;
	case NODE_EFFECT_EPOCH:
		agent->epoch_said = effect->epoch;
		event.urgent = true;
		if (agent->is_ready)
			agent_pump_all(world, agent, &event);
		break;
	case NODE_EFFECT_VM_DEADLINE:
		shims_deadline(world, agent->host, effect);
		break;
	case NODE_EFFECT_VM_NETWORK:
		shims_network(world, agent->host, effect,
			      agent_note(world, agent, effect->network.payload));
		break;
	case NODE_EFFECT_VM_METER:
		shims_meter(world, agent->host, effect->vm);
		break;
	case NODE_EFFECT_VM_SAVE:
		shims_save(world, agent->host, effect);
		break;
	case NODE_EFFECT_VM_KILL:
		shims_kill(world, agent->host, effect);
		break;
	case NODE_EFFECT_VM_FORGET:
		shims_forget(world, agent->host, effect->vm);
		break;
	case NODE_EFFECT_CARRY_SEND:
		carries_send(world, agent, effect);
		break;
	case NODE_EFFECT_CARRY_FETCH:
		carries_fetch(world, agent, effect);
		break;
	case NODE_EFFECT_CARRY_INSTALL:
		carries_install(world, agent, effect);
		break;
	case NODE_EFFECT_CARRY_DROP:
		carries_drop(agent, effect);
		break;
	case NODE_EFFECT_PAYLOAD_DROP:
		drop_payload(world, agent, effect->payload);
		break;
	case NODE_EFFECT_RECORDS:
		if (!agent->is_ready)
			break;
		event.kind = PUMP_CLIENT_RECORDS;
		event.end_seq = effect->records.end_seq;
		agent_pump_all(world, agent, &event);
		break;
	case NODE_EFFECT_NEWS:
		if (agent->is_ready)
			agent_pump_all(world, agent, &event);
		break;
	case NODE_EFFECT_JOURNAL_META:
	case NODE_EFFECT_JOURNAL_ATTEMPT:
	case NODE_EFFECT_JOURNAL_ATTEMPT_GONE:
	case NODE_EFFECT_JOURNAL_SANDBOX:
	case NODE_EFFECT_JOURNAL_SANDBOX_GONE:
	case NODE_EFFECT_JOURNAL_SAVED:
	case NODE_EFFECT_JOURNAL_SAVED_GONE:
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
	else if (effect->kind == NODE_EFFECT_JOURNAL_SAVED)
		world_say(world, "host %u   -> SAVED %" PRIx64 " vm %" PRIu64, agent->host,
			  effect->saved.attempt, effect->saved.vm);
	else if (effect->kind == NODE_EFFECT_JOURNAL_SANDBOX)
		world_say(world, "host %u   -> SANDBOX %" PRIx64 " vm %" PRIu64 " at %" PRIu64,
			  agent->host, effect->sandbox.attempt, effect->sandbox.vm,
			  effect->sandbox.metered_ms);
	else
		world_say(world, "host %u   -> %s %" PRIx64, agent->host, name, effect->vm);
}
