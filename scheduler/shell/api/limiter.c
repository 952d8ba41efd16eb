#include "scheduler/shell/api/limiter.h"

#include "common/base/check.h"

#include <sodium.h>
#include <string.h>

enum { MICRO = 1000000, NAME_MAX_N = 128 };

void limiter_init(struct limiter *limiter, const uint8_t seed[LIMITER_SEED_N])
{
	_Static_assert(LIMITER_SEED_N == crypto_shorthash_KEYBYTES, "the seed is the hash's key");
	memcpy(limiter->seed, seed, LIMITER_SEED_N);
}

static uint64_t limiter_hash(const struct limiter *limiter, char kind, const char *name)
{
	uint8_t text[NAME_MAX_N + 1] = {(uint8_t)kind};
	size_t n = strnlen(name, NAME_MAX_N);
	uint64_t hash;

	memcpy(text + 1, name, n);
	crypto_shorthash((uint8_t *)&hash, text, n + 1, limiter->seed);
	return hash ? hash : 1;
}

static struct limiter_bucket *limiter_find(struct limiter *limiter, uint64_t hash,
					   struct limiter_rate rate, uint64_t now_ms)
{
	struct limiter_bucket *row = limiter->rows[hash % LIMITER_ROWS], *oldest = row;

	for (int i = 0; i < LIMITER_WAYS; i++) {
		if (row[i].name == hash)
			return &row[i];
		if (row[i].at_ms < oldest->at_ms)
			oldest = &row[i];
	}
	*oldest = (struct limiter_bucket){hash, (uint64_t)rate.burst * MICRO, now_ms};
	return oldest;
}

static uint32_t seconds_for(uint64_t tokens_micro, struct limiter_rate rate)
{
	uint64_t ms = tokens_micro * rate.period_ms / ((uint64_t)rate.burst * MICRO);

	return (uint32_t)((ms + 999) / 1000);
}

struct limiter_verdict limiter_take(struct limiter *limiter, char kind, const char *name,
				    struct limiter_rate rate, uint64_t now_ms)
{
	struct limiter_verdict verdict = {.is_allowed = true};
	uint64_t full = (uint64_t)rate.burst * MICRO, passed_ms;
	struct limiter_bucket *bucket;

	if (rate.burst == 0)
		return verdict;
	CHECK(rate.period_ms > 0);
	bucket = limiter_find(limiter, limiter_hash(limiter, kind, name), rate, now_ms);
	passed_ms = now_ms > bucket->at_ms ? now_ms - bucket->at_ms : 0;
	if (passed_ms > rate.period_ms)
		passed_ms = rate.period_ms;
	bucket->tokens_micro += full * passed_ms / rate.period_ms;
	if (bucket->tokens_micro > full)
		bucket->tokens_micro = full;
	bucket->at_ms = now_ms;
	verdict.is_allowed = bucket->tokens_micro >= MICRO;
	if (verdict.is_allowed)
		bucket->tokens_micro -= MICRO;
	else
		verdict.retry_s = seconds_for(MICRO - bucket->tokens_micro, rate);
	if (!verdict.is_allowed && verdict.retry_s == 0)
		verdict.retry_s = 1;
	verdict.limit = rate.burst;
	verdict.remaining = (uint32_t)(bucket->tokens_micro / MICRO);
	verdict.reset_s = seconds_for(full - bucket->tokens_micro, rate);
	return verdict;
}
