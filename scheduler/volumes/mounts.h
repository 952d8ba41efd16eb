/*
 * Volumes that are mounted in sandboxes.  Each mount has a thread here, which reaches its sandbox
 * by way of the gateway, as a client of it that knows the fleet's key, and then serves what the
 * sandbox's kernel asks.  A connection that breaks (a gateway that restarts, a sandbox that is
 * paused) is made again, for as long as the scheduler says that there is such a sandbox; what the
 * kernel has open stays open meanwhile.  Mounts are known after a restart too, by a small file
 * each.
 */
#ifndef FLOTILLA_VOLUMES_MOUNTS_H
#define FLOTILLA_VOLUMES_MOUNTS_H

#include "common/mux/mount.h"
#include "scheduler/volumes/volumes.h"

enum {
	MOUNT_WAIT_MS = 10000, /* for a mount to be there */
	MOUNT_PROBLEM_MAX = 160,
};

struct mounts;

struct mounts_options {
	const char *dir; /* where the small files are */
	struct volumes *volumes;
	const struct fleet_key *key;
	struct address gateway, api_backend;
	uint32_t max;
};

int mounts_open(struct mounts **out, const struct mounts_options *options, struct err *err);
void mounts_close(struct mounts *mounts); /* waits for all threads; NULL is fine */

/* Waits until the volume is at that path of the sandbox: 200, or a status and why not.  One that is
 * there already is reached again.  Blocks, on any thread. */
int mounts_ensure(struct mounts *mounts, const struct id *sandbox, const struct id *volume,
		  const char *path, char out_problem[MOUNT_PROBLEM_MAX]);

/* An absolute path without "." and "..", "//" and whatever cannot be in a request's head. */
bool mount_path_is_good(const char *path);

#endif
