/* What operators may do below /v1: tenants, keys, tokens for nodes. */
#include "scheduler/shell/api/call.h"

#include <stdio.h>
#include <string.h>

static json_t *tenant_json(const struct id *id, const char *name, const char *plan)
{
	return json_pack("{s:s,s:s,s:s}", "tenantID", id->text, "name", name, "plan", plan);
}

/* ---- tenants ---- */

static void tenant_on_stored(void *data, bool durable);

/* The core learns of a tenant once it is durable; its first create may follow the answer at once.
 */
static void tenant_tell_core(struct engine *engine, const struct id *id)
{
	struct core_event event = {.kind = CORE_EVENT_TENANT_SET};
	struct store_tenant tenant;
	struct err err;

	if (store_tenant_find(engine_store(engine), id, &tenant, &err) != 1)
		return;
	store_tenant_core(&tenant, &event.tenant);
	engine_step(engine, &event);
}

void api_tenant_create(struct api_call *call)
{
	struct engine *engine = call->api->engine;
	struct store_op *op;
	int64_t credit_nano;
	struct err err;
	const char *name = api_text(call->body, "name"), *plan = api_text(call->body, "plan");

	if (!api_needs_engine(call))
		return;
	if (sqlite_get_int(store_reader(call->api->store), STORE_READ_PLAN, SQL(SQL_TEXT(plan)), -1,
			   &credit_nano, &err)) {
		api_fail_store(call, &err);
		return;
	}
	if (credit_nano < 0) {
		api_fail(call, 400, "plan_unknown", "", "plan: there is no plan '%s'", plan);
		return;
	}
	call->sandbox = api_make_id("ten_");
	op = engine_write(engine, STORE_OP_TENANT);
	op->tenant.id = call->sandbox;
	snprintf(op->tenant.name, sizeof(op->tenant.name), "%s", name);
	snprintf(op->tenant.plan, sizeof(op->tenant.plan), "%s", plan);
	op->tenant.credit_nano = credit_nano;
	op->tenant.concurrent_max = api_int(call->body, "concurrentSandboxes", 0);
	op->tenant.session_max_s = api_int(call->body, "maxSessionSeconds", 0);
	engine_then(engine, tenant_on_stored, call);
	api_answer_when_durable(call, tenant_json(&call->sandbox, name, plan));
}

/* Runs before the answer, which was asked for later. */
static void tenant_on_stored(void *data, bool durable)
{
	struct api_call *call = data;

	if (durable)
		tenant_tell_core(call->api->engine, &call->sandbox);
}

void api_tenant_list(struct api_call *call)
{
	struct store *store = call->api->store;
	struct sqlite *reader = store_reader(store);
	json_t *rows = json_array();
	struct store_tenant tenant;
	struct err err;
	int got = -1;

	if (sqlite_bind(reader, STORE_READ_TENANTS, SQL_NONE, &err) == 0)
		while ((got = sqlite_next(reader, STORE_READ_TENANTS, &err)) == 1) {
			store_tenant_row(store, STORE_READ_TENANTS, &tenant);
			json_array_append_new(rows,
					      tenant_json(&tenant.id, tenant.name, tenant.plan));
		}
	if (got == 0) {
		api_answer(call, rows);
		return;
	}
	json_decref(rows);
	api_fail_store(call, &err);
}

/* ---- keys and tokens ---- */

void api_key_create(struct api_call *call)
{
	char key[KEY_TEXT_MAX];
	struct store_tenant tenant;
	struct store_op *op;
	struct err err;
	struct id id;
	int got = 0;

	if (!api_needs_engine(call))
		return;
	if (id_parse(call->parameter, strlen(call->parameter), &id))
		got = store_tenant_find(call->api->store, &id, &tenant, &err);
	if (got != 1) {
		if (got < 0)
			api_fail_store(call, &err);
		else
			api_fail(call, 404, "tenant_unknown", "", "There is no tenant '%s'",
				 call->parameter);
		return;
	}
	secrets_make_key(key);
	op = engine_write(call->api->engine, STORE_OP_KEY);
	op->key.id = api_make_id("key_");
	op->key.tenant = id;
	snprintf(op->key.name, sizeof(op->key.name), "%s", api_text(call->body, "name"));
	secrets_hash(call->api->options.secrets, key, op->key.hash);
	api_answer_when_durable(call, json_pack("{s:s,s:s}", "keyID", op->key.id.text, "key", key));
}

void api_token_create(struct api_call *call)
{
	char token[KEY_TEXT_MAX];
	struct store_op *op;

	if (!api_needs_engine(call))
		return;
	secrets_make_key(token);
	op = engine_write(call->api->engine, STORE_OP_TOKEN);
	op->token.expires_at = op->wall_ns + api_int(call->body, "ttl_s", 0) * NS_PER_S;
	secrets_hash(call->api->options.secrets, token, op->token.hash);
	api_answer_when_durable(call, json_pack("{s:s}", "token", token));
}
