/*
 * Snapshots of what runs.  One is a row of its own, with an id, an attempt and a node: that of the
 * sandbox, which has to save it and runs on.  It never runs; once it is kept it lies on its node's
 * disk until somebody drops it, or its node is lost, and any number of creates may begin from it,
 * there or from a copy (see snapshot_copy.c).
 *
 * An attempt is all that a node needs to know it by: the order to make it, claims that go on from
 * it and the order to drop it name the same number.  So it is answered once, like a claim: by a
 * record that it is kept, or by a no.  Whoever cannot wait for that gives it up, and then it shall
 * be dropped, whatever the answer will be: nobody was told of it.
 *
 * May it be made?  In this order:
 *
 *   1. the sandbox is known, and runs                           sandbox_unknown, in_flight,
 * not_running
 *   2. its tenant may have one more                             quota_snapshots
 *   3. there is a slot for it                                   fleet_full
 */
#include "scheduler/core/state.h"

#include <string.h>

bool snapshot_is(const struct core_sandbox *row)
{
	return !id_is_empty(&row->source);
}

bool snapshot_counts(const struct core_sandbox *row, enum sandbox_state state)
{
	return (state == SANDBOX_SNAPPING || state == SANDBOX_KEPT) && !move_is_copy(row) &&
	       !snapshot_copy_is(row);
}

/* ---- requests ---- */

static enum refusal snapshot_refuses(const struct core *core, const struct sandbox *sandbox)
{
	switch (sandbox ? sandbox->row.state : SANDBOX_NONE) {
	case SANDBOX_RUNNING:
		break;
	case SANDBOX_PLACING:
	case SANDBOX_RESUMING:
	case SANDBOX_PAUSING:
		return REFUSAL_IN_FLIGHT;
	case SANDBOX_PAUSED:
		return REFUSAL_NOT_RUNNING;
	case SANDBOX_NONE:
	case SANDBOX_ENDING:
	case SANDBOX_DISCARDING:
	case SANDBOX_SNAPPING:
	case SANDBOX_KEPT:
	case SANDBOX_ENDED:
	case SANDBOX_STATE_N:
		return REFUSAL_SANDBOX_UNKNOWN;
	}
	if (core->tenants[sandbox->tenant].snapshots_n >= CORE_SNAPSHOTS_MAX)
		return REFUSAL_QUOTA_SNAPSHOTS;
	return core->sandbox_pool.taken_n == core->limits.sandboxes ? REFUSAL_FLEET_FULL
								    : REFUSAL_NONE;
}

void admit_snapshot(struct core *core, const struct core_event *event)
{
	struct sandbox *of = admit_find(core, &event->snapshot.sandbox, &event->snapshot.tenant);
	enum refusal refusal = snapshot_refuses(core, of);
	struct core_sandbox row = {0};
	struct sandbox *snapshot;

	/* As in admit_create. */
	if (refusal == REFUSAL_NONE && find_sandbox(core, event->snapshot.snapshot.text))
		refusal = REFUSAL_SNAPSHOT_FAILED;
	if (refusal != REFUSAL_NONE) {
		effect_reply(core, event->snapshot.request, refusal,
			     refusal == REFUSAL_SANDBOX_UNKNOWN ? NULL : of);
		return;
	}
	row.id = event->snapshot.snapshot;
	row.tenant = of->row.tenant;
	memcpy(row.template_, of->row.template_, sizeof(row.template_));
	memcpy(row.plan, of->row.plan, sizeof(row.plan));
	row.price_version = of->row.price_version;
	row.vcpus = of->row.vcpus;
	row.mem_mib = of->row.mem_mib;
	row.disk_mib = of->row.disk_mib;
	row.incarnation = row.tries = 1;
	row.source = of->row.id;
	row.source_attempt = of->row.attempt;
	row.transient = event->snapshot.transient;
	row.how = WIRE_SAVE_SNAPSHOT;
	row.attempt = sandbox_attempt(core);
	row.created_at = row.life_at = core->wall;
	snapshot = sandbox_snap(core, &row, of->tenant, of->node);
	sandbox_await(core, snapshot, event->snapshot.request);
}

struct sandbox *snapshot_find(struct core *core, const struct id *id, const struct id *tenant)
{
	struct sandbox *sandbox = find_sandbox(core, id->text);

	if (!sandbox || sandbox->row.state != SANDBOX_KEPT || move_is_copy(&sandbox->row) ||
	    snapshot_copy_is(&sandbox->row) || !id_equal(&sandbox->row.tenant, tenant))
		return NULL;
	return sandbox;
}

/* As with a kill, who asks again waits again: it may have been told that it is unconfirmed. */
void admit_drop(struct core *core, const struct core_event *event)
{
	struct sandbox *sandbox = find_sandbox(core, event->kill.sandbox.text);
	bool ends = sandbox && sandbox->row.state == SANDBOX_DISCARDING;

	if (!sandbox || !snapshot_is(&sandbox->row) || move_is_copy(&sandbox->row) ||
	    snapshot_copy_is(&sandbox->row) ||
	    (!id_is_empty(&event->kill.tenant) &&
	     !id_equal(&sandbox->row.tenant, &event->kill.tenant)) ||
	    (ends && (core->role == CORE_ALONE || sandbox->confirm_request))) {
		effect_reply(core, event->kill.request, REFUSAL_SANDBOX_UNKNOWN, NULL);
		return;
	}
	if (!ends)
		snapshot_give_up(core, sandbox,
				 event->kill.cause == CAUSE_NONE ? CAUSE_REQUEST
								 : event->kill.cause);
	sandbox_await(core, sandbox, event->kill.request);
}

/* ---- what its node says ---- */

void snapshot_kept(struct core *core, struct sandbox *sandbox, const struct wire_record *record)
{
	struct core_sandbox *row = &sandbox->row;
	uint64_t request = sandbox->confirm_request, source_attempt = row->source_attempt;

	if (row->state != SANDBOX_SNAPPING && row->state != SANDBOX_DISCARDING)
		return;
	row->started_at.ns = record->at_wall_ns;
	row->saved_mib = record->saved_mib;
	if (row->state == SANDBOX_DISCARDING) {
		effect_save_sandbox(core, sandbox);
		return;
	}
	row->source_attempt = 0;
	sandbox->confirm_request = 0;
	sandbox_move(core, sandbox, SANDBOX_KEPT);
	effect_save_sandbox(core, sandbox);
	effect_reply(core, request, REFUSAL_NONE, sandbox);
	if (move_is_copy(row))
		move_kept(core, sandbox, record, source_attempt);
	else if (snapshot_copy_is(row))
		snapshot_copy_kept(core, sandbox, record);
}

/* What the caller hears of a no. */
static enum refusal told(enum refusal refusal)
{
	return refusal == REFUSAL_SANDBOX_UNKNOWN ? refusal : REFUSAL_SNAPSHOT_FAILED;
}

void snapshot_refused(struct core *core, struct sandbox *sandbox, const struct wire_record *record)
{
	struct core_sandbox *row = &sandbox->row;

	if (row->state != SANDBOX_SNAPPING && row->state != SANDBOX_DISCARDING)
		return;
	row->ended_at.ns = record->at_wall_ns;
	if (row->state == SANDBOX_SNAPPING) {
		row->refusal = told(record->refusal);
		sandbox_confirm(core, sandbox, row->refusal);
	}
	sandbox_finish(core, sandbox);
}

void snapshot_give_up(struct core *core, struct sandbox *sandbox, enum cause cause)
{
	if (sandbox->row.state == SANDBOX_SNAPPING) {
		sandbox->row.refusal = REFUSAL_SNAPSHOT_FAILED;
		sandbox_confirm(core, sandbox, REFUSAL_SNAPSHOT_FAILED);
	}
	sandbox->row.cause = cause;
	sandbox_move(core, sandbox, SANDBOX_DISCARDING);
	effect_save_sandbox(core, sandbox);
	move_given_up(core, &sandbox->row);
	snapshot_copy_given_up(core, &sandbox->row);
}
