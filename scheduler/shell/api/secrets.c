/*
 * Secrets of tenants: kept sealed, listed without their values, and named by sandboxes that are to
 * have them in their environment.
 *
 * A change reads the row and writes it whole, so there is one at a time for each name: a second is
 * told to come again.  Only who leads changes any.
 */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "scheduler/shell/vault.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789-_."
#define ID_PREFIX       "sec_"

enum {
	SECRETS_MAX = 1000, /* of a tenant */
	METADATA_NAME_MAX = 128,
	METADATA_TEXT_MAX = 1024,
	METADATA_MAX = 8192,       /* names and texts together */
	METADATA_JSON_MAX = 16384, /* as it is kept */
};

/* ---- names ---- */

/* In small letters; false: it cannot be one. */
static bool secret_name_parse(const char *text, char out_name[STORE_SECRET_NAME_MAX])
{
	size_t n = strlen(text);

	if (n == 0 || n >= STORE_SECRET_NAME_MAX)
		return false;
	for (size_t i = 0; i <= n; i++)
		out_name[i] = (char)tolower((unsigned char)text[i]);
	return strspn(out_name, NAME_CHARACTERS) == n;
}

/* False, and the call is ended: somebody else is changing it. */
static bool secret_reserve(struct api_call *call, const char *name)
{
	struct api *api = call->api;

	for (const struct api_call *at = api->secrets; at; at = at->next) {
		if (strcmp(at->secret, name) != 0 || !id_equal(&at->tenant, &call->tenant))
			continue;
		api_fail(call, 409, "secret_busy", "", "Secret '%s' is being changed", name);
		return false;
	}
	snprintf(call->secret, sizeof(call->secret), "%s", name);
	call->next = api->secrets;
	api->secrets = call;
	return true;
}

static size_t secrets_under_way(const struct api_call *call)
{
	size_t n = 0;

	for (const struct api_call *at = call->api->secrets; at; at = at->next)
		n += id_equal(&at->tenant, &call->tenant);
	return n;
}

/* ---- rows ---- */

/* By its id or its name. 1: its texts are borrowed from the reader's statement, which is then to be
 * reset. 0 and -1: the call is ended. */
static int secret_find(struct api_call *call, const char *wanted, struct store_secret *out)
{
	struct sqlite *reader = store_reader(call->api->store);
	char name[STORE_SECRET_NAME_MAX] = "";
	struct err err;
	int got = -1;

	if (!secret_name_parse(wanted, name)) {
		got = 0;
	} else if (sqlite_bind(reader, STORE_READ_SECRET,
			       SQL(SQL_TEXT(call->tenant.text), SQL_TEXT(name)), &err) == 0) {
		got = sqlite_next(reader, STORE_READ_SECRET, &err);
	}
	if (got == 1)
		store_secret_row(call->api->store, STORE_READ_SECRET, out);
	else if (got == 0)
		api_fail(call, 404, "secret_unknown", "", "Secret '%s' not found", wanted);
	else
		api_fail_store(call, &err);
	return got;
}

static void secret_found(struct api_call *call)
{
	sqlite_reset(store_reader(call->api->store), STORE_READ_SECRET);
}

static json_t *secret_json(const struct store_secret *secret)
{
	json_t *metadata = json_loads(secret->metadata, 0, NULL);
	json_t *json = json_pack("{s:s,s:s,s:I,s:o,s:o,s:o}", "secretID", secret->id.text, "name",
				 secret->name, "currentVersion", (json_int_t)secret->version,
				 "metadata", metadata ? metadata : json_object(), "createdAt",
				 api_time(secret->created_at_ns), "updatedAt",
				 api_time(secret->updated_at_ns));

	CHECK(json);
	return json;
}

bool api_secret_id(struct api_call *call, const char *name, struct id *out_id)
{
	struct store_secret secret;

	if (secret_find(call, name, &secret) != 1)
		return false;
	*out_id = secret.id;
	secret_found(call);
	return true;
}

/* ---- what is given ---- */

/* As it is to be kept, or NULL when the body has none; false: the call is ended. */
static bool secret_take_metadata(struct api_call *call, char **out_text)
{
	json_t *metadata = json_object_get(call->body, "metadata"), *text;
	const char *name;
	size_t sum = 0;

	*out_text = NULL;
	if (!metadata)
		return true;
	json_object_foreach(metadata, name, text)
	{
		if (strlen(name) > METADATA_NAME_MAX ||
		    json_string_length(text) > METADATA_TEXT_MAX) {
			api_fail(call, 400, "invalid_request", "",
				 "metadata: a name should have at most %d bytes, a text %d",
				 METADATA_NAME_MAX, METADATA_TEXT_MAX);
			return false;
		}
		sum += strlen(name) + json_string_length(text);
	}
	*out_text = json_dumps(metadata, JSON_COMPACT | JSON_SORT_KEYS);
	CHECK(*out_text);
	if (sum <= METADATA_MAX && strlen(*out_text) <= METADATA_JSON_MAX)
		return true;
	free(*out_text);
	*out_text = NULL;
	api_fail(call, 400, "invalid_request", "", "metadata: should have at most %d bytes in all",
		 METADATA_MAX);
	return false;
}

/* Seals the body's value for the op's secret, and decides. The op's texts are freed. */
static void secret_set(struct api_call *call, struct store_op *op)
{
	op->secret.sealed =
		vault_seal(call->api->options.secrets, &op->secret, api_text(call->body, "value"));
	api_decide(call, op, secret_json(&op->secret));
	store_op_clear(op);
}

/* ---- routes ---- */

/* False: the call is ended. */
static bool secret_is_free(struct api_call *call, const char *name)
{
	struct sqlite *reader = store_reader(call->api->store);
	int64_t n;
	struct err err;
	int got;

	if (sqlite_get_int(reader, STORE_READ_SECRETS_COUNT, SQL(SQL_TEXT(call->tenant.text)), 0,
			   &n, &err) ||
	    sqlite_bind(reader, STORE_READ_SECRET, SQL(SQL_TEXT(call->tenant.text), SQL_TEXT(name)),
			&err) ||
	    (got = sqlite_next(reader, STORE_READ_SECRET, &err)) < 0) {
		api_fail_store(call, &err);
		return false;
	}
	sqlite_reset(reader, STORE_READ_SECRET);
	if (got == 1)
		api_fail(call, 409, "secret_exists", "", "Secret '%s' already exists", name);
	else if ((size_t)n + secrets_under_way(call) > SECRETS_MAX)
		api_fail(call, 400, "secrets_full", "", "There are %d secrets already, the most",
			 SECRETS_MAX);
	else
		return true;
	return false;
}

void api_secret_create(struct api_call *call)
{
	struct store_op op = {.kind = STORE_OP_SECRET};
	const char *given = api_text(call->body, "name");

	if (!api_needs_engine(call))
		return;
	if (!secret_name_parse(given, op.secret.name) ||
	    strncmp(op.secret.name, ID_PREFIX, strlen(ID_PREFIX)) == 0) {
		api_fail(call, 400, "invalid_request", "",
			 "name: should be of letters, 0-9, '-', '_' and '.', and not begin with "
			 "'" ID_PREFIX "'");
		return;
	}
	if (!secret_reserve(call, op.secret.name) || !secret_is_free(call, op.secret.name) ||
	    !secret_take_metadata(call, &op.secret.metadata))
		return;
	if (!op.secret.metadata) {
		op.secret.metadata = strdup("{}");
		CHECK(op.secret.metadata);
	}
	op.secret.tenant = call->tenant;
	op.secret.id = api_make_id(ID_PREFIX);
	op.secret.version = 1;
	op.secret.created_at_ns = op.secret.updated_at_ns = engine_wall().ns;
	secret_set(call, &op);
}

void api_secret_update(struct api_call *call)
{
	struct store_op op = {.kind = STORE_OP_SECRET}, read = {.kind = STORE_OP_SECRET};
	char *metadata;

	if (!api_needs_engine(call) || !secret_take_metadata(call, &metadata))
		return;
	if (secret_find(call, call->parameter, &read.secret) != 1) {
		free(metadata);
		return;
	}
	store_op_copy(&op, &read);
	secret_found(call);
	if (!secret_reserve(call, op.secret.name)) {
		store_op_clear(&op);
		free(metadata);
		return;
	}
	free(op.secret.sealed);
	if (metadata) {
		free(op.secret.metadata);
		op.secret.metadata = metadata;
	}
	op.secret.version++;
	op.secret.updated_at_ns = engine_wall().ns;
	secret_set(call, &op);
}

void api_secret_delete(struct api_call *call)
{
	struct store_op op = {.kind = STORE_OP_SECRET};

	if (!api_needs_engine(call) || secret_find(call, call->parameter, &op.secret) != 1)
		return;
	op.secret.metadata = op.secret.sealed = NULL;
	secret_found(call);
	if (secret_reserve(call, op.secret.name))
		api_decide(call, &op, json_null());
}

void api_secret_get(struct api_call *call)
{
	struct store_secret secret;
	json_t *json;

	if (secret_find(call, call->parameter, &secret) != 1)
		return;
	json = secret_json(&secret);
	secret_found(call);
	api_answer(call, json);
}

void api_secret_list(struct api_call *call)
{
	struct sqlite *reader = store_reader(call->api->store);
	int64_t limit = api_int(call->query, "limit", 100);
	const char *after = api_text(call->query, "nextToken");
	char last[STORE_SECRET_NAME_MAX] = "";
	json_t *rows = json_array();
	struct store_secret secret;
	struct err err;
	int got = -1;

	if (sqlite_bind(reader, STORE_READ_SECRETS,
			SQL(SQL_TEXT(call->tenant.text), SQL_TEXT(after ? after : ""),
			    SQL_INT(limit + 1)),
			&err) == 0)
		while ((got = sqlite_next(reader, STORE_READ_SECRETS, &err)) == 1) {
			if ((int64_t)json_array_size(rows) == limit) {
				http_add_header(call->request, "X-Next-Token", last);
				sqlite_reset(reader, STORE_READ_SECRETS);
				break;
			}
			store_secret_row(call->api->store, STORE_READ_SECRETS, &secret);
			memcpy(last, secret.name, sizeof(last));
			json_array_append_new(rows, secret_json(&secret));
		}
	if (got >= 0) {
		api_answer(call, rows);
		return;
	}
	json_decref(rows);
	api_fail_store(call, &err);
}
