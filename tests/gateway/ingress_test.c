/* What the scheduler says of a sandbox reaches the gateway, unforged, and is kept to. */
#include "tests/gateway/harness.h"

#include <stdio.h>
#include <string.h>

#define ONE "iaaaaaaaaaaaaaaaaaaaa"

static const char *const no_grace[] = {"--grace", "0", NULL};

static struct world world;
static struct sandbox one;
static struct tenant tenant;

static int setup(void **state)
{
	(void)state;
	world_open(&world, no_grace);
	sandbox_open(&one, &world, ONE);
	tenant_open(&tenant, &world);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tenant_close(&tenant);
	sandbox_die(&one);
	world_close(&world);
	return 0;
}

static void ask(int port, const char *token)
{
	char text[512], field[128] = "";

	if (token)
		snprintf(field, sizeof(field), "E2B-Traffic-Access-Token: %s\r\n", token);
	snprintf(text, sizeof(text), "GET /hello HTTP/1.1\r\nHost: %d-" ONE ".sbx.test\r\n%s\r\n",
		 port, field);
	tenant_send(&tenant, text);
}

static void ports_that_are_not_public_want_the_sandboxs_token(void **state)
{
	char token[TRAFFIC_TOKEN_TEXT_MAX], other[TRAFFIC_TOKEN_TEXT_MAX];
	const struct id other_id = {"ibbbbbbbbbbbbbbbbbbbb"};

	(void)state;
	sandbox_bind_with(&one, &(struct wire_ingress){.private_traffic = true});
	fleet_key_traffic_token(&world.key, &one.id, token);
	fleet_key_traffic_token(&world.key, &other_id, other);
	ask(8000, NULL);
	tenant_expect(&tenant, "HTTP/1.1 403 Forbidden\r\n");
	tenant_expect(&tenant, "{\"sandboxId\":\"" ONE "\",\"message\":\"Sandbox is secured with "
			       "traffic access token. Token header 'e2b-traffic-access-token' is "
			       "missing\",\"code\":403}");
	ask(8000, other);
	tenant_expect(&tenant, "HTTP/1.1 403 ");
	tenant_expect(&tenant, "Provided token in header 'e2b-traffic-access-token' is invalid");
	ask(8000, "short");
	tenant_expect(&tenant, "is invalid");
	/* A closed port is not told from an open one. */
	ask(7, NULL);
	tenant_expect(&tenant, "HTTP/1.1 403 ");
	assert_int_equal(one.services_opened_n, 0);
	ask(8000, token);
	tenant_expect(&tenant, "\r\n\r\nhello");
	ask(49983, NULL); /* envd asks for its own */
	tenant_expect(&tenant, "\r\n\r\nhello");
}

static void the_host_is_masked_but_for_envds_port(void **state)
{
	(void)state;
	sandbox_bind_with(&one, &(struct wire_ingress){.mask_host = "box-${PORT}.test:${PORT}"});
	tenant_get(&tenant, ONE, 8080, "/head");
	tenant_expect(&tenant, "GET /head HTTP/1.1\r\nHost: box-8080.test:8080\r\n");
	tenant_expect(&tenant, "Connection: close\r\n\r\n");
	tenant_get(&tenant, ONE, 49983, "/head");
	tenant_expect(&tenant, "host: 127.0.0.1:3001\r\n");
}

static void expect_refused(const uint8_t *ingress, size_t ingress_n, const struct ticket *ticket)
{
	uint8_t bind[TUNNEL_BIND_MAX];
	struct tenant shim;
	size_t n = tunnel_bind_encode(&one.id, ticket, ingress, ingress_n, bind);

	tenant_open_at(&shim, &world, (struct sockaddr *)&world.tunnels_at);
	tenant_send_bytes(&shim, bind, n);
	world_until(&world, &shim.is_ended);
	tenant_close(&shim);
}

static void a_node_can_neither_change_nor_leave_out_what_the_scheduler_says(void **state)
{
	static const uint8_t is_private[] = {0x81, 1, 0xc3}, by_default[] = {0x80};
	struct ticket ticket =
		fleet_key_ticket(&world.key, &one.id, is_private, sizeof(is_private));

	(void)state;
	expect_refused(NULL, 0, &ticket);
	expect_refused(by_default, sizeof(by_default), &ticket);
	ticket = fleet_key_ticket(&world.key, &one.id, NULL, 0);
	expect_refused(is_private, sizeof(is_private), &ticket);
	ask(8000, NULL);
	tenant_expect(&tenant, "The sandbox was not found");
	sandbox_bind_with(&one, &(struct wire_ingress){.private_traffic = true});
}

static void what_the_gateway_cannot_read_it_does_not_bind(void **state)
{
	static const uint8_t garbage[] = {0xc1, 2, 3};
	struct ticket ticket = fleet_key_ticket(&world.key, &one.id, garbage, sizeof(garbage));

	(void)state;
	expect_refused(garbage, sizeof(garbage), &ticket);
	ask(8000, NULL);
	tenant_expect(&tenant, "The sandbox was not found");
}

/* As TCP may cut it. */
static void a_bind_may_come_in_pieces(void **state)
{
	static const uint8_t is_private[] = {0x81, 1, 0xc3};
	struct ticket ticket =
		fleet_key_ticket(&world.key, &one.id, is_private, sizeof(is_private));
	uint8_t bind[TUNNEL_BIND_MAX];
	size_t n = tunnel_bind_encode(&one.id, &ticket, is_private, sizeof(is_private), bind);
	struct tenant shim;

	(void)state;
	tenant_open_at(&shim, &world, (struct sockaddr *)&world.tunnels_at);
	for (size_t at = 0; at < n; at++) {
		tenant_send_bytes(&shim, bind + at, 1);
		while (shim.unsent_n)
			world_once(&world);
		uv_run(&world.loop, UV_RUN_NOWAIT);
	}
	tenant_expect(&shim, "FLVRDT");
	ask(8000, NULL);
	tenant_expect(&tenant, "HTTP/1.1 403 ");
	tenant_close(&shim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(ports_that_are_not_public_want_the_sandboxs_token),
		TEST(the_host_is_masked_but_for_envds_port),
		TEST(a_node_can_neither_change_nor_leave_out_what_the_scheduler_says),
		TEST(what_the_gateway_cannot_read_it_does_not_bind),
		TEST(a_bind_may_come_in_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
