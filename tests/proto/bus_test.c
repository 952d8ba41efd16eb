/* The bus over loopback: requests answered in any order, and a port that takes any garbage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/io/bus.h"

#include <arpa/inet.h>
#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGE_MAX = 1 << 16, GUARD_MS = 20000 };

static uv_loop_t loop;
static uv_timer_t guard;
static struct bus server, client;
static struct err err;

/* What has happened so far. */
static struct world {
	uint64_t tokens[64]; /* parked at the server */
	size_t parked_n;
	bool parks; /* or answers with what came */
	size_t requests_n, answers_n;
	uint64_t last_answer_id;
	uint64_t answer_sum;
	size_t links_up_n, links_down_n;
	size_t closed_n;
	bool timed_out;
} world;

static void on_request(struct bus *bus, uint64_t token, const uint8_t *body, size_t body_n)
{
	world.requests_n++;
	if (world.parks)
		world.tokens[world.parked_n++] = token;
	else
		bus_reply(bus, token, body, body_n);
}

static void on_answer(struct bus *bus, uint64_t token, const uint8_t *body, size_t body_n)
{
	(void)bus;
	(void)body;
	world.answers_n++;
	world.last_answer_id = token;
	world.answer_sum += token * body_n;
}

static void on_link(struct bus *bus, bool up)
{
	(void)bus;
	*(up ? &world.links_up_n : &world.links_down_n) += 1;
}

static void on_closed(struct bus *bus)
{
	(void)bus;
	world.closed_n++;
}

static void on_guard(uv_timer_t *timer)
{
	(void)timer;
	world.timed_out = true;
}

/* Turns the loop until *counter is at least n. */
static void run_until(const size_t *counter, size_t n)
{
	uv_timer_start(&guard, on_guard, GUARD_MS, 0);
	while (*counter < n) {
		uv_run(&loop, UV_RUN_ONCE);
		if (world.timed_out)
			fail_msg("nothing happened for %d ms: %zu of %zu", GUARD_MS, *counter, n);
	}
	uv_timer_stop(&guard);
}

static void listen_on(const char *url, const char *cert_key_file)
{
	struct bus_options options = {
		.url = url, .message_max = MESSAGE_MAX, .tls_cert_key_file = cert_key_file};
	struct bus_callbacks callbacks = {.on_message = on_request, .on_closed = on_closed};

	if (bus_listen(&server, &loop, &options, &callbacks, &err))
		fail_msg("%s", err.text);
	assert_true(server.port > 0);
}

static void dial(const char *scheme, const char *ca_file)
{
	struct bus_callbacks callbacks = {
		.on_message = on_answer, .on_link = on_link, .on_closed = on_closed};
	char url[64];
	struct bus_options options = {
		.url = url, .message_max = 4 * MESSAGE_MAX, .tls_ca_file = ca_file};

	snprintf(url, sizeof(url), "%s://127.0.0.1:%u", scheme, server.port);
	if (bus_dial(&client, &loop, &options, &callbacks, &err))
		fail_msg("%s", err.text);
}

/* What is sent before there is a connection is dropped. */
static void dial_and_wait(const char *scheme, const char *ca_file)
{
	size_t up_n = world.links_up_n;

	dial(scheme, ca_file);
	run_until(&world.links_up_n, up_n + 1);
}

static int start(void **state)
{
	(void)state;
	world = (struct world){0};
	uv_loop_init(&loop);
	uv_timer_init(&loop, &guard);
	listen_on("tcp://127.0.0.1:0", NULL);
	return 0;
}

static int stop(void **state)
{
	size_t closed_n = world.closed_n;
	size_t wanted_n = closed_n + !server.is_closing + !client.is_closing;

	(void)state;
	bus_close(&server);
	bus_close(&client);
	run_until(&world.closed_n, wanted_n);
	uv_close((uv_handle_t *)&guard, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop);
}

static void ask(uint32_t id, size_t n)
{
	static uint8_t body[2 * MESSAGE_MAX];

	assert_true(bus_send(&client, id, body, n));
}

static void each_request_is_answered_by_its_id(void **state)
{
	uint64_t sum = 0;

	(void)state;
	dial_and_wait("tcp", NULL);
	for (uint32_t id = 1; id <= 50; id++) {
		ask(id, id * 10);
		sum += id * id * 10;
	}
	run_until(&world.answers_n, 50);
	assert_int_equal(world.answer_sum, sum);
	assert_int_equal(world.links_up_n, 1);
}

static void a_parked_request_is_answered_whenever_one_likes(void **state)
{
	(void)state;
	world.parks = true;
	dial_and_wait("tcp", NULL);
	ask(1, 5);
	ask(2, 5);
	ask(INT32_MAX, 5);
	run_until(&world.parked_n, 3);
	for (size_t i = 3; i > 0; i--) {
		assert_true(bus_reply(&server, world.tokens[i - 1], (const uint8_t *)"x", 1));
		run_until(&world.answers_n, 4 - i);
	}
	assert_int_equal(world.last_answer_id, 1);
	assert_int_equal(world.answer_sum, (uint64_t)INT32_MAX + 2 + 1);
}

static int connect_plain(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(server.port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* Sends bytes and reads until the other side hangs up. */
static void throw_at_port(const void *bytes, size_t n)
{
	int fd = connect_plain();
	char sink[512];
	ssize_t got_n;

	(void)!send(fd, bytes, n, MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	uv_timer_start(&guard, on_guard, GUARD_MS, 0);
	do {
		uv_run(&loop, UV_RUN_NOWAIT);
		got_n = recv(fd, sink, sizeof(sink), MSG_DONTWAIT);
		assert_false(world.timed_out);
	} while (got_n > 0 || (got_n < 0 && errno == EAGAIN));
	uv_timer_stop(&guard);
	close(fd);
}

#define THROW(bytes) throw_at_port(bytes, sizeof(bytes) - 1)
#define GREETING     "\0SP\0\0\x30\0\0"

static void garbage_on_the_port_does_no_harm(void **state)
{
	struct rng rng = {1};
	uint8_t noise[3000];

	(void)state;
	dial_and_wait("tcp", NULL);
	ask(1, 1);
	run_until(&world.answers_n, 1);
	for (int round = 0; round < 60; round++) {
		size_t n = (size_t)rng_below(&rng, sizeof(noise)) + 1;

		for (size_t i = 0; i < n; i++)
			noise[i] = (uint8_t)rng_next(&rng);
		if (round % 2 && n >= 8) /* right at first, then noise */
			memcpy(noise, GREETING, 8);
		throw_at_port(noise, n);
	}
	THROW("GET / HTTP/1.1\r\n\r\n");
	THROW("\0SP\0\0\x10\0\0"); /* another protocol */
	THROW("\0SP\0\0\x31\0\0"); /* one who wants to answer, not to ask */
	THROW("\0SP");
	/* Longer than anyone may send; a whole message without an id; ids without an end. */
	THROW(GREETING "\x7f\xff\xff\xff\xff\xff\xff\xff");
	THROW(GREETING "\0\0\0\0\0\1\0\x05");
	THROW(GREETING "\0\0\0\0\0\0\0\0");
	THROW(GREETING "\0\0\0\0\0\0\0\x03zzz");
	THROW(GREETING "\0\0\0\0\0\0\0\x08\0\0\0\1\0\0\0\2");
	/* Through intermediaries, which we do not have: nobody is told of it. */
	THROW(GREETING "\0\0\0\0\0\0\0\x09\0\0\0\1\x80\0\0\2x");
	/* Most of a message. */
	THROW(GREETING "\0\0\0\0\0\0\0\x09\x80\0\0\1xyz");
	ask(2, 1);
	run_until(&world.answers_n, 2);
	assert_int_equal(world.requests_n, 2);
	while (server.connections_n > 1)
		uv_run(&loop, UV_RUN_NOWAIT);
}

/* Asks a few things and is gone, with a reset or without, maybe before the answers came. */
static void vanish(struct rng *rng)
{
	struct linger reset = {.l_onoff = 1};
	char bytes[1024];
	int fd = connect_plain();

	(void)!send(fd, GREETING, 8, MSG_NOSIGNAL);
	for (uint64_t i = rng_below(rng, 6); i > 0; i--)
		(void)!send(fd, "\0\0\0\0\0\0\0\x08\x80\0\0\1body", 16, MSG_NOSIGNAL);
	uv_run(&loop, UV_RUN_NOWAIT);
	if (rng_one_in(rng, 2))
		(void)!recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (rng_one_in(rng, 2))
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(fd);
}

static void peers_that_vanish_while_they_are_answered_leave_nothing_behind(void **state)
{
	struct rng rng = {2};

	(void)state;
	dial_and_wait("tcp", NULL);
	for (int i = 0; i < 2000; i++) {
		vanish(&rng);
		uv_run(&loop, UV_RUN_NOWAIT);
	}
	ask(1, 1);
	run_until(&world.answers_n, 1);
	uv_timer_start(&guard, on_guard, GUARD_MS, 0);
	while (server.connections_n > 1 && !world.timed_out)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(server.connections_n, 1);
}

static void a_peer_that_does_not_read_is_disconnected(void **state)
{
	static uint8_t big[MESSAGE_MAX];
	int fd, n = 0;

	(void)state;
	client.is_closing = true; /* there is none in this test */
	world.parks = true;
	fd = connect_plain();
	(void)!send(fd, GREETING "\0\0\0\0\0\0\0\x04\x80\0\0\1", 20, MSG_NOSIGNAL);
	run_until(&world.parked_n, 1);
	while (bus_reply(&server, world.tokens[0], big, sizeof(big)) && n < 10000)
		n++;
	assert_in_range(n, 10, 9999);
	assert_int_equal(server.connections_n, 0);
	assert_int_equal(server.dropped_n, 1);
	close(fd);
}

static void it_answers_nngs_own_req_socket(void **state)
{
	nng_socket req;
	char url[64], got[16];
	size_t n = sizeof(got);

	(void)state;
	client.is_closing = true; /* there is none in this test */
	snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", server.port);
	assert_int_equal(nng_req0_open(&req), 0);
	assert_int_equal(nng_dial(req, url, NULL, NNG_FLAG_NONBLOCK), 0);
	assert_int_equal(nng_socket_set_ms(req, NNG_OPT_RECVTIMEO, 0), 0);
	while (server.connections_n == 0)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(nng_send(req, "question", 8, 0), 0);
	run_until(&world.requests_n, 1);
	while (nng_recv(req, got, &n, NNG_FLAG_NONBLOCK) == NNG_EAGAIN)
		uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(n, 8);
	assert_memory_equal(got, "question", 8);
	nng_close(req);
}

static void nngs_own_rep_socket_answers_it(void **state)
{
	nng_listener listener;
	nng_socket rep;
	char got[16];
	size_t n = sizeof(got);
	int port;

	(void)state;
	bus_close(&server);
	run_until(&world.closed_n, 1);
	assert_int_equal(nng_rep0_open(&rep), 0);
	assert_int_equal(nng_listen(rep, "tcp://127.0.0.1:0", &listener, 0), 0);
	assert_int_equal(nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port), 0);
	server.port = (uint16_t)port;
	dial_and_wait("tcp", NULL);
	ask(77, 9);
	while (nng_recv(rep, got, &n, NNG_FLAG_NONBLOCK) == NNG_EAGAIN)
		uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(n, 9);
	assert_int_equal(nng_send(rep, got, n, 0), 0);
	run_until(&world.answers_n, 1);
	assert_int_equal(world.answer_sum, 77 * 9);
	bus_close(&client);
	run_until(&world.closed_n, 2);
	nng_close(rep);
}

static void a_message_too_long_ends_the_connection_and_no_more(void **state)
{
	(void)state;
	dial_and_wait("tcp", NULL);
	ask(1, 2 * MESSAGE_MAX);
	run_until(&world.links_up_n, 2);
	assert_int_equal(world.links_down_n, 1);
	ask(2, MESSAGE_MAX);
	run_until(&world.answers_n, 1);
	assert_int_equal(world.last_answer_id, 2);
}

static void an_answer_to_one_who_left_is_dropped(void **state)
{
	(void)state;
	world.parks = true;
	dial_and_wait("tcp", NULL);
	ask(1, 1);
	run_until(&world.parked_n, 1);
	bus_close(&client);
	run_until(&world.closed_n, 1);
	bus_reply(&server, world.tokens[0], (const uint8_t *)"x", 1);
	bus_reply(&server, 0, (const uint8_t *)"x", 1);
	bus_reply(&server, UINT64_MAX, (const uint8_t *)"x", 1);
	world.parks = false;
	dial_and_wait("tcp", NULL);
	ask(2, 1);
	run_until(&world.answers_n, 1);
}

static void a_server_that_returns_is_found_again(void **state)
{
	char url[64];

	(void)state;
	dial_and_wait("tcp", NULL);
	snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", server.port);
	bus_close(&server);
	run_until(&world.closed_n, 1);
	run_until(&world.links_down_n, 1);
	listen_on(url, NULL);
	run_until(&world.links_up_n, 2);
	ask(1, 1);
	run_until(&world.answers_n, 1);
}

static void a_port_in_use_is_a_fault(void **state)
{
	static struct bus second;
	struct bus_callbacks callbacks = {.on_message = on_request, .on_closed = on_closed};
	char url[64];
	struct bus_options options = {.url = url, .message_max = MESSAGE_MAX};

	(void)state;
	client.is_closing = true; /* there is none in this test */
	snprintf(url, sizeof(url), "tcp://127.0.0.1:%u", server.port);
	assert_int_equal(bus_listen(&second, &loop, &options, &callbacks, &err), -1);
	assert_non_null(strstr(err.text, "in use"));
	options.url = "nonsense";
	assert_int_equal(bus_listen(&second, &loop, &options, &callbacks, &err), -1);
	assert_int_equal(bus_dial(&second, &loop, &options, &callbacks, &err), -1);
	options.url = "tls+tcp://127.0.0.1:0";
	options.tls_cert_key_file = "/nonexistent";
	assert_int_equal(bus_listen(&second, &loop, &options, &callbacks, &err), -1);
}

static void tls_connects_those_who_trust_the_certificate(void **state)
{
	char folder[] = "/tmp/flotilla-bus-XXXXXX", command[512], cert[64], both[64];

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(cert, sizeof(cert), "%s/cert.pem", folder);
	snprintf(both, sizeof(both), "%s/both.pem", folder);
	snprintf(command, sizeof(command),
		 "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem "
		 "-days 2 -subj /CN=127.0.0.1 2>/dev/null && cat cert.pem key.pem >both.pem",
		 folder);
	assert_int_equal(system(command), 0);
	bus_close(&server);
	run_until(&world.closed_n, 1);
	listen_on("tls+tcp://127.0.0.1:0", both);
	throw_at_port("\0SP\0\0\x30\0\0", 8);
	dial_and_wait("tls+tcp", cert);
	ask(1, 1000);
	run_until(&world.answers_n, 1);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_request_is_answered_by_its_id, start, stop),
		cmocka_unit_test_setup_teardown(a_parked_request_is_answered_whenever_one_likes,
						start, stop),
		cmocka_unit_test_setup_teardown(garbage_on_the_port_does_no_harm, start, stop),
		cmocka_unit_test_setup_teardown(
			peers_that_vanish_while_they_are_answered_leave_nothing_behind, start,
			stop),
		cmocka_unit_test_setup_teardown(a_peer_that_does_not_read_is_disconnected, start,
						stop),
		cmocka_unit_test_setup_teardown(it_answers_nngs_own_req_socket, start, stop),
		cmocka_unit_test_setup_teardown(nngs_own_rep_socket_answers_it, start, stop),
		cmocka_unit_test_setup_teardown(a_message_too_long_ends_the_connection_and_no_more,
						start, stop),
		cmocka_unit_test_setup_teardown(an_answer_to_one_who_left_is_dropped, start, stop),
		cmocka_unit_test_setup_teardown(a_server_that_returns_is_found_again, start, stop),
		cmocka_unit_test_setup_teardown(a_port_in_use_is_a_fault, start, stop),
		cmocka_unit_test_setup_teardown(tls_connects_those_who_trust_the_certificate, start,
						stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
