/* How busy the machine is, for GET /metrics. */
#ifndef FLOTILLA_GUEST_METRICS_H
#define FLOTILLA_GUEST_METRICS_H

#include <stdint.h>

/* The processors' time at the last question; the next answer tells what was used since. */
struct metrics {
	uint64_t busy, total;
};

void metrics_init(struct metrics *metrics);

#endif
