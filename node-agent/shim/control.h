/*
 * The shim's control socket: one agent at a time.  A new connection takes the place of the one
 * before it, because that one's agent may be gone without a word.
 */
#ifndef FLOTILLA_SHIM_CONTROL_H
#define FLOTILLA_SHIM_CONTROL_H

#include "node-agent/shim/wire_stream.h"

struct control_callbacks {
	void (*on_agent)(void *arg); /* connected: tell it the status */
	void (*on_claim)(void *arg, const struct wire_shim_claim *claim);
	void (*on_deadline)(void *arg, int64_t end_mono_ns);
	void (*on_lease)(void *arg, int64_t lease_mono_ns);
	void (*on_kill)(void *arg, enum cause cause);
	void (*on_ask)(void *arg);
	void (*on_save)(void *arg, const struct wire_shim_save *save);
	void (*on_network)(void *arg, const struct wire_shim_network *network);
	void *arg;
};

struct control {
	struct control_callbacks callbacks;
	uv_pipe_t *listener;
	struct wire_stream agent;
};

/* fd: a listening unix socket; taken over. */
int control_open(struct control *control, uv_loop_t *loop, int fd,
		 const struct control_callbacks *callbacks, struct err *err);

/* To the agent, if one is connected. */
void control_send(struct control *control, const struct wire_shape *shape, const void *message);

bool control_has_agent(const struct control *control);

void control_close(struct control *control);

#endif
