/* Builds of templates, as E2B's clients ask for them. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "common/base/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	BUILD_VCPUS = 2, /* where nothing is said */
	BUILD_MEM_MIB = 1024,
	BUILD_MEM_LEAST_MIB = 128,
	BUILD_STEPS_MAX = 200, /* as flotilla-template takes */
};

/* ---- beginning one ---- */

/* False: the call is ended. */
static bool take_size(struct api_call *call, struct store_build *build)
{
	const struct api_options *options = &call->api->options;

	build->vcpus = api_int(call->body, "cpuCount", 0);
	build->mem_mib = api_int(call->body, "memoryMB", 0);
	if (build->vcpus == 0)
		build->vcpus = BUILD_VCPUS;
	if (build->mem_mib == 0)
		build->mem_mib = BUILD_MEM_MIB;
	build->disk_mib = options->build_disk_mib;
	if (build->vcpus > options->build_vcpus_max)
		api_fail(call, 400, "invalid_request", "", "CPU count must be at most %u",
			 options->build_vcpus_max);
	else if (build->mem_mib < BUILD_MEM_LEAST_MIB ||
		 build->mem_mib > options->build_mem_max_mib)
		api_fail(call, 400, "invalid_request", "", "Memory must be between %d and %u MiB",
			 BUILD_MEM_LEAST_MIB, options->build_mem_max_mib);
	else if (build->mem_mib % 2)
		api_fail(call, 400, "invalid_request", "", "Memory must be divisible by 2");
	else
		return true;
	return false;
}

/* How many there may be of one tenant. False: the call is ended. */
static bool check_number(struct api_call *call, enum store_read statement, uint32_t max,
			 const char *what)
{
	struct err err;
	int64_t n;

	if (sqlite_get_int(store_reader(call->api->store), statement,
			   SQL(SQL_TEXT(call->tenant.text)), 0, &n, &err)) {
		api_fail_store(call, &err);
		return false;
	}
	if (n < max)
		return true;
	api_fail(call, 429, "too_many", "", "You have reached the limit of %u %s", max, what);
	return false;
}

/* The template of that name, or what it is to be.  False: the call is ended. */
static bool take_template(struct api_call *call, const char *name, struct api_template *out,
			  bool *out_is_new)
{
	struct store *store = call->api->store;
	char seed[ID_MAX + TEMPLATE_NAME_MAX + 1];
	const char *problem;
	struct err err;
	int got;

	memset(out, 0, sizeof(*out));
	if (!api_template_parse(name, &out->ref, &problem)) {
		api_fail(call, 400, "invalid_request", "", "Invalid template reference: %s",
			 problem);
		return false;
	}
	if (template_name_is_builds(out->ref.name)) {
		api_fail(call, 400, "invalid_request", "",
			 "Invalid template reference: the name should not be a UUID");
		return false;
	}
	if (!api_template_namespace_is_ours(call, out->ref.namespace_)) {
		api_fail(call, 403, "forbidden", "", "The namespace '%s' is not yours",
			 out->ref.namespace_);
		return false;
	}
	got = store_own_template_by_name(store, &call->tenant, out->ref.name, &out->own, &err);
	*out_is_new = got == 0;
	if (got != 0) {
		if (got < 0)
			api_fail_store(call, &err);
		return got == 1;
	}
	/* Its id follows from its name: whoever asks at the same time means the same. */
	snprintf(seed, sizeof(seed), "%s/%s", call->tenant.text, out->ref.name);
	out->own.id = api_template_id(seed);
	got = store_own_template_find(store, out->own.id.text, &out->own, &err);
	if (got < 0) {
		api_fail_store(call, &err);
		return false;
	}
	out->own.life = got == 1 ? out->own.life + 1 : 1;
	out->own.id = api_template_id(seed);
	out->own.tenant = call->tenant;
	snprintf(out->own.name, sizeof(out->own.name), "%s", out->ref.name);
	out->own.is_public = out->own.deleted = false;
	out->own.created_at = engine_wall().ns;
	return check_number(call, STORE_READ_OWN_TEMPLATES_N, call->api->options.templates_max,
			    "templates");
}

static json_t *tags_list(const char *tags)
{
	json_t *list = json_array();
	char tag[TEMPLATE_NAME_MAX];

	while (store_tags_next(&tags, tag))
		json_array_append_new(list, json_string(tag));
	return list;
}

/* Tags of the body, and the one of the name, if it has one. */
static bool take_tags(struct api_call *call, const char *name, const char *tag,
		      char out_tags[STORE_TAGS_MAX])
{
	size_t used;

	if (!api_template_tags_take(call, "tags", out_tags))
		return false;
	used = strlen(out_tags);
	if (used && !strchr(name, ':'))
		return true;
	if (used + strlen(tag) + 2 > STORE_TAGS_MAX) {
		api_fail(call, 400, "invalid_request", "", "tags: too many tags");
		return false;
	}
	snprintf(out_tags + used, STORE_TAGS_MAX - used, "%s%s", used ? "," : "", tag);
	return true;
}

static void create(struct api_call *call, const char *name)
{
	struct store_op ops[2] = {{.kind = STORE_OP_TEMPLATE}, {.kind = STORE_OP_BUILD}};
	struct store_build *build = &ops[1].build;
	struct api_template found;
	bool is_new;
	json_t *answer;

	if (!api_needs_engine(call) || !take_template(call, name, &found, &is_new) ||
	    !take_tags(call, name, found.ref.tag, build->tags) || !take_size(call, build) ||
	    !check_number(call, STORE_READ_BUILDS_OPEN_N, call->api->options.builds_max,
			  "builds at once"))
		return;
	ops[0] = api_template_op(&found.own);
	api_build_id(build->id);
	build->template_ = found.own.id;
	build->life = found.own.life;
	build->kind = STORE_BUILD_TEMPLATE;
	build->status = STORE_BUILD_WAITING;
	build->created_at = engine_wall().ns;
	answer = json_pack("{s:s,s:s,s:b,s:o,s:[s],s:o}", "templateID", found.own.id.text,
			   "buildID", build->id, "public", found.own.is_public, "names",
			   api_template_names(call, &found.own), "aliases", found.own.name, "tags",
			   tags_list(build->tags));
	api_decide_all(call, is_new ? ops : ops + 1, is_new ? 2 : 1, answer);
}

void api_template_create(struct api_call *call)
{
	const char *name = api_text(call->body, "name");

	if (!name)
		name = api_text(call->body, "alias");
	if (name)
		create(call, name);
	else
		api_fail(call, 400, "invalid_request", "", "name: is required");
}

void api_template_create_v2(struct api_call *call)
{
	create(call, api_text(call->body, "alias"));
}

/* ---- saying what it is ---- */

/* False: the call is ended. */
static bool build_of(struct api_call *call, struct api_template *out_template,
		     struct store_build *out)
{
	struct err err;
	int got;

	if (!api_template_own(call, call->parameter, out_template))
		return false;
	got = template_name_is_builds(call->second)
		      ? store_build_find(call->api->store, call->second, out, &err)
		      : 0;
	if (got < 0) {
		api_fail_store(call, &err);
		return false;
	}
	if (got == 1 && !out->gone && id_equal(&out->template_, &out_template->own.id))
		return true;
	api_fail(call, 404, "build_unknown", "", "build '%.64s' not found", call->second);
	return false;
}

/* Each file that is copied has been brought.  What else steps are the builder judges, which knows
 * them. False: the call is ended. */
static bool check_steps(struct api_call *call, const json_t *steps)
{
	json_t *step;
	size_t i;

	if (steps && !json_is_array(steps)) {
		api_fail(call, 400, "invalid_request", "", "steps: should be a list");
		return false;
	}
	if (json_array_size(steps) > BUILD_STEPS_MAX) {
		api_fail(call, 400, "invalid_request", "", "steps: should be at most %d",
			 BUILD_STEPS_MAX);
		return false;
	}
	json_array_foreach(steps, i, step)
	{
		const json_t *hash = json_object_get(step, "filesHash");

		if (!hash || json_is_null(hash) ||
		    builds_has_file(call->api->options.builds, &call->tenant,
				    json_is_string(hash) ? json_string_value(hash) : ""))
			continue;
		api_fail(call, 400, "invalid_request", "",
			 "steps: the files of step %zu were not uploaded", i + 1);
		return false;
	}
	return true;
}

/* What of a registry's credentials is not there; NULL: nothing. */
static const char *registry_lacks(const json_t *registry)
{
	static const struct {
		const char *type, *fields[3];
	} kinds[] = {
#define REGISTRY(type, user, password, region) {type, {user, password, region}},
#include "proto/registries.def"
#undef REGISTRY
	};
	const char *type = api_text(registry, "type");

	for (size_t i = 0; type && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(type, kinds[i].type) != 0)
			continue;
		for (size_t f = 0; f < 3; f++)
			if (kinds[i].fields[f][0] && !api_text(registry, kinds[i].fields[f]))
				return kinds[i].fields[f];
		return NULL;
	}
	return "type";
}

/* What nodes' builders can log in with.  False: the call is ended. */
static bool take_registry(struct api_call *call, json_t *spec)
{
	json_t *registry = json_object_get(call->body, "fromImageRegistry");
	const char *missing;

	if (!registry || json_is_null(registry))
		return true;
	missing = registry_lacks(registry);
	if (missing) {
		api_fail(call, 400, "invalid_request", "", "fromImageRegistry: %s is wanted%s",
			 missing, strcmp(missing, "type") ? "" : ": registry, gcp or aws");
		return false;
	}
	json_object_set(spec, "fromImageRegistry", registry);
	return true;
}

/* A template becomes the name that nodes know it by.  False: the call is ended. */
static bool take_base(struct api_call *call, json_t *spec)
{
	const char *template_ = api_text(call->body, "fromTemplate");
	const char *image = api_text(call->body, "fromImage");
	char name[TEMPLATE_NAME_MAX];
	int got;

	if (!template_ == !image) {
		api_fail(call, 400, "invalid_request", "",
			 "fromTemplate: either it or fromImage is required");
		return false;
	}
	if (image) {
		json_object_set_new(spec, "fromImage", json_string(image));
		return take_registry(call, spec);
	}
	got = api_template_resolve(call, template_, name);
	if (got == 0)
		api_fail(call, 404, "template_unknown", "", "template '%.200s' not found",
			 template_);
	if (got == 1)
		json_object_set_new(spec, "fromTemplate", json_string(name));
	return got == 1;
}

void api_build_start(struct api_call *call)
{
	static const char *const fields[] = {"startCmd", "readyCmd", "force", "steps"};
	struct store_op op = {.kind = STORE_OP_BUILD};
	struct api_template found;
	json_t *spec = NULL;
	struct err err;
	bool is_written;

	if (!build_of(call, &found, &op.build))
		return;
	if (op.build.status != STORE_BUILD_WAITING) {
		api_fail(call, 409, "build_begun", "", "build '%s' was begun already", op.build.id);
		return;
	}
	spec = json_object();
	if (!take_base(call, spec) || !check_steps(call, json_object_get(call->body, "steps"))) {
		json_decref(spec);
		return;
	}
	for (size_t i = 0; i < ARRAY_N(fields); i++) {
		json_t *value = json_object_get(call->body, fields[i]);

		if (value)
			json_object_set(spec, fields[i], value);
	}
	if (!json_object_get(spec, "steps"))
		json_object_set_new(spec, "steps", json_array());
	is_written = builds_spec_write(call->api->options.builds, op.build.id, spec, &err) == 0;
	json_decref(spec);
	if (!is_written) {
		api_fail_store(call, &err);
		return;
	}
	op.build.status = STORE_BUILD_BUILDING;
	api_decide_all(call, &op, 1, NULL);
}

/* ---- asking ---- */

static json_t *messages(const json_t *entries)
{
	json_t *list = json_array();
	const json_t *entry;
	size_t i;

	json_array_foreach(entries, i, entry)
		json_array_append(list, json_object_get(entry, "message"));
	return list;
}

void api_build_status(struct api_call *call)
{
	struct api_template found;
	struct store_build build;
	json_t *entries, *answer, *reason;

	if (!build_of(call, &found, &build))
		return;
	entries = builds_lines(call->api->options.builds, build.id,
			       (size_t)api_int(call->query, "logsOffset", 0),
			       (size_t)api_int(call->query, "limit", 100));
	answer = json_pack("{s:s,s:s,s:s,s:o,s:o}", "templateID", found.own.id.text, "buildID",
			   build.id, "status", store_build_status_name(build.status), "logs",
			   messages(entries), "logEntries", entries);
	CHECK(answer);
	if (build.status == STORE_BUILD_ERROR) {
		reason = json_pack("{s:s,s:[]}", "message", build.reason, "logEntries");
		if (build.step[0])
			json_object_set_new(reason, "step", json_string(build.step));
		json_object_set_new(answer, "reason", reason);
	}
	api_answer(call, answer);
}

void api_build_logs(struct api_call *call)
{
	const char *direction = api_text(call->query, "direction");
	bool is_backward = direction && strcmp(direction, "backward") == 0;
	size_t limit = (size_t)api_int(call->query, "limit", 100);
	struct api_template found;
	struct store_build build;
	json_t *rows;

	if (!build_of(call, &found, &build))
		return;
	rows = builds_lines(call->api->options.builds, build.id, 0,
			    is_backward ? BUILDS_LINES_MAX : limit);
	if (is_backward) {
		rows = api_reversed(rows);
		while (json_array_size(rows) > limit)
			json_array_remove(rows, json_array_size(rows) - 1);
	}
	api_answer(call, json_pack("{s:o}", "logs", rows));
}
