/* A small deterministic generator (splitmix64), for simulations, property tests and jitter; never
 * for secrets. */
#ifndef FLOTILLA_BASE_RNG_H
#define FLOTILLA_BASE_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

uint64_t rng_next(struct rng *rng);

/* Uniform enough in [0, limit); limit > 0. */
uint64_t rng_below(struct rng *rng, uint64_t limit);

/* True once in about `one_in` calls. */
bool rng_one_in(struct rng *rng, uint64_t one_in);

#endif
