/* What tenants may ask of a build, what is refused, and what makes two steps the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/template/context.h"

#define HASH   "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HASH2  "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PARENT "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static struct build_spec spec;

static void parse(const char *text)
{
	struct err err;

	if (build_spec_parse(text, strlen(text), &spec, &err))
		fail_msg("%s: %s", text, err.text);
}

static void the_bodies_of_e2bs_sdk_are_understood(void **state)
{
	(void)state;
	parse("{\"startCmd\":\"serve\",\"readyCmd\":\"\",\"force\":false,\"fromImage\":\"e2bdev/"
	      "base\","
	      "\"steps\":[{\"type\":\"COPY\",\"args\":[\"folder/*\",\"folder\",\"\",\"0644\"],"
	      "\"force\":true,\"forceUpload\":true,\"gzip\":true,\"filesHash\":\"" HASH "\"},"
	      "{\"type\":\"ENV\",\"args\":[\"A\",\"1\",\"B\",\"\"],\"force\":false},"
	      "{\"type\":\"RUN\",\"args\":[\"make\",\"root\"]},"
	      "{\"type\":\"WORKDIR\",\"args\":[\"/"
	      "app\"]},{\"type\":\"USER\",\"args\":[\"user\"]}]}");
	assert_int_equal(spec.steps_n, 5);
	assert_string_equal(spec.from_image, "e2bdev/base");
	assert_null(spec.from_template);
	assert_string_equal(spec.start_cmd, "serve");
	assert_null(spec.ready_cmd);
	assert_true(spec.steps[0].force);
	assert_int_equal(spec.steps[0].kind, STEP_COPY);
	assert_string_equal(spec.steps[0].files_hash, HASH);
	assert_string_equal(build_step_arg(&spec.steps[2], 1), "root");
	assert_null(build_step_arg(&spec.steps[3], 1));
	build_spec_free(&spec);
}

static void what_is_wrong_is_refused_and_named(void **state)
{
	static const struct {
		const char *text, *reason;
	} rows[] = {
		{"", "line"},
		{"[]", "an object"},
		{"{\"steps\":{}}", "steps"},
		{"{\"force\":1}", "force"},
		{"{\"startCmd\":7}", "startCmd"},
		{"{\"startCmd\":\"a\\u0000b\"}", "line"},
		{"{\"fromImage\":\"a\",\"fromTemplate\":\"b\"}", "exclude"},
		{"{\"steps\":[7]}", "step 1: type"},
		{"{\"steps\":[{\"type\":\"RUN\"}]}", "step 1: RUN: args"},
		{"{\"steps\":[{\"type\":\"RUN\",\"args\":[]}]}", "0 arguments"},
		{"{\"steps\":[{\"type\":\"RUN\",\"args\":[\"\"]}]}", "empty"},
		{"{\"steps\":[{\"type\":\"RUN\",\"args\":[\"a\",\"b c\"]}]}", "user"},
		{"{\"steps\":[{\"type\":\"RUN\",\"args\":[\"a\",\"-b\"]}]}", "user"},
		{"{\"steps\":[{\"type\":\"RUN\",\"args\":[1]}]}", "args[0]"},
		{"{\"steps\":[{\"type\":\"ENV\",\"args\":[\"A\",\"1\",\"B\"]}]}", "by turns"},
		{"{\"steps\":[{\"type\":\"ENV\",\"args\":[\"A B\",\"1\"]}]}", "variable"},
		{"{\"steps\":[{\"type\":\"ENV\",\"args\":[\"1A\",\"1\"]}]}", "variable"},
		{"{\"steps\":[{\"type\":\"USER\",\"args\":[\"a:b\"]}]}", "USER"},
		{"{\"steps\":[{\"type\":\"COPY\",\"args\":[\"a\",\"b\"]}]}", "filesHash"},
		{"{\"steps\":[{\"type\":\"COPY\",\"args\":[\"a\",\"b\"],\"filesHash\":\"../x\"}]}",
		 "hex digits"},
		{"{\"steps\":[{\"type\":\"COPY\",\"args\":[\"/a\",\"b\"],\"filesHash\":\"" HASH
		 "\"}]}",
		 "inside"},
		{"{\"steps\":[{\"type\":\"COPY\",\"args\":[\"a/../..\",\"b\"],\"filesHash\":\"" HASH
		 "\"}]}",
		 "inside"},
		{"{\"steps\":[{\"type\":\"COPY\",\"args\":[\"a\",\"b\",\"\",\"9\"],\"filesHash\":"
		 "\"" HASH "\"}]}",
		 "octal"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		struct err err = {""};

		assert_int_equal(build_spec_parse(rows[i].text, strlen(rows[i].text), &spec, &err),
				 -1);
		if (!strstr(err.text, rows[i].reason))
			fail_msg("%s: `%s` does not say `%s`", rows[i].text, err.text,
				 rows[i].reason);
	}
}

static const char *scope = "";

static void key_of(const char *step, const char *parent, char out[VM_ARTEFACT_ID_MAX])
{
	char text[512];

	snprintf(text, sizeof(text), "{\"steps\":[%s]}", step);
	parse(text);
	step_key(&spec.steps[0], scope, parent, out);
	build_spec_free(&spec);
}

static void a_key_is_of_all_that_a_step_is(void **state)
{
	static const char *const steps[] = {
		"{\"type\":\"RUN\",\"args\":[\"make\"]}",
		"{\"type\":\"RUN\",\"args\":[\"make\",\"root\"]}",
		"{\"type\":\"RUN\",\"args\":[\"make \"]}",
		"{\"type\":\"USER\",\"args\":[\"make\"]}",
		"{\"type\":\"ENV\",\"args\":[\"A\",\"b\",\"C\",\"\"]}",
		"{\"type\":\"ENV\",\"args\":[\"A\",\"\",\"C\",\"b\"]}",
		"{\"type\":\"COPY\",\"args\":[\"a\",\"b\"],\"filesHash\":\"" HASH "\"}",
		"{\"type\":\"COPY\",\"args\":[\"a\",\"b\"],\"filesHash\":\"" HASH2 "\"}",
	};
	char keys[ARRAY_N(steps)][VM_ARTEFACT_ID_MAX], other[VM_ARTEFACT_ID_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_N(steps); i++) {
		key_of(steps[i], PARENT, keys[i]);
		key_of(steps[i], PARENT, other);
		assert_string_equal(keys[i], other);
		key_of(steps[i], "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", other);
		assert_string_not_equal(keys[i], other);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(keys[i], keys[j]);
	}
	/* Nobody is given another's. */
	scope = "ten_b";
	key_of(steps[0], PARENT, other);
	assert_string_not_equal(keys[0], other);
	scope = "";
	/* Forcing is no part of what it is. */
	key_of("{\"type\":\"RUN\",\"args\":[\"make\"],\"force\":true}", PARENT, other);
	assert_string_equal(keys[0], other);
}

static void apply(struct build_context *context, const char *step)
{
	char text[512];

	snprintf(text, sizeof(text), "{\"steps\":[%s]}", step);
	parse(text);
	assert_int_equal(step_apply(&spec.steps[0], context, NULL), 0);
	build_spec_free(&spec);
}

static const char *env(const struct build_context *context, const char *name)
{
	return json_string_value(json_object_get(context->env, name));
}

static void steps_change_what_is_in_force(void **state)
{
	struct build_context context = {.user = "user", .workdir = "/home/user"};

	(void)state;
	context.env = json_object();
	apply(&context, "{\"type\":\"WORKDIR\",\"args\":[\"app\"]}");
	assert_string_equal(context.workdir, "/home/user/app");
	apply(&context, "{\"type\":\"WORKDIR\",\"args\":[\"/srv\"]}");
	assert_string_equal(context.workdir, "/srv");
	apply(&context,
	      "{\"type\":\"ENV\",\"args\":[\"A\",\"x\",\"B\",\"${A}$A-$NONE-\\\\$A-$\"]}");
	assert_string_equal(env(&context, "B"), "xx--$A-$");
	apply(&context, "{\"type\":\"ENV\",\"args\":[\"PATH\",\"$HOME/bin:$PATH\"]}");
	assert_string_equal(env(&context, "PATH"),
			    "/home/user/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
			    "/sbin:/bin");
	apply(&context, "{\"type\":\"USER\",\"args\":[\"root\"]}");
	apply(&context, "{\"type\":\"ENV\",\"args\":[\"H\",\"$HOME $USER\"]}");
	assert_string_equal(env(&context, "H"), "/root root");
	build_context_free(&context);
}

static void values_do_not_grow_without_end(void **state)
{
	struct build_context context = {.user = "user", .workdir = "/"};
	int result = 0;

	(void)state;
	context.env = json_object();
	apply(&context, "{\"type\":\"ENV\",\"args\":[\"A\",\"0123456789\"]}");
	parse("{\"steps\":[{\"type\":\"ENV\",\"args\":[\"A\",\"$A$A$A$A\"]}]}");
	for (int i = 0; i < 20 && !result; i++)
		result = step_apply(&spec.steps[0], &context, NULL);
	assert_int_equal(result, -1);
	build_spec_free(&spec);
	build_context_free(&context);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_bodies_of_e2bs_sdk_are_understood),
		cmocka_unit_test(what_is_wrong_is_refused_and_named),
		cmocka_unit_test(a_key_is_of_all_that_a_step_is),
		cmocka_unit_test(steps_change_what_is_in_force),
		cmocka_unit_test(values_do_not_grow_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
