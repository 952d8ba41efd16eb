/*
 * Volumes of sandboxes: what a create asks for, and the asking of flotilla-volumes, which mounts
 * them once the sandbox runs and before its maker is answered.
 */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "common/mux/mount.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	MOUNTS_MAX = 8, /* of one sandbox */
	MOUNTS_ASK_MS = 30 * 1000,
	MOUNTS_ANSWER_MAX = 4096,
};

/* ---- what is asked for ---- */

/* Without ".", ".." and "//", so that one place has one name. */
static bool mounts_path_is_good(const char *path)
{
	static const char *const taken[] = {"/proc", "/sys", "/dev", "/run"};
	size_t n = strlen(path);

	if (n < 2 || n >= MOUNT_PATH_MAX || path[0] != '/' || path[n - 1] == '/' ||
	    strstr(path, "//") || strstr(path, "/./") || strstr(path, "/../") ||
	    (n > 2 && strcmp(path + n - 2, "/.") == 0) ||
	    (n > 3 && strcmp(path + n - 3, "/..") == 0) || strcmp(path, "/.") == 0 ||
	    strcmp(path, "/..") == 0)
		return false;
	for (const char *at = path; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			return false;
	for (size_t i = 0; i < ARRAY_N(taken); i++) {
		size_t taken_n = strlen(taken[i]);

		if (!strncmp(path, taken[i], taken_n) && (!path[taken_n] || path[taken_n] == '/'))
			return false;
	}
	return true;
}

static void mounts_fail(struct api_call *call, const char *text)
{
	struct problems problems = {0};

	problems_add(&problems, "body", "volumeMounts", "value_error", "%s", text);
	api_fail_problems(call, &problems);
}

/* 1: it is the tenant's; else the call is ended. */
static int mounts_find_volume(struct api_call *call, const char *name, struct store_volume *out)
{
	struct sqlite *reader = store_reader(call->api->store);
	struct err err;
	int got = sqlite_bind(reader, STORE_READ_VOLUME_BY_NAME,
			      SQL(SQL_TEXT(call->tenant.text), SQL_TEXT(name)), &err)
			  ? -1
			  : sqlite_next(reader, STORE_READ_VOLUME_BY_NAME, &err);

	if (got == 1) {
		store_volume_row(call->api->store, STORE_READ_VOLUME_BY_NAME, out);
		sqlite_reset(reader, STORE_READ_VOLUME_BY_NAME);
	} else if (got < 0) {
		api_fail_store(call, &err);
	} else {
		api_fail(call, 400, "volume_unknown", "", "Volume '%s' not found", name);
	}
	return got;
}

static bool mounts_has_path(const json_t *list, const char *path)
{
	json_t *one;
	size_t i;

	json_array_foreach((json_t *)list, i,
			   one) if (!strcmp(json_string_value(json_object_get(one, "path")),
					    path)) return true;
	return false;
}

/* False: the call is ended. */
static bool mounts_take_one(struct api_call *call, const json_t *asked, json_t *list)
{
	const char *name = json_string_value(json_object_get(asked, "name"));
	const char *path = json_string_value(json_object_get(asked, "path"));
	struct store_volume volume;

	if (!name || !path || strlen(name) >= STORE_NAME_MAX) {
		mounts_fail(call, "should have a name and a path each");
		return false;
	}
	if (!mounts_path_is_good(path) || mounts_has_path(list, path)) {
		mounts_fail(call, "should have absolute paths, each another one, of at most 255 "
				  "bytes, without dots between slashes, and none of the system's");
		return false;
	}
	if (mounts_find_volume(call, name, &volume) != 1)
		return false;
	json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "name", volume.name, "path", path,
					      "volumeID", volume.id.text));
	return true;
}

bool api_mounts_take(struct api_call *call, char **out_text)
{
	const json_t *asked = json_object_get(call->body, "volumeMounts");
	json_t *list = json_array(), *one;
	bool good = true;
	size_t i;

	*out_text = NULL;
	if (asked && (!json_is_array(asked) || json_array_size(asked) > MOUNTS_MAX)) {
		mounts_fail(call, "should be a list of at most 8 {name, path}");
		good = false;
	} else if (json_array_size(asked) && !call->api->options.volumes_at.host[0]) {
		mounts_fail(call, "this fleet keeps no volumes");
		good = false;
	}
	json_array_foreach((json_t *)asked, i, one) good = good && mounts_take_one(call, one, list);
	if (good && json_array_size(list)) {
		*out_text = json_dumps(list, JSON_COMPACT);
		CHECK(*out_text);
	}
	json_decref(list);
	return good;
}

int api_mounts_read(struct api_call *call, const struct id *sandbox, json_t **out_list,
		    struct err *err)
{
	struct sqlite *reader = store_reader(call->api->store);
	int got;

	*out_list = NULL;
	if (sqlite_bind(reader, STORE_READ_MOUNTS, SQL(SQL_TEXT(sandbox->text)), err))
		return -1;
	got = sqlite_next(reader, STORE_READ_MOUNTS, err);
	if (got == 1) {
		if (!sqlite_is_null(reader, STORE_READ_MOUNTS, 0))
			*out_list = json_loads(sqlite_text(reader, STORE_READ_MOUNTS, 0), 0, NULL);
		sqlite_reset(reader, STORE_READ_MOUNTS);
	}
	return got < 0 ? -1 : 0;
}

void api_mounts_add(struct api_call *call, const struct id *sandbox, json_t *json)
{
	json_t *list, *one;
	struct err err;
	size_t i;

	if (api_mounts_read(call, sandbox, &list, &err)) {
		log_error("store", "cannot read", LOG_ERR(&err));
		return;
	}
	json_array_foreach(list, i, one) json_object_del(one, "volumeID");
	if (list)
		json_object_set_new(json, "volumeMounts", list);
}

/* ---- mounting ---- */

struct api_mounting {
	struct api_call *call;
	struct core_sandbox row;
	api_mounts_cb then;
	struct http_client_call *asked;
};

void api_mounts_cancel(struct api_call *call)
{
	if (!call->mounting)
		return;
	if (call->mounting->asked)
		http_client_cancel(call->mounting->asked);
	free(call->mounting);
	call->mounting = NULL;
}

static void mounts_end(struct api_mounting *mounting, const char *problem)
{
	struct http *http = mounting->call->api->http;
	struct api_mounting copy = *mounting;

	copy.call->mounting = NULL;
	free(mounting);
	copy.then(copy.call, &copy.row, problem);
	http_flush(http);
}

static void mounts_on_done(void *data, const struct http_client_answer *answer)
{
	struct api_mounting *mounting = data;
	json_t *json = NULL;
	const char *text;

	mounting->asked = NULL;
	if (answer->status == 200) {
		mounts_end(mounting, NULL);
		return;
	}
	if (answer->status)
		json = json_loadb((const char *)answer->body, answer->body_n, 0, NULL);
	text = json_string_value(json_object_get(json, "message"));
	mounts_end(mounting, text ? text : "volumes cannot be reached now");
	json_decref(json);
}

static bool mounts_ask(struct api_mounting *mounting, json_t *list)
{
	struct api *api = mounting->call->api;
	char url[ADDRESS_TEXT_MAX + 64], where[ADDRESS_TEXT_MAX], token[ENVD_TOKEN_TEXT_MAX];
	struct http_client_header headers[] = {{"X-Wake-Token", token},
					       {"Content-Type", "application/json"}};
	struct http_client_request request = {
		.method = "POST",
		.url = url,
		.headers = headers,
		.headers_n = ARRAY_N(headers),
		.total_ms = MOUNTS_ASK_MS,
		.body_max = MOUNTS_ANSWER_MAX,
		.on_done = mounts_on_done,
		.data = mounting,
	};
	json_t *json = json_pack("{s:o}", "mounts", list);
	char *body = json_dumps(json, JSON_COMPACT);
	struct err err;
	int fault;

	CHECK(body);
	json_decref(json);
	address_format(&api->options.volumes_at, where);
	fleet_key_wake_token(&api->options.secrets->fleet, &mounting->row.id, token);
	snprintf(url, sizeof(url), "http://%s/mounts/%s", where, mounting->row.id.text);
	request.body = body;
	request.body_n = strlen(body);
	fault = http_client_start(api->mount_client, &request, &mounting->asked, &err);
	free(body);
	if (fault)
		log_error("api", "volumes cannot be asked for", LOG_ERR(&err));
	return !fault;
}

void api_mounts_then(struct api_call *call, const struct core_sandbox *row, api_mounts_cb then)
{
	struct api_mounting *mounting;
	json_t *list = NULL;
	struct err err;

	call->on_reply = NULL; /* the core has said what it had to say */
	if (!call->api->mount_client || api_mounts_read(call, &row->id, &list, &err) || !list) {
		then(call, row, NULL);
		return;
	}
	mounting = calloc(1, sizeof(*mounting));
	CHECK(mounting);
	*mounting = (struct api_mounting){.call = call, .row = *row, .then = then};
	call->mounting = mounting;
	if (!mounts_ask(mounting, list))
		mounts_end(mounting, "volumes cannot be asked for");
}

/* ---- for flotilla-volumes ---- */

void api_sandbox_mounts(struct api_call *call)
{
	struct sqlite *reader = store_reader(call->api->store);
	struct store_sandbox sandbox;
	json_t *list = NULL;
	bool is_there = false;
	struct err err;
	struct id id;
	int got = 0;

	if (id_parse(call->parameter, strlen(call->parameter), &id))
		got = sqlite_bind(reader, STORE_READ_SANDBOX, SQL(SQL_TEXT(id.text)), &err)
			      ? -1
			      : sqlite_next(reader, STORE_READ_SANDBOX, &err);
	if (got == 1) {
		store_sandbox_row(call->api->store, STORE_READ_SANDBOX, &sandbox);
		is_there = sandbox.row.state != SANDBOX_ENDED;
		sqlite_reset(reader, STORE_READ_SANDBOX);
	}
	if (got < 0 || (is_there && api_mounts_read(call, &id, &list, &err)))
		api_fail_store(call, &err);
	else if (is_there)
		api_answer(call, list ? list : json_array());
	else
		api_refuse(call, REFUSAL_SANDBOX_UNKNOWN);
}
