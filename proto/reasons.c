/* The tables behind reasons.h. */
#include "proto/reasons.h"

#include "common/base/check.h"

#include <stddef.h>

static const struct refusal_info refusals[] = {
#define REFUSAL(number, upper, name, http, error_code, text)                                       \
	[number] = {#name, http, error_code, text},
#include "proto/refusals.def"
#undef REFUSAL
};

static const struct cause_info causes[] = {
#define CAUSE(number, upper, name, whose, billing, text)                                           \
	[number] = {#name, CAUSE_WHOSE_##whose, CAUSE_BILLING_##billing, text},
#include "proto/causes.def"
#undef CAUSE
};

const struct refusal_info *refusal_info(enum refusal refusal)
{
	CHECK((size_t)refusal < ARRAY_N(refusals) && refusals[refusal].name);
	return &refusals[refusal];
}

const struct cause_info *cause_info(enum cause cause)
{
	CHECK((size_t)cause < ARRAY_N(causes) && causes[cause].name);
	return &causes[cause];
}
