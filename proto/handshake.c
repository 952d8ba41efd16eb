/*
 * The handshake.  What is signed and hashed are the fields themselves, each with its length, and
 * not their encoding: so fields that a later version adds do not break an earlier one.
 */
#include "proto/handshake.h"

#include "common/base/check.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { TRANSCRIPT_N = 64 };

_Static_assert(IDENTITY_PUBLIC_N == crypto_sign_PUBLICKEYBYTES, "public key");
_Static_assert(IDENTITY_SECRET_N == crypto_sign_SECRETKEYBYTES, "secret key");
_Static_assert(sizeof(((struct wire_session_hello *)0)->signature) == crypto_sign_BYTES,
	       "signature");

struct transcript {
	crypto_generichash_state state;
};

static void transcript_add(struct transcript *transcript, const void *data, size_t n)
{
	uint8_t length[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

	crypto_generichash_update(&transcript->state, length, sizeof(length));
	crypto_generichash_update(&transcript->state, data, n);
}

static void transcript_start(struct transcript *transcript, const char *purpose)
{
	crypto_generichash_init(&transcript->state, NULL, 0, TRANSCRIPT_N);
	transcript_add(transcript, purpose, strlen(purpose));
}

static void transcript_end(struct transcript *transcript, uint8_t out[TRANSCRIPT_N])
{
	crypto_generichash_final(&transcript->state, out, TRANSCRIPT_N);
}

/* What the node signs: its hello, and to whom. */
static void hash_hello(const struct wire_session_hello *hello,
		       const uint8_t scheduler_public_key[IDENTITY_PUBLIC_N],
		       uint8_t out[TRANSCRIPT_N])
{
	struct transcript transcript;

	transcript_start(&transcript, "flotilla-hello-1");
	transcript_add(&transcript, scheduler_public_key, IDENTITY_PUBLIC_N);
	transcript_add(&transcript, hello->node.text, strlen(hello->node.text));
	transcript_add(&transcript, hello->boot_id, strlen(hello->boot_id));
	transcript_add(&transcript, hello->ephemeral_public_key,
		       sizeof(hello->ephemeral_public_key));
	transcript_add(&transcript, hello->nonce, sizeof(hello->nonce));
	transcript_end(&transcript, out);
}

/* What the scheduler signs: the hello it answers, and all it says. */
static void hash_welcome(const uint8_t hello_hash[TRANSCRIPT_N],
			 const struct wire_session_welcome *welcome, uint8_t out[TRANSCRIPT_N])
{
	uint8_t numbers[9] = {welcome->ok};
	struct transcript transcript;

	for (int i = 0; i < 8; i++)
		numbers[1 + i] = (uint8_t)(welcome->session >> (56 - 8 * i));
	transcript_start(&transcript, "flotilla-welcome-1");
	transcript_add(&transcript, hello_hash, TRANSCRIPT_N);
	transcript_add(&transcript, numbers, sizeof(numbers));
	transcript_add(&transcript, welcome->ephemeral_public_key,
		       sizeof(welcome->ephemeral_public_key));
	transcript_add(&transcript, welcome->refusal, strlen(welcome->refusal));
	transcript_end(&transcript, out);
}

/* Both sides' keys; the first half seals what the node sends. */
static int derive_keys(const uint8_t secret_key[32], const uint8_t public_key[32],
		       const uint8_t welcome_hash[TRANSCRIPT_N],
		       uint8_t out_keys[2 * SESSION_KEY_N], struct err *err)
{
	uint8_t shared[crypto_scalarmult_BYTES];
	struct transcript transcript;

	if (crypto_scalarmult(shared, secret_key, public_key))
		return err_set(err, "handshake: not a usable key");
	transcript_start(&transcript, "flotilla-keys-1");
	transcript_add(&transcript, shared, sizeof(shared));
	transcript_add(&transcript, welcome_hash, TRANSCRIPT_N);
	transcript_end(&transcript, out_keys);
	sodium_memzero(shared, sizeof(shared));
	sodium_memzero(&transcript, sizeof(transcript));
	return 0;
}

_Static_assert(TRANSCRIPT_N == 2 * SESSION_KEY_N, "one hash makes both keys");

void identity_make(const uint8_t seed[IDENTITY_SEED_N], struct identity *out)
{
	crypto_sign_seed_keypair(out->public_key, out->secret_key, seed);
}

void handshake_start(struct handshake *handshake, const struct identity *self,
		     const struct id *node, const char *boot_id,
		     const uint8_t scheduler_public_key[IDENTITY_PUBLIC_N],
		     const uint8_t random[HANDSHAKE_START_RANDOM_N])
{
	struct wire_session_hello *hello = &handshake->hello;
	size_t boot_id_n = strlen(boot_id);
	uint8_t hash[TRANSCRIPT_N];

	CHECK(boot_id_n > 0 && boot_id_n < sizeof(hello->boot_id));
	*handshake = (struct handshake){.is_pending = true, .hello = {.node = *node}};
	memcpy(hello->boot_id, boot_id, boot_id_n);
	memcpy(handshake->scheduler_public_key, scheduler_public_key, IDENTITY_PUBLIC_N);
	memcpy(handshake->ephemeral_secret_key, random, 32);
	memcpy(hello->nonce, random + 32, 32);
	crypto_scalarmult_base(hello->ephemeral_public_key, handshake->ephemeral_secret_key);
	hash_hello(hello, scheduler_public_key, hash);
	crypto_sign_detached(hello->signature, NULL, hash, sizeof(hash), self->secret_key);
}

int handshake_finish(struct handshake *handshake, const struct wire_session_welcome *welcome,
		     struct session *out_session, struct err *err)
{
	uint8_t hello_hash[TRANSCRIPT_N], hash[TRANSCRIPT_N], keys[2 * SESSION_KEY_N];
	int ret = -1;

	if (!handshake->is_pending)
		return err_set(err, "handshake: there is none");
	hash_hello(&handshake->hello, handshake->scheduler_public_key, hello_hash);
	hash_welcome(hello_hash, welcome, hash);
	if (crypto_sign_verify_detached(welcome->signature, hash, sizeof(hash),
					handshake->scheduler_public_key))
		return err_set(err, "handshake: the welcome is not signed by our scheduler");
	if (!welcome->ok) {
		err_set(err, "handshake: refused: %s", welcome->refusal);
		goto done;
	}
	if (derive_keys(handshake->ephemeral_secret_key, welcome->ephemeral_public_key, hash, keys,
			err))
		goto done;
	*out_session = (struct session){.number = welcome->session, .node = handshake->hello.node};
	memcpy(out_session->send_key, keys, SESSION_KEY_N);
	memcpy(out_session->receive_key, keys + SESSION_KEY_N, SESSION_KEY_N);
	ret = 0;
done:
	sodium_memzero(keys, sizeof(keys));
	sodium_memzero(handshake, sizeof(*handshake));
	return ret;
}

static void sign_welcome(const struct identity *self, const uint8_t hello_hash[TRANSCRIPT_N],
			 struct wire_session_welcome *welcome, uint8_t out_hash[TRANSCRIPT_N])
{
	hash_welcome(hello_hash, welcome, out_hash);
	crypto_sign_detached(welcome->signature, NULL, out_hash, TRANSCRIPT_N, self->secret_key);
}

int handshake_accept(const struct identity *self, const uint8_t node_public_key[IDENTITY_PUBLIC_N],
		     const struct wire_session_hello *hello, uint64_t session_number,
		     const uint8_t random[HANDSHAKE_ACCEPT_RANDOM_N],
		     struct wire_session_welcome *out_welcome, struct session *out_session,
		     struct err *err)
{
	uint8_t hello_hash[TRANSCRIPT_N], hash[TRANSCRIPT_N], keys[2 * SESSION_KEY_N];

	CHECK(session_number);
	hash_hello(hello, self->public_key, hello_hash);
	if (crypto_sign_verify_detached(hello->signature, hello_hash, sizeof(hello_hash),
					node_public_key))
		return err_set(err, "handshake: the hello is not signed by this node for us");
	*out_welcome = (struct wire_session_welcome){.ok = true, .session = session_number};
	crypto_scalarmult_base(out_welcome->ephemeral_public_key, random);
	sign_welcome(self, hello_hash, out_welcome, hash);
	if (derive_keys(random, hello->ephemeral_public_key, hash, keys, err))
		return -1;
	*out_session = (struct session){.number = session_number, .node = hello->node};
	memcpy(out_session->receive_key, keys, SESSION_KEY_N);
	memcpy(out_session->send_key, keys + SESSION_KEY_N, SESSION_KEY_N);
	sodium_memzero(keys, sizeof(keys));
	return 0;
}

void handshake_refuse(const struct identity *self, const struct wire_session_hello *hello,
		      const char *text, struct wire_session_welcome *out_welcome)
{
	uint8_t hello_hash[TRANSCRIPT_N] = {0}, hash[TRANSCRIPT_N];

	*out_welcome = (struct wire_session_welcome){0};
	snprintf(out_welcome->refusal, sizeof(out_welcome->refusal), "%s", text);
	if (hello)
		hash_hello(hello, self->public_key, hello_hash);
	sign_welcome(self, hello_hash, out_welcome, hash);
}
