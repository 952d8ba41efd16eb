/* Ids and template names: what is one, and what is not. */
#include "common/base/ids.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static void made_ids_parse_back(void **state)
{
	uint8_t random[ID_RANDOM_BYTES];
	struct id made, parsed;

	(void)state;
	for (unsigned i = 0; i < 256; i++) {
		memset(random, (int)i, sizeof(random));
		made = id_make("i", random);
		assert_int_equal(strlen(made.text), 1 + ID_RANDOM_N);
		assert_true(id_parse(made.text, strlen(made.text), &parsed));
		assert_true(id_equal(&made, &parsed));
		assert_int_equal(id_hash(&made), id_hash(&parsed));
	}
}

static void other_texts_are_no_ids(void **state)
{
	static const char *const wrong[] = {
		"", "A", "i-1", "i 1", "i/..", "\xc3\xa9", "i0123456789012345678901234567890"};
	struct id id = {"untouched"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(id_parse(wrong[i], strlen(wrong[i]), &id));
	assert_string_equal(id.text, "untouched");
}

static void template_names_are_e2bs(void **state)
{
	char longest[TEMPLATE_NAME_MAX + 1];

	(void)state;
	assert_true(template_name_is_valid("base"));
	assert_true(template_name_is_valid("code-interpreter_v1"));
	assert_false(template_name_is_valid(""));
	assert_false(template_name_is_valid("Base"));
	assert_false(template_name_is_valid("a/b"));
	memset(longest, 'a', sizeof(longest));
	longest[TEMPLATE_NAME_MAX] = 0;
	assert_false(template_name_is_valid(longest));
	longest[TEMPLATE_NAME_MAX - 1] = 0;
	assert_true(template_name_is_valid(longest));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(made_ids_parse_back),
		cmocka_unit_test(other_texts_are_no_ids),
		cmocka_unit_test(template_names_are_e2bs),
	};

	return cmocka_run_group_tests_name("base.ids", tests, NULL, NULL);
}
