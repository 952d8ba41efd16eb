/*
 * The bus on NNG's TCP mapping, on libuv.
 *
 * Why not NNG's own sockets: see bus_nng.c.  Besides that race they cost a dozen threads, and each
 * message crosses two of them each way.  The mapping itself is small: a greeting, then messages
 * with their lengths (sp_stream.h).  The tests hold it against NNG's sockets at either end.
 *
 * A peer is not trusted before the envelope has proved it: connections are bounded in number, in
 * what they have half said and for how long, and in what waits for them unread.
 */
#include "common/io/bus_mapping.h"

#include "common/base/check.h"
#include "common/base/list.h"
#include "common/base/pool.h"
#include "common/io/address.h"
#include "common/io/sp_stream.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	CONNECTIONS_MAX = 1 << 14, /* a scheduler's; who dials has one */
	BACKLOG = 1024,
	REQUEST_N = 4,              /* a request's id in front of its body */
	READ_MAX = 64 << 10,        /* bytes read at once */
	UNSENT_BYTES_MAX = 4 << 20, /* a peer that lets so much wait is disconnected */
	SWEEP_MS = 1000,            /* how often the next is looked at */
	GREETING_MS = 10000,        /* to connect and greet */
	MESSAGE_MS = 30000,         /* from a message's first byte to its last */
	KEEPALIVE_S = 15,
};

struct connection {
	struct bus_sp *sp;
	uv_tcp_t tcp;
	uv_connect_t connect;
	uint32_t slot;
	bool is_greeted, is_closing;
	uint64_t since_ms; /* it exists, or its unfinished message began; 0: nothing is due */
	struct sp_stream stream;
};

struct bus_sp {
	struct bus *bus; /* NULL: it never opened */
	uv_loop_t *loop;
	int open_handles_n; /* and a lookup under way */
	bool is_closing;
	size_t message_max;
	struct pool pool;
	void *pool_memory;
	struct connection **connections; /* by slot */
	uint8_t *input;                  /* READ_MAX bytes, for all: each read is used up at once */
	uv_timer_t sweep;
	uv_tcp_t listener; /* listening */
	struct address address;
	uv_timer_t redial; /* dialling, as all below */
	uv_getaddrinfo_t lookup;
	uint64_t redial_ms;
	bool is_up;
};

static void redial_later(struct bus_sp *sp);

/* ---- life of a connection ---- */

static void free_when_closed(struct bus_sp *sp)
{
	if (--sp->open_handles_n > 0)
		return;
	free(sp->pool_memory);
	free(sp->connections);
	free(sp->input);
	if (sp->bus)
		bus_mapping_closed(sp->bus);
	free(sp);
}

static void on_handle_closed(uv_handle_t *handle)
{
	free_when_closed(handle->data);
}

static void on_connection_closed(uv_handle_t *handle)
{
	struct connection *connection = handle->data;
	struct bus_sp *sp = connection->sp;

	/* Not earlier: whoever is given its message may be the one that closes it. */
	sp_stream_close(&connection->stream);
	free(connection);
	free_when_closed(sp);
}

static void close_connection(struct connection *connection)
{
	struct bus_sp *sp = connection->sp;

	if (connection->is_closing)
		return;
	connection->is_closing = true;
	sp->connections[connection->slot] = NULL;
	pool_give(&sp->pool, connection->slot);
	uv_close((uv_handle_t *)&connection->tcp, on_connection_closed);
	if (connection->is_greeted && sp->bus)
		sp->bus->connections_n--;
	if (sp->is_closing || sp->bus->is_listening)
		return;
	redial_later(sp);
	if (sp->is_up) {
		sp->is_up = false;
		if (sp->bus->callbacks.on_link)
			sp->bus->callbacks.on_link(sp->bus, false);
	}
}

/* NULL: there are as many as there may be. */
static struct connection *make_connection(struct bus_sp *sp)
{
	uint32_t slot = pool_take(&sp->pool);
	struct connection *connection;

	if (slot == POOL_NONE)
		return NULL;
	connection = calloc(1, sizeof(*connection));
	CHECK(connection && uv_tcp_init(sp->loop, &connection->tcp) == 0);
	connection->sp = sp;
	connection->slot = slot;
	connection->tcp.data = connection;
	connection->since_ms = uv_now(sp->loop);
	sp_stream_init(&connection->stream, sp->bus->is_listening ? SP_REQ : SP_REP,
		       sp->message_max + REQUEST_N);
	sp->connections[slot] = connection;
	sp->open_handles_n++;
	return connection;
}

/* ---- tokens: generation (18 bits), slot (14), the request's id as sent (32) ---- */

_Static_assert(CONNECTIONS_MAX == 1 << 14, "a slot has 14 bits");

static uint64_t make_token(const struct connection *connection, uint32_t request)
{
	uint64_t generation = pool_handle(&connection->sp->pool, connection->slot).generation;

	return generation << 46 | (uint64_t)connection->slot << 32 | request;
}

static struct connection *find_connection(const struct bus_sp *sp, uint64_t header)
{
	uint32_t slot = sp->bus->is_listening ? (uint32_t)(header >> 32) % CONNECTIONS_MAX : 0;
	struct connection *connection = sp->connections[slot];

	if (!connection || !connection->is_greeted)
		return NULL;
	if (sp->bus->is_listening && make_token(connection, (uint32_t)header) != header)
		return NULL; /* another one lives there now */
	return connection;
}

/* ---- sending ---- */

struct sent {
	uv_write_t request;
	size_t n;
	uint8_t bytes[];
};

static void on_written(uv_write_t *request, int status)
{
	struct connection *connection = request->handle->data;

	free(LIST_OBJECT(request, struct sent, request));
	if (status)
		close_connection(connection);
}

/* Writes what fits at once, and keeps a copy of the rest. */
static void write_bytes(struct connection *connection, struct sent *sent)
{
	uv_stream_t *stream = (uv_stream_t *)&connection->tcp;
	uv_buf_t buffer = {(char *)sent->bytes, sent->n};
	int written = uv_try_write(stream, &buffer, 1);

	if (written == (int)sent->n) {
		free(sent);
		return;
	}
	if (written > 0) {
		buffer.base += written;
		buffer.len -= (size_t)written;
	}
	if ((written < 0 && written != UV_EAGAIN) ||
	    uv_write(&sent->request, stream, &buffer, 1, on_written)) {
		free(sent);
		close_connection(connection);
	}
}

static struct sent *make_sent(size_t n)
{
	struct sent *sent = malloc(sizeof(*sent) + n);

	CHECK(sent);
	sent->n = n;
	return sent;
}

static void send_greeting(struct connection *connection)
{
	struct sent *sent = make_sent(SP_HEAD_N);

	sp_greeting(connection->sp->bus->is_listening ? SP_REP : SP_REQ, sent->bytes);
	write_bytes(connection, sent);
}

static bool sp_mapping_send(struct bus *bus, uint64_t header, const uint8_t *body, size_t body_n)
{
	struct bus_sp *sp = bus->state;
	struct connection *connection = find_connection(sp, header);
	size_t waiting_n;
	struct sent *sent;

	if (!connection)
		return false;
	waiting_n = uv_stream_get_write_queue_size((uv_stream_t *)&connection->tcp);
	if (waiting_n > UNSENT_BYTES_MAX) {
		bus->dropped_n++;
		close_connection(connection);
		return false;
	}
	sent = make_sent(SP_HEAD_N + REQUEST_N + body_n);
	sp_length(REQUEST_N + body_n, sent->bytes);
	for (int i = 0; i < REQUEST_N; i++)
		sent->bytes[SP_HEAD_N + i] = (uint8_t)(header >> (24 - 8 * i));
	memcpy(sent->bytes + SP_HEAD_N + REQUEST_N, body, body_n);
	write_bytes(connection, sent);
	return true;
}

/* ---- receiving ---- */

static void greeted(struct connection *connection)
{
	struct bus_sp *sp = connection->sp;
	struct bus *bus = sp->bus;

	connection->is_greeted = true;
	bus->connections_n++;
	if (bus->is_listening)
		return;
	sp->redial_ms = BUS_RECONNECT_MIN_MS;
	sp->is_up = true;
	if (bus->callbacks.on_link)
		bus->callbacks.on_link(bus, true);
}

/* False: no peer of ours would say so. */
static bool deliver(struct connection *connection, const uint8_t *message, size_t n)
{
	struct bus *bus = connection->sp->bus;
	uint32_t request = 0;

	if (n < REQUEST_N)
		return false;
	for (int i = 0; i < REQUEST_N; i++)
		request = request << 8 | message[i];
	if (!(request & BUS_REQUEST_BIT))
		return false; /* through intermediaries, which we do not have */
	bus->callbacks.on_message(bus,
				  bus->is_listening ? make_token(connection, request)
						    : request & ~BUS_REQUEST_BIT,
				  message + REQUEST_N, n - REQUEST_N);
	return true;
}

static void take_input(struct connection *connection, const uint8_t *data, size_t n)
{
	const uint8_t *message;
	size_t message_n;

	/* Any callback may close this connection, or the whole bus. */
	while (!connection->is_closing) {
		switch (sp_stream_next(&connection->stream, &data, &n, &message, &message_n)) {
		case SP_NEED_MORE:
			if (connection->stream.phase == SP_IN_MESSAGE && !connection->since_ms)
				connection->since_ms = uv_now(connection->sp->loop);
			return;
		case SP_GREETED:
			connection->since_ms = 0;
			greeted(connection);
			break;
		case SP_MESSAGE:
			connection->since_ms = 0;
			if (deliver(connection, message, message_n))
				break;
			close_connection(connection);
			return;
		case SP_BROKEN:
			close_connection(connection);
			return;
		}
	}
}

static void on_room_wanted(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct connection *connection = handle->data;

	(void)suggested;
	*out = uv_buf_init((char *)connection->sp->input, READ_MAX);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct connection *connection = stream->data;

	if (n < 0)
		close_connection(connection);
	else if (n > 0)
		take_input(connection, (const uint8_t *)buffer->base, (size_t)n);
}

static void start_connection(struct connection *connection)
{
	uv_tcp_nodelay(&connection->tcp, 1);
	uv_tcp_keepalive(&connection->tcp, 1, KEEPALIVE_S);
	if (uv_read_start((uv_stream_t *)&connection->tcp, on_room_wanted, on_read)) {
		close_connection(connection);
		return;
	}
	send_greeting(connection);
}

/* ---- listening ---- */

static void on_turned_away(uv_handle_t *handle)
{
	struct bus_sp *sp = handle->data;

	free(handle);
	free_when_closed(sp);
}

/* One too many: it must be taken before it can be let go. */
static void turn_away(struct bus_sp *sp, uv_stream_t *listener)
{
	uv_tcp_t *tcp = malloc(sizeof(*tcp));

	CHECK(tcp && uv_tcp_init(sp->loop, tcp) == 0);
	tcp->data = sp;
	sp->open_handles_n++;
	uv_accept(listener, (uv_stream_t *)tcp);
	uv_close((uv_handle_t *)tcp, on_turned_away);
}

static void on_incoming(uv_stream_t *listener, int status)
{
	struct bus_sp *sp = listener->data;
	struct connection *connection;

	if (status)
		return;
	connection = make_connection(sp);
	if (!connection)
		turn_away(sp, listener);
	else if (uv_accept(listener, (uv_stream_t *)&connection->tcp))
		close_connection(connection);
	else
		start_connection(connection);
}

static int start_listening(struct bus_sp *sp)
{
	struct sockaddr_storage at;
	int at_n = sizeof(at), ret;

	if (!address_to_sockaddr(&sp->address, &at))
		return UV_EADDRNOTAVAIL;
	if ((ret = uv_tcp_bind(&sp->listener, (struct sockaddr *)&at, 0)) ||
	    (ret = uv_listen((uv_stream_t *)&sp->listener, BACKLOG, on_incoming)) ||
	    (ret = uv_tcp_getsockname(&sp->listener, (struct sockaddr *)&at, &at_n)))
		return ret;
	address_from_sockaddr((struct sockaddr *)&at, &sp->address);
	sp->bus->port = sp->address.port;
	return 0;
}

/* ---- dialling ---- */

static void on_connect(uv_connect_t *connect, int status)
{
	struct connection *connection = connect->handle->data;

	if (connection->is_closing)
		return;
	if (status)
		close_connection(connection);
	else
		start_connection(connection);
}

static void connect_to(struct bus_sp *sp, const struct sockaddr *to)
{
	struct connection *connection = make_connection(sp);

	CHECK(connection && connection->slot == 0);
	if (uv_tcp_connect(&connection->connect, &connection->tcp, to, on_connect))
		close_connection(connection);
}

static void on_lookup(uv_getaddrinfo_t *lookup, int status, struct addrinfo *found)
{
	struct bus_sp *sp = lookup->data;

	if (!sp->is_closing) {
		if (status == 0 && found)
			connect_to(sp, found->ai_addr);
		else
			redial_later(sp);
	}
	uv_freeaddrinfo(found);
	free_when_closed(sp);
}

static void dial(struct bus_sp *sp)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct sockaddr_storage to;
	char port[8];

	if (address_to_sockaddr(&sp->address, &to)) {
		connect_to(sp, (struct sockaddr *)&to);
		return;
	}
	snprintf(port, sizeof(port), "%u", sp->address.port);
	sp->lookup.data = sp;
	if (uv_getaddrinfo(sp->loop, &sp->lookup, on_lookup, sp->address.host, port, &hints))
		redial_later(sp);
	else
		sp->open_handles_n++;
}

static void on_redial(uv_timer_t *timer)
{
	dial(timer->data);
}

/* Between half and all of the time, so that a fleet does not come back in one moment. */
static void redial_later(struct bus_sp *sp)
{
	uint64_t wait_ms = sp->redial_ms / 2 + uv_hrtime() / 1000 % (sp->redial_ms / 2 + 1);

	uv_timer_start(&sp->redial, on_redial, wait_ms, 0);
	sp->redial_ms *= 2;
	if (sp->redial_ms > BUS_RECONNECT_MAX_MS)
		sp->redial_ms = BUS_RECONNECT_MAX_MS;
}

/* ---- opening and closing ---- */

/* Ends those who do not finish what they began. */
static void on_sweep(uv_timer_t *timer)
{
	struct bus_sp *sp = timer->data;
	uint64_t now_ms = uv_now(sp->loop);
	uint32_t slot = pool_next(&sp->pool, 0);

	for (; slot != POOL_NONE; slot = pool_next(&sp->pool, slot + 1)) {
		struct connection *connection = sp->connections[slot];
		uint64_t limit_ms = connection->is_greeted ? MESSAGE_MS : GREETING_MS;

		if (connection->since_ms && now_ms - connection->since_ms > limit_ms)
			close_connection(connection);
	}
}

static void close_all(struct bus_sp *sp)
{
	uint32_t slot = pool_next(&sp->pool, 0);

	sp->is_closing = true;
	for (; slot != POOL_NONE; slot = pool_next(&sp->pool, slot + 1))
		close_connection(sp->connections[slot]);
	uv_cancel((uv_req_t *)&sp->lookup);
	uv_close((uv_handle_t *)&sp->sweep, on_handle_closed);
	uv_close((uv_handle_t *)&sp->listener, on_handle_closed);
	uv_close((uv_handle_t *)&sp->redial, on_handle_closed);
}

static int sp_mapping_open(struct bus *bus, uv_loop_t *loop, const char *address,
			   const struct bus_options *options, struct err *err)
{
	uint32_t connections_max = bus->is_listening ? CONNECTIONS_MAX : 1;
	struct bus_sp *sp = calloc(1, sizeof(*sp));
	int ret = 0;

	CHECK(sp);
	/* A peer that is gone is an error of its write, and no signal to the program. */
	signal(SIGPIPE, SIG_IGN);
	*sp = (struct bus_sp){.bus = bus,
			      .loop = loop,
			      .message_max = options->message_max,
			      .redial_ms = BUS_RECONNECT_MIN_MS,
			      .open_handles_n = 3};
	if (!address_parse(address, &sp->address)) {
		free(sp);
		return err_set(err, "not an address");
	}
	sp->pool_memory = calloc(1, pool_bytes(connections_max));
	sp->connections = calloc(connections_max, sizeof(struct connection *));
	sp->input = malloc(READ_MAX);
	CHECK(sp->pool_memory && sp->connections && sp->input);
	pool_init(&sp->pool, sp->pool_memory, connections_max);
	CHECK(uv_timer_init(loop, &sp->sweep) == 0 && uv_timer_init(loop, &sp->redial) == 0 &&
	      uv_tcp_init(loop, &sp->listener) == 0);
	sp->sweep.data = sp->redial.data = sp->listener.data = sp;
	if (bus->is_listening && (ret = start_listening(sp))) {
		sp->bus = NULL; /* its storage is free at once */
		close_all(sp);
		return err_set(err, "%s", uv_strerror(ret));
	}
	uv_timer_start(&sp->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
	if (!bus->is_listening)
		uv_timer_start(&sp->redial, on_redial, 0, 0);
	bus->state = sp;
	return 0;
}

static void sp_mapping_close(struct bus *bus)
{
	close_all(bus->state);
}

const struct bus_mapping bus_mapping_sp = {"tcp://", sp_mapping_open, sp_mapping_send,
					   sp_mapping_close};
