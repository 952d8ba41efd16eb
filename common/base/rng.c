#include "common/base/rng.h"

#include "common/base/check.h"

uint64_t rng_next(struct rng *rng)
{
	uint64_t z = (rng->state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t rng_below(struct rng *rng, uint64_t limit)
{
	CHECK(limit > 0);
	return (uint64_t)(((unsigned __int128)rng_next(rng) * limit) >> 64);
}

bool rng_one_in(struct rng *rng, uint64_t one_in)
{
	return rng_below(rng, one_in) == 0;
}
