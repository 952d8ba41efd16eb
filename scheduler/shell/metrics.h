/* The scheduler's counters, from metrics.def. They belong to the loop. */
#ifndef FLOTILLA_SHELL_METRICS_H
#define FLOTILLA_SHELL_METRICS_H

#include "common/io/metrics.h"
#include "proto/wire.h"
#include "scheduler/core/core.h"

enum { METRIC_ANSWER_N = 6, METRIC_REFUSAL_N = 64, METRIC_STATE_N = 3 };

struct scheduler_metrics {
#define METRIC METRIC_MEMBER
#include "scheduler/shell/metrics.def"
#undef METRIC
};

void scheduler_metrics_refused(struct scheduler_metrics *metrics, enum refusal refusal);
void scheduler_metrics_answered(struct scheduler_metrics *metrics, int status);

/* Brings the gauges up to date and prints everything; a malloc'ed text. core: NULL while there
 * is none. */
char *scheduler_metrics_print(struct scheduler_metrics *metrics, const struct core *core,
			      size_t *out_n);

#endif
