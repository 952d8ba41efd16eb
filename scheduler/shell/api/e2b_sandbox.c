/* One sandbox: look, end, move its time limit, come back to it. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "common/io/log.h"

#include <stdio.h>
#include <string.h>

json_t *api_time(int64_t ns)
{
	char text[TIME_TEXT_MAX];

	if (ns == 0)
		return json_null();
	time_format(ns, text);
	return json_string(text);
}

/* What opens it, and where it is found. Takes over the reference to network. */
static void sandbox_add_access(struct api_call *call, const struct id *id, json_t *json,
			       json_t *network)
{
	const struct api_options *options = &call->api->options;
	char token[ENVD_TOKEN_TEXT_MAX];

	fleet_key_envd_token(&options->secrets->fleet, id, token);
	json_object_set_new(json, "envdAccessToken", json_string(token));
	json_object_set_new(json, "domain",
			    options->domain[0] ? json_string(options->domain) : json_null());
	if (json_is_false(json_object_get(network, "allowPublicTraffic"))) {
		fleet_key_traffic_token(&options->secrets->fleet, id, token);
		json_object_set_new(json, "trafficAccessToken", json_string(token));
	}
	json_decref(network);
}

json_t *api_sandbox_json(struct api_call *call, const struct core_sandbox *row, struct err *err)
{
	struct api_template_label label;
	json_t *json, *network;

	if (api_network_read(call, &row->id, &network, err))
		return NULL;
	api_template_label(call, row->template_, &label);
	json = json_pack("{s:s,s:s,s:s,s:s}", "sandboxID", row->id.text, "templateID",
			 label.id.text, "clientID", API_CLIENT_ID, "envdVersion", API_ENVD_VERSION);
	CHECK(json);
	if (label.alias[0])
		json_object_set_new(json, "alias", json_string(label.alias));
	sandbox_add_access(call, &row->id, json, network);
	return json;
}

void api_answer_sandbox(struct api_call *call, const struct core_sandbox *row)
{
	struct err err;
	json_t *json = api_sandbox_json(call, row, &err);

	if (json)
		api_answer(call, json);
	else
		api_fail_store(call, &err);
}

static bool sandbox_runs(enum sandbox_state state)
{
	return state == SANDBOX_RUNNING || state == SANDBOX_PAUSING;
}

static bool sandbox_is_listed(enum sandbox_state state)
{
	return sandbox_runs(state) || state == SANDBOX_PAUSED || state == SANDBOX_RESUMING;
}

json_t *api_listed_json(struct api_call *call, const struct core_sandbox *row, const char *metadata)
{
	struct api_template_label label;
	json_t *parsed = json_loads(metadata, 0, NULL), *json;

	api_template_label(call, row->template_, &label);
	json = json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:o,s:o,s:s,s:s,s:o}", "sandboxID", row->id.text,
			 "templateID", label.id.text, "clientID", API_CLIENT_ID, "cpuCount",
			 (json_int_t)row->vcpus, "memoryMB", (json_int_t)row->mem_mib, "diskSizeMB",
			 (json_int_t)row->disk_mib, "startedAt", api_time(row->started_at.ns),
			 "endAt", api_time(row->end_at.ns), "state",
			 sandbox_runs(row->state) ? "running" : "paused", "envdVersion",
			 API_ENVD_VERSION, "metadata", parsed ? parsed : json_object());
	CHECK(json);
	if (label.alias[0])
		json_object_set_new(json, "alias", json_string(label.alias));
	api_mounts_add(call, &row->id, json);
	return json;
}

bool api_sandbox_of(struct api_call *call, struct id *out_id)
{
	if (id_parse(call->parameter, strcspn(call->parameter, "-"), out_id))
		return true;
	api_refuse(call, REFUSAL_SANDBOX_UNKNOWN);
	return false;
}

/* What is kept as one is told as two. */
static void sandbox_add_network(struct api_call *call, json_t *json, const json_t *kept)
{
	json_t *access = json_object_get(kept, "allowInternetAccess");
	json_t *network = json_copy((json_t *)kept);

	json_object_set(json, "allowInternetAccess", access ? access : json_null());
	json_object_del(network, "allowInternetAccess");
	api_network_show(call, network);
	if (json_object_size(network))
		json_object_set(json, "network", network);
	json_decref(network);
}

/* NULL: a fault. */
static json_t *sandbox_detail(struct api_call *call, const struct store_sandbox *sandbox,
			      struct err *err)
{
	json_t *json, *network;

	if (api_network_read(call, &sandbox->row.id, &network, err))
		return NULL;
	json = api_listed_json(call, &sandbox->row, sandbox->metadata);
	CHECK(json);
	sandbox_add_network(call, json, network);
	sandbox_add_access(call, &sandbox->row.id, json, network);
	json_object_set_new(json, "lifecycle",
			    json_pack("{s:s,s:b}", "onTimeout",
				      sandbox->row.on_limit == WIRE_ON_LIMIT_END ? "kill" : "pause",
				      "autoResume", sandbox->auto_resume));
	return json;
}

void api_sandbox_get(struct api_call *call)
{
	struct sqlite *reader = store_reader(call->api->store);
	struct store_sandbox sandbox;
	json_t *json = NULL;
	struct err err;
	struct id id;

	if (!api_sandbox_of(call, &id))
		return;
	if (sqlite_bind(reader, STORE_READ_SANDBOX, SQL(SQL_TEXT(id.text)), &err)) {
		api_fail_store(call, &err);
		return;
	}
	int got = sqlite_next(reader, STORE_READ_SANDBOX, &err);
	if (got == 1) {
		store_sandbox_row(call->api->store, STORE_READ_SANDBOX, &sandbox);
		if (sandbox_is_listed(sandbox.row.state) &&
		    (call->is_operator || id_equal(&sandbox.row.tenant, &call->tenant))) {
			json = sandbox_detail(call, &sandbox, &err);
			got = json ? 1 : -1;
		}
		sqlite_reset(reader, STORE_READ_SANDBOX);
	}
	if (got < 0)
		api_fail_store(call, &err);
	else if (json)
		api_answer(call, json);
	else
		api_refuse(call, REFUSAL_SANDBOX_UNKNOWN);
}

/* ---- by way of the core ---- */

bool api_timeout(struct api_call *call, const char *field, uint32_t *out_s)
{
	int64_t seconds = api_int(call->body, field, 0);

	*out_s = seconds < UINT32_MAX ? (uint32_t)seconds : UINT32_MAX; /* longer than any plan's */
	if (seconds > 0)
		return true;
	api_refuse(call, REFUSAL_TIMEOUT_TOO_SHORT);
	return false;
}

static void sandbox_reply_nothing(struct api_call *call, const struct core_effect *reply)
{
	(void)reply;
	api_answer_nothing(call);
}

static void sandbox_reply_sandbox(struct api_call *call, const struct core_effect *reply)
{
	api_answer_sandbox(call, &reply->reply.sandbox);
}

void api_sandbox_kill(struct api_call *call)
{
	struct core_event event = {.kind = CORE_EVENT_KILL};

	if (!api_needs_engine(call) || !api_sandbox_of(call, &event.kill.sandbox))
		return;
	event.kill.tenant = call->tenant;
	event.kill.cause = call->is_operator ? CAUSE_OPERATOR : CAUSE_REQUEST;
	event.kill.request = api_wait(call, sandbox_reply_nothing);
	engine_step(call->api->engine, &event);
}

static void sandbox_move_limit(struct api_call *call, enum core_event_kind kind, const char *field,
			       void (*on_reply)(struct api_call *call,
						const struct core_effect *reply))
{
	struct core_event event = {.kind = kind};

	if (!api_needs_engine(call) || !api_sandbox_of(call, &event.timeout.sandbox))
		return;
	if (!api_timeout(call, field, &event.timeout.timeout_s))
		return;
	event.timeout.tenant = call->tenant;
	event.timeout.cold = json_is_false(json_object_get(call->body, "memory"));
	event.timeout.request = api_wait(call, on_reply);
	engine_step(call->api->engine, &event);
}

void api_sandbox_network(struct api_call *call)
{
	struct core_event event = {.kind = CORE_EVENT_SET_NETWORK};
	const struct core_sandbox *row;
	char *network;

	if (!api_needs_engine(call) || !api_sandbox_of(call, &event.timeout.sandbox))
		return;
	/* What another tenant's is like is not even measured. */
	row = core_sandbox_find(engine_core(call->api->engine), &event.timeout.sandbox);
	if (row && !id_equal(&row->tenant, &call->tenant)) {
		api_refuse(call, REFUSAL_SANDBOX_UNKNOWN);
		return;
	}
	if (!api_network_update(call, &event.timeout.sandbox, &network))
		return;
	event.timeout.tenant = call->tenant;
	event.timeout.request = api_wait(call, sandbox_reply_nothing);
	engine_network(call->api->engine, &event, network);
}

void api_sandbox_timeout(struct api_call *call)
{
	sandbox_move_limit(call, CORE_EVENT_SET_TIMEOUT, "timeout", sandbox_reply_nothing);
}

void api_sandbox_refresh(struct api_call *call)
{
	sandbox_move_limit(call, CORE_EVENT_EXTEND, "duration", sandbox_reply_nothing);
}

void api_sandbox_pause(struct api_call *call)
{
	struct core_event event = {.kind = CORE_EVENT_PAUSE};

	if (!api_needs_engine(call) || !api_sandbox_of(call, &event.pause.sandbox))
		return;
	event.pause.tenant = call->tenant;
	event.pause.how = json_is_false(json_object_get(call->body, "memory"))
				  ? WIRE_SAVE_PAUSE_FILES
				  : WIRE_SAVE_PAUSE;
	event.pause.request = api_wait(call, sandbox_reply_nothing);
	engine_step(call->api->engine, &event);
}

/* E2B tells 201 when it was resumed, and 200 when it ran. */
static void sandbox_on_mounted(struct api_call *call, const struct core_sandbox *row,
			       const char *problem)
{
	/* It runs, and who keeps its volumes goes on trying. */
	if (problem)
		log_warn("api", "a sandbox goes on without its volumes for now",
			 LOG_TEXT("sandbox", row->id.text), LOG_TEXT("why", problem));
	call->status = 201;
	api_answer_sandbox(call, row);
}

static void sandbox_reply_resumed(struct api_call *call, const struct core_effect *reply)
{
	api_mounts_then(call, &reply->reply.sandbox, sandbox_on_mounted);
}

static void sandbox_connect(struct api_call *call)
{
	const struct core_sandbox *row = NULL;
	struct id id;

	/* Decided before the step, in the same turn of the loop: what comes in between is nothing.
	 */
	if (engine_is_available(call->api->engine) &&
	    id_parse(call->parameter, strcspn(call->parameter, "-"), &id))
		row = core_sandbox_find(engine_core(call->api->engine), &id);
	sandbox_move_limit(call, CORE_EVENT_RESUME, "timeout",
			   row && !sandbox_runs(row->state) ? sandbox_reply_resumed
							    : sandbox_reply_sandbox);
}

void api_sandbox_connect_v2(struct api_call *call)
{
	sandbox_connect(call);
}

void api_sandbox_connect(struct api_call *call)
{
	sandbox_connect(call);
}

void api_sandbox_resume(struct api_call *call)
{
	sandbox_move_limit(call, CORE_EVENT_RESUME, "timeout", sandbox_reply_resumed);
}

/* ---- for the gateway ---- */

enum { WAKE_LEAST_S = 300 }; /* as E2B has it */

/* How long it may run once it goes on; 0: it is not to go on by itself; negative: a fault. */
static int64_t wake_timeout_s(struct api_call *call, const struct core_sandbox *row,
			      struct err *err)
{
	struct sqlite *reader = store_reader(call->api->store);
	struct store_sandbox sandbox;
	struct core_tenant_view tenant;
	int64_t timeout_s = 0;
	int got;

	if (sqlite_bind(reader, STORE_READ_SANDBOX, SQL(SQL_TEXT(row->id.text)), err))
		return -1;
	got = sqlite_next(reader, STORE_READ_SANDBOX, err);
	if (got != 1)
		return got;
	store_sandbox_row(call->api->store, STORE_READ_SANDBOX, &sandbox);
	if (sandbox.auto_resume)
		timeout_s = row->timeout_s < WAKE_LEAST_S ? WAKE_LEAST_S : row->timeout_s;
	sqlite_reset(reader, STORE_READ_SANDBOX);
	if (core_tenant_find(engine_core(call->api->engine), &row->tenant, &tenant) &&
	    timeout_s > tenant.row.session_max_s)
		timeout_s = tenant.row.session_max_s;
	return timeout_s;
}

void api_sandbox_wake(struct api_call *call)
{
	struct core_event event = {.kind = CORE_EVENT_RESUME};
	const struct core_sandbox *row;
	int64_t timeout_s;
	struct err err;

	if (!api_needs_engine(call) || !api_sandbox_of(call, &event.timeout.sandbox))
		return;
	row = core_sandbox_find(engine_core(call->api->engine), &event.timeout.sandbox);
	if (row && row->state == SANDBOX_RUNNING) {
		api_answer_nothing(call); /* its shim binds, or has bound */
		return;
	}
	timeout_s = row && (row->state == SANDBOX_PAUSED || row->state == SANDBOX_RESUMING)
			    ? wake_timeout_s(call, row, &err)
			    : 0;
	if (timeout_s < 0) {
		api_fail_store(call, &err);
	} else if (timeout_s == 0) {
		api_refuse(call, row && row->state == SANDBOX_PAUSING ? REFUSAL_IN_FLIGHT
								      : REFUSAL_SANDBOX_UNKNOWN);
	} else {
		event.timeout.timeout_s = (uint32_t)timeout_s;
		event.timeout.request = api_wait(call, sandbox_reply_nothing);
		engine_step(call->api->engine, &event);
	}
}
