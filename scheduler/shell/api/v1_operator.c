/* What operators may do below /v1: tenants, keys, tokens for nodes. */
#include "scheduler/shell/api/call.h"

#include <stdio.h>
#include <string.h>

static json_t *tenant_json(const struct id *id, const char *name, const char *plan)
{
	return json_pack("{s:s,s:s,s:s}", "tenantID", id->text, "name", name, "plan", plan);
}

/* ---- tenants ---- */

void api_tenant_create(struct api_call *call)
{
	struct store_op op = {.kind = STORE_OP_TENANT};
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
	op.tenant.id = api_make_id("ten_");
	snprintf(op.tenant.name, sizeof(op.tenant.name), "%s", name);
	snprintf(op.tenant.plan, sizeof(op.tenant.plan), "%s", plan);
	op.tenant.credit_nano = credit_nano;
	op.tenant.concurrent_max = api_int(call->body, "concurrentSandboxes", 0);
	op.tenant.session_max_s = api_int(call->body, "maxSessionSeconds", 0);
	api_decide(call, &op, tenant_json(&op.tenant.id, name, plan));
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
	struct store_op op = {.kind = STORE_OP_KEY};
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
	op.key.id = api_make_id("key_");
	op.key.tenant = id;
	snprintf(op.key.name, sizeof(op.key.name), "%s", api_text(call->body, "name"));
	secrets_hash(call->api->options.secrets, key, op.key.hash);
	api_decide(call, &op, json_pack("{s:s,s:s}", "keyID", op.key.id.text, "key", key));
}

void api_token_create(struct api_call *call)
{
	char token[KEY_TEXT_MAX];
	struct store_op op = {.kind = STORE_OP_TOKEN};

	if (!api_needs_engine(call))
		return;
	secrets_make_key(token);
	op.token.expires_at = engine_wall().ns + api_int(call->body, "ttl_s", 0) * NS_PER_S;
	secrets_hash(call->api->options.secrets, token, op.token.hash);
	api_decide(call, &op, json_pack("{s:s}", "token", token));
}
