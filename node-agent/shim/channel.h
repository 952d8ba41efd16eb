/*
 * The guest's end of the data plane, as the shim holds it: QEMU's socket, the multiplexer on it,
 * the relay's streams, and the few requests that the shim itself makes of the guest's HTTP server.
 *
 * The guest is hostile: whatever it sends leads to at most one on_fault.
 */
#ifndef FLOTILLA_SHIM_CHANNEL_H
#define FLOTILLA_SHIM_CHANNEL_H

#include "common/base/err.h"
#include "common/mux/link.h"
#include "common/mux/mux.h"
#include "node-agent/shim/relay.h"

#include <stdbool.h>
#include <uv.h>

enum {
	CHANNEL_READ_MAX = 32 * 1024,
	CHANNEL_ASKS_MAX = 3,
	CHANNEL_STREAMS_MAX = 256, /* of the gateway, at a time */
	CHANNEL_PORT = 49983,      /* the guest's own HTTP server */
	CHANNEL_REQUEST_MAX = 80 * 1024,
	CHANNEL_DOCUMENT_MAX = 256 * 1024, /* of an answer whose body is wanted, head and all */
};

/* When an ask is answered. */
enum channel_patience {
	CHANNEL_STATUS,   /* when the status has come */
	CHANNEL_WHOLE,    /* when the answer is complete and the stream is gone */
	CHANNEL_DOCUMENT, /* the same, and the body is wanted */
};

/* status: the HTTP status, or 0 when the stream was reset. */
typedef void (*channel_answer_cb)(void *arg, int status);

/* body: borrowed for the call; only that of a complete answer with status 200, else NULL. */
typedef void (*channel_document_cb)(void *arg, const char *body, size_t body_n);

struct channel_ask {
	uint32_t stream; /* 0: free */
	enum channel_patience patience;
	bool is_answered;
	channel_answer_cb answer;     /* NULL: a document is wanted, */
	channel_document_cb document; /* by this one */
	char *gathered;               /* of it, head and all */
	size_t gathered_n;
	void *arg;
	char head[12]; /* "HTTP/1.1 204" */
	size_t head_n;
	char *request; /* what is not yet written */
	size_t request_n;
	size_t request_at;
};

struct channel_callbacks {
	void (*on_ready)(void *arg); /* the guest's process 1 has said HELLO */
	void (*on_fault)(void *arg, const char *problem);
	void *arg;
};

/* Bringing the guest's end back to where it was before anybody spoke to it. */
enum channel_quiet { CHANNEL_LOUD, CHANNEL_RESETTING, CHANNEL_PINGED };

struct channel {
	struct channel_callbacks callbacks;
	struct mux *mux;
	struct relay *relay; /* NULL: nobody but the shim talks to the guest */
	uv_pipe_t *pipe;
	struct mux_link link;
	bool is_ready;
	bool is_read_stopped; /* the relay has no room */
	bool is_broken;
	struct channel_ask asks[CHANNEL_ASKS_MAX];
	enum channel_quiet quiet;
	void (*on_quiet)(void *arg);
	void *quiet_arg;
	uint8_t input[CHANNEL_READ_MAX];
};

/* The engine exists from here on, so that a relay can be opened on it. */
int channel_open(struct channel *channel, const struct channel_callbacks *callbacks,
		 struct err *err);

/* fd: QEMU's socket; taken over. */
int channel_attach(struct channel *channel, uv_loop_t *loop, int fd, struct err *err);

/* Makes a request; what it is, is copied.  At most CHANNEL_ASKS_MAX at a time and at most
 * CHANNEL_REQUEST_MAX bytes (broken promises). */
void channel_ask(struct channel *channel, const char *request, size_t request_n,
		 enum channel_patience patience, channel_answer_cb answer, void *arg);

/* Resets the shim's own requests: who wants a document gets NULL, the others are not answered. */
void channel_drop_asks(struct channel *channel);

/*
 * So that another shim can greet the guest as it is now, whole frames must have passed in both
 * directions and no stream be left: resets all of them, the relay's too, holds the relay, and calls
 * on_quiet when the guest has answered a ping that came behind it all.  From then on nothing is on
 * its way in either direction until channel_quiet_end, which also ends the waiting for on_quiet;
 * so nobody may ask anything in between.
 */
void channel_quiet_begin(struct channel *channel, void (*on_quiet)(void *arg), void *arg);
void channel_quiet_end(struct channel *channel);

/* As channel_ask, for the body of the answer.  False: the guest takes no more streams now, or is
 * being brought to rest; nothing was asked. */
bool channel_ask_document(struct channel *channel, const char *request, size_t request_n,
			  channel_document_cb document, void *arg);

bool channel_is_quiet(const struct channel *channel); /* no stream, nothing to be written */

/* For the relay's callbacks. */
void channel_flush(struct channel *channel);
void channel_resume(struct channel *channel);

/* No callback follows. The engine lives until channel_free, because the relay closes later. */
void channel_close(struct channel *channel);
void channel_free(struct channel *channel);

#endif
