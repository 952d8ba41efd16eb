#include "common/io/metrics.h"

#include <inttypes.h>

const uint64_t metric_bounds_us[METRIC_BOUNDS_N] = {
	500,   1000,   2000,   3000,   4000,    6000,    8000,    12000,    16000,    25000,
	50000, 100000, 200000, 500000, 1000000, 2000000, 5000000, 10000000, 30000000, 60000000,
};

void metric_observe(struct metric_histogram *histogram, uint64_t took_ns)
{
	size_t i = 0;

	while (i < METRIC_BOUNDS_N && took_ns > metric_bounds_us[i] * 1000)
		i++;
	histogram->bucket[i]++;
	histogram->sum_ns += took_ns;
}

/* Help and label values: backslash, newline and (in labels) the quote are escaped. */
static void print_escaped(const char *text, FILE *out)
{
	for (; *text; text++) {
		switch (*text) {
		case '\\':
			fputs("\\\\", out);
			break;
		case '\n':
			fputs("\\n", out);
			break;
		case '"':
			fputs("\\\"", out);
			break;
		default:
			fputc(*text, out);
		}
	}
}

static void print_histogram(const struct metric_spec *row, const struct metric_histogram *histogram,
			    FILE *out)
{
	uint64_t count = 0;

	for (size_t i = 0; i < METRIC_BOUNDS_N; i++) {
		uint64_t us = metric_bounds_us[i];

		count += histogram->bucket[i];
		fprintf(out, "%s_bucket{le=\"%" PRIu64 ".%04" PRIu64 "\"} %" PRIu64 "\n", row->name,
			us / 1000000, us % 1000000 / 100, count);
	}
	count += histogram->bucket[METRIC_BOUNDS_N];
	fprintf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", row->name, count);
	fprintf(out, "%s_sum %" PRIu64 ".%09" PRIu64 "\n", row->name,
		histogram->sum_ns / 1000000000, histogram->sum_ns % 1000000000);
	fprintf(out, "%s_count %" PRIu64 "\n", row->name, count);
}

static void print_value(const struct metric_spec *row, const void *values, size_t i, FILE *out)
{
	const char *at = (const char *)values + row->offset;

	fputs(row->name, out);
	if (row->label) {
		fprintf(out, "{%s=\"", row->label);
		print_escaped(row->values[i], out);
		fputs("\"}", out);
	}
	if (row->kind == METRIC_KIND_GAUGE)
		fprintf(out, " %" PRId64 "\n", ((const int64_t *)(const void *)at)[i]);
	else
		fprintf(out, " %" PRIu64 "\n", ((const uint64_t *)(const void *)at)[i]);
}

void metrics_write(const struct metric_spec *rows, size_t rows_n, const void *values, FILE *out)
{
	static const char *const type[] = {"counter", "gauge", "histogram"};

	for (const struct metric_spec *row = rows; row < rows + rows_n; row++) {
		fprintf(out, "# HELP %s ", row->name);
		print_escaped(row->help, out);
		fprintf(out, "\n# TYPE %s %s\n", row->name, type[row->kind]);
		if (row->kind == METRIC_KIND_HISTOGRAM) {
			const char *at = (const char *)values + row->offset;

			print_histogram(row, (const void *)at, out);
			continue;
		}
		for (size_t i = 0; i < row->values_n; i++)
			if (!row->label || row->values[i])
				print_value(row, values, i, out);
	}
}
