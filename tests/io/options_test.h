/* A program with an option of every type, for tests and the fuzzer. */
#ifndef FLOTILLA_TESTS_IO_OPTIONS_TEST_H
#define FLOTILLA_TESTS_IO_OPTIONS_TEST_H

#include "common/base/check.h"
#include "common/io/options.h"

struct test_options {
#define OPTION OPTION_MEMBER
#include "tests/io/options_test.def"
#undef OPTION
};

static const struct option_spec test_rows[] = {
#define OPTION(...) OPTION_ROW(struct test_options, __VA_ARGS__)
#include "tests/io/options_test.def"
#undef OPTION
};

static const struct options_program test_program = {
	.name = "test",
	.summary = "tests options",
	.rows = test_rows,
	.rows_n = ARRAY_N(test_rows),
	.size = sizeof(struct test_options),
};

#endif
