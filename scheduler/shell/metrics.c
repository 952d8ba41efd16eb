#include "scheduler/shell/metrics.h"

#include "common/base/check.h"

#include <stdio.h>

/* clang-format off: lists being read */
static const char *const metric_answer_classes[METRIC_ANSWER_N] = {
	NULL, "1xx", "2xx", "3xx", "4xx", "5xx",
};

static const char *const metric_refusals[METRIC_REFUSAL_N] = {
#define REFUSAL(number, upper, name, http, error_code, text) [number] = (number) ? #name : NULL,
#include "proto/refusals.def"
#undef REFUSAL
};

static const char *const metric_states[METRIC_STATE_N] = {"placing", "running", "ending"};

static const struct metric_spec rows[] = {
#define METRIC(...) METRIC_ROW(struct scheduler_metrics, __VA_ARGS__)
#include "scheduler/shell/metrics.def"
#undef METRIC
};
/* clang-format on */

void scheduler_metrics_refused(struct scheduler_metrics *metrics, enum refusal refusal)
{
	CHECK((unsigned)refusal < METRIC_REFUSAL_N);
	metrics->refusals[refusal]++;
}

void scheduler_metrics_answered(struct scheduler_metrics *metrics, int status)
{
	CHECK(status >= 100 && status < 600);
	metrics->answers[status / 100]++;
}

char *scheduler_metrics_print(struct scheduler_metrics *metrics, const struct core *core,
			      size_t *out_n)
{
	struct core_counts counts = {0};
	char *text = NULL;
	FILE *out;

	if (core)
		core_count(core, &counts);
	metrics->sandboxes[0] = counts.placing;
	metrics->sandboxes[1] = counts.running;
	metrics->sandboxes[2] = counts.ending;
	metrics->nodes = counts.nodes;
	metrics->nodes_awake = counts.nodes_awake;
	metrics->transfers = counts.transfers;
	metrics->transfers_done = counts.transfers_done;
	metrics->transfers_failed = counts.transfers_failed;
	metrics->tenants = counts.tenants;
	metrics->ignored = counts.ignored;
	out = open_memstream(&text, out_n);
	CHECK(out);
	metrics_write(rows, ARRAY_N(rows), metrics, out);
	CHECK(fclose(out) == 0);
	return text;
}
