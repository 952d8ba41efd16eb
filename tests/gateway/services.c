/*
 * What answers inside the fake guest.  Ports below 10 are closed; on all others the path says:
 *
 *   /hello          200 with a length            /chunked        200 in two chunks
 *   /close          200 until the end            /nothing        ends without an answer
 *   /garbage        not HTTP                     /status/N       that status, no body
 *   /big/N          N bytes with a length        /bigchunks/N    N bytes in chunks
 *   /sink           counts the body (length or chunked), then says how much and its sum
 *   /hold           head and one chunk, then silence
 *   /wait           no answer at all
 *   /upgrade        101, then what comes goes back
 *   /continue       100, then as /sink
 *   /bytewise       as /hello, a byte at a time
 *   /early          refuses with 413 before the body is there
 *   /head, /files   the request's own head, as the guest saw it
 */
#include "tests/gateway/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The next piece of a big body, framed. */
static void make_piece(struct service *service)
{
	size_t n = service->send_left < BIG_PIECE_N ? (size_t)service->send_left : BIG_PIECE_N;

	service->out_n = service->out_at = 0;
	if (service->sends_chunks)
		service->out_n = (size_t)sprintf((char *)service->out, "%zx\r\n", n);
	for (size_t at = 0; at < n; at++)
		service->out[service->out_n++] = big_byte(service->send_at + at);
	service->send_left -= n;
	service->send_at += n;
	if (service->sends_chunks)
		service->out_n += (size_t)sprintf((char *)service->out + service->out_n, "\r\n%s",
						  service->send_left ? "" : "0\r\n\r\n");
}

/* False: some of it waits. */
static bool send_records(struct sandbox *sandbox, struct service *service)
{
	const uint8_t *bytes;
	size_t bytes_n;

	while ((bytes = tls_output(service->tls, &bytes_n))) {
		size_t n = mux_write(sandbox->guest_end, service->stream, bytes, bytes_n);

		tls_output_done(service->tls, n);
		if (n < bytes_n)
			return false;
	}
	return true;
}

static size_t write_sealed(struct sandbox *sandbox, struct service *service, const uint8_t *bytes,
			   size_t bytes_n)
{
	size_t all_n = 0;

	while (send_records(sandbox, service) && all_n < bytes_n) {
		size_t n = bytes_n - all_n < TLS_RECORD_MAX ? bytes_n - all_n : TLS_RECORD_MAX;

		assert_int_equal(tls_write(service->tls, bytes + all_n, n), 0);
		all_n += n;
	}
	return all_n;
}

static size_t write_out(struct sandbox *sandbox, struct service *service)
{
	const uint8_t *bytes = service->out + service->out_at;
	size_t n = service->out_n - service->out_at;

	return service->tls ? write_sealed(sandbox, service, bytes, n)
			    : mux_write(sandbox->guest_end, service->stream, bytes, n);
}

static void end_out(struct sandbox *sandbox, struct service *service)
{
	if (service->tls) {
		tls_end(service->tls);
		if (!send_records(sandbox, service))
			return;
	}
	mux_end(sandbox->guest_end, service->stream);
}

/* As much as goes; the engine calls when more can. */
static void send_out(struct sandbox *sandbox, struct service *service)
{
	for (;;) {
		service->out_at += write_out(sandbox, service);
		if (service->out_at < service->out_n)
			return;
		if (!service->send_left)
			break;
		make_piece(service);
	}
	service->out_n = service->out_at = 0;
	if (!service->tls)
		mux_consumed(sandbox->guest_end, service->stream, service->echoed_n);
	service->echoed_n = 0;
	if (service->is_answered)
		end_out(sandbox, service);
}

static void say_bytes(struct service *service, const void *bytes, size_t n)
{
	assert_true(service->out_n + n <= sizeof(service->out));
	memcpy(service->out + service->out_n, bytes, n);
	service->out_n += n;
}

static void say(struct service *service, const char *text)
{
	say_bytes(service, text, strlen(text));
}

/* Nothing more will be said. */
static void finish(struct sandbox *sandbox, struct service *service)
{
	service->is_answered = true;
	send_out(sandbox, service);
}

static void answer_sink(struct sandbox *sandbox, struct service *service)
{
	char text[200], body[100];
	int body_n = snprintf(body, sizeof(body), "got %llu sum %u",
			      (unsigned long long)service->body_n, service->body_sum);

	snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", body_n,
		 body);
	say(service, text);
	finish(sandbox, service);
}

static void on_body(struct sandbox *sandbox, struct service *service, const uint8_t *bytes,
		    size_t n)
{
	for (size_t at = 0; at < n; at++)
		service->body_sum = service->body_sum * 31 + bytes[at];
	service->body_n += n;
	if (service->body_n == service->body_expected_n && !service->is_answered)
		answer_sink(sandbox, service);
}

static bool path_is(const struct service *service, const char *path)
{
	const char *at = strchr(service->head, ' ');

	return at && !strncmp(at + 1, path, strlen(path));
}

static uint64_t path_number(const struct service *service)
{
	const char *at = strchr(service->head, '/');

	at = strchr(at + 1, '/');
	return strtoull(at + 1, NULL, 10);
}

static void begin_sink(struct sandbox *sandbox, struct service *service)
{
	const char *length = strcasestr(service->head, "\r\ncontent-length:");

	/* A chunked body is taken raw: the test knows how long it is on the wire. */
	if (!length)
		length = strcasestr(service->head, "\r\nx-wire-length:");
	service->body_expected_n = strtoull(strchr(length, ':') + 1, NULL, 10);
	service->is_held = true;
	if (!service->body_expected_n)
		answer_sink(sandbox, service);
}

static void answer_head(struct sandbox *sandbox, struct service *service)
{
	char text[100];

	snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
		 strlen(service->head));
	say(service, text);
	say(service, service->head);
	finish(sandbox, service);
}

static void begin_big(struct sandbox *sandbox, struct service *service, bool chunked)
{
	char text[100];

	service->send_left = path_number(service);
	service->sends_chunks = chunked;
	if (chunked)
		snprintf(text, sizeof(text),
			 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	else
		snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n",
			 (unsigned long long)service->send_left);
	say(service, text);
	finish(sandbox, service);
}

static const char hello[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
			    "Content-Length: 5\r\n\r\nhello";

static void answer_bytewise(struct sandbox *sandbox, struct service *service)
{
	for (size_t at = 0; at < sizeof(hello) - 1; at++) {
		say_bytes(service, hello + at, 1);
		send_out(sandbox, service);
	}
	finish(sandbox, service);
}

static void answer(struct sandbox *sandbox, struct service *service)
{
	char text[100];

	if (path_is(service, "/hello"))
		say(service, hello);
	else if (path_is(service, "/chunked"))
		say(service, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			     "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
	else if (path_is(service, "/close"))
		say(service, "HTTP/1.1 200 OK\r\n\r\nuntil the end");
	else if (path_is(service, "/garbage"))
		say(service, "\x01\x02 not http\r\n\r\n");
	else if (path_is(service, "/early"))
		say(service, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
	else if (path_is(service, "/status/")) {
		snprintf(text, sizeof(text), "HTTP/1.1 %d Whatever\r\nX-Kept: yes\r\n\r\n",
			 (int)path_number(service));
		say(service, text);
	} else if (!path_is(service, "/nothing")) {
		say(service, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
	}
	finish(sandbox, service);
}

static void on_head(struct sandbox *sandbox, struct service *service)
{
	if (path_is(service, "/big/")) {
		begin_big(sandbox, service, false);
	} else if (path_is(service, "/bigchunks/")) {
		begin_big(sandbox, service, true);
	} else if (path_is(service, "/sink")) {
		begin_sink(sandbox, service);
	} else if (path_is(service, "/continue")) {
		say(service, "HTTP/1.1 100 Continue\r\n\r\n");
		begin_sink(sandbox, service);
	} else if (path_is(service, "/holdclose")) {
		say(service, "HTTP/1.1 200 OK\r\n\r\nfirst");
	} else if (path_is(service, "/hold")) {
		say(service, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
	} else if (path_is(service, "/upgrade")) {
		say(service, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
			     "Upgrade: echo\r\n\r\n");
		service->is_raw = true;
	} else if (path_is(service, "/bytewise")) {
		answer_bytewise(sandbox, service);
	} else if (path_is(service, "/head") || path_is(service, "/files")) {
		answer_head(sandbox, service);
	} else if (!path_is(service, "/wait")) {
		answer(sandbox, service);
	}
	if (!service->is_answered)
		send_out(sandbox, service);
}

static void on_data(struct sandbox *sandbox, struct service *service, const uint8_t *bytes,
		    size_t n)
{
	const char *end;
	size_t took_n = 0;

	if (service->is_raw) {
		say_bytes(service, bytes, n);
		service->echoed_n += n;
		send_out(sandbox, service);
		return;
	}
	if (!service->head_n && bytes[0] == 0x16) { /* somebody speaks TLS to it */
		say(service, "HTTP/1.1 400 Bad Request\r\n\r\n");
		finish(sandbox, service);
		return;
	}
	if (!service->is_held) {
		assert_true(service->head_n + n < sizeof(service->head));
		memcpy(service->head + service->head_n, bytes, n);
		service->head_n += n;
		service->head[service->head_n] = '\0';
		end = strstr(service->head, "\r\n\r\n");
		if (!end || service->is_answered)
			return;
		took_n = (size_t)(end + 4 - service->head) - (service->head_n - n);
		service->head[end + 4 - service->head] = '\0';
		on_head(sandbox, service);
	}
	if (service->is_held && took_n < n)
		on_body(sandbox, service, bytes + took_n, n - took_n);
}

static void on_sealed(struct sandbox *sandbox, struct service *service, const uint8_t *bytes,
		      size_t n)
{
	static uint8_t plain[MUX_PAYLOAD_MAX + TLS_PLAIN_MORE];
	struct tls_read read;
	struct err err;

	if (tls_feed(service->tls, bytes, n, plain, sizeof(plain), &read, &err))
		fail_msg("the guest's TLS: %s", err.text);
	send_records(sandbox, service);
	if (read.plain_n)
		on_data(sandbox, service, plain, read.plain_n);
	if (read.is_ended && service->is_raw)
		finish(sandbox, service);
}

static void release(struct service *service)
{
	tls_close(service->tls);
	service->tls = NULL;
	service->stream = 0;
}

void services_close(struct sandbox *sandbox)
{
	for (size_t at = 0; at < GUEST_STREAMS_MAX; at++)
		release(&sandbox->services[at]);
}

static void on_opened(struct sandbox *sandbox, const struct mux_event *event)
{
	struct service *service = sandbox->services;

	if (event->port < 10) {
		mux_reset(sandbox->guest_end, event->stream, MUX_REASON_REFUSED);
		return;
	}
	while (service->stream)
		assert_ptr_not_equal(++service, sandbox->services + GUEST_STREAMS_MAX);
	memset(service, 0, sizeof(*service));
	service->stream = event->stream;
	service->port = event->port;
	if (event->port == TLS_PORT && sandbox->guest_tls)
		service->tls = tls_open(sandbox->guest_tls);
	mux_owner_set(sandbox->guest_end, event->stream, service);
	mux_accept(sandbox->guest_end, event->stream);
	sandbox->services_opened_n++;
}

void services_on_event(struct sandbox *sandbox, const struct mux_event *event)
{
	struct service *service = event->owner;
	bool is_raw = service && service->is_raw;

	switch (event->kind) {
	case MUX_OPENED:
		on_opened(sandbox, event);
		return;
	case MUX_DATA:
		if (service->tls)
			on_sealed(sandbox, service, event->data, event->data_n);
		else
			on_data(sandbox, service, event->data, event->data_n);
		if (!sandbox->is_slow_reader && (!is_raw || service->tls))
			mux_consumed(sandbox->guest_end, event->stream, event->data_n);
		return;
	case MUX_END:
		if (service->is_raw && !service->is_answered)
			finish(sandbox, service);
		if (!mux_is_live(sandbox->guest_end, event->stream))
			release(service);
		return;
	case MUX_RESET:
		sandbox->resets_n++;
		release(service);
		return;
	case MUX_WRITABLE:
		send_out(sandbox, service);
		if (!mux_is_live(sandbox->guest_end, event->stream))
			release(service);
		return;
	case MUX_READY:
	case MUX_RESTARTED:
	case MUX_ACCEPTED:
	case MUX_CREDIT:
	case MUX_PONG:
		return;
	case MUX_BROKEN:
		fail_msg("the guest's end: %s", event->problem);
	}
}
