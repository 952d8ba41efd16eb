/*
 * Addresses of files that carry their own permission, as E2B signs them:
 *
 *   v1_ + base64(sha256(path:operation:username:token[:expiration])), without padding
 *
 * path and username as in the query ("" when absent), operation "read" or "write", expiration in
 * seconds since 1970.
 */
#ifndef FLOTILLA_GUEST_SIGNATURE_H
#define FLOTILLA_GUEST_SIGNATURE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/http/text.h"

enum { SIGNATURE_MAX = 3 + 43 + 1 };

/* expiration: decimal digits, or NULL when it never expires.  Pure. */
void signature_make(const char *path, bool is_write, const char *username, const char *token,
		    const char *expiration, char out[SIGNATURE_MAX]);

/*
 * Whether the query may read or write its file now: NULL, or E2B's words for why not (static text).
 * The comparison takes as long whatever was given.  Pure.
 */
const char *signature_check(struct http_text query, bool is_write, const char *token,
			    int64_t now_s);

#endif
