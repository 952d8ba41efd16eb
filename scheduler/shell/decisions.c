#include "scheduler/shell/decisions.h"

#include "common/base/check.h"
#include "common/io/log.h"

#include <stdlib.h>

/* ---- what the core and the bus hear of a decision that is durable ---- */

static void tell_tenant(struct decisions *decisions, const struct id *id)
{
	struct core_event event = {.kind = CORE_EVENT_TENANT_SET};
	struct store_tenant tenant;
	struct err err;
	int got = store_tenant_find(engine_store(decisions->engine), id, &tenant, &err);

	if (got < 0)
		log_error("store", "cannot read a tenant", LOG_ERR(&err));
	if (got != 1)
		return;
	store_tenant_core(&tenant, &event.tenant);
	engine_step(decisions->engine, &event);
}

static void tell_node(struct decisions *decisions, const struct id *id)
{
	struct core_event event = {.kind = CORE_EVENT_NODE_SET};
	struct store_node node;
	struct err err;
	int got = store_node_find(engine_store(decisions->engine), id, &node, &err);

	if (got < 0)
		log_error("store", "cannot read a node", LOG_ERR(&err));
	if (got != 1)
		return;
	event.node = node.row;
	engine_step(decisions->engine, &event);
	decisions->on_node(decisions->data, &node);
}

static void tell(struct decisions *decisions, const struct store_op *op)
{
	switch (op->kind) {
	case STORE_OP_TENANT:
		tell_tenant(decisions, &op->tenant.id);
		break;
	case STORE_OP_NODE:
		tell_node(decisions, &op->node.id);
		break;
	case STORE_OP_NODE_SET:
		tell_node(decisions, &op->node_set.id);
		break;
	case STORE_OP_KEY:
	case STORE_OP_TOKEN:
	case STORE_OP_PLAN:
	case STORE_OP_PRICE:
	case STORE_OP_TEMPLATE:
	case STORE_OP_BUILD:
	case STORE_OP_TAG:
	case STORE_OP_SECRET:
	case STORE_OP_VOLUME:
	case STORE_OP_REVISION:
	case STORE_OP_EPOCH:
	case STORE_OP_PROBE:
	case STORE_OP_SANDBOX_NEW:
	case STORE_OP_SANDBOX_ADOPT:
	case STORE_OP_NETWORK:
	case STORE_OP_EFFECT:
		break;
	}
}

static void write_op(struct decisions *decisions, const struct store_op *op)
{
	struct store_op *row = engine_write(decisions->engine, op->kind);
	int64_t wall_ns = op->wall_ns ? op->wall_ns : row->wall_ns;

	store_op_copy(row, op);
	row->wall_ns = wall_ns;
}

/* ---- one scheduler ---- */

struct decision {
	struct decisions *decisions;
	struct store_op op; /* without texts of its own: only who is meant is looked at */
	decisions_cb cb;
	void *data;
};

static void on_told(void *data, bool durable)
{
	struct decision *decision = data;

	(void)durable; /* the decision is; what follows from it is derived again */
	decision->cb(decision->data, REFUSAL_NONE);
	free(decision);
}

/* What follows from it (a lost node's sandboxes end) is durable too when it is answered. */
static void on_durable(void *data, bool durable)
{
	struct decision *decision = data;

	if (durable) {
		tell(decision->decisions, &decision->op);
		engine_then(decision->decisions->engine, on_told, decision);
		return;
	}
	decision->cb(decision->data, REFUSAL_STORE_UNAVAILABLE);
	free(decision);
}

void decisions_make(struct decisions *decisions, const struct store_op *op, decisions_cb cb,
		    void *data)
{
	struct store_op copy = *op;
	struct decision *decision;

	copy.wall_ns = engine_wall().ns;
	if (decisions->ha) {
		ha_decide(decisions->ha, &copy, cb, data);
		return;
	}
	if (decisions->is_replica || !engine_is_available(decisions->engine)) {
		cb(data, REFUSAL_STORE_UNAVAILABLE);
		return;
	}
	decision = calloc(1, sizeof(*decision));
	CHECK(decision);
	*decision = (struct decision){decisions, copy, cb, data};
	write_op(decisions, &copy);
	engine_then(decisions->engine, on_durable, decision);
}

/* ---- several ---- */

struct application {
	struct decisions *decisions;
	uint32_t ha_generation; /* of who gave them; there may be another one now */
	const struct store_op *ops;
	size_t n;
};

static bool is_current(const struct application *application)
{
	const struct decisions *decisions = application->decisions;

	return decisions->ha && decisions->ha_generation == application->ha_generation;
}

static void on_all_told(void *data, bool durable)
{
	struct application *application = data;

	(void)durable; /* the decisions are */
	if (is_current(application))
		ha_applied(application->decisions->ha, true);
	free(application);
}

static void on_applied(void *data, bool durable)
{
	struct application *application = data;
	struct decisions *decisions = application->decisions;

	if (durable && is_current(application)) {
		for (size_t i = 0; i < application->n; i++)
			tell(decisions, &application->ops[i]);
		engine_then(decisions->engine, on_all_told, application);
		return;
	}
	if (is_current(application))
		ha_applied(decisions->ha, false);
	free(application);
}

void decisions_apply(struct decisions *decisions, const struct store_op *ops, size_t n,
		     uint64_t revision)
{
	struct application *application;

	if (!engine_is_available(decisions->engine)) {
		ha_applied(decisions->ha, false);
		return;
	}
	application = calloc(1, sizeof(*application));
	CHECK(application);
	*application = (struct application){decisions, decisions->ha_generation, ops, n};
	for (size_t i = 0; i < n; i++)
		write_op(decisions, &ops[i]);
	engine_write(decisions->engine, STORE_OP_REVISION)->revision = revision;
	engine_then(decisions->engine, on_applied, application);
}
