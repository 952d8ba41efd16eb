/* Those who watch folders: see watchers.h. */
#include "node-agent/guest/watchers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/base/check.h"
#include "node-agent/guest/connect.h"

#define EVENT_HEAD "{\"filesystem\":"

enum { EVENT_AROUND_N = sizeof(EVENT_HEAD) };

void watchers_init(struct watchers *watchers, uv_loop_t *loop)
{
	*watchers = (struct watchers){.loop = loop};
}

void watchers_close(struct watchers *watchers)
{
	while (watchers->first)
		watcher_remove(watchers->first);
}

/* -- One of them ---------------------------------------------------------------------------------
 */

static void on_closed(uv_handle_t *handle)
{
	struct watcher *watcher = handle->data;

	if (--watcher->handles_n)
		return;
	watch_close(&watcher->watch);
	free(watcher);
}

void watcher_remove(struct watcher *watcher)
{
	struct watcher **at = &watcher->all->first;

	while (*at != watcher)
		at = &(*at)->next;
	*at = watcher->next;
	watcher->all->n--;
	watcher->conn = NULL;
	uv_close((uv_handle_t *)&watcher->poll, on_closed);
	uv_close((uv_handle_t *)&watcher->timer, on_closed);
}

static void on_readable(uv_poll_t *poll, int status, int events);

/* Listens to the kernel as long as there is room for what it says. */
static void listen_if_room(struct watcher *watcher)
{
	if (watch_has_room(&watcher->watch))
		uv_poll_start(&watcher->poll, UV_READABLE, on_readable);
	else
		uv_poll_stop(&watcher->poll);
}

struct watcher *watcher_add(struct watchers *watchers, const struct watch *watch)
{
	struct watcher *watcher = calloc(1, sizeof(*watcher));

	if (!watcher) {
		struct watch closed = *watch;

		watch_close(&closed);
		return NULL;
	}
	*watcher = (struct watcher){
		.next = watchers->first,
		.all = watchers,
		.watch = *watch,
		.handles_n = 2,
	};
	watchers->first = watcher;
	watcher->watch.queues_bytes = &watchers->queues_bytes;
	CHECK(!uv_poll_init(watchers->loop, &watcher->poll, watcher->watch.tree.fd));
	uv_timer_init(watchers->loop, &watcher->timer);
	watcher->poll.data = watcher->timer.data = watcher;
	listen_if_room(watcher);
	return watcher;
}

/* -- Polled --------------------------------------------------------------------------------------
 */

void watcher_poll(struct watcher *watcher)
{
	unsigned char bytes[(WATCHER_ID_MAX - 2) / 2];

	CHECK(getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes));
	watcher->id[0] = 'w';
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(watcher->id + 1 + 2 * i, 3, "%02x", bytes[i]);
}

struct watcher *watcher_find(const struct watchers *watchers, const char *id)
{
	struct watcher *watcher = id[0] ? watchers->first : NULL;

	while (watcher && strcmp(watcher->id, id))
		watcher = watcher->next;
	return watcher;
}

char *watcher_drain(struct watcher *watcher)
{
	struct watch *watch = &watcher->watch;
	const char *json;
	char *out, *at;
	size_t n;

	/* What has just happened belongs to this answer. */
	watch_read(watch);
	/* The lengths that the queue has between events are longer than commas. */
	out = at = malloc(watch->queue_n - watch->queue_at + 1);
	if (!out)
		return NULL;
	while ((n = watch_next(watch, SIZE_MAX, &json))) {
		if (at > out)
			*at++ = ',';
		memcpy(at, json, n);
		at += n;
		watch_take(watch);
	}
	*at = 0;
	listen_if_room(watcher);
	return out;
}

/* -- Streams -------------------------------------------------------------------------------------
 */

static void stream_put(struct watcher *watcher, const char *head, const char *json, size_t json_n,
		       const char *tail)
{
	struct conn *conn = watcher->conn;
	char *out = connect_reserve(conn), *at = stpcpy(out, head);

	memcpy(at, json, json_n);
	at = stpcpy(at + json_n, tail);
	connect_commit(conn, (size_t)(at - out));
	watcher->sent_at_ms = uv_now(watcher->all->loop);
}

/* The stream's connection is told why, and has no watcher any more. */
static void stream_refuse(struct watcher *watcher, enum connect_code code, const char *problem)
{
	struct conn *conn = watcher->conn;

	watcher_remove(watcher);
	conn->work_ops = NULL;
	connect_refuse(conn, code, "%s", problem);
}

/* As much as there is room for; the watcher may be gone afterwards. */
static void stream_send(struct watcher *watcher)
{
	struct watch *watch = &watcher->watch;
	const char *json;
	size_t n, room;

	for (;;) {
		room = connect_room(watcher->conn);
		room = room > EVENT_AROUND_N ? room - EVENT_AROUND_N : 0;
		n = watch_next(watch, room, &json);
		if (!n)
			break;
		stream_put(watcher, EVENT_HEAD, json, n, "}");
		watch_take(watch);
	}
	if (watch->problem && watch->queue_at == watch->queue_n)
		stream_refuse(watcher, CONNECT_INTERNAL, watch->problem);
	else
		listen_if_room(watcher);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct watcher *watcher = poll->data;
	struct conn *conn = watcher->conn;

	(void)status;
	(void)events;
	watch_read(&watcher->watch);
	if (!conn) {
		listen_if_room(watcher);
		return;
	}
	stream_send(watcher);
	conn_flush(conn);
}

static void on_room(struct conn *conn)
{
	stream_send(conn->work);
}

static void on_gone(struct conn *conn)
{
	watcher_remove(conn->work);
}

static void timer_restart(struct watcher *watcher);

static void on_timer(uv_timer_t *timer)
{
	struct watcher *watcher = timer->data;
	struct conn *conn = watcher->conn;
	uint64_t now_ms = uv_now(timer->loop);

	if (watcher->deadline_at_ms && now_ms >= watcher->deadline_at_ms) {
		stream_refuse(watcher, CONNECT_DEADLINE_EXCEEDED,
			      "the deadline of the call has passed");
		conn_flush(conn);
		return;
	}
	if (now_ms - watcher->sent_at_ms >= watcher->keepalive_ms) {
		watcher->sent_at_ms = now_ms;
		/* One who has no room is being kept alive by what fills it. */
		if (connect_room(conn) > 2 * EVENT_AROUND_N)
			stream_put(watcher, "{\"keepalive\":{}}", "", 0, "");
		timer_restart(watcher);
		conn_flush(conn);
		return;
	}
	timer_restart(watcher);
}

static void timer_restart(struct watcher *watcher)
{
	uint64_t now_ms = uv_now(watcher->all->loop);
	uint64_t at_ms = watcher->sent_at_ms + watcher->keepalive_ms;

	if (watcher->deadline_at_ms && watcher->deadline_at_ms < at_ms)
		at_ms = watcher->deadline_at_ms;
	uv_timer_start(&watcher->timer, on_timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

void watcher_stream(struct watcher *watcher, struct conn *conn, uint64_t keepalive_ms,
		    uint64_t deadline_ms)
{
	static const struct work_ops ops = {
		.on_room = on_room,
		.on_gone = on_gone,
		.ends_with_client = true,
	};
	uint64_t now_ms = uv_now(watcher->all->loop);

	watcher->conn = conn;
	watcher->keepalive_ms = keepalive_ms;
	watcher->deadline_at_ms = deadline_ms ? now_ms + deadline_ms : 0;
	conn->work = watcher;
	conn->work_ops = &ops;
	connect_begin(conn);
	stream_put(watcher, "{\"start\":{}}", "", 0, "");
	timer_restart(watcher);
}
