/* The operator: changes caps, cordons nodes, and declares lost what may be declared so. */
#ifndef FLOTILLA_SIM_OPERATOR_H
#define FLOTILLA_SIM_OPERATOR_H

#include "tests/sim/world.h"

/* One decision of the first two kinds. */
void operator_decide(struct world *world);

/* Whether anything new may be placed on the node. */
void operator_cordon(struct world *world, uint32_t host, bool cordoned);

/* Declares the node lost if the scheduler that leads would take it. */
bool operator_lose(struct world *world, uint32_t host);

/* No node stays cordoned, and no tenant without credit: asked again until it is decided. */
void operator_mend(struct world *world);

#endif
