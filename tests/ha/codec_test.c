/* Decisions as keys and values of etcd: what is written is read, and nothing else is. */
#include "scheduler/ha/codec.h"

#include "common/base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(uint64_t *state)
{
	static const char *const texts[] = {"a", "pro", "Acme \xc3\xa4 \"x\"", "two words", "b/c"};

	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return texts[(*state >> 33) % 5];
}

static int64_t number_of(uint64_t *state)
{
	static const int64_t edges[] = {0, 1, -1, INT64_MAX, INT64_MIN, 1764000000000000000};

	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return edges[(*state >> 33) % 6];
}

#define SET_ID(at)   snprintf((at).text, sizeof((at).text), "x_%llu", (unsigned long long)i)
#define SET_TEXT(at) snprintf((at), sizeof(at), "%s", text_of(&state))
#define SET_LONG(at) ((at) = strdup(text_of(&state)))
#define SET_HASH(at) memset((at), (int)(i % 250) + 1, sizeof(at))
#define SET_I64(at)  ((at) = number_of(&state))
#define SET_U64(at)  ((at) = (uint64_t)number_of(&state) & INT64_MAX)
#define SET_BOOL(at) ((at) = number_of(&state) & 1)

/* A random op of a kind; MAY fields are zero now and then. */
static void make(enum store_op_kind kind, uint64_t i, struct store_op *op)
{
	uint64_t state = i * 7919;

	memset(op, 0, sizeof(*op));
	op->kind = kind;
	op->wall_ns = number_of(&state);
#define FIELD(op_kind, member, field, type, how)                                                   \
	if (kind == STORE_OP_##op_kind && (strcmp(#how, "MAY") != 0 || number_of(&state) & 1))     \
		SET_##type(op->member.field);
#include "scheduler/ha/decisions.def"
	/* What is part of a key is plainer than other texts. */
#define SET_KEY(member)                                                                            \
	(memset(member, 0, sizeof(member)), snprintf(member, sizeof(member), "plain-%d", (int)i))
	if (kind == STORE_OP_PLAN)
		SET_KEY(op->plan.name);
	if (kind == STORE_OP_BUILD)
		SET_KEY(op->build.id);
	if (kind == STORE_OP_TAG)
		SET_KEY(op->tag.tag);
	if (kind == STORE_OP_SECRET)
		SET_KEY(op->secret.name);
}

/* Long texts are the op's own: they are equal when what they say is. */
static void assert_same_long(char **a, char **b)
{
	if (*a && *b)
		assert_string_equal(*a, *b);
	else
		assert_ptr_equal(*a, *b);
	free(*a);
	free(*b);
	*a = *b = NULL;
}

static void assert_same(struct store_op *a, struct store_op *b)
{
#define FIELD(op_kind, member, field, type, how) SAME_##type(op_kind, member.field)
#define SAME_LONG(op_kind, at)                                                                     \
	if (a->kind == STORE_OP_##op_kind)                                                         \
		assert_same_long(&a->at, &b->at);
#define SAME_ID(op_kind, at)
#define SAME_TEXT(op_kind, at)
#define SAME_HASH(op_kind, at)
#define SAME_I64(op_kind, at)
#define SAME_U64(op_kind, at)
#define SAME_BOOL(op_kind, at)
#include "scheduler/ha/decisions.def"
	assert_memory_equal(a, b, sizeof(*a));
}

static void what_is_written_is_read_back(void **unused)
{
	static const enum store_op_kind kinds[] = {
#define DECISION(op, member, folder) STORE_OP_##op,
#include "scheduler/ha/decisions.def"
	};
	char key[CODEC_KEY_MAX], *value;
	struct store_op op, back;
	struct err err;

	(void)unused;
	for (uint64_t i = 0; i < ARRAY_N(kinds) * 500; i++) {
		make(kinds[i % ARRAY_N(kinds)], i, &op);
		if (codec_encode(&op, key, &value, &err))
			fail_msg("%s", err.text);
		if (codec_decode(key, value, strlen(value), &back, &err))
			fail_msg("%s: %s", err.text, value);
		assert_same(&op, &back);
		free(value);
	}
}

static void what_is_not_exactly_a_decision_is_refused(void **unused)
{
	static const struct {
		const char *key, *value, *why;
	} rows[] = {
		{"token/xx", "{}", "at"},
		{"plan/a", "", "JSON"},
		{"plan/a", "[]", "JSON"},
		{"plan/a",
		 "{\"at\":1,\"name\":\"a\",\"concurrent_max\":1,\"session_max_s\":2,"
		 "\"credit_nano\":3}",
		 "missing"},
		{"plan/a",
		 "{\"at\":1,\"name\":\"a\",\"concurrent_max\":1,\"session_max_s\":2,"
		 "\"credit_nano\":3,\"prepaid\":0}",
		 "prepaid"},
		{"plan/a",
		 "{\"at\":1,\"name\":\"a\",\"concurrent_max\":1.5,\"session_max_s\":2,"
		 "\"credit_nano\":3,\"prepaid\":true}",
		 "concurrent_max"},
		{"plan/a",
		 "{\"at\":1,\"name\":\"a\",\"concurrent_max\":1,\"session_max_s\":2,"
		 "\"credit_nano\":3,\"prepaid\":true,\"colour\":1}",
		 "members"},
		{"plan/b",
		 "{\"at\":1,\"name\":\"a\",\"concurrent_max\":1,\"session_max_s\":2,"
		 "\"credit_nano\":3,\"prepaid\":true}",
		 "another"},
		{"plan/a",
		 "{\"at\":1,\"name\":\"a\",\"name\":\"a\",\"concurrent_max\":1,"
		 "\"session_max_s\":2,\"credit_nano\":3,\"prepaid\":true}",
		 "JSON"},
		{"tenant/T",
		 "{\"at\":1,\"id\":\"T\",\"name\":\"n\",\"plan\":\"p\","
		 "\"credit_nano\":3}",
		 "id"},
		{"token/00", "{\"at\":1,\"hash\":\"00\",\"expires_at\":3}", "hash"},
		{"node-set/nod_a",
		 "{\"at\":1,\"id\":\"nod_a\",\"name\":\"n\",\"cordoned\":true,"
		 "\"lost_below\":-1}",
		 "lost_below"},
		{"node-set/nod_a",
		 "{\"at\":1,\"id\":\"nod_a\",\"name\":\"a\\nb\",\"cordoned\":true}", "name"},
		{"secret/ten_a/b",
		 "{\"at\":1,\"tenant\":\"ten_a\",\"name\":\"b\",\"id\":\"sec_a\",\"version\":1,"
		 "\"created_at_ns\":1,\"updated_at_ns\":1,\"metadata\":\"{}\",\"sealed\":7}",
		 "sealed"},
		{"secret/ten_a/c",
		 "{\"at\":1,\"tenant\":\"ten_a\",\"name\":\"b\",\"id\":\"sec_a\",\"version\":1,"
		 "\"created_at_ns\":1,\"updated_at_ns\":1,\"metadata\":\"{}\",\"sealed\":\"x\"}",
		 "another"},
		{"colour/a", "{}", "key"},
		{"plan", "{}", "key"},
	};
	struct store_op op;
	char key[CODEC_KEY_MAX];
	struct err err;

	(void)unused;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(key, sizeof(key), CODEC_PREFIX "%s", rows[i].key);
		assert_int_equal(codec_decode(key, rows[i].value, strlen(rows[i].value), &op, &err),
				 -1);
		store_op_clear(&op);
		if (!strstr(err.text, rows[i].why))
			fail_msg("row %zu: \"%s\" does not say %s", i, err.text, rows[i].why);
	}
}

static void an_op_that_is_no_decision_or_has_no_key_is_refused(void **unused)
{
	struct store_op op = {.kind = STORE_OP_EPOCH};
	char key[CODEC_KEY_MAX], *value;
	struct err err;

	(void)unused;
	assert_int_equal(codec_encode(&op, key, &value, &err), -1);
	op = (struct store_op){.kind = STORE_OP_TENANT};
	assert_int_equal(codec_encode(&op, key, &value, &err), -1);
	op = (struct store_op){.kind = STORE_OP_PLAN, .plan = {.name = "a/b"}};
	assert_int_equal(codec_encode(&op, key, &value, &err), -1);
	op = (struct store_op){.kind = STORE_OP_TENANT,
			       .tenant = {.id = {"ten_a"}, .name = "\xff", .plan = "p"}};
	assert_int_equal(codec_encode(&op, key, &value, &err), -1);
}

static void sorted_none_needs_a_later_one(void **unused)
{
	struct store_op ops[4] = {{.kind = STORE_OP_NODE_SET},
				  {.kind = STORE_OP_KEY, .wall_ns = 1},
				  {.kind = STORE_OP_TENANT},
				  {.kind = STORE_OP_KEY, .wall_ns = 2}};

	(void)unused;
	codec_sort(ops, 4);
	assert_int_equal(ops[0].kind, STORE_OP_TENANT);
	assert_int_equal(ops[1].wall_ns, 1);
	assert_int_equal(ops[2].wall_ns, 2);
	assert_int_equal(ops[3].kind, STORE_OP_NODE_SET);
	codec_sort(ops, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(what_is_not_exactly_a_decision_is_refused),
		cmocka_unit_test(an_op_that_is_no_decision_or_has_no_key_is_refused),
		cmocka_unit_test(sorted_none_needs_a_later_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
