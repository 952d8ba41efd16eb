#include "scheduler/ha/codec.h"

#include "common/base/check.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum codec_type { CODEC_ID, CODEC_TEXT, CODEC_LONG, CODEC_HASH, CODEC_I64, CODEC_U64, CODEC_BOOL };
enum codec_kind { CODEC_KEY, CODEC_MUST, CODEC_MAY };

struct codec_field {
	enum store_op_kind op;
	enum codec_type type;
	enum codec_kind kind;
	const char *name;
	size_t at, size;
};

static const struct codec_field fields[] = {
#define FIELD(op, member, field, type, kind)                                                       \
	{STORE_OP_##op,                                                                            \
	 CODEC_##type,                                                                             \
	 CODEC_##kind,                                                                             \
	 #field,                                                                                   \
	 offsetof(struct store_op, member.field),                                                  \
	 sizeof(((struct store_op *)0)->member.field)},
#include "scheduler/ha/decisions.def"
};

struct codec_decision {
	enum store_op_kind op;
	const char *folder;
};

static const struct codec_decision decisions[] = {
#define DECISION(op, member, folder) {STORE_OP_##op, folder},
#include "scheduler/ha/decisions.def"
};

#define EACH_FIELD(field, kind)                                                                    \
	for (const struct codec_field *field = fields; field < fields + ARRAY_N(fields); field++)  \
		if (field->op == (kind))

static const struct codec_decision *codec_of(enum store_op_kind op)
{
	for (size_t i = 0; i < ARRAY_N(decisions); i++)
		if (decisions[i].op == op)
			return &decisions[i];
	return NULL;
}

/* ---- one field ---- */

static json_t *codec_get(const struct codec_field *field, const struct store_op *op)
{
	const void *at = (const char *)op + field->at;
	char hex[2 * STORE_HASH_N + 1];

	switch (field->type) {
	case CODEC_ID:
		return json_string(((const struct id *)at)->text);
	case CODEC_TEXT:
		return json_string(at);
	case CODEC_LONG:
		return json_string(*(char *const *)at);
	case CODEC_HASH:
		CHECK(field->size == STORE_HASH_N);
		sodium_bin2hex(hex, sizeof(hex), at, STORE_HASH_N);
		return json_string(hex);
	case CODEC_I64:
		return json_integer(*(const int64_t *)at);
	case CODEC_U64:
		if (*(const uint64_t *)at > INT64_MAX)
			return NULL;
		return json_integer((json_int_t) * (const uint64_t *)at);
	case CODEC_BOOL:
		return json_boolean(*(const bool *)at);
	}
	return NULL;
}

static int codec_set_text(char *out, size_t size, const char *text)
{
	if (!text || strlen(text) >= size)
		return -1;
	for (const char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return -1;
	snprintf(out, size, "%s", text);
	return 0;
}

static int codec_set(const struct codec_field *field, const json_t *json, struct store_op *op)
{
	void *at = (char *)op + field->at;
	const char *text = json_string_value(json);
	size_t n = json_string_length(json), got_n;

	switch (field->type) {
	case CODEC_ID:
		return text && id_parse(text, n, at) ? 0 : -1;
	case CODEC_TEXT:
		/* A NUL in the middle is no text either. */
		return text && strlen(text) == n ? codec_set_text(at, field->size, text) : -1;
	case CODEC_LONG:
		if (!text || strlen(text) != n)
			return -1;
		*(char **)at = strdup(text);
		CHECK(*(char **)at);
		return 0;
	case CODEC_HASH:
		if (!text || n != 2 * STORE_HASH_N)
			return -1;
		return sodium_hex2bin(at, STORE_HASH_N, text, n, NULL, &got_n, NULL) == 0 &&
				       got_n == STORE_HASH_N
			       ? 0
			       : -1;
	case CODEC_I64:
		if (!json_is_integer(json))
			return -1;
		*(int64_t *)at = json_integer_value(json);
		return 0;
	case CODEC_U64:
		if (!json_is_integer(json) || json_integer_value(json) < 0)
			return -1;
		*(uint64_t *)at = (uint64_t)json_integer_value(json);
		return 0;
	case CODEC_BOOL:
		if (!json_is_boolean(json))
			return -1;
		*(bool *)at = json_is_true(json);
		return 0;
	}
	return -1;
}

static bool codec_is_zero(const struct codec_field *field, const struct store_op *op)
{
	const uint8_t *at = (const uint8_t *)op + field->at;

	if (field->type == CODEC_ID || field->type == CODEC_TEXT)
		return at[0] == 0;
	return sodium_is_zero(at, field->size) != 0;
}

/* ---- keys ---- */

static int codec_add_part(char *key, const json_t *part)
{
	size_t used = strlen(key);
	char number[24];
	const char *text = json_string_value(part);

	if (json_is_integer(part)) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(part));
		text = number;
	}
	if (!text || !*text || strchr(text, '/'))
		return -1;
	int n = snprintf(key + used, CODEC_KEY_MAX - used, "/%s", text);
	return n < 0 || (size_t)n >= CODEC_KEY_MAX - used ? -1 : 0;
}

static int codec_key(const struct store_op *op, char out_key[CODEC_KEY_MAX])
{
	snprintf(out_key, CODEC_KEY_MAX, CODEC_PREFIX "%s", codec_of(op->kind)->folder);
	EACH_FIELD(field, op->kind)
	{
		if (field->kind != CODEC_KEY)
			continue;
		json_t *part = codec_get(field, op);
		int fault = codec_add_part(out_key, part);
		json_decref(part);
		if (fault)
			return -1;
	}
	return 0;
}

/* ---- the contract ---- */

static int codec_add(json_t *json, const struct codec_field *field, const struct store_op *op)
{
	if (field->kind == CODEC_MAY && codec_is_zero(field, op))
		return 0;
	json_t *value = codec_get(field, op);
	return value && json_object_set_new(json, field->name, value) == 0 ? 0 : -1;
}

int codec_encode(const struct store_op *op, char out_key[CODEC_KEY_MAX], char **out_value,
		 struct err *err)
{
	if (!codec_of(op->kind))
		return err_set(err, "an op of kind %d is no decision", (int)op->kind);
	if (codec_key(op, out_key))
		return err_set(err, "this object cannot have a key in etcd");
	json_t *json = json_object();
	CHECK(json && json_object_set_new(json, "at", json_integer(op->wall_ns)) == 0);
	EACH_FIELD(field, op->kind)
	{
		if (codec_add(json, field, op)) {
			json_decref(json);
			return err_set(err, "%s: %s cannot be written as JSON", out_key,
				       field->name);
		}
	}
	*out_value = json_dumps(json, JSON_COMPACT);
	CHECK(*out_value);
	json_decref(json);
	return 0;
}

static const struct codec_decision *codec_of_key(const char *key)
{
	size_t prefix_n = strlen(CODEC_PREFIX);

	if (strncmp(key, CODEC_PREFIX, prefix_n) != 0)
		return NULL;
	for (size_t i = 0; i < ARRAY_N(decisions); i++) {
		size_t n = strlen(decisions[i].folder);

		if (strncmp(key + prefix_n, decisions[i].folder, n) == 0 &&
		    key[prefix_n + n] == '/')
			return &decisions[i];
	}
	return NULL;
}

static int codec_decode_fields(const json_t *json, struct store_op *out, struct err *err)
{
	const json_t *at = json_object_get(json, "at");
	size_t known_n = 1;

	if (!json_is_integer(at))
		return err_set(err, "there is no time \"at\"");
	out->wall_ns = json_integer_value(at);
	EACH_FIELD(field, out->kind)
	{
		const json_t *value = json_object_get(json, field->name);

		if (!value && field->kind == CODEC_MAY)
			continue;
		known_n++;
		if (!value || codec_set(field, value, out))
			return err_set(err, "\"%s\" is %s", field->name,
				       value ? "not what it must be" : "missing");
	}
	if (json_object_size(json) != known_n)
		return err_set(err, "it has members that nobody here knows");
	return 0;
}

int codec_decode(const char *key, const void *value, size_t value_n, struct store_op *out,
		 struct err *err)
{
	const struct codec_decision *decision = codec_of_key(key);
	char own_key[CODEC_KEY_MAX];
	json_error_t where;

	if (!decision)
		return err_set(err, "%.200s: not a decision's key", key);
	if (value_n > CODEC_VALUE_MAX)
		return err_set(err, "%.200s: longer than any decision", key);
	json_t *json = json_loadb(value, value_n, JSON_REJECT_DUPLICATES, &where);
	memset(out, 0, sizeof(*out));
	out->kind = decision->op;
	int fault = json_is_object(json) ? codec_decode_fields(json, out, err)
					 : err_set(err, "it is no JSON object");
	json_decref(json);
	if (fault)
		err_wrap(err, "%.200s", key);
	else if (codec_key(out, own_key) || strcmp(own_key, key) != 0)
		fault = err_set(err, "%.200s: the value is another object's", key);
	if (fault)
		store_op_clear(out);
	return fault ? -1 : 0;
}

static int codec_rank(enum store_op_kind kind)
{
	const struct codec_decision *decision = codec_of(kind);

	CHECK(decision);
	return (int)(decision - decisions);
}

void codec_sort(struct store_op *ops, size_t n)
{
	struct store_op *sorted = malloc((n + 1) * sizeof(*ops));
	size_t sorted_n = 0;

	CHECK(sorted);
	for (int rank = 0; rank < (int)ARRAY_N(decisions); rank++)
		for (size_t i = 0; i < n; i++)
			if (codec_rank(ops[i].kind) == rank)
				sorted[sorted_n++] = ops[i];
	CHECK(sorted_n == n);
	if (n)
		memcpy(ops, sorted, n * sizeof(*ops));
	free(sorted);
}
