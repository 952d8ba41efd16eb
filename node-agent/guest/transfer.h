/* What uploads and downloads have in common: whose, where to, and how a failure is told. */
#ifndef FLOTILLA_GUEST_TRANSFER_H
#define FLOTILLA_GUEST_TRANSFER_H

#include <limits.h>
#include <stdbool.h>

#include "node-agent/guest/conn.h"
#include "node-agent/guest/users.h"

/* The user that the query names, else the default one; false when refused. */
bool transfer_user(struct conn *conn, struct user *out_user);

/* As above, of a JSON document's field, which may be absent. */
bool transfer_named_user(struct conn *conn, const json_t *given, struct user *out_user);

/* The query's path made absolute; false when refused. *out_given: there is one. */
bool transfer_path(struct conn *conn, const struct user *user, bool *out_given, char out[PATH_MAX]);

/* Answers with errno's meaning for the path. */
void transfer_refuse(struct conn *conn, const char *path);

#endif
