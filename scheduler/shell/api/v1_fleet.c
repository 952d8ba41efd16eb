/* What operators may ask below /v1 about sandboxes; and the templates, which tenants may too. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "proto/reasons.h"

#include <string.h>

/* ---- templates ---- */

static json_t *template_json(struct core *core, const struct core_template *template_)
{
	struct id id = api_template_id(template_->name);
	uint32_t cursor = 0, nodes_n = 0;
	uint64_t warm_n = 0;
	struct core_node_view view;

	while (core_node_next(core, &cursor, &view)) {
		for (uint32_t i = 0; i < view.template_n; i++) {
			if (view.templates[i].template_ != template_ || !view.templates[i].current)
				continue;
			nodes_n++;
			warm_n += view.awake ? view.templates[i].warm_n : 0;
		}
	}
	return json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I}", "templateID", id.text, "name",
			 template_->name, "vcpus", (json_int_t)template_->vcpus, "memoryMiB",
			 (json_int_t)template_->mem_mib, "diskMiB", (json_int_t)template_->disk_mib,
			 "nodes", (json_int_t)nodes_n, "warm", (json_int_t)warm_n);
}

void api_template_list(struct api_call *call)
{
	const struct core_template *at;
	uint32_t cursor = 0;
	json_t *rows;

	if (!api_needs_engine(call))
		return;
	rows = json_array();
	/* Builds of tenants are the operators' business, and their tenants see them as templates.
	 */
	while ((at = core_template_next(engine_core(call->api->engine), &cursor)) != NULL)
		if (call->is_operator || !template_name_is_builds(at->name))
			json_array_append_new(rows,
					      template_json(engine_core(call->api->engine), at));
	api_answer(call, rows);
}

/* ---- every tenant's sandboxes ---- */

static json_t *fleet_row(struct api_call *call, const struct store_sandbox *sandbox)
{
	const struct core_sandbox *row = &sandbox->row;

	(void)call;
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:o,s:o,s:o}", "sandboxID", row->id.text,
			 "tenantID", row->tenant.text, "nodeID", row->node.text, "template",
			 row->template_, "state", sandbox_state_name(row->state), "cause",
			 row->cause == CAUSE_NONE ? "" : cause_info(row->cause)->name, "vcpus",
			 (json_int_t)row->vcpus, "memoryMiB", (json_int_t)row->mem_mib, "createdAt",
			 api_time(row->created_at.ns), "startedAt", api_time(row->started_at.ns),
			 "endAt", api_time(row->end_at.ns));
}

static bool fleet_rows(struct api_call *call, const struct api_cursor *after, json_t *rows,
		       struct err *err)
{
	const struct api_page page = {
		.statement = STORE_READ_SANDBOXES_ALL,
		.limit = api_int(call->query, "limit", 1000),
		.is_by_creation = true,
		.row_json = fleet_row,
	};

	return api_page_rows(call, &page,
			     SQL(SQL_TEXT(api_text(call->query, "tenant")), SQL_INT(after->at_ns),
				 SQL_TEXT(after->id.text), SQL_INT(page.limit + 1)),
			     rows, err);
}

void api_fleet_list(struct api_call *call)
{
	const char *token = api_text(call->query, "nextToken");
	struct api_cursor after = {.at_ns = INT64_MAX};
	struct err err;
	json_t *rows;

	if (token && token[0] && !api_cursor_parse(token, &after)) {
		api_fail(call, 400, "invalid_request", "",
			 "nextToken: is not one that was given out");
		return;
	}
	rows = json_array();
	if (fleet_rows(call, &after, rows, &err)) {
		api_answer(call, rows);
		return;
	}
	json_decref(rows);
	api_fail_store(call, &err);
}
