/*
 * A sandbox's network as its shim has it: a keeper (node-agent/egress), whose tap is put behind the
 * microVM's card when there is something to reach.  The card is in every snapshot, on a hub with
 * nothing else; so a clone that waits has no process, no namespace and no device for it.
 */
#ifndef FLOTILLA_SHIM_NETWORK_H
#define FLOTILLA_SHIM_NETWORK_H

#include "common/base/err.h"
#include "node-agent/egress/policy.h"

#include <stdbool.h>
#include <uv.h>

enum { SHIM_NETWORK_AGAIN_MS = 1000 }; /* until a keeper that died has a successor */

struct shim;
struct shim_keeper;

struct shim_network {
	struct shim_keeper *keeper; /* NULL: none */
	uv_timer_t timer;
	char host[EGRESS_HOST_TEXT_MAX];
	uint8_t rules[WIRE_EGRESS_MAX];
	size_t rules_n;
	uint64_t change;  /* counts the rules; which of them is in force, the keeper says */
	unsigned number;  /* of the last keeper: what QEMU has of it is named after it */
	bool is_attached; /* its tap is behind the card */
	bool is_in_force; /* it has the last rules */
	void (*done)(struct shim *shim, const struct err *err); /* NULL: nobody waits */
};

#endif
