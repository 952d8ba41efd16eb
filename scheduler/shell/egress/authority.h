/*
 * The authority by which a tenant's sandboxes believe the keepers of their networks to be the hosts
 * that there are rules for.  One for each tenant, so that a fork, or what begins from a snapshot,
 * believes as its source did; the same for ever, since programs that run have read it.
 */
#ifndef FLOTILLA_SHELL_EGRESS_AUTHORITY_H
#define FLOTILLA_SHELL_EGRESS_AUTHORITY_H

#include "common/base/ids.h"
#include "scheduler/shell/secrets.h"

#include <stddef.h>

struct authority {
	char certificate[2048]; /* PEM */
	size_t certificate_n;
	uint8_t key[512]; /* DER */
	size_t key_n;
};

int authority_make(const struct secrets *secrets, const struct id *tenant,
		   struct authority *out_authority, struct err *err);

#endif
