/* See sources.h.  A bucket is one instant: each drop taken moves it by the time of a refill. */
#include "scheduler/gateway/sources.h"

#include <netinet/in.h>
#include <sodium.h>
#include <string.h>

_Static_assert(sizeof(((struct sources *)0)->key) == crypto_shorthash_KEYBYTES, "its key");

void sources_init(struct sources *sources)
{
	memset(sources->places, 0, sizeof(sources->places));
	crypto_shorthash_keygen(sources->key);
}

uint32_t sources_place(const struct sources *sources, const struct sockaddr *address)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
	const struct sockaddr_in *four = (const struct sockaddr_in *)address;
	uint8_t bytes[8] = {0}, hash[crypto_shorthash_BYTES];
	uint32_t place;

	if (address->sa_family == AF_INET)
		memcpy(bytes, &four->sin_addr, 4);
	else if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
		memcpy(bytes, six->sin6_addr.s6_addr + 12, 4);
	else
		memcpy(bytes, six->sin6_addr.s6_addr, 8);
	crypto_shorthash(hash, bytes, sizeof(bytes), sources->key);
	memcpy(&place, hash, sizeof(place));
	return place % SOURCES_MAX;
}

bool sources_take(struct sources *sources, uint32_t place, uint64_t now_ms)
{
	struct source *source = &sources->places[place];
	uint64_t full_at_ms = source->full_at_ms > now_ms ? source->full_at_ms : now_ms;

	if (full_at_ms + SOURCES_REFILL_MS > now_ms + SOURCES_BURST * SOURCES_REFILL_MS)
		return false;
	source->full_at_ms = full_at_ms + SOURCES_REFILL_MS;
	return true;
}

void sources_give_back(struct sources *sources, uint32_t place)
{
	if (sources->places[place].full_at_ms >= SOURCES_REFILL_MS)
		sources->places[place].full_at_ms -= SOURCES_REFILL_MS;
}
