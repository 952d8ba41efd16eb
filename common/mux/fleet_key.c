/* Several secrets out of one, by libsodium's key derivation and keyed BLAKE2b. */
#include "common/mux/fleet_key.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	SUBKEY_TICKET = 1,
	SUBKEY_ENVD_TOKEN = 2,
	SUBKEY_TRAFFIC_TOKEN = 3,
	SUBKEY_WAKE_TOKEN = 4,
	SUBKEY_VOLUME_TOKEN = 5,
	SUBKEY_MOUNT_TOKEN = 6,
};

int fleet_key_read(const char *path, struct fleet_key *out_key, struct err *err)
{
	uint8_t bytes[FLEET_KEY_N + 1];
	struct stat status;
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(err, errno, "fleet key %s", path);
	if (fstat(fd, &status)) {
		err_errno(err, errno, "fleet key %s", path);
		goto fail;
	}
	if (status.st_mode & 077) {
		err_set(err, "fleet key %s: others than its owner can read it (mode %o; want 600)",
			path, (unsigned)status.st_mode & 0777);
		goto fail;
	}
	n = read(fd, bytes, sizeof(bytes));
	if (n < 0) {
		err_errno(err, errno, "fleet key %s", path);
		goto fail;
	}
	if (n != FLEET_KEY_N) {
		err_set(err, "fleet key %s: must hold exactly %d bytes", path, FLEET_KEY_N);
		goto fail;
	}
	close(fd);
	memcpy(out_key->bytes, bytes, FLEET_KEY_N);
	sodium_memzero(bytes, sizeof(bytes));
	return 0;
fail:
	close(fd);
	return -1;
}

/* A keyed hash under a subkey of the fleet key: of label and sandbox, and of more if there is any.
 * Labels differ and ids have no NUL, so no two inputs are the same bytes. */
static void derive(const struct fleet_key *key, uint64_t subkey_id,
		   const char context[crypto_kdf_CONTEXTBYTES], const char *label,
		   const struct id *sandbox, const uint8_t *more, size_t more_n, uint8_t *out_bytes,
		   size_t out_n)
{
	uint8_t subkey[crypto_generichash_KEYBYTES];
	crypto_generichash_state state;

	crypto_kdf_derive_from_key(subkey, sizeof(subkey), subkey_id, context, key->bytes);
	crypto_generichash_init(&state, subkey, sizeof(subkey), out_n);
	crypto_generichash_update(&state, (const uint8_t *)label, strlen(label));
	crypto_generichash_update(&state, (const uint8_t *)sandbox->text, strlen(sandbox->text));
	if (more_n) {
		crypto_generichash_update(&state, (const uint8_t *)"", 1);
		crypto_generichash_update(&state, more, more_n);
	}
	crypto_generichash_final(&state, out_bytes, out_n);
	sodium_memzero(subkey, sizeof(subkey));
}

struct ticket fleet_key_ticket(const struct fleet_key *key, const struct id *sandbox,
			       const uint8_t *ingress, size_t ingress_n)
{
	struct ticket ticket;

	derive(key, SUBKEY_TICKET, "gatewayk", "flotilla-ticket-1", sandbox, ingress, ingress_n,
	       ticket.bytes, TICKET_N);
	return ticket;
}

bool fleet_key_ticket_verify(const struct fleet_key *key, const struct id *sandbox,
			     const uint8_t *ingress, size_t ingress_n, const struct ticket *ticket)
{
	struct ticket right = fleet_key_ticket(key, sandbox, ingress, ingress_n);

	return !sodium_memcmp(right.bytes, ticket->bytes, TICKET_N);
}

static void derive_token(const struct fleet_key *key, uint64_t subkey_id,
			 const char context[crypto_kdf_CONTEXTBYTES], const char *label,
			 const struct id *sandbox, char *out_text)
{
	uint8_t token[ACCESS_TOKEN_N];

	derive(key, subkey_id, context, label, sandbox, NULL, 0, token, sizeof(token));
	sodium_bin2hex(out_text, 2 * sizeof(token) + 1, token, sizeof(token));
}

void fleet_key_envd_token(const struct fleet_key *key, const struct id *sandbox,
			  char out_text[ENVD_TOKEN_TEXT_MAX])
{
	derive_token(key, SUBKEY_ENVD_TOKEN, "envdtokn", "flotilla-envd-1", sandbox, out_text);
}

void fleet_key_traffic_token(const struct fleet_key *key, const struct id *sandbox,
			     char out_text[TRAFFIC_TOKEN_TEXT_MAX])
{
	derive_token(key, SUBKEY_TRAFFIC_TOKEN, "trfctokn", "flotilla-traffic-1", sandbox,
		     out_text);
}

void fleet_key_wake_token(const struct fleet_key *key, const struct id *sandbox,
			  char out_text[ENVD_TOKEN_TEXT_MAX])
{
	derive_token(key, SUBKEY_WAKE_TOKEN, "waketokn", "flotilla-wake-1", sandbox, out_text);
}

void fleet_key_volume_token(const struct fleet_key *key, const struct id *volume,
			    char out_text[ENVD_TOKEN_TEXT_MAX])
{
	derive_token(key, SUBKEY_VOLUME_TOKEN, "volmtokn", "flotilla-volume-1", volume, out_text);
}

void fleet_key_mount_token(const struct fleet_key *key, const struct id *sandbox,
			   char out_text[ENVD_TOKEN_TEXT_MAX])
{
	derive_token(key, SUBKEY_MOUNT_TOKEN, "mountkey", "flotilla-mount-1", sandbox, out_text);
}
