/*
 * The clocks of one machine.  The monotonic one runs a little too fast or too slow and counts from
 * its boot; the wall clock is off by something that may change at any moment.
 */
#ifndef FLOTILLA_SIM_CLOCK_H
#define FLOTILLA_SIM_CLOCK_H

#include "common/base/units.h"

#include <stdint.h>

struct clock {
	int64_t booted_ns; /* world's time */
	int64_t origin_ns; /* what the monotonic clock said then */
	int32_t fast_ppm;  /* millionths; negative: slow */
	int64_t skew_ns;   /* of the wall clock */
};

struct mono clock_mono(const struct clock *clock, int64_t at_ns);
struct wall clock_wall(const struct clock *clock, int64_t at_ns);

/* The first instant of the world at which the clock says so. */
int64_t clock_world_ns(const struct clock *clock, struct mono at);

/* How long from this instant of the world until then; 0: it is past. */
int64_t clock_until_ns(const struct clock *clock, int64_t now_ns, struct mono at);

/* What a wall clock that is right says at the world's beginning. */
#define CLOCK_WALL_BEGIN_NS (1700000000 * NS_PER_S)

#endif
