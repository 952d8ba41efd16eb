/*
 * Any bytes as what comes in on the bus: nothing opens that was not sealed, and no hello or welcome
 * is believed that was not signed.
 */
#include "common/base/check.h"
#include "proto/handshake.h"

#include <sodium.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t plain[WIRE_BODY_MAX];
static struct identity node, scheduler;
static const struct session fresh = {.number = 7, .node = {"nod_abc"}, .receive_key = {1}};

static void read_hello(const struct wire_envelope *envelope)
{
	static const uint8_t random[HANDSHAKE_ACCEPT_RANDOM_N] = {9};
	struct wire_session_welcome welcome;
	struct wire_session_hello hello;
	struct wire_arena nothing = {0};
	struct session session;
	struct err err;

	if (wire_session_hello_decode(envelope->body.data, envelope->body.n, &nothing, &hello,
				      &err))
		return;
	handshake_refuse(&scheduler, &hello, "no", &welcome);
	/* The seeds hold one that is signed; it may be accepted, and must then make a session. */
	if (handshake_accept(&scheduler, node.public_key, &hello, 3, random, &welcome, &session,
			     &err))
		return;
	CHECK(session.number == 3);
}

static void read_welcome(const struct wire_envelope *envelope)
{
	static const uint8_t random[HANDSHAKE_START_RANDOM_N] = {8};
	static const struct id id = {"nod_abc"};
	struct wire_session_welcome welcome;
	struct wire_arena nothing = {0};
	struct handshake handshake;
	struct session session;
	struct err err;

	if (wire_session_welcome_decode(envelope->body.data, envelope->body.n, &nothing, &welcome,
					&err))
		return;
	handshake_start(&handshake, &node, &id, "boot", scheduler.public_key, random);
	(void)handshake_finish(&handshake, &welcome, &session, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t node_seed[IDENTITY_SEED_N] = {1},
			     scheduler_seed[IDENTITY_SEED_N] = {2};
	struct session session = fresh;
	struct wire_envelope envelope;
	struct wire_bytes body;
	struct err err;

	if (sodium_init() < 0)
		return 0;
	identity_make(node_seed, &node);
	identity_make(scheduler_seed, &scheduler);
	if (envelope_read(data, size, &envelope, &err))
		return 0;
	CHECK(envelope.version == ENVELOPE_VERSION);
	if (envelope.kind == WIRE_KIND_SESSION_HELLO)
		read_hello(&envelope);
	else if (envelope.kind == WIRE_KIND_SESSION_WELCOME)
		read_welcome(&envelope);
	else if (envelope.session)
		(void)envelope_open(&session, &envelope, plain, sizeof(plain), &body, &err);
	return 0;
}
