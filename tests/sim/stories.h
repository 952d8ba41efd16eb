/* Stories: one thing goes wrong in a fleet at work, and what must be true of it then. */
#ifndef FLOTILLA_SIM_STORIES_H
#define FLOTILLA_SIM_STORIES_H

#include "tests/sim/world.h"

/* Runs each; aborts the program when a promise is broken. */
void stories_run(bool print_trace, struct totals *totals);

#endif
