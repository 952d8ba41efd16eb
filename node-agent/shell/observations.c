#include "node-agent/shell/observations.h"

#include "node-agent/shell/host.h"
#include "node-agent/shell/links.h"

/* False: they are beyond the budget. */
static bool take(struct observations *observations, const struct wire_observed *observed)
{
	int64_t now_ns = host_mono().ns, cost = 0;
	int64_t passed_ms = (now_ns - observations->at_ns) / NS_PER_MS;

	if (passed_ms >= OBSERVATIONS_FULL_MS) {
		observations->budget = OBSERVATIONS_BURST;
		observations->at_ns = now_ns;
	} else {
		observations->budget += passed_ms * OBSERVATIONS_BYTES_PER_S / 1000;
		observations->at_ns += passed_ms * NS_PER_MS;
	}
	if (observations->budget > OBSERVATIONS_BURST)
		observations->budget = OBSERVATIONS_BURST;
	for (size_t i = 0; i < observed->lines_n; i++)
		cost += (int64_t)observed->lines[i].text.n + OBSERVATIONS_LINE_COST;
	if (cost > observations->budget)
		return false;
	observations->budget -= cost;
	return true;
}

void observations_pass(struct observations *observations, struct links *links,
		       const struct wire_observed *observed)
{
	struct wire_observed passed = *observed;

	if (!take(observations, observed)) {
		passed.lost_n += passed.lines_n;
		passed.lines_n = 0;
	}
	if (passed.lost_n > INT64_MAX)
		passed.lost_n = INT64_MAX;
	links_observed(links, &passed);
}
