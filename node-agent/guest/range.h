/* The Range header, as far as it is cheap: one range of bytes.  Pure. */
#ifndef FLOTILLA_GUEST_RANGE_H
#define FLOTILLA_GUEST_RANGE_H

#include <stdint.h>

#include "common/http/text.h"

enum range {
	RANGE_WHOLE,   /* no Range, or one that is better ignored */
	RANGE_PART,    /* *out_at and *out_n, n > 0 */
	RANGE_OUTSIDE, /* 416 */
};

enum range range_read(struct http_text header, uint64_t size, uint64_t *out_at, uint64_t *out_n);

#endif
