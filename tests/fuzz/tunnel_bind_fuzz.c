/*
 * What a shim says first: whatever comes, a BIND's length is told soon enough to be read and never
 * moves back, and what it says for the scheduler is read or refused.
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t told_n = 0, n = 0;
	struct ticket ticket;
	struct id sandbox;

	CHECK(sodium_init() >= 0);
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
	if (n > TUNNEL_BIND_N)
		read_ingress(data + TUNNEL_BIND_N + 2, n - TUNNEL_BIND_N - 2, &sandbox);
	return 0;
}
