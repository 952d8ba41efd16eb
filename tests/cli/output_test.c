#include "common/base/check.h"
#include "scheduler/cli/output.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static const struct column columns[] = {
	{"ID", "id", COLUMN_TEXT, false},
	{"N", "of.n", COLUMN_RIGHT, false},
	{"TAGS", "tags", COLUMN_PAIRS, true},
	{"WARM", "warm", COLUMN_LIST, false},
};
static const struct listing listing = {"things", "id", columns, ARRAY_N(columns)};

static void prints_as(const char *format, const char *rows_text, const char *expected)
{
	json_t *rows = json_loads(rows_text, 0, NULL);
	static struct cli cli;
	char *text = NULL;
	size_t text_n;
	FILE *out = open_memstream(&text, &text_n);

	assert_non_null(rows);
	snprintf(cli.settings.output, sizeof(cli.settings.output), "%s", format);
	output_list(&cli, &listing, rows, out);
	fclose(out);
	assert_string_equal(text, expected);
	free(text);
	json_decref(rows);
}

static const char two[] = "[{\"id\":\"a\",\"of\":{\"n\":10},\"tags\":{\"k\":\"v\",\"l\":\"=1\"},"
			  "\"warm\":[{\"name\":\"x\"},\"y\"]},{\"id\":\"b\xc3\xa9\\u001b[2J\"}]";

static void a_table_is_aligned_and_holds_no_control_characters(void **unused)
{
	(void)unused;
	prints_as("table", two,
		  "ID       N  WARM\n"
		  "a       10  x,y\n"
		  "b\xc3\xa9?[2J   -  -\n");
	prints_as("table", "[]", "ID  N  WARM\n");
}

static void wide_has_every_column(void **unused)
{
	(void)unused;
	prints_as("wide", "[{\"id\":\"a\",\"tags\":{\"k\":\"v\",\"l\":\"1\"}}]",
		  "ID  N  TAGS     WARM\n"
		  "a   -  k=v,l=1  -\n");
}

static void json_is_an_envelope_that_keeps_its_shape(void **unused)
{
	(void)unused;
	prints_as("json", "[]", "{\n  \"kind\": \"things\",\n  \"data\": []\n}\n");
	prints_as("jsonl", "[{\"id\":\"a\"},{\"id\":\"b\"}]", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n");
	prints_as("jsonl", "[]", "");
	prints_as("name", "[{\"id\":\"a\"},{\"id\":\"b\"}]", "a\nb\n");
}

static void csv_quotes_and_disarms_formulas(void **unused)
{
	(void)unused;
	prints_as("csv",
		  "[{\"id\":\"=1+1\",\"warm\":[\"a\",\"b\"],\"tags\":{\"k\":\"say \\\"x\\\"\"}}]",
		  "id,of.n,tags,warm\r\n"
		  "\"'=1+1\",,\"k=say \"\"x\"\"\",\"a,b\"\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_is_aligned_and_holds_no_control_characters),
		cmocka_unit_test(wide_has_every_column),
		cmocka_unit_test(json_is_an_envelope_that_keeps_its_shape),
		cmocka_unit_test(csv_quotes_and_disarms_formulas),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
