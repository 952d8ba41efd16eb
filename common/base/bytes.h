/* Bytes that wait, of any number: added at the end, taken from the front. */
#ifndef FLOTILLA_BASE_BYTES_H
#define FLOTILLA_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero: none, and nothing to be freed. */
struct bytes {
	uint8_t *at;
	size_t n, max;
};

bool bytes_append(struct bytes *bytes, const void *more, size_t more_n); /* false: no memory */
void bytes_remove(struct bytes *bytes, size_t n); /* from the front; frees when empty */

#endif
