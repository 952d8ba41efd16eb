/* The gateway's promises to tenants, end to end over loopback: real gateway, real relay. */
#include "tests/gateway/harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ONE   "iaaaaaaaaaaaaaaaaaaaa"
#define OTHER "ibbbbbbbbbbbbbbbbbbbb"

static const char *const no_grace[] = {"--grace", "0", NULL};

static struct world world;
static struct sandbox one, other;
static struct tenant tenant;

/* One sandbox and one tenant. */
static int setup(void **state)
{
	(void)state;
	world_open(&world, no_grace);
	sandbox_open_bound(&one, &world, ONE);
	tenant_open(&tenant, &world);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (tenant.is_open && !tenant.is_closed)
		tenant_close(&tenant);
	if (one.is_open)
		sandbox_die(&one);
	world_close(&world);
	return 0;
}

static void a_request_reaches_its_sandbox_and_the_answer_comes_back(void **state)
{
	(void)state;
	tenant_get(&tenant, ONE, 8000, "/hello");
	tenant_expect(&tenant, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
			       "Content-Length: 5\r\n\r\nhello");
	tenant_get(&tenant, ONE, 49983, "/bytewise");
	tenant_expect(&tenant, "\r\n\r\nhello");
	tenant_send(&tenant, "GET /hello HTTP/1.1\r\nHost: 8000-" ONE "-client.sbx.test\r\n\r\n");
	tenant_expect(&tenant, "\r\n\r\nhello");
}

static void one_connection_carries_requests_for_different_sandboxes(void **state)
{
	(void)state;
	sandbox_open_bound(&other, &world, OTHER);
	for (int round = 0; round < 5; round++) {
		tenant_get(&tenant, ONE, 8000, "/hello");
		tenant_expect(&tenant, "hello");
		tenant_get(&tenant, OTHER, 8000, "/chunked");
		tenant_expect(&tenant, "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
	}
	assert_int_equal(one.services_opened_n, 5);
	assert_int_equal(other.services_opened_n, 5);
	sandbox_die(&other);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		tenant_get(&tenant, ONE, 8000, "/hello");
		tenant_get(&tenant, ONE, 8000, "/status/204");
		tenant_get(&tenant, ONE, 2, "/");
	}
	for (int round = 0; round < 20; round++) {
		tenant_expect(&tenant, "HTTP/1.1 200 OK\r\n");
		tenant_expect(&tenant, "\r\n\r\nhello");
		tenant_expect(&tenant, "HTTP/1.1 204 Whatever\r\nX-Kept: yes\r\n\r\n");
		tenant_expect(&tenant, "HTTP/1.1 502 ");
		tenant_expect(&tenant, "\"code\":502}");
	}
}

static void every_refusal_has_its_answer(void **state)
{
#define FIELDS "e2b-sandbox-id: " ONE "\r\ne2b-sandbox-port: 8000\r\n"
	static const struct {
		const char *request, *status, *text;
	} rows[] = {
		{"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "400", "missing header"},
		{"GET / HTTP/1.1\r\nHost: localhost\r\ne2b-sandbox-id: " ONE "\r\n\r\n", "400",
		 "missing header"},
		{"GET / HTTP/1.1\r\nHost: 10.0.0.1\r\ne2b-sandbox-id: " ONE
		 "\r\ne2b-sandbox-port: 0\r\n\r\n",
		 "400", "Invalid sandbox port"},
		{"GET / HTTP/1.1\r\nHost: 10.0.0.1\r\ne2b-sandbox-id: ../etc\r\n"
		 "e2b-sandbox-port: 80\r\n\r\n",
		 "400", "Invalid sandbox ID"},
		{"GET / HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n", "400", "Invalid host"},
		{"GET / HTTP/1.1\r\nHost: 99999-" ONE ".x.test\r\n\r\n", "400",
		 "Invalid sandbox port"},
		{"GET / HTTP/1.1\r\nHost: 8000-" OTHER ".x.test\r\n\r\n", "502",
		 "{\"sandboxId\":\"" OTHER "\",\"message\":\"The sandbox was not found\","
		 "\"code\":502}"},
		{"GET / HTTP/1.1\r\nHost: 7-" ONE ".x.test\r\n\r\n", "502",
		 "{\"sandboxId\":\"" ONE "\",\"message\":\"The sandbox is running but port is not "
		 "open\",\"port\":7,\"code\":502}"},
		{"GET / HTTP/1.1\r\nHost: 7-" ONE ".x.test\r\nAccept: text/html\r\n\r\n", "502",
		 "<h1>The sandbox is running but port is not open</h1>"},
		{"POST /init HTTP/1.1\r\nHost: 49983-" ONE ".x.test\r\nContent-Length: 0\r\n\r\n",
		 "404", "not found"},
		{"POST //x/..//%69nit/ HTTP/1.1\r\nHost: 49983-" ONE
		 ".x.test\r\nContent-Length: 0\r\n\r\n",
		 "404", "not found"},
		{"GET /observations?after=0 HTTP/1.1\r\nHost: 49983-" ONE ".x.test\r\n\r\n", "404",
		 "not found"},
		{"POST /Sync HTTP/1.1\r\nHost: 49983-" ONE ".x.test\r\nContent-Length: 0\r\n\r\n",
		 "404", "not found"},
		{"GET /nothing HTTP/1.1\r\nHost: localhost\r\n" FIELDS "\r\n", "502",
		 "without an answer"},
		{"GET /garbage HTTP/1.1\r\nHost: localhost\r\n" FIELDS "\r\n", "502",
		 "malformed answer"},
	};

	(void)state;
	for (size_t at = 0; at < sizeof(rows) / sizeof(rows[0]); at++) {
		char status[32];

		snprintf(status, sizeof(status), "HTTP/1.1 %s ", rows[at].status);
		tenant_send(&tenant, rows[at].request);
		tenant_expect(&tenant, status);
		tenant_expect(&tenant, rows[at].text);
	}
	/* The connection was good all the while. */
	tenant_get(&tenant, ONE, 8000, "/hello");
	tenant_expect(&tenant, "hello");
}

/* Whether path or query is what is long. */
static void a_long_target_does_not_hide_an_internal_path(void **state)
{
	static const char head[] = " HTTP/1.1\r\nHost: 49983-" ONE ".x.test\r\n\r\n";
	char request[4096 + sizeof(head)] = "GET /init?";

	(void)state;
	memset(request + strlen("GET /init?"), 'x', 4000);
	strcpy(request + strlen("GET /init?") + 4000, head);
	tenant_send(&tenant, request);
	tenant_expect(&tenant, "HTTP/1.1 404 ");
	memset(request + strlen("GET "), '/', 4000);
	memcpy(request + strlen("GET ") + 4000, "init", strlen("init"));
	strcpy(request + strlen("GET ") + 4000 + strlen("init"), head);
	tenant_send(&tenant, request);
	tenant_expect(&tenant, "HTTP/1.1 400 ");
	assert_int_equal(one.services_opened_n, 0);
}

static void the_internal_paths_of_envd_are_open_on_other_ports(void **state)
{
	(void)state;
	tenant_get(&tenant, ONE, 8000, "/init");
	tenant_expect(&tenant, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(one.services_opened_n, 1);
}

static void what_the_guest_sees_is_made_for_its_connection(void **state)
{
	(void)state;
	tenant_send(&tenant, "GET http://elsewhere/head?a=b HTTP/1.1\r\nHost: 8000-" ONE
			     ".x.test\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\n"
			     "X-Kept: 2\r\n\r\n");
	tenant_expect(&tenant, "\r\n\r\nGET /head?a=b HTTP/1.1\r\nHost: 8000-" ONE
			       ".x.test\r\nX-Kept: 2\r\nConnection: close\r\n\r\n");
}

static void bodies_without_length_end_with_the_connection(void **state)
{
	(void)state;
	tenant_get(&tenant, ONE, 8000, "/close");
	tenant_expect(&tenant, "Connection: close\r\n\r\nuntil the end");
	tenant_expect_end(&tenant);
	assert_false(tenant.is_aborted);
}

static void a_head_request_has_no_body_whatever_its_fields_say(void **state)
{
	(void)state;
	tenant_send(&tenant, "HEAD /hello HTTP/1.1\r\nHost: localhost\r\n" FIELDS "\r\n");
	tenant_expect(&tenant, "Content-Length: 5\r\n\r\n");
	tenant_get(&tenant, ONE, 8000, "/status/304");
	tenant_expect(&tenant, "HTTP/1.1 304 Whatever\r\nX-Kept: yes\r\n\r\n");
	tenant_send(&tenant, "HEAD /x HTTP/1.1\r\nHost: 7-" ONE ".x.test\r\n\r\n");
	tenant_expect(&tenant, "HTTP/1.1 502 Bad Gateway\r\n");
	tenant_expect(&tenant, "\r\n\r\n");
	tenant_get(&tenant, ONE, 8000, "/hello");
	tenant_expect(&tenant, "HTTP/1.1 200 OK");
}

static void a_tenant_of_http_1_0_gets_no_chunks(void **state)
{
	(void)state;
	tenant_send(&tenant, "GET /chunked HTTP/1.0\r\nHost: localhost\r\n" FIELDS "\r\n");
	tenant_expect(&tenant, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nonetwo");
	tenant_expect_end(&tenant);
}

static void an_interim_answer_is_passed_on(void **state)
{
	(void)state;
	tenant_send(&tenant, "POST /continue HTTP/1.1\r\nHost: localhost\r\n" FIELDS
			     "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n");
	tenant_expect(&tenant, "HTTP/1.1 100 Continue\r\n\r\n");
	tenant_send(&tenant, "body");
	tenant_expect(&tenant, "HTTP/1.1 200 OK\r\n");
	tenant_expect(&tenant, "got 4 ");
}

static void an_answer_before_the_bodys_end_is_passed_on(void **state)
{
	(void)state;
	tenant_send(&tenant, "POST /early HTTP/1.1\r\nHost: localhost\r\n" FIELDS
			     "Content-Length: 1000000\r\n\r\nfirst");
	tenant_expect(&tenant, "HTTP/1.1 413 Too Large\r\n");
	tenant_expect(&tenant, "\r\n\r\nbig");
	tenant_expect_end(&tenant);
}

static void a_chunked_request_passes_as_it_is(void **state)
{
	(void)state;
	tenant_send(&tenant, "POST /sink HTTP/1.1\r\nHost: localhost\r\n" FIELDS
			     "Transfer-Encoding: chunked\r\nX-Wire-Length: 20\r\n\r\n"
			     "3\r\none\r\n");
	tenant_send(&tenant, "2\r\ntw\r\n");
	tenant_send(&tenant, "0\r\n\r\n");
	tenant_expect(&tenant, "got 20");
}

static void an_upgraded_connection_is_a_pipe_both_ways(void **state)
{
	(void)state;
	tenant_send(&tenant, "GET /upgrade HTTP/1.1\r\nHost: localhost\r\n" FIELDS
			     "Connection: Upgrade\r\nUpgrade: echo\r\n\r\nearly");
	tenant_expect(&tenant, "HTTP/1.1 101 Switching Protocols\r\n");
	tenant_expect(&tenant, "Upgrade: echo\r\n\r\nearly");
	tenant_send(&tenant, "more");
	tenant_expect(&tenant, "more");
	tenant_send(&tenant, "last");
	tenant_half_close(&tenant);
	tenant_expect(&tenant, "last");
	tenant_expect_end(&tenant);
	assert_false(tenant.is_aborted);
}

static void who_half_closes_after_the_request_still_gets_the_answer(void **state)
{
	(void)state;
	tenant_get(&tenant, ONE, 8000, "/big/100000");
	tenant_half_close(&tenant);
	tenant_expect(&tenant, "Content-Length: 100000\r\n");
	tenant.counts_only = true;
	world_until(&world, &tenant.is_ended);
	assert_false(tenant.is_aborted);
	assert_true(tenant.received_n > 100000);
}

static void when_the_sandbox_dies_the_connection_is_aborted(void **state)
{
	(void)state;
	tenant_get(&tenant, ONE, 8000, "/hold");
	tenant_expect(&tenant, "5\r\nfirst\r\n");
	sandbox_die(&one);
	tenant_expect_end(&tenant);
}

static void a_body_without_length_is_reset_when_the_sandbox_dies(void **state)
{
	(void)state;
	tenant_get(&tenant, ONE, 8000, "/holdclose");
	tenant_expect(&tenant, "first");
	sandbox_die(&one);
	tenant_expect_end(&tenant);
	assert_true(tenant.is_aborted);
}

static void who_waits_for_an_answer_of_a_dying_sandbox_is_told(void **state)
{
	(void)state;
	tenant_get(&tenant, ONE, 8000, "/wait");
	while (!one.services_opened_n)
		world_once(&world);
	sandbox_die(&one);
	tenant_expect(&tenant, "\"message\":\"The sandbox was not found\"");
	tenant_get(&tenant, ONE, 8000, "/hello");
	tenant_expect(&tenant, "HTTP/1.1 502 ");
}

static void when_the_tenant_goes_the_guests_stream_is_reset(void **state)
{
	(void)state;
	tenant_get(&tenant, ONE, 8000, "/hold");
	tenant_expect(&tenant, "first");
	tenant_half_close(&tenant);
	tenant_close(&tenant);
	/* The next bytes find nobody. */
	while (!one.resets_n) {
		mux_write(one.guest_end, one.services[0].stream, (const uint8_t *)"5\r\nfirst\r\n",
			  10);
		one.relay.config.callbacks.on_guest_output(&one);
		uv_run(&world.loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(one.resets_n, 1);
}

static void a_large_answer_comes_whole_through_flat_memory(void **state)
{
	uint64_t body_n = 50 * 1000 * 1000;
	uint64_t head_n = strlen("HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n");
	char path[64];
	long before_kib, after_kib;

	(void)state;
	tenant_get(&tenant, ONE, 8000, "/big/1000");
	tenant_expect(&tenant, "Content-Length: 1000\r\n");
	before_kib = world_gateway_rss_kib(&world);
	tenant.counts_only = true;
	tenant.received_n = 0;
	while (tenant.in_n < 1000 && tenant.received_n + tenant.in_n < 1000)
		world_once(&world);
	tenant.received_n = 0;
	snprintf(path, sizeof(path), "/big/%llu", (unsigned long long)body_n);
	tenant_get(&tenant, ONE, 8000, path);
	while (tenant.received_n < body_n / 2)
		world_once(&world);
	/* Not reading for a while must not fill the gateway either. */
	tenant_pause(&tenant, true);
	for (int round = 0; round < 200; round++)
		uv_run(&world.loop, UV_RUN_NOWAIT);
	tenant_pause(&tenant, false);
	while (tenant.received_n < body_n)
		world_once(&world);
	after_kib = world_gateway_rss_kib(&world);
	while (tenant.received_n < body_n + head_n)
		world_once(&world);
	print_message("gateway RSS: %ld KiB before, %ld KiB after 50 MB\n", before_kib, after_kib);
#ifndef __SANITIZE_ADDRESS__
	assert_in_range(after_kib, 0, before_kib + 1024);
#endif
}

static void a_large_upload_arrives_whole(void **state)
{
	enum { BODY_N = 20 * 1000 * 1000, PIECE_N = 100000 };
	static uint8_t piece[PIECE_N];
	uint32_t sum = 0;
	char text[128];

	(void)state;
	tenant_send(&tenant, "POST /sink HTTP/1.1\r\nHost: localhost\r\n" FIELDS
			     "Content-Length: 20000000\r\n\r\n");
	for (uint64_t sent_n = 0; sent_n < BODY_N; sent_n += PIECE_N) {
		for (size_t at = 0; at < PIECE_N; at++) {
			piece[at] = big_byte(sent_n + at);
			sum = sum * 31 + piece[at];
		}
		tenant_send_bytes(&tenant, piece, PIECE_N);
		while (tenant.unsent_n > 10 * PIECE_N)
			world_once(&world);
	}
	snprintf(text, sizeof(text), "got %d sum %u", BODY_N, sum);
	tenant_expect(&tenant, text);
	tenant_get(&tenant, ONE, 8000, "/hello");
	tenant_expect(&tenant, "hello");
}

static void a_service_that_does_not_read_stalls_its_own_request_alone(void **state)
{
	static uint8_t piece[1000000];
	struct tenant quick;

	(void)state;
	one.is_slow_reader = true;
	tenant_send(&tenant, "POST /sink HTTP/1.1\r\nHost: localhost\r\n" FIELDS
			     "Content-Length: 20000000\r\n\r\n");
	tenant_send_bytes(&tenant, piece, sizeof(piece));
	while (!one.services_opened_n || one.services[0].body_n < 60000)
		world_once(&world);
	tenant_open(&quick, &world);
	for (int round = 0; round < 50; round++) {
		tenant_get(&quick, ONE, 8000, "/hello");
		tenant_expect(&quick, "hello");
	}
	assert_true(one.services[0].body_n <= MUX_WINDOW);
	tenant_close(&quick);
}

static void a_tenant_that_does_not_read_stalls_its_own_request_alone(void **state)
{
	struct tenant quick;

	(void)state;
	tenant_get(&tenant, ONE, 8000, "/bigchunks/100000000");
	tenant_expect(&tenant, "HTTP/1.1 200 OK");
	tenant_pause(&tenant, true);
	tenant_open(&quick, &world);
	for (int round = 0; round < 50; round++) {
		tenant_get(&quick, ONE, 8000, "/chunked");
		tenant_expect(&quick, "two\r\n0\r\n\r\n");
	}
	tenant_close(&quick);
}

static void more_requests_than_the_guest_takes_are_refused_by_name(void **state)
{
	static struct tenant many[GUEST_STREAMS_MAX + 1];

	(void)state;
	for (int at = 0; at <= GUEST_STREAMS_MAX; at++) {
		tenant_open(&many[at], &world);
		tenant_get(&many[at], ONE, 8000, "/hold");
		tenant_expect(&many[at], at < GUEST_STREAMS_MAX ? "first" : "HTTP/1.1 429 ");
	}
	tenant_expect(&many[GUEST_STREAMS_MAX], "too many connections");
	for (int at = 0; at <= GUEST_STREAMS_MAX; at++)
		tenant_reset(&many[at]);
	/* The slots are free again. */
	for (;;) {
		tenant_get(&tenant, ONE, 8000, "/hello");
		tenant_expect(&tenant, "HTTP/1.1 ");
		while (tenant.in_n < 4)
			world_once(&world);
		if (!strncmp(tenant.in, "200", 3))
			break;
		tenant_expect(&tenant, "}");
	}
}

/* An argument picks tests by name, with '*' for any text. */
int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_request_reaches_its_sandbox_and_the_answer_comes_back),
		TEST(one_connection_carries_requests_for_different_sandboxes),
		TEST(pipelined_requests_are_answered_in_order),
		TEST(every_refusal_has_its_answer),
		TEST(a_long_target_does_not_hide_an_internal_path),
		TEST(the_internal_paths_of_envd_are_open_on_other_ports),
		TEST(what_the_guest_sees_is_made_for_its_connection),
		TEST(bodies_without_length_end_with_the_connection),
		TEST(a_head_request_has_no_body_whatever_its_fields_say),
		TEST(a_tenant_of_http_1_0_gets_no_chunks),
		TEST(an_interim_answer_is_passed_on),
		TEST(an_answer_before_the_bodys_end_is_passed_on),
		TEST(a_chunked_request_passes_as_it_is),
		TEST(an_upgraded_connection_is_a_pipe_both_ways),
		TEST(who_half_closes_after_the_request_still_gets_the_answer),
		TEST(when_the_sandbox_dies_the_connection_is_aborted),
		TEST(a_body_without_length_is_reset_when_the_sandbox_dies),
		TEST(who_waits_for_an_answer_of_a_dying_sandbox_is_told),
		TEST(when_the_tenant_goes_the_guests_stream_is_reset),
		TEST(a_large_answer_comes_whole_through_flat_memory),
		TEST(a_large_upload_arrives_whole),
		TEST(a_service_that_does_not_read_stalls_its_own_request_alone),
		TEST(a_tenant_that_does_not_read_stalls_its_own_request_alone),
		TEST(more_requests_than_the_guest_takes_are_refused_by_name),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
