/* What a keeper of a network decides by, row by row: rules, names in first bytes, names in DNS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "node-agent/egress/dns.h"
#include "node-agent/egress/sniff.h"

/* ---- rules ---- */

static uint32_t address_of(const char *text)
{
	struct egress_range range;

	assert_true(egress_range_parse(text, &range));
	return range.address;
}

static struct egress_range range_of(const char *text)
{
	struct egress_range range;

	assert_true(egress_range_parse(text, &range));
	return range;
}

static void a_range_is_read_one_way_or_not_at_all(void **state)
{
	static const char *const bad[] = {
		"",         "1.2.3",     "1.2.3.4.5",         "1.2.3.256",  "1.2.3.4/33",
		"1.2.3.4/", "1.2.3.4/x", "01.2.3.4",          "1.2.3.4/08", " 1.2.3.4",
		"1.2.3.4 ", "1..3.4",    "a.b.c.d",           "-1.2.3.4",   "1.2.3.4:1",
		"::1",      "0x1.2.3.4", "99999999999.1.1.1",
	};
	struct egress_range range;

	(void)state;
	for (size_t i = 0; i < ARRAY_N(bad); i++)
		assert_false(egress_range_parse(bad[i], &range));
	range = range_of("10.11.12.13/8");
	assert_int_equal(range.address, 0x0a000000);
	assert_true(egress_range_holds(&range, address_of("10.255.0.1")));
	assert_false(egress_range_holds(&range, address_of("11.0.0.0")));
	range = range_of("0.0.0.0/0");
	assert_true(egress_range_holds(&range, UINT32_MAX));
	range = range_of("1.2.3.4");
	assert_true(egress_range_holds(&range, 0x01020304));
	assert_false(egress_range_holds(&range, 0x01020305));
}

static void the_first_rule_that_fits_decides(void **state)
{
	static const struct {
		int rule;
		const char *allow, *deny, *name, *open, *address;
		enum egress_verdict verdict;
	} rows[] = {
		{1, "10.0.0.0/8", NULL, NULL, NULL, "10.1.2.3", EGRESS_DENY},
		{1, "0.0.0.0/0", NULL, NULL, NULL, "169.254.169.254", EGRESS_DENY},
		{1, NULL, NULL, NULL, "10.1.0.0/16", "10.2.0.1", EGRESS_DENY},
		{1, NULL, NULL, NULL, NULL, "127.0.0.1", EGRESS_DENY},
		{1, NULL, NULL, NULL, NULL, "172.31.255.255", EGRESS_DENY},
		{1, NULL, NULL, NULL, NULL, "192.168.0.1", EGRESS_DENY},
		{1, NULL, NULL, NULL, NULL, "100.64.0.1", EGRESS_DENY},
		{1, NULL, NULL, NULL, NULL, "0.0.0.0", EGRESS_DENY},
		{1, NULL, NULL, NULL, NULL, "224.0.0.1", EGRESS_DENY},
		{1, NULL, NULL, NULL, NULL, "255.255.255.255", EGRESS_DENY},
		{2, "8.8.8.8", "0.0.0.0/0", NULL, NULL, "8.8.8.8", EGRESS_ALLOW},
		{2, "8.8.8.8", "8.8.8.8", "x.y", NULL, "8.8.8.8", EGRESS_ALLOW},
		{2, "10.1.1.1", "0.0.0.0/0", NULL, "10.1.0.0/16", "10.1.1.1", EGRESS_ALLOW},
		{3, NULL, NULL, NULL, NULL, "8.8.8.8", EGRESS_ALLOW},
		{3, NULL, "8.8.8.0/24", NULL, NULL, "8.8.9.8", EGRESS_ALLOW},
		{3, NULL, NULL, NULL, NULL, "172.32.0.1", EGRESS_ALLOW},
		{3, NULL, NULL, NULL, "10.1.0.0/16", "10.1.0.1", EGRESS_ALLOW},
		{4, NULL, "0.0.0.0/0", "x.y", NULL, "8.8.8.8", EGRESS_BY_NAME},
		{5, NULL, "8.8.8.0/24", NULL, NULL, "8.8.8.8", EGRESS_DENY},
		{5, NULL, "10.0.0.0/8", NULL, "10.1.0.0/16", "10.1.0.1", EGRESS_DENY},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		struct egress_policy policy = {0};
		struct egress_host host = {0};

		if (rows[i].allow)
			policy.allow[policy.allow_n++] = range_of(rows[i].allow);
		if (rows[i].deny)
			policy.deny[policy.deny_n++] = range_of(rows[i].deny);
		if (rows[i].name)
			strcpy(policy.names[policy.names_n++], rows[i].name);
		if (rows[i].open)
			host.open[host.open_n++] = range_of(rows[i].open);
		if (egress_judge(&policy, &host, address_of(rows[i].address)) != rows[i].verdict)
			fail_msg("row %zu, rule %d", i, rows[i].rule);
	}
}

static void a_name_is_matched_whole_or_below(void **state)
{
	static const struct {
		const char *rule, *name;
		bool is_allowed;
	} rows[] = {
		{"a.example", "a.example", true},
		{"a.example", "A.Example", true},
		{"a.example", "a.example.", true},
		{"a.example", "b.a.example", false},
		{"a.example", "xa.example", false},
		{"a.example", "a.example.evil", false},
		{"*.a.example", "b.a.example", true},
		{"*.a.example", "c.b.A.example", true},
		{"*.a.example", "a.example", false},
		{"*.a.example", "xa.example", false},
		{"*.a.example", ".a.example", false},
		{"*", "any.thing", true},
		{"a.example", "", false},
		{"*", ".", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		struct egress_policy policy = {.names_n = 1, .deny_n = 1};

		strcpy(policy.names[0], rows[i].rule);
		if (egress_name_is_allowed(&policy, rows[i].name) != rows[i].is_allowed)
			fail_msg("%s by %s", rows[i].name, rows[i].rule);
		assert_int_equal(egress_name_is_answered(&policy, rows[i].name),
				 rows[i].is_allowed);
		policy.deny[0] = range_of("8.8.8.8");
		assert_true(egress_name_is_answered(&policy, rows[i].name));
	}
}

static void rules_come_as_a_message_and_nothing_else(void **state)
{
	struct wire_egress_range deny = {0, 0}, allow = {0x08080808, 31};
	struct wire_egress_name name = {"*.Good.Example"};
	struct wire_egress rules = {.allow = &allow,
				    .allow_n = 1,
				    .deny = &deny,
				    .deny_n = 1,
				    .names = &name,
				    .names_n = 1};
	uint8_t bytes[WIRE_EGRESS_MAX];
	struct egress_policy policy;
	struct wire_bytes text = {bytes, 0};
	struct err err;

	(void)state;
	assert_int_equal(wire_egress_encode(&rules, bytes, sizeof(bytes), &text.n, &err), 0);
	assert_int_equal(egress_policy_read(&text, &policy, &err), 0);
	assert_false(egress_policy_is_closed(&policy));
	assert_true(egress_name_is_allowed(&policy, "www.good.example"));
	assert_int_equal(policy.allow[0].address, 0x08080808);
	rules.allow_n = rules.names_n = 0;
	assert_int_equal(wire_egress_encode(&rules, bytes, sizeof(bytes), &text.n, &err), 0);
	assert_int_equal(egress_policy_read(&text, &policy, &err), 0);
	assert_true(egress_policy_is_closed(&policy));
	for (size_t n = 0; n < text.n; n++)
		assert_int_equal(egress_policy_read(&(struct wire_bytes){bytes, n}, &policy, &err),
				 -1);
}

static void settings_are_read_or_refused(void **state)
{
	static const char *const bad[] = {"dns",
					  "dns=x",
					  "dns=1.2.3.4:0",
					  "dns=1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4",
					  "open=1.2.3.4/40",
					  "connections=0",
					  "connections=2501",
					  "other=1",
					  "=1"};
	struct egress_host host;
	struct err err;

	(void)state;
	assert_int_equal(egress_host_parse("dns=1.1.1.1,9.9.9.9:5353;open=10.0.0.0/8;connections=7",
					   &host, &err),
			 0);
	assert_int_equal(host.servers_n, 2);
	assert_int_equal(host.servers[0].port, 53);
	assert_int_equal(host.servers[1].port, 5353);
	assert_int_equal(host.open_n, 1);
	assert_int_equal(host.connections_max, 7);
	assert_int_equal(egress_host_parse("connections=2500", &host, &err), 0);
	for (size_t i = 0; i < ARRAY_N(bad); i++)
		if (egress_host_parse(bad[i], &host, &err) == 0)
			fail_msg("%s", bad[i]);
}

/* ---- first bytes ---- */

/* A greeting with a server's name, as clients send it; returns its length. */
static size_t greeting(const char *name, uint8_t out[512])
{
	static const uint8_t before[] = {0x16, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3};
	size_t name_n = strlen(name), n = sizeof(before) + 32, extensions_at;

	memset(out, 0, 512);
	memcpy(out, before, sizeof(before));
	out[n++] = 0;                                                 /* session */
	memcpy(out + n, (uint8_t[]){0, 2, 0x13, 1, 1, 0}, 6), n += 6; /* ciphers, compressions */
	extensions_at = n, n += 2;
	memcpy(out + n, (uint8_t[]){0, 23, 0, 0}, 4), n += 4; /* another one first */
	memcpy(out + n,
	       (uint8_t[]){0, 0, 0, (uint8_t)(name_n + 5), 0, (uint8_t)(name_n + 3), 0, 0,
			   (uint8_t)name_n},
	       9);
	n += 9;
	memcpy(out + n, name, name_n), n += name_n;
	out[extensions_at + 1] = (uint8_t)(n - extensions_at - 2);
	out[4] = (uint8_t)(n - 5);
	out[8] = (uint8_t)(n - 9);
	return n;
}

static void a_greeting_names_its_server(void **state)
{
	char name[EGRESS_NAME_MAX];
	uint8_t bytes[512];
	size_t n = greeting("www.good.example", bytes);

	(void)state;
	assert_int_equal(egress_sniff(bytes, n, name), EGRESS_SNIFF_NAME);
	assert_string_equal(name, "www.good.example");
	for (size_t cut = 0; cut < n; cut++)
		assert_int_equal(egress_sniff(bytes, cut, name), EGRESS_SNIFF_MORE);
	bytes[9 + 34]++; /* a session that is not there */
	assert_int_equal(egress_sniff(bytes, n, name), EGRESS_SNIFF_NONE);
	n = greeting("good.example/x", bytes);
	assert_int_equal(egress_sniff(bytes, n, name), EGRESS_SNIFF_NONE);
	n = greeting("", bytes);
	assert_int_equal(egress_sniff(bytes, n, name), EGRESS_SNIFF_NONE);
}

static void a_request_names_its_host(void **state)
{
	static const struct {
		const char *bytes, *name; /* NULL: none; "": more is wanted */
	} rows[] = {
		{"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n", "good.example"},
		{"POST /x HTTP/1.1\r\nA: b\r\nhost:  Good.Example:8080 \r\n\r\nbody",
		 "Good.Example"},
		{"GET / HTTP/1.1\r\nHost: good.example\r\n", ""},
		{"G", ""},
		{"", ""},
		{"GET / HTTP/1.1\r\n\r\n", NULL},
		{"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", NULL},
		{"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", NULL},
		{"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", NULL},
		{"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", NULL},
		{"GET / HTTP/1.1\r\nHost : a\r\n\r\n", NULL},
		{"SSH-2.0-OpenSSH\r\n", ""}, /* until its time is over */
		{"\x80\x2e\x01", NULL},
	};
	char name[EGRESS_NAME_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		enum egress_sniff found =
			egress_sniff((const uint8_t *)rows[i].bytes, strlen(rows[i].bytes), name);

		if (!rows[i].name)
			assert_int_equal(found, EGRESS_SNIFF_NONE);
		else if (!rows[i].name[0])
			assert_int_equal(found, EGRESS_SNIFF_MORE);
		else
			assert_string_equal(name, rows[i].name);
	}
}

/* ---- DNS ---- */

static void a_question_survives_being_written_and_read(void **state)
{
	static const char *const bad[] = {"", ".", "a..b", ".a"};
	uint8_t query[DNS_QUERY_MAX], answer[DNS_QUERY_MAX];
	struct dns_question question;
	uint32_t addresses[DNS_ADDRESSES_MAX];
	char long_label[80];
	size_t n = dns_query_write("www.good.example", 0x1234, query), m;

	(void)state;
	assert_true(dns_question_read(query, n, &question));
	assert_string_equal(question.name, "www.good.example");
	assert_int_equal(question.id, 0x1234);
	assert_int_equal(question.type, DNS_TYPE_A);
	assert_int_equal(question.end, n);
	for (size_t cut = 0; cut < n; cut++)
		assert_false(dns_question_read(query, cut, &question));
	assert_true(dns_question_read(query, n, &question));
	m = dns_answer_empty(query, &question, DNS_REFUSED, answer);
	assert_int_equal(answer[3] & 15, DNS_REFUSED);
	assert_true(dns_answers(answer, m, &question, 0x1234));
	assert_false(dns_answers(answer, m, &question, 0x1235));
	assert_false(dns_answers(query, n, &question, 0x1234));
	assert_int_equal(dns_addresses_read(answer, m, addresses), 0);
	assert_false(dns_question_read(answer, m, &question));
	for (size_t i = 0; i < ARRAY_N(bad); i++)
		assert_int_equal(dns_query_write(bad[i], 1, query), 0);
	memset(long_label, 'a', sizeof(long_label));
	long_label[64] = 0;
	assert_int_equal(dns_query_write(long_label, 1, query), 0);
}

static void addresses_are_found_behind_other_records(void **state)
{
	static const uint8_t records[] = {
		0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1,   'x', 0xc0, 12, /* a second name */
		0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 203, 0,   113,  10, 1,
		'y',  0,  0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 203, 0,   113,  11,
	};
	uint8_t answer[DNS_QUERY_MAX];
	uint32_t addresses[DNS_ADDRESSES_MAX];
	size_t n = dns_query_write("good.example", 7, answer);

	(void)state;
	answer[2] |= 0x80;
	answer[7] = 3;
	memcpy(answer + n, records, sizeof(records));
	assert_int_equal(dns_addresses_read(answer, n + sizeof(records), addresses), 2);
	assert_int_equal(addresses[0], 0xcb00710a);
	assert_int_equal(addresses[1], 0xcb00710b);
	for (size_t cut = 0; cut < sizeof(records); cut++)
		assert_true(dns_addresses_read(answer, n + cut, addresses) <= 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_range_is_read_one_way_or_not_at_all),
		cmocka_unit_test(the_first_rule_that_fits_decides),
		cmocka_unit_test(a_name_is_matched_whole_or_below),
		cmocka_unit_test(rules_come_as_a_message_and_nothing_else),
		cmocka_unit_test(settings_are_read_or_refused),
		cmocka_unit_test(a_greeting_names_its_server),
		cmocka_unit_test(a_request_names_its_host),
		cmocka_unit_test(a_question_survives_being_written_and_read),
		cmocka_unit_test(addresses_are_found_behind_other_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
