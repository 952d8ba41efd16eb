/* TLS at both sides of the gateway, and the API behind it: end to end over loopback. */
#include "tests/gateway/harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io/address.h"
#include "tests/io/tls_world.h"

#define ONE "iaaaaaaaaaaaaaaaaaaaa"

#define HELLO_AT_ONE "GET /hello HTTP/1.1\r\nHost: 8000-" ONE ".sbx.test\r\n\r\n"

static struct world world;
static struct tls_folder folder;
static struct tls_config *config;
static struct sandbox one;
static struct tenant tenant;

/* An API of a few lines: it answers each connection with the head that it got, and closes. */
static struct api {
	uv_tcp_t listener;
	struct api_connection {
		uv_tcp_t tcp;
		uv_write_t write;
		char in[4096], out[4200];
		size_t in_n;
		bool is_open;
	} connections[8];
	int connections_n;
	char text[64];
} api;

static void on_api_closed(uv_handle_t *handle)
{
	struct api_connection *connection = handle->data;

	connection->is_open = false;
}

static void on_api_written(uv_write_t *write, int status)
{
	(void)status;
	uv_close((uv_handle_t *)write->handle, on_api_closed);
}

static void on_api_allocate(uv_handle_t *handle, size_t n, uv_buf_t *out)
{
	struct api_connection *connection = handle->data;

	(void)n;
	*out = uv_buf_init(connection->in + connection->in_n,
			   (unsigned)(sizeof(connection->in) - 1 - connection->in_n));
}

static void on_api_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct api_connection *connection = stream->data;
	uv_buf_t out;

	(void)buffer;
	if (n < 0) {
		if (!uv_is_closing((uv_handle_t *)stream))
			uv_close((uv_handle_t *)stream, on_api_closed);
		return;
	}
	connection->in_n += (size_t)n;
	connection->in[connection->in_n] = '\0';
	/* With its chunked body, if there is one. */
	if (!strstr(connection->in, strstr(connection->in, "chunked") ? "0\r\n\r\n" : "\r\n\r\n"))
		return;
	snprintf(connection->out, sizeof(connection->out),
		 "HTTP/1.1 201 Created\r\nContent-Length: %zu\r\n\r\n%s", connection->in_n,
		 connection->in);
	out = uv_buf_init(connection->out, (unsigned)strlen(connection->out));
	uv_read_stop(stream);
	uv_write(&connection->write, stream, &out, 1, on_api_written);
}

static void on_api_connection(uv_stream_t *listener, int status)
{
	struct api_connection *connection = &api.connections[api.connections_n++];

	assert_int_equal(status, 0);
	uv_tcp_init(listener->loop, &connection->tcp);
	connection->tcp.data = connection;
	connection->is_open = true;
	assert_int_equal(uv_accept(listener, (uv_stream_t *)&connection->tcp), 0);
	uv_read_start((uv_stream_t *)&connection->tcp, on_api_allocate, on_api_read);
}

/* Before the world, whose gateway is told where it is; served by the world's loop. */
static void api_reserve(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	memset(&api, 0, sizeof(api));
	assert_int_equal(bind(fd, (struct sockaddr *)&at, n), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
	snprintf(api.text, sizeof(api.text), "127.0.0.1:%u", ntohs(at.sin_port));
	close(fd);
}

static void api_open(void)
{
	struct address address;
	struct sockaddr_storage at;

	assert_true(address_parse(api.text, &address) && address_to_sockaddr(&address, &at));
	uv_tcp_init(&world.loop, &api.listener);
	assert_int_equal(uv_tcp_bind(&api.listener, (struct sockaddr *)&at, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&api.listener, 8, on_api_connection), 0);
}

static void open_world(const char *head_wait)
{
	const char *const extra[] = {"--grace",
				     "0",
				     "--tls-listen",
				     "127.0.0.1:0",
				     "--tls-cert",
				     folder.cert,
				     "--tls-key",
				     folder.key,
				     "--api-backend",
				     api.text,
				     "--timeout-head",
				     head_wait,
				     NULL};

	api_reserve();
	world_open(&world, extra);
	sandbox_open(&one, &world, ONE);
}

static int setup(void **state)
{
	struct err err;

	(void)state;
	tls_folder_open(&folder);
	assert_int_equal(tls_config_client(&config, &err), 0);
	open_world("10s");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (tenant.is_open && !tenant.is_closed)
		tenant_close(&tenant);
	sandbox_die(&one);
	tls_config_unref(one.guest_tls);
	world_close(&world);
	tls_config_unref(config);
	tls_folder_close(&folder);
	return 0;
}

static void open_both(void)
{
	sandbox_bind(&one);
	tenant_open_tls(&tenant, &world, config);
}

/* ---- tenants with TLS ---- */

static void a_tenant_with_tls_is_served_as_one_without(void **state)
{
	(void)state;
	open_both();
	for (int round = 0; round < 10; round++) {
		tenant_send(&tenant, HELLO_AT_ONE);
		tenant_expect(&tenant, "\r\n\r\nhello");
		tenant_get(&tenant, ONE, 8000, "/chunked");
		tenant_expect(&tenant, "0\r\n\r\n");
		tenant_get(&tenant, ONE, 2, "/");
		tenant_expect(&tenant, "but port is not open");
	}
	assert_int_equal(tenant.has_said_end, false);
}

static void large_bodies_pass_both_ways(void **state)
{
	static uint8_t body[300000];
	char text[256];
	uint32_t sum = 0;

	(void)state;
	open_both();
	for (size_t at = 0; at < sizeof(body); at++) {
		body[at] = big_byte(at);
		sum = sum * 31 + body[at];
	}
	snprintf(text, sizeof(text),
		 "POST /sink HTTP/1.1\r\nHost: 8000-" ONE
		 ".sbx.test\r\nContent-Length: %zu\r\n\r\n",
		 sizeof(body));
	tenant_send(&tenant, text);
	for (size_t at = 0; at < sizeof(body); at += 50000)
		tenant_send_bytes(&tenant, body + at, 50000);
	snprintf(text, sizeof(text), "got %zu sum %u", sizeof(body), sum);
	tenant_expect(&tenant, text);
	tenant_get(&tenant, ONE, 8000, "/big/3000000");
	tenant_expect(&tenant, "\r\n\r\n");
	while (tenant.in_n < 3000000)
		world_once(&world);
	for (size_t at = 0; at < 3000000; at++)
		assert_int_equal((uint8_t)tenant.in[at], big_byte(at));
}

static void who_does_not_read_holds_up_itself_alone(void **state)
{
	struct tenant other;

	(void)state;
	open_both();
	tenant.counts_only = true;
	tenant_get(&tenant, ONE, 8000, "/big/100000000");
	while (!tenant.received_n)
		world_once(&world);
	tenant_pause(&tenant, true);
	tenant_open_tls(&other, &world, config);
	for (int round = 0; round < 50; round++) {
		tenant_send(&other, HELLO_AT_ONE);
		tenant_expect(&other, "\r\n\r\nhello");
	}
	/* What the guest could send is what the sockets' buffers and the windows hold. */
	assert_true(one.services[0].send_at < 20000000);
	tenant_close(&other);
	tenant_pause(&tenant, false);
	while (tenant.received_n < 5000000)
		world_once(&world);
}

static void an_upgraded_connection_lasts_until_both_ends_close(void **state)
{
	(void)state;
	open_both();
	tenant_send(&tenant, "GET /upgrade HTTP/1.1\r\nHost: 8000-" ONE ".sbx.test\r\n"
			     "Connection: upgrade\r\nUpgrade: echo\r\n\r\n");
	tenant_expect(&tenant, "HTTP/1.1 101 Switching Protocols\r\n");
	tenant_expect(&tenant, "\r\n\r\n");
	tenant_send(&tenant, "ping");
	tenant_expect(&tenant, "ping");
	tenant_send(&tenant, "last");
	tenant_half_close(&tenant);
	tenant_expect(&tenant, "last");
	tenant_expect_end(&tenant);
	assert_true(tenant.has_said_end);
	assert_int_equal(one.resets_n, 0);
}

/* Whoever cuts the connection below TLS must not be able to make an end of it. */
static void a_cut_connection_is_no_end_for_the_guest(void **state)
{
	uv_shutdown_t *request = malloc(sizeof(*request));

	(void)state;
	open_both();
	tenant_send(&tenant, "GET /upgrade HTTP/1.1\r\nHost: 8000-" ONE ".sbx.test\r\n"
			     "Connection: upgrade\r\nUpgrade: echo\r\n\r\n");
	tenant_expect(&tenant, "\r\n\r\n");
	assert_int_equal(uv_shutdown(request, (uv_stream_t *)&tenant.tcp, NULL), 0);
	while (!one.resets_n)
		world_once(&world);
	assert_false(tenant.has_said_end);
	world_until(&world, &tenant.is_ended);
	free(request);
}

static void garbage_at_the_tls_port_is_shut_out(void **state)
{
	static const char *const rows[] = {HELLO_AT_ONE, "\x16\x03\x01\x7f\xff nothing of a hello",
					   "SSH-2.0-OpenSSH_9.2\r\n"};

	(void)state;
	sandbox_bind(&one);
	for (size_t at = 0; at < sizeof(rows) / sizeof(rows[0]); at++) {
		tenant_open_at(&tenant, &world, (struct sockaddr *)&world.tls_at);
		tenant_send(&tenant, rows[at]);
		world_until(&world, &tenant.is_ended);
		assert_true(tenant.in_n < 10); /* an alert at the most */
		tenant_close(&tenant);
	}
	assert_int_equal(one.services_opened_n, 0);
	tenant_open_tls(&tenant, &world, config);
	tenant_send(&tenant, HELLO_AT_ONE);
	tenant_expect(&tenant, "\r\n\r\nhello");
}

static void a_slow_handshake_has_the_time_of_a_head(void **state)
{
	struct tls *half = tls_open(config);
	const uint8_t *hello;
	size_t n;

	(void)state;
	sandbox_die(&one);
	world_close(&world);
	open_world("300ms");
	tenant_open_at(&tenant, &world, (struct sockaddr *)&world.tls_at);
	world_until(&world, &tenant.is_ended);
	tenant_close(&tenant);
	tenant_open_at(&tenant, &world, (struct sockaddr *)&world.tls_at);
	hello = tls_output(half, &n);
	for (size_t at = 0; at < n && !tenant.is_ended; at++) {
		tenant_send_bytes(&tenant, hello + at, 1);
		for (int turn = 0; turn < 20 && !tenant.is_ended; turn++)
			uv_run(&world.loop, UV_RUN_NOWAIT);
		usleep(2000);
	}
	world_until(&world, &tenant.is_ended);
	tls_close(half);
}

static void a_new_certificate_is_read_at_a_hangup(void **state)
{
	struct tls_folder other;
	char command[512];

	(void)state;
	open_both();
	tls_folder_open(&other);
	snprintf(command, sizeof(command), "cp %s %s && cp %s %s", other.cert, folder.cert,
		 other.key, folder.key);
	assert_int_equal(system(command), 0);
	uv_process_kill(&world.process, SIGHUP);
	/* Who is there goes on; who comes is served, whatever the order of the two. */
	tenant_send(&tenant, HELLO_AT_ONE);
	tenant_expect(&tenant, "\r\n\r\nhello");
	tenant_close(&tenant);
	tenant_open_tls(&tenant, &world, config);
	tenant_send(&tenant, HELLO_AT_ONE);
	tenant_expect(&tenant, "\r\n\r\nhello");
	/* A bad one is not taken. */
	snprintf(command, sizeof(command), "echo nothing >%s", folder.cert);
	assert_int_equal(system(command), 0);
	uv_process_kill(&world.process, SIGHUP);
	tenant_close(&tenant);
	tenant_open_tls(&tenant, &world, config);
	tenant_send(&tenant, HELLO_AT_ONE);
	tenant_expect(&tenant, "\r\n\r\nhello");
	tls_folder_close(&other);
}

/* ---- ports that speak TLS ---- */

static void bind_with_tls_port(bool speaks_it)
{
	struct wire_port port = {.number = TLS_PORT};
	struct err err;

	if (speaks_it)
		assert_int_equal(
			tls_config_server(&one.guest_tls, folder.cert, folder.key, NULL, &err), 0);
	sandbox_bind_with(&one, &(struct wire_ingress){.https_ports_n = 1, .https_ports = &port});
	tenant_open(&tenant, &world);
}

static void a_port_that_speaks_tls_is_reached_by_tenants_without(void **state)
{
	static uint8_t body[200000];
	char text[256];
	uint32_t sum = 0;

	(void)state;
	bind_with_tls_port(true);
	tenant_get(&tenant, ONE, TLS_PORT, "/hello");
	tenant_expect(&tenant, "\r\n\r\nhello");
	tenant_get(&tenant, ONE, 8000, "/hello");
	tenant_expect(&tenant, "\r\n\r\nhello");
	tenant_get(&tenant, ONE, TLS_PORT, "/close");
	tenant_expect(&tenant, "until the end");
	tenant_expect_end(&tenant);
	tenant_close(&tenant);
	tenant_open(&tenant, &world);
	for (size_t at = 0; at < sizeof(body); at++) {
		body[at] = big_byte(at);
		sum = sum * 31 + body[at];
	}
	snprintf(text, sizeof(text),
		 "POST /sink HTTP/1.1\r\nHost: %d-" ONE ".sbx.test\r\nContent-Length: %zu\r\n\r\n",
		 TLS_PORT, sizeof(body));
	tenant_send(&tenant, text);
	tenant_send_bytes(&tenant, body, sizeof(body));
	snprintf(text, sizeof(text), "got %zu sum %u", sizeof(body), sum);
	tenant_expect(&tenant, text);
	tenant_get(&tenant, ONE, TLS_PORT, "/big/2000000");
	tenant_expect(&tenant, "\r\n\r\n");
	while (tenant.in_n < 2000000)
		world_once(&world);
	for (size_t at = 0; at < 2000000; at++)
		assert_int_equal((uint8_t)tenant.in[at], big_byte(at));
}

static void an_upgrade_at_a_port_that_speaks_tls_lasts_until_both_ends_close(void **state)
{
	(void)state;
	bind_with_tls_port(true);
	tenant_send(&tenant, "GET /upgrade HTTP/1.1\r\nHost: 4430-" ONE ".sbx.test\r\n"
			     "Connection: upgrade\r\nUpgrade: echo\r\n\r\n");
	tenant_expect(&tenant, "HTTP/1.1 101 ");
	tenant_expect(&tenant, "\r\n\r\n");
	tenant_send(&tenant, "ping");
	tenant_expect(&tenant, "ping");
	tenant_send(&tenant, "last");
	tenant_half_close(&tenant);
	tenant_expect(&tenant, "last");
	tenant_expect_end(&tenant);
	assert_int_equal(one.resets_n, 0);
}

static void a_port_that_should_speak_tls_and_does_not_is_named(void **state)
{
	(void)state;
	bind_with_tls_port(false);
	tenant_get(&tenant, ONE, TLS_PORT, "/hello");
	tenant_expect(&tenant, "HTTP/1.1 502 ");
	tenant_expect(&tenant, "The port does not speak TLS");
	tenant_get(&tenant, ONE, 7, "/");
	tenant_expect(&tenant, "but port is not open");
}

/* ---- the API ---- */

static void the_apis_host_leads_to_the_api(void **state)
{
	(void)state;
	api_open();
	open_both();
	tenant_send(&tenant, "POST /v2/sandboxes HTTP/1.1\r\nHost: api.sbx.test:8443\r\n"
			     "x-api-key: e2b_00\r\nX-Forwarded-For: 192.0.2.9\r\n"
			     "Transfer-Encoding: chunked\r\n\r\n"
			     "2\r\n{}\r\n0\r\n\r\n");
	tenant_expect(&tenant, "HTTP/1.1 201 Created\r\n");
	tenant_expect(&tenant, "POST /v2/sandboxes HTTP/1.1\r\n"
			       "X-Forwarded-For: 127.0.0.1\r\n" /* whoever says otherwise */
			       "Host: api.sbx.test:8443\r\n"
			       "x-api-key: e2b_00\r\n");
	tenant_expect(&tenant, "2\r\n{}\r\n0\r\n\r\n");
	/* On the same connection, and without TLS too. */
	tenant_send(&tenant, HELLO_AT_ONE);
	tenant_expect(&tenant, "\r\n\r\nhello");
	tenant_send(&tenant, "GET /health HTTP/1.1\r\nHost: API.sbx.test\r\n\r\n");
	tenant_expect(&tenant, "GET /health HTTP/1.1\r\n");
	/* One name can be both. */
	tenant_send(&tenant, "GET /hello HTTP/1.1\r\nHost: api.sbx.test\r\ne2b-sandbox-id: " ONE
			     "\r\ne2b-sandbox-port: 8000\r\n\r\n");
	tenant_expect(&tenant, "\r\n\r\nhello");
	assert_int_equal(api.connections_n, 2);
	for (int at = 0; at < api.connections_n; at++) {
		while (api.connections[at].is_open)
			world_once(&world);
	}
	uv_close((uv_handle_t *)&api.listener, NULL);
}

static void an_api_that_is_away_is_named(void **state)
{
	(void)state;
	open_both();
	for (int round = 0; round < 3; round++) {
		tenant_send(&tenant, "GET /sandboxes HTTP/1.1\r\nHost: api.sbx.test\r\n\r\n");
		tenant_expect(&tenant, "HTTP/1.1 503 ");
		tenant_expect(&tenant,
			      "{\"message\":\"the API cannot be reached now\",\"code\":503}");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(a_tenant_with_tls_is_served_as_one_without),
		TEST(large_bodies_pass_both_ways),
		TEST(who_does_not_read_holds_up_itself_alone),
		TEST(an_upgraded_connection_lasts_until_both_ends_close),
		TEST(a_cut_connection_is_no_end_for_the_guest),
		TEST(garbage_at_the_tls_port_is_shut_out),
		TEST(a_slow_handshake_has_the_time_of_a_head),
		TEST(a_new_certificate_is_read_at_a_hangup),
		TEST(a_port_that_speaks_tls_is_reached_by_tenants_without),
		TEST(an_upgrade_at_a_port_that_speaks_tls_lasts_until_both_ends_close),
		TEST(a_port_that_should_speak_tls_and_does_not_is_named),
		TEST(the_apis_host_leads_to_the_api),
		TEST(an_api_that_is_away_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
