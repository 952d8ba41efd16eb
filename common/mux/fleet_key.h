/*
 * What is derived from the fleet key, the 32 secret bytes that scheduler and gateway share: the
 * ticket with which a shim binds its tunnel to a sandbox, and the sandbox's access tokens, one for
 * envd and one for its other ports.
 * Derived, not stored, so that a restarted daemon knows them again.  Uses libsodium; call
 * sodium_init first.
 */
#ifndef FLOTILLA_MUX_FLEET_KEY_H
#define FLOTILLA_MUX_FLEET_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/ids.h"

enum {
	FLEET_KEY_N = 32,
	TICKET_N = 32,
	ACCESS_TOKEN_N = 24,
	ENVD_TOKEN_TEXT_MAX = 2 * ACCESS_TOKEN_N + 1, /* hex and NUL */
	TRAFFIC_TOKEN_TEXT_MAX = ENVD_TOKEN_TEXT_MAX,
};

struct fleet_key {
	uint8_t bytes[FLEET_KEY_N];
};

struct ticket {
	uint8_t bytes[TICKET_N];
};

/* From a file of exactly FLEET_KEY_N bytes which others than its owner cannot read. */
int fleet_key_read(const char *path, struct fleet_key *out_key, struct err *err);

/*
 * ingress: what the gateway shall know of the sandbox (an encoded wire_ingress), or nothing.  There
 * is one ticket for a sandbox, made over what the scheduler says of it: whoever carries both can
 * neither change what is said nor leave it out.
 */
struct ticket fleet_key_ticket(const struct fleet_key *key, const struct id *sandbox,
			       const uint8_t *ingress, size_t ingress_n);
bool fleet_key_ticket_verify(const struct fleet_key *key, const struct id *sandbox,
			     const uint8_t *ingress, size_t ingress_n, const struct ticket *ticket);

/* Lower-case hex. */
void fleet_key_envd_token(const struct fleet_key *key, const struct id *sandbox,
			  char out_text[ENVD_TOKEN_TEXT_MAX]);
void fleet_key_traffic_token(const struct fleet_key *key, const struct id *sandbox,
			     char out_text[TRAFFIC_TOKEN_TEXT_MAX]);

/* By which the gateway may ask the scheduler to let the sandbox go on. */
void fleet_key_wake_token(const struct fleet_key *key, const struct id *sandbox,
			  char out_text[ENVD_TOKEN_TEXT_MAX]);

/* Opens a volume's files to its tenant. */
void fleet_key_volume_token(const struct fleet_key *key, const struct id *volume,
			    char out_text[ENVD_TOKEN_TEXT_MAX]);

/* By which who keeps volumes may reach a sandbox's mounts (mount.h), by way of the gateway. */
void fleet_key_mount_token(const struct fleet_key *key, const struct id *sandbox,
			   char out_text[ENVD_TOKEN_TEXT_MAX]);

#endif
