#include "scheduler/shell/secrets.h"

#include "common/io/file.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRETS_PATH_MAX = 4096 };

static int secrets_path(char out_path[SECRETS_PATH_MAX], const char *dir, const char *name,
			struct err *err)
{
	if (snprintf(out_path, SECRETS_PATH_MAX, "%s/%s", dir, name) >= SECRETS_PATH_MAX)
		return err_set(err, "path is too long");
	return 0;
}

/* Reads n bytes of a secret, after writing fresh ones where there is no such file yet. */
static int secrets_file(const char *dir, const char *name, const void *fresh, uint8_t *out,
			size_t n, struct err *err)
{
	char path[SECRETS_PATH_MAX];

	if (secrets_path(path, dir, name, err))
		return -1;
	if (access(path, F_OK) && errno == ENOENT && file_write_atomic(path, fresh, n, 0600, err))
		return -1;
	return file_read_secret(path, out, n, err);
}

static int secrets_random_file(const char *dir, const char *name, uint8_t out[SECRET_N],
			       struct err *err)
{
	uint8_t fresh[SECRET_N];
	int fault;

	randombytes_buf(fresh, sizeof(fresh));
	fault = secrets_file(dir, name, fresh, out, SECRET_N, err);
	sodium_memzero(fresh, sizeof(fresh));
	return fault;
}

static int secrets_operator_file(const char *dir, char out_key[KEY_TEXT_MAX], struct err *err)
{
	char fresh[KEY_TEXT_MAX + 1]; /* with a newline, for people who look at it */
	uint8_t text[KEY_TEXT_N + 1];

	secrets_make_key(fresh);
	fresh[KEY_TEXT_N] = '\n';
	if (secrets_file(dir, "operator.key", fresh, text, sizeof(text), err))
		return -1;
	memcpy(out_key, text, KEY_TEXT_N);
	out_key[KEY_TEXT_N] = 0;
	if (strspn(out_key + 4, "0123456789abcdef") != KEY_TEXT_N - 4)
		return err_set(err, "operator.key: not a key");
	return 0;
}

int secrets_open(struct secrets *secrets, const char *dir, struct err *err)
{
	if (sodium_init() < 0)
		return err_set(err, "libsodium does not start");
	if (secrets_random_file(dir, "fleet.key", secrets->fleet.bytes, err) ||
	    secrets_random_file(dir, "key.pepper", secrets->pepper, err) ||
	    secrets_random_file(dir, "bus.key", secrets->bus_seed, err) ||
	    secrets_random_file(dir, "vault.key", secrets->vault, err) ||
	    secrets_operator_file(dir, secrets->operator_key, err))
		return err_wrap(err, "secrets");
	return 0;
}

void secrets_fingerprint(const struct secrets *secrets, uint8_t out[SECRET_HASH_N])
{
	static const char purpose[] = "flotilla fleet fingerprint 1";
	crypto_generichash_state state;

	/* All of them are 20 random bytes or more: nobody finds them by trying. */
	crypto_generichash_init(&state, NULL, 0, SECRET_HASH_N);
	crypto_generichash_update(&state, (const uint8_t *)purpose, sizeof(purpose));
	crypto_generichash_update(&state, secrets->fleet.bytes, sizeof(secrets->fleet.bytes));
	crypto_generichash_update(&state, secrets->pepper, SECRET_N);
	crypto_generichash_update(&state, secrets->bus_seed, SECRET_N);
	crypto_generichash_update(&state, secrets->vault, SECRET_N);
	crypto_generichash_update(&state, (const uint8_t *)secrets->operator_key, KEY_TEXT_N);
	crypto_generichash_final(&state, out, SECRET_HASH_N);
	sodium_memzero(&state, sizeof(state));
}

void secrets_make_key(char out_text[KEY_TEXT_MAX])
{
	uint8_t random[20];

	randombytes_buf(random, sizeof(random));
	memcpy(out_text, "e2b_", 4);
	sodium_bin2hex(out_text + 4, KEY_TEXT_MAX - 4, random, sizeof(random));
	sodium_memzero(random, sizeof(random));
}

void secrets_hash(const struct secrets *secrets, const char *text, uint8_t out_hash[SECRET_HASH_N])
{
	crypto_generichash(out_hash, SECRET_HASH_N, (const uint8_t *)text, strlen(text),
			   secrets->pepper, SECRET_N);
}
