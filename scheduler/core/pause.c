/*
 * What pausing and resuming add to the life of a sandbox.
 *
 * A pause ends one life of it, by a record of its node like any other end; what it was lies on that
 * node's disk, under the attempt by which it ran.  A resume is a claim like a create's, under a new
 * attempt, to that node alone; the record that it started uses up what was saved.  So a node's log
 * tells all of it, in order, and every replica follows: a life that another leader began is known
 * by a greater attempt.
 *
 * May it be resumed?  In this order:
 *
 *   1. it is known, and paused                                  sandbox_unknown, in_flight
 *   2. the timeout is at least 1 s and at most its plan's       timeout_too_short, _too_long
 *   3. the tenant's credit is not used up                       credit_exhausted
 *   4. its quota covers one more: sandboxes, vCPUs, memory      quota_concurrency, _vcpus, _memory
 *   5. its node is there, and may start something               saved_away
 *   6. its node has room                                        capacity
 *
 * After a no by 5 or 6 another node may have it; see move.c.
 */
#include "scheduler/core/state.h"

#include <string.h>

/* ---- requests ---- */

void admit_pause(struct core *core, const struct core_event *event)
{
	struct sandbox *sandbox = admit_find(core, &event->pause.sandbox, &event->pause.tenant);
	uint64_t request = event->pause.request;

	switch (sandbox ? sandbox->row.state : SANDBOX_NONE) {
	case SANDBOX_RUNNING:
		sandbox->row.save = sandbox_attempt(core);
		sandbox->row.how = event->pause.how;
		sandbox_move(core, sandbox, SANDBOX_PAUSING);
		effect_save_sandbox(core, sandbox);
		sandbox_await(core, sandbox, request);
		break;
	case SANDBOX_PAUSING:
		/* Whoever gave up waiting may wait again. */
		if (sandbox->confirm_request)
			effect_reply(core, request, REFUSAL_IN_FLIGHT, sandbox);
		else
			sandbox_await(core, sandbox, request);
		break;
	case SANDBOX_PLACING:
	case SANDBOX_RESUMING:
		effect_reply(core, request, REFUSAL_IN_FLIGHT, sandbox);
		break;
	case SANDBOX_PAUSED:
		effect_reply(core, request, REFUSAL_ALREADY_PAUSED, sandbox);
		break;
	case SANDBOX_NONE:
	case SANDBOX_ENDING:
	case SANDBOX_DISCARDING:
	case SANDBOX_SNAPPING:
	case SANDBOX_KEPT:
	case SANDBOX_ENDED:
	case SANDBOX_STATE_N:
		effect_reply(core, request, REFUSAL_SANDBOX_UNKNOWN, NULL);
		break;
	}
}

enum refusal pause_node_refuses(const struct core *core, const struct sandbox *saved)
{
	const struct node *node = &core->nodes[saved->node];
	const struct core_sandbox *row = &saved->row;
	struct core_template shape = {
		.vcpus = row->vcpus, .mem_mib = row->mem_mib, .disk_mib = row->disk_mib};

	if (!node->awake || !node->joined || node->row.cordoned || node->leaving ||
	    node->trouble[0] || lease_is_lost(node))
		return REFUSAL_SAVED_AWAY;
	return place_room(node, &shape) ? REFUSAL_NONE : REFUSAL_CAPACITY;
}

/* What the tenant can change. */
static enum refusal tenant_refuses(const struct core *core, const struct sandbox *sandbox,
				   uint32_t timeout_s)
{
	const struct tenant *tenant = &core->tenants[sandbox->tenant];
	const struct core_sandbox *row = &sandbox->row;

	if (timeout_s == 0)
		return REFUSAL_TIMEOUT_TOO_SHORT;
	if (timeout_s > tenant->row.session_max_s)
		return REFUSAL_TIMEOUT_TOO_LONG;
	if (tenant->row.credit_exhausted)
		return REFUSAL_CREDIT_EXHAUSTED;
	return quota_refuses(tenant, row->vcpus, row->mem_mib);
}

/* A life more, where it is. */
static void resume_here(struct core *core, struct sandbox *sandbox, uint64_t request)
{
	struct core_sandbox *row = &sandbox->row;

	move_stop(core, sandbox);
	row->saved_attempt = row->attempt;
	row->attempt = sandbox_attempt(core);
	row->incarnation++;
	row->tries = 1;
	row->timeout_s = sandbox->resume_timeout_s;
	row->life_at = core->wall;
	row->end_at.ns = core->wall.ns + (int64_t)row->timeout_s * NS_PER_S;
	row->deadline_version = row->deadline_known = 0;
	sandbox->create_request = request;
	sandbox_move(core, sandbox, SANDBOX_RESUMING);
	effect_save_sandbox(core, sandbox);
}

void pause_resume(struct core *core, struct sandbox *sandbox, uint64_t request)
{
	enum refusal refusal = tenant_refuses(core, sandbox, sandbox->resume_timeout_s);

	if (refusal != REFUSAL_NONE) {
		effect_reply(core, request, refusal, sandbox);
		return;
	}
	refusal = sandbox->row.save ? REFUSAL_SAVED_AWAY : pause_node_refuses(core, sandbox);
	if (refusal == REFUSAL_NONE)
		resume_here(core, sandbox, request);
	else if (move_is_under_way(core, sandbox) || move_begin(core, sandbox))
		sandbox_wait_for_move(core, sandbox, request);
	else
		effect_reply(core, request, refusal, sandbox);
}

static void resume(struct core *core, struct sandbox *sandbox, const struct core_event *event)
{
	/* Whoever gave up waiting may wait again. */
	if (sandbox->create_request) {
		effect_reply(core, event->timeout.request, REFUSAL_IN_FLIGHT, sandbox);
		return;
	}
	sandbox->resume_timeout_s = event->timeout.timeout_s;
	sandbox->resumes_cold = event->timeout.cold;
	pause_resume(core, sandbox, event->timeout.request);
}

void admit_resume(struct core *core, const struct core_event *event)
{
	struct sandbox *sandbox = admit_find(core, &event->timeout.sandbox, &event->timeout.tenant);
	uint64_t request = event->timeout.request;

	switch (sandbox ? sandbox->row.state : SANDBOX_NONE) {
	case SANDBOX_PAUSED:
		resume(core, sandbox, event);
		break;
	case SANDBOX_RESUMING:
		/* Whoever gave up waiting may wait again. */
		if (sandbox->create_request || !request ||
		    event->timeout.cold != sandbox->resumes_cold) {
			effect_reply(core, request, REFUSAL_IN_FLIGHT, sandbox);
			break;
		}
		sandbox->create_request = request;
		list_remove(&sandbox->timer_link);
		sandbox->timer_at = core->now;
		list_append(&core->attempts, &sandbox->timer_link);
		break;
	case SANDBOX_PLACING:
		effect_reply(core, request, REFUSAL_IN_FLIGHT, sandbox);
		break;
	case SANDBOX_NONE:
	case SANDBOX_RUNNING:
	case SANDBOX_PAUSING:
	case SANDBOX_ENDING:
	case SANDBOX_DISCARDING:
	case SANDBOX_SNAPPING:
	case SANDBOX_KEPT:
	case SANDBOX_ENDED:
	case SANDBOX_STATE_N:
		admit_timeout(core, event, true);
		break;
	}
}

/* ---- what its node says ---- */

void pause_done(struct core *core, struct sandbox *sandbox, const struct wire_record *record)
{
	struct core_sandbox *row = &sandbox->row;
	uint64_t request = 0;
	bool killed = row->state == SANDBOX_ENDING || row->state == SANDBOX_PLACING;

	row->saved_attempt = row->save = 0;
	row->how = record->saved_how;
	row->saved_mib = record->saved_mib;
	if (row->state == SANDBOX_PLACING) {
		/* Whoever asked for it has not heard, and nobody knows of it. */
		row->refusal = REFUSAL_CREATE_FAILED;
		row->cause = CAUSE_PLATFORM;
		sandbox_answer(core, sandbox, row->refusal);
	}
	if (row->state == SANDBOX_PAUSING) {
		request = sandbox->confirm_request;
		sandbox->confirm_request = 0;
	}
	if (row->state == SANDBOX_RUNNING)
		sandbox_confirm(core, sandbox, REFUSAL_SANDBOX_UNKNOWN);
	if (!killed)
		sandbox_answer(core, sandbox, REFUSAL_CREATE_FAILED);
	sandbox_move(core, sandbox, killed ? SANDBOX_DISCARDING : SANDBOX_PAUSED);
	effect_save_sandbox(core, sandbox);
	effect_reply(core, request, REFUSAL_NONE, sandbox);
}

void pause_failed(struct core *core, struct sandbox *sandbox, const struct wire_record *record)
{
	uint64_t request = sandbox->confirm_request;

	if (sandbox->row.state != SANDBOX_PAUSING || sandbox->row.save != record->save)
		return;
	sandbox->confirm_request = 0;
	sandbox->row.save = 0;
	sandbox_move(core, sandbox, SANDBOX_RUNNING);
	effect_save_sandbox(core, sandbox);
	effect_reply(core, request, record->refusal, sandbox);
}

void pause_again(struct core *core, struct sandbox *sandbox, enum refusal refusal)
{
	struct core_sandbox *row = &sandbox->row;

	CHECK(row->saved_attempt && row->incarnation > 1);
	row->attempt = row->saved_attempt;
	row->saved_attempt = 0;
	row->incarnation--;
	sandbox_answer(core, sandbox, refusal);
	sandbox_move(core, sandbox,
		     row->state == SANDBOX_ENDING ? SANDBOX_DISCARDING : SANDBOX_PAUSED);
	effect_save_sandbox(core, sandbox);
}

void pause_gone(struct core *core, struct sandbox *sandbox, const struct wire_record *record)
{
	struct core_sandbox *row = &sandbox->row;

	switch (row->state) {
	case SANDBOX_KEPT:
		/* Its node was given up, which we hear from itself first. */
		if (record->cause == CAUSE_NODE_LOST && snapshot_copy_takes_over(core, sandbox))
			return;
		/* fall through */
	case SANDBOX_PAUSED:
	case SANDBOX_RESUMING:
		row->cause = record->cause == CAUSE_NONE ? CAUSE_PLATFORM : record->cause;
		break;
	case SANDBOX_ENDING:
	case SANDBOX_DISCARDING:
		break; /* whoever killed it said why */
	case SANDBOX_NONE:
	case SANDBOX_PLACING:
	case SANDBOX_RUNNING:
	case SANDBOX_PAUSING:
	case SANDBOX_SNAPPING:
	case SANDBOX_ENDED:
	case SANDBOX_STATE_N:
		return;
	}
	row->ended_at.ns = record->at_wall_ns;
	sandbox_finish(core, sandbox);
}

/* ---- what another leader did ---- */

static void follow(struct sandbox *sandbox, const struct core_event *event)
{
	const struct wire_record *record = event->record.record;
	struct core_sandbox *row = &sandbox->row;

	row->attempt = record->attempt;
	row->incarnation = record->incarnation;
	row->saved_attempt = row->save = 0;
	row->price_version = record->price_version;
	memcpy(row->plan, record->plan, sizeof(row->plan));
	row->life_at.ns = record->at_wall_ns;
	if (event->record.timeout_s)
		row->timeout_s = event->record.timeout_s;
	if (record->end_wall_ns)
		row->end_at.ns = record->end_wall_ns;
	row->deadline_version = row->deadline_known = record->deadline_version;
}

bool pause_follow(struct core *core, struct node *node, const struct core_event *event)
{
	const struct wire_record *record = event->record.record;
	struct sandbox *sandbox = find_sandbox(core, record->sandbox.text);
	bool killed, held;

	if (!sandbox || record->kind != WIRE_RECORD_STARTED || snapshot_is(&sandbox->row) ||
	    record->attempt <= sandbox->row.attempt || record->attempt < node->row.lost_below)
		return false;
	killed = sandbox->row.state == SANDBOX_DISCARDING || sandbox->row.state == SANDBOX_ENDING;
	if (!killed && sandbox->row.state != SANDBOX_PAUSED &&
	    sandbox->row.state != SANDBOX_RESUMING)
		return false;
	held = sandbox_holds(sandbox->row.state);
	if (held)
		place_give_room(core, &core->nodes[sandbox->node], &sandbox->row);
	sandbox_sit(core, sandbox, (uint32_t)(node - core->nodes));
	if (held)
		place_take_room(core, node, &sandbox->row);
	follow(sandbox, event);
	sandbox_answer(core, sandbox, REFUSAL_NONE);
	if (!killed)
		sandbox_move(core, sandbox, SANDBOX_RUNNING);
	else if (sandbox->row.state == SANDBOX_DISCARDING)
		sandbox_move(core, sandbox, SANDBOX_ENDING);
	else
		dispatch_refresh(core, sandbox);
	effect_save_sandbox(core, sandbox);
	return true;
}
