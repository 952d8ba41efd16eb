/* What the relay's two files share: relay.c keeps the connection, relay_streams.c joins streams. */
#ifndef FLOTILLA_SHIM_RELAY_INTERNAL_H
#define FLOTILLA_SHIM_RELAY_INTERNAL_H

#include "common/mux/link.h"
#include "node-agent/shim/relay.h"

/* Two streams that are one: the gateway's and the guest's. */
struct relay_pair {
	uint32_t gate, guest; /* ids in the two engines; gate 0: free */
	bool is_gate_ended, is_guest_ended;
	uint16_t free_next;
};

/* Owner of a connection's handles: they outlive the try until libuv has let go of them. */
struct relay_connection {
	struct relay *relay; /* its streams' ends; valid while handles_n > 0 */
	uv_tcp_t tcp;
	uv_connect_t connect;
	struct mux_link link;
	uint64_t since_ms;
	bool is_read_stopped;
};

/* relay_streams.c */
void relay_pairs_clear(struct relay *relay);
/* Both legs: events of the gateway's engine as far as the guest's has room. False: it is broken. */
bool relay_take_gate_events(struct relay *relay, bool *out_all_taken);
void relay_reset_guest_streams(struct relay *relay);
void relay_reset_gate_streams(struct relay *relay);
void relay_reset_streams(struct relay *relay);

#endif
