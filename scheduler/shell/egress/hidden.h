/*
 * The part of a sandbox's network that holds secrets, or may: its rules, the password of its proxy,
 * and what its identity tokens are for.  Among the rest it is kept as one sealed text, so that no
 * database, log, backup or node has it in clear.
 */
#ifndef FLOTILLA_SHELL_EGRESS_HIDDEN_H
#define FLOTILLA_SHELL_EGRESS_HIDDEN_H

#include "common/base/ids.h"
#include "scheduler/shell/secrets.h"

#include <jansson.h>

/* {rules, egressProxy, iam} of the network go behind the seal, if any is there. */
void hidden_seal(const struct secrets *secrets, const struct id *tenant, json_t *network);

/* And come back. Fault: it was sealed for another, or by another key; then they are missing. */
int hidden_open(const struct secrets *secrets, const struct id *tenant, json_t *network,
		struct err *err);

void hidden_drop(json_t *network);

#endif
