/*
 * A volume as a sandbox's kernel sees it: the requests of Linux' FUSE, one by one, over one
 * volume's files.  A session is one mount; it knows the files that the kernel knows, and those that
 * it has open.
 *
 * The kernel that asks is a tenant's and not trusted: a request may be anything.  What it may do is
 * done to its own volume alone, within the volume's room; what it may hold here is bounded.  Who
 * may do what in the sandbox, its kernel decides (default_permissions): its root may do everything
 * anyway.
 *
 * A connection may break between a request and its answer, and the guest then asks again.  So the
 * newest answers are kept, and what was done is not done twice.
 *
 * Not thread-safe: a session is one thread's. Several sessions may share a tree.
 */
#ifndef FLOTILLA_VOLUMES_FUSE_H
#define FLOTILLA_VOLUMES_FUSE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "scheduler/volumes/tree.h"

enum {
	FUSE_DATA_MAX = 64 * 1024,               /* of one read or write */
	FUSE_REQUEST_MAX = FUSE_DATA_MAX + 4096, /* a whole one */
	FUSE_ANSWER_MAX = FUSE_DATA_MAX + 4096,
	FUSE_NODES_MAX = 200 * 1000, /* files that the kernel knows, of one mount */
	FUSE_HANDLES_MAX = 1024,     /* that it has open */
};

struct fuse_session;

/* NULL: no memory. The tree outlives it. */
struct fuse_session *fuse_session_open(struct tree *tree);
void fuse_session_close(struct fuse_session *session); /* NULL is fine */

/* The guest mounts anew: what it knew is nothing any more. */
void fuse_session_restart(struct fuse_session *session);

/* How long the request is that these bytes begin; 0: they begin none, or too few are here to tell.
 */
size_t fuse_request_length(const uint8_t *bytes, size_t n);

/* One whole request. The length of the answer in out, 0 when none is wanted; -1: it is malformed,
 * and whatever comes behind it is worth nothing. */
ssize_t fuse_session_serve(struct fuse_session *session, const uint8_t *request, size_t n,
			   uint8_t out[FUSE_ANSWER_MAX]);

#endif
