/* The Connect protocol: see connect.h. */
#include "node-agent/guest/connect.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/guest/conn_internal.h"
#include "node-agent/guest/routes.h"

#define CONNECT_STREAM_TYPE "application/connect+json"

static const struct {
	const char *text;
	int status;
} codes[] = {
#define CODE(name, text, status) {text, status},
#include "node-agent/guest/connect_codes.def"
#undef CODE
};

int connect_code_status(enum connect_code code)
{
	return codes[code].status;
}

const char *connect_code_text(enum connect_code code)
{
	return codes[code].text;
}

const char *connect_envelope_next(const char *bytes, size_t bytes_n, struct http_text *out_message,
				  size_t *out_n)
{
	const unsigned char *head = (const unsigned char *)bytes;
	size_t length;

	*out_n = 0;
	if (bytes_n < CONNECT_ENVELOPE_N)
		return NULL;
	if (head[0] & CONNECT_FLAG_COMPRESSED)
		return "compressed messages are not supported";
	if (head[0])
		return "unknown envelope flags";
	length = (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
	if (length > CONN_BODY_MAX - CONNECT_ENVELOPE_N)
		return "the message is too large";
	if (length > bytes_n - CONNECT_ENVELOPE_N)
		return NULL;
	*out_message = (struct http_text){bytes + CONNECT_ENVELOPE_N, length};
	*out_n = CONNECT_ENVELOPE_N + length;
	return NULL;
}

const char *connect_envelope_read(const char *bytes, size_t bytes_n, struct http_text *out_message)
{
	size_t n;
	const char *problem = connect_envelope_next(bytes, bytes_n, out_message, &n);

	if (problem)
		return problem;
	if (!n)
		return "the request ends inside an envelope";
	return n < bytes_n ? "a server stream takes exactly one request message" : NULL;
}

bool connect_timeout_parse(struct http_text value, uint64_t *out_ms)
{
	*out_ms = 0;
	if (!value.n)
		return true;
	return value.n <= 10 && http_text_u64(value, out_ms);
}

/* A media type without its parameters. */
static struct http_text media_type(struct http_text value)
{
	const char *semicolon = value.n ? memchr(value.at, ';', value.n) : NULL;

	if (semicolon)
		value.n = (size_t)(semicolon - value.at);
	return http_text_trim(value);
}

static bool is_identity(struct http_text encoding)
{
	return !encoding.n || http_text_equal_nocase(encoding, "identity");
}

/* Of its answer, and of what is asked. */
static bool has_envelopes(const struct conn *conn)
{
	return conn->route->kind == ROUTE_STREAM || conn->route->kind == ROUTE_INPUT;
}

void connect_check_head(struct conn *conn)
{
	bool is_stream = has_envelopes(conn);
	struct http_text type = media_type(http_head_value(&conn->head, "content-type"));
	uint64_t timeout_ms;

	if (!http_text_equal_nocase(type, is_stream ? CONNECT_STREAM_TYPE : "application/json"))
		conn_answer_error(conn, 415, "this path takes %s",
				  is_stream ? CONNECT_STREAM_TYPE : "application/json");
	else if (!is_identity(http_head_value(&conn->head, is_stream ? "connect-content-encoding"
								     : "content-encoding")))
		connect_refuse(conn, CONNECT_UNIMPLEMENTED, "compression is not supported");
	else if (!connect_timeout_parse(http_head_value(&conn->head, "connect-timeout-ms"),
					&timeout_ms))
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "malformed connect-timeout-ms");
}

/* NULL when it has been refused. */
static json_t *message_parse(struct conn *conn, struct http_text message)
{
	json_error_t error;
	json_t *request;

	/* An empty message is one whose fields all have their default. */
	request = message.n ? json_loadb(message.at, message.n, 0, &error) : json_object();
	if (!json_is_object(request)) {
		conn_work_release(conn);
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT,
			       "the message is not a JSON object%s%s", request ? "" : ": ",
			       request ? "" : error.text);
		json_decref(request);
		return NULL;
	}
	return request;
}

json_t *connect_request(struct conn *conn)
{
	struct http_text message = {conn->body, conn->body_n};
	const char *problem = NULL;

	if (conn->route->kind == ROUTE_STREAM)
		problem = connect_envelope_read(conn->body, conn->body_n, &message);
	if (problem) {
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "%s", problem);
		return NULL;
	}
	return message_parse(conn, message);
}

/* The next message in the gathered body, which ends at *at; NULL when there is none, or none any
 * more. */
static json_t *message_next(struct conn *conn, size_t *at)
{
	struct http_text message;
	const char *problem;
	size_t n;

	problem = connect_envelope_next(conn->body_n ? conn->body + *at : "", conn->body_n - *at,
					&message, &n);
	*at += n;
	if (!problem && !n && conn->body_done && *at < conn->body_n)
		problem = "the request ends inside an envelope";
	if (problem) {
		conn_work_release(conn);
		connect_refuse(conn, CONNECT_INVALID_ARGUMENT, "%s", problem);
	}
	return n ? message_parse(conn, message) : NULL;
}

void connect_messages(struct conn *conn)
{
	size_t at = 0;

	while (conn->answer == CONN_ANSWER_NONE && !conn->is_held) {
		json_t *message = message_next(conn, &at);
		bool is_end = !message && conn->answer == CONN_ANSWER_NONE;

		if (message || (is_end && conn->body_done))
			conn->route->handle(conn, message);
		json_decref(message);
		if (is_end)
			break;
	}
	if (conn->state == CONN_REQUEST)
		conn_body_cut(conn, at);
}

void connect_pause(struct conn *conn)
{
	conn->is_held = true;
}

void connect_resume(struct conn *conn)
{
	conn->is_held = false;
	connect_messages(conn);
	conn_flush(conn);
}

void connect_answer(struct conn *conn, json_t *message)
{
	char *out;
	size_t n;

	if (!has_envelopes(conn)) {
		conn_answer_json(conn, 200, message);
		return;
	}
	connect_begin(conn);
	out = connect_reserve(conn);
	n = json_dumpb(message, out, connect_room(conn), JSON_COMPACT);
	json_decref(message);
	CHECK(n && n <= connect_room(conn)); /* what answers a client stream is small */
	connect_commit(conn, n);
	connect_end(conn);
}

void connect_begin(struct conn *conn)
{
	conn_begin_chunked(conn, 200, CONNECT_STREAM_TYPE);
}

size_t connect_room(const struct conn *conn)
{
	size_t room = conn_room(conn);

	return room > CONNECT_ENVELOPE_N ? room - CONNECT_ENVELOPE_N : 0;
}

char *connect_reserve(struct conn *conn)
{
	return conn_reserve(conn) + CONNECT_ENVELOPE_N;
}

static void commit(struct conn *conn, unsigned char flags, size_t json_n)
{
	unsigned char *head = (unsigned char *)conn_reserve(conn);

	head[0] = flags;
	head[1] = (unsigned char)(json_n >> 24);
	head[2] = (unsigned char)(json_n >> 16);
	head[3] = (unsigned char)(json_n >> 8);
	head[4] = (unsigned char)json_n;
	conn_commit(conn, CONNECT_ENVELOPE_N + json_n);
}

void connect_commit(struct conn *conn, size_t json_n)
{
	commit(conn, 0, json_n);
}

/* The last envelope.  A stream whose client is so slow that there is no room for it is broken off,
 * which the client takes for an error too. */
static void end(struct conn *conn, const char *json)
{
	size_t json_n = strlen(json);

	if (connect_room(conn) < json_n) {
		conn_abort(conn);
		return;
	}
	memcpy(connect_reserve(conn), json, json_n);
	commit(conn, CONNECT_FLAG_END, json_n);
	conn_finish(conn);
}

void connect_end(struct conn *conn)
{
	end(conn, "{}");
}

void connect_refuse(struct conn *conn, enum connect_code code, const char *format, ...)
{
	char message[1024];
	json_t *document, *text;
	char *json;
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	text = json_string(message);
	if (!text) /* somebody's name in it is not UTF-8 */
		text = json_string(codes[code].text);
	document = json_pack("{s:s,s:o}", "code", codes[code].text, "message", text);
	if (!has_envelopes(conn)) {
		conn_answer_json(conn, codes[code].status, document);
		return;
	}
	if (conn->answer == CONN_ANSWER_NONE)
		connect_begin(conn);
	document = json_pack("{s:o}", "error", document);
	json = document ? json_dumps(document, JSON_COMPACT) : NULL;
	json_decref(document);
	if (json)
		end(conn, json);
	else
		conn_abort(conn);
	free(json);
}
