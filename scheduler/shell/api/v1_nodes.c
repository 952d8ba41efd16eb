/* Nodes: what operators see of them, and what they decide: no new work there, or given up as lost.
 */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "proto/reasons.h"

#include <stdio.h>
#include <string.h>

static json_t *room_json(const struct wire_room *room)
{
	return json_pack("{s:I,s:I,s:I}", "vcpus", (json_int_t)room->vcpus, "memoryMiB",
			 (json_int_t)room->mem_mib, "sandboxes", (json_int_t)room->sandboxes);
}

/* The first that keeps new sandboxes away. */
static const char *node_state(const struct core_node_view *view)
{
	if (view->lost)
		return "lost";
	if (view->row.cordoned)
		return "cordoned";
	if (!view->awake)
		return "silent";
	if (!view->joined)
		return "joining";
	if (view->leaving)
		return "leaving";
	return view->trouble[0] ? "troubled" : "ready";
}

static json_t *node_json(struct api_call *call, const struct core_node_view *view)
{
	const struct api_options *options = &call->api->options;
	json_t *templates = json_array();

	for (uint32_t i = 0; i < view->template_n; i++)
		if (view->templates[i].current)
			json_array_append_new(templates,
					      json_pack("{s:s,s:I}", "name",
							view->templates[i].template_->name, "warm",
							(json_int_t)view->templates[i].warm_n));
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:o}", "nodeID", view->row.id.text,
			 "name", view->row.name, "state", node_state(view), "trouble",
			 view->trouble, "version",
			 options->node_version(options->data, &view->row.id), "lastSeenAt",
			 api_time(engine_wall_of(view->heard_at).ns), "capacity",
			 room_json(&view->row.capacity), "committed", room_json(&view->used),
			 "templates", templates);
}

void api_node_list(struct api_call *call)
{
	struct core_node_view view;
	uint32_t cursor = 0;
	json_t *rows;

	if (!api_needs_engine(call))
		return;
	rows = json_array();
	while (core_node_next(engine_core(call->api->engine), &cursor, &view))
		json_array_append_new(rows, node_json(call, &view));
	api_answer(call, rows);
}

static json_t *transfer_json(const struct core_transfer_view *view)
{
	const char *state = view->offered ? "copying" : "preparing";

	if (view->refusal != REFUSAL_NONE)
		state = "failed";
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:o,s:o}", "template", view->template_,
			 "sandboxID", view->sandbox.text, "fromNodeID", view->from.text, "toNodeID",
			 view->to.text, "state", state, "refusal",
			 view->refusal == REFUSAL_NONE ? "" : refusal_info(view->refusal)->name,
			 "bytes", (json_int_t)view->bytes, "doneBytes",
			 (json_int_t)view->done_bytes, "startedAt",
			 api_time(engine_wall_of(view->began_at).ns), "endedAt",
			 api_time(engine_wall_of(view->ended_at).ns));
}

void api_transfer_list(struct api_call *call)
{
	struct core_transfer_view view;
	uint32_t cursor = 0;
	json_t *rows;

	if (!api_needs_engine(call))
		return;
	rows = json_array();
	while (core_transfer_next(engine_core(call->api->engine), &cursor, &view))
		json_array_append_new(rows, transfer_json(&view));
	cursor = 0;
	while (core_transfer_failed_next(engine_core(call->api->engine), &cursor, &view))
		json_array_append_new(rows, transfer_json(&view));
	api_answer(call, rows);
}

/* The node of the path, and what is decided of it so far. False: the call is ended. */
static bool node_of(struct api_call *call, struct store_node *out_node, struct store_op *out_op)
{
	struct err err;
	struct id id;
	int got = 0;

	if (!api_needs_engine(call))
		return false;
	if (id_parse(call->parameter, strlen(call->parameter), &id))
		got = store_node_find(call->api->store, &id, out_node, &err);
	if (got < 0)
		api_fail_store(call, &err);
	else if (got == 0)
		api_fail(call, 404, "node_unknown", "", "There is no node '%s'", call->parameter);
	if (got != 1)
		return false;
	*out_op = (struct store_op){.kind = STORE_OP_NODE_SET};
	out_op->node_set.id = id;
	snprintf(out_op->node_set.name, sizeof(out_op->node_set.name), "%s", out_node->row.name);
	out_op->node_set.cordoned = out_node->row.cordoned;
	out_op->node_set.lost_below = out_node->row.lost_below;
	out_op->node_set.lost_at_ns = out_node->lost_at_ns;
	return true;
}

static json_t *decided_json(const struct store_node_set *set)
{
	return json_pack("{s:s,s:s,s:b}", "nodeID", set->id.text, "name", set->name, "cordoned",
			 set->cordoned);
}

static void node_set_cordoned(struct api_call *call, bool cordoned)
{
	struct store_node node;
	struct store_op op;

	if (!node_of(call, &node, &op))
		return;
	op.node_set.cordoned = cordoned;
	api_decide(call, &op, decided_json(&op.node_set));
}

void api_node_cordon(struct api_call *call)
{
	node_set_cordoned(call, true);
}

void api_node_uncordon(struct api_call *call)
{
	node_set_cordoned(call, false);
}

static void fail_alive(struct api_call *call, const struct core_node_view *view)
{
	if (view->awake)
		api_fail(call, 409, "node_alive", "",
			 "The node is heard of: only one that is silent can be declared lost");
	else
		api_fail(
			call, 409, "lease_runs", "",
			"What the node runs may still run: its lease is not over yet, counted from "
			"when the node was last heard of, or the leader began");
}

void api_node_lose(struct api_call *call)
{
	struct core *core = engine_core(call->api->engine);
	struct core_node_view view;
	struct store_node node;
	struct store_op op;

	if (!node_of(call, &node, &op))
		return;
	if (!core_node_find(core, &op.node_set.id, &view)) {
		api_refuse(call, REFUSAL_STORE_UNAVAILABLE);
		return;
	}
	op.node_set.lost_below = core_lost_below(core, &op.node_set.id);
	op.node_set.lost_at_ns = engine_wall().ns;
	if (op.node_set.lost_below)
		api_decide(call, &op, decided_json(&op.node_set));
	else
		fail_alive(call, &view);
}
