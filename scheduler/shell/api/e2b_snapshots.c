/*
 * Snapshots as E2B's clients see them: templates whose builds are snapshots of sandboxes.
 *
 * The core keeps one under an id that follows from its build's, and the build's id is written into
 * its row.  First it is made, and then registered; what was made and is in no register, because we
 * died in between or because its template was deleted or its tag moved on, is found by looking, and
 * dropped.
 */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "common/base/units.h"
#include "common/io/log.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	LOOK_MS = 5000,       /* how often unwanted ones are looked for */
	REGISTER_MS = 120000, /* so long one may be without being registered */
	LOOK_N = 32,          /* so many at once */
};

struct id api_snapshot_id(const char *build)
{
	uint8_t hash[ID_RANDOM_BYTES];

	crypto_generichash(hash, sizeof(hash), (const uint8_t *)build, strlen(build),
			   (const uint8_t *)"snapshot-of-build", 17);
	return id_make("s", hash);
}

int api_snapshot_of(struct api_call *call, const char *name, struct id *out_snapshot)
{
	struct store_build build;
	struct err err;
	int got;

	memset(out_snapshot, 0, sizeof(*out_snapshot));
	if (!template_name_is_builds(name))
		return 1;
	got = store_build_find(call->api->store, name, &build, &err);
	if (got < 0)
		api_fail_store(call, &err);
	if (got == 1 && build.kind == STORE_BUILD_SNAPSHOT)
		*out_snapshot = api_snapshot_id(build.id);
	return got;
}

/* ---- making one ---- */

/* What one will be called. */
struct snapshot_name {
	struct store_own_template own; /* id empty: a new one */
	char slug[API_SLUG_MAX];
	char tag[TEMPLATE_NAME_MAX];
	char build[STORE_BUILD_ID_MAX];
};

static bool fail_name(struct api_call *call, const char *why)
{
	api_fail(call, 400, "invalid_request", "", "Invalid snapshot name: %s", why);
	return false;
}

/* Of the caller's namespace, whoever else has such a name.  False: the call is ended. */
static bool snapshot_take_name(struct api_call *call, struct snapshot_name *out)
{
	const char *name = api_text(call->body, "name"), *problem;
	struct api_template_ref ref;
	struct store_tenant tenant;
	struct err err;
	int got;

	memset(out, 0, sizeof(*out));
	snprintf(out->tag, sizeof(out->tag), "%s", STORE_TAG_DEFAULT);
	if (store_tenant_find(call->api->store, &call->tenant, &tenant, &err) == 1)
		api_tenant_slug(&tenant, out->slug);
	if (!name || !name[0])
		return true;
	if (!api_template_parse(name, &ref, &problem))
		return fail_name(call, problem);
	if (ref.namespace_[0] && strcmp(ref.namespace_, out->slug) != 0 &&
	    strcmp(ref.namespace_, call->tenant.text) != 0)
		return fail_name(call, "the namespace is not yours");
	memcpy(out->tag, ref.tag, sizeof(out->tag));
	got = store_own_template_by_name(call->api->store, &call->tenant, ref.name, &out->own,
					 &err);
	if (got < 0) {
		api_fail_store(call, &err);
		return false;
	}
	memcpy(out->own.name, ref.name, sizeof(out->own.name));
	return true;
}

/* "slug/name:tag", or the id where there is no name. */
static json_t *snapshot_text(const struct snapshot_name *name, const char *tag)
{
	return name->own.name[0] ? json_sprintf("%s/%s:%s", name->slug, name->own.name, tag)
				 : json_sprintf("%s:%s", name->own.id.text, tag);
}

static json_t *snapshot_json(const struct snapshot_name *name, const json_t *tags)
{
	json_t *names = json_array();
	const json_t *tag;
	size_t i;

	json_array_foreach(tags, i, tag)
	{
		if (name->own.name[0])
			json_array_append_new(names, snapshot_text(name, json_string_value(tag)));
	}
	return json_pack(
		"{s:o,s:o}", "snapshotID",
		snapshot_text(name, i ? json_string_value(json_array_get(tags, 0)) : name->tag),
		"names", names);
}

/* Its template, if it is new, and its build, which is ready at once and has its tag by that. */
static size_t snapshot_ops(struct api_call *call, struct snapshot_name *name,
			   const struct core_sandbox *row, struct store_op ops[2])
{
	int64_t now_ns = engine_wall().ns;
	size_t n = 0;

	if (id_is_empty(&name->own.id)) {
		name->own.id = api_make_id("");
		name->own.life = 1;
		ops[n].kind = STORE_OP_TEMPLATE;
		ops[n].template_.id = name->own.id;
		ops[n].template_.tenant = call->tenant;
		memcpy(ops[n].template_.name, name->own.name, sizeof(ops[n].template_.name));
		ops[n].template_.life = name->own.life;
		ops[n].template_.created_at = now_ns;
		n++;
	}
	ops[n].kind = STORE_OP_BUILD;
	memcpy(ops[n].build.id, name->build, sizeof(ops[n].build.id));
	ops[n].build.template_ = name->own.id;
	ops[n].build.life = name->own.life;
	ops[n].build.kind = STORE_BUILD_SNAPSHOT;
	ops[n].build.status = STORE_BUILD_READY;
	ops[n].build.vcpus = row->vcpus;
	ops[n].build.mem_mib = row->mem_mib;
	ops[n].build.disk_mib = row->disk_mib;
	snprintf(ops[n].build.tags, sizeof(ops[n].build.tags), "%s", name->tag);
	ops[n].build.created_at = ops[n].build.finished_at = now_ns;
	return n + 1;
}

static void snapshot_on_kept(struct api_call *call, const struct core_effect *reply)
{
	struct store_op ops[2] = {0};
	struct snapshot_name name;
	json_t *tags;
	size_t n;

	call->on_reply = NULL; /* decisions are waited for now */
	/* The name may have been taken, or given up, meanwhile. */
	if (!snapshot_take_name(call, &name))
		return;
	memcpy(name.build, call->snapshot_build, sizeof(name.build));
	n = snapshot_ops(call, &name, &reply->reply.sandbox, ops);
	tags = json_pack("[s]", name.tag);
	api_decide_all(call, ops, n, snapshot_json(&name, tags));
	json_decref(tags);
}

void api_snapshot_create(struct api_call *call)
{
	struct core_event event = {.kind = CORE_EVENT_SNAPSHOT};
	struct store_sandbox_extra extra = {0};
	struct snapshot_name name;
	json_t *metadata;

	if (!api_needs_engine(call) || !api_sandbox_of(call, &event.snapshot.sandbox) ||
	    !snapshot_take_name(call, &name))
		return;
	api_build_id(call->snapshot_build);
	metadata = json_pack("{s:s}", "build", call->snapshot_build);
	extra.metadata = json_dumps(metadata, JSON_COMPACT);
	json_decref(metadata);
	CHECK(extra.metadata);
	event.snapshot.tenant = call->tenant;
	event.snapshot.snapshot = api_snapshot_id(call->snapshot_build);
	event.snapshot.request = api_wait(call, snapshot_on_kept);
	engine_create(call->api->engine, &event, &extra);
}

/* ---- lists ---- */

struct snapshot_query {
	struct api_template found; /* meaningful if by_name */
	bool by_name, by_tag, nothing;
	const char *sandbox;
	struct api_cursor after;
	int64_t limit;
};

/* False: the call is ended. */
static bool snapshot_read_query(struct api_call *call, struct snapshot_query *out)
{
	const char *name = api_text(call->query, "name");
	const char *token = api_text(call->query, "nextToken");
	int got;

	memset(out, 0, sizeof(*out));
	out->sandbox = api_text(call->query, "sandboxID");
	out->limit = api_int(call->query, "limit", 100);
	out->after.at_ns = INT64_MAX;
	if (token && token[0] && !api_cursor_parse(token, &out->after)) {
		api_fail(call, 400, "invalid_request", "",
			 "nextToken: is not one that was given out");
		return false;
	}
	if (!name || !name[0])
		return true;
	got = api_template_find(call, name, &out->found);
	out->by_name = true;
	out->by_tag = strchr(name, ':') != NULL;
	out->nothing = got == 0 || (got == 1 && (out->found.fleet || !out->found.is_own));
	return got >= 0;
}

static json_t *snapshot_row(struct sqlite *reader, enum store_read at, const char *slug)
{
	json_t *tags = json_loads(sqlite_text(reader, at, 3), 0, NULL), *json;
	struct snapshot_name name = {0};

	snprintf(name.own.id.text, sizeof(name.own.id.text), "%s", sqlite_text(reader, at, 0));
	snprintf(name.own.name, sizeof(name.own.name), "%s", sqlite_text(reader, at, 1));
	snprintf(name.slug, sizeof(name.slug), "%s", slug);
	snprintf(name.tag, sizeof(name.tag), "%s", STORE_TAG_DEFAULT);
	json = snapshot_json(&name, tags);
	json_decref(tags);
	return json;
}

/* NULL: a fault. */
static json_t *snapshot_rows(struct api_call *call, const struct snapshot_query *query,
			     const char *slug, struct err *err)
{
	struct sqlite *reader = store_reader(call->api->store);
	enum store_read at = STORE_READ_SNAPSHOTS;
	json_t *rows = json_array();
	struct api_cursor last = {0};
	int64_t n = 0;
	int got = -1;

	if (sqlite_bind(reader, at,
			SQL(SQL_TEXT(call->tenant.text), SQL_TEXT(query->sandbox),
			    query->by_name ? SQL_TEXT(query->found.own.id.text) : SQL_NULL,
			    query->by_tag ? SQL_TEXT(query->found.ref.tag) : SQL_NULL,
			    SQL_INT(query->after.at_ns), SQL_TEXT(query->after.id.text),
			    SQL_INT(query->limit + 1)),
			err) == 0)
		while ((got = sqlite_next(reader, at, err)) == 1 && n++ < query->limit) {
			json_array_append_new(rows, snapshot_row(reader, at, slug));
			last.at_ns = sqlite_int(reader, at, 2);
			snprintf(last.id.text, sizeof(last.id.text), "%s",
				 sqlite_text(reader, at, 0));
		}
	if (got < 0) {
		json_decref(rows);
		return NULL;
	}
	if (got == 1) {
		sqlite_reset(reader, at);
		api_cursor_header(call, last.at_ns, &last.id);
	}
	return rows;
}

void api_snapshot_list(struct api_call *call)
{
	struct snapshot_query query;
	struct store_tenant tenant;
	char slug[API_SLUG_MAX];
	json_t *rows = NULL;
	struct err err;

	if (!api_needs_engine(call) || !snapshot_read_query(call, &query))
		return;
	if (query.nothing) {
		rows = json_array();
	} else if (store_tenant_find(call->api->store, &call->tenant, &tenant, &err) == 1) {
		api_tenant_slug(&tenant, slug);
		rows = snapshot_rows(call, &query, slug, &err);
	}
	if (rows)
		api_answer(call, rows);
	else
		api_fail_store(call, &err);
}

/* ---- those that nobody wants ---- */

static size_t unwanted(struct api *api, struct id out[LOOK_N])
{
	struct sqlite *reader = store_reader(api->store);
	enum store_read at = STORE_READ_SNAPSHOTS_UNWANTED;
	int64_t before_ns = engine_wall().ns - REGISTER_MS * NS_PER_MS;
	struct err err;
	size_t n = 0;
	int got = -1;

	if (sqlite_bind(reader, at, SQL(SQL_INT(before_ns), SQL_INT(LOOK_N)), &err) == 0)
		while ((got = sqlite_next(reader, at, &err)) == 1 && n < LOOK_N)
			snprintf(out[n++].text, ID_MAX, "%s", sqlite_text(reader, at, 0));
	if (got < 0)
		log_error("store", "cannot look for snapshots", LOG_ERR(&err));
	else if (got == 1)
		sqlite_reset(reader, at);
	return n;
}

void api_snapshots_look(struct api *api)
{
	struct id ids[LOOK_N];
	enum core_role role;
	size_t n;

	if (!engine_is_available(api->engine))
		return;
	role = core_role(engine_core(api->engine));
	if (role != CORE_ALONE && role != CORE_LEADING)
		return;
	n = unwanted(api, ids);
	for (size_t i = 0; i < n; i++) {
		struct core_event event = {.kind = CORE_EVENT_DROP_SNAPSHOT};

		event.kill.sandbox = ids[i];
		event.kill.cause = CAUSE_REQUEST;
		engine_step(api->engine, &event);
	}
}

static void on_look(uv_timer_t *timer)
{
	api_snapshots_look(timer->data);
}

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

void api_snapshots_open(struct api *api, uv_loop_t *loop)
{
	api->snapshots_timer = calloc(1, sizeof(*api->snapshots_timer));
	CHECK(api->snapshots_timer);
	uv_timer_init(loop, api->snapshots_timer);
	api->snapshots_timer->data = api;
	uv_timer_start(api->snapshots_timer, on_look, LOOK_MS, LOOK_MS);
	uv_unref((uv_handle_t *)api->snapshots_timer);
}

void api_snapshots_close(struct api *api)
{
	uv_close((uv_handle_t *)api->snapshots_timer, on_closed);
}
