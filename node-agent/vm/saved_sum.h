/*
 * A checksum against accidents, made for speed: eight FNV-1a lanes over the 64-bit words.  Any
 * change within one word of a lane changes it, others pass with a chance of about 2^-63.  Pure.
 */
#ifndef FLOTILLA_VM_SAVED_SUM_H
#define FLOTILLA_VM_SAVED_SUM_H

#include <stddef.h>
#include <stdint.h>

enum { VM_SUM_STEP = 64 };

struct vm_sum {
	uint64_t lanes[8];
};

void vm_sum_begin(struct vm_sum *sum);
void vm_sum_add(struct vm_sum *sum, const void *bytes, size_t n); /* n: a multiple of the step */
uint64_t vm_sum_end(const struct vm_sum *sum);                    /* fits JSON: below 2^63 */

/* Of several blocks, in their order; begin with 0. */
uint64_t vm_sum_join(uint64_t sum, uint64_t of_block);

#endif
