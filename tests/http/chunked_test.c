/* The promises of common/http/chunked.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/http/chunked.h"

/* Decodes 'text' handed over in pieces of at most piece_max bytes. */
static enum http_verdict decode(const char *text, size_t text_n, size_t piece_max, char *out,
				size_t *out_n, size_t *out_used)
{
	struct http_chunked chunked = {0};
	enum http_verdict verdict = HTTP_MORE;
	size_t at = 0;

	*out_n = 0;
	while (at < text_n) {
		size_t n = text_n - at < piece_max ? text_n - at : piece_max, used;
		struct http_text data;

		verdict = http_chunked_read(&chunked, text + at, n, &used, &data);
		at += used;
		memcpy(out + *out_n, data.at ? data.at : "", data.n);
		*out_n += data.n;
		if (verdict == HTTP_BAD_CHUNK || (verdict == HTTP_OK && !data.n))
			break;
	}
	*out_used = at;
	return verdict;
}

static void a_body_is_the_same_in_pieces_of_any_size(void **state)
{
	static const char text[] = "5\r\nhello\r\n1;a=b\r\n,\r\n00A \t\r\n0123456789\r\n"
				   "0\r\nTrailer: x\r\n\r\nnext";
	size_t out_n, used;
	char out[64];

	(void)state;
	for (size_t piece = 1; piece <= strlen(text); piece++) {
		assert_int_equal(decode(text, strlen(text), piece, out, &out_n, &used), HTTP_OK);
		assert_int_equal(out_n, 16);
		assert_memory_equal(out, "hello,0123456789", 16);
		assert_string_equal(text + used, "next");
	}
}

static void malformed_chunks_are_refused(void **state)
{
	static const char *const rows[] = {
		"\r\n",
		"x\r\n",
		" 5\r\nhello\r\n",
		"5\nhello\r\n",
		"-1\r\n",
		"5\r\nhelloX",
		"5\r\nhello\n",
		"1000000000000000\r\n",
		"5 x\ry\r\n",
		"0\r\n bad\r\n\r\n",
		"0\r\nA: b\n\r\n",
		"5\rhello",
	};
	size_t out_n, used;
	char out[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_N(rows); i++)
		if (decode(rows[i], strlen(rows[i]), 3, out, &out_n, &used) != HTTP_BAD_CHUNK)
			fail_msg("row %zu was taken", i);
}

static void an_endless_line_or_trailer_is_refused(void **state)
{
	char text[HTTP_TRAILER_MAX + 64], out[8];
	size_t out_n, used;

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, "1;", 2);
	assert_int_equal(decode(text, sizeof(text), 100, out, &out_n, &used), HTTP_BAD_CHUNK);
	assert_true(used <= HTTP_CHUNK_LINE_MAX + 1);
	memcpy(text, "0\r\n", 3);
	assert_int_equal(decode(text, sizeof(text), 100, out, &out_n, &used), HTTP_BAD_CHUNK);
}

static void what_is_encoded_is_decoded(void **state)
{
	struct rng rng = {1};
	char text[4096], plain[2048], out[2048];

	(void)state;
	for (int round = 0; round < 200; round++) {
		size_t text_n = 0, plain_n = 0, out_n, used;

		for (uint64_t chunks = rng_below(&rng, 8); chunks; chunks--) {
			size_t n = 1 + (size_t)rng_below(&rng, 200);

			text_n += http_chunk_head(text + text_n, n);
			for (size_t i = 0; i < n; i++)
				text[text_n++] = plain[plain_n++] = (char)rng_next(&rng);
			memcpy(text + text_n, HTTP_CHUNK_TAIL, 2);
			text_n += 2;
		}
		memcpy(text + text_n, HTTP_CHUNK_LAST, 5);
		text_n += 5;
		assert_int_equal(
			decode(text, text_n, 1 + (size_t)rng_below(&rng, 300), out, &out_n, &used),
			HTTP_OK);
		assert_int_equal(used, text_n);
		assert_int_equal(out_n, plain_n);
		assert_memory_equal(out, plain, plain_n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_body_is_the_same_in_pieces_of_any_size),
		cmocka_unit_test(malformed_chunks_are_refused),
		cmocka_unit_test(an_endless_line_or_trailer_is_refused),
		cmocka_unit_test(what_is_encoded_is_decoded),
	};

	return cmocka_run_group_tests_name("http.chunked", tests, NULL, NULL);
}
