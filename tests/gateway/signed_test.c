/* Signed file URLs that name no sandbox find theirs, at a bounded cost, and tell nothing else. */
#include "tests/gateway/harness.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "scheduler/gateway/signed.h"
#include "scheduler/gateway/sources.h"

#define ONE   "iaaaaaaaaaaaaaaaaaaaa"
#define OTHER "ibbbbbbbbbbbbbbbbbbbb"

enum { FAR_FUTURE = 2000000000 };

static const char *const no_grace[] = {"--grace", "0", NULL};

static struct world world;
static struct sandbox one, other;
static struct tenant tenant;

/* ---- the URL alone ---- */

static bool read_url(const char *request, int64_t now_s, struct signed_url *out,
		     enum outcome *out_outcome)
{
	struct http_head head;
	size_t scanned_n = 0, head_n;

	assert_int_equal(http_request_parse(request, strlen(request), &scanned_n, &head, &head_n),
			 HTTP_OK);
	return signed_url_read(&head, now_s, out, out_outcome);
}

#define END " HTTP/1.1\r\nHost: a\r\n\r\n"

/* The vector is E2B's own. */
static void a_signature_fits_the_token_it_was_made_with_alone(void **state)
{
	struct signed_url url;
	enum outcome outcome;

	(void)state;
	assert_true(read_url("GET /files?username=user&path=hello.txt&signature=v1_gUtH%2Fs9YCJWgC"
			     "izjfUxuWfhFE4QSydOWEIIvfLwDr6E" END,
			     1, &url, &outcome));
	assert_int_equal(outcome, OUTCOME_ROUTED);
	assert_true(signed_url_fits(&url, "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0"));
	assert_false(signed_url_fits(&url, "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e1"));
	assert_false(signed_url_fits(&url, ""));
}

#define GOOD "v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E"

static void what_is_no_signed_url_is_none(void **state)
{
	static const char *const rows[] = {
		"GET /files?path=a" END,
		"GET /files" END,
		"GET /health?signature=" GOOD END,
		"GET /files/?signature=" GOOD END,
		"DELETE /files?signature=" GOOD END,
		"GET /x/files?signature=" GOOD END,
	};
	struct signed_url url;
	enum outcome outcome;

	(void)state;
	for (size_t at = 0; at < sizeof(rows) / sizeof(rows[0]); at++)
		assert_false(read_url(rows[at], 1, &url, &outcome));
}

static void a_bad_or_old_signature_is_told_without_a_search(void **state)
{
	static const struct {
		const char *request;
		enum outcome outcome;
	} rows[] = {
		{"GET /files?signature=" END, OUTCOME_BAD_SIGNATURE},
		{"GET /files?signature=v1_" END, OUTCOME_BAD_SIGNATURE},
		{"GET /files?signature=v2_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E" END,
		 OUTCOME_BAD_SIGNATURE},
		{"GET /files?signature=v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLw" END,
		 OUTCOME_BAD_SIGNATURE},
		{"GET /files?signature=" GOOD "AAAA" END, OUTCOME_BAD_SIGNATURE},
		{"GET /files?path=%zz&signature=" GOOD END, OUTCOME_BAD_SIGNATURE},
		{"GET /files?signature_expiration=&signature=" GOOD END, OUTCOME_BAD_SIGNATURE},
		{"GET /files?signature_expiration=-1&signature=" GOOD END, OUTCOME_BAD_SIGNATURE},
		{"GET /files?signature_expiration=1x&signature=" GOOD END, OUTCOME_BAD_SIGNATURE},
		{"GET /files?signature_expiration=9999999999999999&signature=" GOOD END,
		 OUTCOME_BAD_SIGNATURE},
		{"GET /files?signature_expiration=99&signature=" GOOD END, OUTCOME_EXPIRED},
		{"GET /files?signature_expiration=100&signature=" GOOD END, OUTCOME_ROUTED},
		{"POST /files?signature=" GOOD END, OUTCOME_ROUTED},
	};
	struct signed_url url;
	enum outcome outcome;

	(void)state;
	for (size_t at = 0; at < sizeof(rows) / sizeof(rows[0]); at++) {
		assert_true(read_url(rows[at].request, 100, &url, &outcome));
		assert_int_equal(outcome, rows[at].outcome);
	}
}

static void each_source_has_so_many_misses_and_gets_them_back_with_time(void **state)
{
	static struct sources sources;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000001)};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	uint32_t place;

	(void)state;
	assert_true(sodium_init() >= 0);
	sources_init(&sources);
	place = sources_place(&sources, (struct sockaddr *)&address);
	for (int n = 0; n < SOURCES_BURST; n++)
		assert_true(sources_take(&sources, place, 5000));
	assert_false(sources_take(&sources, place, 5000));
	sources_give_back(&sources, place);
	assert_true(sources_take(&sources, place, 5000));
	assert_false(sources_take(&sources, place, 5000 + SOURCES_REFILL_MS - 1));
	assert_true(sources_take(&sources, place, 5000 + SOURCES_REFILL_MS));
	assert_false(sources_take(&sources, place, 5000 + SOURCES_REFILL_MS));
	/* The same address in IPv6's clothes is the same source, and so is a network of one host's.
	 */
	assert_int_equal(inet_pton(AF_INET6, "::ffff:10.0.0.1", &six.sin6_addr), 1);
	assert_int_equal(sources_place(&sources, (struct sockaddr *)&six), place);
	assert_int_equal(inet_pton(AF_INET6, "2001:db8::1", &six.sin6_addr), 1);
	place = sources_place(&sources, (struct sockaddr *)&six);
	assert_int_equal(inet_pton(AF_INET6, "2001:db8::ffff:0:0:2", &six.sin6_addr), 1);
	assert_int_equal(sources_place(&sources, (struct sockaddr *)&six), place);
}

/* ---- through the gateway ---- */

static int setup(void **state)
{
	(void)state;
	world_open(&world, no_grace);
	sandbox_open_bound(&one, &world, ONE);
	sandbox_open_bound(&other, &world, OTHER);
	tenant_open(&tenant, &world);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tenant_close(&tenant);
	sandbox_die(&one);
	sandbox_die(&other);
	world_close(&world);
	return 0;
}

/* As E2B's clients make it. expiration: 0 for none. */
static void sign(const struct sandbox *sandbox, const char *operation, const char *path,
		 long expiration, char out[64])
{
	char token[ENVD_TOKEN_TEXT_MAX], text[512];
	uint8_t hash[crypto_hash_sha256_BYTES];
	int n;

	fleet_key_envd_token(&world.key, &sandbox->id, token);
	n = snprintf(text, sizeof(text), "%s:%s:user:%s", path, operation, token);
	if (expiration)
		n += snprintf(text + n, sizeof(text) - (size_t)n, ":%ld", expiration);
	crypto_hash_sha256(hash, (uint8_t *)text, (unsigned)n);
	strcpy(out, "v1_");
	sodium_bin2base64(out + 3, 61, hash, sizeof(hash),
			  sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
}

static void get(const char *path, const char *signature, long expiration)
{
	char text[600], more[64] = "";

	if (expiration)
		snprintf(more, sizeof(more), "&signature_expiration=%ld", expiration);
	snprintf(text, sizeof(text),
		 "GET /files?path=%s&username=user&signature=%s%s HTTP/1.1\r\n"
		 "Host: 127.0.0.1:3001\r\n\r\n",
		 path, signature, more);
	tenant_send(&tenant, text);
}

static void a_signed_url_finds_its_sandbox(void **state)
{
	char signature[64], text[600];

	(void)state;
	for (int round = 0; round < 2 * SOURCES_BURST; round++) {
		sign(&other, "read", "a.txt", 0, signature);
		get("a.txt", signature, 0);
		tenant_expect(&tenant, "HTTP/1.1 200 OK\r\n");
		tenant_expect(&tenant, "GET /files?path=a.txt&username=user&signature=v1_");
	}
	assert_int_equal(other.services_opened_n, 2 * SOURCES_BURST);
	sign(&one, "read", "b/c", FAR_FUTURE, signature);
	get("b%2Fc", signature, FAR_FUTURE);
	tenant_expect(&tenant, "signature_expiration=2000000000 HTTP/1.1\r\n");
	assert_int_equal(one.services_opened_n, 1);
	sign(&one, "write", "up", 0, signature);
	snprintf(text, sizeof(text),
		 "POST /files?path=up&username=user&signature=%s HTTP/1.1\r\nHost: localhost\r\n"
		 "Content-Length: 5\r\n\r\nhello",
		 signature);
	tenant_send(&tenant, text);
	tenant_expect(&tenant, "POST /files?path=up");
	assert_int_equal(one.services_opened_n, 2);
}

static void another_path_operation_or_time_is_a_wrong_signature(void **state)
{
	char signature[64];

	(void)state;
	sign(&one, "read", "a.txt", FAR_FUTURE, signature);
	for (int row = 0; row < 4; row++) {
		if (row == 3)
			sign(&one, "write", "a.txt", FAR_FUTURE, signature);
		get(row == 0 ? "b.txt" : "a.txt", signature,
		    row == 1   ? FAR_FUTURE + 1
		    : row == 2 ? 0
			       : FAR_FUTURE);
		tenant_expect(&tenant, "HTTP/1.1 401 Unauthorized\r\n");
		tenant_expect(&tenant, "Connection: close\r\n");
		tenant_expect(&tenant, "{\"message\":\"invalid signature\",\"code\":401}");
		tenant_close(&tenant);
		tenant_open(&tenant, &world);
	}
	sign(&one, "read", "a.txt", 1000, signature);
	get("a.txt", signature, 1000);
	tenant_expect(&tenant, "{\"message\":\"signature is already expired\",\"code\":401}");
	assert_int_equal(one.services_opened_n, 0);
}

static void a_miss_takes_its_time_and_a_source_has_so_many(void **state)
{
	uint64_t began_ns = uv_hrtime();
	struct tenant many[SOURCES_BURST + 1];

	(void)state;
	for (int n = 0; n <= SOURCES_BURST; n++) {
		tenant_open(&many[n], &world);
		tenant_send(&many[n],
			    "GET /files?signature=" GOOD " HTTP/1.1\r\nHost: localhost\r\n\r\n");
	}
	tenant_expect(&many[SOURCES_BURST], "HTTP/1.1 429 ");
	tenant_expect(&many[SOURCES_BURST], "too many signed requests");
	assert_true(uv_hrtime() - began_ns < 200 * 1000000ull);
	for (int n = 0; n < SOURCES_BURST; n++)
		tenant_expect(&many[n], "invalid signature");
	assert_true(uv_hrtime() - began_ns >= 240 * 1000000ull);
	for (int n = 0; n <= SOURCES_BURST; n++)
		tenant_close(&many[n]);
	/* Whom the fields name needs no search. */
	tenant_get(&tenant, ONE, 49983, "/hello");
	tenant_expect(&tenant, "\r\n\r\nhello");
}

static void who_asks_and_leaves_is_not_answered(void **state)
{
	char signature[64];
	struct tenant leaving;

	(void)state;
	for (int round = 0; round < 5; round++) {
		tenant_open(&leaving, &world);
		tenant_send(&leaving,
			    "GET /files?signature=" GOOD " HTTP/1.1\r\nHost: localhost\r\n\r\n");
		tenant_reset(&leaving);
	}
	sign(&one, "read", "a.txt", 0, signature);
	get("a.txt", signature, 0);
	tenant_expect(&tenant, "HTTP/1.1 200 OK\r\n");
}

static void while_shims_come_back_a_signed_url_waits_for_its_sandbox(void **state)
{
	static const char *const grace[] = {"--grace", "20s", "--hold", "20s", NULL};
	char signature[64];

	(void)state;
	world_open(&world, grace);
	tenant_open(&tenant, &world);
	sandbox_open(&one, &world, ONE);
	sandbox_open(&other, &world, OTHER);
	sign(&one, "read", "late", 0, signature);
	get("late", signature, 0);
	sandbox_bind(&other);
	sandbox_bind(&one);
	tenant_expect(&tenant, "HTTP/1.1 200 OK\r\n");
	assert_int_equal(other.services_opened_n, 0);
	assert_int_equal(one.services_opened_n, 1);
	teardown(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_signature_fits_the_token_it_was_made_with_alone),
		cmocka_unit_test(what_is_no_signed_url_is_none),
		cmocka_unit_test(a_bad_or_old_signature_is_told_without_a_search),
		cmocka_unit_test(each_source_has_so_many_misses_and_gets_them_back_with_time),
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(a_signed_url_finds_its_sandbox),
		TEST(another_path_operation_or_time_is_a_wrong_signature),
		TEST(a_miss_takes_its_time_and_a_source_has_so_many),
		TEST(who_asks_and_leaves_is_not_answered),
		cmocka_unit_test(while_shims_come_back_a_signed_url_waits_for_its_sandbox),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
