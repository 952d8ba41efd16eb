/* Identity and defaults of the guest: see settings.h. */
#include "node-agent/guest/settings.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/units.h"

void settings_init(struct settings *settings)
{
	*settings = (struct settings){.env = json_object()};
	snprintf(settings->default_user, sizeof(settings->default_user), "user");
}

void settings_close(struct settings *settings)
{
	json_decref(settings->env);
	settings->env = NULL;
}

bool settings_token_equal(const char *token, struct http_text given)
{
	size_t token_n = strlen(token);
	unsigned char difference = token_n != given.n;

	/* As long as the true one whatever was given, so that time tells nothing of it. */
	for (size_t i = 0; i < token_n; i++) {
		unsigned char c = i < given.n ? (unsigned char)given.at[i] : 0;

		difference |= (unsigned char)(c ^ (unsigned char)token[i]);
	}
	return !difference;
}

/* Absent and null leave *out alone. */
static bool read_text(const json_t *document, const char *name, char *out, size_t out_max)
{
	const json_t *value = json_object_get(document, name);

	if (!value || json_is_null(value))
		return true;
	if (!json_is_string(value))
		return false;
	return http_text_copy(
		(struct http_text){json_string_value(value), json_string_length(value)}, out,
		out_max);
}

static bool env_is_good(json_t *env)
{
	const char *name;
	json_t *value;

	json_object_foreach(env, name, value) if (!name[0] || strchr(name, '=') ||
						  !json_is_string(value)) return false;
	return true;
}

const char *settings_update(struct settings *settings, const json_t *document)
{
	struct settings next = *settings;
	json_t *env = json_object_get(document, "envVars");

	if (!read_text(document, "accessToken", next.token, sizeof(next.token)))
		return "accessToken: a string of at most 255 bytes is wanted";
	if (!read_text(document, "defaultUser", next.default_user, sizeof(next.default_user)))
		return "defaultUser: a user's name is wanted";
	if (!read_text(document, "defaultWorkdir", next.default_workdir,
		       sizeof(next.default_workdir)))
		return "defaultWorkdir: a path is wanted";
	if (env && !json_is_null(env)) {
		if (!json_is_object(env) || !env_is_good(env))
			return "envVars: an object of strings is wanted";
		/* Over what is there: a template's own variables were set before its snapshot. */
		next.env = json_deep_copy(settings->env);
		if (!next.env || json_object_update(next.env, env)) {
			json_decref(next.env);
			return "envVars: no memory";
		}
		json_decref(settings->env);
	}
	*settings = next;
	return NULL;
}

/* "+02:00" or "-07:30" to seconds. */
static bool offset_parse(const char *text, int64_t *out_s)
{
	int hours, minutes, n = 0;

	if (sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &n) != 2 || n != 5 || text[6])
		return false;
	*out_s = (hours * 3600 + minutes * 60) * (text[0] == '-' ? -1 : 1);
	return hours >= 0 && hours < 24 && minutes >= 0 && minutes < 60;
}

bool settings_time_parse(const char *text, int64_t *out_ns)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	int64_t offset_s = 0, fraction_ns = 0, unit_ns = NS_PER_S;

	if (!rest || tm.tm_year < 70 || tm.tm_year > 300)
		return false;
	if (*rest == '.') {
		if (rest[1] < '0' || rest[1] > '9')
			return false;
		for (rest++; *rest >= '0' && *rest <= '9'; rest++) {
			unit_ns /= 10;
			fraction_ns += (*rest - '0') * unit_ns;
		}
	}
	if (*rest == '+' || *rest == '-') {
		if (!offset_parse(rest, &offset_s))
			return false;
	} else if (strcmp(rest, "Z")) {
		return false;
	}
	*out_ns = (timegm(&tm) - offset_s) * NS_PER_S + fraction_ns;
	return true;
}
