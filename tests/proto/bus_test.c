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
	dial("tcp", NULL);
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
	dial("tcp", NULL);
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

static void more_than_nng_holds_waits_for_its_turn(void **state)
{
	size_t taken_n = 0;

	(void)state;
	dial("tcp", NULL);
	/* Nothing is connected before the loop turns: NNG holds some, the bus some more, and then
	 * no. */
	while (taken_n < 4096 && bus_send(&client, 1, (const uint8_t *)"x", 1))
		taken_n++;
	assert_in_range(taken_n, BUS_UNSENT_MAX, 4095);
	assert_int_equal(client.dropped_n, 1);
	/* All of them arrive. (Of so many answers at once NNG may drop some.) */
	run_until(&world.requests_n, taken_n);
	ask(2, 1);
	run_until(&world.requests_n, taken_n + 1);
}

static int connect_plain(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(server.port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = 10};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* Sends bytes and reads until the other side hangs up. */
static void throw_at_port(const void *bytes, size_t n)
{
	int fd = connect_plain();
	char sink[512];

	(void)!send(fd, bytes, n, MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	while (recv(fd, sink, sizeof(sink), 0) > 0)
		;
	close(fd);
}

/* How a peer begins that is one of us; *out_n of it are in out. */
static void say_upgrade(char *out, size_t out_max, size_t *out_n, const char *protocol)
{
	int n = snprintf(out, out_max,
			 "GET /bus HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\n"
			 "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
			 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
			 server.port, protocol);

	*out_n = (size_t)n;
}

/* The same, begun rightly: as one of us. */
static void throw_after_upgrade(const void *bytes, size_t n)
{
	char all[8192];
	size_t head_n;

	say_upgrade(all, sizeof(all), &head_n, "rep.sp.nanomsg.org");
	memcpy(all + head_n, bytes, n);
	throw_at_port(all, head_n + n);
}

#define THROW(bytes)               throw_at_port(bytes, sizeof(bytes) - 1)
#define THROW_AFTER_UPGRADE(bytes) throw_after_upgrade(bytes, sizeof(bytes) - 1)

static void throw_noise(void)
{
	struct rng rng = {1};
	uint8_t noise[3000];

	for (int round = 0; round < 30; round++) {
		size_t n = (size_t)rng_below(&rng, sizeof(noise)) + 1;

		for (size_t i = 0; i < n; i++)
			noise[i] = (uint8_t)rng_next(&rng);
		(round % 2 ? throw_after_upgrade : throw_at_port)(noise, n);
	}
}

static void garbage_on_the_port_does_no_harm(void **state)
{
	char head[512];
	size_t head_n;

	(void)state;
	dial("tcp", NULL);
	ask(1, 1);
	run_until(&world.answers_n, 1);
	throw_noise();
	THROW("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
	THROW("GET /bus HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
	THROW("\0SP\0\0\x30\0\0\0\0\0\0\0\0\0\x04\x80\0\0\1"); /* the plain mapping */
	say_upgrade(head, sizeof(head), &head_n, "pair.sp.nanomsg.org");
	throw_at_port(head, head_n);
	for (size_t cut = 0; cut < head_n; cut += 7)
		throw_at_port(head, cut);
	/* Longer than anyone may send; a whole message without an id; ids without an end. */
	THROW_AFTER_UPGRADE("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0");
	THROW_AFTER_UPGRADE("\x82\x83\0\0\0\0zzz");
	THROW_AFTER_UPGRADE("\x82\x88\0\0\0\0\0\0\0\1\0\0\0\2");
	/* Through intermediaries, which we do not have: nobody is told of it. */
	THROW_AFTER_UPGRADE("\x82\x89\0\0\0\0\0\0\0\1\x80\0\0\2x");
	/* Not masked, as a client must; a text; pieces that never end. */
	THROW_AFTER_UPGRADE("\x82\x05\x80\0\0\1x");
	THROW_AFTER_UPGRADE("\x81\x85\0\0\0\0\x80\0\0\1x");
	THROW_AFTER_UPGRADE("\x02\x85\0\0\0\0\x80\0\0\1x");
	ask(2, 1);
	run_until(&world.answers_n, 2);
	assert_int_equal(world.last_answer_id, 2);
}

/* Asks a few things and is gone, with a reset or without, maybe before the answers came. */
static void vanish(struct rng *rng)
{
	struct linger reset = {.l_onoff = 1};
	char bytes[1024];
	size_t n;
	int fd = connect_plain();

	say_upgrade(bytes, sizeof(bytes), &n, "rep.sp.nanomsg.org");
	(void)!send(fd, bytes, n, MSG_NOSIGNAL);
	(void)!recv(fd, bytes, sizeof(bytes), 0);
	for (uint64_t i = rng_below(rng, 6); i > 0; i--)
		(void)!send(fd, "\x82\x88\0\0\0\0\x80\0\0\1body", 14, MSG_NOSIGNAL);
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
	for (int i = 0; i < 1000; i++) {
		vanish(&rng);
		uv_run(&loop, UV_RUN_NOWAIT);
	}
	dial("tcp", NULL);
	ask(1, 1);
	run_until(&world.answers_n, 1);
	uv_timer_start(&guard, on_guard, GUARD_MS, 0);
	while (atomic_load(&server.links_lost) + 1 != atomic_load(&server.links_made)) {
		uv_run(&loop, UV_RUN_NOWAIT);
		if (world.timed_out)
			fail_msg("%u of %u connections were cleaned up", server.links_lost,
				 server.links_made);
	}
}

static void a_message_too_long_ends_the_connection_and_no_more(void **state)
{
	(void)state;
	dial("tcp", NULL);
	run_until(&world.links_up_n, 1);
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
	dial("tcp", NULL);
	ask(1, 1);
	run_until(&world.parked_n, 1);
	bus_close(&client);
	run_until(&world.closed_n, 1);
	bus_reply(&server, world.tokens[0], (const uint8_t *)"x", 1);
	bus_reply(&server, 0, (const uint8_t *)"x", 1);
	bus_reply(&server, UINT64_MAX, (const uint8_t *)"x", 1);
	world.parks = false;
	dial("tcp", NULL);
	ask(2, 1);
	run_until(&world.answers_n, 1);
}

static void a_server_that_returns_is_found_again(void **state)
{
	char url[64];

	(void)state;
	dial("tcp", NULL);
	run_until(&world.links_up_n, 1);
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
	dial("tls+tcp", cert);
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
		cmocka_unit_test_setup_teardown(more_than_nng_holds_waits_for_its_turn, start,
						stop),
		cmocka_unit_test_setup_teardown(garbage_on_the_port_does_no_harm, start, stop),
		cmocka_unit_test_setup_teardown(
			peers_that_vanish_while_they_are_answered_leave_nothing_behind, start,
			stop),
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
