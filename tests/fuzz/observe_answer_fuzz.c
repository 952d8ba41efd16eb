/* What a guest answers when its shim asks how it is: any bytes give what can be said on, or a no.
 */
#include "common/base/check.h"
#include "common/base/units.h"
#include "node-agent/shim/observe.h"

#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t out[WIRE_MESSAGE_MAX];
static struct observe_answer answer;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const int64_t since = 1000 * NS_PER_S, now = 2000 * NS_PER_S;
	struct wire_observed observed = {.sandbox = {"i0"}, .samples = &answer.sample};
	json_t *document;
	struct err err;
	size_t n;

	if (!observe_read((const char *)data, size, size & 1, since, now, &answer, &document))
		return 0;
	CHECK(answer.cpu_used_pct >= 0 && answer.cpu_used_pct <= 100);
	for (size_t i = 0; i < answer.lines_n; i++)
		CHECK(answer.lines[i].at_wall_ns >= since && answer.lines[i].at_wall_ns <= now);
	answer.sample.at_wall_ns = now;
	observed.samples_n = 1;
	observed.lines = answer.lines;
	observed.lines_n = answer.lines_n;
	CHECK(wire_observed_encode(&observed, out, sizeof(out), &n, &err) == 0);
	json_decref(document);
	return 0;
}
