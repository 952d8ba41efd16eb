/* One sandbox: look, end, move its time limit, come back to it. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"

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

static void sandbox_token(struct api_call *call, const struct id *id,
			  char out_text[ENVD_TOKEN_TEXT_MAX])
{
	fleet_key_envd_token(&call->api->options.secrets->fleet, id, out_text);
}

json_t *api_sandbox_json(struct api_call *call, const struct core_sandbox *row)
{
	struct id template_id = api_template_id(row->template_);
	char token[ENVD_TOKEN_TEXT_MAX];

	sandbox_token(call, &row->id, token);
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:n}", "sandboxID", row->id.text, "templateID",
			 template_id.text, "alias", row->template_, "clientID", API_CLIENT_ID,
			 "envdVersion", API_ENVD_VERSION, "envdAccessToken", token, "domain");
}

json_t *api_listed_json(const struct core_sandbox *row, const char *metadata)
{
	struct id template_id = api_template_id(row->template_);
	json_t *parsed = json_loads(metadata, 0, NULL);

	return json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:o,s:o,s:s,s:s,s:o}", "sandboxID",
			 row->id.text, "templateID", template_id.text, "alias", row->template_,
			 "clientID", API_CLIENT_ID, "cpuCount", (json_int_t)row->vcpus, "memoryMB",
			 (json_int_t)row->mem_mib, "diskSizeMB", (json_int_t)row->disk_mib,
			 "startedAt", api_time(row->started_at.ns), "endAt",
			 api_time(row->end_at.ns), "state", "running", "envdVersion",
			 API_ENVD_VERSION, "metadata", parsed ? parsed : json_object());
}

/* "iabc…-clientID" is what older clients call "iabc…".  False: the call is ended. */
static bool sandbox_of(struct api_call *call, struct id *out_id)
{
	if (id_parse(call->parameter, strcspn(call->parameter, "-"), out_id))
		return true;
	api_refuse(call, REFUSAL_SANDBOX_UNKNOWN);
	return false;
}

static json_t *sandbox_detail(struct api_call *call, const struct store_sandbox *sandbox)
{
	char token[ENVD_TOKEN_TEXT_MAX];
	json_t *json = api_listed_json(&sandbox->row, sandbox->metadata);

	CHECK(json);
	sandbox_token(call, &sandbox->row.id, token);
	json_object_set_new(json, "envdAccessToken", json_string(token));
	json_object_set_new(json, "domain", json_null());
	json_object_set_new(json, "lifecycle",
			    json_pack("{s:s,s:b}", "onTimeout", "kill", "autoResume", 0));
	return json;
}

void api_sandbox_get(struct api_call *call)
{
	struct sqlite *reader = store_reader(call->api->store);
	struct store_sandbox sandbox;
	json_t *json = NULL;
	struct err err;
	struct id id;

	if (!sandbox_of(call, &id))
		return;
	if (sqlite_bind(reader, STORE_READ_SANDBOX, SQL(SQL_TEXT(id.text)), &err)) {
		api_fail_store(call, &err);
		return;
	}
	int got = sqlite_next(reader, STORE_READ_SANDBOX, &err);
	if (got == 1) {
		store_sandbox_row(call->api->store, STORE_READ_SANDBOX, &sandbox);
		if (sandbox.row.state == SANDBOX_RUNNING &&
		    (call->is_operator || id_equal(&sandbox.row.tenant, &call->tenant)))
			json = sandbox_detail(call, &sandbox);
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
	api_answer(call, api_sandbox_json(call, &reply->reply.sandbox));
}

void api_sandbox_kill(struct api_call *call)
{
	struct core_event event = {.kind = CORE_EVENT_KILL};

	if (!api_needs_engine(call) || !sandbox_of(call, &event.kill.sandbox))
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

	if (!api_needs_engine(call) || !sandbox_of(call, &event.timeout.sandbox))
		return;
	if (!api_timeout(call, field, &event.timeout.timeout_s))
		return;
	event.timeout.tenant = call->tenant;
	event.timeout.request = api_wait(call, on_reply);
	engine_step(call->api->engine, &event);
}

void api_sandbox_timeout(struct api_call *call)
{
	sandbox_move_limit(call, CORE_EVENT_SET_TIMEOUT, "timeout", sandbox_reply_nothing);
}

void api_sandbox_refresh(struct api_call *call)
{
	sandbox_move_limit(call, CORE_EVENT_EXTEND, "duration", sandbox_reply_nothing);
}

void api_sandbox_connect_v2(struct api_call *call)
{
	sandbox_move_limit(call, CORE_EVENT_EXTEND, "timeout", sandbox_reply_sandbox);
}

void api_sandbox_connect(struct api_call *call)
{
	sandbox_move_limit(call, CORE_EVENT_EXTEND, "timeout", sandbox_reply_sandbox);
}
