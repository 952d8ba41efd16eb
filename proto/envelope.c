/* Sealing and opening; see envelope.h. */
#include "proto/envelope.h"

#include "common/base/check.h"

#include <sodium.h>
#include <string.h>

/* An envelope without its body: what the seal authenticates besides the body. */
enum { HEAD_MAX = 128 };

_Static_assert(SESSION_KEY_N == crypto_aead_chacha20poly1305_ietf_KEYBYTES, "key");
_Static_assert(ENVELOPE_SEAL_N == crypto_aead_chacha20poly1305_ietf_ABYTES, "seal");
_Static_assert(WIRE_MESSAGE_MAX + ENVELOPE_SEAL_N <= WIRE_BODY_MAX, "a sealed message is a body");
_Static_assert(WIRE_BODY_MAX + HEAD_MAX <= WIRE_ENVELOPE_MAX, "an envelope has room for its head");

void session_close(struct session *session)
{
	sodium_memzero(session, sizeof(*session));
}

static bool kind_is_clear(uint32_t kind)
{
	return kind == WIRE_KIND_ENROL_REQUEST || kind == WIRE_KIND_ENROL_REPLY ||
	       kind == WIRE_KIND_SESSION_HELLO || kind == WIRE_KIND_SESSION_WELCOME;
}

/* Encodes the body at the end of out, where the envelope will not need to be before it is read. */
static int encode_body(const struct wire_shape *shape, const void *message, size_t seal_n,
		       uint8_t *out, size_t out_max, struct wire_bytes *out_body, struct err *err)
{
	size_t n = wire_size(shape, message);

	if (n > WIRE_MESSAGE_MAX || n + seal_n > out_max)
		return err_set(err, "envelope: %s: %zu bytes are too many", shape->name, n);
	*out_body = (struct wire_bytes){out + out_max - n - seal_n, n};
	return wire_encode(shape, message, out + out_max - n - seal_n, n, &n, err);
}

int envelope_write_clear(const struct wire_shape *shape, const void *message, const struct id *node,
			 uint8_t *out, size_t out_max, size_t *out_n, struct err *err)
{
	struct wire_envelope envelope = {.version = ENVELOPE_VERSION, .kind = shape->kind};

	CHECK(kind_is_clear(shape->kind));
	if (node)
		envelope.node = *node;
	if (encode_body(shape, message, 0, out, out_max, &envelope.body, err))
		return -1;
	return wire_envelope_encode(&envelope, out, out_max, out_n, err);
}

static void make_nonce(uint64_t counter, uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES])
{
	memset(nonce, 0, crypto_aead_chacha20poly1305_ietf_NPUBBYTES);
	for (int i = 0; i < 8; i++)
		nonce[4 + i] = (uint8_t)(counter >> (56 - 8 * i));
}

/* The head, in its only encoding: both sides make the same bytes of the same fields. */
static int encode_head(const struct wire_envelope *envelope, uint8_t head[HEAD_MAX], size_t *out_n,
		       struct err *err)
{
	struct wire_envelope bare = *envelope;

	bare.body = (struct wire_bytes){0};
	return wire_envelope_encode(&bare, head, HEAD_MAX, out_n, err);
}

int envelope_seal(struct session *session, const struct wire_shape *shape, const void *message,
		  uint8_t *out, size_t out_max, size_t *out_n, struct err *err)
{
	struct wire_envelope envelope = {.version = ENVELOPE_VERSION,
					 .kind = shape->kind,
					 .node = session->node,
					 .session = session->number,
					 .counter = session->sent + 1};
	uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES], head[HEAD_MAX];
	unsigned long long sealed_n;
	uint8_t *body;
	size_t head_n;

	CHECK(session->number && shape->kind && !kind_is_clear(shape->kind));
	if (encode_body(shape, message, ENVELOPE_SEAL_N, out, out_max, &envelope.body, err) ||
	    encode_head(&envelope, head, &head_n, err))
		return -1;
	/* Counted before it can fail: a nonce is never used for two texts. */
	session->sent++;
	make_nonce(envelope.counter, nonce);
	body = out + (envelope.body.data - out);
	crypto_aead_chacha20poly1305_ietf_encrypt(body, &sealed_n, body, envelope.body.n, head,
						  head_n, NULL, nonce, session->send_key);
	envelope.body.n = (size_t)sealed_n;
	return wire_envelope_encode(&envelope, out, out_max, out_n, err);
}

int envelope_read(const uint8_t *data, size_t n, struct wire_envelope *out, struct err *err)
{
	struct wire_arena nothing = {0};

	if (wire_envelope_decode(data, n, &nothing, out, err))
		return err_wrap(err, "envelope");
	if (out->version != ENVELOPE_VERSION)
		return err_set(err, "envelope: version %u is spoken there, %d here", out->version,
			       ENVELOPE_VERSION);
	if ((out->session == 0) != kind_is_clear(out->kind))
		return err_set(err, "envelope: kind %u %s", out->kind,
			       out->session ? "is never sealed" : "must be sealed");
	return 0;
}

/* Opened before, or so long ago that nobody can tell. */
static bool is_repeated(const struct session *session, uint64_t counter)
{
	uint64_t age;

	if (counter > session->received)
		return false;
	age = session->received - counter;
	return counter == 0 || age >= SESSION_WINDOW || (session->window >> age & 1);
}

static void remember(struct session *session, uint64_t counter)
{
	uint64_t ahead;

	if (counter <= session->received) {
		session->window |= 1ULL << (session->received - counter);
		return;
	}
	ahead = counter - session->received;
	session->window = ahead < SESSION_WINDOW ? session->window << ahead | 1 : 1;
	session->received = counter;
}

int envelope_open(struct session *session, const struct wire_envelope *envelope, uint8_t *plain,
		  size_t plain_max, struct wire_bytes *out_body, struct err *err)
{
	uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES], head[HEAD_MAX];
	unsigned long long plain_n;
	size_t head_n;

	if (session->number == 0 || envelope->session != session->number ||
	    !id_equal(&envelope->node, &session->node))
		return err_set(err, "envelope: of another session");
	if (is_repeated(session, envelope->counter))
		return err_set(err, "envelope: opened before, or overtaken too far");
	if (envelope->body.n < ENVELOPE_SEAL_N || envelope->body.n - ENVELOPE_SEAL_N > plain_max)
		return err_set(err, "envelope: a body of %zu bytes", envelope->body.n);
	if (encode_head(envelope, head, &head_n, err))
		return -1;
	make_nonce(envelope->counter, nonce);
	if (crypto_aead_chacha20poly1305_ietf_decrypt(plain, &plain_n, NULL, envelope->body.data,
						      envelope->body.n, head, head_n, nonce,
						      session->receive_key))
		return err_set(err, "envelope: not sealed by this session's keys");
	remember(session, envelope->counter);
	*out_body = (struct wire_bytes){plain, (size_t)plain_n};
	return 0;
}

void envelope_peer_offer(struct envelope_peer *peer, const struct session *session)
{
	peer->offered = *session;
}

int envelope_peer_open(struct envelope_peer *peer, const struct wire_envelope *envelope,
		       uint8_t *plain, size_t plain_max, struct wire_bytes *out_body,
		       bool *out_is_new, struct err *err)
{
	bool is_offered = peer->offered.number && envelope->session == peer->offered.number;
	struct session *session = is_offered ? &peer->offered : &peer->current;

	if (envelope_open(session, envelope, plain, plain_max, out_body, err))
		return -1;
	if (is_offered) {
		peer->current = peer->offered;
		session_close(&peer->offered);
	}
	*out_is_new = is_offered;
	return 0;
}
