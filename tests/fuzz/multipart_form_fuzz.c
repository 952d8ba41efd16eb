/* Forms: parts and payload are the same however the bytes are cut. The first byte says how. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "node-agent/guest/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Enough of a digest to tell two readings apart. */
struct reading {
	uint64_t hash;
	size_t parts_n, data_n;
	enum multipart_event last;
};

static void add(struct reading *reading, const char *bytes, size_t bytes_n)
{
	for (size_t i = 0; i < bytes_n; i++)
		reading->hash = (reading->hash ^ (unsigned char)bytes[i]) * 1099511628211u;
}

static void read_all(const char *bytes, size_t bytes_n, size_t piece_max, struct reading *out)
{
	static struct multipart multipart;
	bool is_open = false;
	size_t at = 0;

	*out = (struct reading){0};
	CHECK(multipart_init(&multipart, http_text_of("multipart/form-data; boundary=XX")));
	while (at < bytes_n) {
		size_t n = bytes_n - at < piece_max ? bytes_n - at : piece_max, used = 0;
		struct http_text data;

		out->last = multipart_read(&multipart, bytes + at, n, &used, &data);
		CHECK(used <= n);
		at += used;
		switch (out->last) {
		case MULTIPART_MORE:
			CHECK(used);
			break;
		case MULTIPART_PART:
			CHECK(!is_open);
			is_open = true;
			out->parts_n++;
			add(out, multipart.name, strlen(multipart.name) + 1);
			add(out, multipart.filename, strlen(multipart.filename) + 1);
			break;
		case MULTIPART_DATA:
			CHECK(is_open && data.n);
			add(out, data.at, data.n);
			out->data_n += data.n;
			break;
		case MULTIPART_END:
			CHECK(is_open);
			is_open = false;
			break;
		case MULTIPART_DONE:
		case MULTIPART_BAD:
			return;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *bytes = (const char *)data + 1;
	static struct multipart multipart;
	struct reading whole, pieces;

	if (size < 2)
		return 0;
	read_all(bytes, size - 1, size, &whole);
	read_all(bytes, size - 1, 1 + data[0] % 32, &pieces);
	CHECK(whole.hash == pieces.hash && whole.parts_n == pieces.parts_n &&
	      whole.data_n == pieces.data_n && whole.data_n <= size);
	multipart_init(&multipart, (struct http_text){bytes, size - 1});
	return 0;
}
