/* Two secrets out of one, by libsodium's key derivation and keyed BLAKE2b. */
#include "common/mux/fleet_key.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SUBKEY_TICKET = 1, SUBKEY_ENVD_TOKEN = 2 };

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

/* A keyed hash of label and sandbox, under a subkey of the fleet key. */
static void derive(const struct fleet_key *key, uint64_t subkey_id,
		   const char context[crypto_kdf_CONTEXTBYTES], const char *label,
		   const struct id *sandbox, uint8_t *out_bytes, size_t out_n)
{
	uint8_t subkey[crypto_generichash_KEYBYTES];
	crypto_generichash_state state;

	crypto_kdf_derive_from_key(subkey, sizeof(subkey), subkey_id, context, key->bytes);
	crypto_generichash_init(&state, subkey, sizeof(subkey), out_n);
	crypto_generichash_update(&state, (const uint8_t *)label, strlen(label));
	crypto_generichash_update(&state, (const uint8_t *)sandbox->text, strlen(sandbox->text));
	crypto_generichash_final(&state, out_bytes, out_n);
	sodium_memzero(subkey, sizeof(subkey));
}

struct ticket fleet_key_ticket(const struct fleet_key *key, const struct id *sandbox)
{
	struct ticket ticket;

	derive(key, SUBKEY_TICKET, "gatewayk", "flotilla-ticket-1", sandbox, ticket.bytes,
	       TICKET_N);
	return ticket;
}

bool fleet_key_ticket_verify(const struct fleet_key *key, const struct id *sandbox,
			     const struct ticket *ticket)
{
	struct ticket right = fleet_key_ticket(key, sandbox);

	return !sodium_memcmp(right.bytes, ticket->bytes, TICKET_N);
}

void fleet_key_envd_token(const struct fleet_key *key, const struct id *sandbox,
			  char out_text[ENVD_TOKEN_TEXT_MAX])
{
	uint8_t token[ENVD_TOKEN_N];

	derive(key, SUBKEY_ENVD_TOKEN, "envdtokn", "flotilla-envd-1", sandbox, token,
	       sizeof(token));
	sodium_bin2hex(out_text, ENVD_TOKEN_TEXT_MAX, token, sizeof(token));
}
