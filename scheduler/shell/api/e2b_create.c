/* POST /v2/sandboxes and /sandboxes. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "scheduler/shell/vault.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Without its volumes it is not what was asked for: it ends. */
static void create_on_mounted(struct api_call *call, const struct core_sandbox *row,
			      const char *problem)
{
	struct core_event event = {.kind = CORE_EVENT_KILL};

	if (!problem) {
		api_answer_sandbox(call, row);
		return;
	}
	event.kill.sandbox = row->id;
	event.kill.tenant = row->tenant;
	event.kill.cause = CAUSE_PLATFORM;
	if (engine_is_available(call->api->engine))
		engine_step(call->api->engine, &event);
	api_fail(call, 500, "not_mounted", "", "Failed to mount volumes: %s", problem);
}

static void create_on_reply(struct api_call *call, const struct core_effect *reply)
{
	struct scheduler_metrics *metrics = call->api->options.metrics;

	metrics->created++;
	metric_observe(&metrics->create_ns, uv_hrtime() - call->began_ns);
	api_mounts_then(call, &reply->reply.sandbox, create_on_mounted);
}

/* A text of the object's field, or NULL when it has none; false when it is longer than max. */
static bool create_dump(struct api_call *call, const char *field, size_t max, char **out_text)
{
	const json_t *value = json_object_get(call->body, field);

	*out_text = NULL;
	if (!value)
		return true;
	*out_text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
	CHECK(*out_text);
	if (strlen(*out_text) <= max)
		return true;
	free(*out_text);
	*out_text = NULL;
	api_fail(call, 400, "invalid_request", "", "%s: should have at most %zu bytes as JSON",
		 field, max);
	return false;
}

/* What no process can have in its environment would only be refused by the guest, after a microVM
 * was spent on it. */
static bool create_check_envs(struct api_call *call, const char *field)
{
	const char *name;
	json_t *value;

	json_object_foreach(json_object_get(call->body, field), name, value)
	{
		if (name[0] && !strchr(name, '='))
			continue;
		api_fail(call, 400, "invalid_request", "",
			 "%s: a name should not be empty and have no '='", field);
		return false;
	}
	return true;
}

/* Adds those whose values are secrets, by their identity: values are put in when the sandbox is
 * claimed, and are not written here.  False: the call is ended. */
static bool create_add_secrets(struct api_call *call, json_t *envs)
{
	const char *name;
	json_t *value;
	struct id id;

	json_object_foreach(json_object_get(call->body, "secretEnvs"), name, value)
	{
		if (json_object_get(envs, name)) {
			api_fail(call, 400, "invalid_request", "",
				 "secretEnvs: '%s' is in envVars, too", name);
			return false;
		}
		if (!api_secret_id(call, json_string_value(value), &id))
			return false;
		json_object_set_new(envs, name, vault_env_of(&id));
	}
	return true;
}

/* The environment as it is kept, or NULL for none; false: the call is ended. */
static bool create_take_envs(struct api_call *call, char **out_text)
{
	const json_t *given = json_object_get(call->body, "envVars");
	json_t *envs = given ? json_copy((json_t *)given) : json_object();
	char *text = NULL, *filled;
	struct err err;

	*out_text = NULL;
	if (!create_add_secrets(call, envs)) {
		json_decref(envs);
		return false;
	}
	text = json_dumps(envs, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(envs);
	CHECK(text);
	/* That it can be given is better known now. */
	filled = vault_envs_fill(call->api->options.secrets, call->api->store, &call->tenant, text,
				 &err);
	if (filled) {
		vault_free(filled);
		*out_text = text;
		return true;
	}
	free(text);
	api_fail(call, 400, "invalid_request", "", "envVars: %s", err.text);
	return false;
}

/* ---- idempotency ---- */

static void create_again(struct api_call *call, const struct store_sandbox *sandbox,
			 const uint8_t *hash, size_t hash_n)
{
	if (hash_n != STORE_HASH_N || memcmp(hash, call->idempotency_hash, STORE_HASH_N) != 0) {
		api_fail(call, 422, "idempotency_mismatch", "",
			 "This Idempotency-Key was used with another body");
	} else if (sandbox->row.state == SANDBOX_PLACING) {
		http_add_header(call->request, "Retry-After", "1");
		api_fail(call, 409, "in_flight", "sandbox_start_in_flight",
			 "The sandbox of this Idempotency-Key is being started");
	} else {
		http_add_header(call->request, "Idempotency-Replayed", "true");
		api_answer_sandbox(call, &sandbox->row);
	}
}

/* True: the call is ended, because its key was used before. */
static bool create_is_repeated(struct api_call *call)
{
	struct store *store = call->api->store;
	struct sqlite *reader = store_reader(store);
	struct store_sandbox sandbox;
	uint8_t hash[STORE_HASH_N];
	struct err err;
	size_t n = 0;

	for (struct api_call *at = call->api->idempotent; at; at = at->next) {
		if (!id_equal(&at->tenant, &call->tenant) ||
		    strcmp(at->idempotency_key, call->idempotency_key) != 0)
			continue;
		sandbox.row.state = SANDBOX_PLACING;
		create_again(call, &sandbox, at->idempotency_hash, STORE_HASH_N);
		return true;
	}
	if (sqlite_bind(reader, STORE_READ_SANDBOX_BY_IDEMPOTENCY,
			SQL(SQL_TEXT(call->tenant.text), SQL_TEXT(call->idempotency_key)), &err)) {
		api_fail_store(call, &err);
		return true;
	}
	int got = sqlite_next(reader, STORE_READ_SANDBOX_BY_IDEMPOTENCY, &err);
	if (got == 1) {
		store_sandbox_row(store, STORE_READ_SANDBOX_BY_IDEMPOTENCY, &sandbox);
		const void *kept = sqlite_blob(reader, STORE_READ_SANDBOX_BY_IDEMPOTENCY,
					       STORE_SANDBOX_COLUMNS, &n);
		if (n == STORE_HASH_N)
			memcpy(hash, kept, n);
		sqlite_reset(reader, STORE_READ_SANDBOX_BY_IDEMPOTENCY);
		create_again(call, &sandbox, hash, n);
	} else if (got < 0) {
		api_fail_store(call, &err);
	}
	return got != 0;
}

/* Over the body in one form, with defaults filled in. */
static void create_hash(struct api_call *call)
{
	char *text = json_dumps(call->body, JSON_COMPACT | JSON_SORT_KEYS);

	CHECK(text);
	crypto_generichash(call->idempotency_hash, STORE_HASH_N, (uint8_t *)text, strlen(text),
			   NULL, 0);
	free(text);
}

/* False: the call is ended. */
static bool create_take_idempotency(struct api_call *call)
{
	const char *key = http_header(call->request, "Idempotency-Key");

	if (!key)
		return true;
	json_t *judged = json_string(key);
	bool good = judged && key[0] && strlen(key) < API_IDEMPOTENCY_KEY_MAX;
	json_decref(judged);
	if (!good) {
		api_fail(call, 400, "invalid_request", "",
			 "Idempotency-Key: should be 1 to %d bytes of text",
			 API_IDEMPOTENCY_KEY_MAX - 1);
		return false;
	}
	snprintf(call->idempotency_key, sizeof(call->idempotency_key), "%s", key);
	create_hash(call);
	return !create_is_repeated(call);
}

/* ---- the create ---- */

static bool create_auto_resumes(const struct api_call *call)
{
	return json_is_true(json_object_get(json_object_get(call->body, "autoResume"), "enabled"));
}

/* Traffic wakes what remembers how to answer it. False: the call is ended. */
static bool create_check_pauses(struct api_call *call)
{
	if (!create_auto_resumes(call) ||
	    !json_is_false(json_object_get(call->body, "autoPauseMemory")))
		return true;
	api_fail(call, 400, "invalid_request", "",
		 "autoResume: cannot be enabled with autoPauseMemory false");
	return false;
}

static enum wire_on_limit create_on_limit(const struct api_call *call)
{
	if (!json_is_true(json_object_get(call->body, "autoPause")))
		return WIRE_ON_LIMIT_END;
	return json_is_false(json_object_get(call->body, "autoPauseMemory"))
		       ? WIRE_ON_LIMIT_PAUSE_FILES
		       : WIRE_ON_LIMIT_PAUSE;
}

static void create(struct api_call *call)
{
	const char *asked = api_text(call->body, "templateID");
	struct core_event event = {.kind = CORE_EVENT_CREATE};
	struct store_sandbox_extra extra = {0};
	struct api_template_ref ref;
	const char *problem;
	size_t network_n;
	int got;

	if (!api_limit_creates(call) || !create_check_envs(call, "envVars") ||
	    !create_check_envs(call, "secretEnvs") || !create_check_pauses(call) ||
	    !api_timeout(call, "timeout", &event.create.timeout_s) || !api_needs_engine(call) ||
	    !create_take_idempotency(call))
		return;
	if (!api_template_parse(asked, &ref, &problem)) {
		api_fail(call, 400, "invalid_request", "", "Invalid template reference: %s",
			 problem);
		return;
	}
	got = api_template_resolve(call, asked, event.create.template_);
	if (got == 1)
		got = api_snapshot_of(call, event.create.template_, &event.create.snapshot);
	if (got == 0)
		api_refuse(call, REFUSAL_TEMPLATE_UNKNOWN);
	if (got != 1)
		return;
	if (!api_network_take(call, &extra.network))
		return;
	if (!api_mounts_take(call, &extra.mounts)) {
		free(extra.network);
		return;
	}
	network_n = (extra.network ? strlen(extra.network) : 0) +
		    (extra.mounts ? strlen(extra.mounts) : 0);
	if (!create_dump(call, "metadata", API_METADATA_MAX - network_n, &extra.metadata) ||
	    !create_take_envs(call, &extra.envs)) {
		free(extra.network);
		free(extra.mounts);
		free(extra.metadata);
		return;
	}
	if (call->idempotency_key[0]) {
		extra.idempotency_key = strdup(call->idempotency_key);
		CHECK(extra.idempotency_key);
		memcpy(extra.idempotency_hash, call->idempotency_hash, STORE_HASH_N);
		call->next = call->api->idempotent;
		call->api->idempotent = call;
	}
	event.create.request = api_wait(call, create_on_reply);
	event.create.sandbox = call->sandbox = api_make_id("i");
	event.create.tenant = call->tenant;
	event.create.on_limit = create_on_limit(call);
	extra.auto_resume = create_auto_resumes(call);
	engine_create(call->api->engine, &event, &extra);
}

void api_sandbox_create_v2(struct api_call *call)
{
	create(call);
}

void api_sandbox_create(struct api_call *call)
{
	create(call);
}
