/*
 * What the gateway's parts share.  One thread, one loop:
 *
 *   main.c      options, key, listeners, start and stop
 *   tunnels.c   shims' connections: bind, the mux engines, which sandbox is where
 *   client.c, client_send.c  one tenant's connection: reading, writing, ending
 *   clients.c   all of them: taking, time limits, stopping
 *   requests.c  a request's way to the guest
 *   responses.c a response's way back
 *   leg.c, leg_api.c  what an exchange goes over: a guest's stream, or a connection to the API
 *   search.c    for which sandbox a signed URL is
 *   wake.c      lets paused sandboxes go on
 *   route.c, rewrite.c, ingress.c, signed.c, sources.c  pure decisions
 *   admin.c     health and metrics
 */
#ifndef FLOTILLA_GATEWAY_GATEWAY_H
#define FLOTILLA_GATEWAY_GATEWAY_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/base/index.h"
#include "common/base/list.h"
#include "common/io/metrics.h"
#include "common/io/options.h"
#include "common/io/tls.h"
#include "common/mux/fleet_key.h"
#include "common/mux/link.h"
#include "scheduler/gateway/ingress.h"
#include "scheduler/gateway/rewrite.h"
#include "scheduler/gateway/route.h"

enum { GATEWAY_READ_MAX = 64 * 1024, GATEWAY_BACKLOG = 1024 };

struct gateway_options {
#define OPTION OPTION_MEMBER
#include "scheduler/gateway/options.def"
#undef OPTION
};

struct gateway_metrics {
#define METRIC METRIC_MEMBER
#include "scheduler/gateway/metrics.def"
#undef METRIC
};

extern const char *const gateway_outcome_names[OUTCOMES_N];

struct tunnel;

/* Where a sandbox is; the index finds it by id. */
struct sandbox_slot {
	struct id sandbox;       /* first: the index reads it as text */
	struct tunnel *tunnel;   /* NULL: free */
	struct ingress *ingress; /* NULL: all by default */
	char envd_token[ENVD_TOKEN_TEXT_MAX];
	uint32_t free_next;
};

struct gateway {
	uv_loop_t *loop;
	const struct gateway_options *options;
	struct fleet_key key;
	struct gateway_metrics metrics;
	uint64_t started_ms; /* of the loop's clock */
	bool is_stopping;

	uv_tcp_t client_listener, tls_listener, tunnel_listener, admin_listener;
	bool has_tls, has_admin;
	struct tls_config *tls;       /* for tenants; NULL: none */
	struct tls_config *guest_tls; /* for ports of guests that speak it */

	struct list clients; /* struct client, link */
	struct list tunnels; /* struct tunnel, link */
	struct list admins;  /* struct admin, link */
	uv_timer_t sweep;    /* looks for clients whose time is over */

	struct searches *searches;
	struct wakes *wakes; /* NULL: there is no API to ask */

	struct sandbox_slot *slots;
	void *index_memory;
	struct index index;
	uint32_t slots_used_n, slot_free;

	/* One read is handled whole before the next, so all connections share this. */
	uint8_t read_buffer[GATEWAY_READ_MAX];
	char head_buffer[REWRITE_HEAD_MAX];
	uint8_t client_plain[GATEWAY_READ_MAX + TLS_PLAIN_MORE];
	uint8_t guest_plain[MUX_PAYLOAD_MAX + TLS_PLAIN_MORE];
};

/* tunnels.c */
int tunnels_open(struct gateway *gateway, struct err *err);
void tunnels_on_connection(uv_stream_t *listener, int status);
struct tunnel *tunnels_find(const struct gateway *gateway, const struct id *sandbox);
void tunnels_close_all(struct gateway *gateway);
struct mux *tunnel_mux(struct tunnel *tunnel);
/* What is known of its sandbox; NULL: all by default. */
const struct ingress *tunnel_ingress(const struct tunnel *tunnel);
/* Sends what the engine holds.  Faults show up at the tunnel's next read. */
void tunnel_flush(struct tunnel *tunnel);

/* search.c */
int searches_open(struct gateway *gateway, struct err *err);
void searches_close(struct gateway *gateway);

/* wake.c */
int wakes_open(struct gateway *gateway, struct err *err);
void wakes_close(struct gateway *gateway);
/* Asks the scheduler to let the sandbox go on, if it is not asked already; clients_on_refused tells
 * when it will not.  False: nobody can be asked. */
bool wake_begin(struct gateway *gateway, const struct id *sandbox);

/* clients.c, towards the others */
struct client;
void clients_open(struct gateway *gateway);
void clients_on_connection(uv_stream_t *listener, int status);
/* This sandbox can be reached now: who waited for it goes on. */
void clients_on_bound(struct gateway *gateway, const struct sandbox_slot *slot);
/* Somebody does, who has asked that it go on. */
bool clients_wait_for(const struct gateway *gateway, const struct id *sandbox);
/* This sandbox will not be reached: who waited for it is told why. */
void clients_on_refused(struct gateway *gateway, const struct id *sandbox, enum outcome outcome);
/* The tunnel is no more: its exchanges end as if each stream had been reset. */
void clients_on_tunnel_lost(struct gateway *gateway, struct tunnel *tunnel);
/* Idle ones are closed, the others after their response. */
void clients_stop(struct gateway *gateway);
void clients_close_all(struct gateway *gateway);

/* leg.c: what an exchange's stream tells */
void client_on_mux_event(struct client *client, const struct mux_event *event);

/* admin.c */
void admin_on_connection(uv_stream_t *listener, int status);
void admin_close_all(struct gateway *gateway);

/* main.c: everything has an end; called when a client or the grace for them is gone. */
void gateway_check_stopped(struct gateway *gateway);

static inline uint64_t gateway_now_ms(const struct gateway *gateway)
{
	return uv_now(gateway->loop);
}

static inline bool gateway_is_starting(const struct gateway *gateway)
{
	return gateway_now_ms(gateway) - gateway->started_ms < gateway->options->grace_ms;
}

#endif
