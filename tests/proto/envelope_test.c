/* Who may say what: sessions between those who know each other, and nobody else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "proto/handshake.h"

#include <sodium.h>
#include <string.h>

static uint8_t sealed[WIRE_ENVELOPE_MAX], other[WIRE_ENVELOPE_MAX], plain[WIRE_BODY_MAX];
static size_t sealed_n;
static struct err err;

static const struct id node_id = {"nod_abc"};
static struct identity node, scheduler, stranger;
static struct handshake handshake;
static struct wire_session_welcome welcome;
static struct session node_session, scheduler_session;

static void fill(uint8_t *bytes, size_t n, uint64_t seed)
{
	struct rng rng = {seed};

	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)rng_next(&rng);
}

static void make(uint64_t seed, struct identity *out)
{
	uint8_t bytes[IDENTITY_SEED_N];

	fill(bytes, sizeof(bytes), seed);
	identity_make(bytes, out);
}

static void say_hello(const struct identity *self, uint64_t seed)
{
	uint8_t random[HANDSHAKE_START_RANDOM_N];

	fill(random, sizeof(random), seed);
	handshake_start(&handshake, self, &node_id, "boot", scheduler.public_key, random);
}

static int accept_hello(const struct identity *self, uint64_t number)
{
	uint8_t random[HANDSHAKE_ACCEPT_RANDOM_N];

	fill(random, sizeof(random), number);
	return handshake_accept(self, node.public_key, &handshake.hello, number, random, &welcome,
				&scheduler_session, &err);
}

static int open_session(void **state)
{
	(void)state;
	if (sodium_init() < 0)
		return -1;
	make(1, &node);
	make(2, &scheduler);
	make(3, &stranger);
	say_hello(&node, 4);
	if (accept_hello(&scheduler, 7))
		return -1;
	return handshake_finish(&handshake, &welcome, &node_session, &err);
}

static void seal_kill(struct session *session)
{
	struct wire_shim_kill kill = {.cause = CAUSE_REQUEST};

	assert_int_equal(envelope_seal(session, &wire_shape_shim_kill, &kill, sealed,
				       sizeof(sealed), &sealed_n, &err),
			 0);
}

/* 0 if the scheduler opens these bytes to what seal_kill sealed. */
static int scheduler_opens(const uint8_t *data, size_t n)
{
	struct wire_arena nothing = {0};
	struct wire_envelope envelope;
	struct wire_shim_kill kill;
	struct wire_bytes body;

	if (envelope_read(data, n, &envelope, &err) ||
	    envelope_open(&scheduler_session, &envelope, plain, sizeof(plain), &body, &err))
		return -1;
	assert_int_equal(envelope.kind, WIRE_KIND_SHIM_KILL);
	assert_int_equal(wire_shim_kill_decode(body.data, body.n, &nothing, &kill, &err), 0);
	assert_int_equal(kill.cause, CAUSE_REQUEST);
	return 0;
}

static void fault_says(const char *words)
{
	if (!strstr(err.text, words))
		fail_msg("'%s', wanted '%s'", err.text, words);
}

static void what_one_side_seals_the_other_opens(void **state)
{
	struct wire_envelope envelope;
	struct wire_bytes body;

	(void)state;
	for (int i = 0; i < 200; i++) {
		seal_kill(&node_session);
		assert_int_equal(scheduler_opens(sealed, sealed_n), 0);
	}
	seal_kill(&scheduler_session);
	assert_int_equal(envelope_read(sealed, sealed_n, &envelope, &err), 0);
	assert_int_equal(envelope_open(&node_session, &envelope, plain, sizeof(plain), &body, &err),
			 0);
}

static void the_largest_message_fits_in_an_envelope(void **state)
{
	static uint8_t init[65536];
	static struct wire_order orders[15];
	struct wire_answer answer = {.epoch = 1, .next_seq = 1, .orders = orders, .orders_n = 15};
	struct wire_envelope envelope;
	struct wire_bytes body;

	(void)state;
	for (size_t i = 0; i < 15; i++)
		orders[i] = (struct wire_order){.kind = WIRE_ORDER_KILL,
						.sandbox = {"i1"},
						.attempt = 1,
						.incarnation = 1,
						.cause = CAUSE_REQUEST,
						.init = {init, sizeof(init)}};
	assert_int_equal(envelope_seal(&scheduler_session, &wire_shape_answer, &answer, sealed,
				       sizeof(sealed), &sealed_n, &err),
			 0);
	assert_int_equal(envelope_read(sealed, sealed_n, &envelope, &err), 0);
	assert_int_equal(envelope_open(&node_session, &envelope, plain, sizeof(plain), &body, &err),
			 0);
	assert_int_equal(body.n, wire_size(&wire_shape_answer, &answer));
}

static void no_bit_of_a_sealed_message_can_be_changed(void **state)
{
	(void)state;
	seal_kill(&node_session);
	for (size_t i = 0; i < sealed_n; i++) {
		for (int bit = 0; bit < 8; bit++) {
			memcpy(other, sealed, sealed_n);
			other[i] ^= (uint8_t)(1u << bit);
			assert_int_equal(scheduler_opens(other, sealed_n), -1);
		}
	}
	for (size_t n = 0; n < sealed_n; n++)
		assert_int_equal(scheduler_opens(sealed, n), -1);
	assert_int_equal(scheduler_opens(sealed, sealed_n), 0);
}

static void a_message_opens_once(void **state)
{
	(void)state;
	seal_kill(&node_session);
	assert_int_equal(scheduler_opens(sealed, sealed_n), 0);
	assert_int_equal(scheduler_opens(sealed, sealed_n), -1);
	fault_says("opened before");
}

static void an_overtaken_message_opens_within_the_window(void **state)
{
	static uint8_t late[SESSION_WINDOW + 1][256];
	size_t late_n[SESSION_WINDOW + 1];

	(void)state;
	for (size_t i = 0; i <= SESSION_WINDOW; i++) {
		seal_kill(&node_session);
		assert_true(sealed_n <= sizeof(late[i]));
		memcpy(late[i], sealed, sealed_n);
		late_n[i] = sealed_n;
	}
	/* The last comes first, then all others backwards: only the first is too old. */
	for (size_t i = SESSION_WINDOW; i > 0; i--)
		assert_int_equal(scheduler_opens(late[i], late_n[i]), 0);
	assert_int_equal(scheduler_opens(late[0], late_n[0]), -1);
	fault_says("overtaken");
	for (size_t i = 0; i <= SESSION_WINDOW; i++)
		assert_int_equal(scheduler_opens(late[i], late_n[i]), -1);
}

static void a_side_does_not_open_its_own_messages(void **state)
{
	(void)state;
	seal_kill(&scheduler_session);
	assert_int_equal(scheduler_opens(sealed, sealed_n), -1);
	fault_says("not sealed");
}

static void another_session_is_not_opened(void **state)
{
	struct session first = scheduler_session;

	(void)state;
	say_hello(&node, 5);
	assert_int_equal(accept_hello(&scheduler, 8), 0);
	assert_int_equal(handshake_finish(&handshake, &welcome, &node_session, &err), 0);
	assert_memory_not_equal(first.send_key, scheduler_session.send_key, SESSION_KEY_N);
	seal_kill(&node_session);
	scheduler_session = first;
	assert_int_equal(scheduler_opens(sealed, sealed_n), -1);
	fault_says("another session");
	scheduler_session.number = 8;
	assert_int_equal(scheduler_opens(sealed, sealed_n), -1);
	fault_says("not sealed");
}

static void a_hello_by_another_key_is_refused(void **state)
{
	(void)state;
	say_hello(&stranger, 6);
	assert_int_equal(accept_hello(&scheduler, 9), -1);
	fault_says("not signed by this node");
}

static void a_hello_to_another_scheduler_is_refused(void **state)
{
	(void)state;
	say_hello(&node, 6);
	assert_int_equal(accept_hello(&stranger, 9), -1);
	fault_says("not signed by this node for us");
}

static void a_welcome_by_another_scheduler_is_refused(void **state)
{
	struct wire_session_hello hello;

	(void)state;
	say_hello(&node, 6);
	assert_int_equal(accept_hello(&scheduler, 9), 0);
	hello = handshake.hello;
	handshake_refuse(&stranger, &hello, "go away", &welcome);
	assert_int_equal(handshake_finish(&handshake, &welcome, &node_session, &err), -1);
	fault_says("not signed by our scheduler");
	/* And does not keep the true one from being believed. */
	handshake_refuse(&scheduler, &hello, "go away", &welcome);
	assert_int_equal(handshake_finish(&handshake, &welcome, &node_session, &err), -1);
	fault_says("refused: go away");
	assert_false(handshake.is_pending);
}

static void a_welcome_to_another_hello_is_refused(void **state)
{
	struct wire_session_welcome earlier;

	(void)state;
	say_hello(&node, 6);
	assert_int_equal(accept_hello(&scheduler, 9), 0);
	earlier = welcome;
	say_hello(&node, 7);
	assert_int_equal(handshake_finish(&handshake, &earlier, &node_session, &err), -1);
	fault_says("not signed by our scheduler");
}

static void a_refusal_is_signed_and_says_why(void **state)
{
	(void)state;
	say_hello(&node, 6);
	handshake_refuse(&scheduler, &handshake.hello, "node unknown", &welcome);
	assert_int_equal(handshake_finish(&handshake, &welcome, &node_session, &err), -1);
	fault_says("refused: node unknown");
	/* Said without having been asked, it proves nothing. */
	say_hello(&node, 6);
	handshake_refuse(&scheduler, NULL, "session unknown", &welcome);
	assert_int_equal(handshake_finish(&handshake, &welcome, &node_session, &err), -1);
	fault_says("not signed by our scheduler");
}

static void a_recorded_hello_does_not_replace_a_session(void **state)
{
	struct envelope_peer peer = {.current = scheduler_session};
	struct wire_envelope envelope;
	struct wire_bytes body;
	bool is_new;

	(void)state;
	say_hello(&node, 4); /* the same as at first: someone plays it again */
	assert_int_equal(accept_hello(&scheduler, 10), 0);
	envelope_peer_offer(&peer, &scheduler_session);
	seal_kill(&node_session);
	assert_int_equal(envelope_read(sealed, sealed_n, &envelope, &err), 0);
	assert_int_equal(
		envelope_peer_open(&peer, &envelope, plain, sizeof(plain), &body, &is_new, &err),
		0);
	assert_false(is_new);
	/* The node itself: once it speaks, its new session is the one. */
	say_hello(&node, 5);
	assert_int_equal(accept_hello(&scheduler, 11), 0);
	envelope_peer_offer(&peer, &scheduler_session);
	assert_int_equal(handshake_finish(&handshake, &welcome, &node_session, &err), 0);
	seal_kill(&node_session);
	assert_int_equal(envelope_read(sealed, sealed_n, &envelope, &err), 0);
	assert_int_equal(
		envelope_peer_open(&peer, &envelope, plain, sizeof(plain), &body, &is_new, &err),
		0);
	assert_true(is_new);
	assert_int_equal(peer.current.number, 11);
	assert_int_equal(
		envelope_peer_open(&peer, &envelope, plain, sizeof(plain), &body, &is_new, &err),
		-1);
}

static void another_version_is_named(void **state)
{
	struct wire_envelope envelope = {.version = 2, .kind = WIRE_KIND_POLL, .session = 1};

	(void)state;
	assert_int_equal(wire_envelope_encode(&envelope, sealed, sizeof(sealed), &sealed_n, &err),
			 0);
	assert_int_equal(envelope_read(sealed, sealed_n, &envelope, &err), -1);
	fault_says("version 2 is spoken there, 1 here");
}

static void only_enrolment_and_handshake_travel_in_clear(void **state)
{
	struct wire_enrol_request request = {.token = "t", .node_public_key = {1}};
	struct wire_envelope envelope = {.version = 1, .kind = WIRE_KIND_POLL};

	(void)state;
	assert_int_equal(wire_envelope_encode(&envelope, sealed, sizeof(sealed), &sealed_n, &err),
			 0);
	assert_int_equal(envelope_read(sealed, sealed_n, &envelope, &err), -1);
	fault_says("must be sealed");
	assert_int_equal(envelope_write_clear(&wire_shape_enrol_request, &request, NULL, sealed,
					      sizeof(sealed), &sealed_n, &err),
			 0);
	assert_int_equal(envelope_read(sealed, sealed_n, &envelope, &err), 0);
	assert_int_equal(envelope.kind, WIRE_KIND_ENROL_REQUEST);
	envelope.session = 3;
	memcpy(other, sealed, sealed_n);
	envelope.body.data = other + (envelope.body.data - sealed);
	assert_int_equal(wire_envelope_encode(&envelope, sealed, sizeof(sealed), &sealed_n, &err),
			 0);
	assert_int_equal(envelope_read(sealed, sealed_n, &envelope, &err), -1);
	fault_says("is never sealed");
}

static void the_same_randomness_makes_the_same_session(void **state)
{
	struct session first = node_session;

	assert_int_equal(open_session(state), 0);
	assert_memory_equal(&first, &node_session, sizeof(first));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(what_one_side_seals_the_other_opens, open_session),
		cmocka_unit_test_setup(the_largest_message_fits_in_an_envelope, open_session),
		cmocka_unit_test_setup(no_bit_of_a_sealed_message_can_be_changed, open_session),
		cmocka_unit_test_setup(a_message_opens_once, open_session),
		cmocka_unit_test_setup(an_overtaken_message_opens_within_the_window, open_session),
		cmocka_unit_test_setup(a_side_does_not_open_its_own_messages, open_session),
		cmocka_unit_test_setup(another_session_is_not_opened, open_session),
		cmocka_unit_test_setup(a_hello_by_another_key_is_refused, open_session),
		cmocka_unit_test_setup(a_hello_to_another_scheduler_is_refused, open_session),
		cmocka_unit_test_setup(a_welcome_by_another_scheduler_is_refused, open_session),
		cmocka_unit_test_setup(a_welcome_to_another_hello_is_refused, open_session),
		cmocka_unit_test_setup(a_refusal_is_signed_and_says_why, open_session),
		cmocka_unit_test_setup(a_recorded_hello_does_not_replace_a_session, open_session),
		cmocka_unit_test_setup(another_version_is_named, open_session),
		cmocka_unit_test_setup(only_enrolment_and_handshake_travel_in_clear, open_session),
		cmocka_unit_test_setup(the_same_randomness_makes_the_same_session, open_session),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
