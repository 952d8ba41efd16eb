/*
 * The guest's channel, with a socket pair for the virtio port: the host's end of the multiplexer is
 * driven here, in turns with the guest's event loop.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node-agent/guest/channel.h"
#include "node-agent/guest/guest.h"

enum { TURNS_MAX = 20000, HEARD_MAX = 2 * 1024 * 1024 };

/* What the host hears on its one stream. */
struct host {
	int fd;
	struct mux *mux;
	uint32_t stream;
	bool is_accepted, is_ended, is_reset, is_broken;
	enum mux_reason reason;
	char *heard;
	size_t heard_n;
};

struct bench {
	struct guest guest;
	struct channel channel;
	struct host host;
	uv_tcp_t server; /* a program of the sandbox that echoes */
	uint16_t port;
};

static void on_broken(const char *problem)
{
	fail_msg("%s", problem);
}

/* -- The program that echoes --------------------------------------------------------------------
 */

struct echo {
	uv_tcp_t tcp;
	uv_write_t write;
	uv_shutdown_t shutdown;
	char bytes[4096];
};

static void echo_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void echo_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer);

static void echo_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct echo *echo = handle->data;

	(void)suggested;
	*out = uv_buf_init(echo->bytes, sizeof(echo->bytes));
}

static void echo_written(uv_write_t *write, int status)
{
	if (!status)
		uv_read_start(write->handle, echo_alloc, echo_read);
}

static void echo_shut(uv_shutdown_t *shutdown, int status)
{
	(void)status;
	uv_close((uv_handle_t *)shutdown->handle, echo_closed);
}

static void echo_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct echo *echo = stream->data;
	uv_buf_t back = uv_buf_init(buffer->base, (unsigned)(n > 0 ? n : 0));

	uv_read_stop(stream);
	if (n > 0)
		uv_write(&echo->write, stream, &back, 1, echo_written);
	else if (n == UV_EOF)
		uv_shutdown(&echo->shutdown, stream, echo_shut);
	else
		uv_close((uv_handle_t *)stream, echo_closed);
}

static void echo_connection(uv_stream_t *server, int status)
{
	struct echo *echo = calloc(1, sizeof(*echo));

	(void)status;
	assert_non_null(echo);
	uv_tcp_init(server->loop, &echo->tcp);
	echo->tcp.data = echo;
	assert_int_equal(uv_accept(server, (uv_stream_t *)&echo->tcp), 0);
	uv_read_start((uv_stream_t *)&echo->tcp, echo_alloc, echo_read);
}

/* -- The host -----------------------------------------------------------------------------------
 */

static void host_hear(struct host *host, const struct mux_event *event)
{
	if (event->kind == MUX_BROKEN)
		host->is_broken = true;
	if (event->stream != host->stream)
		return;
	if (event->kind == MUX_ACCEPTED)
		host->is_accepted = true;
	if (event->kind == MUX_END)
		host->is_ended = true;
	if (event->kind == MUX_RESET) {
		host->is_reset = true;
		host->reason = event->reason;
	}
	if (event->kind != MUX_DATA)
		return;
	assert_true(host->heard_n + event->data_n < HEARD_MAX);
	memcpy(host->heard + host->heard_n, event->data, event->data_n);
	host->heard_n += event->data_n;
	host->heard[host->heard_n] = 0;
	mux_consumed(host->mux, event->stream, event->data_n);
}

static void host_turn(struct host *host)
{
	static uint8_t bytes[65536];
	struct mux_slice slices[2];
	struct mux_event event;
	ssize_t n;

	while (mux_output(host->mux, slices)) {
		n = write(host->fd, slices[0].bytes, slices[0].n);
		if (n <= 0)
			break;
		mux_output_done(host->mux, (size_t)n);
	}
	n = read(host->fd, bytes, sizeof(bytes));
	if (n > 0)
		mux_feed(host->mux, bytes, (size_t)n);
	while (mux_next(host->mux, &event))
		host_hear(host, &event);
}

static void host_open(struct host *host, uint16_t port)
{
	host->stream = mux_open(host->mux, port, NULL);
	assert_int_not_equal(host->stream, 0);
	host->is_accepted = host->is_ended = host->is_reset = false;
	host->heard_n = 0;
}

/* Both sides take turns until 'done' says so. */
#define TURN_UNTIL(bench, done)                                                                    \
	do {                                                                                       \
		int turns_ = 0;                                                                    \
		while (!(done)) {                                                                  \
			assert_true(++turns_ < TURNS_MAX);                                         \
			host_turn(&(bench)->host);                                                 \
			uv_run(&(bench)->guest.loop, UV_RUN_NOWAIT);                               \
		}                                                                                  \
	} while (0)

static void host_start(struct host *host, int fd)
{
	struct mux_config config = {
		.initiator = true, .open_max = 64, .output_max = MUX_OUTPUT_MIN};

	host->fd = fd;
	host->mux = mux_create(&config);
	assert_non_null(host->mux);
}

static int setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int at_n = sizeof(at), ends[2];
	struct err err;

	*state = bench;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	assert_int_equal(uv_loop_init(&bench->guest.loop), 0);
	assert_int_equal(conn_pool_open(&bench->guest.conns, &bench->guest), 0);
	settings_init(&bench->guest.settings);
	bench->channel.on_broken = on_broken;
	bench->channel.on_new_host = init_expect;
	assert_int_equal(channel_open(&bench->channel, &bench->guest.loop, ends[0], conn_accept,
				      &bench->guest.conns, GUEST_PORT, &err),
			 0);
	bench->host.heard = malloc(HEARD_MAX);
	host_start(&bench->host, ends[1]);
	uv_tcp_init(&bench->guest.loop, &bench->server);
	uv_tcp_bind(&bench->server, (struct sockaddr *)&at, 0);
	assert_int_equal(uv_listen((uv_stream_t *)&bench->server, 16, echo_connection), 0);
	uv_tcp_getsockname(&bench->server, (struct sockaddr *)&at, &at_n);
	bench->port = ntohs(at.sin_port);
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	/* A new host makes the guest forget every stream. */
	mux_destroy(bench->host.mux);
	host_start(&bench->host, bench->host.fd);
	host_open(&bench->host, GUEST_PORT);
	TURN_UNTIL(bench, bench->host.is_accepted && !bench->channel.users->next);
	conn_pool_close(&bench->guest.conns);
	assert_null(bench->channel.users);
	uv_close((uv_handle_t *)&bench->channel.poll, NULL);
	uv_close((uv_handle_t *)&bench->channel.flush, NULL);
	uv_close((uv_handle_t *)&bench->server, NULL);
	uv_run(&bench->guest.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&bench->guest.loop), 0);
	settings_close(&bench->guest.settings);
	mux_destroy(bench->channel.mux);
	mux_destroy(bench->host.mux);
	close(bench->channel.fd);
	close(bench->channel.edge_fd);
	close(bench->host.fd);
	free(bench->host.heard);
	free(bench);
	return 0;
}

/* -- The promises -------------------------------------------------------------------------------
 */

static void say(struct host *host, const char *text)
{
	assert_int_equal(mux_write(host->mux, host->stream, (const uint8_t *)text, strlen(text)),
			 strlen(text));
}

static void our_own_port_is_served_in_process(void **state)
{
	struct bench *bench = *state;

	host_open(&bench->host, GUEST_PORT);
	say(&bench->host, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
	TURN_UNTIL(bench, bench->host.heard_n);
	assert_memory_equal(bench->host.heard, "HTTP/1.1 204", 12);
	say(&bench->host, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	TURN_UNTIL(bench, bench->host.is_ended);
	mux_end(bench->host.mux, bench->host.stream);
	TURN_UNTIL(bench, !bench->channel.users);
}

static void a_port_that_nobody_listens_on_is_refused(void **state)
{
	struct bench *bench = *state;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t at_n = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	/* Bound and not listened on: nobody else can have it meanwhile. */
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &at_n), 0);
	host_open(&bench->host, ntohs(at.sin_port));
	TURN_UNTIL(bench, bench->host.is_reset);
	assert_int_equal(bench->host.reason, MUX_REASON_REFUSED);
	assert_false(bench->host.is_accepted);
	assert_null(bench->channel.users);
	close(fd);
}

static void bytes_to_a_port_come_back_whole_and_both_ends_close(void **state)
{
	struct bench *bench = *state;
	size_t size = 1024 * 1024, sent_n = 0;
	uint8_t *bytes = malloc(size);
	int turns = 0;

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	host_open(&bench->host, bench->port);
	while (sent_n < size) {
		assert_true(++turns < TURNS_MAX);
		sent_n += mux_write(bench->host.mux, bench->host.stream, bytes + sent_n,
				    size - sent_n);
		host_turn(&bench->host);
		uv_run(&bench->guest.loop, UV_RUN_NOWAIT);
	}
	mux_end(bench->host.mux, bench->host.stream);
	TURN_UNTIL(bench, bench->host.is_ended);
	assert_int_equal(bench->host.heard_n, size);
	assert_memory_equal(bench->host.heard, bytes, size);
	TURN_UNTIL(bench, !bench->channel.users);
	free(bytes);
}

static void a_stream_that_is_reset_leaves_nothing(void **state)
{
	struct bench *bench = *state;

	host_open(&bench->host, bench->port);
	say(&bench->host, "some");
	TURN_UNTIL(bench, bench->host.heard_n == 4);
	mux_reset(bench->host.mux, bench->host.stream, MUX_REASON_CANCELLED);
	TURN_UNTIL(bench, !bench->channel.users);
	/* Also one that is still being connected. */
	host_open(&bench->host, bench->port);
	mux_reset(bench->host.mux, bench->host.stream, MUX_REASON_CANCELLED);
	host_turn(&bench->host);
	TURN_UNTIL(bench, !bench->channel.users);
}

static void init(struct bench *bench, const char *token, const char *status)
{
	char text[256], body[64];

	snprintf(body, sizeof(body), "{\"accessToken\":\"%s\"}", token);
	snprintf(text, sizeof(text),
		 "POST /init HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
		 body);
	host_open(&bench->host, GUEST_PORT);
	say(&bench->host, text);
	TURN_UNTIL(bench, bench->host.heard_n);
	assert_memory_equal(bench->host.heard + 9, status, 3);
}

/* A fork has a token of its own, and so may have what goes on after a pause. */
static void a_new_host_names_the_token_anew_and_nobody_after_it(void **state)
{
	struct bench *bench = *state;

	init(bench, "first", "204");
	init(bench, "other", "401");
	mux_destroy(bench->host.mux);
	host_start(&bench->host, bench->host.fd);
	init(bench, "second", "204");
	init(bench, "first", "401");
	init(bench, "second", "204");
}

static void a_new_host_finds_no_streams_of_the_old_one(void **state)
{
	struct bench *bench = *state;

	host_open(&bench->host, bench->port);
	say(&bench->host, "some");
	TURN_UNTIL(bench, bench->host.heard_n == 4);
	host_open(&bench->host, GUEST_PORT);
	say(&bench->host, "GET /health HTTP/1.1\r\n");
	TURN_UNTIL(bench, bench->host.is_accepted);
	mux_destroy(bench->host.mux);
	host_start(&bench->host, bench->host.fd);
	host_open(&bench->host, GUEST_PORT);
	say(&bench->host, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
	TURN_UNTIL(bench, bench->host.heard_n);
	assert_memory_equal(bench->host.heard, "HTTP/1.1 204", 12);
	assert_null(bench->channel.users->next);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(our_own_port_is_served_in_process, setup, teardown),
		cmocka_unit_test_setup_teardown(a_port_that_nobody_listens_on_is_refused, setup,
						teardown),
		cmocka_unit_test_setup_teardown(bytes_to_a_port_come_back_whole_and_both_ends_close,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_stream_that_is_reset_leaves_nothing, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_new_host_finds_no_streams_of_the_old_one, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_new_host_names_the_token_anew_and_nobody_after_it,
						setup, teardown),
	};

	return cmocka_run_group_tests_name("guest.channel", tests, NULL, NULL);
}
