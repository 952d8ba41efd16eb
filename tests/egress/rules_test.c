/* Which rule is for a request's host, and how rules take each other's place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "node-agent/egress/policy.h"
#include "node-agent/egress/rules.h"

#define BYTES(text)                                                                                \
	{                                                                                          \
		(const uint8_t *)(text), sizeof(text) - 1                                          \
	}

static uint8_t storage[WIRE_EGRESS_MAX];

static struct wire_bytes encoded(const struct wire_egress *egress)
{
	struct wire_bytes bytes = {storage, 0};
	struct err err;

	if (wire_egress_encode(egress, storage, sizeof(storage), &bytes.n, &err))
		fail_msg("%s", err.text);
	return bytes;
}

/* With rules for these hosts, the NULL behind them not counted; the text is the value of each. */
static struct wire_bytes rules_for(const char *const names[])
{
	static struct wire_egress_header headers[10];
	static struct wire_egress_rule rules[10];
	struct wire_egress egress = {.rules = rules,
				     .authority = BYTES("a certificate"),
				     .authority_key = BYTES("its key")};

	for (size_t i = 0; names[i]; i++) {
		headers[i] = (struct wire_egress_header){
			"X-Key", {(const uint8_t *)names[i], strlen(names[i])}, ""};
		rules[i] = (struct wire_egress_rule){.headers = &headers[i], .headers_n = 1};
		strcpy(rules[i].name, names[i]);
		egress.rules_n++;
	}
	return encoded(&egress);
}

static void the_rule_that_names_the_host_best_is_its_own(void **state)
{
	static const char *const names[] = {"good.example",   "*.good.example", "*.b.good.example",
					    "A.good.example", "*.c.*.example",  NULL};
	static const struct {
		const char *name, *rule;
	} rows[] = {
		{"good.example", "good.example"},
		{"GOOD.Example", "good.example"},
		{"good.example.", "good.example"},
		{"a.good.example", "A.good.example"}, /* exactly */
		{"x.good.example", "*.good.example"},
		{"x.y.good.example", "*.good.example"},
		{"X.Good.EXAMPLE.", "*.good.example"},
		{"x.b.good.example", "*.b.good.example"}, /* the longer */
		{"x.y.b.good.example", "*.b.good.example"},
		{"b.good.example", "*.good.example"}, /* not below itself */
		{"x.a.good.example", "*.good.example"},
		{"xgood.example", NULL},
		{"good.example.evil", NULL},
		{".good.example", NULL},
		{"example", NULL},
		{"x.c.d.example", NULL}, /* one star, in front */
		{"", NULL},
		{".", NULL},
		{"good.example..", NULL},
	};
	struct egress_rules rules = {0};
	struct wire_bytes bytes = rules_for(names);
	struct err err;

	(void)state;
	assert_int_equal(egress_rules_read(&rules, &bytes, &err), 0);
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		const struct wire_egress_rule *found = egress_rules_find(&rules, rows[i].name);

		if ((found == NULL) != (rows[i].rule == NULL) ||
		    (found && strcmp(found->name, rows[i].rule) != 0))
			fail_msg("%s: %s", rows[i].name, found ? found->name : "none");
	}
	egress_rules_free(&rules);
	assert_null(egress_rules_find(&rules, "good.example"));
}

static void later_rules_take_the_place_of_earlier_ones(void **state)
{
	static const char *const one[] = {"one.example", NULL}, *const two[] = {"two.example",
										NULL};
	struct egress_rules rules = {0};
	const struct wire_egress_rule *found;
	struct wire_bytes bytes = rules_for(one);
	struct err err;

	(void)state;
	assert_int_equal(egress_rules_read(&rules, &bytes, &err), 0);
	memset(storage, 0xa5, sizeof(storage)); /* what is kept is copied */
	found = egress_rules_find(&rules, "one.example");
	assert_non_null(found);
	assert_memory_equal(found->headers[0].value.data, "one.example", 11);
	bytes = rules_for(two);
	/* What is cut off is none, and nothing has changed. */
	for (size_t n = 0; n < bytes.n; n++) {
		assert_int_equal(egress_rules_read(&rules, &(struct wire_bytes){storage, n}, &err),
				 -1);
		assert_non_null(egress_rules_find(&rules, "one.example"));
	}
	assert_int_equal(egress_rules_read(&rules, &bytes, &err), 0);
	assert_null(egress_rules_find(&rules, "one.example"));
	assert_non_null(egress_rules_find(&rules, "two.example"));
	egress_rules_free(&rules);
}

/* All that the message may hold, in both readers of it. */
static void the_largest_message_is_read(void **state)
{
	static struct wire_egress_header headers[10][20];
	static struct wire_egress_rule rules[10];
	static struct wire_egress_range ranges[64];
	static struct wire_egress_name names[64];
	static struct wire_egress egress = {.allow = ranges,
					    .allow_n = ARRAY_N(ranges),
					    .deny = ranges,
					    .deny_n = ARRAY_N(ranges),
					    .names = names,
					    .names_n = ARRAY_N(names),
					    .rules = rules,
					    .rules_n = ARRAY_N(rules),
					    .proxy_port = 1080,
					    .authority = BYTES("a certificate"),
					    .authority_key = BYTES("its key")};
	struct egress_rules read = {0};
	struct egress_policy policy;
	struct wire_bytes bytes;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_N(names); i++)
		memset(names[i].name, 'n', sizeof(names[i].name) - 1);
	for (size_t i = 0; i < ARRAY_N(rules); i++) {
		memset(rules[i].name, 'r', sizeof(rules[i].name) - 1);
		rules[i].headers = headers[i];
		rules[i].headers_n = ARRAY_N(headers[i]);
		for (size_t j = 0; j < ARRAY_N(headers[i]); j++) {
			memset(headers[i][j].name, 'h', sizeof(headers[i][j].name) - 1);
			headers[i][j].value = (struct wire_bytes)BYTES("v");
			memset(headers[i][j].problem, 'p', sizeof(headers[i][j].problem) - 1);
		}
	}
	memset(egress.proxy_host, 'x', sizeof(egress.proxy_host) - 1);
	memset(egress.proxy_user, 'u', sizeof(egress.proxy_user) - 1);
	memset(egress.proxy_password, 'w', sizeof(egress.proxy_password) - 1);
	bytes = encoded(&egress);
	assert_int_equal(egress_policy_read(&bytes, &policy, &err), 0);
	assert_int_equal(egress_rules_read(&read, &bytes, &err), 0);
	assert_non_null(egress_rules_find(&read, rules[0].name));
	assert_int_equal(strlen(read.wire.proxy_password), 255);
	egress_rules_free(&read);
}

static void rules_without_an_authority_are_none(void **state)
{
	static struct wire_egress_rule rule = {.name = "good.example"};
	struct wire_egress egress = {.rules = &rule, .rules_n = 1};
	size_t n;
	struct err err;

	(void)state;
	assert_int_equal(wire_egress_encode(&egress, storage, sizeof(storage), &n, &err), -1);
	assert_non_null(strstr(err.text, "authority"));
}

/* One difference a row; the first row has none. */
static void a_proxy_is_the_same_by_all_that_is_said_of_it(void **state)
{
	static const struct wire_egress proxy = {.proxy_host = "proxy.example",
						 .proxy_port = 1080,
						 .proxy_user = "me",
						 .proxy_password = "password",
						 .proxy_tls = true,
						 .proxy_tls_name = "name.example",
						 .proxy_tls_ca = BYTES("pem")};
	struct wire_egress others[9];
	struct egress_rules one = {0}, other = {0};
	struct wire_bytes bytes = encoded(&proxy);
	struct err err;

	(void)state;
	assert_true(egress_rules_share_proxy(&one, &other));
	assert_int_equal(egress_rules_read(&one, &bytes, &err), 0);
	assert_false(egress_rules_share_proxy(&one, &other));
	for (size_t i = 0; i < ARRAY_N(others); i++)
		others[i] = proxy;
	strcpy(others[1].proxy_host, "proxy2.example");
	others[2].proxy_port = 1081;
	strcpy(others[3].proxy_user, "mee");
	strcpy(others[4].proxy_password, "");
	others[5].proxy_tls = false;
	strcpy(others[6].proxy_tls_name, "");
	others[7].proxy_tls_ca.n = 0;
	others[8].proxy_tls_ca.data = (const uint8_t *)"pen";
	for (size_t i = 0; i < ARRAY_N(others); i++) {
		bytes = encoded(&others[i]);
		assert_int_equal(egress_rules_read(&other, &bytes, &err), 0);
		if (egress_rules_share_proxy(&one, &other) != (i == 0) ||
		    egress_rules_share_proxy(&other, &one) != (i == 0))
			fail_msg("row %zu", i);
	}
	egress_rules_free(&one);
	egress_rules_free(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_rule_that_names_the_host_best_is_its_own),
		cmocka_unit_test(later_rules_take_the_place_of_earlier_ones),
		cmocka_unit_test(the_largest_message_is_read),
		cmocka_unit_test(rules_without_an_authority_are_none),
		cmocka_unit_test(a_proxy_is_the_same_by_all_that_is_said_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
