/*
 * Between a stream of the channel and a TCP port of the sandbox.  What the host sent and the
 * program has not read stays in a ring as large as the stream's credit, so it always fits; what the
 * program sent is read only as fast as the stream takes it.
 */
#include "node-agent/guest/forward.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"

enum { FORWARD_READ_MAX = 16 * 1024 };

struct forward {
	struct channel_user user;
	struct channel *channel;
	uint32_t id;
	uint16_t port;
	uv_tcp_t tcp;
	uv_connect_t connect;
	uv_write_t write;
	uv_shutdown_t shutdown;
	bool is_connected;
	bool is_v6;       /* the second try */
	bool is_gone;     /* the stream is: only the socket is left to be closed */
	bool host_ended;  /* no more will come into the ring */
	bool guest_ended; /* no more will come from the program */
	bool is_shut;
	size_t ring_at, ring_n;
	size_t writing_n;       /* of the ring, lent to the socket */
	size_t rest_at, rest_n; /* read from the program, not yet taken by the stream */
	char rest[FORWARD_READ_MAX];
	char ring[MUX_WINDOW];
};

static void start_reading(struct forward *forward);

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

/* The stream's side is over, one way or the other. */
static void detach(struct forward *forward)
{
	if (forward->is_gone)
		return;
	forward->is_gone = true;
	channel_user_remove(forward->channel, forward->id, &forward->user);
}

static void close_socket(struct forward *forward)
{
	if (!uv_is_closing((uv_handle_t *)&forward->tcp))
		uv_close((uv_handle_t *)&forward->tcp, on_closed);
}

static void fail(struct forward *forward, enum mux_reason reason)
{
	if (!forward->is_gone)
		mux_reset(forward->channel->mux, forward->id, reason);
	detach(forward);
	close_socket(forward);
}

/* Both directions have come to their end. */
static void finish_if_done(struct forward *forward)
{
	if (!forward->guest_ended || !forward->is_shut || forward->rest_n)
		return;
	detach(forward);
	close_socket(forward);
}

/* -- From the host to the program ---------------------------------------------------------------
 */

static void ring_write(struct forward *forward);

static void on_shut(uv_shutdown_t *shutdown, int status)
{
	(void)shutdown;
	(void)status; /* a program that is gone shows when it is read from */
}

static void on_written(uv_write_t *write, int status)
{
	struct forward *forward = write->handle->data;
	size_t n = forward->writing_n;

	forward->writing_n = 0;
	if (forward->is_gone)
		return;
	if (status < 0) {
		fail(forward, MUX_REASON_GONE);
		return;
	}
	forward->ring_at = (forward->ring_at + n) % MUX_WINDOW;
	forward->ring_n -= n;
	mux_consumed(forward->channel->mux, forward->id, n);
	ring_write(forward);
}

static void ring_write(struct forward *forward)
{
	uv_stream_t *tcp = (uv_stream_t *)&forward->tcp;
	size_t n = forward->ring_n;
	uv_buf_t slice;

	if (!forward->is_connected || forward->writing_n)
		return;
	if (!n) {
		if (forward->host_ended && !forward->is_shut) {
			forward->is_shut = true;
			uv_shutdown(&forward->shutdown, tcp, on_shut);
			finish_if_done(forward);
		}
		return;
	}
	if (n > MUX_WINDOW - forward->ring_at)
		n = MUX_WINDOW - forward->ring_at;
	slice = uv_buf_init(forward->ring + forward->ring_at, (unsigned)n);
	forward->writing_n = n;
	if (uv_write(&forward->write, tcp, &slice, 1, on_written))
		fail(forward, MUX_REASON_GONE);
}

static void on_data(void *user, const char *bytes, size_t bytes_n)
{
	struct forward *forward = user;
	size_t at = (forward->ring_at + forward->ring_n) % MUX_WINDOW;
	size_t first_n = bytes_n < MUX_WINDOW - at ? bytes_n : MUX_WINDOW - at;

	CHECK(bytes_n <= MUX_WINDOW - forward->ring_n); /* the stream's credit says so */
	memcpy(forward->ring + at, bytes, first_n);
	memcpy(forward->ring, bytes + first_n, bytes_n - first_n);
	forward->ring_n += bytes_n;
	ring_write(forward);
}

static void on_end(void *user)
{
	struct forward *forward = user;

	forward->host_ended = true;
	ring_write(forward);
}

static void on_gone(void *user)
{
	struct forward *forward = user;

	detach(forward);
	close_socket(forward);
}

/* -- From the program to the host ---------------------------------------------------------------
 */

/* What was read goes to the stream; false when some had to stay. */
static bool rest_send(struct forward *forward)
{
	size_t n = mux_write(forward->channel->mux, forward->id,
			     (const uint8_t *)forward->rest + forward->rest_at, forward->rest_n);

	forward->rest_at += n;
	forward->rest_n -= n;
	return !forward->rest_n;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out_buffer)
{
	struct forward *forward = handle->data;

	(void)suggested;
	*out_buffer = uv_buf_init(forward->rest, FORWARD_READ_MAX);
}

static void on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *buffer)
{
	struct forward *forward = tcp->data;

	(void)buffer;
	if (forward->is_gone || n == 0)
		return;
	if (n < 0 && n != UV_EOF) {
		fail(forward, MUX_REASON_GONE);
		return;
	}
	if (n == UV_EOF) {
		uv_read_stop(tcp);
		forward->guest_ended = true;
		mux_end(forward->channel->mux, forward->id);
		finish_if_done(forward);
		return;
	}
	forward->rest_at = 0;
	forward->rest_n = (size_t)n;
	if (!rest_send(forward))
		uv_read_stop(tcp);
}

static void on_writable(void *user)
{
	struct forward *forward = user;

	if (forward->rest_n && rest_send(forward))
		start_reading(forward);
}

static void start_reading(struct forward *forward)
{
	uv_read_start((uv_stream_t *)&forward->tcp, on_alloc, on_read);
}

/* -- Connecting ---------------------------------------------------------------------------------
 */

static void connect_start(struct forward *forward);

static void on_failed_try_closed(uv_handle_t *handle)
{
	struct forward *forward = handle->data;

	if (forward->is_gone)
		free(forward);
	else
		connect_start(forward);
}

static void on_connected(uv_connect_t *connect, int status)
{
	struct forward *forward = connect->handle->data;

	if (forward->is_gone)
		return;
	if (status && !forward->is_v6) {
		forward->is_v6 = true;
		uv_close((uv_handle_t *)&forward->tcp, on_failed_try_closed);
		return;
	}
	if (status) {
		fail(forward, MUX_REASON_REFUSED);
		return;
	}
	forward->is_connected = true;
	uv_tcp_nodelay(&forward->tcp, 1);
	mux_accept(forward->channel->mux, forward->id);
	start_reading(forward);
	ring_write(forward);
}

static void connect_start(struct forward *forward)
{
	struct sockaddr_storage at = {0};

	if (forward->is_v6)
		uv_ip6_addr("::1", forward->port, (struct sockaddr_in6 *)&at);
	else
		uv_ip4_addr("127.0.0.1", forward->port, (struct sockaddr_in *)&at);
	uv_tcp_init(forward->channel->loop, &forward->tcp);
	forward->tcp.data = forward;
	if (uv_tcp_connect(&forward->connect, &forward->tcp, (struct sockaddr *)&at, on_connected))
		fail(forward, MUX_REASON_REFUSED);
}

void forward_open(struct channel *channel, uint32_t stream, uint16_t port)
{
	static const struct stream_events events = {on_data, on_end, on_writable, on_gone};
	/* Not cleared as a whole: the buffers' pages are to be touched only when used. */
	struct forward *forward = malloc(sizeof(*forward));

	if (!forward) {
		mux_reset(channel->mux, stream, MUX_REASON_LIMIT);
		return;
	}
	memset(forward, 0, offsetof(struct forward, rest));
	forward->channel = channel;
	forward->id = stream;
	forward->port = port;
	forward->user = (struct channel_user){.events = &events, .user = forward};
	channel_user_add(channel, stream, &forward->user);
	connect_start(forward);
}
