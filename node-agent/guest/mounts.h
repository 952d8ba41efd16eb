/*
 * Volumes of the tenant in this sandbox (common/mux/mount.h): mounted by FUSE, whose requests are
 * relayed to who keeps the volumes, and whose answers are relayed back.  Nothing of them is
 * understood here but their lengths and numbers.
 *
 * Who waits for a volume is served by the channel.  A file call of envd's may wait for one too, and
 * it is made on our main loop; so with the first mount the channel goes on in a thread of its own
 * (channel_detach), and all of this is that thread's.
 *
 * While nobody is at the other end requests wait, MOUNTS_WAIT_MS at the most; then all of them fail
 * (EIO) until somebody is there again.
 */
#ifndef FLOTILLA_GUEST_MOUNTS_H
#define FLOTILLA_GUEST_MOUNTS_H

#include <stdint.h>

#include "node-agent/guest/channel.h"

enum {
	MOUNTS_WAIT_MS = 30 * 1000,
	MOUNTS_MAX = 16,
	MOUNTS_HEAD_MAX = 4096,
};

/* A stream to MOUNT_PORT. */
void mounts_accept(struct channel *channel, uint32_t stream);

#endif
