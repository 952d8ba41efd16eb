#include "scheduler/shell/vault.h"

#include "common/base/check.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

enum {
	NONCE_N = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
	TAG_N = crypto_aead_xchacha20poly1305_ietf_ABYTES,
	SEALED_MAX = NONCE_N + VAULT_VALUE_MAX + TAG_N,
	TEXT_VARIANT = sodium_base64_VARIANT_ORIGINAL,
};

/* What the seal is over beside the value: members of one length each, so that no two labels are the
 * same bytes. */
struct vault_label {
	char purpose[24];
	struct id tenant, secret;
	uint8_t version[8];
};

static struct vault_label vault_label(const struct store_secret *secret)
{
	struct vault_label label = {.purpose = "flotilla secret 1"};

	memcpy(label.tenant.text, secret->tenant.text, strlen(secret->tenant.text));
	memcpy(label.secret.text, secret->id.text, strlen(secret->id.text));
	for (int i = 0; i < 8; i++)
		label.version[i] = (uint8_t)((uint64_t)secret->version >> (8 * i));
	return label;
}

/* To be freed. */
static char *seal(const struct secrets *secrets, const struct vault_label *label, const char *value)
{
	size_t value_n = strlen(value), n = NONCE_N + value_n + TAG_N;
	size_t text_n = sodium_base64_ENCODED_LEN(n, TEXT_VARIANT);
	uint8_t *sealed = malloc(n);
	char *text = malloc(text_n);

	CHECK(sealed && text && value_n <= VAULT_VALUE_MAX);
	randombytes_buf(sealed, NONCE_N);
	crypto_aead_xchacha20poly1305_ietf_encrypt(sealed + NONCE_N, NULL, (const uint8_t *)value,
						   value_n, (const uint8_t *)label, sizeof(*label),
						   NULL, sealed, secrets->vault);
	sodium_bin2base64(text, text_n, sealed, n, TEXT_VARIANT);
	free(sealed);
	return text;
}

/* NULL: sealed with another label, or by another key. */
static char *unseal(const struct secrets *secrets, const struct vault_label *label,
		    const char *text)
{
	uint8_t *sealed = malloc(SEALED_MAX);
	char *value = calloc(1, VAULT_VALUE_MAX + 1);
	size_t n;

	CHECK(sealed && value);
	if (sodium_base642bin(sealed, SEALED_MAX, text, strlen(text), NULL, &n, NULL,
			      TEXT_VARIANT) ||
	    n < NONCE_N + TAG_N ||
	    crypto_aead_xchacha20poly1305_ietf_decrypt(
		    (uint8_t *)value, NULL, NULL, sealed + NONCE_N, n - NONCE_N,
		    (const uint8_t *)label, sizeof(*label), sealed, secrets->vault)) {
		free(value);
		value = NULL;
	}
	free(sealed);
	return value;
}

char *vault_seal(const struct secrets *secrets, const struct store_secret *secret,
		 const char *value)
{
	struct vault_label label = vault_label(secret);

	return seal(secrets, &label, value);
}

char *vault_unseal(const struct secrets *secrets, const struct store_secret *secret)
{
	struct vault_label label = vault_label(secret);

	return unseal(secrets, &label, secret->sealed);
}

static struct vault_label network_label(const struct id *tenant)
{
	struct vault_label label = {.purpose = "flotilla network 1"};

	memcpy(label.tenant.text, tenant->text, strlen(tenant->text));
	return label;
}

char *vault_network_seal(const struct secrets *secrets, const struct id *tenant, const char *text)
{
	struct vault_label label = network_label(tenant);

	return seal(secrets, &label, text);
}

char *vault_network_unseal(const struct secrets *secrets, const struct id *tenant,
			   const char *sealed)
{
	struct vault_label label = network_label(tenant);

	return unseal(secrets, &label, sealed);
}

void vault_free(char *value)
{
	if (value)
		sodium_memzero(value, strlen(value));
	free(value);
}

/* ---- environments ---- */

json_t *vault_env_of(const struct id *secret)
{
	json_t *env = json_pack("{s:s}", "secret", secret->text);

	CHECK(env);
	return env;
}

char *vault_value(const struct secrets *secrets, struct store *store, const struct id *tenant,
		  const char *wanted, struct err *err)
{
	struct sqlite *reader = store_reader(store);
	struct store_secret secret;
	char *value = NULL;
	int got = -1;

	if (sqlite_bind(reader, STORE_READ_SECRET, SQL(SQL_TEXT(tenant->text), SQL_TEXT(wanted)),
			err) == 0)
		got = sqlite_next(reader, STORE_READ_SECRET, err);
	if (got == 0)
		err_set(err, "there is no secret %.127s", wanted);
	if (got != 1)
		return NULL;
	store_secret_row(store, STORE_READ_SECRET, &secret);
	value = vault_unseal(secrets, &secret);
	sqlite_reset(reader, STORE_READ_SECRET);
	if (!value)
		err_set(err, "secret %.127s does not open with this vault.key", wanted);
	return value;
}

char *vault_envs_fill(const struct secrets *secrets, struct store *store, const struct id *tenant,
		      const char *envs_text, struct err *err)
{
	json_t *envs = json_loads(envs_text, 0, NULL), *env;
	const char *name, *id;
	char *text = NULL;
	void *next;

	if (!envs)
		envs = json_object();
	json_object_foreach_safe(envs, next, name, env)
	{
		id = json_string_value(json_object_get(env, "secret"));
		if (!id)
			continue;
		char *value = vault_value(secrets, store, tenant, id, err);

		if (!value)
			goto done;
		json_object_set_new(envs, name, json_string(value));
		vault_free(value);
	}
	text = json_dumps(envs, JSON_COMPACT | JSON_SORT_KEYS);
	CHECK(text);
	if (strlen(text) > VAULT_ENVS_MAX) {
		vault_free(text);
		text = NULL;
		err_set(err, "all of it should have at most %d bytes as JSON", VAULT_ENVS_MAX);
	}
done:
	json_decref(envs);
	return text;
}
