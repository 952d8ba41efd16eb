/*
 * How a sandbox may be reached, from what its creator asked for of `network` (JSON, as the store
 * keeps it) to what the gateway is told.
 */
#ifndef FLOTILLA_SHELL_INGRESS_H
#define FLOTILLA_SHELL_INGRESS_H

#include "proto/wire.h"

/* An encoded wire_ingress; its length, 0 when everything is by default. */
size_t ingress_encode(const char *network, uint8_t out_bytes[WIRE_INGRESS_MAX]);

#endif
