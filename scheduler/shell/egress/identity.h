/*
 * Tokens by which a sandbox shows others who it is: JWT-SVIDs, signed with ES256 by a key of the
 * fleet's, whose public half is told to everybody (OpenID Connect discovery), so that clouds can be
 * told to believe it.
 *
 * Sources: SPIFFE's JWT-SVID; RFC 7515, 7517, 7518, 7519; OpenID Connect Discovery 1.0.
 */
#ifndef FLOTILLA_SHELL_EGRESS_IDENTITY_H
#define FLOTILLA_SHELL_EGRESS_IDENTITY_H

#include "common/base/ids.h"
#include "scheduler/shell/secrets.h"

#include <jansson.h>
#include <stdint.h>

enum {
	IDENTITY_LIFE_S = 3600,       /* of a token */
	IDENTITY_REFRESH_S = 15 * 60, /* a running sandbox's are made anew so often */
	IDENTITY_AUDIENCE_MAX = 1024,
	IDENTITY_TOKENS_MAX = 5, /* of a sandbox, E2B's number */
};

/* To be freed. issuer: a URL. now_s: since 1970. NULL: err says why. */
char *identity_token(const struct secrets *secrets, const char *issuer, const struct id *tenant,
		     const struct id *sandbox, const char *audience, int64_t now_s,
		     struct err *err);

/* What others verify them by (RFC 7517), and where that is found. */
json_t *identity_keys(const struct secrets *secrets);
json_t *identity_discovery(const char *issuer);

#endif
