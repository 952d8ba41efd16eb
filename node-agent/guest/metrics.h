/* How busy the machine is, for GET /metrics. */
#ifndef FLOTILLA_GUEST_METRICS_H
#define FLOTILLA_GUEST_METRICS_H

#include <jansson.h>
#include <stdint.h>

/* The processors' time at the last question; the next answer tells what was used since. */
struct metrics {
	uint64_t busy, total;
};

void metrics_init(struct metrics *metrics);

/* As envd tells them; the processors since the last question with the same *before. */
json_t *metrics_json(struct metrics *before);

#endif
