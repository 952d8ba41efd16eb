/* The fixed-size messages before the mux; see tunnel.h. */
#include "common/mux/tunnel.h"

#include <string.h>

/* The last byte is the version of the whole exchange. */
static const uint8_t bind_magic[8] = {'F', 'L', 'B', 'I', 'N', 'D', 0, 1};
static const uint8_t verdict_magic[7] = {'F', 'L', 'V', 'R', 'D', 'T', 1};

void tunnel_bind_encode(const struct id *sandbox, const struct ticket *ticket,
			uint8_t out_bytes[TUNNEL_BIND_N])
{
	uint8_t *at = out_bytes;

	memset(out_bytes, 0, TUNNEL_BIND_N);
	memcpy(at, bind_magic, sizeof(bind_magic));
	at += sizeof(bind_magic);
	memcpy(at, sandbox->text, strnlen(sandbox->text, ID_MAX - 1));
	at += ID_MAX;
	memcpy(at, ticket->bytes, TICKET_N);
}

bool tunnel_bind_decode(const uint8_t bytes[TUNNEL_BIND_N], struct id *out_sandbox,
			struct ticket *out_ticket)
{
	const char *text = (const char *)bytes + sizeof(bind_magic);
	size_t text_n = strnlen(text, ID_MAX);

	if (memcmp(bytes, bind_magic, sizeof(bind_magic)) || !id_parse(text, text_n, out_sandbox))
		return false;
	memcpy(out_ticket->bytes, text + ID_MAX, TICKET_N);
	return true;
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
