/*
 * Shims' connections.  A tunnel waits silently in a pool until its shim binds it to a sandbox with
 * the ticket that only the scheduler can make; from then on it is a mux over which requests go.
 *
 * Of two tunnels for one sandbox the newer wins: its shim has lost the older.
 */
#include "scheduler/gateway/gateway.h"

#include <stdlib.h>
#include <string.h>

#include "common/io/log.h"
#include "common/mux/tunnel.h"

enum { TUNNEL_OUTPUT_MAX = 64 * 1024, SLOT_NONE = UINT32_MAX };

struct tunnel {
	struct gateway *gateway;
	struct list link;
	uv_tcp_t tcp;
	struct mux_link out;
	struct mux *mux; /* NULL: not bound yet */
	uint32_t slot;   /* of its sandbox; SLOT_NONE: not, or no longer, the one to reach it by */
	uint8_t bind[TUNNEL_BIND_MAX];
	size_t bind_n;
	bool is_closing;
	bool is_pumping; /* what is sent meanwhile goes out together at its end */
};

int tunnels_open(struct gateway *gateway, struct err *err)
{
	uint32_t limit = gateway->options->tunnels_max;

	list_init(&gateway->tunnels);
	gateway->slots = calloc(limit, sizeof(gateway->slots[0]));
	gateway->index_memory = calloc(1, index_bytes(limit));
	gateway->slot_free = SLOT_NONE;
	if (!gateway->slots || !gateway->index_memory)
		return err_set(err, "no memory for %u tunnels", limit);
	index_init(&gateway->index, gateway->index_memory, limit, gateway->slots,
		   sizeof(gateway->slots[0]));
	return 0;
}

struct tunnel *tunnels_find(const struct gateway *gateway, const struct id *sandbox)
{
	uint32_t slot = index_find(&gateway->index, sandbox->text);

	return slot == INDEX_NONE ? NULL : gateway->slots[slot].tunnel;
}

struct mux *tunnel_mux(struct tunnel *tunnel)
{
	return tunnel->mux;
}

const struct ingress *tunnel_ingress(const struct tunnel *tunnel)
{
	return tunnel->slot == SLOT_NONE ? NULL : tunnel->gateway->slots[tunnel->slot].ingress;
}

void tunnel_flush(struct tunnel *tunnel)
{
	if (!tunnel->is_closing && !tunnel->is_pumping)
		(void)mux_link_flush(&tunnel->out);
}

/* Takes over the ingress. */
static void slot_add(struct tunnel *tunnel, const struct id *sandbox, struct ingress *ingress)
{
	struct gateway *gateway = tunnel->gateway;
	uint32_t slot = gateway->slot_free;

	if (slot != SLOT_NONE)
		gateway->slot_free = gateway->slots[slot].free_next;
	else
		slot = gateway->slots_used_n++;
	gateway->slots[slot].sandbox = *sandbox;
	gateway->slots[slot].tunnel = tunnel;
	gateway->slots[slot].ingress = ingress;
	fleet_key_envd_token(&gateway->key, sandbox, gateway->slots[slot].envd_token);
	index_add(&gateway->index, slot);
	tunnel->slot = slot;
	gateway->metrics.sandboxes++;
}

static void slot_remove(struct tunnel *tunnel)
{
	struct gateway *gateway = tunnel->gateway;
	uint32_t slot = tunnel->slot;

	if (slot == SLOT_NONE)
		return;
	index_remove(&gateway->index, slot);
	gateway->slots[slot].tunnel = NULL;
	free(gateway->slots[slot].ingress);
	gateway->slots[slot].ingress = NULL;
	gateway->slots[slot].free_next = gateway->slot_free;
	gateway->slot_free = slot;
	tunnel->slot = SLOT_NONE;
	gateway->metrics.sandboxes--;
}

static void on_closed(uv_handle_t *handle)
{
	struct tunnel *tunnel = handle->data;

	mux_destroy(tunnel->mux);
	free(tunnel);
}

static void tunnel_close(struct tunnel *tunnel)
{
	struct gateway *gateway = tunnel->gateway;

	if (tunnel->is_closing)
		return;
	tunnel->is_closing = true;
	slot_remove(tunnel);
	list_remove(&tunnel->link);
	gateway->metrics.tunnels--;
	uv_close((uv_handle_t *)&tunnel->tcp, on_closed);
	clients_on_tunnel_lost(gateway, tunnel);
}

static void tunnel_break(struct tunnel *tunnel, const char *problem)
{
	tunnel->gateway->metrics.tunnels_broken++;
	log_warn("gateway", "tunnel closed: its shim broke the protocol",
		 LOG_TEXT("problem", problem),
		 LOG_TEXT("sandbox", tunnel->slot == SLOT_NONE
					     ? ""
					     : tunnel->gateway->slots[tunnel->slot].sandbox.text));
	tunnel_close(tunnel);
}

/* Until nothing happens any more: room made by a flush lets waiting writers go on. */
static void tunnel_pump(struct tunnel *tunnel)
{
	struct mux_event event;
	bool any;

	do {
		any = false;
		tunnel->is_pumping = true;
		while (!tunnel->is_closing && mux_next(tunnel->mux, &event)) {
			any = true;
			if (event.kind == MUX_BROKEN)
				tunnel_break(tunnel, event.problem);
			else if (event.owner)
				client_on_mux_event(event.owner, &event);
		}
		tunnel->is_pumping = false;
		if (!tunnel->is_closing && mux_link_flush(&tunnel->out) < 0)
			tunnel_close(tunnel);
	} while (any && !tunnel->is_closing);
}

static void on_link_room(struct mux_link *link)
{
	tunnel_pump(link->arg);
}

static void on_link_fault(struct mux_link *link, int error)
{
	(void)error;
	tunnel_close(link->arg);
}

static void send_verdict(struct tunnel *tunnel, enum tunnel_verdict verdict)
{
	uint8_t bytes[TUNNEL_VERDICT_N];
	uv_buf_t buffer = uv_buf_init((char *)bytes, sizeof(bytes));

	tunnel_verdict_encode(verdict, bytes);
	/* The first bytes of a connection always fit; if not, the shim dials again. */
	(void)uv_try_write((uv_stream_t *)&tunnel->tcp, &buffer, 1);
	if (verdict != TUNNEL_BOUND)
		tunnel_close(tunnel);
}

/* False: the tunnel is refused. The ingress is as the scheduler said it, or the ticket would not
 * fit. */
static bool bind_read(struct tunnel *tunnel, struct id *out_sandbox, struct ingress **out_ingress)
{
	struct gateway *gateway = tunnel->gateway;
	const uint8_t *said = tunnel->bind + TUNNEL_BIND_N + 2;
	size_t said_n = tunnel->bind_n > TUNNEL_BIND_N ? tunnel->bind_n - TUNNEL_BIND_N - 2 : 0;
	struct ticket ticket;

	*out_ingress = NULL;
	if (!tunnel_bind_decode(tunnel->bind, out_sandbox, &ticket)) {
		tunnel_break(tunnel, "not a bind");
		return false;
	}
	if (!fleet_key_ticket_verify(&gateway->key, out_sandbox, said, said_n, &ticket)) {
		gateway->metrics.binds_refused++;
		log_warn("gateway", "tunnel refused: wrong ticket",
			 LOG_TEXT("sandbox", out_sandbox->text));
		send_verdict(tunnel, TUNNEL_REFUSED);
		return false;
	}
	if (!said_n)
		return true;
	*out_ingress = ingress_read(said, said_n, &gateway->key, out_sandbox);
	if (*out_ingress)
		return true;
	log_warn("gateway", "tunnel refused: the scheduler says what this gateway does not read",
		 LOG_TEXT("sandbox", out_sandbox->text));
	send_verdict(tunnel, TUNNEL_BUSY);
	return false;
}

static void tunnel_bind(struct tunnel *tunnel)
{
	struct gateway *gateway = tunnel->gateway;
	struct ingress *ingress;
	struct tunnel *older;
	struct id sandbox;

	if (!bind_read(tunnel, &sandbox, &ingress))
		return;
	tunnel->mux = mux_create(&(struct mux_config){
		.initiator = true,
		.open_max = (uint16_t)gateway->options->streams_max,
		.output_max = TUNNEL_OUTPUT_MAX,
	});
	if (!tunnel->mux || gateway->is_stopping) {
		free(ingress);
		send_verdict(tunnel, TUNNEL_BUSY);
		return;
	}
	tunnel->out = (struct mux_link){
		.mux = tunnel->mux,
		.stream = (uv_stream_t *)&tunnel->tcp,
		.on_room = on_link_room,
		.on_fault = on_link_fault,
		.arg = tunnel,
	};
	older = tunnels_find(gateway, &sandbox);
	if (older)
		tunnel_close(older);
	slot_add(tunnel, &sandbox, ingress);
	gateway->metrics.binds++;
	send_verdict(tunnel, TUNNEL_BOUND);
	tunnel_flush(tunnel);
	clients_on_bound(gateway, &gateway->slots[tunnel->slot]);
}

/* How many of the bytes belong to the BIND; the tunnel is bound, or closed, when it is whole. */
static size_t take_bind(struct tunnel *tunnel, const uint8_t *bytes, size_t bytes_n)
{
	size_t used_n = 0;

	for (;;) {
		size_t wanted_n = tunnel_bind_length(tunnel->bind, tunnel->bind_n);
		size_t n = wanted_n - tunnel->bind_n;

		if (!wanted_n) {
			tunnel_break(tunnel, "not a bind");
			return used_n;
		}
		if (!n) {
			tunnel_bind(tunnel);
			return used_n;
		}
		if (n > bytes_n - used_n)
			n = bytes_n - used_n;
		if (!n)
			return used_n;
		memcpy(tunnel->bind + tunnel->bind_n, bytes + used_n, n);
		tunnel->bind_n += n;
		used_n += n;
	}
}

static void on_bytes(struct tunnel *tunnel, const uint8_t *bytes, size_t bytes_n)
{
	if (!tunnel->mux) {
		size_t used_n = take_bind(tunnel, bytes, bytes_n);

		bytes += used_n;
		bytes_n -= used_n;
		if (!bytes_n || tunnel->is_closing)
			return;
		if (!tunnel->mux) {
			tunnel_break(tunnel, "bytes before a bind");
			return;
		}
	}
	tunnel->gateway->metrics.bytes_out += bytes_n;
	mux_feed(tunnel->mux, bytes, bytes_n);
	tunnel_pump(tunnel);
}

static void on_allocate(uv_handle_t *handle, size_t suggested_n, uv_buf_t *out_buffer)
{
	struct tunnel *tunnel = handle->data;

	(void)suggested_n;
	*out_buffer = uv_buf_init((char *)tunnel->gateway->read_buffer, GATEWAY_READ_MAX);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct tunnel *tunnel = stream->data;

	if (tunnel->is_closing || n == 0)
		return;
	if (n < 0)
		tunnel_close(tunnel);
	else
		on_bytes(tunnel, (const uint8_t *)buffer->base, (size_t)n);
}

void tunnels_on_connection(uv_stream_t *listener, int status)
{
	struct gateway *gateway = listener->data;
	struct tunnel *tunnel = status < 0 ? NULL : calloc(1, sizeof(*tunnel));

	if (!tunnel)
		return;
	tunnel->gateway = gateway;
	tunnel->slot = SLOT_NONE;
	tunnel->tcp.data = tunnel;
	uv_tcp_init(gateway->loop, &tunnel->tcp);
	list_append(&gateway->tunnels, &tunnel->link);
	gateway->metrics.tunnels++;
	if (uv_accept(listener, (uv_stream_t *)&tunnel->tcp) < 0) {
		tunnel_close(tunnel);
		return;
	}
	if (gateway->metrics.tunnels > (int64_t)gateway->options->tunnels_max) {
		send_verdict(tunnel, TUNNEL_BUSY);
		return;
	}
	mux_link_tune(&tunnel->tcp);
	if (uv_read_start((uv_stream_t *)&tunnel->tcp, on_allocate, on_read) < 0)
		tunnel_close(tunnel);
}

void tunnels_close_all(struct gateway *gateway)
{
	struct list *link;

	while ((link = list_first(&gateway->tunnels)))
		tunnel_close(LIST_OBJECT(link, struct tunnel, link));
}
