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

static bool holds_room(enum sandbox_state state)
{
	switch (state) {
	case SANDBOX_PLACING:
	case SANDBOX_RUNNING:
	case SANDBOX_ENDING:
		return true;
	case SANDBOX_NONE:
	case SANDBOX_ENDED:
	case SANDBOX_STATE_N:
		return false;
	}
	return false;
}

void sandbox_verify(const struct core *core, const struct sandbox *sandbox)
{
	const struct core_sandbox *row = &sandbox->row;
	const struct node *node = &core->nodes[sandbox->node];

	CHECK(holds_room(row->state) || row->state == SANDBOX_ENDED);
	CHECK(id_equal(&row->node, &node->row.id));
	CHECK(row->attempt != 0);
	CHECK(row->tries >= 1 && row->tries <= CORE_TRIES_MAX);
	CHECK(row->deadline_known <= row->deadline_version);
	CHECK(row->state != SANDBOX_RUNNING || row->cause == CAUSE_NONE);
	CHECK(row->state != SANDBOX_ENDING || row->cause != CAUSE_NONE);
	CHECK(!sandbox->create_request || row->state == SANDBOX_PLACING);
	CHECK(!sandbox->kill_request || row->state == SANDBOX_ENDING);
	CHECK(list_is_linked(&sandbox->timer_link) ==
	      (row->state == SANDBOX_PLACING || sandbox->kill_request != 0));
}

static void start_timer(struct core *core, struct sandbox *sandbox, struct list *timers)
{
	sandbox->timer_at = core->now;
	list_append(timers, &sandbox->timer_link);
}

static void sandbox_move(struct core *core, struct sandbox *sandbox, enum sandbox_state to)
{
	enum sandbox_state from = sandbox->row.state;

	CHECK(edge_exists(from, to));
	core->state_n[from] -= from != SANDBOX_NONE;
	core->state_n[to] += to != SANDBOX_ENDED;
	sandbox->row.state = to;
	list_remove(&sandbox->timer_link);
	switch (to) {
	case SANDBOX_PLACING:
		start_timer(core, sandbox, &core->attempts);
		break;
	case SANDBOX_ENDING:
		if (sandbox->kill_request)
			start_timer(core, sandbox, &core->kills);
		break;
	case SANDBOX_ENDED:
		quota_give(&core->tenants[sandbox->tenant], &sandbox->row);
		place_give_room(core, &core->nodes[sandbox->node], &sandbox->row);
		break;
	case SANDBOX_NONE:
	case SANDBOX_RUNNING:
	case SANDBOX_STATE_N:
		break;
	}
	dispatch_refresh(core, sandbox);
	sandbox_verify(core, sandbox);
}

static void open_attempt(struct core *core, struct sandbox *sandbox, uint32_t slot)
{
	struct node *node = &core->nodes[slot];

	CHECK(core->attempts_n < UINT32_MAX);
	sandbox->node = slot;
	sandbox->row.node = node->row.id;
	sandbox->row.attempt = core->epoch << 32 | ++core->attempts_n;
	sandbox->row.tries++;
	place_take_warm(core, node, sandbox->row.template_);
	place_take_room(core, node, &sandbox->row);
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
	quota_take(&core->tenants[tenant], row);
	return sandbox;
}

struct sandbox *sandbox_place(struct core *core, const struct core_sandbox *row, uint32_t tenant,
			      uint32_t node, uint64_t request)
{
	struct sandbox *sandbox = sandbox_add(core, row, tenant);

	sandbox->create_request = request;
	open_attempt(core, sandbox, node);
	return sandbox;
}

void sandbox_load(struct core *core, const struct core_sandbox *row)
{
	const struct tenant *tenant = find_tenant(core, row->tenant.text);
	struct node *node = find_node(core, row->node.text);
	struct sandbox *sandbox;

	CHECK(tenant && node);
	CHECK(holds_room(row->state));
	sandbox = sandbox_add(core, row, (uint32_t)(tenant - core->tenants));
	sandbox->node = (uint32_t)(node - core->nodes);
	place_take_room(core, node, row);
	core->state_n[row->state]++;
	/* Nobody waits for it, but its caller may repeat the request: the claim is given again. */
	if (row->state == SANDBOX_PLACING)
		start_timer(core, sandbox, &core->attempts);
	dispatch_refresh(core, sandbox);
	sandbox_verify(core, sandbox);
}

void sandbox_place_again(struct core *core, struct sandbox *sandbox, uint32_t node)
{
	CHECK(sandbox->row.state == SANDBOX_PLACING);
	sandbox->refused_by[sandbox->row.tries - 1] = sandbox->node;
	place_give_room(core, &core->nodes[sandbox->node], &sandbox->row);
	open_attempt(core, sandbox, node);
}

void sandbox_run(struct core *core, struct sandbox *sandbox)
{
	uint64_t request = sandbox->create_request;

	sandbox->create_request = 0;
	sandbox_move(core, sandbox, SANDBOX_RUNNING);
	effect_save_sandbox(core, sandbox);
	effect_reply(core, request, REFUSAL_NONE, sandbox);
}

void sandbox_end(struct core *core, struct sandbox *sandbox, enum cause cause)
{
	uint64_t request = sandbox->create_request;

	sandbox->create_request = 0;
	sandbox->row.cause = cause;
	sandbox_move(core, sandbox, SANDBOX_ENDING);
	effect_save_sandbox(core, sandbox);
	effect_reply(core, request, sandbox->row.refusal, sandbox);
}

void sandbox_finish(struct core *core, struct sandbox *sandbox)
{
	uint32_t slot = (uint32_t)(sandbox - core->sandboxes);
	uint64_t create = sandbox->create_request, kill = sandbox->kill_request;

	sandbox->create_request = sandbox->kill_request = 0;
	sandbox_move(core, sandbox, SANDBOX_ENDED);
	effect_save_sandbox(core, sandbox);
	effect_reply(core, create, sandbox->row.refusal, sandbox);
	effect_reply(core, kill, REFUSAL_NONE, sandbox);
	index_remove(&core->sandbox_index, slot);
	pool_give(&core->sandbox_pool, slot);
	memset(sandbox, 0, sizeof(*sandbox));
}
