/*
 * The log of records: each gets the next number, and none is ever written without its number or
 * its number without it, because both are one effect.  Every scheduler gets the whole log, each at
 * its own pace.  What all of them have is kept for a while longer, then trimmed; the newest record
 * always stays, as it tells the next number.
 */
#include "node-agent/core/state.h"

#include <string.h>

static struct wire_record *record_add(struct node_core *core, enum wire_record_kind kind)
{
	struct wire_record *record = &node_effect_add(core, NODE_EFFECT_JOURNAL_RECORD)->record;

	record->kind = kind;
	record->seq = core->meta.next_seq++;
	record->at_wall_ns = core->wall.ns;
	memcpy(record->boot_id, core->boot_id, sizeof(record->boot_id));
	core->records_changed = true;
	return record;
}

static int64_t position_ns(const struct node_sandbox *sandbox, uint64_t ms)
{
	return sandbox->resumed_wall.ns + (int64_t)ms * NS_PER_MS;
}

/* Positions follow from the resume and the running time, so that a stepped clock moves nothing. */
static struct wire_record *record_of(struct node_core *core, enum wire_record_kind kind,
				     const struct node_sandbox *sandbox, uint64_t to_ms)
{
	struct wire_record *record = record_add(core, kind);

	CHECK(to_ms >= sandbox->metered_ms);
	record->sandbox = sandbox->id;
	record->attempt = sandbox->attempt;
	record->incarnation = sandbox->incarnation;
	record->tenant = sandbox->tenant;
	memcpy(record->plan, sandbox->plan, sizeof(record->plan));
	record->price_version = sandbox->price_version;
	memcpy(record->template, sandbox->template_, sizeof(record->template));
	record->vcpus = sandbox->vcpus;
	record->mem_mib = sandbox->mem_mib;
	memcpy(record->boot_id, sandbox->boot_id, sizeof(record->boot_id));
	record->from_ms = sandbox->metered_ms;
	record->to_ms = to_ms;
	record->from_wall_ns = position_ns(sandbox, sandbox->metered_ms);
	record->at_wall_ns = position_ns(sandbox, to_ms);
	record->deadline_version = sandbox->deadline_version;
	record->end_wall_ns = sandbox->end_wall.ns;
	return record;
}

void outbox_started(struct node_core *core, const struct node_sandbox *sandbox, uint64_t note_of)
{
	record_of(core, WIRE_RECORD_STARTED, sandbox, 0)->disk_mib = sandbox->disk_mib;
	core->out->items[core->out->n - 1].note_of = note_of;
}

void outbox_usage(struct node_core *core, struct node_sandbox *sandbox, uint64_t to_ms)
{
	record_of(core, WIRE_RECORD_USAGE, sandbox, to_ms);
	sandbox->metered_ms = to_ms;
}

void outbox_ended(struct node_core *core, const struct node_sandbox *sandbox, uint64_t to_ms,
		  enum cause cause)
{
	record_of(core, WIRE_RECORD_ENDED, sandbox, to_ms)->cause = cause;
}

void outbox_paused(struct node_core *core, const struct node_sandbox *sandbox, uint64_t to_ms,
		   enum wire_save_how how, uint64_t mib)
{
	struct wire_record *record = record_of(core, WIRE_RECORD_ENDED, sandbox, to_ms);

	record->cause = CAUSE_PAUSE;
	record->saved_how = how;
	record->saved_mib = mib;
}

void outbox_runs_on(struct node_core *core, const struct node_sandbox *sandbox, uint64_t save,
		    enum refusal refusal)
{
	struct wire_record *record =
		record_of(core, WIRE_RECORD_RUNS_ON, sandbox, sandbox->metered_ms);

	record->save = save;
	record->refusal = refusal;
}

static struct wire_record *record_of_saved(struct node_core *core, enum wire_record_kind kind,
					   const struct node_saved *saved)
{
	struct wire_record *record = record_add(core, kind);

	record->sandbox = saved->id;
	record->attempt = saved->attempt;
	record->incarnation = saved->incarnation;
	record->tenant = saved->tenant;
	memcpy(record->template, saved->template_, sizeof(record->template));
	return record;
}

void outbox_discarded(struct node_core *core, const struct node_saved *saved, enum cause cause)
{
	record_of_saved(core, WIRE_RECORD_DISCARDED, saved)->cause = cause;
}

void outbox_handed_over(struct node_core *core, const struct node_saved *saved,
			const struct wire_order *order)
{
	struct wire_record *record = record_of_saved(core, WIRE_RECORD_HANDED_OVER, saved);

	record->save = order->save;
	record->to = order->to;
	record->to_seq = order->to_seq;
}

/* Its note is its payload's. */
void outbox_kept(struct node_core *core, const struct saved *saved)
{
	struct wire_record *record = record_of_saved(core, WIRE_RECORD_KEPT, &saved->row);

	record->vcpus = saved->row.vcpus;
	record->mem_mib = saved->row.mem_mib;
	record->disk_mib = saved->row.disk_mib;
	record->saved_how = saved->row.how;
	record->saved_mib = saved->row.mib;
	record->source = saved->source;
	record->transient = saved->transient;
	core->out->items[core->out->n - 1].note_of = saved->payload;
}

void outbox_refused(struct node_core *core, const struct wire_order *order, enum refusal refusal)
{
	struct wire_record *record = record_add(core, WIRE_RECORD_REFUSED);

	record->sandbox = order->sandbox;
	record->attempt = order->attempt;
	record->incarnation = order->incarnation;
	record->refusal = refusal;
	record->tenant = order->tenant;
	memcpy(record->template, order->template, sizeof(record->template));
}

static uint32_t replicas_n(const struct node_core *core)
{
	return core->limits.replicas_n ? core->limits.replicas_n : 1;
}

void outbox_load(struct node_core *core, uint64_t acked_seq)
{
	core->meta.acked_seq = core->meta_acked = core->leader_acked_seq = acked_seq;
	for (uint32_t i = 0; i < NODE_REPLICAS_MAX; i++)
		core->acked_seqs[i] = acked_seq;
}

uint64_t outbox_acked_by_all(const struct node_core *core)
{
	uint64_t least = core->acked_seqs[0];

	for (uint32_t i = 1; i < replicas_n(core); i++)
		if (core->acked_seqs[i] < least)
			least = core->acked_seqs[i];
	return least;
}

void outbox_acked(struct node_core *core, const struct node_event *event)
{
	uint64_t next_seq = event->acked.next_seq;
	uint32_t replica = event->acked.replica;

	CHECK(replica < replicas_n(core));
	/* The scheduler has records of this node that its journal does not know (a journal put
	 * back from a copy): their numbers must not come again. */
	if (next_seq > core->meta.next_seq)
		core->meta.next_seq = next_seq;
	if (next_seq > core->acked_seqs[replica])
		core->acked_seqs[replica] = next_seq;
	core->meta.acked_seq = outbox_acked_by_all(core);
	if (event->acked.leader && next_seq > core->leader_acked_seq)
		core->leader_acked_seq = next_seq;
	if (core->meta.acked_seq > core->leader_acked_seq)
		core->leader_acked_seq = core->meta.acked_seq;
}

/* How far records may be trimmed: what is acknowledged, but for the newest. */
static uint64_t trim_below(const struct node_core *core)
{
	uint64_t newest = core->meta.next_seq - 1;

	return core->meta.acked_seq < newest ? core->meta.acked_seq : newest;
}

void outbox_settle(struct node_core *core)
{
	struct node_effect *effect;

	if (core->now.ns < core->house_at.ns || !node_effects_fit(core))
		return;
	core->house_at = mono_add_ms(core->now, HOUSE_MS);
	core->meta_changed |= core->meta.acked_seq != core->meta_acked;
	if (trim_below(core) > 1) {
		effect = node_effect_add(core, NODE_EFFECT_JOURNAL_TRIM);
		effect->trim.below_seq = trim_below(core);
		effect->trim.before_wall.ns =
			core->wall.ns - (int64_t)core->limits.keep_ms * NS_PER_MS;
	}
}
