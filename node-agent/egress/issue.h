/*
 * Certificates made on the spot, by which a keeper is taken by its sandbox for the hosts that there
 * are rules for.  The authority is the sandbox's tenant's, known to nobody but its sandboxes.
 */
#ifndef FLOTILLA_EGRESS_ISSUE_H
#define FLOTILLA_EGRESS_ISSUE_H

#include "common/base/err.h"
#include "common/io/tls.h"
#include "proto/wire.h"

struct issuer;

/* Of a certificate (PEM) and its key (DER). */
int issuer_open(struct issuer **out_issuer, const struct wire_bytes *authority,
		const struct wire_bytes *authority_key, struct err *err);
void issuer_close(struct issuer *issuer); /* NULL is fine */

/* For one who asked for this host, for tls_config_unref. */
int issuer_config(const struct issuer *issuer, const char *host, struct tls_config **out_config,
		  struct err *err);

#endif
