/* Answers out: see conn.h. */
#include "node-agent/guest/conn_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/http/write.h"

enum {
	/* Around each chunk: eight digits and CRLF before it, CRLF behind it, and after the last
	 * one the end of the body.  Fixed width, so that a chunk is written in place. */
	CHUNK_HEAD_N = 10,
	CHUNK_TAIL_N = 2,
	CHUNK_LAST_N = 5,
};

void conn_tail_release(struct conn *conn)
{
	conn->pool->bodies_bytes -= conn->tail_n;
	free(conn->tail);
	conn->tail = NULL;
	conn->tail_at = conn->tail_n = 0;
}

bool conn_is_answered(const struct conn *conn)
{
	return conn->answer == CONN_ANSWER_DONE && conn->out_at == conn->out_end &&
	       conn->tail_at == conn->tail_n;
}

static bool answer_in_chunks(const struct conn *conn)
{
	/* HTTP/1.0 knows no chunks: the end of the connection is the end of the body. */
	return conn->answer == CONN_ANSWER_CHUNKED && conn->head.minor == 1;
}

static size_t out_room(const struct conn *conn)
{
	return CONN_OUT_MAX - conn->out_end;
}

static void out_put(struct conn *conn, const char *bytes, size_t bytes_n)
{
	CHECK(bytes_n <= out_room(conn));
	memcpy(conn->out + conn->out_end, bytes, bytes_n);
	conn->out_end += bytes_n;
}

static void out_send(struct conn *conn)
{
	size_t n = conn->out_end - conn->out_at;

	if (n)
		conn->out_at += conn->stream->ops->write(conn->stream, conn->out + conn->out_at, n);
	if (conn->out_at == conn->out_end)
		conn->out_at = conn->out_end = 0;
	if (conn->out_end || conn->tail_at == conn->tail_n)
		return;
	n = conn->tail_n - conn->tail_at;
	conn->tail_at += conn->stream->ops->write(conn->stream, conn->tail + conn->tail_at, n);
}

void conn_pump(struct conn *conn)
{
	if (conn->is_pumping)
		return;
	while (conn->state != CONN_FREE) {
		enum conn_answer answer = conn->answer;

		out_send(conn);
		if (conn->out_end || !conn->work_ops || !conn->work_ops->on_room)
			return;
		conn->is_pumping = true;
		conn->work_ops->on_room(conn);
		conn->is_pumping = false;
		if (conn->state == CONN_FREE || (!conn->out_end && conn->answer == answer))
			return;
	}
}

void conn_flush(struct conn *conn)
{
	conn_pump(conn);
	conn_run(conn);
}

/* -- Heads ------------------------------------------------------------------------------------- */

static bool is_head_request(const struct conn *conn)
{
	return http_text_equal(conn->head.method, "HEAD");
}

static void head_put(struct conn *conn, int status, const char *type, const char *extra,
		     bool has_length, uint64_t length)
{
	struct http_writer writer;

	CHECK(conn->answer == CONN_ANSWER_NONE);
	http_writer_init(&writer, conn->out + conn->out_end, out_room(conn));
	http_write_status(&writer, status);
	if (type)
		http_write_header(&writer, "Content-Type", type);
	if (has_length)
		http_write_header_u64(&writer, "Content-Length", length);
	else if (status != 204 && conn->head.minor == 1)
		http_write_header(&writer, "Transfer-Encoding", "chunked");
	if (conn->head.minor == 0)
		conn->head.keep_alive = false;
	if (!conn->head.keep_alive)
		http_write_header(&writer, "Connection", "close");
	CHECK(!writer.failed);
	conn->out_end += writer.n;
	if (extra)
		out_put(conn, extra, strlen(extra));
	out_put(conn, "\r\n", 2);
}

void conn_say_continue(struct conn *conn)
{
	static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";

	out_put(conn, line, sizeof(line) - 1);
}

bool conn_can_carry(const struct conn *conn, size_t bytes_n)
{
	return conn->pool->bodies_bytes + bytes_n <= CONN_BODIES_MAX;
}

void conn_answer(struct conn *conn, int status, const char *type, const char *extra,
		 const char *bytes, size_t bytes_n)
{
	head_put(conn, status, type, extra, status != 204, bytes_n);
	conn->answer = CONN_ANSWER_DONE;
	conn->work_ops = NULL;
	if (is_head_request(conn))
		bytes_n = 0;
	if (bytes_n <= out_room(conn)) {
		if (bytes_n)
			out_put(conn, bytes, bytes_n);
		return;
	}
	if (!conn_can_carry(conn, bytes_n) || !(conn->tail = malloc(bytes_n))) {
		conn_abort(conn);
		return;
	}
	memcpy(conn->tail, bytes, bytes_n);
	conn->tail_n = bytes_n;
	conn->pool->bodies_bytes += bytes_n;
}

void conn_answer_json(struct conn *conn, int status, json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;

	json_decref(value);
	if (!text) {
		conn_answer_error(conn, 500, "the answer cannot be written as JSON");
		return;
	}
	conn_answer(conn, status, "application/json", NULL, text, strlen(text));
	free(text);
}

void conn_answer_error(struct conn *conn, int status, const char *format, ...)
{
	char message[1024];
	json_t *text;
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	text = json_string(message);
	if (!text) /* somebody's name in it is not UTF-8 */
		text = json_string(http_status_reason(status));
	conn_answer_json(conn, status, json_pack("{s:i,s:o}", "code", status, "message", text));
}

/* -- Answers in pieces ------------------------------------------------------------------------- */

void conn_begin_chunked(struct conn *conn, int status, const char *type)
{
	head_put(conn, status, type, NULL, false, 0);
	conn->answer = CONN_ANSWER_CHUNKED;
}

void conn_begin_length(struct conn *conn, int status, const char *type, const char *extra,
		       uint64_t length)
{
	head_put(conn, status, type, extra, true, length);
	conn->answer = CONN_ANSWER_LENGTH;
	conn->answer_left = is_head_request(conn) ? 0 : length;
}

size_t conn_room(const struct conn *conn)
{
	size_t room = out_room(conn), around = CHUNK_HEAD_N + CHUNK_TAIL_N + CHUNK_LAST_N;

	if (conn->answer == CONN_ANSWER_LENGTH)
		return room < conn->answer_left ? room : (size_t)conn->answer_left;
	if (conn->answer == CONN_ANSWER_CHUNKED)
		return room > around ? room - around : 0;
	return 0;
}

char *conn_reserve(struct conn *conn)
{
	return conn->out + conn->out_end + (answer_in_chunks(conn) ? CHUNK_HEAD_N : 0);
}

void conn_commit(struct conn *conn, size_t bytes_n)
{
	char head[CHUNK_HEAD_N + 1];

	CHECK(bytes_n && bytes_n <= conn_room(conn));
	if (conn->answer == CONN_ANSWER_LENGTH)
		conn->answer_left -= bytes_n;
	if (!answer_in_chunks(conn)) {
		conn->out_end += bytes_n;
		return;
	}
	snprintf(head, sizeof(head), "%08x\r\n", (unsigned)bytes_n);
	out_put(conn, head, CHUNK_HEAD_N);
	conn->out_end += bytes_n;
	out_put(conn, "\r\n", CHUNK_TAIL_N);
}

void conn_finish(struct conn *conn)
{
	CHECK(conn->answer == CONN_ANSWER_CHUNKED ||
	      (conn->answer == CONN_ANSWER_LENGTH && !conn->answer_left));
	/* conn_room always left space for this. */
	if (answer_in_chunks(conn))
		out_put(conn, HTTP_CHUNK_LAST, CHUNK_LAST_N);
	conn->answer = CONN_ANSWER_DONE;
	conn->work_ops = NULL;
}

void conn_abort(struct conn *conn)
{
	if (conn->state != CONN_FREE)
		conn_drop(conn, true);
}
