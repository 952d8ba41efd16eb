/* Requests in: see conn.h. */
#include "node-agent/guest/conn_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/base/check.h"
#include "common/http/target.h"
#include "node-agent/guest/connect.h"
#include "node-agent/guest/routes.h"

int conn_pool_open(struct conn_pool *pool, struct guest *guest)
{
	size_t bytes = CONNS_MAX * sizeof(struct conn);

	*pool = (struct conn_pool){.guest = guest};
	pool->conns = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool->conns == MAP_FAILED) {
		pool->conns = NULL;
		return -1;
	}
	/* Huge pages would make the first byte of a connection cost 2 MiB of zeroes. */
	(void)madvise(pool->conns, bytes, MADV_NOHUGEPAGE);
	return 0;
}

void conn_pool_close(struct conn_pool *pool)
{
	for (size_t i = 0; i < pool->used_n; i++)
		if (pool->conns[i].state != CONN_FREE)
			conn_drop(&pool->conns[i], true);
	if (pool->conns)
		munmap(pool->conns, CONNS_MAX * sizeof(struct conn));
	pool->conns = NULL;
}

void conn_body_release(struct conn *conn)
{
	conn->pool->bodies_bytes -= conn->body_max;
	free(conn->body);
	conn->body = NULL;
	conn->body_n = conn->body_max = 0;
}

void conn_body_cut(struct conn *conn, size_t bytes_n)
{
	conn->body_n -= bytes_n;
	if (bytes_n)
		memmove(conn->body, conn->body + bytes_n, conn->body_n);
}

void conn_work_release(struct conn *conn)
{
	const struct work_ops *ops = conn->work_ops;

	conn->work_ops = NULL;
	if (ops)
		ops->on_gone(conn);
}

void conn_drop(struct conn *conn, bool abort)
{
	CHECK(conn->state != CONN_FREE);
	conn_work_release(conn);
	conn_body_release(conn);
	conn_tail_release(conn);
	if (conn->stream)
		conn->stream->ops->close(conn->stream, abort);
	conn->stream = NULL;
	conn->state = CONN_FREE;
	conn->next_free = conn->pool->free;
	conn->pool->free = conn;
}

/* -- The body ---------------------------------------------------------------------------------- */

static void gather(struct conn *conn, const char *bytes, size_t bytes_n)
{
	size_t wanted = conn->body_n + bytes_n;

	if (wanted > CONN_BODY_MAX) {
		conn_work_release(conn);
		conn_answer_error(conn, 413, "the body is larger than %d bytes", CONN_BODY_MAX);
		return;
	}
	if (wanted >= conn->body_max) {
		size_t max = conn->body_max ? conn->body_max : 4096;
		char *grown;

		while (max <= wanted)
			max *= 2;
		if (conn->pool->bodies_bytes - conn->body_max + max > CONN_BODIES_MAX ||
		    !(grown = realloc(conn->body, max))) {
			conn_work_release(conn);
			conn_answer_error(conn, 503, "too many large requests at a time");
			return;
		}
		conn->pool->bodies_bytes += max - conn->body_max;
		conn->body = grown;
		conn->body_max = max;
	}
	memcpy(conn->body + conn->body_n, bytes, bytes_n);
	conn->body_n = wanted;
	conn->body[wanted] = 0;
}

static void body_bytes(struct conn *conn, const char *bytes, size_t bytes_n)
{
	/* What comes after the answer has been decided is read and forgotten: a client that only
	 * reads when it has written everything gets its answer, and the connection lives on. */
	if (conn->answer != CONN_ANSWER_NONE || !conn->route)
		return;
	switch (conn->route->kind) {
	case ROUTE_UPLOAD:
		if (conn->work_ops)
			conn->work_ops->on_body(conn, bytes, bytes_n);
		return;
	case ROUTE_JSON:
	case ROUTE_UNARY:
	case ROUTE_STREAM:
		gather(conn, bytes, bytes_n);
		return;
	case ROUTE_INPUT:
		gather(conn, bytes, bytes_n);
		connect_messages(conn);
		return;
	case ROUTE_PLAIN:
		return;
	}
}

static void body_end(struct conn *conn)
{
	conn->body_done = true;
	if (conn->answer != CONN_ANSWER_NONE)
		return;
	if (conn->route->kind != ROUTE_UPLOAD)
		route_dispatch(conn);
	else if (conn->work_ops)
		conn->work_ops->on_body_end(conn);
}

/* Where the body ends is not known, so nothing after it can be read. */
static void body_refuse(struct conn *conn, enum http_verdict verdict)
{
	conn_work_release(conn);
	conn->body_done = true;
	conn->head.keep_alive = false;
	if (conn->answer == CONN_ANSWER_NONE)
		conn_answer_error(conn, http_verdict_status(verdict), "%s",
				  http_verdict_text(verdict));
}

/* The next piece of the body; false when there is none, or the connection is gone. */
static bool body_step(struct conn *conn)
{
	size_t have_n = conn->in_end - conn->in_at, used = 0;
	const char *bytes = conn->in + conn->in_at;
	struct http_text data = {bytes, 0};
	bool done = false;

	if (conn->head.body == HTTP_BODY_CHUNKED) {
		enum http_verdict verdict =
			http_chunked_read(&conn->chunked, bytes, have_n, &used, &data);

		if (verdict == HTTP_BAD_CHUNK) {
			body_refuse(conn, verdict);
			return false;
		}
		done = verdict == HTTP_OK && !data.n;
	} else {
		data.n = conn->body_left < have_n ? (size_t)conn->body_left : have_n;
		conn->body_left -= data.n;
		used = data.n;
		done = !conn->body_left;
	}
	if (used) {
		conn->in_at += used;
		conn->stream->ops->consumed(conn->stream, used);
	}
	if (data.n)
		body_bytes(conn, data.at, data.n);
	if (conn->state == CONN_REQUEST && done)
		body_end(conn);
	return conn->state == CONN_REQUEST && used;
}

/* -- The head ---------------------------------------------------------------------------------- */

static void head_refuse(struct conn *conn, enum http_verdict verdict)
{
	conn->head.keep_alive = false;
	conn->head.minor = 1;
	conn->head.method = http_text_of("GET");
	conn->body_done = true;
	conn->state = CONN_REQUEST;
	conn_answer_error(conn, http_verdict_status(verdict), "%s", http_verdict_text(verdict));
}

/* True when a request has begun. */
static bool head_step(struct conn *conn)
{
	enum http_verdict verdict;

	if (conn->in_at) {
		memmove(conn->in, conn->in + conn->in_at, conn->in_end - conn->in_at);
		conn->in_end -= conn->in_at;
		conn->in_at = 0;
	}
	if (!conn->in_end)
		return false;
	verdict = http_request_parse(conn->in, conn->in_end, &conn->scanned_n, &conn->head,
				     &conn->head_n);
	if (verdict == HTTP_MORE)
		return false;
	conn->answer = CONN_ANSWER_NONE;
	conn->route = NULL;
	conn->pool->requests_n++;
	if (verdict != HTTP_OK) {
		head_refuse(conn, verdict);
		return true;
	}
	conn->in_at = conn->head_n;
	conn->stream->ops->consumed(conn->stream, conn->head_n);
	conn->chunked = (struct http_chunked){0};
	conn->body_left = conn->head.length;
	conn->body_done = conn->is_held = false;
	conn->state = CONN_REQUEST;
	http_target_split(conn->head.target, &conn->path, &conn->query);
	route_begin(conn);
	if (conn->state == CONN_REQUEST && conn->head.expect_continue &&
	    conn->answer == CONN_ANSWER_NONE && conn->head.body != HTTP_BODY_NONE)
		conn_say_continue(conn);
	if (conn->state == CONN_REQUEST && conn->head.body == HTTP_BODY_NONE)
		body_end(conn);
	return conn->state == CONN_REQUEST;
}

/* The request is over: is there to be another one? */
static void request_done(struct conn *conn)
{
	conn_body_release(conn);
	conn_tail_release(conn);
	if (!conn->head.keep_alive || conn->peer_ended) {
		conn_drop(conn, false);
		return;
	}
	conn->state = CONN_HEAD;
	conn->route = NULL;
	conn->head_n = conn->scanned_n = 0;
	conn->idle_since = conn->pool->requests_n;
}

void conn_hold(struct conn *conn, bool is_held)
{
	conn->is_held = is_held;
}

static bool is_waiting(const struct conn *conn)
{
	return conn->is_held && conn->answer == CONN_ANSWER_NONE;
}

void conn_run(struct conn *conn)
{
	bool goes_on = true;

	if (conn->is_running || conn->state == CONN_FREE)
		return;
	conn->is_running = true;
	while (goes_on && conn->state != CONN_FREE) {
		if (conn->state == CONN_HEAD) {
			goes_on = head_step(conn);
			continue;
		}
		goes_on = !conn->body_done && !is_waiting(conn) && body_step(conn);
		if (conn->state == CONN_FREE)
			break;
		conn_pump(conn);
		if (conn->state == CONN_REQUEST && conn->body_done && conn_is_answered(conn)) {
			request_done(conn);
			goes_on = true;
		}
	}
	conn->is_running = false;
}

/* -- What the stream tells --------------------------------------------------------------------- */

static void on_data(void *user, const char *bytes, size_t bytes_n)
{
	struct conn *conn = user;

	if (bytes_n > CONN_IN_MAX - conn->in_end) {
		/* The current head stays where it is: its slices are in use. */
		size_t base = conn->state == CONN_REQUEST ? conn->head_n : 0;

		memmove(conn->in + base, conn->in + conn->in_at, conn->in_end - conn->in_at);
		conn->in_end -= conn->in_at - base;
		conn->in_at = base;
	}
	CHECK(bytes_n <= CONN_IN_MAX - conn->in_end);
	memcpy(conn->in + conn->in_end, bytes, bytes_n);
	conn->in_end += bytes_n;
	conn_run(conn);
}

static void on_end(void *user)
{
	struct conn *conn = user;

	conn->peer_ended = true;
	if (conn->state == CONN_HEAD)
		conn_drop(conn, false);
	else if (!conn->body_done || (conn->work_ops && conn->work_ops->ends_with_client))
		conn_drop(conn, true);
}

static void on_writable(void *user)
{
	struct conn *conn = user;

	conn_pump(conn);
	conn_run(conn);
}

static void on_gone(void *user)
{
	struct conn *conn = user;

	conn->stream = NULL;
	conn_drop(conn, true);
}

static const struct stream_events events = {on_data, on_end, on_writable, on_gone};

/* The connection that has waited longest for its next request makes room. */
static void evict_idle(struct conn_pool *pool)
{
	struct conn *oldest = NULL;

	for (size_t i = 0; i < pool->used_n; i++) {
		struct conn *conn = &pool->conns[i];

		if (conn->state == CONN_HEAD && (!oldest || conn->idle_since < oldest->idle_since))
			oldest = conn;
	}
	if (oldest)
		conn_drop(oldest, false);
}

bool conn_accept(void *context, struct stream *stream)
{
	struct conn_pool *pool = context;
	struct conn *conn;

	if (!pool->free && pool->used_n == CONNS_MAX)
		evict_idle(pool);
	conn = pool->free;
	if (conn)
		pool->free = conn->next_free;
	else if (pool->used_n < CONNS_MAX)
		conn = &pool->conns[pool->used_n++];
	else
		return false;
	memset(conn, 0, offsetof(struct conn, in));
	conn->pool = pool;
	conn->guest = pool->guest;
	conn->stream = stream;
	conn->state = CONN_HEAD;
	conn->idle_since = pool->requests_n;
	stream->events = &events;
	stream->user = conn;
	return true;
}
