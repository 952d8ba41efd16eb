/*
 * Where a request goes: a pure function of its head.
 *
 * The rules are those of E2B's own router.  If the Host is localhost, an address, or
 * sandbox.<domain>, the fields E2b-Sandbox-Id and E2b-Sandbox-Port say it, and both are needed;
 * else the first label of the Host does: <port>-<id>.<anything>.  A Host of neither shape (the name
 * of the gateway's own machine) goes by the fields too, if they are there.  Old clients append
 * "-<client>" to the id; it is dropped.  Where the gateway has an API to go to,
 * api.<anything> is it, unless the fields name a sandbox; where it has volumes, what is below
 * /volumecontent/ of such a host, or of one that sandboxes share, is theirs, unless likewise.
 */
#ifndef FLOTILLA_GATEWAY_ROUTE_H
#define FLOTILLA_GATEWAY_ROUTE_H

#include <stdint.h>

#include "common/base/ids.h"
#include "common/http/head.h"
#include "common/mux/mount.h"

enum { ENVD_PORT = 49983 };

enum outcome {
#define OUTCOME(name, metric, status, message) OUTCOME_##name,
#include "scheduler/gateway/verdicts.def"
#undef OUTCOME
	OUTCOMES_N,
};

struct route {
	enum outcome outcome; /* ROUTED, or a refusal */
	bool is_api;          /* ROUTED: to the API and not to a sandbox */
	bool is_volumes;      /* ROUTED: likewise, to those who keep volumes */
	struct id sandbox;    /* ROUTED, INTERNAL, BAD_PATH */
	uint16_t port;        /* likewise; never zero */
};

/* What there is behind the gateway, besides sandboxes. */
struct route_backends {
	bool api, volumes;
};

struct route route_decide(const struct http_head *head, struct route_backends has);

#endif
