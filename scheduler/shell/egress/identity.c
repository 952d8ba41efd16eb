/* See identity.h. */
#include "scheduler/shell/egress/identity.h"

#include "common/base/check.h"
#include "scheduler/shell/egress/p256.h"

#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_ID_N = 16, BASE64 = sodium_base64_VARIANT_URLSAFE_NO_PADDING };

struct text {
	char at[2 * P256_N + 1];
};

static struct text coordinate(const uint8_t bytes[P256_N])
{
	struct text text;

	sodium_bin2base64(text.at, sizeof(text.at), bytes, P256_N, BASE64);
	return text;
}

/* A number made of the public half. */
static struct text key_id(const struct p256 *pair)
{
	uint8_t id[KEY_ID_N];
	struct text text;
	crypto_generichash_state state;

	crypto_generichash_init(&state, NULL, 0, sizeof(id));
	crypto_generichash_update(&state, pair->x, P256_N);
	crypto_generichash_update(&state, pair->y, P256_N);
	crypto_generichash_final(&state, id, sizeof(id));
	sodium_bin2base64(text.at, sizeof(text.at), id, sizeof(id), BASE64);
	return text;
}

static struct p256 own_pair(const struct secrets *secrets)
{
	return p256_derive(secrets, "flotilla sandbox identity 1", "");
}

json_t *identity_keys(const struct secrets *secrets)
{
	struct p256 pair = own_pair(secrets);
	json_t *keys = json_pack("{s:[{s:s,s:s,s:s,s:s,s:s,s:s,s:s}]}", "keys", "kty", "EC", "crv",
				 "P-256", "use", "sig", "alg", "ES256", "kid", key_id(&pair).at,
				 "x", coordinate(pair.x).at, "y", coordinate(pair.y).at);

	CHECK(keys);
	sodium_memzero(&pair, sizeof(pair));
	return keys;
}

json_t *identity_discovery(const char *issuer)
{
	json_t *told = json_pack("{s:s,s:s+,s:[s],s:[s],s:[s],s:[s,s,s,s,s]}", "issuer", issuer,
				 "jwks_uri", issuer, "/.well-known/jwks.json",
				 "response_types_supported", "id_token", "subject_types_supported",
				 "public", "id_token_signing_alg_values_supported", "ES256",
				 "claims_supported", "sub", "aud", "exp", "iat", "iss");

	CHECK(told);
	return told;
}

/* ---- a token ---- */

/* RFC 3986's part between "//" and the path, without a port: a trust domain has none. */
static json_t *subject(const char *issuer, const struct id *tenant, const struct id *sandbox)
{
	const char *host = strstr(issuer, "//");

	host = host ? host + 2 : issuer;
	return json_sprintf("spiffe://%.*s/tenant/%s/sandbox/%s", (int)strcspn(host, ":/"), host,
			    tenant->text, sandbox->text);
}

static char *append_part(char *text, json_t *json)
{
	char *part = json_dumps(json, JSON_COMPACT);
	size_t part_n, text_n = text ? strlen(text) : 0, more_n;

	CHECK(part);
	part_n = strlen(part);
	more_n = sodium_base64_ENCODED_LEN(part_n, BASE64);
	text = realloc(text, text_n + 1 + more_n);
	CHECK(text);
	if (text_n)
		text[text_n++] = '.';
	sodium_bin2base64(text + text_n, more_n, (const uint8_t *)part, part_n, BASE64);
	free(part);
	json_decref(json);
	return text;
}

/* r and s side by side, each of a coordinate's length, as RFC 7518 wants them. */
static int sign(const struct p256 *pair, const char *text, uint8_t out[2 * P256_N], struct err *err)
{
	const gnutls_datum_t data = {(unsigned char *)text, (unsigned)strlen(text)};
	gnutls_datum_t signature = {0}, r = {0}, s = {0};
	gnutls_x509_privkey_t key;
	gnutls_privkey_t signer = NULL;
	int status;

	if (p256_key(pair, &key, err))
		return -1;
	status = gnutls_privkey_init(&signer);
	if (status == 0)
		status = gnutls_privkey_import_x509(signer, key, 0);
	if (status == 0)
		status = gnutls_privkey_sign_data(signer, GNUTLS_DIG_SHA256, 0, &data, &signature);
	if (status == 0)
		status = gnutls_decode_rs_value(&signature, &r, &s);
	for (int i = 0; status == 0 && i < 2; i++) {
		const gnutls_datum_t *number = i ? &s : &r;
		unsigned skip = number->size > P256_N ? number->size - P256_N : 0;
		unsigned n = number->size - skip;

		memset(out + i * P256_N, 0, P256_N);
		memcpy(out + i * P256_N + P256_N - n, number->data + skip, n);
	}
	gnutls_free(signature.data);
	gnutls_free(r.data);
	gnutls_free(s.data);
	if (signer)
		gnutls_privkey_deinit(signer);
	gnutls_x509_privkey_deinit(key);
	return status ? err_set(err, "an identity token: %s", gnutls_strerror(status)) : 0;
}

char *identity_token(const struct secrets *secrets, const char *issuer, const struct id *tenant,
		     const struct id *sandbox, const char *audience, int64_t now_s, struct err *err)
{
	struct p256 pair = own_pair(secrets);
	uint8_t signature[2 * P256_N], number[16];
	char name[2 * sizeof(number) + 1];
	size_t n, signature_n = sodium_base64_ENCODED_LEN(sizeof(signature), BASE64);
	char *text;
	int status;

	randombytes_buf(number, sizeof(number));
	sodium_bin2hex(name, sizeof(name), number, sizeof(number));
	text = append_part(NULL, json_pack("{s:s,s:s,s:s}", "alg", "ES256", "kid", key_id(&pair).at,
					   "typ", "JWT"));
	text = append_part(text, json_pack("{s:s,s:o,s:[s],s:I,s:I,s:I,s:s}", "iss", issuer, "sub",
					   subject(issuer, tenant, sandbox), "aud", audience, "iat",
					   (json_int_t)now_s, "nbf", (json_int_t)now_s, "exp",
					   (json_int_t)now_s + IDENTITY_LIFE_S, "jti", name));
	status = sign(&pair, text, signature, err);
	sodium_memzero(&pair, sizeof(pair));
	if (status) {
		free(text);
		return NULL;
	}
	n = strlen(text);
	text = realloc(text, n + 1 + signature_n);
	CHECK(text);
	text[n] = '.';
	sodium_bin2base64(text + n + 1, signature_n, signature, sizeof(signature), BASE64);
	return text;
}
