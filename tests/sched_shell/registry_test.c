/* Templates of tenants in the store: whatever order decisions are heard in, all replicas agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "tests/sched_shell/store_world.h"

#include <stdio.h>
#include <string.h>

#define B1 "11111111-1111-4111-8111-111111111111"
#define B2 "22222222-2222-4222-8222-222222222222"

static const struct id tenant = {"ten_a"}, t1 = {"t1"};

static void add_template(int64_t life, bool deleted)
{
	struct store_op *op = store_batch_add(&batch, STORE_OP_TEMPLATE, 1000 + life);

	op->template_ = (struct store_template_set){
		.id = t1, .tenant = tenant, .life = life, .deleted = deleted, .created_at = life};
	snprintf(op->template_.name, sizeof(op->template_.name), "app");
}

static void add_build(const char *id, int64_t life, enum store_build_status status, int64_t at,
		      const char *tags)
{
	struct store_op *op = store_batch_add(&batch, STORE_OP_BUILD, at);

	op->build = (struct store_build){.template_ = t1, .life = life, .status = status};
	op->build.created_at = at;
	op->build.finished_at = status >= STORE_BUILD_READY ? at : 0;
	snprintf(op->build.id, sizeof(op->build.id), "%s", id);
	snprintf(op->build.tags, sizeof(op->build.tags), "%s", tags);
}

static void add_tag(const char *tag, const char *build, int64_t life, int64_t at)
{
	struct store_op *op = store_batch_add(&batch, STORE_OP_TAG, at);

	op->tag = (struct store_tag_set){.template_ = t1, .life = life};
	snprintf(op->tag.tag, sizeof(op->tag.tag), "%s", tag);
	snprintf(op->tag.build, sizeof(op->tag.build), "%s", build);
}

static const char *build_of(const char *tag)
{
	static struct store_build build;
	int got = store_build_of_tag(store, &t1, tag, &build, &err);

	assert_true(got >= 0);
	return got ? build.id : "";
}

static void a_build_has_its_tags_when_it_is_ready(void **state)
{
	struct store_own_template own;

	(void)state;
	add_template(1, false);
	add_build(B1, 1, STORE_BUILD_WAITING, 10, "default,v1");
	add_build(B1, 1, STORE_BUILD_BUILDING, 10, "default,v1");
	commit();
	assert_string_equal(build_of("default"), "");
	add_build(B1, 1, STORE_BUILD_READY, 20, "default,v1");
	add_build(B2, 1, STORE_BUILD_ERROR, 30, "default");
	commit();
	assert_string_equal(build_of("default"), B1);
	assert_string_equal(build_of("v1"), B1);
	assert_int_equal(store_own_template_by_name(store, &tenant, "app", &own, &err), 1);
	assert_string_equal(own.id.text, "t1");
}

static void the_latest_word_on_a_tag_counts_in_whatever_order_it_is_heard(void **state)
{
	(void)state;
	add_template(1, false);
	add_tag("default", "", 1, 25);
	add_build(B2, 1, STORE_BUILD_READY, 30, "default,v2");
	add_build(B1, 1, STORE_BUILD_READY, 20, "default,v1");
	add_tag("v1", "", 1, 40);
	commit();
	assert_string_equal(build_of("default"), B2);
	assert_string_equal(build_of("v1"), "");
	add_tag("stable", B1, 1, 50);
	commit();
	assert_string_equal(build_of("stable"), B1);
}

static void what_belonged_to_a_deleted_template_does_not_come_back_with_its_name(void **state)
{
	struct store_own_template own;
	struct store_build build;

	(void)state;
	add_template(1, false);
	add_build(B1, 1, STORE_BUILD_READY, 20, "default");
	add_template(1, true);
	commit();
	assert_string_equal(build_of("default"), "");
	assert_int_equal(store_own_template_by_name(store, &tenant, "app", &own, &err), 0);
	add_template(2, false);
	/* As who reads everything hears of it: what is old is not left out. */
	add_build(B1, 1, STORE_BUILD_READY, 20, "default");
	add_tag("old", B1, 1, 90);
	commit();
	assert_string_equal(build_of("default"), "");
	assert_string_equal(build_of("old"), "");
	assert_int_equal(store_build_newest(store, &t1, &build, &err), 0);
	assert_int_equal(store_build_find(store, B1, &build, &err), 1);
	assert_true(build.gone);
	add_build(B2, 2, STORE_BUILD_READY, 30, "default");
	commit();
	assert_string_equal(build_of("default"), B2);
}

static void a_builds_id_is_no_name(void **state)
{
	(void)state;
	assert_true(template_name_is_builds(B1));
	assert_false(template_name_is_builds("base"));
	assert_false(template_name_is_builds("11111111-1111-4111-8111-11111111111"));
	assert_false(template_name_is_builds("11111111-1111-4111-8111-11111111111g"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_build_has_its_tags_when_it_is_ready),
		TEST(the_latest_word_on_a_tag_counts_in_whatever_order_it_is_heard),
		TEST(what_belonged_to_a_deleted_template_does_not_come_back_with_its_name),
		TEST(a_builds_id_is_no_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
