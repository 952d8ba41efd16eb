/*
 * The Connect protocol's streams as envd's Process service speaks them, in JSON.  Pure: bytes in,
 * events out.  An envelope is a flag byte, a big-endian length and JSON; flag 2 ends the stream.
 */
#ifndef FLOTILLA_CLI_CONNECT_H
#define FLOTILLA_CLI_CONNECT_H

#include "common/base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CONNECT_HEAD_N = 5,
	CONNECT_MESSAGE_MAX = 4 << 20, /* a longer one is a fault */
	CONNECT_TEXT_MAX = 256,
};

enum connect_event_kind {
	CONNECT_STARTED,  /* pid */
	CONNECT_STDOUT,   /* data */
	CONNECT_STDERR,   /* data */
	CONNECT_ENDED,    /* exited, exit_code or text ("signal: killed") */
	CONNECT_FINISHED, /* the stream's own end; code and text when it is a failure */
};

struct connect_event {
	enum connect_event_kind kind;
	uint32_t pid;
	const uint8_t *data; /* valid during the call */
	size_t data_n;
	bool exited;
	int exit_code;
	char code[32]; /* "not_found"; empty: no failure */
	char text[CONNECT_TEXT_MAX];
};

typedef void (*connect_event_cb)(void *user, const struct connect_event *event);

struct connect_decoder {
	uint8_t *buffer; /* the message so far, head included */
	size_t buffer_n;
	size_t room;
	bool is_finished; /* the end-of-stream envelope was there */
};

/* Any cut of the stream into pieces gives the same events. After a fault the decoder is spent.
 * What follows the end of the stream is a fault. */
int connect_decode(struct connect_decoder *decoder, const uint8_t *data, size_t n,
		   connect_event_cb on_event, void *user, struct err *err);
void connect_close(struct connect_decoder *decoder);

/* One message as an envelope, to be freed; the message is borrowed. */
uint8_t *connect_encode(const json_t *message, size_t *out_n);

/* Standard base64 with padding; to be freed. */
char *connect_base64(const uint8_t *data, size_t n);

/* The status a shell would report: 128 + n for "signal: killed" and its kind (Go's words). */
int connect_exit_status(const struct connect_event *ended);

#endif
