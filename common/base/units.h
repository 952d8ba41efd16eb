/*
 * Quantities that must not mix.  Plain integers carry their unit in the name (retry_ms, mem_mib);
 * the two clocks are distinct types, because subtracting one from the other is always a bug.
 */
#ifndef FLOTILLA_BASE_UNITS_H
#define FLOTILLA_BASE_UNITS_H

#include <stdint.h>

/* CLOCK_BOOTTIME of one boot of one host: durations, deadlines. Only comparable within a boot. */
struct mono {
	int64_t ns;
};

/* UTC since 1970: positions, for people and for invoices. May step. */
struct wall {
	int64_t ns;
};

#define NS_PER_US 1000LL
#define NS_PER_MS 1000000LL
#define NS_PER_S  1000000000LL
#define MS_PER_S  1000LL

static inline int64_t mono_ms_since(struct mono later, struct mono earlier)
{
	return (later.ns - earlier.ns) / NS_PER_MS;
}

static inline struct mono mono_add_ms(struct mono at, int64_t ms)
{
	return (struct mono){at.ns + ms * NS_PER_MS};
}

#endif
