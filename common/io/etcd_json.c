/* What etcd's gateway speaks: keys and values in base64, 64-bit numbers as texts, and no member at
 * all where there is a zero. */
#include "common/io/etcd_internal.h"

#include "common/base/check.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BASE64 = sodium_base64_VARIANT_ORIGINAL };

static json_t *etcd_json_bytes(const void *bytes, size_t n)
{
	size_t room = sodium_base64_encoded_len(n, BASE64);
	char *text = malloc(room);

	CHECK(text);
	sodium_bin2base64(text, room, bytes, n, BASE64);
	json_t *json = json_string(text);
	CHECK(json);
	free(text);
	return json;
}

static void etcd_json_set(json_t *object, const char *name, json_t *value)
{
	CHECK(json_object_set_new(object, name, value) == 0);
}

static void etcd_json_set_key(json_t *object, const char *name, const char *key)
{
	etcd_json_set(object, name, etcd_json_bytes(key, strlen(key)));
}

json_t *etcd_json_int(int64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, number);
	return json_string(text);
}

int64_t etcd_json_get_int(const json_t *object, const char *name, int64_t missing)
{
	const json_t *value = json_object_get(object, name);
	const char *text = json_string_value(value);
	char *end;

	if (json_is_integer(value))
		return json_integer_value(value);
	if (!text || !*text)
		return missing;
	errno = 0;
	long long number = strtoll(text, &end, 10);
	return errno || *end ? missing : number;
}

/* ---- requests ---- */

/* The first key that is not of the prefix. */
static void etcd_json_set_end(json_t *object, const char *prefix)
{
	size_t n = strlen(prefix);
	char *end = strdup(prefix);

	CHECK(end && n && (unsigned char)prefix[n - 1] < 0xff);
	end[n - 1] = (char)(end[n - 1] + 1);
	etcd_json_set_key(object, "range_end", end);
	free(end);
}

json_t *etcd_json_range(const struct etcd_range *range)
{
	json_t *json = json_object();

	CHECK(json);
	if (range->is_prefix)
		etcd_json_set_end(json, range->key);
	if (range->is_prefix && range->after) /* its NUL makes it the next key */
		etcd_json_set(json, "key", etcd_json_bytes(range->after, strlen(range->after) + 1));
	else
		etcd_json_set_key(json, "key", range->key);
	if (range->revision)
		etcd_json_set(json, "revision", etcd_json_int(range->revision));
	if (range->limit)
		etcd_json_set(json, "limit", etcd_json_int(range->limit));
	if (range->changed_at)
		etcd_json_set(json, "min_mod_revision", etcd_json_int(range->changed_at));
	if (range->only_count)
		etcd_json_set(json, "count_only", json_true());
	return json;
}

static json_t *etcd_json_compare(const struct etcd_compare *compare)
{
	static const struct {
		const char *target, *member;
	} targets[] = {
		[ETCD_TARGET_CREATE] = {"CREATE", "create_revision"},
		[ETCD_TARGET_MOD] = {"MOD", "mod_revision"},
		[ETCD_TARGET_LEASE] = {"LEASE", "lease"},
	};
	json_t *json = json_object();

	CHECK(json);
	etcd_json_set_key(json, "key", compare->key);
	etcd_json_set(json, "result", json_string("EQUAL"));
	etcd_json_set(json, "target", json_string(targets[compare->target].target));
	etcd_json_set(json, targets[compare->target].member, etcd_json_int(compare->value));
	return json;
}

static json_t *etcd_json_op(const struct etcd_op *op)
{
	json_t *json = json_object(), *inner = json_object();

	CHECK(json && inner);
	switch (op->kind) {
	case ETCD_OP_PUT:
		etcd_json_set_key(inner, "key", op->key);
		etcd_json_set(inner, "value", etcd_json_bytes(op->value, op->value_n));
		if (op->lease)
			etcd_json_set(inner, "lease", etcd_json_int(op->lease));
		etcd_json_set(json, "request_put", inner);
		return json;
	case ETCD_OP_RANGE:
		json_decref(inner);
		etcd_json_set(json, "request_range", etcd_json_range(&op->range));
		return json;
	case ETCD_OP_DELETE:
		etcd_json_set_key(inner, "key", op->key);
		etcd_json_set(json, "request_delete_range", inner);
		return json;
	}
	check_broken("an operation of etcd", __FILE__, __LINE__);
}

static json_t *etcd_json_ops(const struct etcd_op *ops, size_t n)
{
	json_t *json = json_array();

	CHECK(json);
	for (size_t i = 0; i < n; i++)
		CHECK(json_array_append_new(json, etcd_json_op(&ops[i])) == 0);
	return json;
}

json_t *etcd_json_txn(const struct etcd_txn *txn)
{
	json_t *json = json_object(), *compares = json_array();

	CHECK(json && compares);
	for (size_t i = 0; i < txn->compares_n; i++)
		CHECK(json_array_append_new(compares, etcd_json_compare(&txn->compares[i])) == 0);
	etcd_json_set(json, "compare", compares);
	etcd_json_set(json, "success", etcd_json_ops(txn->success, txn->success_n));
	etcd_json_set(json, "failure", etcd_json_ops(txn->failure, txn->failure_n));
	return json;
}

json_t *etcd_json_watch(const char *key, bool is_prefix, int64_t from_revision)
{
	json_t *inner = json_object();

	CHECK(inner);
	etcd_json_set_key(inner, "key", key);
	if (is_prefix)
		etcd_json_set_end(inner, key);
	etcd_json_set(inner, "start_revision", etcd_json_int(from_revision));
	etcd_json_set(inner, "progress_notify", json_true());
	json_t *json = json_pack("{s:o}", "create_request", inner);
	CHECK(json);
	return json;
}

/* ---- answers ---- */

/* Base64 decoded, with a NUL behind; kept by kvs. */
static int etcd_kvs_text(struct etcd_kvs *kvs, const json_t *base64, const char **out,
			 size_t *out_n)
{
	size_t text_n = json_string_length(base64);
	char *bytes = malloc(text_n + 1);

	CHECK(bytes);
	if (kvs->texts_n == kvs->texts_room) {
		kvs->texts_room = kvs->texts_room * 2 + 16;
		kvs->texts = realloc(kvs->texts, kvs->texts_room * sizeof(*kvs->texts));
		CHECK(kvs->texts);
	}
	kvs->texts[kvs->texts_n++] = bytes;
	*out_n = 0;
	if (text_n && sodium_base642bin((uint8_t *)bytes, text_n, json_string_value(base64), text_n,
					NULL, out_n, NULL, BASE64) != 0)
		return -1;
	bytes[*out_n] = 0;
	*out = bytes;
	return 0;
}

int etcd_kvs_add(struct etcd_kvs *kvs, const json_t *json, struct err *err)
{
	struct etcd_kv kv = {
		.create_revision = etcd_json_get_int(json, "create_revision", 0),
		.mod_revision = etcd_json_get_int(json, "mod_revision", 0),
		.lease = etcd_json_get_int(json, "lease", 0),
	};
	const char *value;

	if (!json_is_object(json) ||
	    etcd_kvs_text(kvs, json_object_get(json, "key"), &kv.key, &kv.key_n) ||
	    etcd_kvs_text(kvs, json_object_get(json, "value"), &value, &kv.value_n))
		return err_set(err, "etcd's answer has a key or value that is no base64");
	kv.value = (const uint8_t *)value;
	if (kvs->n == kvs->room) {
		kvs->room = kvs->room * 2 + 16;
		kvs->items = realloc(kvs->items, kvs->room * sizeof(*kvs->items));
		CHECK(kvs->items);
	}
	kvs->items[kvs->n++] = kv;
	return 0;
}

void etcd_kvs_free(struct etcd_kvs *kvs)
{
	for (size_t i = 0; i < kvs->texts_n; i++)
		free(kvs->texts[i]);
	free(kvs->texts);
	free(kvs->items);
	*kvs = (struct etcd_kvs){0};
}

static int etcd_json_take_range(const json_t *range, struct etcd_kvs *kvs, struct etcd_answer *out,
				struct err *err)
{
	const json_t *kv;
	size_t i;

	out->count += etcd_json_get_int(range, "count", 0);
	out->more |= json_is_true(json_object_get(range, "more"));
	json_array_foreach(json_object_get(range, "kvs"), i, kv)
	{
		if (etcd_kvs_add(kvs, kv, err))
			return -1;
	}
	return 0;
}

int etcd_json_answer(const json_t *json, struct etcd_kvs *kvs, struct etcd_answer *out,
		     struct err *err)
{
	const json_t *header, *result = json_object_get(json, "result"), *response;
	size_t i;

	if (result) /* one message of a stream: a lease that was kept */
		json = result;
	header = json_object_get(json, "header");
	if (!json_is_object(header))
		return err_set(err, "the answer is not etcd's");
	int64_t ttl_s = etcd_json_get_int(json, "TTL", 0);
	*out = (struct etcd_answer){
		.revision = etcd_json_get_int(header, "revision", 0),
		.succeeded = json_is_true(json_object_get(json, "succeeded")),
		.lease = etcd_json_get_int(json, "ID", 0),
		.ttl_ms = ttl_s > 0 && ttl_s < 1000000 ? (uint32_t)ttl_s * 1000 : 0,
	};
	if (etcd_json_take_range(json, kvs, out, err))
		return -1;
	json_array_foreach(json_object_get(json, "responses"), i, response)
	{
		const json_t *range = json_object_get(response, "response_range");

		if (range && etcd_json_take_range(range, kvs, out, err))
			return -1;
	}
	out->kvs = kvs->items;
	out->kvs_n = kvs->n;
	return 0;
}

bool etcd_json_refusal(const json_t *json, enum etcd_code *out_code, struct err *err)
{
	const json_t *inner = json_object_get(json, "error");

	/* In the middle of a stream it is an object by itself. */
	if (json_is_object(inner))
		json = inner;
	int64_t code = etcd_json_get_int(json, "code", etcd_json_get_int(json, "grpc_code", -1));
	const char *text = json_string_value(json_object_get(json, "message"));

	if (code < 1 || code > 16)
		return false;
	*out_code = (enum etcd_code)code;
	err_set(err, "%s", text && *text ? text : "etcd gives no reason");
	return true;
}

bool etcd_code_is_final(enum etcd_code code)
{
	switch (code) {
	case ETCD_CODE_INVALID:
	case ETCD_CODE_NOT_FOUND:
	case ETCD_CODE_DENIED:
	case ETCD_CODE_NO_SPACE:
	case ETCD_CODE_STATE:
	case ETCD_CODE_REVISION:
	case ETCD_CODE_NO_AUTH:
		return true;
	case ETCD_CODE_NONE:
		break;
	}
	return false; /* unavailable, timed out, cancelled, internal */
}
