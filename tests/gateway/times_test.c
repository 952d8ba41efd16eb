/* What the gateway does about time, shims' connections and its own start and stop. */
#include "tests/gateway/harness.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/mux/tunnel.h"

#define ONE "iaaaaaaaaaaaaaaaaaaaa"
#define HELLO_AT_ONE                                                                               \
	"GET /hello HTTP/1.1\r\nHost: localhost\r\ne2b-sandbox-id: " ONE                           \
	"\r\ne2b-sandbox-port: 8000\r\n\r\n"

static const char *const no_grace[] = {"--grace", "0", NULL};

static struct world world;
static struct sandbox one, again;
static struct tenant tenant;

static void a_slow_head_is_cut_off(void **state)
{
	static const char *const extra[] = {"--head", "100ms", "--grace", "0", NULL};

	(void)state;
	world_open(&world, extra);
	tenant_open(&tenant, &world);
	tenant_send(&tenant, "GET / HTTP/1.1\r\nHost: lo");
	tenant_expect(&tenant, "HTTP/1.1 408 Request Timeout\r\n");
	tenant_expect(&tenant, "the request head took too long");
	tenant_close(&tenant);
	/* Who says nothing at all is owed nothing. */
	tenant_open(&tenant, &world);
	tenant_expect_end(&tenant);
	tenant_close(&tenant);
	world_close(&world);
}

static void a_stalled_body_is_cut_off(void **state)
{
	static const char *const extra[] = {"--body", "100ms", "--grace", "0", NULL};

	(void)state;
	world_open(&world, extra);
	sandbox_open_bound(&one, &world, ONE);
	tenant_open(&tenant, &world);
	tenant_send(&tenant, "POST /sink HTTP/1.1\r\nHost: 8000-" ONE
			     ".x.test\r\nContent-Length: 9\r\n\r\nhalf");
	tenant_expect(&tenant, "HTTP/1.1 408 ");
	world_until_count(&world, (int *)&one.resets_n, 1);
	tenant_close(&tenant);
	sandbox_die(&one);
	world_close(&world);
}

static void an_idle_connection_is_closed_and_a_busy_one_not(void **state)
{
	static const char *const extra[] = {"--idle", "100ms", "--grace", "0", NULL};
	struct tenant busy;

	(void)state;
	world_open(&world, extra);
	sandbox_open_bound(&one, &world, ONE);
	tenant_open(&busy, &world);
	tenant_get(&busy, ONE, 8000, "/hold");
	tenant_expect(&busy, "first\r\n");
	tenant_open(&tenant, &world);
	tenant_send(&tenant, HELLO_AT_ONE);
	tenant_expect(&tenant, "\r\n\r\nhello");
	tenant_expect_end(&tenant);
	assert_false(tenant.is_aborted);
	assert_false(busy.is_ended);
	tenant_close(&tenant);
	tenant_close(&busy);
	sandbox_die(&one);
	world_close(&world);
}

static void a_tenant_gone_from_a_silent_answer_is_noticed(void **state)
{
	static const char *const extra[] = {"--half-closed", "100ms", "--grace", "0", NULL};

	(void)state;
	world_open(&world, extra);
	sandbox_open_bound(&one, &world, ONE);
	tenant_open(&tenant, &world);
	tenant_get(&tenant, ONE, 8000, "/hold");
	tenant_expect(&tenant, "first\r\n");
	tenant_close(&tenant);
	world_until_count(&world, (int *)&one.resets_n, 1);
	sandbox_die(&one);
	world_close(&world);
}

static void a_young_gateway_waits_for_shims_to_come_back(void **state)
{
	static const char *const extra[] = {"--hold", "60s", NULL};

	(void)state;
	world_open(&world, extra);
	tenant_open(&tenant, &world);
	tenant_send(&tenant, HELLO_AT_ONE HELLO_AT_ONE);
	sandbox_open_bound(&one, &world, ONE);
	tenant_expect(&tenant, "\r\n\r\nhello");
	tenant_expect(&tenant, "\r\n\r\nhello");
	tenant_close(&tenant);
	sandbox_die(&one);
	world_close(&world);
}

static void a_young_gateway_does_not_wait_for_ever(void **state)
{
	static const char *const extra[] = {"--hold", "50ms", NULL};

	(void)state;
	world_open(&world, extra);
	tenant_open(&tenant, &world);
	tenant_send(&tenant, HELLO_AT_ONE);
	tenant_expect(&tenant, "HTTP/1.1 502 ");
	tenant_expect(&tenant, "The sandbox was not found");
	tenant_close(&tenant);
	world_close(&world);
}

static void shims_come_back_after_a_restart_of_the_gateway(void **state)
{
	char tunnels_at[64];

	(void)state;
	world_open(&world, NULL);
	sandbox_open_bound(&one, &world, ONE);
	tenant_open(&tenant, &world);
	tenant_get(&tenant, ONE, 8000, "/hold");
	tenant_expect(&tenant, "first\r\n");
	strcpy(tunnels_at, world.tunnels_text);
	world_stop_gateway(&world, SIGKILL);
	world_until(&world, &tenant.is_ended);
	tenant_close(&tenant);
	/* The guest's half of what was in progress is let go of. */
	world_until_count(&world, (int *)&one.resets_n, 1);
	world_start_gateway(&world, tunnels_at, NULL);
	tenant_open(&tenant, &world);
	tenant_send(&tenant, HELLO_AT_ONE);
	tenant_expect(&tenant, "\r\n\r\nhello");
	assert_int_equal(one.bound_n, 2);
	tenant_close(&tenant);
	sandbox_die(&one);
	world_close(&world);
}

static void a_stopping_gateway_lets_requests_end(void **state)
{
	static const char *const extra[] = {"--drain", "60s", "--grace", "0", NULL};
	struct tenant idle;

	(void)state;
	world_open(&world, extra);
	sandbox_open_bound(&one, &world, ONE);
	tenant_open(&idle, &world);
	tenant_send(&idle, HELLO_AT_ONE);
	tenant_expect(&idle, "\r\n\r\nhello");
	tenant_open(&tenant, &world);
	tenant_send(&tenant, "POST /sink HTTP/1.1\r\nHost: 8000-" ONE
			     ".x.test\r\nContent-Length: 4\r\n\r\nha");
	while (one.services[0].body_n != 2)
		world_once(&world);
	uv_process_kill(&world.process, SIGTERM);
	tenant_expect_end(&idle);
	tenant_send(&tenant, "lf");
	tenant_expect(&tenant, "Connection: close\r\n\r\ngot 4");
	world_until(&world, &tenant.is_ended);
	tenant_close(&tenant);
	tenant_close(&idle);
	while (world.is_running)
		world_once(&world);
	assert_int_equal(world.exit_status, 0);
	sandbox_die(&one);
	world_close(&world);
}

static void a_tunnel_with_a_wrong_ticket_is_refused_for_good(void **state)
{
	struct ticket ticket = {{0}};

	(void)state;
	world_open(&world, no_grace);
	sandbox_open(&one, &world, ONE);
	relay_bind(&one.relay, &one.id, &ticket, NULL, 0);
	world_until_count(&world, &one.refused_n, 1);
	assert_int_equal(one.relay.state, RELAY_TURNED_OFF);
	sandbox_die(&one);
	world_close(&world);
}

static void a_wrong_ticket_does_not_take_a_sandbox_away(void **state)
{
	struct ticket ticket = {{0}};

	(void)state;
	world_open(&world, no_grace);
	sandbox_open_bound(&one, &world, ONE);
	sandbox_open(&again, &world, ONE);
	relay_bind(&again.relay, &again.id, &ticket, NULL, 0);
	world_until_count(&world, &again.refused_n, 1);
	tenant_open(&tenant, &world);
	tenant_send(&tenant, HELLO_AT_ONE);
	tenant_expect(&tenant, "\r\n\r\nhello");
	assert_int_equal(one.services_opened_n, 1);
	tenant_close(&tenant);
	sandbox_die(&again);
	sandbox_die(&one);
	world_close(&world);
}

static void the_newer_of_two_tunnels_wins(void **state)
{
	(void)state;
	world_open(&world, no_grace);
	sandbox_open_bound(&one, &world, ONE);
	/* Whoever lost the tunnel may not take it back: it is dead to the world. */
	one.relay.has_claim = false;
	sandbox_open_bound(&again, &world, ONE);
	tenant_open(&tenant, &world);
	tenant_send(&tenant, HELLO_AT_ONE);
	tenant_expect(&tenant, "\r\n\r\nhello");
	assert_int_equal(again.services_opened_n, 1);
	assert_int_equal(one.services_opened_n, 0);
	tenant_close(&tenant);
	sandbox_die(&again);
	sandbox_die(&one);
	world_close(&world);
}

static void a_claim_before_the_connection_is_bound_once_it_stands(void **state)
{
	struct ticket ticket;

	(void)state;
	world_open(&world, no_grace);
	sandbox_open(&one, &world, ONE);
	ticket = fleet_key_ticket(&world.key, &one.id, NULL, 0);
	relay_bind(&one.relay, &one.id, &ticket, NULL, 0);
	assert_int_equal(one.relay.state, RELAY_DIALLING);
	world_until_count(&world, &one.bound_n, 1);
	sandbox_die(&one);
	world_close(&world);
}

static void send_garbage(const struct sockaddr_storage *at, uint64_t seed)
{
	struct rng rng = {seed};
	uint8_t bytes[3000];

	for (size_t n = 0; n < sizeof(bytes); n++)
		bytes[n] = (uint8_t)rng_next(&rng);
	tenant_open_at(&tenant, &world, (const struct sockaddr *)at);
	tenant_send_bytes(&tenant, bytes, 1 + (size_t)rng_below(&rng, sizeof(bytes)));
	tenant_half_close(&tenant);
	world_until(&world, &tenant.is_ended);
	tenant_close(&tenant);
}

static void garbage_on_any_port_disturbs_nobody(void **state)
{
	(void)state;
	world_open(&world, no_grace);
	sandbox_open_bound(&one, &world, ONE);
	for (uint64_t seed = 0; seed < 60; seed++) {
		send_garbage(&world.tenants_at, seed);
		send_garbage(&world.tunnels_at, seed);
		send_garbage(&world.admin_at, seed);
	}
	tenant_open(&tenant, &world);
	tenant_send(&tenant, HELLO_AT_ONE);
	tenant_expect(&tenant, "\r\n\r\nhello");
	tenant_close(&tenant);
	sandbox_die(&one);
	world_close(&world);
}

/* A guest or shim gone mad, after a good bind. */
static void garbage_in_a_bound_tunnel_costs_that_sandbox_alone(void **state)
{
	const struct id id = {"icccccccccccccccccccc"};
	uint8_t bind[TUNNEL_BIND_MAX];
	struct ticket ticket;
	size_t bind_n;

	(void)state;
	world_open(&world, no_grace);
	sandbox_open_bound(&one, &world, ONE);
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct rng rng = {seed};
		uint8_t bytes[400];

		ticket = fleet_key_ticket(&world.key, &id, NULL, 0);
		bind_n = tunnel_bind_encode(&id, &ticket, NULL, 0, bind);
		tenant_open_at(&tenant, &world, (struct sockaddr *)&world.tunnels_at);
		tenant_send_bytes(&tenant, bind, bind_n);
		for (size_t n = 0; n < sizeof(bytes); n++)
			bytes[n] = (uint8_t)rng_next(&rng);
		tenant_send_bytes(&tenant, bytes, sizeof(bytes));
		world_until(&world, &tenant.is_ended);
		tenant_close(&tenant);
	}
	tenant_open(&tenant, &world);
	tenant_send(&tenant, HELLO_AT_ONE);
	tenant_expect(&tenant, "\r\n\r\nhello");
	tenant_close(&tenant);
	sandbox_die(&one);
	world_close(&world);
}

static void too_many_tenants_are_told_so(void **state)
{
	static const char *const extra[] = {"--clients", "2", "--grace", "0", NULL};
	struct tenant first, second;

	(void)state;
	world_open(&world, extra);
	tenant_open(&first, &world);
	tenant_open(&second, &world);
	tenant_open(&tenant, &world);
	tenant_expect(&tenant, "HTTP/1.1 503 ");
	tenant_expect(&tenant, "the gateway has too many connections");
	tenant_close(&tenant);
	tenant_close(&second);
	tenant_close(&first);
	world_close(&world);
}

static void operators_see_health_and_figures(void **state)
{
	(void)state;
	world_open(&world, no_grace);
	sandbox_open_bound(&one, &world, ONE);
	tenant_open_at(&tenant, &world, (struct sockaddr *)&world.admin_at);
	tenant_send(&tenant, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n");
	tenant_expect(&tenant, "HTTP/1.1 200 OK\r\n");
	tenant_expect(&tenant, "\r\n\r\nok\n");
	tenant_expect_end(&tenant);
	tenant_close(&tenant);
	tenant_open_at(&tenant, &world, (struct sockaddr *)&world.admin_at);
	tenant_send(&tenant, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
	tenant_expect(&tenant, "flotilla_gateway_binds_total 1\n");
	tenant_expect(&tenant, "flotilla_gateway_sandboxes 1\n");
	tenant_close(&tenant);
	print_message("idle gateway RSS: %ld KiB\n", world_gateway_rss_kib(&world));
	sandbox_die(&one);
	world_close(&world);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slow_head_is_cut_off),
		cmocka_unit_test(a_stalled_body_is_cut_off),
		cmocka_unit_test(an_idle_connection_is_closed_and_a_busy_one_not),
		cmocka_unit_test(a_tenant_gone_from_a_silent_answer_is_noticed),
		cmocka_unit_test(a_young_gateway_waits_for_shims_to_come_back),
		cmocka_unit_test(a_young_gateway_does_not_wait_for_ever),
		cmocka_unit_test(shims_come_back_after_a_restart_of_the_gateway),
		cmocka_unit_test(a_stopping_gateway_lets_requests_end),
		cmocka_unit_test(a_tunnel_with_a_wrong_ticket_is_refused_for_good),
		cmocka_unit_test(a_wrong_ticket_does_not_take_a_sandbox_away),
		cmocka_unit_test(the_newer_of_two_tunnels_wins),
		cmocka_unit_test(a_claim_before_the_connection_is_bound_once_it_stands),
		cmocka_unit_test(garbage_on_any_port_disturbs_nobody),
		cmocka_unit_test(garbage_in_a_bound_tunnel_costs_that_sandbox_alone),
		cmocka_unit_test(too_many_tenants_are_told_so),
		cmocka_unit_test(operators_see_health_and_figures),
	};

	/* An argument picks tests by name, with '*' for any text. */
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
