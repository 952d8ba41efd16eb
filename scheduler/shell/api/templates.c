/* What tenants call templates: "[namespace/]name[:tag]", or an id. */
#include "scheduler/shell/api/call.h"

#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789-_"
#define TAG_CHARACTERS  NAME_CHARACTERS "."
#define TAG_DEFAULT     "default"

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

/* A tag that looks like the id of a build would be taken for one. */
static bool is_uuid(const char *text)
{
	if (strlen(text) != 36)
		return false;
	for (int i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	}
	return true;
}

bool api_template_parse(const char *text, struct api_template_ref *out, const char **out_problem)
{
	const char *slash = strchr(text, '/');
	const char *name = slash ? slash + 1 : text;
	size_t name_n = strcspn(name, ":");
	const char *tag = name[name_n] ? name + name_n + 1 : TAG_DEFAULT;

	memset(out, 0, sizeof(*out));
	if (slash && !take_part(text, (size_t)(slash - text), NAME_CHARACTERS, out->namespace_,
				sizeof(out->namespace_)))
		*out_problem = "the namespace should be of a-z, 0-9, '-' and '_'";
	else if (!take_part(name, name_n, NAME_CHARACTERS, out->name, sizeof(out->name)))
		*out_problem = "the name should be of a-z, 0-9, '-' and '_', and at most 63 long";
	else if (!take_part(tag, strlen(tag), TAG_CHARACTERS, out->tag, sizeof(out->tag)))
		*out_problem = "the tag should be of a-z, 0-9, '-', '_' and '.'";
	else if (is_uuid(out->tag))
		*out_problem = "the tag should not be a UUID";
	else
		return true;
	return false;
}

/* Every template is the fleet's: it is in the namespace of whoever asks. */
static bool namespace_is_ours(struct api_call *call, const char *namespace_)
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

bool api_template_resolve(struct api_call *call, const char *text, char out_name[TEMPLATE_NAME_MAX])
{
	struct core *core = engine_core(call->api->engine);
	const struct core_template *at;
	struct api_template_ref ref;
	const char *problem;
	uint32_t cursor = 0;

	if (!core || !api_template_parse(text, &ref, &problem) ||
	    strcmp(ref.tag, TAG_DEFAULT) != 0 || !namespace_is_ours(call, ref.namespace_))
		return false;
	memcpy(out_name, ref.name, TEMPLATE_NAME_MAX);
	if (core_template_find(core, out_name))
		return true;
	while ((at = core_template_next(core, &cursor)) != NULL) {
		struct id id = api_template_id(at->name);
		if (strcmp(id.text, ref.name) != 0)
			continue;
		memcpy(out_name, at->name, TEMPLATE_NAME_MAX);
		return true;
	}
	return false;
}
