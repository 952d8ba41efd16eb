/* What goes wrong in a seed: a random subset of all that can. */
#ifndef FLOTILLA_SIM_FAULTS_H
#define FLOTILLA_SIM_FAULTS_H

#include "tests/sim/world.h"

void faults_choose(struct world *world);
void faults_begin(struct world *world);

/* From now on nothing fails, and what is cut is mended. */
void faults_end(struct world *world);

#endif
