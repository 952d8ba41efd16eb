/* See netns.h. */
#include "node-agent/egress/netns.h"

#include "common/base/check.h"
#include "node-agent/egress/policy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/fib_rules.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOPBACK = 1, TABLE = 100, PORT_TCP = 1, PORT_UDP = 1, BACKLOG = 1024, NOBODY = 65534 };

#define TAP "tap0"

static const uint8_t gate_card[6] = {2, 0, 0, 0, 0, EGRESS_GATE_ADDRESS & 255};

/*
 * Whatever the sandbox sends, to whatever address, goes to the two sockets; what is no TCP or UDP,
 * or comes under another address than its own, goes nowhere.
 */
static const char ruleset[] = "table ip egress {\n"
			      "chain in {\n"
			      "type filter hook prerouting priority -150\n"
			      "iifname != \"" TAP "\" drop\n"
			      "ip saddr != 169.254.0.21 drop\n"
			      "ip frag-off & 0x1fff != 0 drop\n"
			      "meta l4proto tcp tproxy to :1 accept\n"
			      "meta l4proto udp tproxy to :1 accept\n"
			      "drop\n"
			      "}\n"
			      "}\n";

/* ---- the kernel's tables, by rtnetlink ---- */

struct request {
	struct nlmsghdr head;
	char body[256];
};

static void request_begin(struct request *request, uint16_t type, uint16_t flags, const void *body,
			  size_t body_n)
{
	memset(request, 0, sizeof(*request));
	request->head.nlmsg_len = NLMSG_LENGTH((uint32_t)body_n);
	request->head.nlmsg_type = type;
	request->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	memcpy(NLMSG_DATA(&request->head), body, body_n);
}

static void request_add(struct request *request, unsigned short type, const void *data, size_t n)
{
	struct rtattr *attribute =
		(struct rtattr *)((char *)request + NLMSG_ALIGN(request->head.nlmsg_len));

	attribute->rta_type = type;
	attribute->rta_len = (unsigned short)RTA_LENGTH(n);
	memcpy(RTA_DATA(attribute), data, n);
	request->head.nlmsg_len =
		NLMSG_ALIGN(request->head.nlmsg_len) + (uint32_t)RTA_ALIGN(RTA_LENGTH(n));
}

static int request_do(int fd, const struct request *request, const char *what, struct err *err)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[512];
	} answer;

	if (send(fd, request, request->head.nlmsg_len, 0) < 0 ||
	    recv(fd, &answer, sizeof(answer), 0) < (ssize_t)sizeof(answer.head))
		return err_errno(err, errno, "%s", what);
	if (answer.head.nlmsg_type == NLMSG_ERROR && answer.error.error)
		return err_errno(err, -answer.error.error, "%s", what);
	return 0;
}

static int link_up(int fd, int index, struct err *err)
{
	const struct ifinfomsg body = {
		.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	struct request request;

	request_begin(&request, RTM_NEWLINK, 0, &body, sizeof(body));
	/* Always the same: a sandbox that was paused remembers it. */
	if (index != LOOPBACK)
		request_add(&request, IFLA_ADDRESS, gate_card, sizeof(gate_card));
	return request_do(fd, &request, "set an interface up", err);
}

static int address_add(int fd, int index, struct err *err)
{
	const struct ifaddrmsg body = {.ifa_family = AF_INET,
				       .ifa_prefixlen = EGRESS_PREFIX,
				       .ifa_index = (unsigned)index};
	const uint32_t address = htonl(EGRESS_GATE_ADDRESS);
	struct request request;

	request_begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &body, sizeof(body));
	request_add(&request, IFA_LOCAL, &address, sizeof(address));
	request_add(&request, IFA_ADDRESS, &address, sizeof(address));
	return request_do(fd, &request, "give the tap its address", err);
}

/* What comes from the tap is for us, whatever its address. */
static int all_is_ours(int fd, struct err *err)
{
	const struct fib_rule_hdr rule = {
		.family = AF_INET, .table = TABLE, .action = FR_ACT_TO_TBL};
	const struct rtmsg route = {.rtm_family = AF_INET,
				    .rtm_table = TABLE,
				    .rtm_protocol = RTPROT_STATIC,
				    .rtm_scope = RT_SCOPE_HOST,
				    .rtm_type = RTN_LOCAL};
	const int loopback = LOOPBACK;
	struct request request;

	request_begin(&request, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, &rule, sizeof(rule));
	request_add(&request, FRA_IIFNAME, TAP, sizeof(TAP));
	if (request_do(fd, &request, "add a rule for routes", err))
		return -1;
	request_begin(&request, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &route, sizeof(route));
	request_add(&request, RTA_OIF, &loopback, sizeof(loopback));
	return request_do(fd, &request, "add a route", err);
}

static int tables_fill(int index, struct err *err)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int result;

	if (fd < 0)
		return err_errno(err, errno, "rtnetlink");
	result = link_up(fd, LOOPBACK, err) || link_up(fd, index, err) ||
				 address_add(fd, index, err) || all_is_ours(fd, err)
			 ? -1
			 : 0;
	close(fd);
	return result;
}

/* ---- the rest of the namespace ---- */

static int file_write(const char *path, const char *text, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (!done)
		err_errno(err, errno, "%s", path);
	if (fd >= 0)
		close(fd);
	return done ? 0 : -1;
}

static int tap_open(int *out_fd, int *out_index, struct err *err)
{
	struct ifreq request = {.ifr_name = TAP, .ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return err_errno(err, errno, "/dev/net/tun");
	if (ioctl(fd, TUNSETIFF, &request)) {
		close(fd);
		return err_errno(err, errno, "a tap device");
	}
	*out_fd = fd;
	*out_index = (int)if_nametoindex(TAP);
	return 0;
}

static int rules_load(struct err *err)
{
	int pipe_fds[2], status;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC))
		return err_errno(err, errno, "pipe");
	pid = fork();
	if (pid == 0) {
		dup2(pipe_fds[0], STDIN_FILENO);
		execlp("nft", "nft", "-f", "-", (char *)NULL);
		execl("/usr/sbin/nft", "nft", "-f", "-", (char *)NULL);
		_exit(127);
	}
	close(pipe_fds[0]);
	/* Less than a pipe holds, so it does not wait. */
	if (pid < 0 || write(pipe_fds[1], ruleset, sizeof(ruleset) - 1) < 0)
		err_errno(err, errno, "nft");
	close(pipe_fds[1]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return err_set(err, "nft cannot be started: is the package nftables installed?");
	return status ? err_set(err, "nft refuses the rules") : 0;
}

static int socket_open(int type, int protocol, uint16_t port, struct err *err)
{
	const struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol), on = 1;

	if (fd < 0)
		return err_errno(err, errno, "a socket for the sandbox");
	if (port && (setsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, sizeof(on)) ||
		     setsockopt(fd, SOL_IP, IP_RECVORIGDSTADDR, &on, sizeof(on)) ||
		     bind(fd, (const struct sockaddr *)&at, sizeof(at)))) {
		err_errno(err, errno, "a socket for the sandbox");
		close(fd);
		return -1;
	}
	return fd;
}

static int sockets_open(struct netns *netns, struct err *err)
{
	netns->tcp = socket_open(SOCK_STREAM, 0, PORT_TCP, err);
	netns->udp = socket_open(SOCK_DGRAM, 0, PORT_UDP, err);
	netns->raw = socket_open(SOCK_RAW, IPPROTO_RAW, 0, err);
	if (netns->tcp < 0 || netns->udp < 0 || netns->raw < 0)
		return -1;
	if (listen(netns->tcp, BACKLOG))
		return err_errno(err, errno, "listen");
	return 0;
}

/* In a process of its own, which ends in the namespace. */
static int fill(struct netns *netns, struct err *err)
{
	bool is_root = geteuid() == 0;
	char map[32];
	int index = 0;

	snprintf(map, sizeof(map), "0 %u 1", (unsigned)geteuid());
	if (unshare(is_root ? CLONE_NEWNET : CLONE_NEWNET | CLONE_NEWUSER))
		return err_errno(err, errno, "a network namespace");
	if (!is_root && file_write("/proc/self/uid_map", map, err))
		return -1;
	if (tap_open(&netns->tap, &index, err) ||
	    file_write("/proc/sys/net/ipv4/icmp_echo_ignore_all", "1", err))
		return -1;
	/* Not there on a kernel without IPv6. */
	file_write("/proc/sys/net/ipv6/conf/" TAP "/disable_ipv6", "1", NULL);
	return tables_fill(index, err) || rules_load(err) || sockets_open(netns, err) ? -1 : 0;
}

/* ---- descriptors, or what went wrong, from that process to this one ---- */

union fds_control {
	struct cmsghdr head;
	char bytes[CMSG_SPACE(4 * sizeof(int))];
};

static void tell(int channel, const struct netns *netns, const struct err *fault)
{
	union fds_control control = {0};
	struct iovec text = {(void *)(fault ? fault->text : "ok"), fault ? strlen(fault->text) : 2};
	struct msghdr message = {.msg_iov = &text, .msg_iovlen = 1};
	const int fds[4] = {netns->tap, netns->tcp, netns->udp, netns->raw};

	if (!fault) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(fds)),
						.cmsg_level = SOL_SOCKET,
						.cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.head), fds, sizeof(fds));
	}
	(void)sendmsg(channel, &message, MSG_NOSIGNAL);
}

static int hear(int channel, struct netns *out_netns, struct err *err)
{
	union fds_control control = {0};
	char text[256] = "";
	struct iovec room = {text, sizeof(text) - 1};
	struct msghdr message = {.msg_iov = &room,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof(control.bytes)};
	int fds[4];

	if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) <= 0)
		return err_set(err, "a network for the sandbox: it died on the way");
	if (message.msg_controllen < CMSG_LEN(sizeof(fds)))
		return err_set(err, "a network for the sandbox: %.200s", text);
	memcpy(fds, CMSG_DATA(&control.head), sizeof(fds));
	*out_netns = (struct netns){fds[0], fds[1], fds[2], fds[3]};
	return 0;
}

int netns_make(struct netns *out_netns, struct err *err)
{
	struct netns netns = {-1, -1, -1, -1};
	struct err fault;
	int channel[2], result, status;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel))
		return err_errno(err, errno, "socketpair");
	pid = fork();
	if (pid == 0) {
		int failed = fill(&netns, &fault);

		tell(channel[1], &netns, failed ? &fault : NULL);
		_exit(0);
	}
	close(channel[1]);
	result = pid < 0 ? err_errno(err, errno, "fork") : hear(channel[0], out_netns, err);
	close(channel[0]);
	if (pid > 0)
		waitpid(pid, &status, 0);
	return result;
}

int netns_let_go_of_rights(struct err *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}, {0}};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    (geteuid() == 0 && (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
				setresuid(NOBODY, NOBODY, NOBODY))) ||
	    syscall(SYS_capset, &header, none))
		return err_errno(err, errno, "let go of rights");
	return 0;
}
