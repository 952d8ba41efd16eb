/*
 * flotilla-egress: carries what one sandbox sends to where it may go.  One process for each sandbox
 * that has a network, started by its shim, dead with it.
 *
 *   main.c      the start, the shim's word, limits
 *   tcp.c       connections: taken, looked at, ended
 *   dial.c      their way out: to an address, to a name, through a proxy
 *   carry.c     what they carry, also through
 *   inspect.c   the requests that get a rule's fields (requests.c), by certificates of issue.c
 *   udp.c       datagrams: relayed, or given to
 *   resolve.c   the questions for names
 *
 * The sandbox's packets end in its own namespace (netns.h), in sockets of this process, which has
 * no rights left by then; all that reaches the world are connections that this process makes.
 */
#ifndef FLOTILLA_EGRESS_KEEPER_H
#define FLOTILLA_EGRESS_KEEPER_H

#include "common/base/list.h"
#include "node-agent/egress/dns.h"
#include "node-agent/egress/issue.h"
#include "node-agent/egress/netns.h"
#include "node-agent/egress/policy.h"
#include "node-agent/egress/rules.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum {
	KEEPER_NEW_PER_S = 500,  /* connections, flows and questions together; */
	KEEPER_NEW_BURST = 2500, /* as many at once */
	KEEPER_FLOWS_MAX = 256,  /* of UDP */
	KEEPER_FLOW_IDLE_MS = 60 * 1000,
	KEEPER_LOOKUPS_MAX = 128,    /* at once */
	KEEPER_LOOKUP_MS = 2500,     /* for each server */
	KEEPER_SNIFF_MS = 10 * 1000, /* until a client has said what it wants */
	KEEPER_DIAL_MS = 20 * 1000,  /* until the far end, or a proxy's, is there */
	KEEPER_INSPECTED_MAX = 256,  /* connections that are inspected, at once */
};

struct keeper {
	uv_loop_t loop;
	uv_poll_t channel, tcp, udp;
	int channel_fd;
	struct netns netns;
	struct egress_host host;
	struct egress_policy policy;
	struct egress_rules rules;
	struct issuer *issuer;          /* NULL: there are no rules */
	struct tls_config *trust;       /* of servers; NULL: there never were rules */
	struct tls_config *proxy_trust; /* NULL: the proxy is not spoken to by TLS */
	size_t inspected_n;
	struct list connections, flows, lookups;
	size_t connections_n, flows_n, lookups_n;
	uint64_t new_left; /* in thousandths */
	uint64_t new_at_ms;
};

/* Whether TCP goes out through a proxy of the tenant's, and nothing around it. */
bool keeper_has_proxy(const struct keeper *keeper);

/* One more of anything that costs a descriptor here, now? */
bool keeper_takes_new(struct keeper *keeper);

/* egress_judge, and this host's own addresses, which nothing in the tables can tell. */
enum egress_verdict keeper_judge(const struct keeper *keeper, uint32_t address);
/* Not by any rule of the tenant's. */
bool keeper_is_barred(const struct keeper *keeper, uint32_t address);

/* tcp.c */
int tcp_open(struct keeper *keeper);
/* Ends what is not allowed any more; with another proxy than before also what is on its way out:
 * it would tell one what is the other's. */
void tcp_rules_changed(struct keeper *keeper, bool is_same_proxy);

/* udp.c */
int udp_open(struct keeper *keeper);
void udp_rules_changed(struct keeper *keeper);
/* To the sandbox's port, as from that address and port. What does not fit a packet is dropped. */
void udp_answer(const struct keeper *keeper, uint32_t from, uint16_t from_port, uint16_t to_port,
		const uint8_t *bytes, size_t n);

/* resolve.c */
struct lookup;
/* A datagram of the sandbox's that asks for a name, from `port`, sent to at:at_port. */
void resolve_for_sandbox(struct keeper *keeper, uint16_t port, uint32_t at, uint16_t at_port,
			 const uint8_t *query, size_t n);
/* The addresses of a name: `done` once, from the loop, with none when there are none.  NULL: not
 * now, and no call. */
typedef void (*resolve_cb)(void *arg, const uint32_t *addresses, size_t n);
struct lookup *resolve_name(struct keeper *keeper, const char *name, resolve_cb done, void *arg);
void resolve_cancel(struct lookup *lookup); /* no call follows */

#endif
