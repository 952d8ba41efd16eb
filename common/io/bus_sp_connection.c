/*
 * One connection of a bus: its life, and the messages on it.  A peer is not trusted before the
 * envelope has proved it: what it half said and what waits for it unread is bounded.
 */
#include "common/io/bus_sp.h"

#include "common/base/check.h"
#include "common/base/list.h"

#include <stdlib.h>
#include <string.h>

enum {
	UNSENT_BYTES_MAX = 4 << 20, /* a peer that lets so much wait is disconnected */
	KEEPALIVE_S = 15,
};

/* ---- life of a connection ---- */

static void on_connection_closed(uv_handle_t *handle)
{
	struct sp_connection *connection = handle->data;
	struct bus_sp *sp = connection->sp;

	/* Not earlier: whoever is given its message may be the one that closes it. */
	sp_stream_close(&connection->stream);
	free(connection);
	sp_handle_closed(sp);
}

void sp_connection_close(struct sp_connection *connection)
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
	sp_redial_later(sp);
	if (sp->is_up) {
		sp->is_up = false;
		if (sp->bus->callbacks.on_link)
			sp->bus->callbacks.on_link(sp->bus, false);
	}
}

/* NULL: there are as many as there may be. */
struct sp_connection *sp_connection_make(struct bus_sp *sp)
{
	uint32_t slot = pool_take(&sp->pool);
	struct sp_connection *connection;

	if (slot == POOL_NONE)
		return NULL;
	connection = calloc(1, sizeof(*connection));
	CHECK(connection && uv_tcp_init(sp->loop, &connection->tcp) == 0);
	connection->sp = sp;
	connection->slot = slot;
	connection->tcp.data = connection;
	connection->since_ms = uv_now(sp->loop);
	sp_stream_init(&connection->stream, sp->bus->is_listening ? SP_REQ : SP_REP,
		       sp->message_max + SP_REQUEST_N);
	sp->connections[slot] = connection;
	sp->open_handles_n++;
	return connection;
}

/* ---- tokens: generation (18 bits), slot (14), the request's id as sent (32) ---- */

_Static_assert(SP_CONNECTIONS_MAX == 1 << 14, "a slot has 14 bits");

static uint64_t make_token(const struct sp_connection *connection, uint32_t request)
{
	uint64_t generation = pool_handle(&connection->sp->pool, connection->slot).generation;

	return generation << 46 | (uint64_t)connection->slot << 32 | request;
}

static struct sp_connection *find_connection(const struct bus_sp *sp, uint64_t header)
{
	uint32_t slot = sp->bus->is_listening ? (uint32_t)(header >> 32) % SP_CONNECTIONS_MAX : 0;
	struct sp_connection *connection = sp->connections[slot];

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
	struct sp_connection *connection = request->handle->data;

	free(LIST_OBJECT(request, struct sent, request));
	if (status)
		sp_connection_close(connection);
}

/* Writes what fits at once, and keeps a copy of the rest. */
static void write_bytes(struct sp_connection *connection, struct sent *sent)
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
		sp_connection_close(connection);
	}
}

static struct sent *make_sent(size_t n)
{
	struct sent *sent = malloc(sizeof(*sent) + n);

	CHECK(sent);
	sent->n = n;
	return sent;
}

static void send_greeting(struct sp_connection *connection)
{
	struct sent *sent = make_sent(SP_HEAD_N);

	sp_greeting(connection->sp->bus->is_listening ? SP_REP : SP_REQ, sent->bytes);
	write_bytes(connection, sent);
}

bool sp_connection_send(struct bus *bus, uint64_t header, const uint8_t *body, size_t body_n)
{
	struct bus_sp *sp = bus->state;
	struct sp_connection *connection = find_connection(sp, header);
	size_t waiting_n;
	struct sent *sent;

	if (!connection)
		return false;
	waiting_n = uv_stream_get_write_queue_size((uv_stream_t *)&connection->tcp);
	if (waiting_n > UNSENT_BYTES_MAX) {
		bus->dropped_n++;
		sp_connection_close(connection);
		return false;
	}
	sent = make_sent(SP_HEAD_N + SP_REQUEST_N + body_n);
	sp_length(SP_REQUEST_N + body_n, sent->bytes);
	for (int i = 0; i < SP_REQUEST_N; i++)
		sent->bytes[SP_HEAD_N + i] = (uint8_t)(header >> (24 - 8 * i));
	memcpy(sent->bytes + SP_HEAD_N + SP_REQUEST_N, body, body_n);
	write_bytes(connection, sent);
	return true;
}

/* ---- receiving ---- */

static void greeted(struct sp_connection *connection)
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
static bool deliver(struct sp_connection *connection, const uint8_t *message, size_t n)
{
	struct bus *bus = connection->sp->bus;
	uint32_t request = 0;

	if (n < SP_REQUEST_N)
		return false;
	for (int i = 0; i < SP_REQUEST_N; i++)
		request = request << 8 | message[i];
	if (!(request & BUS_REQUEST_BIT))
		return false; /* through intermediaries, which we do not have */
	bus->callbacks.on_message(bus,
				  bus->is_listening ? make_token(connection, request)
						    : request & ~BUS_REQUEST_BIT,
				  message + SP_REQUEST_N, n - SP_REQUEST_N);
	return true;
}

static void take_input(struct sp_connection *connection, const uint8_t *data, size_t n)
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
			sp_connection_close(connection);
			return;
		case SP_BROKEN:
			sp_connection_close(connection);
			return;
		}
	}
}

static void on_room_wanted(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct sp_connection *connection = handle->data;

	(void)suggested;
	*out = uv_buf_init((char *)connection->sp->input, SP_READ_MAX);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct sp_connection *connection = stream->data;

	if (n < 0)
		sp_connection_close(connection);
	else if (n > 0)
		take_input(connection, (const uint8_t *)buffer->base, (size_t)n);
}

void sp_connection_start(struct sp_connection *connection)
{
	uv_tcp_nodelay(&connection->tcp, 1);
	uv_tcp_keepalive(&connection->tcp, 1, KEEPALIVE_S);
	if (uv_read_start((uv_stream_t *)&connection->tcp, on_room_wanted, on_read)) {
		sp_connection_close(connection);
		return;
	}
	send_greeting(connection);
}
