/* Images of registries, by skopeo: tokens, indexes, hashes and retries are its trade. */
#ifndef FLOTILLA_TEMPLATE_REGISTRY_H
#define FLOTILLA_TEMPLATE_REGISTRY_H

#include "common/base/err.h"

struct build_request;

/* reference: a whole name. Becomes an OCI image layout in dir/layout; takes minutes.  Fault: also
 * when what comes is larger than the request allows. */
int registry_fetch(const struct build_request *request, const char *reference, const char *dir,
		   struct err *err);

#endif
