/* Those who listen to a process: see process.h. */
#include "node-agent/guest/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/guest/base64.h"
#include "node-agent/guest/connect.h"
#include "node-agent/guest/guest.h"

enum { EVENT_AROUND_MAX = 64, EVENT_END_MAX = 256 };

static void on_timer_closed(uv_handle_t *handle)
{
	free(handle->data);
}

/* Its connection is answered or gone. */
static void subscriber_remove(struct subscriber *subscriber)
{
	struct subscriber **at = &subscriber->process->subscribers;

	while (*at != subscriber)
		at = &(*at)->next;
	*at = subscriber->next;
	uv_close((uv_handle_t *)&subscriber->timer, on_timer_closed);
}

static void on_gone(struct conn *conn)
{
	struct subscriber *subscriber = conn->work;
	struct process *process = subscriber->process;

	subscriber_remove(subscriber);
	/* It may have been the slow one. */
	process_output_resume(process);
}

/* True when it has been told and removed. */
static bool subscriber_end(struct subscriber *subscriber)
{
	struct conn *conn = subscriber->conn;
	json_t *event;
	size_t n;

	if (connect_room(conn) < 2 * EVENT_END_MAX)
		return false;
	event = process_end_event(subscriber->process->status);
	n = json_dumpb(event, connect_reserve(conn), EVENT_END_MAX, JSON_COMPACT);
	json_decref(event);
	CHECK(n && n <= EVENT_END_MAX);
	subscriber_remove(subscriber);
	connect_commit(conn, n);
	conn->work_ops = NULL;
	connect_end(conn);
	conn_flush(conn);
	return true;
}

void process_subscribers_end(struct process *process)
{
	struct subscriber **at = &process->subscribers;

	/* Whoever is told leaves the list; whoever has no room is passed over, and told later. */
	while (*at)
		if (!subscriber_end(*at))
			at = &(*at)->next;
}

static void on_room(struct conn *conn)
{
	struct subscriber *subscriber = conn->work;
	struct process *process = subscriber->process;

	subscriber->stalled_at_ms = 0;
	if (process->state == PROCESS_ENDED)
		subscriber_end(subscriber);
	else
		process_output_resume(process);
}

static const struct work_ops ops = {
	.on_room = on_room,
	.on_gone = on_gone,
	.ends_with_client = true,
};

static void expire(struct subscriber *subscriber)
{
	struct conn *conn = subscriber->conn;

	subscriber_remove(subscriber);
	conn->work_ops = NULL;
	connect_refuse(conn, CONNECT_DEADLINE_EXCEEDED, "the deadline of the call has passed");
	conn_flush(conn);
}

static void break_off(struct subscriber *subscriber)
{
	struct conn *conn = subscriber->conn;

	subscriber_remove(subscriber);
	conn->work_ops = NULL;
	conn_abort(conn);
}

void process_subscribers_drop(struct process *process)
{
	while (process->subscribers)
		break_off(process->subscribers);
}

void process_subscribers_expire(struct process *process)
{
	for (struct subscriber *at = process->subscribers; at; at = at->next) {
		if (!at->is_owner)
			continue;
		expire(at);
		return;
	}
}

/* Bytes of output that one event for it may carry. */
static size_t subscriber_room(const struct subscriber *subscriber)
{
	size_t room = connect_room(subscriber->conn);

	return room > EVENT_AROUND_MAX ? (room - EVENT_AROUND_MAX) / 4 * 3 : 0;
}

size_t process_subscribers_room(const struct process *process)
{
	size_t least = PROCESS_OUTPUT_MAX;

	for (const struct subscriber *at = process->subscribers; at; at = at->next) {
		size_t room = subscriber_room(at);

		if (room < least)
			least = room;
	}
	return least;
}

static struct subscriber *first_unflushed(struct process *process)
{
	for (struct subscriber *at = process->subscribers; at; at = at->next)
		if (at->is_unflushed)
			return at;
	return NULL;
}

void process_subscribers_send(struct process *process, enum process_output_kind kind,
			      const char *bytes, size_t bytes_n)
{
	static const char *const heads[] = {
		[PROCESS_STDOUT] = "{\"event\":{\"data\":{\"stdout\":\"",
		[PROCESS_STDERR] = "{\"event\":{\"data\":{\"stderr\":\"",
		[PROCESS_PTY] = "{\"event\":{\"data\":{\"pty\":\"",
	};
	struct subscriber *unflushed;

	for (struct subscriber *at = process->subscribers; at; at = at->next) {
		size_t n = strlen(heads[kind]);
		char *out = connect_reserve(at->conn);

		memcpy(out, heads[kind], n);
		n += base64_encode(bytes, bytes_n, out + n);
		memcpy(out + n, "\"}}}", 4);
		connect_commit(at->conn, n + 4);
		at->sent_at_ms = uv_now(at->timer.loop);
		at->is_unflushed = true;
	}
	/* Only now: sending may end a connection, and with it any subscription. */
	while ((unflushed = first_unflushed(process))) {
		unflushed->is_unflushed = false;
		conn_flush(unflushed->conn);
	}
}

static void timer_restart(struct subscriber *subscriber);

void process_subscribers_stall(struct process *process)
{
	for (struct subscriber *at = process->subscribers; at; at = at->next) {
		if (at->stalled_at_ms || subscriber_room(at) >= PROCESS_ROOM_MIN)
			continue;
		at->stalled_at_ms = uv_now(at->timer.loop);
		timer_restart(at);
	}
}

/* It has taken nothing for so long that it is given up. */
static bool is_given_up(const struct subscriber *subscriber, uint64_t now_ms)
{
	const struct process *process = subscriber->process;
	bool is_alone = process->subscribers == subscriber && !subscriber->next;

	return subscriber->stalled_at_ms &&
	       now_ms - subscriber->stalled_at_ms >=
		       (is_alone ? PROCESS_STALL_ALONE_MS : PROCESS_STALL_MS);
}

static void on_timer(uv_timer_t *timer)
{
	static const char event[] = "{\"event\":{\"keepalive\":{}}}";
	struct subscriber *subscriber = timer->data;
	struct process *process = subscriber->process;
	uint64_t now_ms = uv_now(timer->loop);

	if (subscriber->deadline_at_ms && now_ms >= subscriber->deadline_at_ms) {
		expire(subscriber);
		process_output_resume(process);
		return;
	}
	if (is_given_up(subscriber, now_ms)) {
		break_off(subscriber);
		process_output_resume(process);
		return;
	}
	if (now_ms - subscriber->sent_at_ms >= subscriber->keepalive_ms) {
		/* One who has no room is being kept alive by what fills it. */
		if (connect_room(subscriber->conn) > sizeof(event)) {
			memcpy(connect_reserve(subscriber->conn), event, sizeof(event) - 1);
			connect_commit(subscriber->conn, sizeof(event) - 1);
		}
		subscriber->sent_at_ms = now_ms;
		timer_restart(subscriber);
		conn_flush(subscriber->conn);
		return;
	}
	timer_restart(subscriber);
}

static void timer_restart(struct subscriber *subscriber)
{
	uint64_t now_ms = uv_now(subscriber->timer.loop);
	uint64_t at_ms = subscriber->sent_at_ms + subscriber->keepalive_ms;

	if (subscriber->deadline_at_ms && subscriber->deadline_at_ms < at_ms)
		at_ms = subscriber->deadline_at_ms;
	/* Looked at again and again: whether it is alone changes. */
	if (subscriber->stalled_at_ms && now_ms + PROCESS_STALL_MS < at_ms)
		at_ms = now_ms + PROCESS_STALL_MS;
	uv_timer_start(&subscriber->timer, on_timer, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

void process_subscribe(struct process *process, struct conn *conn, bool is_owner,
		       uint64_t keepalive_ms, uint64_t deadline_ms)
{
	struct subscriber *subscriber = calloc(1, sizeof(*subscriber));
	uv_loop_t *loop = &process->table->guest->loop;
	int n;

	if (!subscriber) {
		connect_refuse(conn, CONNECT_RESOURCE_EXHAUSTED, "no memory");
		return;
	}
	*subscriber = (struct subscriber){
		.process = process,
		.conn = conn,
		.next = process->subscribers,
		.keepalive_ms = keepalive_ms,
		.sent_at_ms = uv_now(loop),
		.deadline_at_ms = deadline_ms ? uv_now(loop) + deadline_ms : 0,
		.is_owner = is_owner,
	};
	process->subscribers = subscriber;
	uv_timer_init(loop, &subscriber->timer);
	subscriber->timer.data = subscriber;
	conn->work = subscriber;
	conn->work_ops = &ops;
	connect_begin(conn);
	n = snprintf(connect_reserve(conn), EVENT_AROUND_MAX,
		     "{\"event\":{\"start\":{\"pid\":%d}}}", process->pid);
	connect_commit(conn, (size_t)n);
	if (process->state == PROCESS_ENDED)
		subscriber_end(subscriber);
	else
		timer_restart(subscriber);
}
