/* Names of images. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "common/base/check.h"
#include "node-agent/template/image_reference.h"

#include <stdio.h>
#include <string.h>

#define DIGEST "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void short_names_are_those_of_docker(void **unused)
{
	static const struct {
		const char *text, *whole;
	} rows[] = {
		{"python", "docker.io/library/python:latest"},
		{"python:3.12-slim", "docker.io/library/python:3.12-slim"},
		{"me/tool", "docker.io/me/tool:latest"},
		{"docker.io/python", "docker.io/library/python:latest"},
		{"ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"},
		{"localhost/x", "localhost/x:latest"},
		{"127.0.0.1:5000/x:y", "127.0.0.1:5000/x:y"},
		{"x" DIGEST, "docker.io/library/x" DIGEST},
		{"r.test/x:t" DIGEST, "r.test/x:t" DIGEST},
	};
	char whole[IMAGE_REFERENCE_MAX];
	struct err err;

	(void)unused;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		assert_int_equal(image_reference_parse(rows[i].text, whole, &err), 0);
		assert_string_equal(whole, rows[i].whole);
	}
}

static void what_is_no_name_is_refused(void **unused)
{
	static const char *const texts[] = {
		"",         "-x",      "X",           "a b",       "a//b",     "a/",
		"/a",       "a:",      "a:.t",        "a:t t",     "a@",       "a@sha256:1",
		"a@md5:00", "../x",    "r.test/../x", "r.test/-x", "r test/x", "a:t@",
		"a\n",      "r.test/", "a:-t",
	};
	char whole[IMAGE_REFERENCE_MAX], longest[1024];
	struct err err;

	(void)unused;
	for (size_t i = 0; i < ARRAY_N(texts); i++) {
		if (image_reference_parse(texts[i], whole, &err) == 0)
			fail_msg("`%s` was taken for %s", texts[i], whole);
		assert_non_null(strstr(err.text, "image `"));
	}
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	assert_int_not_equal(image_reference_parse(longest, whole, &err), 0);
}

static void only_what_is_named_is_allowed(void **unused)
{
	static const char reference[] = "docker.io/library/python:3";

	(void)unused;
	assert_false(image_reference_is_allowed(reference, ""));
	assert_true(image_reference_is_allowed(reference, "*"));
	assert_true(image_reference_is_allowed(reference, "docker.io"));
	assert_true(image_reference_is_allowed(reference, "ghcr.io, docker.io/library/"));
	assert_true(image_reference_is_allowed(reference, "docker.io/library/python"));
	assert_true(image_reference_is_allowed(reference, "docker.io/library/python:3"));
	assert_false(image_reference_is_allowed(reference, "docker.io/library/py"));
	assert_false(image_reference_is_allowed(reference, "docker.io/library/python:3.12"));
	assert_false(image_reference_is_allowed(reference, "docker.i,docker.io.evil"));
	assert_false(image_reference_is_allowed("docker.io.evil/x:y", "docker.io"));
}

static void registries_of_this_machine_are_known(void **unused)
{
	char registry[IMAGE_REFERENCE_MAX];

	(void)unused;
	image_reference_registry("127.0.0.1:5000/a/b:c", registry);
	assert_string_equal(registry, "127.0.0.1:5000");
	assert_true(image_reference_is_local("127.0.0.1:5000/a:b"));
	assert_true(image_reference_is_local("localhost:5000/a:b"));
	assert_false(image_reference_is_local("docker.io/127.0/a:b"));
	assert_false(image_reference_is_local("localhost.evil/a:b"));
	assert_false(image_reference_is_local("127.evil/a:b"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_names_are_those_of_docker),
		cmocka_unit_test(what_is_no_name_is_refused),
		cmocka_unit_test(only_what_is_named_is_allowed),
		cmocka_unit_test(registries_of_this_machine_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
