/*
 * Where the command's settings come from.  Later wins: defaults, /etc/flotilla/cli.ini,
 * ~/.config/flotilla/config.ini, the context's file, ./.flotilla.ini, FLOTILLA_*, flags.
 *
 * A context is a file ~/.config/flotilla/contexts/NAME.ini (mode 0600) with the URLs and keys of
 * one fleet; `context = NAME` in config.ini makes it the current one.
 *
 * ./.flotilla.ini comes with whatever was checked out into the folder.  It may choose a context and
 * an output, but not a URL or a key: else it could have your key sent to somebody else.
 */
#ifndef FLOTILLA_CLI_SETTINGS_H
#define FLOTILLA_CLI_SETTINGS_H

#include "common/base/err.h"
#include "common/io/options.h"

enum { SETTING_OWN = 2 /* beside OPTION_SECRET */, SETTING_PATH_MAX = 4096 };

struct settings {
#define OPTION OPTION_MEMBER
#include "scheduler/cli/settings.def"
#undef OPTION
};

extern const struct options_program settings_program;

/* Which row of the program a struct's member is: SETTING_ROW(api_url). */
enum setting_row {
#define OPTION(type, field, ...) SETTING_ROW_##field,
#include "scheduler/cli/settings.def"
#undef OPTION
};

/* Fills in everything but the keys that lie in key files. set->values is *out. */
int settings_load(struct options_set *set, struct settings *out, const struct options_flags *flags,
		  struct err *err);

/* The key itself or the first line of its file, as text; empty when there is none. */
int settings_api_key(const struct settings *settings, char out_key[OPTION_TEXT_MAX],
		     struct err *err);
int settings_operator_key(const struct settings *settings, char out_key[OPTION_TEXT_MAX],
			  struct err *err);

/* "~/.config/flotilla/" + name (XDG_CONFIG_HOME is honoured). */
int settings_path(const char *name, char out_path[SETTING_PATH_MAX], struct err *err);

/* 1..40 of [a-z0-9-_]. */
bool context_name_is_valid(const char *name);

/* Writes the context's file whole, with these members of settings that are not empty. */
int context_save(const char *name, const struct settings *settings, struct err *err);

/* Makes it the current one: sets the line "context = NAME" of config.ini, keeps all others. */
int context_use(const char *name, struct err *err);

/* Pure: text (NUL-terminated) with its top-level line "context = ..." set; to be freed. */
char *context_set_line(const char *text, const char *name);

#endif
