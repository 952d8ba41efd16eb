/*
 * Signed file URLs that do not say for which sandbox they are, as E2B's clients make them where all
 * sandboxes share one host: GET and POST /files?path&username&signature&signature_expiration.
 *
 * The signature is v1_ and the base64 (without padding) of SHA-256 over
 *	path ":" "read" or "write" ":" username ":" envd's token of the sandbox [":" expiration]
 * so the sandbox is the one whose token fits.  Pure.
 */
#ifndef FLOTILLA_GATEWAY_SIGNED_H
#define FLOTILLA_GATEWAY_SIGNED_H

#include <sodium.h>
#include <stdbool.h>

#include "common/http/head.h"
#include "scheduler/gateway/route.h"

struct signed_url {
	crypto_hash_sha256_state state; /* over all that is before the token */
	char expiration[32];            /* ":" and the number, or nothing */
	uint8_t wanted[crypto_hash_sha256_BYTES];
};

/*
 * False: it is no signed URL at all.  Else *out_outcome is ROUTED, and *out can be tried, or a
 * refusal that depends on nothing but the URL and the time.
 */
bool signed_url_read(const struct http_head *head, int64_t now_s, struct signed_url *out,
		     enum outcome *out_outcome);

bool signed_url_fits(const struct signed_url *url, const char *token);

#endif
