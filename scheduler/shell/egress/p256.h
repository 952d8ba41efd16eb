/*
 * Key pairs of P-256 that are derived from the fleet's secrets, not stored: every replica has them,
 * and a restored backup has them again.
 */
#ifndef FLOTILLA_SHELL_EGRESS_P256_H
#define FLOTILLA_SHELL_EGRESS_P256_H

#include "common/base/err.h"
#include "scheduler/shell/secrets.h"

#include <gnutls/x509.h>

enum { P256_N = 32 }; /* bytes of a coordinate */

struct p256 {
	uint8_t x[P256_N], y[P256_N]; /* the point, big-endian */
	uint8_t k[P256_N];            /* the secret number */
};

/* For this purpose and, if it is for one, this tenant (else ""). */
struct p256 p256_derive(const struct secrets *secrets, const char *purpose, const char *tenant);

/* For gnutls_x509_privkey_deinit. */
int p256_key(const struct p256 *pair, gnutls_x509_privkey_t *out_key, struct err *err);

#endif
