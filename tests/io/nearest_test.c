#include "common/base/check.h"
#include "common/io/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const char *const words[] = {"pool", "state-dir", "log-level", "ls", "template"};

static const char *nearest_of(const char *word)
{
	struct nearest nearest = nearest_begin(word);

	for (size_t i = 0; i < ARRAY_N(words); i++)
		nearest_offer(&nearest, words[i]);
	return nearest.best;
}

static void a_slip_of_the_finger_finds_its_word(void **unused)
{
	(void)unused;
	assert_string_equal(nearest_of("poool"), "pool");
	assert_string_equal(nearest_of("log-leevl"), "log-level");
	assert_string_equal(nearest_of("statedir"), "state-dir");
	assert_string_equal(nearest_of("tmplat"), "template");
}

static void a_word_like_nothing_known_finds_nothing(void **unused)
{
	(void)unused;
	assert_null(nearest_of("xyzzy-frobnicate"));
	assert_null(nearest_of("qq"));
	assert_null(nearest_of(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slip_of_the_finger_finds_its_word),
		cmocka_unit_test(a_word_like_nothing_known_finds_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
