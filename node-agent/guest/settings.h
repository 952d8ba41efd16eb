/*
 * What the host tells the guest about itself: identity, environment and defaults.  A template has
 * its own environment, user and working directory here, by a POST /init before its snapshot; the
 * rest is filled by the one when a sandbox is claimed, whose variables come over the template's.
 */
#ifndef FLOTILLA_GUEST_SETTINGS_H
#define FLOTILLA_GUEST_SETTINGS_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>

#include "common/http/text.h"
#include "node-agent/guest/users.h"

enum { SETTINGS_TOKEN_MAX = 256 };

struct settings {
	char token[SETTINGS_TOKEN_MAX]; /* "": nobody is asked for one */
	char default_user[USER_NAME_MAX];
	char default_workdir[PATH_MAX]; /* "": the user's home */
	json_t *env;                    /* object of strings: environment of every process */
	bool has_authority;             /* programs are told of it (authority.h) */
	/* A new host has greeted us, who were saved under another: its /init, which comes before
	 * anything else of it, need not know the token of that time. */
	bool has_new_host;
};

void settings_init(struct settings *settings);
void settings_close(struct settings *settings);

/* In time that does not tell how much of it was right. */
bool settings_token_equal(const char *token, struct http_text given);

/*
 * Reads the document of POST /init into *settings: all of it or, when something is malformed,
 * nothing.  Unknown fields are ignored.  NULL, or what is wrong (static text).  Pure.
 */
const char *settings_update(struct settings *settings, const json_t *document);

/* RFC 3339 with optional fraction, "Z" or an offset, to nanoseconds since 1970. Pure. */
bool settings_time_parse(const char *text, int64_t *out_ns);

#endif
