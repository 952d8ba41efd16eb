/* What polls say of this node. */
#ifndef FLOTILLA_NODE_REPORT_H
#define FLOTILLA_NODE_REPORT_H

#include "proto/wire.h"

struct agent;

/* All of it but epoch, log and goodbye, which are the links'.  Without a loaded core it is what was
 * true last, and that there may be claims which nobody has counted. templates: storage of
 * NODE_TEMPLATES_MAX. */
void report_fill(struct agent *agent, struct wire_poll *poll, struct wire_template *templates);

/* The core's state will be dropped: keeps what is still true without it. */
void report_keep(struct agent *agent);

#endif
