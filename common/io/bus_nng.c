/*
 * The bus on NNG's own sockets, driven through their descriptors.  For tls+tcp://, which NNG brings
 * with it.
 *
 * On the connection NNG speaks its WebSocket mapping (wss), because that of plain TCP and TLS has a
 * race in Debian's 1.5.2: a peer that breaks off while it is being answered can stop the one thread
 * that cleans up after connections, for good.  The WebSocket mapping does so very rarely, but
 * forgets to free messages that such a peer did not take.  Hence bus_sp.c for everything that does
 * not need TLS.
 */
#include "common/io/bus_mapping.h"

#include "common/base/check.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/tls/tls.h>
#include <nng/transport/ws/websocket.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	URL_MAX = 300,
	UNSENT_MAX = 256,      /* messages waiting until NNG takes them */
	RECEIVED_AT_ONCE = 64, /* callbacks in a row before the loop turns */
	QUEUE_MAX = 128,       /* messages within NNG, each way */
	/*
	 * The header of a raw message: for REQ the request id; for REP the pipe's id in front of
	 * it.  More would be a path through intermediaries, which we have none of.
	 */
	REQUEST_HEADER_N = 4,
	REPLY_HEADER_N = 8,
};

struct bus_nng {
	struct bus *bus;
	nng_socket socket;
	uv_poll_t receive, send;
	uv_async_t link;
	int open_handles_n;
	atomic_uint links_made, links_lost; /* connections so far; counted on NNG's threads */
	unsigned int links_told;
	bool is_up;
	nng_msg *unsent[UNSENT_MAX]; /* a ring */
	size_t unsent_first, unsent_n;
};

/* ---- receiving ---- */

static void deliver(struct bus *bus, nng_msg *message)
{
	size_t wanted_n = bus->is_listening ? REPLY_HEADER_N : REQUEST_HEADER_N;
	const uint8_t *header = nng_msg_header(message);
	uint64_t token = 0;

	if (nng_msg_header_len(message) != wanted_n)
		return;
	for (size_t i = 0; i < wanted_n; i++)
		token = token << 8 | header[i];
	if (!bus->is_listening)
		token &= ~(uint64_t)BUS_REQUEST_BIT;
	bus->callbacks.on_message(bus, token, nng_msg_body(message), nng_msg_len(message));
}

static void on_receive(uv_poll_t *poll, int status, int events)
{
	struct bus_nng *nng = poll->data;
	nng_msg *message;

	(void)status;
	(void)events;
	/* What is left keeps the descriptor readable, so that the loop comes back here. */
	for (int i = 0; i < RECEIVED_AT_ONCE && !nng->bus->is_closing; i++) {
		if (nng_recvmsg(nng->socket, &message, NNG_FLAG_NONBLOCK))
			return;
		deliver(nng->bus, message);
		nng_msg_free(message);
	}
}

/* ---- sending ---- */

/* True if NNG took it, or it is lost for another reason than being early. */
static bool try_send(struct bus_nng *nng, nng_msg *message)
{
	int ret = nng_sendmsg(nng->socket, message, NNG_FLAG_NONBLOCK);

	if (ret == NNG_EAGAIN)
		return false;
	if (ret) {
		nng_msg_free(message);
		nng->bus->dropped_n++;
	}
	return true;
}

static void on_send_ready(uv_poll_t *poll, int status, int events)
{
	struct bus_nng *nng = poll->data;

	(void)status;
	(void)events;
	while (nng->unsent_n) {
		if (!try_send(nng, nng->unsent[nng->unsent_first]))
			return;
		nng->unsent_first = (nng->unsent_first + 1) % UNSENT_MAX;
		nng->unsent_n--;
	}
	uv_poll_stop(poll);
}

static nng_msg *make_message(uint64_t header, size_t header_n, const uint8_t *body, size_t body_n)
{
	uint8_t bytes[REPLY_HEADER_N];
	nng_msg *message;

	for (size_t i = 0; i < header_n; i++)
		bytes[i] = (uint8_t)(header >> 8 * (header_n - 1 - i));
	if (nng_msg_alloc(&message, 0))
		return NULL;
	if (nng_msg_header_append(message, bytes, header_n) ||
	    nng_msg_append(message, body, body_n)) {
		nng_msg_free(message);
		return NULL;
	}
	return message;
}

static bool nng_mapping_send(struct bus *bus, uint64_t header, const uint8_t *body, size_t body_n)
{
	size_t header_n = bus->is_listening ? REPLY_HEADER_N : REQUEST_HEADER_N;
	struct bus_nng *nng = bus->state;
	nng_msg *message = NULL;

	if (nng->unsent_n < UNSENT_MAX)
		message = make_message(header, header_n, body, body_n);
	if (!message) {
		bus->dropped_n++;
		return false;
	}
	if (nng->unsent_n == 0 && try_send(nng, message))
		return true;
	nng->unsent[(nng->unsent_first + nng->unsent_n++) % UNSENT_MAX] = message;
	/* The descriptor tells by being readable that there is room. */
	uv_poll_start(&nng->send, UV_READABLE, on_send_ready);
	return true;
}

/* ---- connections ---- */

/* On one of NNG's threads: count, and let the loop tell. */
static void on_pipe(nng_pipe pipe, nng_pipe_ev event, void *any)
{
	struct bus_nng *nng = any;

	(void)pipe;
	atomic_fetch_add(event == NNG_PIPE_EV_ADD_POST ? &nng->links_made : &nng->links_lost, 1);
	uv_async_send(&nng->link);
}

static void on_link(uv_async_t *async)
{
	struct bus_nng *nng = async->data;
	unsigned int lost = atomic_load(&nng->links_lost), made = atomic_load(&nng->links_made);
	struct bus *bus = nng->bus;

	if (!bus || bus->is_closing || !bus->callbacks.on_link)
		return;
	/* Lost and made again before the loop came by is news too: a session may have ended with
	 * it. */
	if (nng->is_up && (made == lost || made != nng->links_told)) {
		nng->is_up = false;
		bus->callbacks.on_link(bus, false);
	}
	if (!bus->is_closing && !nng->is_up && made != lost) {
		nng->is_up = true;
		nng->links_told = made;
		bus->callbacks.on_link(bus, true);
	}
}

/* ---- opening and closing ---- */

static void on_handle_closed(uv_handle_t *handle)
{
	struct bus_nng *nng = handle->data;

	if (--nng->open_handles_n > 0)
		return;
	if (nng->bus)
		bus_mapping_closed(nng->bus);
	free(nng);
}

/* A loop has its descriptors from the start; adding ours to it fails for want of memory only. */
static void open_handles(struct bus_nng *nng, uv_loop_t *loop)
{
	int receive_fd, send_fd;

	CHECK(nng_socket_get_int(nng->socket, NNG_OPT_RECVFD, &receive_fd) == 0);
	CHECK(nng_socket_get_int(nng->socket, NNG_OPT_SENDFD, &send_fd) == 0);
	CHECK(uv_async_init(loop, &nng->link, on_link) == 0);
	CHECK(uv_poll_init(loop, &nng->receive, receive_fd) == 0);
	CHECK(uv_poll_init(loop, &nng->send, send_fd) == 0);
	CHECK(uv_poll_start(&nng->receive, UV_READABLE, on_receive) == 0);
	nng->link.data = nng->receive.data = nng->send.data = nng;
	nng->open_handles_n = 3;
}

/*
 * The address as NNG's WebSocket mapping wants it.  A listener on a certain host answers only to
 * those who ask for that host; on * it answers to all.
 */
static int make_url(const struct bus *bus, const char *address, char out[URL_MAX])
{
	const char *any = "";
	int n;

	if (bus->is_listening &&
	    (strncmp(address, "0.0.0.0:", 8) == 0 || strncmp(address, "[::]:", 5) == 0)) {
		any = "*";
		address = strrchr(address, ':');
	}
	n = snprintf(out, URL_MAX, "wss://%s%s/bus", any, address);
	return n < 0 || n >= URL_MAX ? NNG_EADDRINVAL : 0;
}

/* All that must be set before anything connects.  These return NNG's numbers. */
static int set_options(struct bus_nng *nng, size_t message_max)
{
	int ret;

	/* Without buffers a raw socket takes a message only when a peer waits for one. */
	if ((ret = nng_socket_set_int(nng->socket, NNG_OPT_SENDBUF, QUEUE_MAX)) ||
	    (ret = nng_socket_set_int(nng->socket, NNG_OPT_RECVBUF, QUEUE_MAX)) ||
	    (ret = nng_socket_set_size(nng->socket, NNG_OPT_RECVMAXSZ, message_max)) ||
	    (ret = nng_socket_set_ms(nng->socket, NNG_OPT_RECONNMINT, BUS_RECONNECT_MIN_MS)) ||
	    (ret = nng_socket_set_ms(nng->socket, NNG_OPT_RECONNMAXT, BUS_RECONNECT_MAX_MS)) ||
	    (ret = nng_pipe_notify(nng->socket, NNG_PIPE_EV_ADD_POST, on_pipe, nng)) ||
	    (ret = nng_pipe_notify(nng->socket, NNG_PIPE_EV_REM_POST, on_pipe, nng)))
		return ret;
	return 0;
}

static int start_listening(struct bus_nng *nng, const char *url, const struct bus_options *options,
			   size_t message_max)
{
	nng_listener listener;
	int ret, port = 0;

	if ((ret = nng_listener_create(&listener, nng->socket, url)) ||
	    (ret = nng_listener_set_size(listener, NNG_OPT_WS_RECVMAXFRAME, message_max)) ||
	    (options->tls_cert_key_file &&
	     (ret = nng_listener_set_string(listener, NNG_OPT_TLS_CERT_KEY_FILE,
					    options->tls_cert_key_file))) ||
	    (ret = nng_listener_start(listener, 0)) ||
	    (ret = nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port)))
		return ret;
	nng->bus->port = (uint16_t)port;
	return 0;
}

static int start_dialling(struct bus_nng *nng, const char *url, const struct bus_options *options,
			  size_t message_max)
{
	nng_dialer dialer;
	int ret;

	if ((ret = nng_dialer_create(&dialer, nng->socket, url)) ||
	    (ret = nng_dialer_set_size(dialer, NNG_OPT_WS_RECVMAXFRAME, message_max)) ||
	    (options->tls_ca_file &&
	     (ret = nng_dialer_set_string(dialer, NNG_OPT_TLS_CA_FILE, options->tls_ca_file))))
		return ret;
	return nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
}

static void close_handles(struct bus_nng *nng)
{
	/* The descriptors leave the loop before NNG closes them, and the loop is told of pipes
	 * until NNG has closed the last. */
	uv_close((uv_handle_t *)&nng->receive, on_handle_closed);
	uv_close((uv_handle_t *)&nng->send, on_handle_closed);
	nng_close(nng->socket);
	uv_close((uv_handle_t *)&nng->link, on_handle_closed);
	for (; nng->unsent_n; nng->unsent_n--)
		nng_msg_free(nng->unsent[(nng->unsent_first + nng->unsent_n - 1) % UNSENT_MAX]);
}

static int nng_mapping_open(struct bus *bus, uv_loop_t *loop, const char *address,
			    const struct bus_options *options, struct err *err)
{
	size_t message_max = options->message_max + REPLY_HEADER_N;
	struct bus_nng *nng = calloc(1, sizeof(*nng));
	char url[URL_MAX];
	int ret;

	CHECK(nng);
	nng->bus = bus;
	if ((ret = make_url(bus, address, url)) ||
	    (ret = bus->is_listening ? nng_rep0_open_raw(&nng->socket)
				     : nng_req0_open_raw(&nng->socket))) {
		free(nng);
		return err_set(err, "%s", nng_strerror(ret));
	}
	open_handles(nng, loop);
	if ((ret = set_options(nng, message_max)) ||
	    (ret = (bus->is_listening ? start_listening : start_dialling)(nng, url, options,
									  message_max))) {
		nng->bus = NULL; /* its storage is free at once */
		close_handles(nng);
		return err_set(err, "%s", nng_strerror(ret));
	}
	bus->state = nng;
	return 0;
}

static void nng_mapping_close(struct bus *bus)
{
	close_handles(bus->state);
}

const struct bus_mapping bus_mapping_nng = {"tls+tcp://", nng_mapping_open, nng_mapping_send,
					    nng_mapping_close};
