/*
 * How a volume gets into a sandbox, agreed between who keeps volumes, the gateway and the guest.
 *
 * Who keeps volumes asks, by way of the gateway, for a port of the sandbox that no program there
 *has:
 *
 *	GET /?volume=ID&path=PATH    with Upgrade: flotilla-fuse, and MOUNT_TOKEN_FIELD for the
 *gateway
 *
 * The guest mounts, or finds that it has mounted, and answers 101 and MOUNT_STATE_FIELD "new" or
 * "known"; or 4xx and "refused", with why in the body.  After a 101 come FUSE's own messages: what
 *the guest's kernel asks, and the answers.  A new connection takes the place of an older one; the
 *guest then asks again what was not answered, with the same numbers.
 */
#ifndef FLOTILLA_MUX_MOUNT_H
#define FLOTILLA_MUX_MOUNT_H

enum {
	MOUNT_PORT = 49982,
	MOUNT_PATH_MAX = 256,                 /* NUL included */
	MOUNT_DATA_MAX = 64 * 1024,           /* of one read or write */
	MOUNT_MESSAGE_MAX = 64 * 1024 + 4096, /* of FUSE, whole */
	MOUNT_ASKED_MAX = 32,                 /* that wait for their answers, of one mount */
};

#define MOUNT_TOKEN_FIELD   "x-flotilla-mount-token"
#define MOUNT_STATE_FIELD   "x-flotilla-mount"
#define MOUNT_STATE_NEW     "new"
#define MOUNT_STATE_KNOWN   "known"
#define MOUNT_STATE_REFUSED "refused"

#endif
