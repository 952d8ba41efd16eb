/* What a tenant may ask below /v1: usage and limits. */
#include "scheduler/shell/api/call.h"

#include "proto/reasons.h"
#include "scheduler/ledger/rate.h"

#include <string.h>

static json_t *money(int64_t nano)
{
	char text[RATE_MONEY_TEXT_MAX];

	rate_format_money(nano, text);
	return json_string(text);
}

static json_t *price(struct api_call *call, uint32_t version, enum meter meter)
{
	char text[RATE_MONEY_TEXT_MAX];
	int64_t nano;

	if (sqlite_get_int(store_reader(call->api->store), STORE_READ_PRICE,
			   SQL(SQL_INT(version), SQL_INT(meter)), 0, &nano, NULL))
		nano = 0;
	rate_format_price(nano, text);
	return json_string(text);
}

/* 1, or the call is ended. */
static bool tenant_of(struct api_call *call, struct store_tenant *out)
{
	struct err err;
	int got = store_tenant_find(call->api->store, &call->tenant, out, &err);

	if (got < 0)
		api_fail_store(call, &err);
	else if (got == 0)
		api_fail(call, 404, "tenant_unknown", "", "There is no such tenant");
	return got == 1;
}

void api_limits(struct api_call *call)
{
	struct core_tenant_view view = {0};
	struct store_tenant tenant;

	if (!api_needs_engine(call) || !tenant_of(call, &tenant))
		return;
	core_tenant_find(engine_core(call->api->engine), &call->tenant, &view);
	api_answer(call,
		   json_pack("{s:s,s:{s:I,s:I},s:I,s:o,s:o,s:o,s:s}", "plan", tenant.plan,
			     "concurrentSandboxes", "limit", (json_int_t)tenant.concurrent_max,
			     "current", (json_int_t)view.concurrent, "maxSessionSeconds",
			     (json_int_t)tenant.session_max_s, "vcpuSecondPrice",
			     price(call, tenant.price_version, METER_VCPU), "gibSecondPrice",
			     price(call, tenant.price_version, METER_MEMORY), "credit",
			     money(tenant.credit_left_nano), "sandboxURL",
			     call->api->options.gateway_url));
}

/* ---- usage ---- */

struct usage_query {
	int64_t from_ns, to_ns;
	const char *from, *to, *sandbox; /* NULL: not given */
	struct api_cursor after;
	int64_t limit;
};

/* False: the call is ended. */
static bool usage_read_query(struct api_call *call, struct usage_query *out)
{
	const char *token = api_text(call->query, "nextToken");
	struct problems problems = {0};

	*out = (struct usage_query){
		.from_ns = INT64_MIN,
		.to_ns = INT64_MAX,
		.from = api_text(call->query, "from"),
		.to = api_text(call->query, "to"),
		.sandbox = api_text(call->query, "sandbox"),
		.after.at_ns = INT64_MAX,
		.limit = api_int(call->query, "limit", 1000),
	};
	if (out->from)
		time_parse(out->from, &out->from_ns);
	if (out->to)
		time_parse(out->to, &out->to_ns);
	if (out->from_ns > out->to_ns)
		problems_add(&problems, "query", "from", "value_error", "should not be after 'to'");
	if (token && token[0] && !api_cursor_parse(token, &out->after))
		problems_add(&problems, "query", "nextToken", "value_error",
			     "is not one that was given out");
	if (problems.n == 0)
		return true;
	api_fail_problems(call, &problems);
	return false;
}

static json_t *usage_line(struct api_call *call, const struct store_sandbox *sandbox)
{
	struct sqlite *reader = store_reader(call->api->store);
	enum store_read statement = STORE_READ_USAGE_SANDBOXES;
	const struct core_sandbox *row = &sandbox->row;
	char gib[RATE_GIB_TEXT_MAX];

	rate_format_gib(sqlite_int(reader, statement, STORE_SANDBOX_COLUMNS + 2), gib);
	return json_pack(
		"{s:s,s:s,s:s,s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:s,s:o,s:s}", "sandboxID", row->id.text,
		"templateID", row->template_, "state", sandbox_state_name(row->state), "startedAt",
		api_time(row->started_at.ns), "endedAt", api_time(row->ended_at.ns), "seconds",
		(json_int_t)sqlite_int(reader, statement, STORE_SANDBOX_COLUMNS), "unbilledSeconds",
		(json_int_t)sqlite_int(reader, statement, STORE_SANDBOX_COLUMNS + 4), "vcpus",
		(json_int_t)row->vcpus, "memoryMiB", (json_int_t)row->mem_mib, "vcpuSeconds",
		(json_int_t)sqlite_int(reader, statement, STORE_SANDBOX_COLUMNS + 1), "gibSeconds",
		gib, "amount", money(sqlite_int(reader, statement, STORE_SANDBOX_COLUMNS + 3)),
		"cause", row->cause == CAUSE_NONE ? "" : cause_info(row->cause)->name);
}

static bool usage_rows(struct api_call *call, const struct usage_query *query, json_t *rows,
		       struct err *err)
{
	const struct api_page page = {
		.statement = STORE_READ_USAGE_SANDBOXES,
		.limit = query->limit,
		.row_json = usage_line,
	};

	return api_page_rows(call, &page,
			     SQL(SQL_TEXT(call->tenant.text), SQL_INT(query->from_ns),
				 SQL_INT(query->to_ns), SQL_TEXT(query->sandbox),
				 SQL_INT(query->after.at_ns), SQL_TEXT(query->after.id.text),
				 SQL_INT(query->limit + 1)),
			     rows, err);
}

void api_usage(struct api_call *call)
{
	struct store_tenant tenant;
	struct usage_query query;
	json_t *rows;
	int64_t total;
	struct err err;

	if (!usage_read_query(call, &query) || !tenant_of(call, &tenant))
		return;
	rows = json_array();
	if (!usage_rows(call, &query, rows, &err) ||
	    sqlite_get_int(store_reader(call->api->store), STORE_READ_USAGE_TOTAL,
			   SQL(SQL_TEXT(call->tenant.text), SQL_INT(query.from_ns),
			       SQL_INT(query.to_ns), SQL_TEXT(query.sandbox)),
			   0, &total, &err)) {
		json_decref(rows);
		api_fail_store(call, &err);
		return;
	}
	api_answer(call, json_pack("{s:s,s:s,s:o,s:o,s:s,s:o,s:o,s:o}", "tenant", tenant.id.text,
				   "currency", "USD", "from",
				   query.from ? json_string(query.from) : json_null(), "to",
				   query.to ? json_string(query.to) : api_time(engine_wall().ns),
				   "rule", RATE_RULE, "total", money(total), "credit_left",
				   money(tenant.credit_left_nano), "sandboxes", rows));
}
