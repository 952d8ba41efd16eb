/*
 * One connection whose requests get a rule's fields: TLS ends here on both sides, if it was TLS,
 * and what lies in it goes through requests.h.  On memory: whoever owns the sockets reads and
 * writes.
 */
#ifndef FLOTILLA_EGRESS_INSPECT_H
#define FLOTILLA_EGRESS_INSPECT_H

#include "common/base/bytes.h"
#include "common/base/err.h"
#include "node-agent/egress/issue.h"
#include "node-agent/egress/rules.h"

enum { INSPECT_TAKE_MAX = 64 * 1024 + TLS_PLAIN_MORE }; /* bytes at once */

enum inspect_side { INSPECT_NEAR, INSPECT_FAR }; /* the sandbox, the world */

struct inspect;

/* host: whom the sandbox asked for.  trust: NULL, like issuer, for a connection without TLS. */
int inspect_open(struct inspect **out_inspect, const char *host, const struct issuer *issuer,
		 struct tls_config *trust, struct err *err);
void inspect_close(struct inspect *inspect); /* NULL is fine */

/*
 * What came from one side, and what is to be sent to each.  rule: for its host, as it is now, or
 * NULL.  False: it is over once that is sent.
 */
bool inspect_take(struct inspect *inspect, enum inspect_side from,
		  const struct wire_egress_rule *rule, const uint8_t *bytes, size_t n,
		  struct bytes *to_near, struct bytes *to_far);

/* Whether the far end cannot be spoken to yet. */
bool inspect_is_greeting(const struct inspect *inspect);

/* It is, and will never be: the sandbox is told why, as soon as it can be. False as above. */
bool inspect_fail(struct inspect *inspect, const char *why, struct bytes *to_near);

/* Whether the sandbox is still to be told that the far end failed, though that is gone. */
bool inspect_owes_near(const struct inspect *inspect);

/* Whether more of the sandbox's is of use now. */
bool inspect_wants_near(const struct inspect *inspect);

#endif
