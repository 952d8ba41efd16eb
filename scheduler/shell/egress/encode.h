/*
 * What a sandbox may reach, and what is done with what it sends there, from what its tenant asked
 * for of `network` (JSON, as the store keeps it) to what its node is told.
 */
#ifndef FLOTILLA_SHELL_EGRESS_ENCODE_H
#define FLOTILLA_SHELL_EGRESS_ENCODE_H

#include "common/base/ids.h"
#include "proto/wire.h"
#include "scheduler/shell/secrets.h"
#include "scheduler/shell/store/store.h"

enum {
	EGRESS_ENTRIES_MAX = 64, /* of allowOut with the name servers, and of denyOut */
	EGRESS_HEADERS_MAX = 20, /* of a rule, and of hosts with rules: E2B's numbers */
	EGRESS_RULES_MAX = 10,
};

/* Where what is named in rules comes from. */
struct egress_sources {
	const struct secrets *secrets;
	struct store *store;
	const char *issuer; /* of identity tokens; "": there are none */
	int64_t now_s;      /* since 1970 */
};

/*
 * An encoded wire_egress; its length.  network: NULL for nothing asked, which allows all.  A field
 * of a rule that cannot be filled says so in its place; out_problem is the first such, else "".
 */
size_t egress_encode(const struct egress_sources *sources, const struct id *tenant,
		     const struct id *sandbox, const char *network,
		     uint8_t out_bytes[WIRE_EGRESS_MAX], struct err *out_problem);

#endif
