/*
 * What is derived from the fleet key, the 32 secret bytes that scheduler and gateway share: the
 * ticket with which a shim binds its tunnel to a sandbox, and the sandbox's envd access token.
 * Derived, not stored, so that a restarted daemon knows them again.  Uses libsodium; call
 * sodium_init first.
 */
#ifndef FLOTILLA_MUX_FLEET_KEY_H
#define FLOTILLA_MUX_FLEET_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/ids.h"

enum {
	FLEET_KEY_N = 32,
	TICKET_N = 32,
	ENVD_TOKEN_N = 24,
	ENVD_TOKEN_TEXT_MAX = 2 * ENVD_TOKEN_N + 1, /* hex and NUL */
};

struct fleet_key {
	uint8_t bytes[FLEET_KEY_N];
};

struct ticket {
	uint8_t bytes[TICKET_N];
};

/* From a file of exactly FLEET_KEY_N bytes which others than its owner cannot read. */
int fleet_key_read(const char *path, struct fleet_key *out_key, struct err *err);

struct ticket fleet_key_ticket(const struct fleet_key *key, const struct id *sandbox);
bool fleet_key_ticket_verify(const struct fleet_key *key, const struct id *sandbox,
			     const struct ticket *ticket);

/* Lower-case hex. */
void fleet_key_envd_token(const struct fleet_key *key, const struct id *sandbox,
			  char out_text[ENVD_TOKEN_TEXT_MAX]);

#endif
