/*
 * The scheduler's secrets, each a file of its own in the state folder, made at the first start.  A
 * further replica of a fleet is given copies of all of them before it starts.
 *
 *	fleet.key      32 bytes, shared with the gateway: tickets and envd tokens derive from it
 *	key.pepper     32 bytes: API keys and node tokens are stored as hashes under it
 *	bus.key        32 bytes: seed of the Ed25519 key that nodes know this fleet by
 *	vault.key      32 bytes: values of tenants' secrets are sealed with it
 *	operator.key   the first operator's API key, as text
 */
#ifndef FLOTILLA_SHELL_SECRETS_H
#define FLOTILLA_SHELL_SECRETS_H

#include "common/base/err.h"
#include "common/mux/fleet_key.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	SECRET_N = 32,
	SECRET_HASH_N = 32,
	KEY_TEXT_N = 44, /* "e2b_" and 40 hex digits, as older clients insist on */
	KEY_TEXT_MAX = KEY_TEXT_N + 1,
};

struct secrets {
	struct fleet_key fleet;
	uint8_t pepper[SECRET_N];
	uint8_t bus_seed[SECRET_N];
	uint8_t vault[SECRET_N];
	char operator_key[KEY_TEXT_MAX];
};

/* Calls sodium_init. */
int secrets_open(struct secrets *secrets, const char *dir, struct err *err);

/* Of all of them, which the replicas of a fleet share, as one number that tells nothing of them:
 * equal fingerprints are equal secrets. */
void secrets_fingerprint(const struct secrets *secrets, uint8_t out[SECRET_HASH_N]);

/* A fresh API key or node token. */
void secrets_make_key(char out_text[KEY_TEXT_MAX]);

/* What is stored of one. */
void secrets_hash(const struct secrets *secrets, const char *text, uint8_t out_hash[SECRET_HASH_N]);

#endif
