/*
 * A world for the gateway: the real gateway as a process, the shim's real relay, and behind it a
 * guest's end of the mux with a few small HTTP services; tenants are plain sockets.  All on one
 * loop, run until something expected has happened; nothing sleeps.
 */
#ifndef FLOTILLA_TESTS_GATEWAY_HARNESS_H
#define FLOTILLA_TESTS_GATEWAY_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <uv.h>

#include "common/base/rng.h"
#include "common/io/tls.h"
#include "common/mux/fleet_key.h"
#include "common/mux/mux.h"
#include "node-agent/shim/relay.h"
#include "proto/wire.h"

enum {
	GUEST_STREAMS_MAX = 64,
	TLS_PORT = 4430, /* speaks TLS, in sandboxes that have a guest_tls */
	BIG_PIECE_N = 8000,
	PATIENCE_MS = 30000, /* a test that waits longer has failed */
};

/* What a service in the guest does is said by the request's path; see services.c. */
struct service {
	uint32_t stream; /* 0: free */
	uint16_t port;
	char head[40000]; /* of the request */
	size_t head_n;
	bool is_answered, is_raw, is_held;
	uint64_t send_left; /* bytes of a big body still to send */
	uint64_t send_at;
	uint64_t body_n; /* of the request, so far */
	uint64_t body_expected_n;
	uint32_t body_sum;
	bool sends_chunks;
	struct tls *tls;                       /* on port TLS_PORT */
	uint8_t out[MUX_WINDOW + BIG_PIECE_N]; /* what is said and not sent */
	size_t out_n, out_at, echoed_n;
};

struct sandbox {
	struct world *world;
	struct id id;
	struct relay relay;
	struct mux *shim_end, *guest_end; /* the virtual cable between them */
	uv_idle_t cable;
	bool is_cable_cut; /* nothing moves: a guest that hangs */
	bool has_waiting_input;
	const uint8_t *waiting;
	uint8_t held[65536]; /* guest's output that the shim has not taken yet */
	size_t held_n;
	struct tls_config *guest_tls;
	struct service services[GUEST_STREAMS_MAX];
	unsigned services_opened_n;
	unsigned resets_n;   /* streams that were reset from outside */
	bool is_slow_reader; /* services do not consume what they get */
	bool is_open, is_closed;
	int bound_n, refused_n;
};

struct tenant {
	struct world *world;
	uv_tcp_t tcp;
	uv_connect_t connect;
	struct tls *tls;   /* NULL: comes without */
	bool has_said_end; /* with TLS: the gateway told that nothing more comes */
	char *in;          /* all that came, NUL-terminated */
	size_t in_n, in_max;
	uint64_t received_n;
	uint32_t received_sum;
	bool counts_only; /* large bodies are not kept */
	bool is_connected, is_ended, is_aborted, is_closed, is_open, is_paused;
	size_t unsent_n;
	int error;
};

struct world {
	uv_loop_t loop;
	char folder[64], key_path[96], ready_path[96];
	struct fleet_key key;
	uv_process_t process;
	bool is_running, is_process_open;
	int64_t exit_status;
	struct sockaddr_storage tenants_at, tls_at, tunnels_at, admin_at;
	char tunnels_text[64];
	uv_timer_t patience;
};

/* extra: more flags, NULL at the end; may be NULL. tunnel_at: NULL for any port. */
void world_open(struct world *world, const char *const *extra);
void world_start_gateway(struct world *world, const char *tunnel_at, const char *const *extra);
void world_stop_gateway(struct world *world, int signal);
void world_close(struct world *world);
/* Runs the loop until *flag is true. */
void world_until(struct world *world, const bool *flag);
void world_until_count(struct world *world, const int *count, int at_least);
void world_once(struct world *world);
long world_gateway_rss_kib(struct world *world);

void sandbox_open(struct sandbox *sandbox, struct world *world, const char *id);
void sandbox_bind(struct sandbox *sandbox); /* and waits until it is bound */
/* With what the scheduler says of it. */
void sandbox_bind_with(struct sandbox *sandbox, const struct wire_ingress *ingress);
void sandbox_open_bound(struct sandbox *sandbox, struct world *world, const char *id);
void sandbox_die(struct sandbox *sandbox);

void tenant_open(struct tenant *tenant, struct world *world);
void tenant_open_at(struct tenant *tenant, struct world *world, const struct sockaddr *at);
/* With TLS, its handshake done; and at the TLS port without. */
void tenant_open_tls(struct tenant *tenant, struct world *world, struct tls_config *config);
void tenant_send(struct tenant *tenant, const char *text);
void tenant_send_bytes(struct tenant *tenant, const void *bytes, size_t bytes_n);
/* Below its TLS, if it has any. */
void tenant_send_raw(struct tenant *tenant, const void *bytes, size_t bytes_n);
void tenant_half_close(struct tenant *tenant);
void tenant_pause(struct tenant *tenant, bool on);
/* Waits until this text is in what came; fails when the connection ends before. Then forgets all up
 * to its end. */
void tenant_expect(struct tenant *tenant, const char *text);
void tenant_expect_end(struct tenant *tenant);
void tenant_close(struct tenant *tenant);
void tenant_reset(struct tenant *tenant);
/* A request to envd's port, or another, of a sandbox, with the routing fields. */
void tenant_get(struct tenant *tenant, const char *id, int port, const char *path);

/* services.c */
void services_close(struct sandbox *sandbox);
void services_on_event(struct sandbox *sandbox, const struct mux_event *event);
/* The byte at a place of a big body. */
static inline uint8_t big_byte(uint64_t at)
{
	return (uint8_t)(at * 7 + (at >> 10));
}

#endif
