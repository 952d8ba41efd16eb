/*
 * The name that a client asks for in its first bytes: the server name of a TLS greeting, or the
 * host of an HTTP request.  Pure; the bytes are a sandbox's, hence hostile.
 */
#ifndef FLOTILLA_EGRESS_SNIFF_H
#define FLOTILLA_EGRESS_SNIFF_H

#include "node-agent/egress/policy.h"

enum {
	EGRESS_SNIFF_MAX = 16 * 1024 + 5, /* a TLS record, which a greeting must fit into */
};

enum egress_sniff {
	EGRESS_SNIFF_NAME,
	EGRESS_SNIFF_MORE, /* call again with more behind these bytes; not at EGRESS_SNIFF_MAX */
	EGRESS_SNIFF_NONE, /* it names nothing, or is neither */
};

/* out_name: as sent, with EGRESS_SNIFF_NAME. */
enum egress_sniff egress_sniff(const uint8_t *bytes, size_t n, char out_name[EGRESS_NAME_MAX]);

#endif
