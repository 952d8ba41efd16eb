/*
 * How much each source may ask for that comes to nothing: a bucket for each address (each /64 of
 * IPv6), in a table of fixed size.  Sources whose places collide share one while it is in use;
 * where they are is keyed, so that nobody can choose to collide.  Pure but for the key.
 */
#ifndef FLOTILLA_GATEWAY_SOURCES_H
#define FLOTILLA_GATEWAY_SOURCES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
	SOURCES_MAX = 4096,
	SOURCES_BURST = 20,       /* at once */
	SOURCES_REFILL_MS = 1000, /* one more each */
};

struct sources {
	uint8_t key[16];
	struct source {
		uint64_t full_at_ms; /* when the bucket is, or was, full again */
	} places[SOURCES_MAX];
};

void sources_init(struct sources *sources);

/* Whose address it is, to take and give back by. */
uint32_t sources_place(const struct sources *sources, const struct sockaddr *address);

/* False: the bucket is empty. */
bool sources_take(struct sources *sources, uint32_t place, uint64_t now_ms);

/* It came to something after all. */
void sources_give_back(struct sources *sources, uint32_t place);

#endif
