/*
 * The heads that the gateway sends: what came from one side, made fit for the connection to the
 * other, and answers of its own.  Pure.
 */
#ifndef FLOTILLA_GATEWAY_REWRITE_H
#define FLOTILLA_GATEWAY_REWRITE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/ids.h"
#include "common/http/head.h"
#include "scheduler/gateway/route.h"

enum {
	REWRITE_HEAD_MAX = HTTP_HEAD_MAX, /* a larger one could not be read again */
	REWRITE_ANSWER_MAX = 2048,
};

/*
 * The request as the guest sees it: HTTP/1.1, origin form, one request a connection
 * ("Connection: close"), upgrades kept; host: instead of the client's, or NULL; from: the client's
 * address, said in X-Forwarded-For instead of what was there, or NULL.  Returns its length; 0 when
 * it cannot be sent.
 */
size_t rewrite_request(const struct http_head *head, const char *host, const char *from,
		       char out[REWRITE_HEAD_MAX]);

/* How the tenant gets a response. */
struct rewrite_plan {
	bool is_last; /* the connection ends after it */
	bool dechunk; /* the tenant speaks HTTP/1.0: the body goes without its chunks */
};

/* Likewise. request_minor: the tenant's HTTP/1.x. */
size_t rewrite_response(const struct http_head *head, int request_minor,
			const struct rewrite_plan *plan, char out[REWRITE_HEAD_MAX]);

/* An answer of the gateway's own, whole: JSON, or a page when a browser asks. */
struct rewrite_answer {
	enum outcome outcome;     /* one with a status */
	int status;               /* instead of the outcome's, when not 0 */
	const char *message;      /* likewise, when not NULL */
	const struct id *sandbox; /* NULL: unknown */
	uint16_t port;            /* shown for PORT_CLOSED alone */
	bool is_last, is_html, to_head;
};

size_t rewrite_answer(const struct rewrite_answer *answer, char out[REWRITE_ANSWER_MAX]);

/* Whether the client would rather see a page. */
bool rewrite_wants_html(const struct http_head *head);

int outcome_status(enum outcome outcome);
const char *outcome_message(enum outcome outcome);

#endif
