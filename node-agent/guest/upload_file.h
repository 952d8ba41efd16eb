/* The file that an upload writes: in place, so that whoever watches it sees what E2B's clients
 * expect, and the user's, whoever had it before. */
#ifndef FLOTILLA_GUEST_UPLOAD_FILE_H
#define FLOTILLA_GUEST_UPLOAD_FILE_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "node-agent/guest/users.h"

struct upload_file {
	int fd; /* -1: not open */
	bool is_new;
	char path[PATH_MAX]; /* set by whoever opens it: absolute and clean */
};

/* Makes what leads to it, and empties it. 0, or -1 with errno. */
int upload_file_open(struct upload_file *file, const struct user *user);
int upload_file_write(struct upload_file *file, const char *bytes, size_t bytes_n);

/* Complete: its metadata is replaced (NULL: by none). 0, or -1 with errno; closed either way. */
int upload_file_close(struct upload_file *file, json_t *metadata);

/* Not complete, and nobody is going to complete it: one that was not there before is removed. */
void upload_file_abandon(struct upload_file *file);

#endif
