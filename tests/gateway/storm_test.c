/*
 * Many tenants doing anything at any time, while sandboxes die and come back: the gateway and the
 * relays survive, leave nothing behind, and answer the next one as if nothing had been.
 */
#include "tests/gateway/harness.h"

#include <stdio.h>
#include <string.h>

#include "tests/io/tls_world.h"

enum { TENANTS_N = 24, SANDBOXES_N = 4, STEPS_N = 4000, SEEDS_N = 4 };

static const char *const sandbox_ids[SANDBOXES_N] = {
	"iaaaaaaaaaaaaaaaaaaa0", "iaaaaaaaaaaaaaaaaaaa1", "iaaaaaaaaaaaaaaaaaaa2",
	"iaaaaaaaaaaaaaaaaaaa3"};

static const char *const paths[] = {"/hello",   "/chunked",    "/close",      "/nothing",
				    "/garbage", "/status/204", "/big/300000", "/bigchunks/90000",
				    "/hold",    "/wait",       "/upgrade",    "/bytewise",
				    "/early",   "/head",       "/init",       "/holdclose"};

static struct world world;
static struct sandbox sandboxes[SANDBOXES_N];
static struct tenant tenants[TENANTS_N];
static struct tls_folder folder;
static struct tls_config *client_tls, *guest_tls;

static void send_request(struct rng *rng, struct tenant *tenant)
{
	const char *path = paths[rng_below(rng, sizeof(paths) / sizeof(paths[0]))];
	const char *id = sandbox_ids[rng_below(rng, SANDBOXES_N)];
	int port = rng_one_in(rng, 10)  ? 3
		   : rng_one_in(rng, 3) ? 49983
		   : rng_one_in(rng, 3) ? TLS_PORT
					: 8000;
	char text[512];
	int n;

	if (rng_one_in(rng, 3))
		n = snprintf(
			text, sizeof(text),
			"POST /sink HTTP/1.1\r\nHost: %d-%s.x\r\nContent-Length: %d\r\n\r\nabcdef",
			port, id, (int)rng_below(rng, 40000) + 6);
	else
		n = snprintf(text, sizeof(text), "%s %s HTTP/1.%d\r\nHost: %d-%s.x\r\n%s\r\n",
			     rng_one_in(rng, 5) ? "HEAD" : "GET", path, !rng_one_in(rng, 8), port,
			     id,
			     rng_one_in(rng, 3) ? "Connection: upgrade\r\nUpgrade: echo\r\n" : "");
	if (rng_one_in(rng, 6))
		n = (int)rng_below(rng, (uint64_t)n) + 1;
	tenant_send_bytes(tenant, text, (size_t)n);
}

static void act_tenant(struct rng *rng, struct tenant *tenant)
{
	static const uint8_t bytes[50000];

	if (!tenant->is_open || tenant->is_closed) {
		if (rng_one_in(rng, 2))
			tenant_open_tls(tenant, &world, client_tls);
		else
			tenant_open(tenant, &world);
		tenant->counts_only = true;
		return;
	}
	if (tenant->is_ended && !rng_one_in(rng, 5)) {
		tenant_close(tenant);
		return;
	}
	switch (rng_below(rng, 12)) {
	case 0:
		(rng_one_in(rng, 3) ? tenant_send_raw : tenant_send_bytes)(
			tenant, bytes, (size_t)rng_below(rng, sizeof(bytes)) + 1);
		break;
	case 1:
		tenant_pause(tenant, true);
		break;
	case 2:
	case 3:
		if (!tenant->is_ended)
			tenant_pause(tenant, false);
		break;
	case 4:
		tenant_half_close(tenant);
		tenant_close(tenant);
		break;
	case 5:
		tenant_reset(tenant);
		break;
	default:
		send_request(rng, tenant);
	}
}

/* Half of them speak TLS at a port, of which the gateway is told of all. */
static void open_sandbox(struct rng *rng, struct sandbox *sandbox, const char *id)
{
	struct wire_port port = {.number = TLS_PORT};

	sandbox_open(sandbox, &world, id);
	if (rng_one_in(rng, 2))
		sandbox->guest_tls = guest_tls;
	sandbox_bind_with(sandbox,
			  &(struct wire_ingress){.https_ports_n = 1, .https_ports = &port});
}

static void act_sandbox(struct rng *rng, struct sandbox *sandbox, const char *id)
{
	if (!sandbox->is_open)
		open_sandbox(rng, sandbox, id);
	else if (rng_one_in(rng, 3))
		sandbox_die(sandbox);
	else
		sandbox->is_slow_reader = !sandbox->is_slow_reader;
}

static void nothing_that_tenants_and_guests_do_brings_the_gateway_down(void **state)
{
	const char *const extra[] = {
		"--grace",     "0",          "--half-closed", "50ms",      "--tls-listen",
		"127.0.0.1:0", "--tls-cert", folder.cert,     "--tls-key", folder.key,
		NULL};

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS_N; seed++) {
		struct rng rng = {seed};

		memset(tenants, 0, sizeof(tenants));
		memset(sandboxes, 0, sizeof(sandboxes));
		world_open(&world, extra);
		for (int step = 0; step < STEPS_N; step++) {
			size_t at = (size_t)rng_below(&rng, SANDBOXES_N);

			if (rng_one_in(&rng, 40))
				act_sandbox(&rng, &sandboxes[at], sandbox_ids[at]);
			else
				act_tenant(&rng, &tenants[rng_below(&rng, TENANTS_N)]);
			if (rng_one_in(&rng, 2))
				uv_run(&world.loop, UV_RUN_NOWAIT);
			assert_true(world.is_running);
		}
		for (size_t at = 0; at < TENANTS_N; at++) {
			if (tenants[at].is_open && !tenants[at].is_closed)
				tenant_reset(&tenants[at]);
		}
		for (size_t at = 0; at < SANDBOXES_N; at++) {
			if (sandboxes[at].is_open)
				sandbox_die(&sandboxes[at]);
		}
		sandbox_open_bound(&sandboxes[0], &world, sandbox_ids[0]);
		tenant_open(&tenants[0], &world);
		tenant_get(&tenants[0], sandbox_ids[0], 8000, "/hello");
		tenant_expect(&tenants[0], "\r\n\r\nhello");
		tenant_close(&tenants[0]);
		/* All that was in progress has been counted down. */
		tenant_open_at(&tenants[0], &world, (struct sockaddr *)&world.admin_at);
		tenant_send(&tenants[0], "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
		tenant_expect(&tenants[0], "flotilla_gateway_sandboxes 1\n");
		tenant_expect(&tenants[0], "flotilla_gateway_exchanges 0\n");
		tenant_close(&tenants[0]);
		sandbox_die(&sandboxes[0]);
		world_close(&world);
	}
}

static int open_tls(void **state)
{
	struct err err;

	(void)state;
	tls_folder_open(&folder);
	assert_int_equal(tls_config_client(&client_tls, &err), 0);
	assert_int_equal(tls_config_server(&guest_tls, folder.cert, folder.key, NULL, &err), 0);
	return 0;
}

static int close_tls(void **state)
{
	(void)state;
	tls_config_unref(client_tls);
	tls_config_unref(guest_tls);
	tls_folder_close(&folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_that_tenants_and_guests_do_brings_the_gateway_down),
	};

	return cmocka_run_group_tests(tests, open_tls, close_tls);
}
