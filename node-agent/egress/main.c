/* The start, the shim's word, and limits. See keeper.h. */
#include "node-agent/egress/keeper.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "node-agent/egress/channel.h"

#include <arpa/inet.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

bool keeper_has_proxy(const struct keeper *keeper)
{
	return keeper->rules.wire.proxy_host[0] != 0;
}

bool keeper_takes_new(struct keeper *keeper)
{
	uint64_t now_ms = uv_now(&keeper->loop);

	keeper->new_left += (now_ms - keeper->new_at_ms) * KEEPER_NEW_PER_S;
	keeper->new_at_ms = now_ms;
	if (keeper->new_left > KEEPER_NEW_BURST * 1000)
		keeper->new_left = KEEPER_NEW_BURST * 1000;
	if (keeper->new_left < 1000)
		return false;
	keeper->new_left -= 1000;
	return true;
}

/* The kernel speaks to an address of its own from that very address. */
static bool is_own_address(uint32_t address)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(EGRESS_DNS_PORT),
				 .sin_addr.s_addr = htonl(address)};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in from = {0};
	socklen_t from_n = sizeof(from);
	bool is_own = true; /* what cannot be told is not tried */

	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
	    getsockname(fd, (struct sockaddr *)&from, &from_n) == 0)
		is_own = from.sin_addr.s_addr == to.sin_addr.s_addr;
	if (fd >= 0)
		close(fd);
	return is_own;
}

bool keeper_is_barred(const struct keeper *keeper, uint32_t address)
{
	if (egress_is_barred(&keeper->host, address))
		return true;
	return !egress_is_opened(&keeper->host, address) && is_own_address(address);
}

enum egress_verdict keeper_judge(const struct keeper *keeper, uint32_t address)
{
	enum egress_verdict verdict = egress_judge(&keeper->policy, &keeper->host, address);

	return verdict != EGRESS_DENY && keeper_is_barred(keeper, address) ? EGRESS_DENY : verdict;
}

/* The first time there are rules only: it takes some ms and some hundred KiB. */
static int trust_world(struct keeper *keeper, struct err *err)
{
	return keeper->trust ? 0
			     : tls_config_client_careful(&keeper->trust, keeper->host.trusted_path,
							 NULL, err);
}

static int trust_proxy(struct keeper *keeper, const struct wire_egress *wire,
		       struct tls_config **out_trust, struct err *err)
{
	char *own = NULL;
	int status;

	*out_trust = NULL;
	if (!wire->proxy_host[0] || !wire->proxy_tls)
		return 0;
	if (wire->proxy_tls_ca.n) {
		own = strndup((const char *)wire->proxy_tls_ca.data, wire->proxy_tls_ca.n);
		CHECK(own);
	}
	status = tls_config_client_careful(out_trust, keeper->host.trusted_path, own, err);
	free(own);
	return status;
}

/* All of it, or nothing has changed. */
static int take_rules(struct keeper *keeper, const struct wire_bytes *bytes, struct err *err)
{
	struct egress_policy policy;
	struct egress_rules rules = {0};
	struct tls_config *proxy_trust = NULL;
	struct issuer *issuer = NULL;
	bool is_same_proxy;

	if (egress_policy_read(bytes, &policy, err) || egress_rules_read(&rules, bytes, err))
		return -1;
	if (trust_proxy(keeper, &rules.wire, &proxy_trust, err) ||
	    (rules.wire.rules_n &&
	     (trust_world(keeper, err) ||
	      issuer_open(&issuer, &rules.wire.authority, &rules.wire.authority_key, err)))) {
		tls_config_unref(proxy_trust);
		egress_rules_free(&rules);
		return -1;
	}
	is_same_proxy = egress_rules_share_proxy(&keeper->rules, &rules);
	issuer_close(keeper->issuer);
	tls_config_unref(keeper->proxy_trust);
	egress_rules_free(&keeper->rules);
	keeper->policy = policy;
	keeper->rules = rules;
	keeper->issuer = issuer;
	keeper->proxy_trust = proxy_trust;
	tcp_rules_changed(keeper, is_same_proxy);
	udp_rules_changed(keeper);
	return 0;
}

static void on_rules(struct keeper *keeper, struct egress_packet *packet)
{
	const struct wire_bytes bytes = {packet->bytes, packet->n};
	struct err err = {""};

	(void)take_rules(keeper, &bytes, &err);
	explicit_bzero(packet->bytes, packet->n);
	if (egress_channel_send(keeper->channel_fd, packet->change, err.text, strlen(err.text), -1,
				NULL))
		exit(1);
}

static void on_channel(uv_poll_t *poll, int status, int events)
{
	static struct egress_packet packet;
	struct keeper *keeper = poll->data;
	int got;

	(void)events;
	while ((got = status < 0 ? -1 : egress_channel_receive(keeper->channel_fd, &packet)) > 0) {
		if (packet.fd >= 0)
			close(packet.fd);
		on_rules(keeper, &packet);
	}
	/* Its shim is gone, and the sandbox with it. */
	if (got < 0)
		exit(0);
}

/* Descriptors for all connections, two each. */
static void raise_limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static int begin(struct keeper *keeper, struct err *err)
{
	list_init(&keeper->connections);
	list_init(&keeper->flows);
	list_init(&keeper->lookups);
	keeper->channel_fd = EGRESS_CHANNEL_FD;
	/* Until the shim has said what is allowed. */
	keeper->policy.deny_n = 1;
	raise_limits();
	if (netns_make(&keeper->netns, err) || netns_let_go_of_rights(err))
		return -1;
	/* The change of who we are has undone it, if it was there. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (uv_loop_init(&keeper->loop) || tcp_open(keeper) || udp_open(keeper) ||
	    uv_poll_init(&keeper->loop, &keeper->channel, keeper->channel_fd) ||
	    uv_poll_start(&keeper->channel, UV_READABLE, on_channel))
		return err_set(err, "libuv cannot watch its sockets");
	keeper->channel.data = keeper;
	keeper->new_at_ms = uv_now(&keeper->loop);
	keeper->new_left = KEEPER_NEW_BURST * 1000;
	return 0;
}

/* Whether this host can do it, for whoever starts it by hand, and for the agent's start. */
static int check(void)
{
	struct netns netns;
	struct err err;

	if (netns_make(&netns, &err)) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	puts("a network for a sandbox can be made here");
	return 0;
}

int main(int argc, char **argv)
{
	static struct keeper keeper;
	struct err err;

	if (argc == 2 && strcmp(argv[1], "--check") == 0)
		return check();
	if (argc != 2) {
		fprintf(stderr, "flotilla-egress --check | SETTINGS: carries what one sandbox "
				"sends; shims start it, not people\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	/* As for the shim: sandboxes do not end with a service or a terminal. */
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	log_setup("info", "text");
	if (egress_host_parse(argv[1], &keeper.host, &err) || begin(&keeper, &err)) {
		log_error("egress", "cannot begin", LOG_ERR(&err));
		egress_channel_send(EGRESS_CHANNEL_FD, 0, err.text, strlen(err.text), -1, NULL);
		return 1;
	}
	if (egress_channel_send(keeper.channel_fd, 0, NULL, 0, keeper.netns.tap, &err)) {
		log_error("egress", "cannot begin", LOG_ERR(&err));
		return 1;
	}
	/* QEMU's now: the namespace shall not outlive it. */
	close(keeper.netns.tap);
	uv_run(&keeper.loop, UV_RUN_DEFAULT);
	return 0;
}
