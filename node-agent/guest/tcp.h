/* Streams over TCP, for a guest agent that runs on a plain host. */
#ifndef FLOTILLA_GUEST_TCP_H
#define FLOTILLA_GUEST_TCP_H

#include <stdint.h>
#include <uv.h>

#include "common/base/err.h"
#include "node-agent/guest/stream.h"

struct tcp_listener {
	uv_tcp_t handle;
	stream_accept_fn *accept;
	void *context;
};

/* address: "127.0.0.1:49983" or "[::1]:0". *out_port: the port that is really listened on. */
int tcp_listen(struct tcp_listener *listener, uv_loop_t *loop, const char *address,
	       stream_accept_fn *accept, void *context, uint16_t *out_port, struct err *err);
void tcp_listener_close(struct tcp_listener *listener);

#endif
