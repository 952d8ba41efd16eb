/* Each kind of trouble that comes again and again, at its own pace. */
#ifndef FLOTILLA_SIM_TROUBLES_H
#define FLOTILLA_SIM_TROUBLES_H

#include "tests/sim/world.h"

struct trouble {
	void (*strike)(struct world *world);
	size_t mean_offset; /* in struct faults: the mean time between two */
};

extern const struct trouble troubles[];
extern const size_t troubles_n;

#endif
