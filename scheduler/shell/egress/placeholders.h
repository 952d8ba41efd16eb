/*
 * Values of a rule's fields with what they name in its place: "${e2b.secrets.NAME}", a secret of
 * the tenant's as it is now, and "${e2b.identity.tokens.NAME}", a token made for the sandbox just
 * now.
 */
#ifndef FLOTILLA_SHELL_EGRESS_PLACEHOLDERS_H
#define FLOTILLA_SHELL_EGRESS_PLACEHOLDERS_H

#include "common/base/ids.h"
#include "scheduler/shell/secrets.h"
#include "scheduler/shell/store/store.h"

#include <jansson.h>
#include <stdint.h>

/* For whom. */
struct placeholders {
	const struct secrets *secrets;
	struct store *store;
	const char *issuer; /* of identity tokens; "": there are none */
	struct id tenant, sandbox;
	const json_t *tokens; /* of `iam`: {name: {audience}}; NULL: none */
	int64_t now_s;        /* since 1970 */
};

/* For vault_free.  NULL: a secret is not there or does not open, or what comes of it can stand in
 * no header; err says which.  A token that is none of its own stays as it is written. */
char *placeholders_fill(const struct placeholders *placeholders, const char *text, struct err *err);

/* Whether the rules name this secret, or any or a token: what comes of them changes by itself. */
bool placeholders_name_secret(const json_t *rules, const char *name);
bool placeholders_name_any(const json_t *rules);

#endif
