#include "scheduler/cli/settings.h"

#include "common/base/check.h"
#include "common/io/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SETTINGS_FILE_MAX = 1 << 16 };

static const struct option_spec rows[] = {
#define OPTION(...) OPTION_ROW(struct settings, __VA_ARGS__)
#include "scheduler/cli/settings.def"
#undef OPTION
};

const struct options_program settings_program = {
	.name = "cli",
	.summary = "sandboxes on a fleet of microVMs",
	.rows = rows,
	.rows_n = ARRAY_N(rows),
	.size = sizeof(struct settings),
};

int settings_path(const char *name, char out_path[SETTING_PATH_MAX], struct err *err)
{
	const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	int n;

	if (base && base[0])
		n = snprintf(out_path, SETTING_PATH_MAX, "%s/flotilla/%s", base, name);
	else if (home && home[0])
		n = snprintf(out_path, SETTING_PATH_MAX, "%s/.config/flotilla/%s", home, name);
	else
		return err_set(err, "neither HOME nor XDG_CONFIG_HOME is set");
	return n < SETTING_PATH_MAX ? 0 : err_set(err, "the path of %s is too long", name);
}

static int apply_file(struct options_set *set, const char *path, bool may_be_missing,
		      struct err *err)
{
	char *text;
	size_t text_n;
	int failed;

	if (file_read(path, SETTINGS_FILE_MAX, &text, &text_n, err))
		return may_be_missing && (errno == ENOENT || errno == ENOTDIR) ? 0 : -1;
	failed = options_apply_ini(set, path, text, text_n, err);
	free(text);
	return failed;
}

static int apply_folder_file(struct options_set *set, struct err *err)
{
	static const char path[] = ".flotilla.ini";

	if (apply_file(set, path, true, err))
		return -1;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		const struct option_origin *origin = &set->origin[i];

		if (rows[i].flags & SETTING_OWN && origin->source == OPTION_FROM_FILE &&
		    strcmp(origin->file, path) == 0)
			return err_set(err,
				       "%s:%u: %s is not taken from a folder's file, which may "
				       "be somebody else's; put it into a context",
				       path, origin->line, rows[i].name);
	}
	return 0;
}

static int apply_context(struct options_set *set, const char *name, struct err *err)
{
	char path[SETTING_PATH_MAX], file[64];
	struct stat about;

	if (!context_name_is_valid(name))
		return err_set(err, "\"%.64s\" is no name of a context: 1 to 40 of a-z 0-9 - _",
			       name);
	snprintf(file, sizeof(file), "contexts/%s.ini", name);
	if (settings_path(file, path, err))
		return -1;
	if (stat(path, &about))
		return err_set(err, "there is no context %s; `flotilla context ls` lists them",
			       name);
	if (about.st_mode & (S_IRWXG | S_IRWXO))
		return err_set(err, "%s may be read by others; run: chmod 600 %s", path, path);
	return apply_file(set, path, false, err);
}

/* One pass over all sources; context NULL: without a context. */
static int apply_all(struct options_set *set, struct settings *out,
		     const struct options_flags *flags, const char *context, struct err *err)
{
	char path[SETTING_PATH_MAX];

	options_defaults(set, &settings_program, out);
	if (apply_file(set, "/etc/flotilla/cli.ini", true, err))
		return -1;
	/* A daemon's or cron's environment may have no home; then there are no such files. */
	if (settings_path("config.ini", path, NULL) == 0 && apply_file(set, path, true, err))
		return -1;
	if (context && apply_context(set, context, err))
		return -1;
	if (apply_folder_file(set, err) || options_apply_environment(set, environ, err))
		return -1;
	return options_apply_flags(set, flags, err);
}

/* A key and a key's file are two ways to say one thing: the later source counts. */
static void prefer_later(const struct options_set *set, enum setting_row key, char *out_key,
			 enum setting_row file, char *out_file)
{
	if (set->origin[file].source > set->origin[key].source)
		out_key[0] = 0;
	else if (out_key[0])
		out_file[0] = 0;
}

int settings_load(struct options_set *set, struct settings *out, const struct options_flags *flags,
		  struct err *err)
{
	char context[OPTION_TEXT_MAX];

	/* Twice: the context lies in the middle of the sources, and the last ones may choose it. */
	if (apply_all(set, out, flags, NULL, err))
		return -1;
	memcpy(context, out->context, sizeof(context));
	if (context[0] && apply_all(set, out, flags, context, err))
		return -1;
	prefer_later(set, SETTING_ROW_api_key, out->api_key, SETTING_ROW_api_key_file,
		     out->api_key_file);
	prefer_later(set, SETTING_ROW_operator_key, out->operator_key,
		     SETTING_ROW_operator_key_file, out->operator_key_file);
	return 0;
}

static int key_of(const char *key, const char *file, char out_key[OPTION_TEXT_MAX], struct err *err)
{
	char *text;
	size_t text_n;

	snprintf(out_key, OPTION_TEXT_MAX, "%s", key);
	if (key[0] || !file[0])
		return 0;
	if (file_read(file, OPTION_TEXT_MAX - 1, &text, &text_n, err))
		return -1;
	text[strcspn(text, " \t\r\n")] = 0;
	snprintf(out_key, OPTION_TEXT_MAX, "%s", text);
	free(text);
	return out_key[0] ? 0 : err_set(err, "%s holds no key", file);
}

int settings_api_key(const struct settings *settings, char out_key[OPTION_TEXT_MAX],
		     struct err *err)
{
	return key_of(settings->api_key, settings->api_key_file, out_key, err);
}

int settings_operator_key(const struct settings *settings, char out_key[OPTION_TEXT_MAX],
			  struct err *err)
{
	return key_of(settings->operator_key, settings->operator_key_file, out_key, err);
}

bool context_name_is_valid(const char *name)
{
	size_t n = strlen(name);

	return n >= 1 && n <= 40 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") == n;
}

int context_save(const char *name, const struct settings *settings, struct err *err)
{
	static const enum setting_row kept[] = {SETTING_ROW_api_url, SETTING_ROW_gateway_url,
						SETTING_ROW_domain,  SETTING_ROW_ca_file,
						SETTING_ROW_api_key, SETTING_ROW_operator_key};
	char path[SETTING_PATH_MAX], file[64], text[ARRAY_N(kept) * (OPTION_TEXT_MAX + 32)];
	size_t used = 0;

	CHECK(context_name_is_valid(name));
	if (settings_path("contexts", path, err) || file_make_dirs(path, 0700, err))
		return -1;
	snprintf(file, sizeof(file), "contexts/%s.ini", name);
	if (settings_path(file, path, err))
		return -1;
	for (size_t i = 0; i < ARRAY_N(kept); i++) {
		const struct option_spec *row = &rows[kept[i]];
		char value[OPTION_TEXT_MAX];

		option_format(row, settings, value);
		if (value[0])
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s = %s\n",
						 row->name, value);
	}
	return file_write_atomic(path, text, used, 0600, err);
}

/* The length of the line at text, newline included. */
static size_t line_length(const char *text)
{
	size_t n = strcspn(text, "\n");

	return n + (text[n] == '\n');
}

static bool line_sets_context(const char *line)
{
	line += strspn(line, " \t");
	if (strncmp(line, "context", 7) != 0)
		return false;
	line += 7 + strspn(line + 7, " \t");
	return *line == '=' || *line == ':';
}

char *context_set_line(const char *text, const char *name)
{
	size_t room = strlen(text) + strlen(name) + 16, used;
	char *out = malloc(room);

	CHECK(out);
	used = (size_t)snprintf(out, room, "context = %s\n", name);
	for (size_t n; *text; text += n) {
		n = line_length(text);
		if (line_sets_context(text))
			continue;
		memcpy(out + used, text, n);
		used += n;
	}
	out[used] = 0;
	return out;
}

int context_use(const char *name, struct err *err)
{
	char path[SETTING_PATH_MAX], *text = NULL, *changed;
	size_t text_n;
	int failed;

	if (settings_path("", path, err) || file_make_dirs(path, 0700, err) ||
	    settings_path("config.ini", path, err))
		return -1;
	if (file_read(path, SETTINGS_FILE_MAX, &text, &text_n, err) && errno != ENOENT)
		return -1;
	changed = context_set_line(text ? text : "", name);
	failed = file_write_atomic(path, changed, strlen(changed), 0600, err);
	free(changed);
	free(text);
	return failed;
}
