/*
 * The life of one sandbox.  Every change of state goes through sandbox_move, along an edge of
 * sandbox_states.def; what a state holds (room on a node, a share of the tenant's quota, a timer,
 * an order) is taken and given back here and nowhere else.
 */
#include "scheduler/core/state.h"

#include <string.h>

static bool edge_exists(enum sandbox_state from, enum sandbox_state to)
{
#define EDGE(a, b, why)                                                                            \
	if (from == SANDBOX_##a && to == SANDBOX_##b)                                              \
		return true;
#include "scheduler/core/sandbox_states.def"
	return false;
}

bool sandbox_holds(enum sandbox_state state)
{
	switch (state) {
	case SANDBOX_PLACING:
	case SANDBOX_RUNNING:
	case SANDBOX_ENDING:
	case SANDBOX_PAUSING:
	case SANDBOX_RESUMING:
		return true;
	case SANDBOX_NONE:
	case SANDBOX_ENDED:
	case SANDBOX_PAUSED:
	case SANDBOX_DISCARDING:
	case SANDBOX_SNAPPING:
	case SANDBOX_KEPT:
	case SANDBOX_STATE_N:
		return false;
	}
	return false;
}

/* Of one of them there is no row but in these states. */
static bool snapshot_may_be(const struct core_sandbox *row)
{
	bool snapshot = snapshot_is(row);

	switch (row->state) {
	case SANDBOX_SNAPPING:
		return snapshot && row->source_attempt && !row->started_at.ns;
	case SANDBOX_KEPT:
		return snapshot && row->started_at.ns && row->cause == CAUSE_NONE;
	case SANDBOX_DISCARDING:
	case SANDBOX_ENDED:
		return true;
	case SANDBOX_NONE:
	case SANDBOX_PLACING:
	case SANDBOX_RUNNING:
	case SANDBOX_ENDING:
	case SANDBOX_PAUSING:
	case SANDBOX_PAUSED:
	case SANDBOX_RESUMING:
	case SANDBOX_STATE_N:
		return !snapshot;
	}
	return false;
}

void sandbox_verify(const struct core *core, const struct sandbox *sandbox)
{
	const struct core_sandbox *row = &sandbox->row;
	const struct node *node = &core->nodes[sandbox->node];

	CHECK(row->state > SANDBOX_NONE && row->state < SANDBOX_STATE_N);
	CHECK(id_equal(&row->node, &node->row.id));
	CHECK(row->attempt != 0 && row->incarnation != 0);
	CHECK(snapshot_may_be(row));
	CHECK(row->state != SANDBOX_RESUMING || row->saved_attempt != 0);
	CHECK(row->saved_attempt == 0 || row->state == SANDBOX_RESUMING ||
	      row->state == SANDBOX_ENDING || row->state == SANDBOX_ENDED);
	CHECK(row->state == SANDBOX_PAUSED || (row->state == SANDBOX_PAUSING) == (row->save != 0));
	CHECK(row->tries >= 1 && row->tries <= CORE_TRIES_MAX);
	CHECK(!sandbox->waits || (row->state == SANDBOX_PLACING && row->from_attempt));
	CHECK(row->deadline_known <= row->deadline_version);
	CHECK(row->state != SANDBOX_RUNNING || row->cause == CAUSE_NONE);
	CHECK(row->state != SANDBOX_PAUSED || row->cause == CAUSE_NONE);
	CHECK(row->state != SANDBOX_ENDING || row->cause != CAUSE_NONE);
	CHECK(row->state != SANDBOX_DISCARDING || row->cause != CAUSE_NONE);
	CHECK(!sandbox->create_request || row->state == SANDBOX_PLACING ||
	      row->state == SANDBOX_RESUMING || row->state == SANDBOX_PAUSED);
	CHECK(!sandbox->confirm_request || row->state == SANDBOX_ENDING ||
	      row->state == SANDBOX_DISCARDING || row->state == SANDBOX_PAUSING ||
	      row->state == SANDBOX_RUNNING || row->state == SANDBOX_SNAPPING);
	CHECK(!sandbox->confirm_request || list_is_linked(&sandbox->timer_link));
	CHECK(!list_is_linked(&sandbox->timer_link) || sandbox->confirm_request ||
	      row->state == SANDBOX_PLACING || row->state == SANDBOX_RESUMING ||
	      (row->state == SANDBOX_PAUSED && sandbox->create_request));
}

/* Whoever waits for it to run waits for it to go on, and knows it. */
static bool is_to_go_on(const struct sandbox *sandbox)
{
	return sandbox->row.state == SANDBOX_RESUMING || sandbox->row.state == SANDBOX_PAUSED;
}

static void start_timer(struct core *core, struct sandbox *sandbox, struct list *timers)
{
	sandbox->timer_at = core->now;
	list_append(timers, &sandbox->timer_link);
}

void sandbox_sit(struct core *core, struct sandbox *sandbox, uint32_t node)
{
	sandbox->node = node;
	sandbox->row.node = core->nodes[node].row.id;
	list_remove(&sandbox->node_link);
	list_append(&core->nodes[node].sandboxes, &sandbox->node_link);
}

static void hold(struct core *core, struct sandbox *sandbox)
{
	quota_take(&core->tenants[sandbox->tenant], &sandbox->row);
	place_take_room(core, &core->nodes[sandbox->node], &sandbox->row);
}

static void give_back(struct core *core, struct sandbox *sandbox)
{
	quota_give(&core->tenants[sandbox->tenant], &sandbox->row);
	place_give_room(core, &core->nodes[sandbox->node], &sandbox->row);
}

void sandbox_move(struct core *core, struct sandbox *sandbox, enum sandbox_state to)
{
	enum sandbox_state from = sandbox->row.state;

	CHECK(edge_exists(from, to));
	core->state_n[from] -= from != SANDBOX_NONE;
	core->state_n[to] += to != SANDBOX_ENDED;
	sandbox->row.state = to;
	core->tenants[sandbox->tenant].snapshots_n += snapshot_counts(&sandbox->row, to);
	core->tenants[sandbox->tenant].snapshots_n -= snapshot_counts(&sandbox->row, from);
	list_remove(&sandbox->timer_link);
	sandbox->waits = sandbox->waits && to == SANDBOX_PLACING;
	if (sandbox_holds(to) && !sandbox_holds(from))
		hold(core, sandbox);
	else if (!sandbox_holds(to) && sandbox_holds(from))
		give_back(core, sandbox);
	if (to == SANDBOX_PLACING || to == SANDBOX_RESUMING)
		start_timer(core, sandbox, sandbox->waits ? &core->copy_waits : &core->attempts);
	else if (sandbox->confirm_request)
		start_timer(core, sandbox, &core->confirms);
	if (to == SANDBOX_ENDED)
		list_remove(&sandbox->node_link);
	dispatch_refresh(core, sandbox);
	sandbox_verify(core, sandbox);
}

uint64_t sandbox_attempt(struct core *core)
{
	CHECK(core->attempts_n < UINT32_MAX);
	return wire_attempt(core->epoch, ++core->attempts_n);
}

static void open_attempt(struct core *core, struct sandbox *sandbox)
{
	sandbox->row.attempt = sandbox_attempt(core);
	sandbox->row.tries++;
	if (!sandbox->row.from_attempt)
		place_take_warm(core, &core->nodes[sandbox->node], sandbox->row.template_);
	sandbox_move(core, sandbox, SANDBOX_PLACING);
	effect_save_sandbox(core, sandbox);
}

static struct sandbox *sandbox_add(struct core *core, const struct core_sandbox *row,
				   uint32_t tenant)
{
	uint32_t slot = pool_take(&core->sandbox_pool);
	struct sandbox *sandbox;

	CHECK(slot != POOL_NONE);
	sandbox = &core->sandboxes[slot];
	sandbox->row = *row;
	sandbox->tenant = tenant;
	index_add(&core->sandbox_index, slot);
	if (snapshot_copy_is(row))
		list_append(&core->copies, &sandbox->copy_link);
	return sandbox;
}

static struct sandbox *snap(struct core *core, const struct core_sandbox *row, uint32_t tenant,
			    uint32_t node)
{
	struct sandbox *sandbox = sandbox_add(core, row, tenant);

	sandbox_sit(core, sandbox, node);
	sandbox_move(core, sandbox, SANDBOX_SNAPPING);
	return sandbox;
}

struct sandbox *sandbox_snap(struct core *core, const struct core_sandbox *row, uint32_t tenant,
			     uint32_t node)
{
	struct sandbox *sandbox = snap(core, row, tenant, node);

	effect_save_sandbox(core, sandbox);
	return sandbox;
}

struct sandbox *sandbox_copy(struct core *core, const struct core_sandbox *row, uint32_t tenant,
			     uint32_t node)
{
	struct sandbox *sandbox = snap(core, row, tenant, node);

	effect_add(core, CORE_EFFECT_ADOPT_SANDBOX)->sandbox = sandbox->row;
	return sandbox;
}

struct sandbox *sandbox_place(struct core *core, const struct core_sandbox *row, uint32_t tenant,
			      uint32_t node, bool waits, uint64_t request)
{
	struct sandbox *sandbox = sandbox_add(core, row, tenant);

	sandbox->create_request = request;
	sandbox->waits = waits;
	sandbox_sit(core, sandbox, node);
	open_attempt(core, sandbox);
	return sandbox;
}

void sandbox_load(struct core *core, const struct core_sandbox *row)
{
	const struct tenant *tenant = find_tenant(core, row->tenant.text);
	struct node *node = find_node(core, row->node.text);
	struct sandbox *sandbox;

	CHECK(tenant && node);
	CHECK(row->state != SANDBOX_NONE && row->state != SANDBOX_ENDED);
	sandbox = sandbox_add(core, row, (uint32_t)(tenant - core->tenants));
	sandbox_sit(core, sandbox, (uint32_t)(node - core->nodes));
	if (sandbox_holds(row->state))
		hold(core, sandbox);
	core->tenants[sandbox->tenant].snapshots_n += snapshot_counts(row, row->state);
	core->state_n[row->state]++;
	sandbox_verify(core, sandbox);
}

/*
 * One of several that led once had given its create up, for want of an answer.  Others have led
 * since, and may have granted it (its key finds what the log started): so it runs, or never began,
 * as the log will say.  A kill that somebody asked for stays wanted; a pause does not, since others
 * have answered for it that it runs.
 */
static void take_up_again(struct core *core, struct sandbox *sandbox)
{
	struct core_sandbox *row = &sandbox->row;

	/* What was to be moved stays, unless the log says otherwise. */
	if (row->state == SANDBOX_PAUSED)
		row->save = 0;
	if (row->state == SANDBOX_PAUSING) {
		core->state_n[row->state]--;
		row->state = SANDBOX_RUNNING;
		row->save = 0;
		core->state_n[row->state]++;
	}
	if (row->state != SANDBOX_ENDING || row->cause != CAUSE_PLATFORM ||
	    row->refusal == REFUSAL_NONE)
		return;
	core->state_n[row->state]--;
	row->state = row->started_at.ns ? SANDBOX_RUNNING : SANDBOX_PLACING;
	core->state_n[row->state]++;
	row->cause = CAUSE_NONE;
	row->refusal = REFUSAL_NONE;
}

/*
 * Alone, a claim is given again: nobody waits for it, but its caller may repeat the request. One of
 * several leaves it to the node's log, since others may have led in between.
 */
void sandbox_boot(struct core *core, struct sandbox *sandbox)
{
	if (core->role == CORE_STANDBY)
		take_up_again(core, sandbox);
	if ((sandbox->row.state == SANDBOX_PLACING || sandbox->row.state == SANDBOX_RESUMING) &&
	    core->role == CORE_ALONE)
		start_timer(core, sandbox, &core->attempts);
	dispatch_queue(core, sandbox);
}

struct sandbox *sandbox_adopt(struct core *core, const struct core_sandbox *row, uint32_t tenant,
			      uint32_t node)
{
	struct sandbox *sandbox = sandbox_add(core, row, tenant);

	sandbox->row.state = SANDBOX_NONE;
	sandbox_sit(core, sandbox, node);
	sandbox_move(core, sandbox, row->state);
	effect_add(core, CORE_EFFECT_ADOPT_SANDBOX)->sandbox = sandbox->row;
	return sandbox;
}

void sandbox_await(struct core *core, struct sandbox *sandbox, uint64_t request)
{
	sandbox_confirm(core, sandbox, REFUSAL_UNCONFIRMED);
	sandbox->confirm_request = request;
	if (request)
		start_timer(core, sandbox,
			    sandbox->row.state == SANDBOX_PAUSING ||
					    sandbox->row.state == SANDBOX_SNAPPING
				    ? &core->pauses
				    : &core->confirms);
}

void sandbox_confirm(struct core *core, struct sandbox *sandbox, enum refusal refusal)
{
	uint64_t request = sandbox->confirm_request;

	if (!request)
		return;
	sandbox->confirm_request = 0;
	list_remove(&sandbox->timer_link);
	effect_reply(core, request, refusal, refusal == REFUSAL_SANDBOX_UNKNOWN ? NULL : sandbox);
}

void sandbox_place_again(struct core *core, struct sandbox *sandbox, uint32_t node)
{
	CHECK(sandbox->row.state == SANDBOX_PLACING);
	sandbox->refused_by[sandbox->row.tries - 1] = sandbox->node;
	place_give_room(core, &core->nodes[sandbox->node], &sandbox->row);
	sandbox_sit(core, sandbox, node);
	open_attempt(core, sandbox);
	place_take_room(core, &core->nodes[node], &sandbox->row);
}

void sandbox_answer(struct core *core, struct sandbox *sandbox, enum refusal refusal)
{
	uint64_t request = sandbox->create_request;

	sandbox->create_request = 0;
	effect_reply(core, request, refusal, sandbox);
}

void sandbox_wait_for_move(struct core *core, struct sandbox *sandbox, uint64_t request)
{
	CHECK(sandbox->row.state == SANDBOX_PAUSED && !sandbox->create_request);
	sandbox->create_request = request;
	start_timer(core, sandbox, &core->attempts);
}

void sandbox_run(struct core *core, struct sandbox *sandbox)
{
	uint64_t request = sandbox->create_request;

	sandbox->create_request = 0;
	sandbox->row.saved_attempt = 0;
	sandbox_move(core, sandbox, SANDBOX_RUNNING);
	effect_save_sandbox(core, sandbox);
	effect_reply(core, request, REFUSAL_NONE, sandbox);
}

void sandbox_end(struct core *core, struct sandbox *sandbox, enum cause cause)
{
	uint64_t request = sandbox->create_request;
	bool resumes = is_to_go_on(sandbox);

	sandbox->create_request = 0;
	sandbox_confirm(core, sandbox, REFUSAL_SANDBOX_UNKNOWN); /* a limit, a pause: too late */
	sandbox->row.cause = cause;
	sandbox->row.save = 0;
	sandbox_move(core, sandbox,
		     sandbox->row.state == SANDBOX_PAUSED ? SANDBOX_DISCARDING : SANDBOX_ENDING);
	effect_save_sandbox(core, sandbox);
	effect_reply(core, request, resumes ? REFUSAL_SANDBOX_UNKNOWN : sandbox->row.refusal,
		     sandbox);
}

void sandbox_finish(struct core *core, struct sandbox *sandbox)
{
	uint32_t slot = (uint32_t)(sandbox - core->sandboxes);
	uint64_t create = sandbox->create_request, kill = 0;
	struct core_sandbox row;
	bool resumes = is_to_go_on(sandbox);

	sandbox->create_request = 0;
	sandbox->row.save = 0;
	if (sandbox->row.state == SANDBOX_ENDING || sandbox->row.state == SANDBOX_DISCARDING) {
		kill = sandbox->confirm_request;
		sandbox->confirm_request = 0;
	}
	sandbox_confirm(core, sandbox, REFUSAL_SANDBOX_UNKNOWN);
	sandbox_move(core, sandbox, SANDBOX_ENDED);
	effect_save_sandbox(core, sandbox);
	effect_reply(core, create, resumes ? REFUSAL_SAVED_GONE : sandbox->row.refusal, sandbox);
	effect_reply(core, kill, REFUSAL_NONE, sandbox);
	row = sandbox->row;
	list_remove(&sandbox->copy_link);
	index_remove(&core->sandbox_index, slot);
	pool_give(&core->sandbox_pool, slot);
	memset(sandbox, 0, sizeof(*sandbox));
	move_ended(core, &row);
	snapshot_copy_given_up(core, &row);
}
