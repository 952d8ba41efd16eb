/* TLS on memory: two ends joined by nothing but their bytes. */
#include "tests/io/tls_ends.h"
#include "tests/io/tls_world.h"

#include <stdlib.h>
#include <string.h>

enum { STEPS_MAX = 1000 };

static struct tls_folder folder;
static struct tls_config *server_config, *client_config;
static struct end server, client;

static int open_configs(void **state)
{
	struct err err;

	(void)state;
	tls_folder_open(&folder);
	assert_int_equal(tls_config_server(&server_config, folder.cert, folder.key, NULL, &err), 0);
	assert_int_equal(tls_config_client(&client_config, &err), 0);
	return 0;
}

static int close_configs(void **state)
{
	(void)state;
	tls_config_unref(server_config);
	tls_config_unref(client_config);
	tls_folder_close(&folder);
	return 0;
}

static int open_ends(void **state)
{
	(void)state;
	memset(&server, 0, sizeof(server));
	memset(&client, 0, sizeof(client));
	server.tls = tls_open(server_config);
	client.tls = tls_open(client_config);
	assert_non_null(server.tls);
	assert_non_null(client.tls);
	return 0;
}

static int close_ends(void **state)
{
	(void)state;
	tls_close(server.tls);
	tls_close(client.tls);
	return 0;
}

static void exchange(size_t piece_n)
{
	ends_exchange(&client, &server, piece_n);
}

static void what_is_said_comes_whole_however_it_is_cut(void **state)
{
	static const size_t pieces[] = {1, 7, 1000, PLAIN_MAX};

	for (size_t at = 0; at < sizeof(pieces) / sizeof(pieces[0]); at++) {
		exchange(pieces[at]);
		assert_true(tls_is_ready(server.tls) && tls_is_ready(client.tls));
		end_say(&client, "hello ");
		end_say(&client, "server");
		end_say(&server, "hello client");
		exchange(pieces[at]);
		end_assert_came(&server, "hello server");
		end_assert_came(&client, "hello client");
		close_ends(state);
		open_ends(state);
	}
}

static void much_is_cut_into_records_and_joined_again(void **state)
{
	static uint8_t much[PLAIN_MAX];

	(void)state;
	for (size_t at = 0; at < sizeof(much); at++)
		much[at] = (uint8_t)(at * 7 + (at >> 10));
	exchange(PLAIN_MAX);
	assert_int_equal(tls_write(server.tls, much, sizeof(much)), 0);
	exchange(5000);
	assert_int_equal(client.plain_n, sizeof(much));
	assert_memory_equal(client.plain, much, sizeof(much));
}

static void an_end_is_told_apart_from_silence(void **state)
{
	(void)state;
	exchange(PLAIN_MAX);
	end_say(&client, "last words");
	tls_end(client.tls);
	tls_end(client.tls); /* once */
	exchange(PLAIN_MAX);
	end_assert_came(&server, "last words");
	assert_true(server.is_ended);
	assert_false(client.is_ended);
	/* The other half goes on. */
	end_say(&server, "still here");
	exchange(PLAIN_MAX);
	end_assert_came(&client, "still here");
}

static void a_changed_bit_ends_the_session_and_gives_nothing(void **state)
{
	const uint8_t *bytes;
	uint8_t changed[256];
	size_t n;

	(void)state;
	exchange(PLAIN_MAX);
	end_say(&client, "secret");
	bytes = tls_output(client.tls, &n);
	assert_true(n < sizeof(changed));
	memcpy(changed, bytes, n);
	changed[n - 1] ^= 1;
	end_feed(&server, changed, n);
	assert_int_equal(server.status, -1);
	assert_int_equal(server.plain_n, 0);
	assert_non_null(tls_output(server.tls, &n)); /* an alert */
	end_feed(&server, bytes, 0);
	assert_int_equal(server.status, -1);
}

static void garbage_is_refused_at_once(void **state)
{
	static const char *const rows[] = {
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"\x16\x03\x01\xff\xff\x01",  /* longer than a record can be */
		"\x17\x03\x03\x00\x05hello", /* data before a handshake */
		"\x80\x2e\x01\x03\x01 an SSL 2 hello of long ago .................",
		"\x15\x03\x03\x00\x02\x02\x28", /* a fatal alert */
	};

	for (size_t at = 0; at < sizeof(rows) / sizeof(rows[0]); at++) {
		size_t n = at == 0 || at == 3 ? strlen(rows[at]) : at == 1 ? 6 : at == 2 ? 10 : 7;

		end_feed(&server, (const uint8_t *)rows[at], n);
		assert_int_equal(server.status, -1);
		close_ends(state);
		open_ends(state);
	}
}

/* Of every byte of a good handshake in turn. */
static void a_handshake_that_was_tampered_with_never_comes_to_an_end(void **state)
{
	for (int at = 0; at < 200; at += 3) {
		const uint8_t *bytes;
		uint8_t hello[2048];
		size_t n;

		bytes = tls_output(client.tls, &n);
		assert_true(n <= sizeof(hello) && n > 200);
		memcpy(hello, bytes, n);
		hello[at] ^= 0x20;
		tls_output_done(client.tls, n);
		end_feed(&server, hello, n);
		for (int step = 0; step < STEPS_MAX && client.status == 0 && server.status == 0;
		     step++) {
			if (!end_move(&server, &client, PLAIN_MAX) &&
			    !end_move(&client, &server, PLAIN_MAX))
				break;
		}
		assert_false(client.status == 0 && server.status == 0 && tls_is_ready(server.tls) &&
			     tls_is_ready(client.tls));
		close_ends(state);
		open_ends(state);
	}
}

static void a_new_certificate_leaves_sessions_alone(void **state)
{
	struct tls_config *newer;
	struct err err;

	(void)state;
	exchange(PLAIN_MAX);
	assert_int_equal(tls_config_server(&newer, folder.cert, folder.key, server_config, &err),
			 0);
	tls_config_unref(server_config);
	server_config = newer;
	end_say(&client, "hello");
	exchange(PLAIN_MAX);
	end_assert_came(&server, "hello");
}

static void files_that_are_not_there_or_do_not_fit_are_named(void **state)
{
	struct tls_config *config;
	struct tls_folder other;
	struct err err;

	(void)state;
	assert_int_equal(tls_config_server(&config, "/nowhere/cert", folder.key, NULL, &err), -1);
	assert_non_null(strstr(err.text, "/nowhere/cert"));
	tls_folder_open(&other);
	assert_int_equal(tls_config_server(&config, folder.cert, other.key, NULL, &err), -1);
	assert_non_null(strstr(err.text, other.key));
	tls_folder_close(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_ends, close_ends)
		TEST(what_is_said_comes_whole_however_it_is_cut),
		TEST(much_is_cut_into_records_and_joined_again),
		TEST(an_end_is_told_apart_from_silence),
		TEST(a_changed_bit_ends_the_session_and_gives_nothing),
		TEST(garbage_is_refused_at_once),
		TEST(a_handshake_that_was_tampered_with_never_comes_to_an_end),
		TEST(a_new_certificate_leaves_sessions_alone),
		TEST(files_that_are_not_there_or_do_not_fit_are_named),
	};

	return cmocka_run_group_tests(tests, open_configs, close_configs);
}
