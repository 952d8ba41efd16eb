/*
 * Volumes: which there are and whose.  Their files are kept by flotilla-volumes, which believes the
 * token that is told here, since both derive it from the fleet's key, and asks for a grant.
 */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"

#include <stdio.h>
#include <string.h>

enum { VOLUME_GIB = 1 << 30 };

static json_t *volume_json(const struct store_volume *volume)
{
	return json_pack("{s:s,s:s}", "volumeID", volume->id.text, "name", volume->name);
}

static json_t *volume_and_token_json(struct api_call *call, const struct store_volume *volume)
{
	const struct api_options *options = &call->api->options;
	json_t *json = volume_json(volume);
	char token[ENVD_TOKEN_TEXT_MAX];

	fleet_key_volume_token(&options->secrets->fleet, &volume->id, token);
	json_object_set_new(json, "token", json_string(token));
	if (options->domain[0])
		json_object_set_new(json, "domain", json_string(options->domain));
	return json;
}

/* ---- making one ---- */

static bool volume_name_is_valid(const char *name)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "_-";
	size_t n = strlen(name);

	return n > 0 && n < STORE_NAME_MAX && strspn(name, good) == n;
}

static void volume_fail_name(struct api_call *call, const char *name)
{
	api_fail(call, 400, "volume_exists", "", "Volume with name '%s' already exists", name);
}

/* Of this tenant, and not told yet. */
static size_t volumes_being_made(const struct api_call *call, const char *name, bool *out_is_taken)
{
	size_t n = 0;

	for (const struct api_call *at = call->api->new_volumes; at; at = at->next) {
		if (!id_equal(&at->tenant, &call->tenant))
			continue;
		n++;
		*out_is_taken = *out_is_taken || strcmp(at->new_volume, name) == 0;
	}
	return n;
}

/* False: the call is ended. */
static bool volume_fits(struct api_call *call, const char *name)
{
	struct sqlite *reader = store_reader(call->api->store);
	struct store_tenant tenant;
	int64_t there_n, same_n;
	struct err err;
	bool is_taken = false;
	uint32_t limit;
	int got = store_tenant_find(call->api->store, &call->tenant, &tenant, &err);

	if (got != 1) {
		if (got < 0)
			api_fail_store(call, &err);
		else
			api_refuse(call, REFUSAL_TENANT_UNKNOWN);
		return false;
	}
	limit = api_limit_of(call->api->options.volumes, tenant.plan);
	if (sqlite_get_int(reader, STORE_READ_VOLUMES_N, SQL(SQL_TEXT(call->tenant.text)), 0,
			   &there_n, &err) ||
	    sqlite_get_int(reader, STORE_READ_VOLUME_NAMED_N,
			   SQL(SQL_TEXT(call->tenant.text), SQL_TEXT(name)), 0, &same_n, &err)) {
		api_fail_store(call, &err);
		return false;
	}
	there_n += (int64_t)volumes_being_made(call, name, &is_taken);
	if (same_n || is_taken) {
		volume_fail_name(call, name);
		return false;
	}
	if (limit && there_n >= limit) {
		api_fail(call, 400, "volumes_full", "",
			 "You have reached the maximum of %u volumes", limit);
		return false;
	}
	return true;
}

void api_volume_create(struct api_call *call)
{
	struct store_op op = {.kind = STORE_OP_VOLUME};
	const char *name = api_text(call->body, "name");

	if (!volume_name_is_valid(name)) {
		api_fail(call, 400, "invalid_request", "",
			 "Invalid volume name: 1 to %d letters, digits, dashes and underscores are "
			 "wanted",
			 STORE_NAME_MAX - 1);
		return;
	}
	if (!api_needs_engine(call) || !volume_fits(call, name))
		return;
	op.volume.id = api_make_id("vol_");
	op.volume.tenant = call->tenant;
	snprintf(op.volume.name, sizeof(op.volume.name), "%s", name);
	call->new_volume = name; /* the body's, which stays as long as the call */
	call->next = call->api->new_volumes;
	call->api->new_volumes = call;
	api_decide(call, &op, volume_and_token_json(call, &op.volume));
}

/* ---- looking, deleting ---- */

void api_volume_list(struct api_call *call)
{
	struct store *store = call->api->store;
	struct sqlite *reader = store_reader(store);
	json_t *rows = json_array();
	struct store_volume volume;
	struct err err;
	int got = -1;

	if (!sqlite_bind(reader, STORE_READ_VOLUMES, SQL(SQL_TEXT(call->tenant.text)), &err))
		while ((got = sqlite_next(reader, STORE_READ_VOLUMES, &err)) == 1) {
			store_volume_row(store, STORE_READ_VOLUMES, &volume);
			json_array_append_new(rows, volume_json(&volume));
		}
	if (got == 0) {
		api_answer(call, rows);
		return;
	}
	json_decref(rows);
	api_fail_store(call, &err);
}

/* The caller's volume of the path; false: the call is ended.  Another tenant's is as unknown as
 * none. */
static bool volume_of(struct api_call *call, struct store_volume *out)
{
	struct err err;
	struct id id;
	int got = 0;

	if (id_parse(call->parameter, strlen(call->parameter), &id))
		got = store_volume_find(call->api->store, &id, out, &err);
	if (got == 1 && !out->deleted_at_ns && id_equal(&out->tenant, &call->tenant))
		return true;
	if (got < 0)
		api_fail_store(call, &err);
	else
		api_fail(call, 404, "volume_unknown", "", "Volume %s not found", call->parameter);
	return false;
}

void api_volume_get(struct api_call *call)
{
	struct store_volume volume;

	if (volume_of(call, &volume))
		api_answer(call, volume_and_token_json(call, &volume));
}

void api_volume_delete(struct api_call *call)
{
	struct store_op op = {.kind = STORE_OP_VOLUME};
	int64_t used_n;
	struct err err;

	if (!api_needs_engine(call) || !volume_of(call, &op.volume))
		return;
	if (sqlite_get_int(store_reader(call->api->store), STORE_READ_VOLUME_USED_N,
			   SQL(SQL_TEXT(op.volume.id.text)), 0, &used_n, &err)) {
		api_fail_store(call, &err);
		return;
	}
	if (used_n) {
		api_fail(call, 409, "volume_used", "", "Volume '%s' is mounted in %lld sandbox%s",
			 op.volume.name, (long long)used_n, used_n == 1 ? "" : "es");
		return;
	}
	op.volume.deleted_at_ns = engine_wall().ns;
	api_decide_all(call, &op, 1, NULL);
}

/* ---- for flotilla-volumes ---- */

void api_volume_grant(struct api_call *call)
{
	struct store_volume volume;
	struct store_tenant tenant;
	struct err err;
	struct id id;
	uint32_t gibs;
	int got = 0;

	if (id_parse(call->parameter, strlen(call->parameter), &id))
		got = store_volume_find(call->api->store, &id, &volume, &err);
	if (got == 1 && !volume.deleted_at_ns)
		got = store_tenant_find(call->api->store, &volume.tenant, &tenant, &err);
	if (got < 0) {
		api_fail_store(call, &err);
		return;
	}
	if (got == 0) {
		api_fail(call, 404, "volume_unknown", "", "There is no volume '%s'",
			 call->parameter);
		return;
	}
	if (volume.deleted_at_ns) {
		api_fail(call, 410, "volume_deleted", "", "The volume '%s' is deleted",
			 call->parameter);
		return;
	}
	gibs = api_limit_of(call->api->options.volume_gibs, tenant.plan);
	api_answer(call, json_pack("{s:s,s:I}", "volumeID", volume.id.text, "bytesMax",
				   gibs ? (json_int_t)gibs * VOLUME_GIB : (json_int_t)INT64_MAX));
}
