/* NNG's raw sockets on libuv; see bus.h. */
#include "common/io/bus.h"

#include "common/base/check.h"

#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/tls/tls.h>
#include <nng/transport/ws/websocket.h>
#include <stdio.h>
#include <string.h>

/*
 * The header of a raw message: for REQ the request id, whose highest bit is set; for REP the pipe's
 * id in front of it.  More would be a path through intermediaries, which we have none of.
 */
enum { REQUEST_HEADER_N = 4, REPLY_HEADER_N = 8 };

#define REQUEST_BIT 0x80000000u

static int nng_fault(struct err *err, int number, const char *what, const char *about)
{
	return err_set(err, "bus: %s %s: %s", what, about, nng_strerror(number));
}

/* ---- receiving ---- */

static uint64_t header_number(const uint8_t *header, size_t n)
{
	uint64_t number = 0;

	for (size_t i = 0; i < n; i++)
		number = number << 8 | header[i];
	return number;
}

static void deliver(struct bus *bus, nng_msg *message)
{
	size_t wanted_n = bus->is_listening ? REPLY_HEADER_N : REQUEST_HEADER_N;
	uint64_t token;

	if (nng_msg_header_len(message) != wanted_n)
		return;
	token = header_number(nng_msg_header(message), wanted_n);
	if (!bus->is_listening)
		token &= ~(uint64_t)REQUEST_BIT;
	bus->callbacks.on_message(bus, token, nng_msg_body(message), nng_msg_len(message));
}

static void on_receive(uv_poll_t *poll, int status, int events)
{
	struct bus *bus = poll->data;
	nng_msg *message;

	(void)status;
	(void)events;
	/* What is left keeps the descriptor readable, so that the loop comes back here. */
	for (int i = 0; i < BUS_RECEIVED_AT_ONCE && !bus->is_closing; i++) {
		if (nng_recvmsg(bus->socket, &message, NNG_FLAG_NONBLOCK))
			return;
		deliver(bus, message);
		nng_msg_free(message);
	}
}

/* ---- sending ---- */

/* True if NNG took it, or it is lost for another reason than being early. */
static bool try_send(struct bus *bus, nng_msg *message)
{
	int ret = nng_sendmsg(bus->socket, message, NNG_FLAG_NONBLOCK);

	if (ret == NNG_EAGAIN)
		return false;
	if (ret) {
		nng_msg_free(message);
		bus->dropped_n++;
	}
	return true;
}

static void on_send_ready(uv_poll_t *poll, int status, int events)
{
	struct bus *bus = poll->data;

	(void)status;
	(void)events;
	while (bus->unsent_n) {
		if (!try_send(bus, bus->unsent[bus->unsent_first]))
			return;
		bus->unsent_first = (bus->unsent_first + 1) % BUS_UNSENT_MAX;
		bus->unsent_n--;
	}
	uv_poll_stop(poll);
}

static bool send_message(struct bus *bus, uint64_t header, size_t header_n, const uint8_t *body,
			 size_t body_n)
{
	uint8_t bytes[REPLY_HEADER_N];
	nng_msg *message;

	if (bus->is_closing)
		return false;
	for (size_t i = 0; i < header_n; i++)
		bytes[i] = (uint8_t)(header >> 8 * (header_n - 1 - i));
	if (bus->unsent_n == BUS_UNSENT_MAX || nng_msg_alloc(&message, 0)) {
		bus->dropped_n++;
		return false;
	}
	if (nng_msg_header_append(message, bytes, header_n) ||
	    nng_msg_append(message, body, body_n)) {
		nng_msg_free(message);
		bus->dropped_n++;
		return false;
	}
	if (bus->unsent_n == 0 && try_send(bus, message))
		return true;
	bus->unsent[(bus->unsent_first + bus->unsent_n++) % BUS_UNSENT_MAX] = message;
	/* The descriptor tells by being readable that there is room. */
	uv_poll_start(&bus->send, UV_READABLE, on_send_ready);
	return true;
}

bool bus_reply(struct bus *bus, uint64_t token, const uint8_t *body, size_t body_n)
{
	CHECK(bus->is_listening);
	return send_message(bus, token, REPLY_HEADER_N, body, body_n);
}

bool bus_send(struct bus *bus, uint32_t id, const uint8_t *body, size_t body_n)
{
	CHECK(!bus->is_listening && id > 0 && id < REQUEST_BIT);
	return send_message(bus, id | REQUEST_BIT, REQUEST_HEADER_N, body, body_n);
}

/* ---- connections ---- */

/* On one of NNG's threads: count, and let the loop tell those who want to know. */
static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *any)
{
	struct bus *bus = any;

	(void)pipe;
	atomic_fetch_add(event == NNG_PIPE_EV_ADD_POST ? &bus->links_made : &bus->links_lost, 1);
	if (!bus->is_listening)
		uv_async_send(&bus->link);
}

static void on_link(uv_async_t *async)
{
	struct bus *bus = async->data;
	unsigned int lost = atomic_load(&bus->links_lost), made = atomic_load(&bus->links_made);

	if (bus->is_closing || !bus->callbacks.on_link)
		return;
	/* Lost and made again before the loop came by is news too: a session may have ended with
	 * it. */
	if (bus->is_up && (made == lost || made != bus->links_told)) {
		bus->is_up = false;
		bus->callbacks.on_link(bus, false);
	}
	if (!bus->is_closing && !bus->is_up && made != lost) {
		bus->is_up = true;
		bus->links_told = made;
		bus->callbacks.on_link(bus, true);
	}
}

/* ---- opening and closing ---- */

static void on_handle_closed(uv_handle_t *handle)
{
	struct bus *bus = handle->data;

	if (--bus->open_handles_n == 0 && bus->callbacks.on_closed)
		bus->callbacks.on_closed(bus);
}

/* A loop has its descriptors from the start; adding ours to it fails for want of memory only. */
static void open_handles(struct bus *bus, uv_loop_t *loop)
{
	int receive_fd, send_fd;

	CHECK(nng_socket_get_int(bus->socket, NNG_OPT_RECVFD, &receive_fd) == 0);
	CHECK(nng_socket_get_int(bus->socket, NNG_OPT_SENDFD, &send_fd) == 0);
	CHECK(uv_async_init(loop, &bus->link, on_link) == 0);
	CHECK(uv_poll_init(loop, &bus->receive, receive_fd) == 0);
	CHECK(uv_poll_init(loop, &bus->send, send_fd) == 0);
	CHECK(uv_poll_start(&bus->receive, UV_READABLE, on_receive) == 0);
	bus->link.data = bus->receive.data = bus->send.data = bus;
	bus->open_handles_n = 3;
}

static bool skip(const char **text, const char *prefix)
{
	size_t n = strlen(prefix);

	if (strncmp(*text, prefix, n) != 0)
		return false;
	*text += n;
	return true;
}

/*
 * The address as NNG's WebSocket mapping wants it.  A listener on a certain host answers only to
 * those who ask for that host; on * it answers to all.
 */
static int make_url(const struct bus *bus, const char *url, char out[BUS_URL_MAX], struct err *err)
{
	const char *at = url, *scheme, *any = "";
	int n;

	if (skip(&at, "tcp://"))
		scheme = "ws";
	else if (skip(&at, "tls+tcp://"))
		scheme = "wss";
	else
		return err_set(err, "bus: %s is neither tcp:// nor tls+tcp://", url);
	if (bus->is_listening && (skip(&at, "0.0.0.0:") || skip(&at, "[::]:")))
		any = "*:";
	n = snprintf(out, BUS_URL_MAX, "%s://%s%s/bus", scheme, any, at);
	if (n < 0 || n >= BUS_URL_MAX)
		return err_set(err, "bus: %s is too long", url);
	return 0;
}

/* Opens the socket, with all that must be set before anything connects; *out_url is for NNG. */
static int open_socket(struct bus *bus, const struct bus_options *options,
		       char out_url[BUS_URL_MAX], struct err *err)
{
	size_t message_max = options->message_max + REPLY_HEADER_N;
	int ret;

	if (make_url(bus, options->url, out_url, err))
		return -1;
	ret = bus->is_listening ? nng_rep0_open_raw(&bus->socket) : nng_req0_open_raw(&bus->socket);
	if (ret)
		return nng_fault(err, ret, "cannot open a socket for", options->url);
	/* Without buffers a raw socket takes a message only when a peer waits for one. */
	if ((ret = nng_socket_set_int(bus->socket, NNG_OPT_SENDBUF, BUS_QUEUE_MAX)) ||
	    (ret = nng_socket_set_int(bus->socket, NNG_OPT_RECVBUF, BUS_QUEUE_MAX)) ||
	    (ret = nng_socket_set_size(bus->socket, NNG_OPT_RECVMAXSZ, message_max)) ||
	    (ret = nng_socket_set_ms(bus->socket, NNG_OPT_RECONNMINT, BUS_RECONNECT_MIN_MS)) ||
	    (ret = nng_socket_set_ms(bus->socket, NNG_OPT_RECONNMAXT, BUS_RECONNECT_MAX_MS)) ||
	    (ret = nng_pipe_notify(bus->socket, NNG_PIPE_EV_ADD_POST, on_pipe, bus)) ||
	    (ret = nng_pipe_notify(bus->socket, NNG_PIPE_EV_REM_POST, on_pipe, bus))) {
		nng_close(bus->socket);
		return nng_fault(err, ret, "cannot set up", options->url);
	}
	return 0;
}

int bus_listen(struct bus *bus, uv_loop_t *loop, const struct bus_options *options,
	       const struct bus_callbacks *callbacks, struct err *err)
{
	size_t frame_max = options->message_max + REPLY_HEADER_N;
	char url[BUS_URL_MAX];
	nng_listener listener;
	int ret, port = 0;

	*bus = (struct bus){.is_listening = true, .callbacks = *callbacks, .user = callbacks->user};
	if (open_socket(bus, options, url, err))
		return -1;
	if ((ret = nng_listener_create(&listener, bus->socket, url)) ||
	    (ret = nng_listener_set_size(listener, NNG_OPT_WS_RECVMAXFRAME, frame_max)) ||
	    (options->tls_cert_key_file &&
	     (ret = nng_listener_set_string(listener, NNG_OPT_TLS_CERT_KEY_FILE,
					    options->tls_cert_key_file))) ||
	    (ret = nng_listener_start(listener, 0)) ||
	    (ret = nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port))) {
		nng_close(bus->socket);
		return nng_fault(err, ret, "cannot listen on", options->url);
	}
	bus->port = (uint16_t)port;
	open_handles(bus, loop);
	return 0;
}

int bus_dial(struct bus *bus, uv_loop_t *loop, const struct bus_options *options,
	     const struct bus_callbacks *callbacks, struct err *err)
{
	size_t frame_max = options->message_max + REPLY_HEADER_N;
	char url[BUS_URL_MAX];
	nng_dialer dialer;
	int ret;

	*bus = (struct bus){.callbacks = *callbacks, .user = callbacks->user};
	if (open_socket(bus, options, url, err))
		return -1;
	if ((ret = nng_dialer_create(&dialer, bus->socket, url)) ||
	    (ret = nng_dialer_set_size(dialer, NNG_OPT_WS_RECVMAXFRAME, frame_max)) ||
	    (options->tls_ca_file &&
	     (ret = nng_dialer_set_string(dialer, NNG_OPT_TLS_CA_FILE, options->tls_ca_file)))) {
		nng_close(bus->socket);
		return nng_fault(err, ret, "cannot dial", options->url);
	}
	/* From its start on it dials by itself, and the loop is told of connections. */
	open_handles(bus, loop);
	CHECK(nng_dialer_start(dialer, NNG_FLAG_NONBLOCK) == 0);
	return 0;
}

void bus_close(struct bus *bus)
{
	if (bus->is_closing)
		return;
	bus->is_closing = true;
	/* The descriptors leave the loop before NNG closes them, and the loop is told of pipes
	 * until NNG has closed the last. */
	uv_close((uv_handle_t *)&bus->receive, on_handle_closed);
	uv_close((uv_handle_t *)&bus->send, on_handle_closed);
	nng_close(bus->socket);
	uv_close((uv_handle_t *)&bus->link, on_handle_closed);
	for (; bus->unsent_n; bus->unsent_n--)
		nng_msg_free(bus->unsent[(bus->unsent_first + bus->unsent_n - 1) % BUS_UNSENT_MAX]);
}
