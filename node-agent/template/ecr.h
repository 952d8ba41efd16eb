/*
 * Logging in to Amazon's registries: a password for twelve hours, for an access key.
 *
 * Source: Amazon ECR API Reference, GetAuthorizationToken; AWS Signature Version 4.
 */
#ifndef FLOTILLA_TEMPLATE_ECR_H
#define FLOTILLA_TEMPLATE_ECR_H

#include "common/base/err.h"

struct ecr_account {
	const char *key_id, *secret; /* of an access key */
	const char *region;          /* small letters, digits and hyphens, 32 at most */
	const char *endpoint;        /* URL of the service; NULL or empty: the region's */
};

/* Base64 of "AWS:password", as skopeo's and Docker's files have it; to be freed.  NULL: err says
 * what Amazon said. */
char *ecr_login(const struct ecr_account *account, struct err *err);

#endif
