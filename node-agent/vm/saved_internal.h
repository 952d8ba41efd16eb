/* The file of a memory's difference, between who writes it and who reads it. */
#ifndef FLOTILLA_VM_SAVED_INTERNAL_H
#define FLOTILLA_VM_SAVED_INTERNAL_H

#include "node-agent/vm/saved_memory.h"

/* What is written, read and summed up at a time. */
enum { SAVED_BLOCK_PAGES = 256, SAVED_BLOCK_BYTES = SAVED_BLOCK_PAGES * VM_PAGE };

/* A row of the file's table, in the host's byte order: it belongs to one machine's processor. */
struct saved_row {
	uint64_t page;
	uint32_t pages_n;
	uint32_t is_zero; /* has no bytes in the file */
};

_Static_assert(sizeof(struct saved_row) == 16 && VM_PAGE % sizeof(struct saved_row) == 0,
	       "rows fill whole pages");

/* Filled up to whole pages. */
uint64_t saved_table_bytes(uint64_t runs_n);

/* Past the page cache, unless the file system has no such way. -1: errno. */
int saved_open_direct(const char *path, int flags);

/* Fit for such a descriptor; to be freed. n: whole pages. */
void *saved_page_buffer(size_t n, struct err *err);

#endif
