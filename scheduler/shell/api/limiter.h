/*
 * How often somebody may ask: token buckets, found by name, in memory that never grows.
 *
 * A bucket holds `burst` tokens and gets `burst` new ones in `period_ms`, evenly.  Names are hashed
 * with a secret, so nobody can choose whom to share a place with; where a row of the table is
 * full, the bucket that was not used for longest gives way, which at worst forgives somebody.
 * Pure: the time comes with the call.
 */
#ifndef FLOTILLA_API_LIMITER_H
#define FLOTILLA_API_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

enum {
	LIMITER_ROWS = 2048,
	LIMITER_WAYS = 8, /* buckets of a row */
	LIMITER_SEED_N = 16,
};

struct limiter_rate {
	uint32_t burst; /* 0: no limit */
	uint32_t period_ms;
};

struct limiter_bucket {
	uint64_t name; /* hash; 0: free */
	uint64_t tokens_micro;
	uint64_t at_ms; /* when tokens_micro was true */
};

struct limiter {
	uint8_t seed[LIMITER_SEED_N];
	struct limiter_bucket rows[LIMITER_ROWS][LIMITER_WAYS];
};

struct limiter_verdict {
	bool is_allowed;
	uint32_t limit, remaining;
	uint32_t reset_s; /* until the bucket is full again */
	uint32_t retry_s; /* refused: when there is a token again, at least 1 */
};

/* Zeroed storage; about 400 KiB, of which only what is used is touched. */
void limiter_init(struct limiter *limiter, const uint8_t seed[LIMITER_SEED_N]);

/* Takes a token of the bucket `kind:name`, if there is one. */
struct limiter_verdict limiter_take(struct limiter *limiter, char kind, const char *name,
				    struct limiter_rate rate, uint64_t now_ms);

#endif
