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
#include "common/io/bus_sp.h"

#include "common/base/check.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	BACKLOG = 1024,
	SWEEP_MS = 1000,     /* how often the next two are looked at */
	GREETING_MS = 10000, /* to connect and greet */
	MESSAGE_MS = 30000,  /* from a message's first byte to its last */
};

/* ---- handles ---- */

void sp_handle_closed(struct bus_sp *sp)
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
	sp_handle_closed(handle->data);
}

/* ---- listening ---- */

static void on_turned_away(uv_handle_t *handle)
{
	struct bus_sp *sp = handle->data;

	free(handle);
	sp_handle_closed(sp);
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
	struct sp_connection *connection;

	if (status)
		return;
	connection = sp_connection_make(sp);
	if (!connection)
		turn_away(sp, listener);
	else if (uv_accept(listener, (uv_stream_t *)&connection->tcp))
		sp_connection_close(connection);
	else
		sp_connection_start(connection);
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
	struct sp_connection *connection = connect->handle->data;

	if (connection->is_closing)
		return;
	if (status)
		sp_connection_close(connection);
	else
		sp_connection_start(connection);
}

static void connect_to(struct bus_sp *sp, const struct sockaddr *to)
{
	struct sp_connection *connection = sp_connection_make(sp);

	CHECK(connection && connection->slot == 0);
	if (uv_tcp_connect(&connection->connect, &connection->tcp, to, on_connect))
		sp_connection_close(connection);
}

static void on_lookup(uv_getaddrinfo_t *lookup, int status, struct addrinfo *found)
{
	struct bus_sp *sp = lookup->data;

	if (!sp->is_closing) {
		if (status == 0 && found)
			connect_to(sp, found->ai_addr);
		else
			sp_redial_later(sp);
	}
	uv_freeaddrinfo(found);
	sp_handle_closed(sp);
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
		sp_redial_later(sp);
	else
		sp->open_handles_n++;
}

static void on_redial(uv_timer_t *timer)
{
	dial(timer->data);
}

/* Between half and all of the time, so that a fleet does not come back in one moment. */
void sp_redial_later(struct bus_sp *sp)
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
		struct sp_connection *connection = sp->connections[slot];
		uint64_t limit_ms = connection->is_greeted ? MESSAGE_MS : GREETING_MS;

		if (connection->since_ms && now_ms - connection->since_ms > limit_ms)
			sp_connection_close(connection);
	}
}

static void close_all(struct bus_sp *sp)
{
	uint32_t slot = pool_next(&sp->pool, 0);

	sp->is_closing = true;
	for (; slot != POOL_NONE; slot = pool_next(&sp->pool, slot + 1))
		sp_connection_close(sp->connections[slot]);
	uv_cancel((uv_req_t *)&sp->lookup);
	uv_close((uv_handle_t *)&sp->sweep, on_handle_closed);
	uv_close((uv_handle_t *)&sp->listener, on_handle_closed);
	uv_close((uv_handle_t *)&sp->redial, on_handle_closed);
}

static int sp_mapping_open(struct bus *bus, uv_loop_t *loop, const char *address,
			   const struct bus_options *options, struct err *err)
{
	uint32_t connections_max = bus->is_listening ? SP_CONNECTIONS_MAX : 1;
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
	sp->connections = calloc(connections_max, sizeof(struct sp_connection *));
	sp->input = malloc(SP_READ_MAX);
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

const struct bus_mapping bus_mapping_sp = {"tcp://", sp_mapping_open, sp_connection_send,
					   sp_mapping_close};
