/* What the agent knows of the machine it runs on. */
#ifndef FLOTILLA_NODE_HOST_H
#define FLOTILLA_NODE_HOST_H

#include "common/base/err.h"
#include "common/base/units.h"
#include "node-agent/core/core.h"
#include "node-agent/shell/options.h"

struct mono host_mono(void);
struct wall host_wall(void);

/* The kernel's id of this boot. */
int host_boot_id(char out_boot_id[NODE_BOOT_ID_MAX], struct err *err);

/* Declared capacity, with what the host has in place of zeros. */
int host_capacity(const struct agent_options *options, struct wire_room *out_capacity,
		  struct err *err);

#endif
