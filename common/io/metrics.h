/*
 * Metrics in Prometheus' text format, from one table per daemon.  A daemon writes metrics.def:
 *
 *   METRIC(COUNTER, creates, "flotilla_creates_total", "Sandboxes asked for.")
 *   METRIC(COUNTER_BY, refusals, "flotilla_refusals_total", "Refused.", "reason", reason_names,
 *          REASON_N)
 *   METRIC(GAUGE, running, "flotilla_sandboxes_running", "Sandboxes running now.")
 *   METRIC(HISTOGRAM, create_ns, "flotilla_create_seconds", "From request to answer.")
 *
 * and gets from it a struct to count in and the table that prints it:
 *
 *   struct agent_metrics {
 *   #define METRIC METRIC_MEMBER
 *   #include "node-agent/metrics.def"
 *   #undef METRIC
 *   };
 *   static const struct metric_spec agent_metric_rows[] = {
 *   #define METRIC(...) METRIC_ROW(struct agent_metrics, __VA_ARGS__)
 *   #include "node-agent/metrics.def"
 *   #undef METRIC
 *   };
 *
 *   metrics.creates++;
 *   metrics.refusals[reason]++;
 *   metric_observe(&metrics.create_ns, took_ns);
 *   metrics_write(agent_metric_rows, ARRAY_N(agent_metric_rows), &metrics, file);
 *
 * The struct belongs to one thread, which also prints it.
 */
#ifndef FLOTILLA_IO_METRICS_H
#define FLOTILLA_IO_METRICS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Upper bounds of the buckets, fixed for every histogram: 0.5 ms to 60 s. */
enum { METRIC_BOUNDS_N = 20 };
extern const uint64_t metric_bounds_us[METRIC_BOUNDS_N];

struct metric_histogram {
	uint64_t bucket[METRIC_BOUNDS_N + 1]; /* the last one: above every bound */
	uint64_t sum_ns;
};

enum metric_kind { METRIC_KIND_COUNTER, METRIC_KIND_GAUGE, METRIC_KIND_HISTOGRAM };

struct metric_spec {
	enum metric_kind kind;
	const char *name;
	const char *help;
	size_t offset;             /* of the first value in the struct */
	const char *label;         /* NULL: one value without a label */
	const char *const *values; /* the label's values; NULL entries are not printed */
	size_t values_n;
};

void metric_observe(struct metric_histogram *histogram, uint64_t took_ns);

/* With # HELP and # TYPE; write errors stay in the stream's error flag. */
void metrics_write(const struct metric_spec *rows, size_t rows_n, const void *values, FILE *out);

#define METRIC_MEMBER(kind, field, name, help, ...) METRIC_C_##kind(field, ##__VA_ARGS__);
#define METRIC_C_COUNTER(field)                     uint64_t field
#define METRIC_C_COUNTER_BY(field, label, names, n) uint64_t field[n]
#define METRIC_C_GAUGE(field)                       int64_t field
#define METRIC_C_GAUGE_BY(field, label, names, n)   int64_t field[n]
#define METRIC_C_HISTOGRAM(field)                   struct metric_histogram field

#define METRIC_ROW(owner, kind, field, name, help, ...)                                            \
	{METRIC_K_##kind, (name), (help), offsetof(owner, field), METRIC_L_##kind(__VA_ARGS__)},
#define METRIC_K_COUNTER                     METRIC_KIND_COUNTER
#define METRIC_K_COUNTER_BY                  METRIC_KIND_COUNTER
#define METRIC_K_GAUGE                       METRIC_KIND_GAUGE
#define METRIC_K_GAUGE_BY                    METRIC_KIND_GAUGE
#define METRIC_K_HISTOGRAM                   METRIC_KIND_HISTOGRAM
#define METRIC_L_COUNTER()                   NULL, NULL, 1
#define METRIC_L_COUNTER_BY(label, names, n) (label), (names), (n)
#define METRIC_L_GAUGE()                     NULL, NULL, 1
#define METRIC_L_GAUGE_BY(label, names, n)   (label), (names), (n)
#define METRIC_L_HISTOGRAM()                 NULL, NULL, 1

#endif
