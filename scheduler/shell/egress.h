/*
 * What a sandbox may reach, from what its tenant asked for of `network` (JSON, as the store keeps
 * it) to what its node is told.
 */
#ifndef FLOTILLA_SHELL_EGRESS_H
#define FLOTILLA_SHELL_EGRESS_H

#include "proto/wire.h"

#include <stdbool.h>

enum { EGRESS_ENTRIES_MAX = 64 }; /* of allowOut, and of denyOut */

/* "a.b.c.d" or "a.b.c.d/bits". */
bool egress_range_parse(const char *text, struct wire_egress_range *out_range);

/* The name of a host, "*.name" for all below it, or "*". */
bool egress_is_name(const char *text);

/* An encoded wire_egress; its length.  network: NULL for nothing asked, which allows all. */
size_t egress_encode(const char *network, uint8_t out_bytes[WIRE_EGRESS_MAX]);

#endif
