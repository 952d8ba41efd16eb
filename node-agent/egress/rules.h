/*
 * What is done with what a sandbox sends where it may: the fields that its requests get, and the
 * proxy that its connections go through (of the same message `egress` that policy.h reads).  Pure.
 */
#ifndef FLOTILLA_EGRESS_RULES_H
#define FLOTILLA_EGRESS_RULES_H

#include "common/base/err.h"
#include "proto/wire.h"

/* All zero: none, and no proxy. */
struct egress_rules {
	struct wire_egress wire; /* texts and lists of it are in: */
	uint8_t *bytes, *lists;
	size_t bytes_n;
};

/* Takes the place of what is there.  Fault: not such a message, and nothing has changed. */
int egress_rules_read(struct egress_rules *rules, const struct wire_bytes *bytes, struct err *err);
void egress_rules_free(struct egress_rules *rules); /* and wipes it: there are secrets in it */

/* Whether connections go out by the same proxy, with the same password and trust, or by none. */
bool egress_rules_share_proxy(const struct egress_rules *one, const struct egress_rules *other);

/* The one for requests to this host, by any case: its own, else the longest "*.x" that it is below
 * of; NULL: none. */
const struct wire_egress_rule *egress_rules_find(const struct egress_rules *rules,
						 const char *name);

#endif
