/*
 * What only a node's log knew.  A leader's creates are replicated by no one but the node that said
 * yes: its record tells all that a row needs, so that a replica which never heard of the sandbox
 * makes its own.  It runs, whatever the caps say, hence it counts.
 *
 * In a log a start comes before its end, and what was given up with a lost node is known by its
 * attempt.  So nothing that has ended here can come back this way.
 */
#include "scheduler/core/state.h"

#include <string.h>

/* The limit as asked for, if nobody remembers: whole seconds, at least one. */
static uint32_t guess_timeout_s(const struct wire_record *record)
{
	int64_t span_s;

	if (record->end_wall_ns <= record->at_wall_ns)
		return 1;
	if (__builtin_sub_overflow(record->end_wall_ns, record->at_wall_ns, &span_s))
		return UINT32_MAX;
	span_s = (span_s - 1) / NS_PER_S + 1;
	return span_s < UINT32_MAX ? (uint32_t)span_s : UINT32_MAX;
}

static struct core_sandbox row_of(const struct core_event *event)
{
	const struct wire_record *record = event->record.record;
	struct core_sandbox row = {.id = record->sandbox,
				   .tenant = record->tenant,
				   .node = event->record.node,
				   .price_version = record->price_version,
				   .vcpus = record->vcpus,
				   .mem_mib = record->mem_mib,
				   .disk_mib = record->disk_mib,
				   .timeout_s = event->record.timeout_s,
				   .state = SANDBOX_RUNNING,
				   .attempt = record->attempt,
				   .incarnation = record->incarnation,
				   .tries = 1,
				   .deadline_version = record->deadline_version,
				   .deadline_known = record->deadline_version,
				   .created_at = event->record.created_at,
				   .started_at = {record->at_wall_ns},
				   .life_at = {record->at_wall_ns},
				   .end_at = {record->end_wall_ns}};

	memcpy(row.template_, record->template, sizeof(row.template_));
	memcpy(row.plan, record->plan, sizeof(row.plan));
	if (!row.timeout_s)
		row.timeout_s = guess_timeout_s(record);
	if (!row.created_at.ns)
		row.created_at = row.started_at;
	if (!row.end_at.ns &&
	    __builtin_add_overflow(row.started_at.ns, (int64_t)row.timeout_s * NS_PER_S,
				   &row.end_at.ns))
		row.end_at.ns = INT64_MAX;
	return row;
}

static void keep(struct core_sandbox *row, const struct wire_record *record)
{
	row->state = SANDBOX_KEPT;
	row->source = record->source;
	row->transient = record->transient;
	row->how = record->saved_how;
	row->saved_mib = record->saved_mib;
	row->timeout_s = 0;
	row->end_at = (struct wall){0};
}

bool adopt_record(struct core *core, struct node *node, const struct core_event *event)
{
	const struct wire_record *record = event->record.record;
	const struct tenant *tenant;
	struct core_sandbox row;

	if ((record->kind != WIRE_RECORD_STARTED && record->kind != WIRE_RECORD_KEPT) ||
	    record->attempt < node->row.lost_below || find_sandbox(core, record->sandbox.text))
		return true;
	/* A copy that was handed over to is the sandbox itself; one of a snapshot may be that. */
	if (record->kind == WIRE_RECORD_KEPT) {
		const struct sandbox *sandbox = find_sandbox(core, record->source.text);
		if (sandbox && sandbox->row.attempt == record->attempt)
			return true;
	}
	tenant = find_tenant(core, record->tenant.text);
	/* Alone there is nobody who could know the tenant; an empty one nobody will ever know. */
	if (!tenant && (core->role == CORE_ALONE || id_is_empty(&record->tenant))) {
		core->ignored_n++;
		return true;
	}
	if (!tenant || core->sandbox_pool.taken_n == core->limits.sandboxes)
		return false;
	row = row_of(event);
	if (record->kind == WIRE_RECORD_KEPT)
		keep(&row, record);
	sandbox_adopt(core, &row, (uint32_t)(tenant - core->tenants),
		      (uint32_t)(node - core->nodes))
		->kept_seq = record->seq;
	if (row.transient || snapshot_copy_is(&row))
		settle_later(core, node);
	return true;
}
