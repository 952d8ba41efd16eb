/*
 * The envelope around every message on the bus, and the sessions that seal what is in it.
 *
 * Enrolment and handshake travel in clear (they are signed, see handshake.h); everything else is
 * sealed with the keys of a session, one for each direction, and a counter that never repeats.  The
 * sealing covers all of the envelope.  What was recorded cannot be played again: see the window
 * below.
 *
 * Pure but for libsodium; sodium_init() must have been called.
 */
#ifndef FLOTILLA_PROTO_ENVELOPE_H
#define FLOTILLA_PROTO_ENVELOPE_H

#include "proto/wire.h"

enum {
	ENVELOPE_VERSION = 1,
	ENVELOPE_SEAL_N = 16, /* bytes that sealing adds to a body */
	SESSION_KEY_N = 32,
	SESSION_WINDOW = 64, /* how far a message may be overtaken and still be opened */
};

struct session {
	uint64_t number; /* 0: there is none */
	struct id node;
	uint8_t send_key[SESSION_KEY_N];
	uint8_t receive_key[SESSION_KEY_N];
	uint64_t sent;     /* counter of the last message sealed */
	uint64_t received; /* highest counter opened */
	uint64_t window;   /* bit i: received - i was opened */
};

/* Forgets the keys. */
void session_close(struct session *session);

/*
 * Puts a message of the enrolment or the handshake into an envelope, in clear.  Faults: as
 * wire_encode's.
 */
int envelope_write_clear(const struct wire_shape *shape, const void *message, const struct id *node,
			 uint8_t *out, size_t out_max, size_t *out_n, struct err *err);

/* Seals any other message. out_max: WIRE_ENVELOPE_MAX is enough for every message. */
int envelope_seal(struct session *session, const struct wire_shape *shape, const void *message,
		  uint8_t *out, size_t out_max, size_t *out_n, struct err *err);

/*
 * Reads what is outside.  *out points into data; its body is sealed if its session is not 0, and if
 * it is 0, the kind is one of those that travel in clear.  Fault: garbage, another version, or a
 * kind in the wrong dress.
 */
int envelope_read(const uint8_t *data, size_t n, struct wire_envelope *out, struct err *err);

/*
 * Opens a sealed envelope into plain (plain_max at least its body's length).  Fault: another
 * session, not sealed by its keys, opened before, or overtaken by more than the window; the session
 * is unchanged then.
 */
int envelope_open(struct session *session, const struct wire_envelope *envelope, uint8_t *plain,
		  size_t plain_max, struct wire_bytes *out_body, struct err *err);

/*
 * The scheduler's view of one node's sessions.  A new session replaces the old one only once
 * something sealed by it was opened: a recorded hello, sent by someone else, changes nothing.
 */
struct envelope_peer {
	struct session current, offered;
};

/* After handshake_accept. An offer that was never used is replaced. */
void envelope_peer_offer(struct envelope_peer *peer, const struct session *session);

/*
 * As envelope_open, with whichever session it names.  *out_is_new: it was the offered one, which is
 * now the current one.
 */
int envelope_peer_open(struct envelope_peer *peer, const struct wire_envelope *envelope,
		       uint8_t *plain, size_t plain_max, struct wire_bytes *out_body,
		       bool *out_is_new, struct err *err);

#endif
