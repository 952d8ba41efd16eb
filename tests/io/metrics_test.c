#include "common/base/check.h"
#include "common/io/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

struct test_metrics {
#define METRIC METRIC_MEMBER
#include "tests/io/metrics_test.def"
#undef METRIC
};

static const char *const reason_names[] = {"quota", NULL, "a\"b"};
static const struct metric_spec rows[] = {
#define METRIC(...) METRIC_ROW(struct test_metrics, __VA_ARGS__)
#include "tests/io/metrics_test.def"
#undef METRIC
};

static char *written(const struct test_metrics *metrics)
{
	static char text[8192];
	FILE *out = fmemopen(text, sizeof(text), "w");

	metrics_write(rows, ARRAY_N(rows), metrics, out);
	fclose(out);
	return text;
}

static void counters_and_gauges_print_as_prometheus_reads_them(void **unused)
{
	struct test_metrics metrics = {.creates = 3, .refusals = {1, 9, 2}, .drift = -4};
	char *text = written(&metrics);

	(void)unused;
	*strstr(text, "# HELP flotilla_create_seconds") = 0;
	assert_string_equal(text, "# HELP flotilla_creates_total Sandboxes asked for.\n"
				  "# TYPE flotilla_creates_total counter\n"
				  "flotilla_creates_total 3\n"
				  "# HELP flotilla_refusals_total Refused.\n"
				  "# TYPE flotilla_refusals_total counter\n"
				  "flotilla_refusals_total{reason=\"quota\"} 1\n"
				  "flotilla_refusals_total{reason=\"a\\\"b\"} 2\n"
				  "# HELP flotilla_drift A line\\nbroken.\n"
				  "# TYPE flotilla_drift gauge\n"
				  "flotilla_drift -4\n");
}

static void a_histogram_counts_up_to_each_bound_inclusively(void **unused)
{
	struct test_metrics metrics = {0};
	char *text;

	(void)unused;
	metric_observe(&metrics.took, 500000);               /* exactly the first bound */
	metric_observe(&metrics.took, 500001);               /* just above it */
	metric_observe(&metrics.took, 3600ull * 1000000000); /* above every bound */
	text = written(&metrics);
	assert_non_null(strstr(text, "flotilla_create_seconds_bucket{le=\"0.0005\"} 1\n"));
	assert_non_null(strstr(text, "flotilla_create_seconds_bucket{le=\"0.0010\"} 2\n"));
	assert_non_null(strstr(text, "flotilla_create_seconds_bucket{le=\"60.0000\"} 2\n"));
	assert_non_null(strstr(text, "flotilla_create_seconds_bucket{le=\"+Inf\"} 3\n"));
	assert_non_null(strstr(text, "flotilla_create_seconds_sum 3600.001000001\n"));
	assert_non_null(strstr(text, "flotilla_create_seconds_count 3\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters_and_gauges_print_as_prometheus_reads_them),
		cmocka_unit_test(a_histogram_counts_up_to_each_bound_inclusively),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
