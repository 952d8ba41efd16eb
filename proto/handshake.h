/*
 * How a node and a scheduler that know each other's Ed25519 keys (from the enrolment) come to a
 * session: each makes an X25519 key for this once and signs what was said, so that a key stolen
 * later opens nothing recorded earlier, and nobody in between can take part.
 *
 * All randomness comes from the caller: the simulator's is a seed.  sodium_init() must have been
 * called.
 */
#ifndef FLOTILLA_PROTO_HANDSHAKE_H
#define FLOTILLA_PROTO_HANDSHAKE_H

#include "proto/envelope.h"

enum {
	IDENTITY_SEED_N = 32,
	IDENTITY_PUBLIC_N = 32,
	IDENTITY_SECRET_N = 64,
	HANDSHAKE_START_RANDOM_N = 64,
	HANDSHAKE_ACCEPT_RANDOM_N = 32,
};

/* Who a node or a scheduler is, for ever. Ed25519. */
struct identity {
	uint8_t public_key[IDENTITY_PUBLIC_N];
	uint8_t secret_key[IDENTITY_SECRET_N];
};

/* The same seed makes the same identity: keep the seed, and keep it secret. */
void identity_make(const uint8_t seed[IDENTITY_SEED_N], struct identity *out);

/* The node's half, between hello and welcome. */
struct handshake {
	bool is_pending;                 /* from start until the scheduler's own answer */
	struct wire_session_hello hello; /* to be sent */
	uint8_t scheduler_public_key[IDENTITY_PUBLIC_N];
	uint8_t ephemeral_secret_key[32];
};

/* boot_id: 1..36 bytes. random must never be used again. */
void handshake_start(struct handshake *handshake, const struct identity *self,
		     const struct id *node, const char *boot_id,
		     const uint8_t scheduler_public_key[IDENTITY_PUBLIC_N],
		     const uint8_t random[HANDSHAKE_START_RANDOM_N]);

/*
 * Fault: the welcome is a refusal (whose text becomes the fault's), or not signed by the scheduler
 * for this hello.  In the second case anybody may have said it, so the handshake is pending still:
 * the true welcome may follow.  A hello can be lost like any message: start anew after a while.
 */
int handshake_finish(struct handshake *handshake, const struct wire_session_welcome *welcome,
		     struct session *out_session, struct err *err);

/*
 * The scheduler's half.  session_number: not 0, and not that of another session of this node still
 * held. Fault: the hello is not signed by this node for this scheduler; answer with
 * handshake_refuse.
 */
int handshake_accept(const struct identity *self, const uint8_t node_public_key[IDENTITY_PUBLIC_N],
		     const struct wire_session_hello *hello, uint64_t session_number,
		     const uint8_t random[HANDSHAKE_ACCEPT_RANDOM_N],
		     struct wire_session_welcome *out_welcome, struct session *out_session,
		     struct err *err);

/*
 * Says no to a hello.  With hello NULL it is said without having been asked, to the sender of
 * something sealed by a session that is not known (any more): a hint to open a new one, and no
 * proof of anything.
 */
void handshake_refuse(const struct identity *self, const struct wire_session_hello *hello,
		      const char *text, struct wire_session_welcome *out_welcome);

#endif
