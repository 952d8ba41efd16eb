/* Compressed bodies: what they hold is the same however the bytes are cut, and however little room
 * there is. The first byte says how. */
#include <stddef.h>
#include <stdint.h>

#include "common/base/check.h"
#include "node-agent/guest/gunzip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUTPUT_MAX = 1024 * 1024 }; /* a bomb is not waited for */

struct reading {
	uint64_t hash;
	size_t out_n;
	bool is_complete;
	enum gunzip_event last;
};

static void read_piece(struct gunzip *gunzip, const char *bytes, size_t bytes_n, size_t out_max,
		       struct reading *reading)
{
	char out[4096];
	size_t used, out_n;

	while (reading->out_n < OUTPUT_MAX) {
		reading->last = gunzip_read(gunzip, bytes, bytes_n, &used, out, out_max, &out_n);
		CHECK(used <= bytes_n && out_n <= out_max);
		if (reading->last != GUNZIP_DATA)
			return;
		CHECK(out_n);
		for (size_t i = 0; i < out_n && reading->out_n < OUTPUT_MAX; i++, reading->out_n++)
			reading->hash = (reading->hash ^ (unsigned char)out[i]) * 1099511628211u;
		bytes += used;
		bytes_n -= used;
	}
}

static void read_all(const char *bytes, size_t bytes_n, size_t piece_max, size_t out_max,
		     struct reading *out)
{
	struct gunzip gunzip;

	*out = (struct reading){0};
	CHECK(gunzip_open(&gunzip));
	for (size_t at = 0; at < bytes_n && out->last != GUNZIP_BAD && out->out_n < OUTPUT_MAX;
	     at += piece_max)
		read_piece(&gunzip, bytes + at, bytes_n - at < piece_max ? bytes_n - at : piece_max,
			   out_max, out);
	out->is_complete = gunzip.is_complete;
	gunzip_close(&gunzip);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = (const char *)data + 1;
	struct reading whole, pieces;

	if (size < 2)
		return 0;
	read_all(bytes, size - 1, size, 4096, &whole);
	read_all(bytes, size - 1, 1 + data[0] % 16, 1 + data[0] / 16, &pieces);
	CHECK(whole.out_n == pieces.out_n && whole.hash == pieces.hash);
	if (whole.out_n < OUTPUT_MAX)
		CHECK(whole.last == pieces.last && whole.is_complete == pieces.is_complete);
	return 0;
}
