/* The Accept-Encoding header.  Pure. */
#ifndef FLOTILLA_GUEST_ENCODING_H
#define FLOTILLA_GUEST_ENCODING_H

#include <stdbool.h>

#include "common/http/text.h"

/* Whether an answer may be sent as it is: unless "identity;q=0" or, with no word of identity,
 * "*;q=0" forbids it. */
bool encoding_identity_allowed(struct http_text accept);

#endif
