/* The Range header: see range.h. */
#include "node-agent/guest/range.h"

#include <string.h>

enum range range_read(struct http_text header, uint64_t size, uint64_t *out_at, uint64_t *out_n)
{
	struct http_text first, last;
	uint64_t from, to;
	const char *dash;

	*out_at = 0;
	*out_n = size;
	if (!http_text_starts_nocase(header, "bytes=") || memchr(header.at, ',', header.n))
		return RANGE_WHOLE;
	header.at += 6;
	header.n -= 6;
	dash = header.n ? memchr(header.at, '-', header.n) : NULL;
	if (!dash)
		return RANGE_WHOLE;
	first = (struct http_text){header.at, (size_t)(dash - header.at)};
	last = (struct http_text){dash + 1, (size_t)(header.at + header.n - dash - 1)};
	if (!first.n) { /* the last so many */
		if (!http_text_u64(last, &to))
			return RANGE_WHOLE;
		if (!to || !size)
			return RANGE_OUTSIDE;
		*out_n = to < size ? to : size;
		*out_at = size - *out_n;
		return RANGE_PART;
	}
	to = UINT64_MAX;
	if (!http_text_u64(first, &from) || (last.n && !http_text_u64(last, &to)) || to < from)
		return RANGE_WHOLE;
	if (from >= size)
		return RANGE_OUTSIDE;
	*out_at = from;
	*out_n = (to < size ? to + 1 : size) - from;
	return RANGE_PART;
}
