/*
 * Datagrams.  A flow is one port of the sandbox and one destination; it has a socket of the host's,
 * whose answers go back as from that destination.  Questions for names that no rule sends elsewhere
 * are answered by resolve.c.
 */
#include "node-agent/egress/keeper.h"

#include "common/base/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DATAGRAM_MAX = 1472, DATAGRAMS_MAX = 64 }; /* of one packet; at one waking */

struct flow {
	struct keeper *keeper;
	struct list link;
	uint32_t address;
	uint16_t port, guest_port;
	int fd;
	uv_poll_t poll;
	uv_timer_t idle;
	int handles_n;
};

/* ---- to the sandbox ---- */

/* The sum that UDP and IP have over their words. */
static uint32_t sum_add(uint32_t sum, const void *bytes, size_t n)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)at[i] << 8 | at[i + 1];
	return n & 1 ? sum + ((uint32_t)at[n - 1] << 8) : sum;
}

static uint16_t sum_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void udp_answer(const struct keeper *keeper, uint32_t from, uint16_t from_port, uint16_t to_port,
		const uint8_t *bytes, size_t n)
{
	struct {
		struct iphdr ip;
		struct udphdr udp;
		uint8_t bytes[DATAGRAM_MAX];
	} packet = {0};
	const struct sockaddr_in to = {.sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(EGRESS_GUEST_ADDRESS)};
	size_t udp_n = sizeof(packet.udp) + n, all_n = sizeof(packet.ip) + udp_n;
	uint16_t sum;

	if (n > DATAGRAM_MAX)
		return;
	packet.ip.version = 4;
	packet.ip.ihl = 5;
	packet.ip.ttl = 64;
	packet.ip.protocol = IPPROTO_UDP;
	packet.ip.tot_len = htons((uint16_t)all_n);
	packet.ip.saddr = htonl(from);
	packet.ip.daddr = to.sin_addr.s_addr;
	packet.udp.source = htons(from_port);
	packet.udp.dest = htons(to_port);
	packet.udp.len = htons((uint16_t)udp_n);
	memcpy(packet.bytes, bytes, n);
	sum = sum_fold(sum_add(sum_add(IPPROTO_UDP + (uint32_t)udp_n, &packet.ip.saddr, 8),
			       &packet.udp, udp_n));
	packet.udp.check = htons(sum ? sum : 0xffff);
	(void)sendto(keeper->netns.raw, &packet, all_n, MSG_DONTWAIT, (const struct sockaddr *)&to,
		     sizeof(to));
}

/* ---- flows ---- */

static void on_flow_closed(uv_handle_t *handle)
{
	struct flow *flow = handle->data;

	if (--flow->handles_n == 0)
		free(flow);
}

static void flow_end(struct flow *flow)
{
	list_remove(&flow->link);
	flow->keeper->flows_n--;
	uv_close((uv_handle_t *)&flow->poll, on_flow_closed);
	uv_close((uv_handle_t *)&flow->idle, on_flow_closed);
	close(flow->fd);
}

static void on_idle(uv_timer_t *timer)
{
	flow_end(timer->data);
}

static void flow_is_used(struct flow *flow)
{
	uv_timer_start(&flow->idle, on_idle, KEEPER_FLOW_IDLE_MS, 0);
}

static void on_answer(uv_poll_t *poll, int status, int events)
{
	uint8_t bytes[DATAGRAM_MAX + 1];
	struct flow *flow = poll->data;

	(void)events;
	for (int i = 0; status == 0 && i < DATAGRAMS_MAX; i++) {
		ssize_t n = recv(flow->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

		if (n < 0)
			return; /* an ICMP error is read as one, once */
		flow_is_used(flow);
		udp_answer(flow->keeper, flow->address, flow->port, flow->guest_port, bytes,
			   (size_t)n);
	}
}

static struct flow *flow_make(struct keeper *keeper, uint16_t guest_port, uint32_t address,
			      uint16_t port)
{
	const struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address)};
	struct flow *flow;
	int fd;

	if (keeper->flows_n >= KEEPER_FLOWS_MAX || !keeper_takes_new(keeper))
		return NULL;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to))) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	flow = calloc(1, sizeof(*flow));
	CHECK(flow);
	*flow = (struct flow){.keeper = keeper,
			      .address = address,
			      .port = port,
			      .guest_port = guest_port,
			      .fd = fd,
			      .handles_n = 2};
	uv_poll_init(&keeper->loop, &flow->poll, fd);
	uv_timer_init(&keeper->loop, &flow->idle);
	flow->poll.data = flow->idle.data = flow;
	uv_poll_start(&flow->poll, UV_READABLE, on_answer);
	list_append(&keeper->flows, &flow->link);
	keeper->flows_n++;
	return flow;
}

static struct flow *flow_find(const struct keeper *keeper, uint16_t guest_port, uint32_t address,
			      uint16_t port)
{
	for (struct list *link = keeper->flows.next; link != &keeper->flows; link = link->next) {
		struct flow *flow = LIST_OBJECT(link, struct flow, link);

		if (flow->guest_port == guest_port && flow->address == address &&
		    flow->port == port)
			return flow;
	}
	return NULL;
}

/* ---- from the sandbox ---- */

/* A proxy carries TCP alone, and what a tenant sends through it must not go around it. */
static bool passes(const struct keeper *keeper, uint32_t address)
{
	return !keeper_has_proxy(keeper) && keeper_judge(keeper, address) == EGRESS_ALLOW;
}

static void relay(struct keeper *keeper, uint16_t guest_port, uint32_t address, uint16_t port,
		  const uint8_t *bytes, size_t n)
{
	struct flow *flow = flow_find(keeper, guest_port, address, port);
	bool is_allowed = flow || passes(keeper, address);

	if (!is_allowed) {
		/* Whatever name server it was told of: ours answers in its place. */
		if (port == EGRESS_DNS_PORT)
			resolve_for_sandbox(keeper, guest_port, address, port, bytes, n);
		return;
	}
	if (!flow)
		flow = flow_make(keeper, guest_port, address, port);
	if (flow) {
		flow_is_used(flow);
		(void)send(flow->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
}

/* Where a datagram was meant to go; false: it does not say. */
static bool meant_for(struct msghdr *message, struct sockaddr_in *out_to)
{
	for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at; at = CMSG_NXTHDR(message, at)) {
		if (at->cmsg_level == SOL_IP && at->cmsg_type == IP_ORIGDSTADDR) {
			memcpy(out_to, CMSG_DATA(at), sizeof(*out_to));
			return true;
		}
	}
	return false;
}

static void on_datagrams(uv_poll_t *poll, int status, int events)
{
	struct keeper *keeper = poll->data;
	uint8_t bytes[DATAGRAM_MAX];

	(void)events;
	for (int i = 0; status == 0 && i < DATAGRAMS_MAX; i++) {
		_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct sockaddr_in))];
		struct sockaddr_in from, to;
		struct iovec room = {bytes, sizeof(bytes)};
		struct msghdr message = {.msg_name = &from,
					 .msg_namelen = sizeof(from),
					 .msg_iov = &room,
					 .msg_iovlen = 1,
					 .msg_control = control,
					 .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(keeper->netns.udp, &message, MSG_DONTWAIT);

		if (n < 0)
			return;
		if (!(message.msg_flags & MSG_TRUNC) && meant_for(&message, &to))
			relay(keeper, ntohs(from.sin_port), ntohl(to.sin_addr.s_addr),
			      ntohs(to.sin_port), bytes, (size_t)n);
	}
}

void udp_rules_changed(struct keeper *keeper)
{
	struct list *link = keeper->flows.next, *next;

	for (; link != &keeper->flows; link = next) {
		struct flow *flow = LIST_OBJECT(link, struct flow, link);

		next = link->next;
		if (!passes(keeper, flow->address))
			flow_end(flow);
	}
}

int udp_open(struct keeper *keeper)
{
	keeper->udp.data = keeper;
	return uv_poll_init(&keeper->loop, &keeper->udp, keeper->netns.udp) ||
			       uv_poll_start(&keeper->udp, UV_READABLE, on_datagrams)
		       ? -1
		       : 0;
}
