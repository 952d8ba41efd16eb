/*
 * Those who watch folders: streams, which end with their client, and polled ones, which stay until
 * they are removed.
 */
#ifndef FLOTILLA_GUEST_WATCHERS_H
#define FLOTILLA_GUEST_WATCHERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "node-agent/guest/conn.h"
#include "node-agent/guest/watch.h"

enum {
	WATCHERS_MAX = 100, /* the kernel allows a user 128 instances, and programs want some too */
	WATCHER_ID_MAX = 22,
	WATCHER_KEEPALIVE_S = 90, /* unless the client asks for another interval */
};

struct watcher {
	struct watcher *next;
	struct watchers *all;
	struct watch watch;
	uv_poll_t poll;
	uv_timer_t timer; /* a stream's */
	int handles_n;    /* that are not closed yet */

	/* A polled one's. "" is a stream. */
	char id[WATCHER_ID_MAX];

	/* A stream's. */
	struct conn *conn;
	uint64_t keepalive_ms, sent_at_ms;
	uint64_t deadline_at_ms; /* 0: none */
};

struct watchers {
	uv_loop_t *loop;
	struct watcher *first;
	size_t queues_bytes; /* that their events take */
	size_t n;            /* those that are being opened included */
};

void watchers_init(struct watchers *watchers, uv_loop_t *loop);

/* The loop has to run on until their handles are closed. */
void watchers_close(struct watchers *watchers);

/* Takes the watch over and begins; NULL when there is no memory, the watch is then closed. */
struct watcher *watcher_add(struct watchers *watchers, const struct watch *watch);
void watcher_remove(struct watcher *watcher);

/* Makes it a polled one; its id is then set. */
void watcher_poll(struct watcher *watcher);
struct watcher *watcher_find(const struct watchers *watchers, const char *id);

/* All events that wait: an array's elements, or NULL when there is no memory.  The caller frees. */
char *watcher_drain(struct watcher *watcher);

/* Makes it the stream that the connection answers with. */
void watcher_stream(struct watcher *watcher, struct conn *conn, uint64_t keepalive_ms,
		    uint64_t deadline_ms);

#endif
