/* gzip, decoded as it comes: see gunzip.h. */
#include "node-agent/guest/gunzip.h"

#include <limits.h>

#include "common/base/check.h"

enum { GZIP_ONLY = 16 }; /* beside the window's size: zlib's way to say so */

bool gunzip_open(struct gunzip *gunzip)
{
	*gunzip = (struct gunzip){0};
	return inflateInit2(&gunzip->stream, MAX_WBITS + GZIP_ONLY) == Z_OK;
}

void gunzip_close(struct gunzip *gunzip)
{
	inflateEnd(&gunzip->stream);
}

/* One call of zlib; true when there may be more to do. */
static bool step(struct gunzip *gunzip, bool *out_bad)
{
	z_stream *stream = &gunzip->stream;
	int result;

	/* A body may be several members, one behind the other. */
	if (gunzip->is_complete && stream->avail_in) {
		inflateReset(stream);
		gunzip->is_complete = false;
	}
	if (gunzip->is_complete)
		return false;
	result = inflate(stream, Z_NO_FLUSH);
	if (result == Z_STREAM_END) {
		gunzip->is_complete = true;
		return stream->avail_in > 0;
	}
	*out_bad = result != Z_OK && result != Z_BUF_ERROR;
	return result == Z_OK && stream->avail_in;
}

enum gunzip_event gunzip_read(struct gunzip *gunzip, const char *bytes, size_t bytes_n,
			      size_t *out_used, char *out, size_t out_max, size_t *out_n)
{
	z_stream *stream = &gunzip->stream;
	bool bad = false;

	CHECK(bytes_n <= UINT_MAX && out_max && out_max <= UINT_MAX);
	stream->next_in = (unsigned char *)bytes;
	stream->avail_in = (unsigned)bytes_n;
	stream->next_out = (unsigned char *)out;
	stream->avail_out = (unsigned)out_max;
	while (stream->avail_out && step(gunzip, &bad))
		;
	*out_used = bytes_n - stream->avail_in;
	*out_n = out_max - stream->avail_out;
	if (*out_n)
		return GUNZIP_DATA;
	return bad ? GUNZIP_BAD : GUNZIP_MORE;
}
