/* The guest's network card, as the host says at the claim; without a word it stays off. */
#ifndef FLOTILLA_GUEST_NETWORK_H
#define FLOTILLA_GUEST_NETWORK_H

#include <jansson.h>
#include <stdbool.h>

/*
 * /init's "network": {"address", "prefix", "gateway", "dns"}, IPv4, and perhaps "authority", a
 * certificate (authority.h), whereupon out_has_authority is set.  "passing": true: nothing of it
 * shall be on the disk, of which others will be made.  NULL, or what is wrong with it; absent is
 * fine.  Without apply it is only checked.  The same again changes nothing.
 */
const char *network_apply(const json_t *document, bool apply, bool *out_has_authority);

#endif
