/*
 * The requests of one connection to a host that there is a rule for, on their way out: each gets
 * the rule's fields in place of its own of these names, all else passes as it is.  Of the responses
 * only those that change the protocol are looked at.  HTTP/1.x alone.  Pure; what a sandbox sends
 * is hostile.
 */
#ifndef FLOTILLA_EGRESS_REQUESTS_H
#define FLOTILLA_EGRESS_REQUESTS_H

#include "common/base/bytes.h"
#include "common/http/body.h"
#include "node-agent/egress/policy.h"
#include "node-agent/egress/rules.h"

enum { REQUESTS_ANSWER_MAX = 1024 };

enum requests_step {
	REQUESTS_HEAD,
	REQUESTS_BODY,
	REQUESTS_HELD, /* it wants another protocol: the response decides what follows */
	REQUESTS_RAW,  /* another protocol, both ways */
};

struct requests {
	char host[EGRESS_NAME_MAX]; /* that all of them are to be for */
	enum requests_step step;
	struct bytes in; /* of a head that is not whole, or what came while held */
	size_t scanned_n;
	struct http_body_reader body;
	struct bytes response; /* while held: its head */
	size_t response_scanned_n;
};

void requests_begin(struct requests *requests, const char *host);
void requests_end(struct requests *requests); /* frees */

/*
 * More of what the client sends; what goes to the server is added to out.  rule: as it is now, or
 * NULL.  False: one of them cannot go; out_answer is what the client is to be told, after which the
 * connection ends.
 */
bool requests_take(struct requests *requests, const struct wire_egress_rule *rule,
		   const uint8_t *bytes, size_t n, struct bytes *out,
		   char out_answer[REQUESTS_ANSWER_MAX]);

/* What the server sends, which goes to the client unchanged.  True: what waited is to be taken, by
 * a call of requests_take with nothing more. */
bool requests_hear(struct requests *requests, const uint8_t *bytes, size_t n);

/* An answer of the keeper's own, whole; the connection ends behind it. */
void requests_answer(int status, const char *text, char out_answer[REQUESTS_ANSWER_MAX]);

#endif
