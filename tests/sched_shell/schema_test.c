/* The pure half of the API: targets, dates, schemas, routes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/base/rng.h"
#include "scheduler/shell/api/openapi.h"
#include "scheduler/shell/api/route.h"

#include <string.h>

static void targets_are_split_before_they_are_decoded(void **state)
{
	struct target target;
	char text[16];

	(void)state;
	assert_true(target_split("/a%2Fb/c?x=1/2#f", &target));
	assert_int_equal(target.segments_n, 2);
	assert_string_equal(target.query, "x=1/2#f");
	assert_true(target_decode(target.segments[0].text, target.segments[0].n, false, text,
				  sizeof(text)));
	assert_string_equal(text, "a/b");
	assert_true(target_split("/", &target));
	assert_int_equal(target.segments_n, 1);
	assert_false(target_split("*", &target));
	assert_false(target_split("", &target));
	assert_false(target_split("/1/2/3/4/5/6/7/8/9", &target));
}

static void broken_escapes_and_broken_texts_are_refused(void **state)
{
	static const char *const bad[] = {"%",   "%4",  "%4g", "%zz",      "a%",
					  "%00", "%ff", "%c3", "%ed%a0%80"};
	char text[8];

	(void)state;
	for (size_t i = 0; i < ARRAY_N(bad); i++)
		assert_false(target_decode(bad[i], strlen(bad[i]), false, text, sizeof(text)));
	assert_true(target_decode("%c3%a9+", 7, true, text, sizeof(text)));
	assert_string_equal(text, "\xc3\xa9 ");
	assert_true(target_decode("a+b", 3, false, text, sizeof(text)));
	assert_string_equal(text, "a+b");
	assert_true(target_decode("1234567", 7, false, text, sizeof(text)));
	assert_false(target_decode("12345678", 8, false, text, sizeof(text)));
	assert_false(target_decode("%41", 2, false, text, sizeof(text)));
}

static void dates_are_read_and_written(void **state)
{
	static const struct {
		const char *text;
		int64_t ns;
	} rows[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"2026-11-22T10:20:30.123456789Z", 1795342830123456789},
		{"2026-11-22T12:20:30.5+02:00", 1795342830500000000},
		{"2024-02-29T00:00:00Z", 1709164800000000000},
		{"1969-12-31T23:59:59.999Z", -1000000},
	};
	static const char *const bad[] = {
		"",
		"2026",
		"2026-02-29T00:00:00Z",
		"2026-13-01T00:00:00Z",
		"2026-01-01T24:00:00Z",
		"2026-01-01T00:00:00",
		"2026-01-01T00:00:00.Z",
		"2026-01-01T00:00:00Zx",
		"2026-01-01T00:00:00+2:00",
		"99999-01-01T00:00:00Z",
		"2026-1-1T00:00:00Z",
	};
	char text[TIME_TEXT_MAX];
	int64_t ns;

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		assert_true(time_parse(rows[i].text, &ns));
		assert_int_equal(ns, rows[i].ns);
	}
	for (size_t i = 0; i < ARRAY_N(bad); i++)
		assert_false(time_parse(bad[i], &ns));
	time_format(-1000000, text);
	assert_string_equal(text, "1969-12-31T23:59:59.999Z");
}

static void a_date_written_is_the_date_read(void **state)
{
	struct rng rng = {3};
	char text[TIME_TEXT_MAX];
	int64_t ns;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		int64_t at = (int64_t)rng_below(&rng, 8000000000000) * 1000000;
		time_format(at, text);
		assert_true(time_parse(text, &ns));
		assert_int_equal(ns, at);
	}
}

static void every_route_is_found_by_its_own_path(void **state)
{
	(void)state;
	for (size_t i = 0; i < ROUTE_N; i++) {
		struct route_match match;
		struct target target;
		assert_true(target_split(routes[i].path, &target));
		route_find(route_method_name(routes[i].method), &target, &match);
		assert_ptr_equal(match.route, &routes[i]);
		route_find("TRACE", &target, &match);
		assert_null(match.route);
		assert_true(match.allowed & 1u << routes[i].method);
	}
}

static void every_default_passes_its_own_check(void **state)
{
	(void)state;
	for (size_t i = 0; schemas[i]; i++) {
		struct problems problems = {0};
		json_t *object = json_object();
		for (size_t j = 0; j < schemas[i]->fields_n; j++)
			if (schemas[i]->fields[j].initial)
				json_object_set_new(object, schemas[i]->fields[j].name,
						    json_loads(schemas[i]->fields[j].initial,
							       JSON_DECODE_ANY, NULL));
		schema_check(schemas[i], object, "body", &problems);
		for (size_t j = 0; j < problems.n; j++)
			assert_string_equal(problems.items[j].type, "missing");
		json_decref(object);
	}
}

static void a_body_nested_too_deep_is_refused_before_it_is_parsed(void **state)
{
	static const char brackets[] = "{\"a\":\"[[[[[[[[[[[[[[[[[[[[\\\"[[[\"}";
	static char deep[1 << 16];
	struct problems problems = {0};

	(void)state;
	memset(deep, '[', sizeof(deep));
	assert_null(schema_parse_body(deep, sizeof(deep), &problems));
	assert_string_equal(problems.items[0].type, "json_depth");
	problems.n = 0;
	json_t *fine = schema_parse_body(brackets, sizeof(brackets) - 1, &problems);
	assert_non_null(fine);
	json_decref(fine);
}

static void the_openapi_document_is_made_whole(void **state)
{
	json_t *document = openapi_make("1");

	(void)state;
	assert_int_equal(json_object_size(json_object_get(document, "paths")) > 15, 1);
	json_decref(document);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(targets_are_split_before_they_are_decoded),
		cmocka_unit_test(broken_escapes_and_broken_texts_are_refused),
		cmocka_unit_test(dates_are_read_and_written),
		cmocka_unit_test(a_date_written_is_the_date_read),
		cmocka_unit_test(every_route_is_found_by_its_own_path),
		cmocka_unit_test(every_default_passes_its_own_check),
		cmocka_unit_test(a_body_nested_too_deep_is_refused_before_it_is_parsed),
		cmocka_unit_test(the_openapi_document_is_made_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
