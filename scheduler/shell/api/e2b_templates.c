/* Templates as E2B's clients see them: what the nodes offer. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "common/base/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEMPLATE_EVENTS_MAX = 1000 }; /* of the tenant, the newest, are looked through */

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
static json_t *template_json(struct api_call *call, const struct core_template *template_)
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

static int template_compare(const void *a, const void *b)
{
	const struct core_template *const *one = a, *const *two = b;

	return strcmp((*one)->name, (*two)->name);
}

/* By name; freed by the caller. */
static const struct core_template **templates_sorted(struct core *core, size_t *out_n)
{
	const struct core_template **all = NULL, *at;
	uint32_t cursor = 0;
	size_t n = 0;

	while ((at = core_template_next(core, &cursor)) != NULL) {
		all = realloc(all, (n + 1) * sizeof(*all));
		CHECK(all);
		all[n++] = at;
	}
	if (n)
		qsort(all, n, sizeof(*all), template_compare);
	*out_n = n;
	return all;
}

/* Those behind the name, at most limit; X-Next-Token when there are more. */
static void templates_answer(struct api_call *call, const char *after, size_t limit)
{
	const struct core_template **all;
	json_t *rows = json_array();
	size_t n;

	all = templates_sorted(engine_core(call->api->engine), &n);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(all[i]->name, after) <= 0)
			continue;
		if (json_array_size(rows) == limit) {
			http_add_header(call->request, "X-Next-Token", all[i - 1]->name);
			break;
		}
		json_array_append_new(rows, template_json(call, all[i]));
	}
	free(all);
	api_answer(call, rows);
}

void api_templates(struct api_call *call)
{
	if (api_needs_engine(call))
		templates_answer(call, "", SIZE_MAX);
}

void api_templates_v2(struct api_call *call)
{
	const char *after = api_text(call->query, "nextToken");

	if (api_needs_engine(call))
		templates_answer(call, after ? after : "",
				 (size_t)api_int(call->query, "limit", 100));
}

/* NULL: the call is ended. */
static const struct core_template *template_of(struct api_call *call)
{
	char name[TEMPLATE_NAME_MAX];

	if (!api_needs_engine(call))
		return NULL;
	if (api_template_resolve(call, call->parameter, name))
		return core_template_find(engine_core(call->api->engine), name);
	api_fail(call, 404, "template_unknown", "", "template '%s' not found", call->parameter);
	return NULL;
}

void api_template_get(struct api_call *call)
{
	const struct core_template *template_ = template_of(call);
	json_t *json, *build;

	if (!template_)
		return;
	json = template_json(call, template_);
	build = json_pack(
		"{s:O,s:s,s:O,s:O,s:O,s:O,s:O,s:O,s:O}", "buildID",
		json_object_get(json, "buildID"), "status", "ready", "createdAt",
		json_object_get(json, "createdAt"), "updatedAt", json_object_get(json, "updatedAt"),
		"finishedAt", json_object_get(json, "updatedAt"), "cpuCount",
		json_object_get(json, "cpuCount"), "memoryMB", json_object_get(json, "memoryMB"),
		"diskSizeMB", json_object_get(json, "diskSizeMB"), "envdVersion",
		json_object_get(json, "envdVersion"));
	CHECK(build);
	json_object_set_new(json, "builds", json_pack("[o]", build));
	api_answer(call, json);
}

void api_template_alias(struct api_call *call)
{
	const struct core_template *template_ = template_of(call);
	struct id id;

	if (!template_)
		return;
	id = api_template_id(template_->name);
	api_answer(call, json_pack("{s:s,s:b}", "templateID", id.text, "public", 1));
}

void api_template_tags(struct api_call *call)
{
	const struct core_template *template_ = template_of(call);
	char build[API_UUID_MAX];

	if (!template_)
		return;
	api_uuid("build", template_->name, 0, build);
	api_answer(call, json_pack("[{s:s,s:s,s:o}]", "tag", "default", "buildID", build,
				   "createdAt", api_time(call->api->opened_wall_ns)));
}
