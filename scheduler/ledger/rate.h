/*
 * From metered time to money: pure integer arithmetic, no ledger, no clock.
 *
 * An incarnation (one life of a sandbox) is metered in cumulative milliseconds.  A slice of it is
 * rated as the difference of what is due at its two ends, so that the bill cannot depend on where
 * slices were cut:
 *
 *	whole seconds = cumulative milliseconds, rounded half up; an ended incarnation has at least
 *1 quantity      = whole seconds x units (vCPUs, or MiB of memory) amount        = cumulative
 *quantity x unit price / divisor, rounded half up to nano-dollars
 */
#ifndef FLOTILLA_LEDGER_RATE_H
#define FLOTILLA_LEDGER_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What every bill and export says about how it was made; a changed rule gets a new number. */
#define RATE_RULE                                                                                  \
	"2: cumulative ms per incarnation and meter; whole seconds by rounding half up; at least " \
	"1 s an incarnation; cumulative nano-USD by rounding half up; the slice that ends in a "   \
	"failure of the platform is free"

enum meter {
#define METER(name, number, text, divisor, price_nano, unit) METER_##name = number,
#include "scheduler/ledger/meters.def"
#undef METER
};
enum { METER_MAX = 2 };

const char *meter_name(enum meter meter);

/* A meter's price: price_nano for `divisor` units held during one second (1 vCPU; 1024 MiB). */
struct rate_price {
	int64_t price_nano;
	int64_t divisor; /* > 0 */
};

/* Milliseconds from_ms..to_ms of an incarnation; final: no slice comes after it. */
struct rate_slice {
	int64_t from_ms, to_ms; /* 0 <= from_ms <= to_ms */
	bool final;
	bool free; /* it is counted, and costs nothing */
};

struct rate_result {
	int64_t seconds;          /* whole, of this slice, that are billed */
	int64_t quantity;         /* seconds x units */
	int64_t amount_nano;      /* of this slice */
	int64_t unbilled_seconds; /* instead of seconds, when the slice is free */
};

/* False when a number does not fit: the slice is nonsense (centuries of terabytes). */
bool rate_slice(const struct rate_slice *slice, int64_t units, const struct rate_price *price,
		struct rate_result *out);

enum {
	RATE_MONEY_TEXT_MAX = 32,
	RATE_GIB_TEXT_MAX = 40,
};

/* "0.001234567", "-2.000000000": dollars, always nine digits behind the point. */
void rate_format_money(int64_t nano, char out_text[RATE_MONEY_TEXT_MAX]);

/* Short form without the zeros at the end: "0.0000045", "100". */
void rate_format_price(int64_t nano, char out_text[RATE_MONEY_TEXT_MAX]);

/* MiB-seconds (>= 0) as GiB-seconds, exact: 1/1024 has ten digits behind the point. */
void rate_format_gib(int64_t mib_seconds, char out_text[RATE_GIB_TEXT_MAX]);

#endif
