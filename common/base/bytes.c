/* See bytes.h. */
#include "common/base/bytes.h"

#include <stdlib.h>
#include <string.h>

bool bytes_append(struct bytes *bytes, const void *more, size_t more_n)
{
	if (bytes->n + more_n > bytes->max) {
		size_t max = bytes->n + more_n;
		uint8_t *at = realloc(bytes->at, max);

		if (!at)
			return false;
		bytes->at = at;
		bytes->max = max;
	}
	if (more_n)
		memcpy(bytes->at + bytes->n, more, more_n);
	bytes->n += more_n;
	return true;
}

void bytes_remove(struct bytes *bytes, size_t n)
{
	bytes->n -= n;
	if (!bytes->n) {
		free(bytes->at);
		*bytes = (struct bytes){0};
	} else if (n) {
		memmove(bytes->at, bytes->at + n, bytes->n);
	}
}
