/*
 * Reasons by number: why something was refused (refusals.def) and why a sandbox ended
 * (causes.def).  Both are on the wire and on disk, so a number keeps its meaning for ever.
 * The enums themselves come with the other enums of the wire.
 */
#ifndef FLOTILLA_PROTO_REASONS_H
#define FLOTILLA_PROTO_REASONS_H

#include "proto/wire.h"

struct refusal_info {
	const char *name;
	int http_status;        /* 0: not told to tenants as it stands */
	const char *error_code; /* E2B's, or "" */
	const char *text;       /* one sentence, may hold {placeholders} */
};

/* The row of a refusal. It must be one that is declared. */
const struct refusal_info *refusal_info(enum refusal refusal);

enum cause_whose { CAUSE_WHOSE_TENANT, CAUSE_WHOSE_PLATFORM };
enum cause_billing { CAUSE_BILLING_BILLED, CAUSE_BILLING_FREE };

struct cause_info {
	const char *name;
	enum cause_whose whose;
	enum cause_billing billing; /* of the slice that the end itself tells */
	const char *text;
};

/* The row of a cause. It must be one that is declared. */
const struct cause_info *cause_info(enum cause cause);

#endif
