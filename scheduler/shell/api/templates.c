/* What tenants call templates: "[namespace/]name[:tag]", or an id. */
#include "scheduler/shell/api/call.h"

#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789-_"
#define TAG_CHARACTERS  NAME_CHARACTERS "."

struct id api_template_id(const char *name)
{
	uint8_t hash[ID_RANDOM_BYTES];

	crypto_generichash(hash, sizeof(hash), (const uint8_t *)name, strlen(name), NULL, 0);
	return id_make("", hash);
}

void api_tenant_slug(const struct store_tenant *tenant, char out_slug[API_SLUG_MAX])
{
	size_t n = 0;

	for (const char *at = tenant->name; *at && n + 1 < API_SLUG_MAX; at++) {
		char c = (char)tolower((unsigned char)*at);
		bool fits = c && strchr(NAME_CHARACTERS, c);
		/* Several that do not fit become one, and none begins it. */
		if (fits)
			out_slug[n++] = c;
		else if (n > 0 && out_slug[n - 1] != '-')
			out_slug[n++] = '-';
	}
	while (n > 0 && out_slug[n - 1] == '-')
		n--;
	out_slug[n] = 0;
	if (n == 0)
		snprintf(out_slug, API_SLUG_MAX, "%s", tenant->id.text);
}

static bool take_part(const char *text, size_t n, const char *characters, char *out, size_t out_max)
{
	if (n == 0 || n >= out_max || strspn(text, characters) < n)
		return false;
	memcpy(out, text, n);
	out[n] = 0;
	return true;
}

bool api_template_parse(const char *text, struct api_template_ref *out, const char **out_problem)
{
	const char *slash = strchr(text, '/');
	const char *name = slash ? slash + 1 : text;
	size_t name_n = strcspn(name, ":");
	const char *tag = name[name_n] ? name + name_n + 1 : STORE_TAG_DEFAULT;

	memset(out, 0, sizeof(*out));
	if (slash && !take_part(text, (size_t)(slash - text), NAME_CHARACTERS, out->namespace_,
				sizeof(out->namespace_)))
		*out_problem = "the namespace should be of a-z, 0-9, '-' and '_'";
	else if (!take_part(name, name_n, NAME_CHARACTERS, out->name, sizeof(out->name)))
		*out_problem = "the name should be of a-z, 0-9, '-' and '_', and at most 63 long";
	else if (!take_part(tag, strlen(tag), TAG_CHARACTERS, out->tag, sizeof(out->tag)))
		*out_problem = "the tag should be of a-z, 0-9, '-', '_' and '.'";
	else if (template_name_is_builds(out->tag))
		*out_problem = "the tag should not be a UUID";
	else
		return true;
	return false;
}

/* ---- what a reference leads to ---- */

bool api_template_namespace_is_ours(struct api_call *call, const char *namespace_)
{
	char slug[API_SLUG_MAX];
	struct store_tenant tenant;
	struct err err;

	if (!namespace_[0] || strcmp(namespace_, call->tenant.text) == 0)
		return true;
	if (store_tenant_find(call->api->store, &call->tenant, &tenant, &err) != 1)
		return false;
	api_tenant_slug(&tenant, slug);
	return strcmp(namespace_, slug) == 0;
}

/* Nobody may use what is another's, unless it is public. */
static int found_own(struct api_call *call, struct api_template *out)
{
	out->is_own = id_equal(&out->own.tenant, &call->tenant);
	out->is_foreign = !out->is_own && !out->own.is_public;
	return !out->is_foreign;
}

/* A build's id is a name to the core, and to nobody else. */
static bool find_fleet(struct api_call *call, struct api_template *out)
{
	struct core *core = engine_core(call->api->engine);
	const struct core_template *at;
	uint32_t cursor = 0;

	if (!core || template_name_is_builds(out->ref.name) ||
	    strcmp(out->ref.tag, STORE_TAG_DEFAULT) != 0)
		return false;
	out->fleet = core_template_find(core, out->ref.name);
	while (!out->fleet && !out->ref.namespace_[0] &&
	       (at = core_template_next(core, &cursor)) != NULL) {
		struct id id = api_template_id(at->name);
		if (strcmp(id.text, out->ref.name) == 0 && !template_name_is_builds(at->name))
			out->fleet = at;
	}
	return out->fleet != NULL;
}

/* In the caller's namespace a name is its own template, or else the fleet's; without a namespace it
 * may also be an id. */
static int find_here(struct api_call *call, struct api_template *out, struct err *err)
{
	struct store *store = call->api->store;
	int got = store_own_template_by_name(store, &call->tenant, out->ref.name, &out->own, err);

	if (got == 1)
		return found_own(call, out);
	if (got < 0)
		return got;
	if (find_fleet(call, out))
		return 1;
	if (out->ref.namespace_[0])
		return 0;
	got = store_own_template_find(store, out->ref.name, &out->own, err);
	if (got == 1)
		got = out->own.deleted ? 0 : found_own(call, out);
	return got;
}

/* Slugs are not unique: the first tenant that has such a template, and shares it, is meant. */
static int find_abroad(struct api_call *call, struct api_template *out, struct err *err)
{
	struct store *store = call->api->store;
	struct sqlite *reader = store_reader(store);
	struct store_tenant tenant;
	char slug[API_SLUG_MAX];
	int got, found = 0;

	if (sqlite_bind(reader, STORE_READ_TENANTS, SQL_NONE, err))
		return -1;
	while (!found && (got = sqlite_next(reader, STORE_READ_TENANTS, err)) != 0) {
		if (got < 0)
			return -1;
		store_tenant_row(store, STORE_READ_TENANTS, &tenant);
		api_tenant_slug(&tenant, slug);
		if (strcmp(slug, out->ref.namespace_) != 0 &&
		    strcmp(tenant.id.text, out->ref.namespace_) != 0)
			continue;
		found = store_own_template_by_name(store, &tenant.id, out->ref.name, &out->own,
						   err);
		if (found == 1)
			found = found_own(call, out);
	}
	sqlite_reset(reader, STORE_READ_TENANTS);
	return found;
}

int api_template_find(struct api_call *call, const char *text, struct api_template *out)
{
	const char *problem;
	struct err err;
	int got;

	memset(out, 0, sizeof(*out));
	if (!api_template_parse(text, &out->ref, &problem))
		return 0;
	got = api_template_namespace_is_ours(call, out->ref.namespace_)
		      ? find_here(call, out, &err)
		      : find_abroad(call, out, &err);
	if (got < 0)
		api_fail_store(call, &err);
	return got;
}

int api_template_resolve(struct api_call *call, const char *text, char out_name[TEMPLATE_NAME_MAX])
{
	struct api_template found;
	struct store_build build;
	struct err err;
	int got = api_template_find(call, text, &found);

	if (got == 1 && found.fleet) {
		memcpy(out_name, found.fleet->name, TEMPLATE_NAME_MAX);
	} else if (got == 1) {
		got = store_build_of_tag(call->api->store, &found.own.id, found.ref.tag, &build,
					 &err);
		if (got < 0)
			api_fail_store(call, &err);
		else if (got == 1)
			got = build.status == STORE_BUILD_READY;
		snprintf(out_name, TEMPLATE_NAME_MAX, "%s", got == 1 ? build.id : "");
	}
	return got;
}

void api_template_label(struct api_call *call, const char *name, struct api_template_label *out)
{
	struct store_own_template own;
	struct store_build build;
	struct err err;

	if (template_name_is_builds(name) &&
	    store_build_find(call->api->store, name, &build, &err) == 1 &&
	    store_own_template_find(call->api->store, build.template_.text, &own, &err) == 1) {
		*out = (struct api_template_label){.id = own.id};
		snprintf(out->alias, sizeof(out->alias), "%s", own.name);
		snprintf(out->build, sizeof(out->build), "%s", build.id);
		return;
	}
	*out = (struct api_template_label){.id = api_template_id(name)};
	snprintf(out->alias, sizeof(out->alias), "%s", name);
	api_uuid("build", name, 0, out->build);
}

/* ---- new ones ---- */

void api_build_id(char out_id[STORE_BUILD_ID_MAX])
{
	uint8_t random[16];
	char hex[33];

	randombytes_buf(random, sizeof(random));
	random[6] = (uint8_t)(0x40 | (random[6] & 0x0f)); /* version 4: random */
	random[8] = (uint8_t)(0x80 | (random[8] & 0x3f));
	sodium_bin2hex(hex, sizeof(hex), random, sizeof(random));
	snprintf(out_id, STORE_BUILD_ID_MAX, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
		 hex + 16, hex + 20);
}

static bool tag_is_good(const char *tag)
{
	char taken[TEMPLATE_NAME_MAX];

	return tag && !template_name_is_builds(tag) &&
	       take_part(tag, strlen(tag), TAG_CHARACTERS, taken, sizeof(taken));
}

bool api_template_tags_take(struct api_call *call, const char *field, char out_tags[STORE_TAGS_MAX])
{
	const json_t *list = json_object_get(call->body, field), *item;
	size_t i, used = 0;

	out_tags[0] = 0;
	if (list && !json_is_array(list)) {
		api_fail(call, 400, "invalid_request", "", "%s: should be a list of tags", field);
		return false;
	}
	json_array_foreach(list, i, item)
	{
		const char *tag = json_string_value(item);

		if (!tag_is_good(tag)) {
			api_fail(call, 400, "invalid_request", "",
				 "Invalid tag '%.64s': the tag should be of a-z, 0-9, '-', '_' and "
				 "'.', at most 63 long and no UUID",
				 tag ? tag : "");
			return false;
		}
		if (used + strlen(tag) + 2 > STORE_TAGS_MAX) {
			api_fail(call, 400, "invalid_request", "", "%s: too many tags", field);
			return false;
		}
		used += (size_t)snprintf(out_tags + used, STORE_TAGS_MAX - used, "%s%s",
					 used ? "," : "", tag);
	}
	return true;
}
