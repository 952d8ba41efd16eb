/* See signed.h. */
#include "scheduler/gateway/signed.h"

#include <stdlib.h>
#include <string.h>

#include "common/http/target.h"

enum {
	PATH_TEXT_MAX = 4097,
	USER_TEXT_MAX = 257,
	SIGNATURE_TEXT_MAX = 64,
	EXPIRATION_DIGITS_MAX = 15, /* so that it is a number for us as well */
};

static const char signature_version[] = "v1_";

/* A '+' that was not escaped has become a blank. */
static bool read_signature(char *text, uint8_t out[crypto_hash_sha256_BYTES])
{
	size_t prefix_n = strlen(signature_version), n;

	if (strncmp(text, signature_version, prefix_n))
		return false;
	for (char *at = text; *at; at++) {
		if (*at == ' ')
			*at = '+';
	}
	return !sodium_base642bin(out, crypto_hash_sha256_BYTES, text + prefix_n,
				  strlen(text) - prefix_n, NULL, &n, NULL,
				  sodium_base64_VARIANT_ORIGINAL_NO_PADDING) &&
	       n == crypto_hash_sha256_BYTES;
}

/* ROUTED when there is none, or it is still to come. */
static enum outcome read_expiration(struct http_text query, int64_t now_s, char *out,
				    size_t out_max)
{
	size_t n;

	out[0] = ':';
	switch (http_query_get(query, "signature_expiration", out + 1, out_max - 1)) {
	case HTTP_QUERY_ABSENT:
		out[0] = '\0';
		return OUTCOME_ROUTED;
	case HTTP_QUERY_BAD:
		return OUTCOME_BAD_SIGNATURE;
	case HTTP_QUERY_FOUND:
		break;
	}
	n = strspn(out + 1, "0123456789");
	if (!n || n > EXPIRATION_DIGITS_MAX || out[1 + n])
		return OUTCOME_BAD_SIGNATURE;
	return strtoll(out + 1, NULL, 10) < now_s ? OUTCOME_EXPIRED : OUTCOME_ROUTED;
}

static void begin_hash(crypto_hash_sha256_state *state, const char *path, const char *operation,
		       const char *username)
{
	const char *const parts[] = {path, ":", operation, ":", username, ":"};

	crypto_hash_sha256_init(state);
	for (size_t at = 0; at < sizeof(parts) / sizeof(parts[0]); at++)
		crypto_hash_sha256_update(state, (const uint8_t *)parts[at], strlen(parts[at]));
}

bool signed_url_read(const struct http_head *head, int64_t now_s, struct signed_url *out,
		     enum outcome *out_outcome)
{
	char path[PATH_TEXT_MAX], username[USER_TEXT_MAX], signature[SIGNATURE_TEXT_MAX];
	bool is_write = http_text_equal(head->method, "POST");
	struct http_text route, query;
	enum http_query found;

	http_target_split(head->target, &route, &query);
	if (!http_text_equal(route, "/files") ||
	    (!is_write && !http_text_equal(head->method, "GET")))
		return false;
	found = http_query_get(query, "signature", signature, sizeof(signature));
	if (found == HTTP_QUERY_ABSENT)
		return false;
	*out_outcome = OUTCOME_BAD_SIGNATURE;
	if (found == HTTP_QUERY_BAD || !read_signature(signature, out->wanted) ||
	    http_query_get(query, "path", path, sizeof(path)) == HTTP_QUERY_BAD ||
	    http_query_get(query, "username", username, sizeof(username)) == HTTP_QUERY_BAD)
		return true;
	*out_outcome = read_expiration(query, now_s, out->expiration, sizeof(out->expiration));
	begin_hash(&out->state, path, is_write ? "write" : "read", username);
	return true;
}

bool signed_url_fits(const struct signed_url *url, const char *token)
{
	crypto_hash_sha256_state state = url->state;
	uint8_t hash[crypto_hash_sha256_BYTES];

	crypto_hash_sha256_update(&state, (const uint8_t *)token, strlen(token));
	crypto_hash_sha256_update(&state, (const uint8_t *)url->expiration,
				  strlen(url->expiration));
	crypto_hash_sha256_final(&state, hash);
	return !sodium_memcmp(hash, url->wanted, sizeof(hash));
}
