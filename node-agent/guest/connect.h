/*
 * The Connect protocol with its JSON codec, as far as E2B's SDKs use it: unary calls, and server
 * streams of envelopes (a flag byte, a big-endian length, JSON) that end with a flag-2 envelope.
 */
#ifndef FLOTILLA_GUEST_CONNECT_H
#define FLOTILLA_GUEST_CONNECT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node-agent/guest/conn.h"

enum connect_code {
#define CODE(name, text, status) CONNECT_##name,
#include "node-agent/guest/connect_codes.def"
#undef CODE
};

enum {
	CONNECT_ENVELOPE_N = 5,
	CONNECT_FLAG_COMPRESSED = 1,
	CONNECT_FLAG_END = 2,
};

/* -- Pure ------------------------------------------------------------------------------------- */

int connect_code_status(enum connect_code code);
const char *connect_code_text(enum connect_code code);

/* The one message of a stream's request.  NULL, or why it is refused (static text). */
const char *connect_envelope_read(const char *bytes, size_t bytes_n, struct http_text *out_message);

/* The first of several messages.  NULL, or why it is refused; *out_n: the bytes of its envelope, 0
 * when it has not come whole. */
const char *connect_envelope_next(const char *bytes, size_t bytes_n, struct http_text *out_message,
				  size_t *out_n);

/* connect-timeout-ms: at most ten digits. 0 means none; false when malformed. */
bool connect_timeout_parse(struct http_text value, uint64_t *out_ms);

/* -- On a connection -------------------------------------------------------------------------- */

/* Answers when the head is not one of a Connect call with our codec. */
void connect_check_head(struct conn *conn);

/* The request's message, or NULL when it has been refused. The caller releases it. */
json_t *connect_request(struct conn *conn);

/* Called by the connection: hands a client stream's messages to its handler, as far as they have
 * come and the handler does not pause. */
void connect_messages(struct conn *conn);

/* While a handler is at a message no other is handed to it, and the client is held up. */
void connect_pause(struct conn *conn);
void connect_resume(struct conn *conn);

/* The answer of a unary call, or of a client stream; message is released. */
void connect_answer(struct conn *conn, json_t *message);

/*
 * Ends the call with an error.  A unary call becomes an error document, a stream gets its last
 * envelope, be it begun or not.
 */
void connect_refuse(struct conn *conn, enum connect_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Bytes of JSON that one connect_send may carry now. */
size_t connect_room(const struct conn *conn);

void connect_begin(struct conn *conn);
/* Where to write a message of up to connect_room bytes, and how long it became. */
char *connect_reserve(struct conn *conn);
void connect_commit(struct conn *conn, size_t json_n);
/* The end of a stream that went well. */
void connect_end(struct conn *conn);

#endif
