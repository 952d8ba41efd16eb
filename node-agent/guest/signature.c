/* Signed addresses of files: see signature.h. */
#include "node-agent/guest/signature.h"

#include <inttypes.h>
#include <limits.h>
#include <sodium/crypto_hash_sha256.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/http/target.h"
#include "node-agent/guest/base64.h"
#include "node-agent/guest/settings.h"

static void add(crypto_hash_sha256_state *state, const char *text)
{
	crypto_hash_sha256_update(state, (const unsigned char *)text, strlen(text));
}

void signature_make(const char *path, bool is_write, const char *username, const char *token,
		    const char *expiration, char out[SIGNATURE_MAX])
{
	const char *parts[] = {path, is_write ? "write" : "read", username, token, expiration};
	unsigned char digest[crypto_hash_sha256_BYTES];
	char text[BASE64_N(crypto_hash_sha256_BYTES)];
	crypto_hash_sha256_state state;

	crypto_hash_sha256_init(&state);
	for (size_t i = 0; i < ARRAY_N(parts) && parts[i]; i++) {
		if (i)
			add(&state, ":");
		add(&state, parts[i]);
	}
	crypto_hash_sha256_final(&state, digest);
	base64_encode((const char *)digest, sizeof(digest), text);
	/* The last of 44 characters is padding. */
	snprintf(out, SIGNATURE_MAX, "v1_%.43s", text);
}

const char *signature_check(struct http_text query, bool is_write, const char *token, int64_t now_s)
{
	char path[PATH_MAX], username[USER_NAME_MAX], given[256], digits[24],
		expected[SIGNATURE_MAX];
	uint64_t expires_s = 0;
	bool has_end;

	switch (http_query_get(query, "signature", given, sizeof(given))) {
	case HTTP_QUERY_ABSENT:
		return "missing signature query parameter";
	case HTTP_QUERY_BAD:
		return "invalid signature";
	case HTTP_QUERY_FOUND:
		break;
	}
	has_end = http_query_get(query, "signature_expiration", digits, sizeof(digits)) !=
		  HTTP_QUERY_ABSENT;
	if (http_query_get(query, "path", path, sizeof(path)) == HTTP_QUERY_BAD ||
	    http_query_get(query, "username", username, sizeof(username)) == HTTP_QUERY_BAD ||
	    (has_end &&
	     (!http_text_u64(http_text_of(digits), &expires_s) || expires_s > INT64_MAX)))
		return "invalid signature";
	/* What was signed is the number, however it was written. */
	snprintf(digits, sizeof(digits), "%" PRIu64, expires_s);
	signature_make(path, is_write, username, token, has_end ? digits : NULL, expected);
	if (!settings_token_equal(expected, http_text_of(given)))
		return "invalid signature";
	return has_end && (int64_t)expires_s < now_s ? "signature is already expired" : NULL;
}
