/* Clocks that drift: whole nanoseconds in, whole nanoseconds out. */
#include "tests/sim/clock.h"

struct mono clock_mono(const struct clock *clock, int64_t at_ns)
{
	int64_t passed_ns = at_ns - clock->booted_ns;

	return (struct mono){clock->origin_ns + passed_ns + passed_ns * clock->fast_ppm / 1000000};
}

struct wall clock_wall(const struct clock *clock, int64_t at_ns)
{
	return (struct wall){at_ns + clock->skew_ns + CLOCK_WALL_BEGIN_NS};
}

int64_t clock_world_ns(const struct clock *clock, struct mono at)
{
	int64_t ns = clock->booted_ns + at.ns - clock->origin_ns;

	if (clock->fast_ppm == 0)
		return ns;
	for (int i = 0; i < 8; i++)
		ns += at.ns - clock_mono(clock, ns).ns;
	while (clock_mono(clock, ns).ns < at.ns)
		ns++;
	while (clock_mono(clock, ns - 1).ns >= at.ns)
		ns--;
	return ns;
}

int64_t clock_until_ns(const struct clock *clock, int64_t now_ns, struct mono at)
{
	int64_t ns = clock_world_ns(clock, at) - now_ns;

	return ns > 0 ? ns : 0;
}
