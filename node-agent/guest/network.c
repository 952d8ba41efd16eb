/* See network.h. */
#include "node-agent/guest/network.h"

#include "node-agent/guest/authority.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#define CARD        "eth0"
#define RESOLV_CONF "/etc/resolv.conf"
#define COVER       "/run/resolv.conf" /* in memory */

struct network {
	struct in_addr address, mask, gateway, dns;
};

static bool read_address(const json_t *from, const char *name, struct in_addr *out)
{
	const char *text = json_string_value(json_object_get(from, name));

	return text && inet_pton(AF_INET, text, out) == 1;
}

static bool read_network(const json_t *from, struct network *out)
{
	json_int_t prefix = json_integer_value(json_object_get(from, "prefix"));

	if (prefix < 1 || prefix > 32)
		return false;
	out->mask.s_addr = htonl(~0u << (32 - prefix));
	return read_address(from, "address", &out->address) &&
	       read_address(from, "gateway", &out->gateway) && read_address(from, "dns", &out->dns);
}

static void set_address(struct sockaddr *at, struct in_addr address)
{
	const struct sockaddr_in value = {.sin_family = AF_INET, .sin_addr = address};

	memcpy(at, &value, sizeof(value));
}

static bool set_card(int fd, const struct network *network)
{
	struct ifreq request = {.ifr_name = CARD};
	struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};

	set_address(&request.ifr_addr, network->address);
	if (ioctl(fd, SIOCSIFADDR, &request))
		return false;
	set_address(&request.ifr_netmask, network->mask);
	if (ioctl(fd, SIOCSIFNETMASK, &request))
		return false;
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &request))
		return false;
	set_address(&route.rt_gateway, network->gateway);
	set_address(&route.rt_dst, (struct in_addr){0});
	set_address(&route.rt_genmask, (struct in_addr){0});
	return !ioctl(fd, SIOCADDRT, &route) || errno == EEXIST;
}

/* What is written there is gone with the machine, whatever becomes of its disk. */
static bool cover_dns(void)
{
	int over = open(COVER, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	int under = open(RESOLV_CONF, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	bool done = over >= 0 && under >= 0 && !mount(COVER, RESOLV_CONF, NULL, MS_BIND, NULL);

	if (over >= 0)
		close(over);
	if (under >= 0)
		close(under);
	return done;
}

static bool set_dns(const struct network *network)
{
	char text[64], address[INET_ADDRSTRLEN];
	int n = snprintf(text, sizeof(text), "nameserver %s\n",
			 inet_ntop(AF_INET, &network->dns, address, sizeof(address)));
	int fd = open(RESOLV_CONF, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	bool done = fd >= 0 && write(fd, text, (size_t)n) == n;

	if (fd >= 0)
		close(fd);
	return done;
}

const char *network_apply(const json_t *document, bool apply, bool *out_has_authority)
{
	const json_t *value = json_object_get(document, "network");
	const char *authority = json_string_value(json_object_get(value, "authority"));
	struct network network;
	bool done;
	int fd;

	if (!value || json_is_null(value))
		return NULL;
	if (!read_network(value, &network))
		return "network: address, prefix, gateway and dns are wanted";
	if (!apply)
		return NULL;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	done = fd >= 0 && set_card(fd, &network) &&
	       (!json_is_true(json_object_get(value, "passing")) || cover_dns()) &&
	       set_dns(&network);
	if (fd >= 0)
		close(fd);
	/* A full disk is no reason not to go on: such hosts are then not believed. */
	if (authority) {
		(void)authority_install("", authority);
		*out_has_authority = true;
	}
	return done ? NULL : "network: the system refused it";
}
