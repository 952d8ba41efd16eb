/* What a tenant's rules for a network name: addresses, ranges of them, and hosts.  Pure. */
#ifndef FLOTILLA_SHELL_EGRESS_ADDRESSES_H
#define FLOTILLA_SHELL_EGRESS_ADDRESSES_H

#include "proto/wire.h"

#include <stdbool.h>

/* "a.b.c.d" or "a.b.c.d/bits". */
bool egress_range_parse(const char *text, struct wire_egress_range *out_range);

/* The name of a host, "*.name" for all below it, or "*". */
bool egress_is_name(const char *text);

/* "host:port", the host a name or an IPv4 address, cut in two in out_host. */
bool egress_is_endpoint(const char *text, char out_host[254], uint16_t *out_port);

#endif
