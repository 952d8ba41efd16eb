/* The operator's settings for the sandboxes' network, as shims are told them. */
#ifndef FLOTILLA_NODE_EGRESS_H
#define FLOTILLA_NODE_EGRESS_H

#include "common/base/err.h"
#include "node-agent/egress/policy.h"
#include "node-agent/shell/options.h"

/*
 * For egress_host_parse; "" when sandboxes shall have none.  shim: the path of flotilla-shim, whose
 * neighbour, flotilla-egress, is tried.  Fault: a setting is none, or a network cannot be made
 * here, and why.
 */
int egress_settings(const struct agent_options *options, const char *shim,
		    char out_text[EGRESS_HOST_TEXT_MAX], struct err *err);

#endif
