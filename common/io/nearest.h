/* "Did you mean": the known word nearest to a mistyped one. */
#ifndef FLOTILLA_IO_NEAREST_H
#define FLOTILLA_IO_NEAREST_H

#include <stddef.h>

struct nearest {
	const char *word; /* the text that was typed */
	const char *best; /* NULL: nothing near enough yet */
	size_t distance;
};

struct nearest nearest_begin(const char *word);

/* candidate is kept by reference. Equal distances keep the earlier one. */
void nearest_offer(struct nearest *nearest, const char *candidate);

#endif
