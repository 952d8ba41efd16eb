/*
 * What an upload says of its file beyond the content: "X-Metadata-Key: value", kept as the extended
 * attribute user.e2b.key.
 */
#ifndef FLOTILLA_GUEST_METADATA_H
#define FLOTILLA_GUEST_METADATA_H

#include <jansson.h>
#include <stdbool.h>

#include "common/http/head.h"

#define METADATA_HEADER    "x-metadata-"
#define METADATA_ATTRIBUTE "user.e2b."

enum {
	METADATA_KEY_MAX = 255 - (sizeof(METADATA_ATTRIBUTE) - 1), /* a name of the kernel's */
	METADATA_TOTAL_MAX = 4096, /* what ext4 keeps with a file, in one block */
	METADATA_PROBLEM_MAX = 400,
};

/*
 * The head's metadata as an object of strings, keys in lower case, the first of several wins; NULL
 * when there is none.  False when E2B refuses it; out_problem then says why.  Pure.
 */
bool metadata_from_head(const struct http_head *head, json_t **out_metadata,
			char out_problem[METADATA_PROBLEM_MAX]);

/* Replaces all that the open file had; NULL is none.  0, or -1 with errno. A file system that keeps
 * no attributes keeps none: that is no failure. */
int metadata_write(int fd, json_t *metadata);

/* What the file has, links followed: an object, or NULL when there is none.  What is not UTF-8
 * cannot be told and is left out. */
json_t *metadata_read(const char *path);

#endif
