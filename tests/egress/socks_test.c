/* What is said to a SOCKS5 proxy, and what is made of its answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "node-agent/egress/socks.h"

/* To 203.0.113.10, port 8080. */
static struct socks begun(const char *user, const char *password, const char *name)
{
	struct socks socks = {.user = user,
			      .password = password,
			      .name = name,
			      .address = 0xcb00710a,
			      .port = 8080};

	socks_begin(&socks);
	return socks;
}

static void assert_said(const struct socks *socks, const char *bytes, size_t n)
{
	assert_int_equal(socks->said_n, n);
	assert_memory_equal(socks->said, bytes, n);
}

#define SAYS(socks, bytes) assert_said(socks, bytes, sizeof(bytes) - 1)

/* As much of it as is wanted each time, until it is used up or refused. */
static int hear(struct socks *socks, const char *bytes, size_t n, struct err *err)
{
	size_t at = 0, wanted_n;

	while (at < n) {
		wanted_n = socks->wanted_n;
		assert_true(wanted_n > 0 && wanted_n <= SOCKS_HEARD_MAX);
		/* No more than there is: a proxy waits for an answer behind it. */
		if (wanted_n > n - at)
			fail_msg("%zu bytes wanted, %zu there", wanted_n, n - at);
		if (socks_hear(socks, (const uint8_t *)bytes + at, err))
			return -1;
		at += wanted_n;
	}
	return 0;
}

#define HEARS(socks, bytes) assert_int_equal(hear(socks, bytes, sizeof(bytes) - 1, &err), 0)

static void a_way_is_asked_for_by_address_or_by_name(void **state)
{
	struct socks socks = begun("", "", NULL);
	struct err err;

	(void)state;
	SAYS(&socks, "\5\1\0");
	HEARS(&socks, "\5\0");
	SAYS(&socks, "\5\1\0\1\xcb\0\x71\x0a\x1f\x90");
	HEARS(&socks, "\5\0\0\1\0\0\0\0\0\0");
	assert_int_equal(socks.step, SOCKS_OPEN);
	assert_int_equal(socks.said_n, 0);
	assert_int_equal(socks.wanted_n, 0);

	socks = begun("", "", "good.example");
	HEARS(&socks, "\5\0");
	SAYS(&socks, "\5\1\0\3\x0cgood.example\x1f\x90");
	HEARS(&socks, "\5\0\0\1\1\2\3\4\5\6");
	assert_int_equal(socks.step, SOCKS_OPEN);
}

static void a_proxy_that_wants_a_password_is_told_it(void **state)
{
	struct socks socks = begun("user", "pass\xffword", NULL);
	struct err err;

	(void)state;
	SAYS(&socks, "\5\2\0\2");
	HEARS(&socks, "\5\2");
	SAYS(&socks, "\1\4user\x09pass\xffword");
	HEARS(&socks, "\1\0");
	SAYS(&socks, "\5\1\0\1\xcb\0\x71\x0a\x1f\x90");
	HEARS(&socks, "\5\0\0\1\0\0\0\0\0\0");
	assert_int_equal(socks.step, SOCKS_OPEN);
	/* One that wants none gets none. */
	socks = begun("user", "password", NULL);
	HEARS(&socks, "\5\0");
	SAYS(&socks, "\5\1\0\1\xcb\0\x71\x0a\x1f\x90");
	/* An empty password is one, too. */
	socks = begun("user", "", NULL);
	HEARS(&socks, "\5\2");
	SAYS(&socks, "\1\4user\0");
}

static void the_longest_texts_fit(void **state)
{
	char text[SOCKS_TEXT_MAX + 1] = "";
	struct socks socks;
	struct err err;

	(void)state;
	memset(text, 'x', SOCKS_TEXT_MAX);
	socks = begun(text, text, text);
	HEARS(&socks, "\5\2");
	assert_int_equal(socks.said_n, 1 + 2 * (1 + SOCKS_TEXT_MAX));
	HEARS(&socks, "\1\0");
	assert_int_equal(socks.said_n, 4 + 1 + SOCKS_TEXT_MAX + 2);
}

/* However it names the address that it calls from, nothing behind it is heard. */
static void whatever_address_it_is_bound_to_is_passed_over(void **state)
{
	static char longest[4 + 1 + 255 + 2] = {5, 0, 0, 3, (char)255};
	static const struct {
		const char *bytes;
		size_t n;
	} rows[] = {
		{"\5\0\0\1\x7f\0\0\1\0\x50", 10},
		{"\5\0\0\4\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\x50", 22},
		{"\5\0\0\3\5proxy\0\x50", 12},
		{"\5\0\0\3\0\0\x50", 7},
		{longest, sizeof(longest)},
	};
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		struct socks socks = begun("", "", NULL);

		HEARS(&socks, "\5\0");
		assert_int_equal(hear(&socks, rows[i].bytes, rows[i].n, &err), 0);
		assert_int_equal(socks.step, SOCKS_OPEN);
		assert_int_equal(socks.wanted_n, 0);
	}
}

static void a_refusal_says_why(void **state)
{
	static const struct {
		const char *user, *bytes;
		size_t n;
		const char *why;
	} rows[] = {
		{"", "\5\xff", 2, "another user"},
		{"", "\5\2", 2, "another user"}, /* it was not offered */
		{"user", "\5\1", 2, "another user"},
		{"user", "\5\xff", 2, "another user"},
		{"user", "\5\2\1\1", 4, "the user or its password"},
		{"user", "\5\2\1\xff", 4, "the user or its password"},
		{"", "\5\0\5\1\0\1\0", 7, "it failed"},
		{"", "\5\0\5\2\0\1\0", 7, "not allowed by its rules"},
		{"", "\5\0\5\3\0\1\0", 7, "network unreachable"},
		{"", "\5\0\5\4\0\1\0", 7, "host unreachable"},
		{"", "\5\0\5\5\0\1\0", 7, "connection refused"},
		{"", "\5\0\5\6\0\1\0", 7, "it took too long"},
		{"", "\5\0\5\7\0\1\0", 7, "command not known"},
		{"", "\5\0\5\x08\0\1\0", 7, "kind of address not known"},
		{"", "\5\0\5\x09\0\1\0", 7, "no known reason"},
		{"", "\5\0\5\xff\0\1\0", 7, "no known reason"},
		{"", "\4\0", 2, "no SOCKS5"},
		{"", "HT", 2, "no SOCKS5"},
		{"", "\5\0\4\0\0\1\0", 7, "no SOCKS5"},
		{"", "\5\0\5\0\0\2\0", 7, "no SOCKS5"},
		{"", "\5\0\5\0\0\0\0", 7, "no SOCKS5"},
		{"", "\5\0\5\0\0\xff\0", 7, "no SOCKS5"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		struct socks socks = begun(rows[i].user, "password", NULL);
		struct err err = {""};

		assert_int_equal(hear(&socks, rows[i].bytes, rows[i].n, &err), -1);
		if (!strstr(err.text, rows[i].why))
			fail_msg("row %zu: %s", i, err.text);
		assert_int_not_equal(socks.step, SOCKS_OPEN);
		assert_int_equal(socks.said_n, 0);
	}
}

static void an_open_way_hears_nothing_more(void **state)
{
	struct socks socks = begun("", "", NULL);
	struct err err;

	(void)state;
	HEARS(&socks, "\5\0\5\0\0\1\0\0\0\0\0\0");
	assert_int_equal(socks_hear(&socks, (const uint8_t *)"x", &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_way_is_asked_for_by_address_or_by_name),
		cmocka_unit_test(a_proxy_that_wants_a_password_is_told_it),
		cmocka_unit_test(the_longest_texts_fit),
		cmocka_unit_test(whatever_address_it_is_bound_to_is_passed_over),
		cmocka_unit_test(a_refusal_says_why),
		cmocka_unit_test(an_open_way_hears_nothing_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
