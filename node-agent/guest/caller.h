/* Which user a request speaks for, and what its paths mean then. */
#ifndef FLOTILLA_GUEST_CALLER_H
#define FLOTILLA_GUEST_CALLER_H

#include <limits.h>
#include <stdbool.h>

#include "node-agent/guest/conn.h"
#include "node-agent/guest/users.h"

/* "Basic base64(user:…)" to the user's name; false when it is not that. Pure. */
bool caller_basic_user(struct http_text authorization, char out[USER_NAME_MAX]);

/*
 * The user of a Connect call: of its Basic authorization, else the default user.  False when it
 * was refused (unauthenticated), the call is then answered.
 */
bool caller_find(struct conn *conn, struct user *out_user);

/* "" resolves to the default working directory, or to the user's home.  False when refused
 * (invalid_argument), the call is then answered. */
bool caller_path(struct conn *conn, const struct user *user, const char *path, char out[PATH_MAX]);

/* The directory for "". */
const char *caller_workdir(const struct conn *conn, const struct user *user);

#endif
