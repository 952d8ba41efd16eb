/* Chunked bodies: the payload is the same however the bytes are cut. The first byte says how. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/http/chunked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum http_verdict decode(const char *bytes, size_t bytes_n, size_t piece_max, char *out,
				size_t *out_n, size_t *out_used)
{
	struct http_chunked chunked = {0};
	enum http_verdict verdict = HTTP_MORE;
	size_t at = 0;

	*out_n = 0;
	while (at < bytes_n) {
		size_t n = bytes_n - at < piece_max ? bytes_n - at : piece_max, used = 0;
		struct http_text data;

		verdict = http_chunked_read(&chunked, bytes + at, n, &used, &data);
		CHECK(used <= n && (used || verdict == HTTP_OK));
		at += used;
		if (data.n)
			memcpy(out + *out_n, data.at, data.n);
		*out_n += data.n;
		if (verdict == HTTP_BAD_CHUNK || (verdict == HTTP_OK && !data.n))
			break;
		verdict = HTTP_MORE;
	}
	*out_used = at;
	return verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *whole, *pieces;
	size_t whole_n, pieces_n, whole_used, pieces_used;
	const char *bytes = (const char *)data + 1;

	if (size < 2)
		return 0;
	whole = malloc(size);
	pieces = malloc(size);
	CHECK(whole && pieces);
	CHECK(decode(bytes, size - 1, size, whole, &whole_n, &whole_used) ==
	      decode(bytes, size - 1, 1 + data[0] % 32, pieces, &pieces_n, &pieces_used));
	CHECK(whole_n == pieces_n && whole_used == pieces_used);
	CHECK(!memcmp(whole, pieces, whole_n));
	free(whole);
	free(pieces);
	return 0;
}
