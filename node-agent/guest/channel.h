/*
 * The guest's one channel to its host: a virtio-serial port that carries the multiplexer.  Streams
 * to our own port are served in process; streams to any other are connected to that port of the
 * sandbox (forward.h), but for those to MOUNT_PORT (mounts.h).
 */
#ifndef FLOTILLA_GUEST_CHANNEL_H
#define FLOTILLA_GUEST_CHANNEL_H

#include <stdint.h>
#include <uv.h>

#include "common/base/err.h"
#include "common/mux/mux.h"
#include "node-agent/guest/stream.h"

#define CHANNEL_NAME "flotilla.mux"

enum {
	CHANNEL_STREAMS_MAX = 512,
	CHANNEL_OUTPUT_MAX = 256 * 1024,
	CHANNEL_READ_MAX = 32 * 1024,
};

/* A stream of the channel, as it is told to its user. The engine knows it as the owner. */
struct channel_user {
	const struct stream_events *events;
	void *user;
	struct channel_user *next, *before; /* all of them: a new host forgets them all */
	uint32_t stream;
};

struct channel {
	uv_loop_t *loop;
	struct mux *mux;
	struct channel_user *users;
	stream_accept_fn *accept; /* streams to our own port */
	void *context;
	uint16_t own_port;
	int fd;
	int edge_fd; /* an epoll of the port alone, edge triggered: see channel.c */
	uv_poll_t poll;
	uv_prepare_t flush;
	void (*on_broken)(const char *problem);
	/* May be NULL.  Another host greets us: we go on from what was saved.  context: ours. */
	void (*on_new_host)(void *context);
	/* Once it goes on in a thread of its own. */
	bool is_detached, is_leaving;
	unsigned closing_n;
	uv_thread_t thread;
	uv_loop_t own_loop;
	void (*on_thread)(void *arg);
	void *on_thread_arg;
	uint8_t input[CHANNEL_READ_MAX];
};

/* The device of the port of that name, waiting for it for a while: it appears on its own. */
int channel_device_find(char *out_path, size_t out_max, struct err *err);

/* Takes over fd, which is non-blocking. */
int channel_open(struct channel *channel, uv_loop_t *loop, int fd, stream_accept_fn *accept,
		 void *context, uint16_t own_port, struct err *err);

/*
 * From now on the channel is a thread's of its own, so that whatever our loop waits for does not
 * hold it up; on_thread is called there.  All streams but that of `kept` are reset; later ones to
 * our own port are forwarded as to any other, to the listener that we have there.  When it is there
 * already, on_thread is called at once: then the caller is that thread.  0, or -1: it stays as it
 * was.
 */
int channel_detach(struct channel *channel, struct channel_user *kept, void (*on_thread)(void *arg),
		   void *arg);

/* For forward.c: makes 'user' the one who is told of the stream, and ends that. */
void channel_user_add(struct channel *channel, uint32_t stream, struct channel_user *user);
void channel_user_remove(struct channel *channel, uint32_t stream, struct channel_user *user);

#endif
