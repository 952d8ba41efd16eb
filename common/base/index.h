/*
 * Finds the slot of a text: a hash table over the names or ids (struct id begins with its text)
 * that live in an array of the caller's.  Only slots are stored here; the text is read where it
 * lives, and so must not change while it is indexed.
 */
#ifndef FLOTILLA_BASE_INDEX_H
#define FLOTILLA_BASE_INDEX_H

#include <stddef.h>
#include <stdint.h>

#define INDEX_NONE UINT32_MAX

struct index_entry {
	uint32_t hash;
	uint32_t slot_plus_1; /* 0: empty */
};

struct index {
	struct index_entry *entries;
	uint32_t mask, limit, n;
	const char *texts; /* text of slot s: NUL-terminated, at texts + s * stride */
	size_t stride;
};

/* Bytes for index_init's memory, a multiple of 8. limit: at most 2^30 texts. */
size_t index_bytes(uint32_t limit);

/* memory: zeroed, aligned to 8. texts: the text of slot 0; stride: bytes from one to the next. */
void index_init(struct index *index, void *memory, uint32_t limit, const void *texts,
		size_t stride);

/* The slot whose text is this, or INDEX_NONE. */
uint32_t index_find(const struct index *index, const char *text);

/* The text is already in its place and is not indexed yet. */
void index_add(struct index *index, uint32_t slot);

/* The text is still in its place. */
void index_remove(struct index *index, uint32_t slot);

#endif
