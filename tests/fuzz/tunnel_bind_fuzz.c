/*
 * What shim and gateway say first: whatever comes, a BIND's length is told soon enough to be read
 * and never moves back, what it says for the scheduler is read or refused, and what was read is
 * written the same.
 */
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"
#include "common/mux/tunnel.h"
#include "scheduler/gateway/ingress.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct fleet_key key = {{1, 2, 3}};

static void read_ingress(const uint8_t *bytes, size_t n, const struct id *sandbox)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
	struct ingress *ingress = ingress_read(bytes, n, &key, sandbox);
	char host[INGRESS_MASKED_MAX];
	struct http_head head;
	size_t scanned_n = 0, head_n;
	enum outcome outcome;

	CHECK(http_request_parse(request, sizeof(request) - 1, &scanned_n, &head, &head_n) ==
	      HTTP_OK);
	outcome = ingress_judge(ingress, 80, &head);
	CHECK(outcome ==
	      (ingress && ingress->traffic_token[0] ? OUTCOME_NO_TOKEN : OUTCOME_ROUTED));
	CHECK(ingress_judge(ingress, ENVD_PORT, &head) == OUTCOME_ROUTED);
	if (ingress_host(ingress, UINT16_MAX, host))
		CHECK(strlen(host) < sizeof(host));
	CHECK(!ingress_wants_tls(ingress, ENVD_PORT));
	free(ingress);
}

static void write_again(const uint8_t *bind, size_t n, const struct id *sandbox,
			const struct ticket *ticket)
{
	size_t ingress_n = n > TUNNEL_BIND_N ? n - TUNNEL_BIND_N - 2 : 0;
	const uint8_t *ingress = ingress_n ? bind + TUNNEL_BIND_N + 2 : NULL;
	uint8_t again[TUNNEL_BIND_MAX];
	struct ticket again_ticket;
	struct id again_sandbox;

	CHECK(tunnel_bind_encode(sandbox, ticket, ingress, ingress_n, again) == n);
	CHECK(tunnel_bind_length(again, n) == n);
	CHECK(tunnel_bind_decode(again, &again_sandbox, &again_ticket));
	CHECK(id_equal(sandbox, &again_sandbox));
	CHECK(!memcmp(ticket, &again_ticket, sizeof(*ticket)));
	CHECK(!memcmp(again + TUNNEL_BIND_N, bind + TUNNEL_BIND_N, n - TUNNEL_BIND_N));
}

static void read_verdict(const uint8_t *data, size_t size)
{
	uint8_t again[TUNNEL_VERDICT_N];
	enum tunnel_verdict verdict;

	if (size < TUNNEL_VERDICT_N || !tunnel_verdict_decode(data, &verdict))
		return;
	tunnel_verdict_encode(verdict, again);
	CHECK(!memcmp(data, again, sizeof(again)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t told_n = 0, n = 0;
	struct ticket ticket;
	struct id sandbox;

	CHECK(sodium_init() >= 0);
	read_verdict(data, size);
	while (n <= size) {
		size_t length_n = tunnel_bind_length(data, n);

		if (!length_n)
			return 0;
		CHECK(length_n >= told_n && length_n <= TUNNEL_BIND_MAX);
		told_n = length_n;
		if (length_n == n)
			break;
		n = length_n;
	}
	if (n > size || !tunnel_bind_decode(data, &sandbox, &ticket))
		return 0;
	write_again(data, n, &sandbox, &ticket);
	if (n > TUNNEL_BIND_N)
		read_ingress(data + TUNNEL_BIND_N + 2, n - TUNNEL_BIND_N - 2, &sandbox);
	return 0;
}
