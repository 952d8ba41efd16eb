/* See placeholders.h. */
#include "scheduler/shell/egress/placeholders.h"

#include "common/base/check.h"
#include "scheduler/shell/egress/identity.h"
#include "scheduler/shell/vault.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SECRET "${e2b.secrets."
#define TOKEN  "${e2b.identity.tokens."

enum { NAME_MAX_N = 256, FILLED_MAX = 24 * 1024 }; /* as proto/wire.def has it */

/* The name in a placeholder of this kind at the front of the text, and how long all of it is; 0: it
 * is none. */
static size_t name_read(const char *text, const char *kind, char out_name[NAME_MAX_N])
{
	size_t kind_n = strlen(kind), name_n;

	if (strncmp(text, kind, kind_n) != 0)
		return 0;
	name_n = strcspn(text + kind_n, "}");
	if (name_n < 1 || name_n >= NAME_MAX_N || text[kind_n + name_n] != '}')
		return 0;
	memcpy(out_name, text + kind_n, name_n);
	out_name[name_n] = 0;
	return kind_n + name_n + 1;
}

static char *secret_value(const struct placeholders *placeholders, char *name, struct err *err)
{
	/* As they are kept. */
	for (char *at = name; *at; at++)
		*at = (char)tolower((unsigned char)*at);
	return vault_value(placeholders->secrets, placeholders->store, &placeholders->tenant, name,
			   err);
}

/* NULL: there is none of that name, or err is set. */
static char *token_value(const struct placeholders *placeholders, const char *name, struct err *err)
{
	const char *audience = json_string_value(
		json_object_get(json_object_get(placeholders->tokens, name), "audience"));

	if (!audience || !placeholders->issuer[0])
		return NULL;
	return identity_token(placeholders->secrets, placeholders->issuer, &placeholders->tenant,
			      &placeholders->sandbox, audience, placeholders->now_s, err);
}

/* What a header cannot carry. */
static bool is_clean(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text == 0x7f || ((unsigned char)*text < 0x20 && *text != '\t'))
			return false;
	return true;
}

static bool append(char *out, size_t *out_n, const char *text, size_t n)
{
	if (*out_n + n >= FILLED_MAX)
		return false;
	memcpy(out + *out_n, text, n);
	*out_n += n;
	out[*out_n] = 0;
	return true;
}

char *placeholders_fill(const struct placeholders *placeholders, const char *text, struct err *err)
{
	char *out = calloc(1, FILLED_MAX), *value, name[NAME_MAX_N];
	size_t out_n = 0, taken_n;
	bool fits = true;

	CHECK(out);
	for (; *text && fits; text += taken_n) {
		value = NULL;
		taken_n = name_read(text, SECRET, name);
		if (taken_n) {
			value = secret_value(placeholders, name, err);
			if (!value)
				goto fail;
		} else {
			taken_n = name_read(text, TOKEN, name);
			err->text[0] = 0;
			value = taken_n ? token_value(placeholders, name, err) : NULL;
			if (err->text[0])
				goto fail;
		}
		if (!value)
			taken_n = 1;
		if (value && !is_clean(value)) {
			err_set(err, "secret %.100s has line breaks or control characters", name);
			vault_free(value);
			goto fail;
		}
		fits = append(out, &out_n, value ? value : text, value ? strlen(value) : taken_n);
		vault_free(value);
	}
	if (fits)
		return out;
	err_set(err, "its value should have less than %d bytes", FILLED_MAX);
fail:
	vault_free(out);
	return NULL;
}

/* ---- what is named ---- */

typedef bool (*value_cb)(const char *value, const char *name);

static bool any_value(const json_t *rules, value_cb names, const char *name)
{
	json_t *list, *rule, *value;
	const char *host, *field;
	size_t i;

	json_object_foreach((json_t *)rules, host, list)
	{
		json_array_foreach(list, i, rule)
		{
			json_object_foreach(
				json_object_get(json_object_get(rule, "transform"), "headers"),
				field, value)
			{
				if (names(json_string_value(value), name))
					return true;
			}
		}
	}
	return false;
}

static bool names_secret(const char *value, const char *name)
{
	char found[NAME_MAX_N];

	while ((value = strstr(value, SECRET))) {
		if (name_read(value, SECRET, found) && strcasecmp(found, name) == 0)
			return true;
		value++;
	}
	return false;
}

static bool names_any(const char *value, const char *name)
{
	(void)name;
	return strstr(value, TOKEN) || strstr(value, SECRET);
}

bool placeholders_name_secret(const json_t *rules, const char *name)
{
	return any_value(rules, names_secret, name);
}

bool placeholders_name_any(const json_t *rules)
{
	return any_value(rules, names_any, NULL);
}
