#include "common/base/check.h"
#include "common/io/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static void what_is_written_is_what_was_read(void **unused)
{
	static const char *const texts[] = {"127.0.0.1:3000", "[::1]:0", "scheduler.example:65535"};
	char back[ADDRESS_TEXT_MAX];
	struct address address;

	(void)unused;
	for (size_t i = 0; i < ARRAY_N(texts); i++) {
		assert_true(address_parse(texts[i], &address));
		address_format(&address, back);
		assert_string_equal(back, texts[i]);
	}
}

static void what_is_no_address_leaves_the_struct_alone(void **unused)
{
	static const char *const texts[] = {
		"",        ":",         ":80",      "host",        "host:",    "host:65536",
		"host:-1", "host:80x",  "::1:80",   "[::1]",       "[::1]80",  "[::1:80",
		"[]:80",   "[name]:80", "ho st:80", "http://a:80", "a:000080",
	};
	struct address address = {.host = "kept", .port = 7};

	(void)unused;
	for (size_t i = 0; i < ARRAY_N(texts); i++) {
		assert_false(address_parse(texts[i], &address));
		assert_string_equal(address.host, "kept");
		assert_int_equal(address.port, 7);
	}
}

static void numeric_hosts_become_socket_addresses_and_return(void **unused)
{
	static const char *const texts[] = {"10.1.2.3:99", "[fe80::1]:3001"};
	struct sockaddr_storage storage;
	struct address address, again;

	(void)unused;
	for (size_t i = 0; i < ARRAY_N(texts); i++) {
		assert_true(address_parse(texts[i], &address));
		assert_true(address_to_sockaddr(&address, &storage));
		assert_true(address_from_sockaddr((struct sockaddr *)&storage, &again));
		assert_string_equal(address.host, again.host);
		assert_int_equal(address.port, again.port);
	}
	assert_true(address_parse("name:1", &address));
	assert_false(address_to_sockaddr(&address, &storage));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_what_was_read),
		cmocka_unit_test(what_is_no_address_leaves_the_struct_alone),
		cmocka_unit_test(numeric_hosts_become_socket_addresses_and_return),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
