/* The promises of scheduler/shell/api/limiter.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scheduler/shell/api/limiter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t seed[LIMITER_SEED_N] = "a seed for tests";

static struct limiter *fresh(void)
{
	static struct limiter limiter;

	memset(&limiter, 0, sizeof(limiter));
	limiter_init(&limiter, seed);
	return &limiter;
}

static bool take(struct limiter *limiter, const char *name, struct limiter_rate rate, uint64_t at)
{
	return limiter_take(limiter, 'r', name, rate, at).is_allowed;
}

static void a_burst_is_let_through_and_then_the_rate(void **state)
{
	const struct limiter_rate rate = {10, 1000};
	struct limiter *limiter = fresh();
	uint32_t n = 0;

	(void)state;
	for (int i = 0; i < 20; i++)
		n += take(limiter, "a", rate, 5000);
	assert_int_equal(n, 10);
	assert_false(take(limiter, "a", rate, 5099));
	assert_true(take(limiter, "a", rate, 5100));
	assert_false(take(limiter, "a", rate, 5100));
	/* Each millisecond for ten seconds: one token in a hundred of them, none lost in between.
	 */
	n = 0;
	for (uint64_t at = 5101; at <= 15100; at++)
		n += take(limiter, "a", rate, at);
	assert_int_equal(n, 100);
	/* However long the pause, there is one burst. */
	n = 0;
	for (int i = 0; i < 20; i++)
		n += take(limiter, "a", rate, 1000000000);
	assert_int_equal(n, 10);
}

static void a_refusal_says_when_to_come_again(void **state)
{
	const struct limiter_rate rate = {3, 30000};
	struct limiter *limiter = fresh();
	struct limiter_verdict verdict = {0};

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		verdict = limiter_take(limiter, 'r', "a", rate, 1000);
		assert_true(verdict.is_allowed);
		assert_int_equal(verdict.limit, 3);
		assert_int_equal(verdict.remaining, 2 - i);
	}
	assert_int_equal(verdict.reset_s, 30);
	verdict = limiter_take(limiter, 'r', "a", rate, 1500);
	assert_false(verdict.is_allowed);
	assert_int_equal(verdict.retry_s, 10);
	assert_false(limiter_take(limiter, 'r', "a", rate, 1000 + 9999).is_allowed);
	assert_true(limiter_take(limiter, 'r', "a", rate, 1000 + 10000).is_allowed);
	/* A clock that steps back neither gives nor takes. */
	assert_false(limiter_take(limiter, 'r', "a", rate, 500).is_allowed);
	/* Less than a second is a second. */
	verdict = (struct limiter_verdict){.is_allowed = true};
	for (int i = 0; i < 101; i++)
		verdict = limiter_take(limiter, 'r', "b", (struct limiter_rate){100, 1000}, 7);
	assert_false(verdict.is_allowed);
	assert_int_equal(verdict.retry_s, 1);
}

static void nobody_pays_for_another(void **state)
{
	const struct limiter_rate rate = {1, 1000};
	struct limiter *limiter = fresh();

	(void)state;
	assert_true(take(limiter, "a", rate, 1));
	assert_true(take(limiter, "b", rate, 1));
	assert_true(limiter_take(limiter, 'c', "a", rate, 1).is_allowed);
	assert_false(take(limiter, "a", rate, 1));
	assert_true(take(limiter, "a", (struct limiter_rate){0, 0}, 1)); /* no limit */
}

/* A flood of names costs no memory, and does not free who is being limited now. */
static void a_flood_of_names_frees_nobody_who_asks_on(void **state)
{
	const struct limiter_rate rate = {1, 1000000};
	struct limiter *limiter = fresh();
	uint64_t at = 1;
	char name[16];

	(void)state;
	assert_true(take(limiter, "loud", rate, at));
	for (int i = 0; i < 200000; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		take(limiter, name, rate, ++at);
		if (i % 100 == 0)
			assert_false(take(limiter, "loud", rate, ++at));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_is_let_through_and_then_the_rate),
		cmocka_unit_test(a_refusal_says_when_to_come_again),
		cmocka_unit_test(nobody_pays_for_another),
		cmocka_unit_test(a_flood_of_names_frees_nobody_who_asks_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
