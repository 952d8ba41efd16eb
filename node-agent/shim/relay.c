/*
 * Keeps the connection to the gateway: dials, binds, dials again.  See relay.h.
 *
 * Each try has handles of its own, since libuv lets go of closed ones only later; what they tell
 * after that is of a past try and ignored.
 */
#include "node-agent/shim/relay_internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"

enum {
	GATE_OUTPUT_MAX = 64 * 1024,
	STEADY_MS = 5000, /* a connection that lasted so long does not make the next try wait */
};

static void dial(struct relay *relay);
static void pump(struct relay *relay);

static void on_handle_closed(struct relay *relay)
{
	if (--relay->handles_n || relay->state != RELAY_CLOSED)
		return;
	mux_destroy(relay->gate);
	free(relay->pairs);
	free(relay->read_buffer);
	relay->gate = NULL;
	if (relay->on_closed)
		relay->on_closed(relay->on_closed_arg);
}

static void on_timer_closed(uv_handle_t *handle)
{
	on_handle_closed(handle->data);
}

static void on_tcp_closed(uv_handle_t *handle)
{
	struct relay_connection *connection = handle->data;
	struct relay *relay = connection->relay;

	free(connection);
	on_handle_closed(relay);
}

/* The connection is no more. The guest's halves of its streams go with it. */
static void let_go(struct relay *relay)
{
	struct relay_connection *connection = relay->connection;

	uv_timer_stop(&relay->timer);
	if (!connection)
		return;
	relay->connection = NULL;
	uv_close((uv_handle_t *)&connection->tcp, on_tcp_closed);
	if (relay->state != RELAY_BOUND)
		return;
	relay->state = RELAY_WAITING;
	relay_reset_guest_streams(relay);
	relay->config.callbacks.on_guest_output(relay->config.callbacks.arg);
}

static void on_wait_over(uv_timer_t *timer)
{
	dial(timer->data);
}

/* Waits double up to a limit, and differ between shims so that they do not come all at once. */
static void wait_and_dial(struct relay *relay)
{
	uint32_t jitter = (uint32_t)(uv_hrtime() / 1000 % (relay->retry_ms / 2 + 1));

	relay->state = RELAY_WAITING;
	uv_timer_start(&relay->timer, on_wait_over, relay->retry_ms + jitter, 0);
	relay->retry_ms =
		relay->retry_ms < RELAY_RETRY_MAX_MS / 2 ? relay->retry_ms * 2 : RELAY_RETRY_MAX_MS;
}

static void lose(struct relay *relay)
{
	struct relay_connection *connection = relay->connection;

	if (!connection)
		return;
	if (connection->since_ms && uv_now(relay->config.loop) - connection->since_ms > STEADY_MS)
		relay->retry_ms = RELAY_RETRY_MIN_MS;
	let_go(relay);
	if (relay->state == RELAY_CLOSED) /* by what it was told of the guest's output */
		return;
	wait_and_dial(relay);
	if (relay->wants_room) {
		relay->wants_room = false;
		relay->config.callbacks.on_room(relay->config.callbacks.arg);
	}
}

static void on_verdict_late(uv_timer_t *timer)
{
	lose(timer->data);
}

static void send_bind(struct relay *relay)
{
	struct relay_connection *connection = relay->connection;
	uv_buf_t buffer = uv_buf_init((char *)relay->bind, (unsigned)relay->bind_n);

	relay->state = RELAY_BINDING;
	relay->verdict_n = 0;
	/* The first bytes of a connection always fit into an empty socket buffer. */
	if (uv_try_write((uv_stream_t *)&connection->tcp, &buffer, 1) != (int)relay->bind_n) {
		lose(relay);
		return;
	}
	uv_timer_start(&relay->timer, on_verdict_late, RELAY_VERDICT_WAIT_MS, 0);
}

static void on_verdict(struct relay *relay)
{
	enum tunnel_verdict verdict;

	if (!tunnel_verdict_decode(relay->verdict, &verdict)) {
		lose(relay);
		return;
	}
	uv_timer_stop(&relay->timer);
	switch (verdict) {
	case TUNNEL_BOUND:
		mux_restart(relay->gate);
		relay_pairs_clear(relay);
		relay->state = RELAY_BOUND;
		relay->retry_ms = RELAY_RETRY_MIN_MS;
		relay->config.callbacks.on_bound(relay->config.callbacks.arg);
		return;
	case TUNNEL_REFUSED:
		let_go(relay);
		relay->state = RELAY_TURNED_OFF;
		relay->config.callbacks.on_refused(relay->config.callbacks.arg);
		return;
	case TUNNEL_BUSY:
		relay->retry_ms = RELAY_RETRY_MAX_MS;
		lose(relay);
		return;
	}
}

static void on_bytes(struct relay *relay, const uint8_t *bytes, size_t bytes_n)
{
	struct relay_connection *connection = relay->connection;

	if (relay->state == RELAY_BINDING) {
		size_t n = TUNNEL_VERDICT_N - relay->verdict_n;

		if (n > bytes_n)
			n = bytes_n;
		memcpy(relay->verdict + relay->verdict_n, bytes, n);
		relay->verdict_n += n;
		bytes += n;
		bytes_n -= n;
		if (relay->verdict_n == TUNNEL_VERDICT_N)
			on_verdict(relay);
	}
	/* A callback may have closed the relay, or the verdict ended this try. */
	if (!bytes_n || relay->connection != connection)
		return;
	if (relay->state != RELAY_BOUND) {
		lose(relay);
		return;
	}
	mux_feed(relay->gate, bytes, bytes_n);
	pump(relay);
}

static void on_allocate(uv_handle_t *handle, size_t suggested_n, uv_buf_t *out_buffer)
{
	struct relay_connection *connection = handle->data;

	(void)suggested_n;
	*out_buffer = uv_buf_init((char *)connection->relay->read_buffer, RELAY_READ_MAX);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct relay_connection *connection = stream->data;
	struct relay *relay = connection->relay;

	if (relay->connection != connection || n == 0)
		return;
	if (n < 0)
		lose(relay);
	else
		on_bytes(relay, (const uint8_t *)buffer->base, (size_t)n);
}

/* While the guest has no room the bytes stay in the read buffer and nothing more is read. */
static void set_reading(struct relay *relay, bool on)
{
	struct relay_connection *connection = relay->connection;

	if (on && connection->is_read_stopped)
		uv_read_start((uv_stream_t *)&connection->tcp, on_allocate, on_read);
	else if (!on && !connection->is_read_stopped)
		uv_read_stop((uv_stream_t *)&connection->tcp);
	connection->is_read_stopped = !on;
}

/* From the gateway's engine into the guest's. */
static void pump(struct relay *relay)
{
	bool is_broken = false, all_taken = false;

	if (relay->is_pumping)
		return;
	if (relay->is_held) {
		set_reading(relay, false);
		return;
	}
	relay->is_pumping = true;
	while (!all_taken && !is_broken && relay->state == RELAY_BOUND) {
		is_broken = !relay_take_gate_events(relay, &all_taken);
		set_reading(relay, all_taken);
		relay->config.callbacks.on_guest_output(relay->config.callbacks.arg);
		if (mux_output_room(relay->config.guest) < MUX_PAYLOAD_MAX)
			break;
	}
	relay->is_pumping = false;
	if (is_broken)
		lose(relay);
	else
		relay_flush(relay);
}

static void on_link_room(struct mux_link *link)
{
	struct relay_connection *connection = link->arg;
	struct relay *relay = connection->relay;

	if (relay->connection == connection && relay->wants_room && relay_has_room(relay)) {
		relay->wants_room = false;
		relay->config.callbacks.on_room(relay->config.callbacks.arg);
	}
}

static void on_link_fault(struct mux_link *link, int error)
{
	struct relay_connection *connection = link->arg;

	(void)error;
	if (connection->relay->connection == connection)
		lose(connection->relay);
}

static void on_connect(uv_connect_t *request, int status)
{
	struct relay_connection *connection = request->data;
	struct relay *relay = connection->relay;

	if (relay->connection != connection)
		return;
	if (status < 0 ||
	    uv_read_start((uv_stream_t *)&connection->tcp, on_allocate, on_read) < 0) {
		lose(relay);
		return;
	}
	mux_link_tune(&connection->tcp);
	connection->since_ms = uv_now(relay->config.loop);
	relay->state = RELAY_CONNECTED;
	if (relay->has_claim)
		send_bind(relay);
}

static void dial(struct relay *relay)
{
	struct relay_connection *connection = calloc(1, sizeof(*connection));

	if (!connection) {
		wait_and_dial(relay);
		return;
	}
	connection->relay = relay;
	connection->connect.data = connection;
	connection->tcp.data = connection;
	connection->link = (struct mux_link){
		.mux = relay->gate,
		.stream = (uv_stream_t *)&connection->tcp,
		.on_room = on_link_room,
		.on_fault = on_link_fault,
		.arg = connection,
	};
	uv_tcp_init(relay->config.loop, &connection->tcp);
	relay->handles_n++;
	relay->connection = connection;
	relay->state = RELAY_DIALLING;
	if (uv_tcp_connect(&connection->connect, &connection->tcp,
			   (const struct sockaddr *)&relay->address, on_connect) < 0)
		lose(relay);
}

int relay_open(struct relay *relay, const struct relay_config *config, struct err *err)
{
	*relay = (struct relay){.config = *config, .retry_ms = RELAY_RETRY_MIN_MS};
	relay->gate = mux_create(&(struct mux_config){
		.accept_max = config->streams_max,
		.output_max = GATE_OUTPUT_MAX,
	});
	relay->pairs = calloc(config->streams_max, sizeof(relay->pairs[0]));
	relay->read_buffer = malloc(RELAY_READ_MAX);
	if (!relay->gate || !relay->pairs || !relay->read_buffer)
		goto fail;
	relay_pairs_clear(relay);
	uv_timer_init(config->loop, &relay->timer);
	relay->timer.data = relay;
	relay->handles_n = 1;
	return 0;
fail:
	mux_destroy(relay->gate);
	free(relay->pairs);
	free(relay->read_buffer);
	return err_set(err, "relay: no memory");
}

void relay_dial(struct relay *relay, const struct sockaddr *gateway)
{
	size_t n = gateway->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
						  : sizeof(struct sockaddr_in);

	memcpy(&relay->address, gateway, n);
	if (relay->state == RELAY_IDLE)
		dial(relay);
}

void relay_bind(struct relay *relay, const struct id *sandbox, const struct ticket *ticket,
		const uint8_t *ingress, size_t ingress_n)
{
	CHECK(!relay->has_claim);
	relay->has_claim = true;
	relay->bind_n = tunnel_bind_encode(sandbox, ticket, ingress, ingress_n, relay->bind);
	if (relay->state == RELAY_CONNECTED) {
		send_bind(relay);
	} else if (relay->state == RELAY_WAITING) {
		uv_timer_stop(&relay->timer);
		relay->retry_ms = RELAY_RETRY_MIN_MS;
		dial(relay);
	}
}

void relay_hold(struct relay *relay)
{
	if (relay->is_held)
		return;
	relay->is_held = true;
	relay_reset_streams(relay);
	if (relay->state == RELAY_BOUND)
		set_reading(relay, false);
	relay_flush(relay);
	relay->config.callbacks.on_guest_output(relay->config.callbacks.arg);
}

void relay_release(struct relay *relay)
{
	if (!relay->is_held)
		return;
	relay->is_held = false;
	if (relay->connection && relay->connection->is_read_stopped)
		pump(relay);
}

bool relay_has_room(struct relay *relay)
{
	/* Without streams nothing of the guest goes on to the gateway. */
	if (relay->is_held)
		return true;
	if (relay->state == RELAY_BOUND && mux_output_room(relay->gate) < MUX_PAYLOAD_MAX)
		relay_flush(relay);
	/* Without room after a flush the socket is full, and it will tell when it is not. */
	relay->wants_room =
		relay->state == RELAY_BOUND && mux_output_room(relay->gate) < MUX_PAYLOAD_MAX;
	return !relay->wants_room;
}

void relay_on_guest_room(struct relay *relay)
{
	if (relay->connection && relay->connection->is_read_stopped)
		pump(relay);
}

void relay_flush(struct relay *relay)
{
	if (relay->state == RELAY_BOUND && mux_link_flush(&relay->connection->link) < 0)
		lose(relay);
}

void relay_on_guest_gone(struct relay *relay)
{
	relay_reset_gate_streams(relay);
	relay_flush(relay);
}

void relay_close(struct relay *relay, void (*on_closed)(void *arg), void *arg)
{
	CHECK(relay->state != RELAY_CLOSED);
	if (relay->state == RELAY_BOUND)
		mux_link_flush(&relay->connection->link);
	let_go(relay);
	relay->state = RELAY_CLOSED;
	relay->on_closed = on_closed;
	relay->on_closed_arg = arg;
	uv_close((uv_handle_t *)&relay->timer, on_timer_closed);
}
