/* What the files of the shims offer to each other. */
#ifndef FLOTILLA_SIM_SHIMS_INTERNAL_H
#define FLOTILLA_SIM_SHIMS_INTERNAL_H

#include "tests/sim/shims.h"

/* ---- shims.c ---- */

struct shim *shims_find_serial(const struct world *world, uint32_t host, uint64_t serial);
void shims_plan(struct world *world, uint32_t host, const struct shim *shim, int64_t in_ns,
		void (*fn)(struct world *world, const struct call *call));
void shims_end(struct world *world, uint32_t host, struct shim *shim, enum cause cause, bool gone);

/* ---- shims_lease.c ---- */

/* With its claim. False: it is over already. */
bool shims_lease_begin(struct world *world, uint32_t host, struct shim *shim, struct mono until);

/* Freezes or thaws it if it is time. */
void shims_lease_look(struct world *world, uint32_t host, struct shim *shim);

#endif
