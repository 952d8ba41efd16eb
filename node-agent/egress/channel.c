/* See channel.h. */
#include "node-agent/egress/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

union fd_control {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(sizeof(int))];
};

int egress_channel_send(int fd, uint64_t change, const void *bytes, size_t n, int passed_fd,
			struct err *err)
{
	union fd_control control = {0};
	struct iovec parts[2] = {{&change, sizeof(change)}, {(void *)bytes, n}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = n ? 2 : 1};

	if (passed_fd >= 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)),
						.cmsg_level = SOL_SOCKET,
						.cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), &passed_fd, sizeof(int));
	}
	if (sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return err_errno(err, errno, "the channel of a network");
	return 0;
}

int egress_channel_receive(int fd, struct egress_packet *out_packet)
{
	union fd_control control = {0};
	struct iovec parts[2] = {{&out_packet->change, sizeof(out_packet->change)},
				 {out_packet->bytes, EGRESS_PACKET_MAX}};
	struct msghdr message = {.msg_iov = parts,
				 .msg_iovlen = 2,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes)};
	ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	out_packet->fd = -1;
	if (message.msg_controllen >= CMSG_LEN(sizeof(int)))
		memcpy(&out_packet->fd, CMSG_DATA(&control.head), sizeof(int));
	if (got < (ssize_t)sizeof(out_packet->change) || (message.msg_flags & MSG_TRUNC))
		return -1;
	out_packet->n = (size_t)got - sizeof(out_packet->change);
	out_packet->bytes[out_packet->n] = 0;
	return 1;
}
