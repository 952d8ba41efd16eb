/*
 * What a sandbox may reach: its tenant's rules (a message `egress`), within what the operator of
 * this host lets any sandbox reach.  Pure: whoever carries traffic asks here first.
 */
#ifndef FLOTILLA_EGRESS_POLICY_H
#define FLOTILLA_EGRESS_POLICY_H

#include "common/base/err.h"
#include "proto/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	EGRESS_RANGES_MAX = 64, /* of each kind */
	EGRESS_NAMES_MAX = 64,
	EGRESS_NAME_MAX = 254, /* storage, NUL included */
	EGRESS_SERVERS_MAX = 3,
	EGRESS_HOST_TEXT_MAX = 1024, /* storage of the operator's settings as text */
	EGRESS_PATH_MAX = 256,
	EGRESS_CONNECTIONS_MAX = 2500,
	EGRESS_DNS_PORT = 53,
};

/* The two ends of the wire between a sandbox and its keeper; the same for every sandbox, because
 * each has a network of its own. */
#define EGRESS_GUEST_ADDRESS 0xa9fe0015u /* 169.254.0.21 */
#define EGRESS_GATE_ADDRESS  0xa9fe0016u /* 169.254.0.22: its way out, and its name server */
#define EGRESS_PREFIX        30

/* IPv4, in host order; the first `bits` count. */
struct egress_range {
	uint32_t address;
	uint32_t bits;
};

/* A tenant's rules for one sandbox. */
struct egress_policy {
	struct egress_range allow[EGRESS_RANGES_MAX], deny[EGRESS_RANGES_MAX];
	size_t allow_n, deny_n;
	char names[EGRESS_NAMES_MAX][EGRESS_NAME_MAX]; /* lower case; "*.x" is all below x */
	size_t names_n;
	bool has_rules; /* for requests (rules.h) */
	bool is_mute;   /* no name is looked up for it where all is denied */
};

struct egress_server {
	uint32_t address;
	uint16_t port;
};

/* An operator's settings for all sandboxes of a host. */
struct egress_host {
	struct egress_server servers[EGRESS_SERVERS_MAX]; /* of names; none: no names */
	size_t servers_n;
	struct egress_range open[EGRESS_RANGES_MAX]; /* of the networks that are closed to all */
	size_t open_n;
	uint32_t connections_max; /* of one sandbox at a time, 1..EGRESS_CONNECTIONS_MAX */
	char trusted_path[EGRESS_PATH_MAX]; /* PEM: who may vouch for servers of the world */
};

/* "a.b.c.d" or "a.b.c.d/bits"; what lies behind the bits is dropped. */
bool egress_range_parse(const char *text, struct egress_range *out_range);
bool egress_range_holds(const struct egress_range *range, uint32_t address);

/* Fault: not such a message. */
int egress_policy_read(const struct wire_bytes *bytes, struct egress_policy *out_policy,
		       struct err *err);

/* Whether there is nothing at all that it lets through: then there need be no network. */
bool egress_policy_is_closed(const struct egress_policy *policy);

/* As text: "dns=ADDRESS:PORT,…;open=RANGE,…;connections=N;ca=PATH"; agents give it to shims, these
 * to the keeper.  Fault: says what is wrong. */
int egress_host_parse(const char *text, struct egress_host *out_host, struct err *err);

enum egress_verdict {
	EGRESS_ALLOW,
	EGRESS_DENY,
	EGRESS_BY_NAME, /* if what it asks for there has a name that is allowed */
};

bool egress_is_opened(const struct egress_host *host, uint32_t address); /* by the operator */
/* What no sandbox reaches on this host, whatever its tenant wants. */
bool egress_is_barred(const struct egress_host *host, uint32_t address);

enum egress_verdict egress_judge(const struct egress_policy *policy, const struct egress_host *host,
				 uint32_t address);

/* One that the rules name: exactly, or as below a "*.x". Upper and lower case are the same. */
bool egress_name_is_allowed(const struct egress_policy *policy, const char *name);

/*
 * Whether the name may be looked up.  A look-up carries data out by itself, so where all is denied
 * only names that are allowed are.
 */
bool egress_name_is_answered(const struct egress_policy *policy, const char *name);

#endif
