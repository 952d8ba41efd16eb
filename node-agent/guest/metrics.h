/* How busy the machine is, for GET /metrics. */
#ifndef FLOTILLA_GUEST_METRICS_H
#define FLOTILLA_GUEST_METRICS_H

#include <jansson.h>
#include <stdint.h>

/* The processors' time, in ticks, at some instant. */
struct metrics_ticks {
	uint64_t busy, total;
};

/*
 * The instants that answers count from: what is told was used since one that is at least a second
 * back (or since the beginning, which /init sets anew), however often somebody asks.
 */
struct metrics {
	struct metrics_ticks base, latest;
};

/* Begins to count. */
void metrics_init(struct metrics *metrics);

/* The share of the processors used up to 'now', in percent of all of them together, rounded to two
 * decimals.  a_second: in ticks.  Pure. */
double metrics_used_percent(struct metrics *metrics, struct metrics_ticks now, uint64_t a_second);
/* As envd tells them; the processors since the last question with the same *before. */
json_t *metrics_json(struct metrics *before);

#endif
