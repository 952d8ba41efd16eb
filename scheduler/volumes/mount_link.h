/* The way to a sandbox's mount, by way of the gateway: see common/mux/mount.h. */
#ifndef FLOTILLA_VOLUMES_MOUNT_LINK_H
#define FLOTILLA_VOLUMES_MOUNT_LINK_H

#include "scheduler/volumes/mounts.h"

enum mount_link_answer {
	MOUNT_LINK_AWAY, /* the sandbox is not to be reached now */
	MOUNT_LINK_NEW,
	MOUNT_LINK_KNOWN,
	MOUNT_LINK_REFUSED,
};

/* *out_fd: for NEW and KNOWN. Blocks for some seconds at the most; stop_fd becoming readable ends
 * it. */
enum mount_link_answer mount_link_open(const struct mounts_options *options,
				       const struct id *sandbox, const struct id *volume,
				       const char *path, int stop_fd, int *out_fd,
				       char out_problem[MOUNT_PROBLEM_MAX]);

/* Exactly so many bytes. False: the connection is over, or we are to stop. */
bool mount_link_read(int fd, int stop_fd, void *bytes, size_t n);
bool mount_link_write(int fd, int stop_fd, const void *bytes, size_t n);

#endif
