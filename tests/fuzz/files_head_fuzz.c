/* Heads of uploads and downloads: metadata, ranges, encodings; and signed addresses, which open for
 * whoever knows the token and for nobody else. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/base/check.h"
#include "common/http/head.h"
#include "common/http/target.h"
#include "node-agent/guest/encoding.h"
#include "node-agent/guest/metadata.h"
#include "node-agent/guest/range.h"
#include "node-agent/guest/signature.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SIZE = 1000, NOW_S = 1000 };

static void check_metadata(const struct http_head *head)
{
	char problem[METADATA_PROBLEM_MAX] = "";
	size_t total_n = 0;
	json_t *metadata, *value;
	const char *key;

	if (!metadata_from_head(head, &metadata, problem)) {
		CHECK(!metadata && problem[0]);
		return;
	}
	CHECK(!metadata || json_object_size(metadata));
	json_object_foreach(metadata, key, value)
	{
		CHECK(key[0] && strlen(key) <= METADATA_KEY_MAX && json_is_string(value));
		for (const char *at = key; *at; at++)
			CHECK(*at > ' ' && *at <= '~' && !(*at >= 'A' && *at <= 'Z'));
		total_n += strlen(METADATA_ATTRIBUTE) + strlen(key) + json_string_length(value);
	}
	CHECK(total_n <= METADATA_TOTAL_MAX);
	json_decref(metadata);
}

static void check_range(const struct http_head *head)
{
	uint64_t at, n;

	switch (range_read(http_head_value(head, "range"), SIZE, &at, &n)) {
	case RANGE_WHOLE:
		CHECK(at == 0 && n == SIZE);
		return;
	case RANGE_PART:
		CHECK(n && at < SIZE && n <= SIZE - at);
		return;
	case RANGE_OUTSIDE:
		return;
	}
}

static size_t escape(const char *text, char *out)
{
	size_t n = 0;

	for (; *text; text++)
		n += (size_t)sprintf(out + n, "%%%02x", (unsigned char)*text);
	return n;
}

/* Nobody guesses a signature; and the right one opens what it was made for. */
static void check_signature(struct http_text query)
{
	char path[64], username[16], signature[SIGNATURE_MAX], signed_query[1024];
	size_t n;

	CHECK(signature_check(query, false, "a token of ours", NOW_S));
	http_query_get(query, "path", path, sizeof(path));
	http_query_get(query, "username", username, sizeof(username));
	signature_make(path, true, username, "token", "1000", signature);
	n = (size_t)sprintf(signed_query, "signature_expiration=1000&path=");
	n += escape(path, signed_query + n);
	n += (size_t)sprintf(signed_query + n, "&username=");
	n += escape(username, signed_query + n);
	n += (size_t)sprintf(signed_query + n, "&signature=");
	escape(signature, signed_query + n);
	query = http_text_of(signed_query);
	CHECK(!signature_check(query, true, "token", NOW_S));
	CHECK(signature_check(query, true, "token", NOW_S + 1));
	CHECK(signature_check(query, false, "token", NOW_S));
	CHECK(signature_check(query, true, "Token", NOW_S));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http_head head;
	struct http_text path, query;
	size_t scanned_n = 0, head_n;

	if (http_request_parse((const char *)data, size, &scanned_n, &head, &head_n) != HTTP_OK)
		return 0;
	check_metadata(&head);
	check_range(&head);
	encoding_identity_allowed(http_head_value(&head, "accept-encoding"));
	http_target_split(head.target, &path, &query);
	check_signature(query);
	return 0;
}
