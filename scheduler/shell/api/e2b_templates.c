/* Templates as E2B's clients see them: the tenant's own, and what the nodes offer to everybody. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "common/base/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	TEMPLATE_EVENTS_MAX = 1000, /* of the tenant, the newest, are looked through */
	TEMPLATE_BUILDS_MAX = 100,  /* of one template, the newest, are told */
};

/* ---- as JSON ---- */

/* How often the tenant started it lately, and when last. */
static void template_spawns(struct api_call *call, const char *name, int64_t *out_n,
			    int64_t *out_last_ms)
{
	enum observations_read statement = OBSERVATIONS_READ_SPAWNS;
	struct sqlite *reader;
	struct err err;

	*out_n = *out_last_ms = 0;
	if (!call->api->options.observations)
		return;
	reader = observations_reader(call->api->options.observations);
	if (sqlite_bind(
		    reader, statement,
		    SQL(SQL_TEXT(call->tenant.text), SQL_TEXT(name), SQL_INT(TEMPLATE_EVENTS_MAX)),
		    &err))
		return;
	if (sqlite_next(reader, statement, &err) == 1) {
		*out_n = sqlite_int(reader, statement, 0);
		*out_last_ms = sqlite_int(reader, statement, 1);
	}
	sqlite_reset(reader, statement);
}

/* When it was built only its nodes know: for clients it is as old as this scheduler. */
static json_t *fleet_json(struct api_call *call, const struct core_template *template_)
{
	struct id id = api_template_id(template_->name);
	int64_t began_ns = call->api->opened_wall_ns, spawns_n, spawned_ms;
	char build[API_UUID_MAX];

	api_uuid("build", template_->name, 0, build);
	template_spawns(call, template_->name, &spawns_n, &spawned_ms);
	return json_pack(
		"{s:s,s:[s],s:[s],s:b,s:s,s:s,s:i,s:I,s:I,s:I,s:s,s:o,s:o,s:o,s:I,s:n}",
		"templateID", id.text, "names", template_->name, "aliases", template_->name,
		"public", 1, "buildID", build, "buildStatus", "ready", "buildCount", 1, "cpuCount",
		(json_int_t)template_->vcpus, "memoryMB", (json_int_t)template_->mem_mib,
		"diskSizeMB", (json_int_t)template_->disk_mib, "envdVersion", API_ENVD_VERSION,
		"createdAt", api_time(began_ns), "updatedAt", api_time(began_ns), "lastSpawnedAt",
		api_time(spawned_ms * NS_PER_MS), "spawnCount", (json_int_t)spawns_n, "createdBy");
}

json_t *api_template_names(struct api_call *call, const struct store_own_template *own)
{
	struct store_tenant tenant;
	char slug[API_SLUG_MAX];
	struct err err;

	if (!own->name[0] || store_tenant_find(call->api->store, &own->tenant, &tenant, &err) != 1)
		return json_array();
	api_tenant_slug(&tenant, slug);
	return json_pack("[o]", json_sprintf("%s/%s", slug, own->name));
}

/* The build that its default tag stands for; if there is none, the newest. */
static int current_build(struct api_call *call, const struct store_own_template *own,
			 struct store_build *out, struct err *err)
{
	int got = store_build_of_tag(call->api->store, &own->id, STORE_TAG_DEFAULT, out, err);

	if (got == 0)
		got = store_build_newest(call->api->store, &own->id, out, err);
	if (got == 0)
		memset(out, 0, sizeof(*out));
	return got;
}

/* What a build was made in is known when it is ready, and what is on the nodes then counts. */
static void build_sizes(struct api_call *call, struct store_build *build)
{
	const struct core_template *at =
		core_template_find(engine_core(call->api->engine), build->id);

	if (!at)
		return;
	build->vcpus = at->vcpus;
	build->mem_mib = at->mem_mib;
	build->disk_mib = at->disk_mib;
}

/* NULL: a fault. */
static json_t *own_json(struct api_call *call, const struct store_own_template *own,
			struct err *err)
{
	struct store_build build;
	int64_t builds_n, spawns_n = 0, spawned_ms = 0;

	if (current_build(call, own, &build, err) < 0 ||
	    sqlite_get_int(store_reader(call->api->store), STORE_READ_BUILDS_N,
			   SQL(SQL_TEXT(own->id.text)), 0, &builds_n, err))
		return NULL;
	if (build.id[0]) {
		build_sizes(call, &build);
		template_spawns(call, build.id, &spawns_n, &spawned_ms);
	}
	return json_pack("{s:s,s:o,s:o,s:b,s:s,s:s,s:I,s:I,s:I,s:I,s:s,s:o,s:o,s:o,s:I,s:n}",
			 "templateID", own->id.text, "names", api_template_names(call, own),
			 "aliases", own->name[0] ? json_pack("[s]", own->name) : json_array(),
			 "public", own->is_public, "buildID", build.id, "buildStatus",
			 build.id[0] ? store_build_status_name(build.status) : "waiting",
			 "buildCount", (json_int_t)builds_n, "cpuCount", (json_int_t)build.vcpus,
			 "memoryMB", (json_int_t)build.mem_mib, "diskSizeMB",
			 (json_int_t)build.disk_mib, "envdVersion", API_ENVD_VERSION, "createdAt",
			 api_time(own->created_at), "updatedAt", api_time(own->updated_at),
			 "lastSpawnedAt", api_time(spawned_ms * NS_PER_MS), "spawnCount",
			 (json_int_t)spawns_n, "createdBy");
}

/* ---- lists ---- */

static int template_compare(const void *a, const void *b)
{
	const struct core_template *const *one = a, *const *two = b;

	return strcmp((*one)->name, (*two)->name);
}

/* The fleet's, by name; freed by the caller. */
static const struct core_template **templates_sorted(struct core *core, size_t *out_n)
{
	const struct core_template **all = NULL, *at;
	uint32_t cursor = 0;
	size_t n = 0;

	while ((at = core_template_next(core, &cursor)) != NULL) {
		if (template_name_is_builds(at->name))
			continue;
		all = realloc(all, (n + 1) * sizeof(*all));
		CHECK(all);
		all[n++] = at;
	}
	if (n)
		qsort(all, n, sizeof(*all), template_compare);
	*out_n = n;
	return all;
}

/* Tokens: what the page before ended with, behind where it was from. */
#define AFTER_OWN   "t."
#define AFTER_FLEET "f."

static void next_token(struct api_call *call, const char *where, const char *what)
{
	char token[TEMPLATE_NAME_MAX + 4];

	snprintf(token, sizeof(token), "%s%s", where, what);
	http_add_header(call->request, "X-Next-Token", token);
}

/* False: there is no room for more; the call is not ended, whatever comes. */
static bool list_own(struct api_call *call, const char *after, size_t limit, json_t *rows,
		     struct err *err)
{
	struct store *store = call->api->store;
	struct sqlite *reader = store_reader(store);
	enum store_read statement = STORE_READ_OWN_TEMPLATES;
	struct store_own_template own, last = {0};
	int64_t limit_n = limit < INT32_MAX ? (int64_t)limit + 1 : INT32_MAX;
	int got;

	err->text[0] = 0;
	if (sqlite_bind(reader, statement,
			SQL(SQL_TEXT(call->tenant.text), SQL_INT(STORE_BUILD_TEMPLATE),
			    SQL_TEXT(after), SQL_INT(limit_n)),
			err))
		return false;
	while ((got = sqlite_next(reader, statement, err)) == 1) {
		json_t *json;

		if (json_array_size(rows) == limit) {
			next_token(call, AFTER_OWN, last.id.text);
			sqlite_reset(reader, statement);
			return false;
		}
		store_own_template_row(store, statement, &own);
		json = own_json(call, &own, err);
		if (!json) {
			sqlite_reset(reader, statement);
			return false;
		}
		json_array_append_new(rows, json);
		last = own;
	}
	return got == 0;
}

static void list_fleet(struct api_call *call, const char *after, size_t limit, json_t *rows)
{
	const struct core_template **all;
	const char *last = after;
	size_t n;

	all = templates_sorted(engine_core(call->api->engine), &n);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(all[i]->name, after) <= 0)
			continue;
		if (json_array_size(rows) == limit) {
			next_token(call, AFTER_FLEET, last);
			break;
		}
		json_array_append_new(rows, fleet_json(call, all[i]));
		last = all[i]->name;
	}
	free(all);
}

/* The tenant's own come first. */
static void templates_answer(struct api_call *call, const char *token, size_t limit)
{
	bool is_beyond_own = strncmp(token, AFTER_FLEET, 2) == 0;
	json_t *rows = json_array();
	struct err err;
	const char *after = token[0] ? token + 2 : "";

	if (is_beyond_own) {
		list_fleet(call, after, limit, rows);
	} else if (list_own(call, after, limit, rows, &err)) {
		list_fleet(call, "", limit, rows);
	} else if (err.text[0]) {
		json_decref(rows);
		api_fail_store(call, &err);
		return;
	}
	api_answer(call, rows);
}

void api_templates(struct api_call *call)
{
	if (api_needs_engine(call))
		templates_answer(call, "", SIZE_MAX);
}

void api_templates_v2(struct api_call *call)
{
	const char *token = api_text(call->query, "nextToken");

	if (!api_needs_engine(call))
		return;
	if (token && token[0] && strncmp(token, AFTER_OWN, 2) != 0 &&
	    strncmp(token, AFTER_FLEET, 2) != 0) {
		api_fail(call, 400, "invalid_request", "",
			 "nextToken: is not one that was given out");
		return;
	}
	templates_answer(call, token ? token : "", (size_t)api_int(call->query, "limit", 100));
}

/* ---- one ---- */

static void fail_unknown(struct api_call *call, const char *text)
{
	api_fail(call, 404, "template_unknown", "", "template '%.200s' not found", text);
}

/* False: the call is ended. */
static bool template_of(struct api_call *call, const char *text, struct api_template *out)
{
	int got;

	if (!api_needs_engine(call))
		return false;
	got = api_template_find(call, text, out);
	if (got == 0)
		fail_unknown(call, text);
	return got == 1;
}

bool api_template_own(struct api_call *call, const char *text, struct api_template *out)
{
	if (!template_of(call, text, out))
		return false;
	if (out->is_own)
		return true;
	api_fail(call, 403, "forbidden", "", "template '%.200s' is not yours to change", text);
	return false;
}

static json_t *fleet_builds(const json_t *template_)
{
	return json_pack("[{s:O,s:s,s:O,s:O,s:O,s:O,s:O,s:O,s:O}]", "buildID",
			 json_object_get(template_, "buildID"), "status", "ready", "createdAt",
			 json_object_get(template_, "createdAt"), "updatedAt",
			 json_object_get(template_, "updatedAt"), "finishedAt",
			 json_object_get(template_, "updatedAt"), "cpuCount",
			 json_object_get(template_, "cpuCount"), "memoryMB",
			 json_object_get(template_, "memoryMB"), "diskSizeMB",
			 json_object_get(template_, "diskSizeMB"), "envdVersion",
			 json_object_get(template_, "envdVersion"));
}

static json_t *build_json(struct api_call *call, struct store_build *build)
{
	int64_t updated_at = build->finished_at ? build->finished_at : build->created_at;

	build_sizes(call, build);
	return json_pack(
		"{s:s,s:s,s:o,s:o,s:o,s:I,s:I,s:I,s:s}", "buildID", build->id, "status",
		store_build_status_name(build->status), "createdAt", api_time(build->created_at),
		"updatedAt", api_time(updated_at), "finishedAt", api_time(build->finished_at),
		"cpuCount", (json_int_t)build->vcpus, "memoryMB", (json_int_t)build->mem_mib,
		"diskSizeMB", (json_int_t)build->disk_mib, "envdVersion", API_ENVD_VERSION);
}

/* NULL: a fault. */
static json_t *own_builds(struct api_call *call, const struct id *template_, struct err *err)
{
	struct store *store = call->api->store;
	struct sqlite *reader = store_reader(store);
	json_t *rows = json_array();
	struct store_build build;
	int got = -1;

	if (sqlite_bind(reader, STORE_READ_BUILDS_NEWEST,
			SQL(SQL_TEXT(template_->text), SQL_INT(TEMPLATE_BUILDS_MAX)), err) == 0)
		while ((got = sqlite_next(reader, STORE_READ_BUILDS_NEWEST, err)) == 1) {
			store_build_row(store, STORE_READ_BUILDS_NEWEST, &build);
			json_array_append_new(rows, build_json(call, &build));
		}
	if (got == 0)
		return rows;
	json_decref(rows);
	return NULL;
}

void api_template_get(struct api_call *call)
{
	struct api_template found;
	json_t *json, *builds = NULL;
	struct err err;

	if (!template_of(call, call->parameter, &found))
		return;
	json = found.fleet ? fleet_json(call, found.fleet) : own_json(call, &found.own, &err);
	if (json)
		builds = found.fleet ? fleet_builds(json) : own_builds(call, &found.own.id, &err);
	if (!builds) {
		json_decref(json);
		api_fail_store(call, &err);
		return;
	}
	json_object_set_new(json, "builds", builds);
	api_answer(call, json);
}

/* 403 is how E2B says that a name is taken by somebody else. */
void api_template_alias(struct api_call *call)
{
	struct api_template found;
	struct store_build build;
	struct err err;
	struct id id;
	int got;

	if (!api_needs_engine(call))
		return;
	got = api_template_find(call, call->parameter, &found);
	if (got == 1 && strcmp(found.ref.tag, STORE_TAG_DEFAULT) != 0) {
		got = store_build_of_tag(call->api->store, &found.own.id, found.ref.tag, &build,
					 &err);
		if (got < 0)
			api_fail_store(call, &err);
	}
	if (got == 0 && found.is_foreign)
		api_fail(call, 403, "forbidden", "", "You don't have access to template '%.200s'",
			 call->parameter);
	else if (got == 0)
		fail_unknown(call, call->parameter);
	if (got != 1)
		return;
	id = found.fleet ? api_template_id(found.fleet->name) : found.own.id;
	api_answer(call, json_pack("{s:s,s:b}", "templateID", id.text, "public",
				   found.fleet || found.own.is_public));
}

/* ---- changing one ---- */

struct store_op api_template_op(const struct store_own_template *own)
{
	struct store_op op = {.kind = STORE_OP_TEMPLATE};

	op.template_.id = own->id;
	op.template_.tenant = own->tenant;
	memcpy(op.template_.name, own->name, sizeof(op.template_.name));
	op.template_.is_public = own->is_public;
	op.template_.deleted = own->deleted;
	op.template_.life = own->life;
	op.template_.created_at = own->created_at;
	return op;
}

/* What sandboxes run or are saved of it stays what it is. */
void api_template_delete(struct api_call *call)
{
	struct api_template found;
	struct store_op op;

	if (!api_template_own(call, call->parameter, &found))
		return;
	if (strcmp(found.ref.tag, STORE_TAG_DEFAULT) != 0) {
		api_fail(call, 400, "invalid_request", "",
			 "A template is deleted whole: take the tag '%s' away instead",
			 found.ref.tag);
		return;
	}
	op = api_template_op(&found.own);
	op.template_.deleted = true;
	api_decide_all(call, &op, 1, NULL);
}

void api_template_update_v2(struct api_call *call)
{
	const json_t *is_public = json_object_get(call->body, "public");
	struct api_template found;
	struct store_op op;

	if (!api_template_own(call, call->parameter, &found))
		return;
	op = api_template_op(&found.own);
	if (is_public)
		op.template_.is_public = json_is_true(is_public);
	api_decide(call, &op, json_pack("{s:o}", "names", api_template_names(call, &found.own)));
}

void api_template_update(struct api_call *call)
{
	api_template_update_v2(call);
}

/* ---- tags ---- */

static json_t *tags_json(struct api_call *call, const struct id *template_, struct err *err)
{
	struct sqlite *reader = store_reader(call->api->store);
	enum store_read at = STORE_READ_TAGS;
	json_t *rows = json_array();
	int got = -1;

	if (sqlite_bind(reader, at, SQL(SQL_TEXT(template_->text)), err) == 0)
		while ((got = sqlite_next(reader, at, err)) == 1)
			json_array_append_new(
				rows, json_pack("{s:s,s:s,s:o}", "tag", sqlite_text(reader, at, 0),
						"buildID", sqlite_text(reader, at, 1), "createdAt",
						api_time(sqlite_int(reader, at, 2))));
	if (got == 0)
		return rows;
	json_decref(rows);
	return NULL;
}

void api_template_tags(struct api_call *call)
{
	struct api_template found;
	char build[API_UUID_MAX];
	json_t *rows;
	struct err err;

	if (!template_of(call, call->parameter, &found))
		return;
	if (!found.fleet) {
		rows = tags_json(call, &found.own.id, &err);
	} else {
		api_uuid("build", found.fleet->name, 0, build);
		rows = json_pack("[{s:s,s:s,s:o}]", "tag", STORE_TAG_DEFAULT, "buildID", build,
				 "createdAt", api_time(call->api->opened_wall_ns));
	}
	if (rows)
		api_answer(call, rows);
	else
		api_fail_store(call, &err);
}

/* One decision for each tag. */
static void tags_decide(struct api_call *call, const struct store_own_template *own,
			const char *tags, const char *build, json_t *answer)
{
	struct store_op *ops = calloc(STORE_TAGS_MAX / 2, sizeof(*ops));
	const char *at = tags;
	size_t n = 0;

	CHECK(ops);
	while (store_tags_next(&at, ops[n].tag.tag)) {
		ops[n].kind = STORE_OP_TAG;
		ops[n].tag.template_ = own->id;
		ops[n].tag.life = own->life;
		snprintf(ops[n].tag.build, sizeof(ops[n].tag.build), "%s", build);
		n++;
	}
	api_decide_all(call, ops, n, answer);
	free(ops);
}

/* False: the call is ended. */
static bool tags_take(struct api_call *call, char out_tags[STORE_TAGS_MAX])
{
	if (!api_template_tags_take(call, "tags", out_tags))
		return false;
	if (out_tags[0])
		return true;
	api_fail(call, 400, "invalid_request", "", "tags: should have at least one");
	return false;
}

void api_template_tags_assign(struct api_call *call)
{
	const char *target = api_text(call->body, "target");
	struct api_template found;
	struct store_build build;
	char tags[STORE_TAGS_MAX];
	struct err err;
	int got;

	if (!tags_take(call, tags) || !api_template_own(call, target, &found))
		return;
	got = store_build_of_tag(call->api->store, &found.own.id, found.ref.tag, &build, &err);
	if (got < 0) {
		api_fail_store(call, &err);
	} else if (got == 0) {
		api_fail(call, 404, "template_unknown", "", "template '%.200s' has no tag '%s'",
			 target, found.ref.tag);
	} else {
		json_t *list = json_array(), *answer;
		char tag[TEMPLATE_NAME_MAX];
		const char *at = tags;

		while (store_tags_next(&at, tag))
			json_array_append_new(list, json_string(tag));
		answer = json_pack("{s:s,s:o}", "buildID", build.id, "tags", list);
		tags_decide(call, &found.own, tags, build.id, answer);
	}
}

void api_template_tags_remove(struct api_call *call)
{
	struct api_template found;
	char tags[STORE_TAGS_MAX];

	if (tags_take(call, tags) && api_template_own(call, api_text(call->body, "name"), &found))
		tags_decide(call, &found.own, tags, "", NULL);
}
