#include "scheduler/ledger/rate.h"

#include "common/base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *meter_name(enum meter meter)
{
	switch (meter) {
#define METER(name, number, text, divisor, price_nano, unit)                                       \
	case METER_##name:                                                                         \
		return text;
#include "scheduler/ledger/meters.def"
#undef METER
	}
	return "";
}

/* Written without ms + 500, which could overflow. */
static int64_t rate_whole_seconds(int64_t ms)
{
	return ms / 1000 + (ms % 1000 >= 500);
}

/* What is due for an incarnation that ran `seconds` so far; false when it does not fit. */
static bool rate_due(int64_t seconds, int64_t units, const struct rate_price *price,
		     int64_t *out_quantity, int64_t *out_nano)
{
	int64_t quantity;
	__int128 due;

	if (__builtin_mul_overflow(seconds, units, &quantity))
		return false;
	due = ((__int128)quantity * price->price_nano * 2 + price->divisor) / (price->divisor * 2);
	if (due > INT64_MAX)
		return false;
	*out_quantity = quantity;
	*out_nano = (int64_t)due;
	return true;
}

bool rate_slice(const struct rate_slice *slice, int64_t units, const struct rate_price *price,
		struct rate_result *out)
{
	int64_t from_s = rate_whole_seconds(slice->from_ms);
	int64_t to_s = rate_whole_seconds(slice->to_ms);
	int64_t from_quantity, to_quantity, from_nano, to_nano;

	CHECK(slice->from_ms >= 0 && slice->from_ms <= slice->to_ms);
	CHECK(units >= 0 && price->price_nano >= 0 && price->divisor > 0);
	if (slice->final && to_s == 0)
		to_s = 1;
	if (!rate_due(from_s, units, price, &from_quantity, &from_nano) ||
	    !rate_due(to_s, units, price, &to_quantity, &to_nano))
		return false;
	if (slice->free)
		*out = (struct rate_result){.unbilled_seconds = to_s - from_s};
	else
		*out = (struct rate_result){.seconds = to_s - from_s,
					    .quantity = to_quantity - from_quantity,
					    .amount_nano = to_nano - from_nano};
	return true;
}

void rate_format_money(int64_t nano, char out_text[RATE_MONEY_TEXT_MAX])
{
	uint64_t size = nano < 0 ? 0 - (uint64_t)nano : (uint64_t)nano;

	snprintf(out_text, RATE_MONEY_TEXT_MAX, "%s%" PRIu64 ".%09" PRIu64, nano < 0 ? "-" : "",
		 size / 1000000000u, size % 1000000000u);
}

/* "1.2300" to "1.23", "4.000" to "4". */
static void rate_trim(char *text)
{
	size_t n = strlen(text);

	while (n > 0 && text[n - 1] == '0')
		n--;
	if (n > 0 && text[n - 1] == '.')
		n--;
	text[n] = 0;
}

void rate_format_price(int64_t nano, char out_text[RATE_MONEY_TEXT_MAX])
{
	rate_format_money(nano, out_text);
	rate_trim(out_text);
}

void rate_format_gib(int64_t mib_seconds, char out_text[RATE_GIB_TEXT_MAX])
{
	CHECK(mib_seconds >= 0);
	snprintf(out_text, RATE_GIB_TEXT_MAX, "%" PRId64 ".%010" PRId64, mib_seconds / 1024,
		 mib_seconds % 1024 * 9765625);
	rate_trim(out_text);
}
