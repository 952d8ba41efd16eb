/* The messages before the mux; see tunnel.h. */
#include "common/mux/tunnel.h"

#include <string.h>

#include "common/base/check.h"

enum { VERSION_PLAIN = 1, VERSION_INGRESS = 2, LENGTH_N = 2 };

static const uint8_t bind_magic[7] = {'F', 'L', 'B', 'I', 'N', 'D', 0}; /* the version follows */
static const uint8_t verdict_magic[7] = {'F', 'L', 'V', 'R', 'D', 'T', 1};

size_t tunnel_bind_encode(const struct id *sandbox, const struct ticket *ticket,
			  const uint8_t *ingress, size_t ingress_n,
			  uint8_t out_bytes[TUNNEL_BIND_MAX])
{
	uint8_t *at = out_bytes;

	CHECK(ingress_n <= TUNNEL_INGRESS_MAX);
	memset(out_bytes, 0, TUNNEL_BIND_N);
	memcpy(at, bind_magic, sizeof(bind_magic));
	at += sizeof(bind_magic);
	*at++ = ingress_n ? VERSION_INGRESS : VERSION_PLAIN;
	memcpy(at, sandbox->text, strnlen(sandbox->text, ID_MAX - 1));
	at += ID_MAX;
	memcpy(at, ticket->bytes, TICKET_N);
	if (!ingress_n)
		return TUNNEL_BIND_N;
	at += TICKET_N;
	*at++ = (uint8_t)(ingress_n >> 8);
	*at++ = (uint8_t)ingress_n;
	memcpy(at, ingress, ingress_n);
	return TUNNEL_BIND_N + LENGTH_N + ingress_n;
}

static bool has_known_version(const uint8_t *bytes)
{
	return !memcmp(bytes, bind_magic, sizeof(bind_magic)) &&
	       (bytes[sizeof(bind_magic)] == VERSION_PLAIN ||
		bytes[sizeof(bind_magic)] == VERSION_INGRESS);
}

bool tunnel_bind_decode(const uint8_t bytes[TUNNEL_BIND_N], struct id *out_sandbox,
			struct ticket *out_ticket)
{
	const char *text = (const char *)bytes + sizeof(bind_magic) + 1;
	size_t text_n = strnlen(text, ID_MAX);

	if (!has_known_version(bytes) || !id_parse(text, text_n, out_sandbox))
		return false;
	memcpy(out_ticket->bytes, text + ID_MAX, TICKET_N);
	return true;
}

size_t tunnel_bind_length(const uint8_t *bytes, size_t bytes_n)
{
	size_t ingress_n;

	if (bytes_n < TUNNEL_BIND_N)
		return TUNNEL_BIND_N;
	if (!has_known_version(bytes))
		return 0;
	if (bytes[sizeof(bind_magic)] == VERSION_PLAIN)
		return TUNNEL_BIND_N;
	if (bytes_n < TUNNEL_BIND_N + LENGTH_N)
		return TUNNEL_BIND_N + LENGTH_N;
	ingress_n = (size_t)bytes[TUNNEL_BIND_N] << 8 | bytes[TUNNEL_BIND_N + 1];
	return ingress_n && ingress_n <= TUNNEL_INGRESS_MAX ? TUNNEL_BIND_N + LENGTH_N + ingress_n
							    : 0;
}

void tunnel_verdict_encode(enum tunnel_verdict verdict, uint8_t out_bytes[TUNNEL_VERDICT_N])
{
	memcpy(out_bytes, verdict_magic, sizeof(verdict_magic));
	out_bytes[sizeof(verdict_magic)] = (uint8_t)verdict;
}

bool tunnel_verdict_decode(const uint8_t bytes[TUNNEL_VERDICT_N], enum tunnel_verdict *out_verdict)
{
	uint8_t verdict = bytes[sizeof(verdict_magic)];

	if (memcmp(bytes, verdict_magic, sizeof(verdict_magic)) || verdict < TUNNEL_BOUND ||
	    verdict > TUNNEL_BUSY)
		return false;
	*out_verdict = (enum tunnel_verdict)verdict;
	return true;
}
