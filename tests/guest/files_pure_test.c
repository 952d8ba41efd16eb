/* Signatures, compressed bodies, encodings, metadata's bounds, and what a watch tells: the pure
 * parts of files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "common/base/check.h"
#include "node-agent/guest/encoding.h"
#include "node-agent/guest/gunzip.h"
#include "node-agent/guest/metadata.h"
#include "node-agent/guest/metrics.h"
#include "node-agent/guest/signature.h"
#include "node-agent/guest/watch.h"

#define TOKEN "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0"

/* As E2B's own packages sign. */
static void a_signature_is_e2bs(void **state)
{
	char signature[SIGNATURE_MAX];

	(void)state;
	signature_make("hello.txt", false, "user", TOKEN, NULL, signature);
	assert_string_equal(signature, "v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E");
}

/* With base64's plus as a query has it. */
static void escape(const char *text, char *out)
{
	for (; *text; text++)
		out = *text == '+' ? stpcpy(out, "%2B") : (*out = *text, out + 1);
	*out = 0;
}

static void a_signature_holds_for_what_was_signed(void **state)
{
	char signature[SIGNATURE_MAX], escaped[3 * SIGNATURE_MAX], query[256];

	(void)state;
	signature_make("a b", true, "", TOKEN, "1000", signature);
	escape(signature, escaped);
	snprintf(query, sizeof(query), "path=a%%20b&signature_expiration=1000&signature=%s",
		 escaped);
	assert_null(signature_check(http_text_of(query), true, TOKEN, 1000));
	assert_string_equal(signature_check(http_text_of(query), true, TOKEN, 1001),
			    "signature is already expired");
	assert_string_equal(signature_check(http_text_of(query), false, TOKEN, 1000),
			    "invalid signature");
	assert_string_equal(signature_check(http_text_of(query), true, "other", 1000),
			    "invalid signature");
	assert_string_equal(signature_check(http_text_of("path=a"), true, TOKEN, 1000),
			    "missing signature query parameter");
	assert_string_equal(signature_check(http_text_of("signature=%zz"), true, TOKEN, 1000),
			    "invalid signature");
}

static size_t zip(const char *text, char *out, size_t out_max)
{
	z_stream stream = {0};

	assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	stream.next_in = (unsigned char *)text;
	stream.avail_in = (unsigned)strlen(text);
	stream.next_out = (unsigned char *)out;
	stream.avail_out = (unsigned)out_max;
	assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
	deflateEnd(&stream);
	return out_max - stream.avail_out;
}

static void gzip_is_decoded_however_it_is_cut(void **state)
{
	char zipped[512], text[512], out[7];
	size_t zipped_n = zip("first, ", zipped, sizeof(zipped));

	(void)state;
	zipped_n += zip("second", zipped + zipped_n, sizeof(zipped) - zipped_n);
	for (size_t piece = 1; piece <= zipped_n; piece++) {
		size_t text_n = 0;
		struct gunzip gunzip;

		assert_true(gunzip_open(&gunzip));
		for (size_t at = 0; at < zipped_n; at += piece) {
			size_t n = zipped_n - at < piece ? zipped_n - at : piece, done = 0, used,
			       out_n;
			enum gunzip_event event;

			while ((event = gunzip_read(&gunzip, zipped + at + done, n - done, &used,
						    out, sizeof(out), &out_n)) == GUNZIP_DATA) {
				memcpy(text + text_n, out, out_n);
				text_n += out_n;
				done += used;
			}
			assert_int_equal(event, GUNZIP_MORE);
		}
		assert_true(gunzip.is_complete);
		assert_int_equal(text_n, 13);
		assert_memory_equal(text, "first, second", 13);
		gunzip_close(&gunzip);
	}
}

static void encodings_that_forbid_identity_are_told(void **state)
{
	static const struct {
		const char *accept;
		bool allowed;
	} rows[] = {
		{"", true},
		{"gzip, deflate, br", true},
		{"identity", true},
		{"identity;q=0", false},
		{"gzip, Identity ; q=0.000", false},
		{"*;q=0", false},
		{"*;q=0, identity;q=0.1", true},
		{"identity;q=1, *;q=0", true},
		{"identity;q=", true},
		{"*", true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++)
		assert_int_equal(encoding_identity_allowed(http_text_of(rows[i].accept)),
				 rows[i].allowed);
}

static void the_first_of_several_headers_wins(void **state)
{
	struct http_head head = {
		.headers = {{http_text_of("X-Metadata-Key"), http_text_of("first")},
			    {http_text_of("x-metadata-KEY"), http_text_of("second")},
			    {http_text_of("x-metadata-"), http_text_of("dropped")},
			    {http_text_of("x-meta"), http_text_of("another")}},
		.headers_n = 4,
	};
	char problem[METADATA_PROBLEM_MAX];
	json_t *metadata;

	(void)state;
	assert_true(metadata_from_head(&head, &metadata, problem));
	assert_int_equal(json_object_size(metadata), 1);
	assert_string_equal(json_string_value(json_object_get(metadata, "key")), "first");
	json_decref(metadata);
	head.headers_n = 0;
	assert_true(metadata_from_head(&head, &metadata, problem));
	assert_null(metadata);
}

static void events_have_fsnotifys_kinds(void **state)
{
	static const struct {
		uint32_t mask;
		const char *type;
	} rows[] = {
		{IN_CREATE, "EVENT_TYPE_CREATE"},
		{IN_MOVED_TO | IN_ISDIR, "EVENT_TYPE_CREATE"},
		{IN_MOVED_FROM, "EVENT_TYPE_RENAME"},
		{IN_MOVE_SELF, "EVENT_TYPE_RENAME"},
		{IN_ATTRIB | IN_ISDIR, "EVENT_TYPE_CHMOD"},
		{IN_MODIFY, "EVENT_TYPE_WRITE"},
		{IN_DELETE, "EVENT_TYPE_REMOVE"},
		{IN_DELETE_SELF, "EVENT_TYPE_REMOVE"},
	};
	const char *types[WATCH_TYPES_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++) {
		assert_int_equal(watch_types(rows[i].mask, types), 1);
		assert_string_equal(types[0], rows[i].type);
	}
	assert_int_equal(watch_types(IN_OPEN | IN_ISDIR | IN_IGNORED, types), 0);
	assert_int_equal(watch_types(UINT32_MAX, types), WATCH_TYPES_MAX);
}

static void use_is_counted_over_a_second_at_least(void **state)
{
	struct metrics metrics = {{100, 1000}, {100, 1000}};

	(void)state;
	assert_true(metrics_used_percent(&metrics, (struct metrics_ticks){100, 1000}, 100) == 0);
	assert_true(metrics_used_percent(&metrics, (struct metrics_ticks){105, 1010}, 100) == 50);
	assert_true(metrics_used_percent(&metrics, (struct metrics_ticks){150, 1200}, 100) == 25);
	/* Asked again at once it still tells of that interval, and not of a tick or two. */
	assert_true(metrics_used_percent(&metrics, (struct metrics_ticks){152, 1202}, 100) ==
		    25.74);
	assert_true(metrics_used_percent(&metrics, (struct metrics_ticks){152, 1302}, 100) == 1.96);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_signature_is_e2bs),
		cmocka_unit_test(a_signature_holds_for_what_was_signed),
		cmocka_unit_test(gzip_is_decoded_however_it_is_cut),
		cmocka_unit_test(encodings_that_forbid_identity_are_told),
		cmocka_unit_test(the_first_of_several_headers_wins),
		cmocka_unit_test(events_have_fsnotifys_kinds),
		cmocka_unit_test(use_is_counted_over_a_second_at_least),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
