/* Rating: rows for its rules, and properties over random slices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/base/rng.h"
#include "scheduler/ledger/rate.h"

#include <string.h>

static const struct rate_price vcpu = {14000, 1}, memory = {4500, 1024};

static void whole_seconds_are_rounded_half_up_and_are_one_at_least(void **state)
{
	static const struct {
		int64_t from_ms, to_ms;
		bool final;
		int64_t seconds;
	} rows[] = {
		{0, 0, false, 0},      {0, 0, true, 1},          {0, 1, true, 1},
		{0, 499, false, 0},    {0, 499, true, 1},        {0, 500, false, 1},
		{0, 1499, true, 1},    {0, 1500, true, 2},       {499, 500, false, 1},
		{500, 1499, false, 0}, {500, 1500, true, 1},     {1500, 1500, true, 0},
		{400, 400, true, 1},   {0, 3600000, true, 3600}, {3599500, 3600499, true, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		struct rate_slice slice = {rows[i].from_ms, rows[i].to_ms, rows[i].final, false};
		struct rate_result result;
		assert_true(rate_slice(&slice, 2, &vcpu, &result));
		assert_int_equal(result.seconds, rows[i].seconds);
		assert_int_equal(result.quantity, rows[i].seconds * 2);
		assert_int_equal(result.amount_nano, rows[i].seconds * 2 * 14000);
	}
}

static void a_free_slice_is_counted_and_costs_nothing(void **state)
{
	struct rate_result before, free, whole;

	(void)state;
	/* The end of 0..2600 ms, of which 1400 were billed before. */
	assert_true(rate_slice(&(struct rate_slice){0, 1400, false, false}, 2, &vcpu, &before));
	assert_true(rate_slice(&(struct rate_slice){1400, 2600, true, true}, 2, &vcpu, &free));
	assert_true(rate_slice(&(struct rate_slice){0, 2600, true, false}, 2, &vcpu, &whole));
	assert_int_equal(before.seconds, 1);
	assert_int_equal(before.unbilled_seconds, 0);
	assert_int_equal(free.seconds, 0);
	assert_int_equal(free.quantity, 0);
	assert_int_equal(free.amount_nano, 0);
	assert_int_equal(before.seconds + free.unbilled_seconds, whole.seconds);
	/* Not even the second that every incarnation has. */
	assert_true(rate_slice(&(struct rate_slice){0, 10, true, true}, 2, &vcpu, &free));
	assert_int_equal(free.amount_nano, 0);
	assert_int_equal(free.unbilled_seconds, 1);
}

static void a_bill_cannot_depend_on_where_it_was_cut(void **state)
{
	struct rng rng = {1};

	(void)state;
	for (int round = 0; round < 20000; round++) {
		int64_t total_ms = (int64_t)rng_below(&rng, rng_one_in(&rng, 4) ? 3000 : 90000000);
		int64_t units = 1 + (int64_t)rng_below(&rng, 5000), at = 0;
		const struct rate_price *price = rng_one_in(&rng, 2) ? &memory : &vcpu;
		struct rate_slice whole = {0, total_ms, true, false};
		struct rate_result sum = {0}, once, part;

		assert_true(rate_slice(&whole, units, price, &once));
		do {
			int64_t left = total_ms - at;
			int64_t step = (int64_t)rng_below(&rng, (uint64_t)left + 1);
			struct rate_slice slice = {at, at + step, false, false};
			if (rng_one_in(&rng, 5) || step == 0) {
				slice.to_ms = total_ms;
				slice.final = true;
			}
			assert_true(rate_slice(&slice, units, price, &part));
			sum.seconds += part.seconds;
			sum.quantity += part.quantity;
			sum.amount_nano += part.amount_nano;
			at = slice.to_ms;
			if (slice.final)
				break;
		} while (true);
		assert_int_equal(sum.seconds, once.seconds);
		assert_int_equal(sum.quantity, once.quantity);
		assert_int_equal(sum.amount_nano, once.amount_nano);
	}
}

static void an_amount_is_within_half_a_nano_of_the_exact_one(void **state)
{
	struct rng rng = {2};

	(void)state;
	for (int round = 0; round < 20000; round++) {
		struct rate_slice slice = {0, (int64_t)rng_below(&rng, 1000000000), true, false};
		struct rate_result result;
		int64_t mib = 1 + (int64_t)rng_below(&rng, 1 << 20);

		assert_true(rate_slice(&slice, mib, &memory, &result));
		__int128 exact_1024 = (__int128)result.seconds * mib * 4500;
		__int128 off = (__int128)result.amount_nano * 1024 - exact_1024;
		assert_true(off <= 512 && off >= -512);
	}
}

static void nonsense_is_refused_and_not_wrapped_around(void **state)
{
	struct rate_slice ages = {0, INT64_MAX, true, false};
	struct rate_result result;

	(void)state;
	assert_false(rate_slice(&ages, 1 << 24, &memory, &result));
	assert_false(rate_slice(&ages, 4096, &vcpu, &result));
	ages.to_ms = 1000LL * 86400 * 36500;
	assert_true(rate_slice(&ages, 4096, &vcpu, &result));
	assert_int_equal(result.amount_nano, 86400LL * 36500 * 4096 * 14000);
}

static void money_is_written_exactly(void **state)
{
	static const struct {
		int64_t nano;
		const char *money, *price;
	} rows[] = {
		{0, "0.000000000", "0"},
		{14000, "0.000014000", "0.000014"},
		{4500, "0.000004500", "0.0000045"},
		{100000000000, "100.000000000", "100"},
		{-1, "-0.000000001", "-0.000000001"},
		{1234567, "0.001234567", "0.001234567"},
		{INT64_MIN, "-9223372036.854775808", "-9223372036.854775808"},
	};
	char text[RATE_MONEY_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		rate_format_money(rows[i].nano, text);
		assert_string_equal(text, rows[i].money);
		rate_format_price(rows[i].nano, text);
		assert_string_equal(text, rows[i].price);
	}
}

static void gib_seconds_are_written_exactly(void **state)
{
	static const struct {
		int64_t mib_seconds;
		const char *text;
	} rows[] = {{0, "0"},
		    {1024, "1"},
		    {512, "0.5"},
		    {1, "0.0009765625"},
		    {1535, "1.4990234375"},
		    {10240, "10"}};
	char text[RATE_GIB_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		rate_format_gib(rows[i].mib_seconds, text);
		assert_string_equal(text, rows[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_seconds_are_rounded_half_up_and_are_one_at_least),
		cmocka_unit_test(a_free_slice_is_counted_and_costs_nothing),
		cmocka_unit_test(a_bill_cannot_depend_on_where_it_was_cut),
		cmocka_unit_test(an_amount_is_within_half_a_nano_of_the_exact_one),
		cmocka_unit_test(nonsense_is_refused_and_not_wrapped_around),
		cmocka_unit_test(money_is_written_exactly),
		cmocka_unit_test(gib_seconds_are_written_exactly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
