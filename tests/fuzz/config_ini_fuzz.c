/* Any bytes as a configuration file: refused with a reason, or taken, and then what is printed is
 * taken too and means the same. */
#include "tests/io/options_test.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_survive_printing(struct options_set *set)
{
	static struct options_set again_set;
	static struct test_options again;
	char *text = NULL;
	size_t text_n;
	FILE *out = open_memstream(&text, &text_n);
	struct err err = {""};

	options_print_values(set, out);
	fclose(out);
	options_defaults(&again_set, &test_program, &again);
	if (options_apply_ini(&again_set, "printed", text, text_n, &err)) {
		/* inih's lines are short: a value near its limit does not fit with its origin. */
		CHECK(strstr(err.text, "this line has more than"));
		goto done;
	}
	for (size_t i = 0; i < test_program.rows_n; i++) {
		char one[OPTION_TEXT_MAX], two[OPTION_TEXT_MAX];

		if (test_rows[i].flags & OPTION_SECRET)
			continue;
		option_format(&test_rows[i], set->values, one);
		option_format(&test_rows[i], &again, two);
		/* A list whose first item is a semicolon can be held, but prints as a comment. */
		CHECK(one[0] == ';' || strcmp(one, two) == 0);
	}
done:
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct options_set set;
	static struct test_options options;
	struct err err = {""};

	options_defaults(&set, &test_program, &options);
	if (options_apply_ini(&set, "f", (const char *)data, size, &err))
		CHECK(strncmp(err.text, "f:", 2) == 0 && !strchr(err.text, '\n'));
	else
		must_survive_printing(&set);
	return 0;
}
