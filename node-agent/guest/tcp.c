/* Streams over TCP: see tcp.h. */
#include "node-agent/guest/tcp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"

enum { TCP_BACKLOG = 256, TCP_PENDING_MAX = 64 * 1024 };

struct tcp_stream {
	struct stream stream; /* first: the two are cast into each other */
	uv_tcp_t handle;
	uv_write_t write;
	uv_shutdown_t shutdown;
	size_t unconsumed_n;
	bool is_reading;
	bool is_writing; /* 'pending' is on its way */
	bool wants_room; /* a write fell short */
	bool is_closed;  /* by its user: no event any more */
	char *pending;   /* allocated when a write first falls short */
};

/* One loop, one thread: what is read is handed on before the next read. */
static char read_buffer[STREAM_WINDOW];

static void handle_closed(uv_handle_t *handle)
{
	struct tcp_stream *tcp = handle->data;

	free(tcp->pending);
	free(tcp);
}

static void handle_close(struct tcp_stream *tcp)
{
	if (!uv_is_closing((uv_handle_t *)&tcp->handle))
		uv_close((uv_handle_t *)&tcp->handle, handle_closed);
}

static void gone(struct tcp_stream *tcp)
{
	bool tell = !tcp->is_closed;

	tcp->is_closed = true;
	handle_close(tcp);
	if (tell)
		tcp->stream.events->on_gone(tcp->stream.user);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out_buffer)
{
	struct tcp_stream *tcp = handle->data;

	(void)suggested;
	out_buffer->base = read_buffer;
	out_buffer->len = STREAM_WINDOW - tcp->unconsumed_n;
}

static void on_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *buffer)
{
	struct tcp_stream *tcp = handle->data;

	if (n == UV_EOF) {
		uv_read_stop(handle);
		tcp->stream.events->on_end(tcp->stream.user);
		return;
	}
	if (n == UV_ENOBUFS || n == 0)
		return;
	if (n < 0) {
		gone(tcp);
		return;
	}
	tcp->unconsumed_n += (size_t)n;
	if (tcp->unconsumed_n == STREAM_WINDOW) {
		uv_read_stop(handle);
		tcp->is_reading = false;
	}
	tcp->stream.events->on_data(tcp->stream.user, buffer->base, (size_t)n);
}

static void on_written(uv_write_t *write, int status)
{
	struct tcp_stream *tcp = write->handle->data;

	tcp->is_writing = false;
	if (tcp->is_closed)
		return;
	if (status < 0) {
		gone(tcp);
	} else if (tcp->wants_room) {
		tcp->wants_room = false;
		tcp->stream.events->on_writable(tcp->stream.user);
	}
}

static size_t tcp_write(struct stream *stream, const char *bytes, size_t bytes_n)
{
	struct tcp_stream *tcp = (struct tcp_stream *)stream;
	uv_buf_t buffer = uv_buf_init((char *)bytes, (unsigned)bytes_n);
	size_t taken_n = 0, rest_n;
	int n;

	if (tcp->is_writing) {
		tcp->wants_room = true;
		return 0;
	}
	n = uv_try_write((uv_stream_t *)&tcp->handle, &buffer, 1);
	if (n > 0)
		taken_n = (size_t)n;
	if (taken_n == bytes_n)
		return taken_n;
	/* The kernel is full (or the peer is gone, which the queued write will tell). */
	rest_n = bytes_n - taken_n < TCP_PENDING_MAX ? bytes_n - taken_n : TCP_PENDING_MAX;
	if (!tcp->pending && !(tcp->pending = malloc(TCP_PENDING_MAX)))
		rest_n = 0;
	if (rest_n) {
		memcpy(tcp->pending, bytes + taken_n, rest_n);
		buffer = uv_buf_init(tcp->pending, (unsigned)rest_n);
		tcp->is_writing =
			!uv_write(&tcp->write, (uv_stream_t *)&tcp->handle, &buffer, 1, on_written);
		taken_n += tcp->is_writing ? rest_n : 0;
	}
	tcp->wants_room = taken_n < bytes_n;
	return taken_n;
}

static void tcp_consumed(struct stream *stream, size_t bytes_n)
{
	struct tcp_stream *tcp = (struct tcp_stream *)stream;

	CHECK(bytes_n <= tcp->unconsumed_n);
	tcp->unconsumed_n -= bytes_n;
	if (!tcp->is_reading && tcp->unconsumed_n < STREAM_WINDOW) {
		uv_read_start((uv_stream_t *)&tcp->handle, on_alloc, on_read);
		tcp->is_reading = true;
	}
}

static void on_shutdown(uv_shutdown_t *shutdown, int status)
{
	(void)status;
	handle_close(shutdown->handle->data);
}

static void tcp_close(struct stream *stream, bool abort)
{
	struct tcp_stream *tcp = (struct tcp_stream *)stream;

	tcp->is_closed = true;
	uv_read_stop((uv_stream_t *)&tcp->handle);
	if (abort) {
		if (uv_tcp_close_reset(&tcp->handle, handle_closed))
			handle_close(tcp);
	} else if (uv_shutdown(&tcp->shutdown, (uv_stream_t *)&tcp->handle, on_shutdown)) {
		handle_close(tcp);
	}
}

static const struct stream_ops ops = {tcp_write, tcp_consumed, tcp_close};

static void on_connection(uv_stream_t *server, int status)
{
	struct tcp_listener *listener = server->data;
	struct tcp_stream *tcp;

	if (status < 0 || !(tcp = calloc(1, sizeof(*tcp))))
		return;
	tcp->stream.ops = &ops;
	tcp->handle.data = tcp;
	uv_tcp_init(server->loop, &tcp->handle);
	tcp->handle.data = tcp;
	if (uv_accept(server, (uv_stream_t *)&tcp->handle) ||
	    !listener->accept(listener->context, &tcp->stream)) {
		handle_close(tcp);
		return;
	}
	uv_tcp_nodelay(&tcp->handle, 1);
	tcp->is_reading = true;
	uv_read_start((uv_stream_t *)&tcp->handle, on_alloc, on_read);
}

static int address_parse(const char *text, struct sockaddr_storage *out)
{
	const char *colon = strrchr(text, ':');
	char host[64];
	int host_n, port;

	if (!colon)
		return -1;
	port = atoi(colon + 1);
	host_n = (int)(colon - text);
	if (host_n > 2 && text[0] == '[') {
		text++;
		host_n -= 2;
	}
	if (host_n >= (int)sizeof(host))
		return -1;
	snprintf(host, sizeof(host), "%.*s", host_n, text);
	if (!uv_ip4_addr(host, port, (struct sockaddr_in *)out))
		return 0;
	return uv_ip6_addr(host, port, (struct sockaddr_in6 *)out);
}

int tcp_listen(struct tcp_listener *listener, uv_loop_t *loop, const char *address,
	       stream_accept_fn *accept, void *context, uint16_t *out_port, struct err *err)
{
	struct sockaddr_storage at = {0};
	int at_n = sizeof(at), status;

	if (address_parse(address, &at))
		return err_set(err, "%s: not an address with a port", address);
	uv_tcp_init(loop, &listener->handle);
	listener->handle.data = listener;
	listener->accept = accept;
	listener->context = context;
	status = uv_tcp_bind(&listener->handle, (struct sockaddr *)&at, 0);
	if (!status)
		status = uv_listen((uv_stream_t *)&listener->handle, TCP_BACKLOG, on_connection);
	if (!status)
		status = uv_tcp_getsockname(&listener->handle, (struct sockaddr *)&at, &at_n);
	if (status) {
		tcp_listener_close(listener);
		return err_set(err, "listen on %s: %s", address, uv_strerror(status));
	}
	*out_port = ntohs(((struct sockaddr_in *)&at)->sin_port);
	return 0;
}

void tcp_listener_close(struct tcp_listener *listener)
{
	if (!uv_is_closing((uv_handle_t *)&listener->handle))
		uv_close((uv_handle_t *)&listener->handle, NULL);
}
