/*
 * A tenant's connection.  It carries one request after the other, each to its own sandbox and port,
 * each over a stream of its own (an exchange).
 *
 * Bytes from the tenant are used straight from the read buffer; what cannot be used yet (half a
 * head, a body without credit, the next request) waits in `in`, and reading stops unless it is
 * half a head.  Bytes from the guest go straight to the socket; what it does not take is queued,
 * and the stream gets its credit back when it has been taken, so a tenant who does not read
 * holds at most a window.
 */
#ifndef FLOTILLA_GATEWAY_CLIENT_H
#define FLOTILLA_GATEWAY_CLIENT_H

#include "common/base/bytes.h"
#include "common/http/body.h"
#include "scheduler/gateway/gateway.h"
#include "scheduler/gateway/leg.h"

/* What the tenant's next bytes are. */
enum request_state {
	REQUEST_HEAD,     /* of the next request */
	REQUEST_HELD,     /* its head is in `in` and waits for the sandbox's tunnel */
	REQUEST_SEARCHED, /* likewise, until it is known for which sandbox it is */
	REQUEST_BODY,     /* of the request in progress */
	REQUEST_DONE,     /* read to its end; what follows waits for the response to end */
	REQUEST_RAW,      /* upgraded: no longer HTTP */
	REQUEST_DISCARD,  /* nobody's: the connection is about to close */
};

/* What the guest's next bytes are. */
enum response_state {
	RESPONSE_NONE, /* no exchange */
	RESPONSE_HEAD,
	RESPONSE_BODY,
	RESPONSE_RAW,
};

struct client {
	struct gateway *gateway;
	struct list link;
	uv_tcp_t tcp;
	uv_shutdown_t shutdown;
	struct tls *tls; /* NULL: the tenant came without */

	enum request_state request;
	struct bytes in;
	size_t in_scanned_n;
	struct http_body_reader request_body;
	bool is_reading, has_ended; /* ended: the tenant said that nothing more comes */
	bool is_taking;             /* within request_take: resuming would be one too many */
	bool is_head_timed;         /* the deadline is that of the head, not of idleness */
	uint64_t deadline_ms;       /* 0: none */

	/* The exchange. */
	enum response_state response;
	uint64_t exchange_n; /* counts them, so that late writes know theirs is over */
	struct leg leg;
	struct route route;
	struct bytes up; /* of the request's head, when the tunnel was full */
	struct bytes response_head;
	size_t response_scanned_n;
	struct http_body_reader response_body;
	int request_minor;
	bool to_head, keep_alive, wants_html, wants_upgrade, dechunk;
	bool is_request_ended; /* raw: we told the guest that nothing more comes */
	bool is_guest_ended;   /* raw: the guest said so */
	uint64_t asked_at_ns;  /* when the request's head was read */
	int status;            /* of the response, for the log */
	struct search *search; /* for whom a signed URL is; NULL: none is under way */
	bool is_waking;        /* HELD: its sandbox was asked to go on */
	struct id found;       /* what it came to, for the head in `in`; else empty */

	size_t queued_n;   /* writes that the socket has not taken yet */
	bool is_last;      /* close after the response */
	bool is_shut;      /* everything was said; only the tenant's end is awaited */
	bool is_half_shut; /* raw: uv_shutdown was called */
	bool is_closing;
};

/* client.c, client_send.c */
void client_close(struct client *client);      /* now, whatever is queued */
void client_reset(struct client *client);      /* so that the tenant cannot take it for an end */
void client_finish(struct client *client);     /* all that is queued goes out, then it ends */
void client_half_close(struct client *client); /* raw: nothing more comes from the guest */
void client_set_reading(struct client *client, bool on);
void client_set_deadline(struct client *client, uint64_t wait_ms); /* 0: none */
/* Uses what waits in `in`, as far as it can be used now. */
void client_resume(struct client *client);
/* Sends; of the exchange's stream consumed_n bytes get their credit when all of it was taken. */
void client_send(struct client *client, const uv_buf_t *buffers, unsigned buffers_n,
		 size_t consumed_n);
struct sockaddr_storage client_peer(const struct client *client); /* of one that is gone: 0.0.0.0 */
void client_send_sealed(struct client *client); /* what its TLS session has to say */

/* requests.c */
/* How many of the bytes could be used. */
size_t request_take(struct client *client, const uint8_t *bytes, size_t bytes_n);
void request_on_writable(struct client *client);

/* search.c */
/* ROUTED: it is being found out for whom the request is; then `found` is set, and client_resume
 * takes its head again, or it is answered. Else a refusal: `otherwise` if it is no signed URL. */
enum outcome search_begin(struct client *client, const struct http_head *head,
			  enum outcome otherwise);
void search_cancel(struct client *client); /* if there is one */
/* Found in vain so far, and here is one more. */
void search_on_bound(struct client *client, const struct sandbox_slot *slot);

/* responses.c */
/* What the exchange's leg tells: bytes, their end, or that it is lost. */
void response_on_data(struct client *client, const uint8_t *bytes, size_t bytes_n);
void response_on_end(struct client *client);
void response_on_reset(struct client *client, enum outcome outcome);
/* Instead of the guest's response, or what is left of it. */
void response_answer(struct client *client, enum outcome outcome);
void response_refuse_head(struct client *client, int status, const char *message);
/* Ready for the next request, or for the end of the connection. */
void response_done(struct client *client);
/* The exchange is over: its stream is let go of. */
void exchange_end(struct client *client, enum outcome outcome);

#endif
