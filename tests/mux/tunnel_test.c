/* The tunnel's first words, and what is derived from the fleet key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mux/fleet_key.h"
#include "common/mux/tunnel.h"

static const struct fleet_key key = {"0123456789abcdef0123456789abcde"};
static const struct id one = {"iaaaaaaaaaaaaaaaaaaaa"};
static const struct id other = {"ibbbbbbbbbbbbbbbbbbbb"};

static void a_bind_survives_the_wire(void **state)
{
	struct ticket ticket = fleet_key_ticket(&key, &one, NULL, 0);
	uint8_t bytes[TUNNEL_BIND_MAX];
	struct ticket got_ticket;
	struct id got;

	(void)state;
	tunnel_bind_encode(&one, &ticket, NULL, 0, bytes);
	assert_true(tunnel_bind_decode(bytes, &got, &got_ticket));
	assert_true(id_equal(&one, &got));
	assert_memory_equal(&ticket, &got_ticket, sizeof(ticket));
}

static void a_bind_says_how_long_it_is_as_soon_as_it_can(void **state)
{
	uint8_t ingress[TUNNEL_INGRESS_MAX] = {1, 2, 3}, bytes[TUNNEL_BIND_MAX];
	struct ticket ticket = fleet_key_ticket(&key, &one, ingress, 3), got_ticket;
	struct id got;

	(void)state;
	assert_int_equal(tunnel_bind_encode(&one, &ticket, ingress, 3, bytes), TUNNEL_BIND_N + 5);
	assert_true(tunnel_bind_decode(bytes, &got, &got_ticket));
	for (size_t n = 0; n < TUNNEL_BIND_N; n++)
		assert_int_equal(tunnel_bind_length(bytes, n), TUNNEL_BIND_N);
	assert_int_equal(tunnel_bind_length(bytes, TUNNEL_BIND_N), TUNNEL_BIND_N + 2);
	assert_int_equal(tunnel_bind_length(bytes, TUNNEL_BIND_N + 1), TUNNEL_BIND_N + 2);
	for (size_t n = TUNNEL_BIND_N + 2; n <= TUNNEL_BIND_N + 5; n++)
		assert_int_equal(tunnel_bind_length(bytes, n), TUNNEL_BIND_N + 5);
	assert_memory_equal(bytes + TUNNEL_BIND_N + 2, ingress, 3);
	bytes[TUNNEL_BIND_N + 1] = 0; /* nothing would have been version 1 */
	assert_int_equal(tunnel_bind_length(bytes, TUNNEL_BIND_N + 2), 0);
	bytes[TUNNEL_BIND_N] = 0xff;
	assert_int_equal(tunnel_bind_length(bytes, TUNNEL_BIND_N + 2), 0);
	assert_int_equal(tunnel_bind_encode(&one, &ticket, ingress, sizeof(ingress), bytes),
			 TUNNEL_BIND_MAX);
	assert_int_equal(tunnel_bind_length(bytes, TUNNEL_BIND_MAX), TUNNEL_BIND_MAX);
	assert_int_equal(tunnel_bind_encode(&one, &ticket, NULL, 0, bytes), TUNNEL_BIND_N);
	assert_int_equal(tunnel_bind_length(bytes, TUNNEL_BIND_N), TUNNEL_BIND_N);
}

static void what_is_not_a_bind_is_not_read_as_one(void **state)
{
	struct ticket ticket = fleet_key_ticket(&key, &one, NULL, 0);
	uint8_t bytes[TUNNEL_BIND_MAX];
	struct ticket got_ticket;
	struct id got;

	(void)state;
	tunnel_bind_encode(&one, &ticket, NULL, 0, bytes);
	bytes[7] = 9;
	assert_false(tunnel_bind_decode(bytes, &got, &got_ticket));
	tunnel_bind_encode(&one, &ticket, NULL, 0, bytes);
	bytes[9] = '/';
	assert_false(tunnel_bind_decode(bytes, &got, &got_ticket));
	memset(bytes + 8, 'a', ID_MAX);
	assert_false(tunnel_bind_decode(bytes, &got, &got_ticket));
}

static void each_verdict_survives_the_wire(void **state)
{
	uint8_t bytes[TUNNEL_VERDICT_N];
	enum tunnel_verdict got;

	(void)state;
	for (int verdict = TUNNEL_BOUND; verdict <= TUNNEL_BUSY; verdict++) {
		tunnel_verdict_encode((enum tunnel_verdict)verdict, bytes);
		assert_true(tunnel_verdict_decode(bytes, &got));
		assert_int_equal(got, verdict);
	}
	bytes[7] = 0;
	assert_false(tunnel_verdict_decode(bytes, &got));
}

static void a_ticket_is_good_for_one_sandbox_alone(void **state)
{
	struct ticket ticket = fleet_key_ticket(&key, &one, NULL, 0);
	struct fleet_key wrong = key;

	(void)state;
	assert_true(fleet_key_ticket_verify(&key, &one, NULL, 0, &ticket));
	assert_false(fleet_key_ticket_verify(&key, &other, NULL, 0, &ticket));
	wrong.bytes[31] ^= 1;
	assert_false(fleet_key_ticket_verify(&wrong, &one, NULL, 0, &ticket));
	ticket.bytes[0] ^= 1;
	assert_false(fleet_key_ticket_verify(&key, &one, NULL, 0, &ticket));
}

static void a_ticket_is_good_for_what_it_was_made_over_alone(void **state)
{
	static const uint8_t said[] = {1, 2, 3}, other_said[] = {1, 2, 4};
	struct ticket ticket = fleet_key_ticket(&key, &one, said, sizeof(said));

	(void)state;
	assert_true(fleet_key_ticket_verify(&key, &one, said, sizeof(said), &ticket));
	assert_false(fleet_key_ticket_verify(&key, &one, NULL, 0, &ticket));
	assert_false(fleet_key_ticket_verify(&key, &one, said, 2, &ticket));
	assert_false(fleet_key_ticket_verify(&key, &one, other_said, sizeof(said), &ticket));
	assert_false(fleet_key_ticket_verify(&key, &other, said, sizeof(said), &ticket));
}

static void a_token_is_hex_and_always_the_same(void **state)
{
	char text[ENVD_TOKEN_TEXT_MAX], again[ENVD_TOKEN_TEXT_MAX];

	(void)state;
	fleet_key_envd_token(&key, &one, text);
	fleet_key_envd_token(&key, &one, again);
	assert_string_equal(text, again);
	assert_int_equal(strlen(text), 2 * ACCESS_TOKEN_N);
	assert_int_equal(strspn(text, "0123456789abcdef"), 2 * ACCESS_TOKEN_N);
	fleet_key_envd_token(&key, &other, again);
	assert_string_not_equal(text, again);
	fleet_key_traffic_token(&key, &one, again);
	assert_int_equal(strlen(again), 2 * ACCESS_TOKEN_N);
	assert_string_not_equal(text, again);
}

static int write_file(const char *path, size_t n, mode_t mode)
{
	uint8_t bytes[64] = {0};
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	assert_int_equal(fchmod(fd, mode), 0);
	return close(fd);
}

static void a_key_that_others_can_read_is_refused(void **state)
{
	char folder[] = "/tmp/flotilla-key-XXXXXX";
	char path[64];
	struct fleet_key got;
	struct err err;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/key", folder);
	assert_int_equal(fleet_key_read(path, &got, &err), -1);
	write_file(path, FLEET_KEY_N, 0600);
	assert_int_equal(fleet_key_read(path, &got, &err), 0);
	write_file(path, FLEET_KEY_N - 1, 0600);
	assert_int_equal(fleet_key_read(path, &got, &err), -1);
	write_file(path, FLEET_KEY_N + 1, 0600);
	assert_int_equal(fleet_key_read(path, &got, &err), -1);
	write_file(path, FLEET_KEY_N, 0644);
	assert_int_equal(fleet_key_read(path, &got, &err), -1);
	assert_non_null(strstr(err.text, "644"));
	unlink(path);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bind_survives_the_wire),
		cmocka_unit_test(what_is_not_a_bind_is_not_read_as_one),
		cmocka_unit_test(each_verdict_survives_the_wire),
		cmocka_unit_test(a_bind_says_how_long_it_is_as_soon_as_it_can),
		cmocka_unit_test(a_ticket_is_good_for_one_sandbox_alone),
		cmocka_unit_test(a_ticket_is_good_for_what_it_was_made_over_alone),
		cmocka_unit_test(a_token_is_hex_and_always_the_same),
		cmocka_unit_test(a_key_that_others_can_read_is_refused),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
