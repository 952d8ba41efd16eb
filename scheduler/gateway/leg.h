/*
 * An exchange's other leg: a stream to a port of the guest, plain or with TLS inside, or a
 * connection to the API, or to who keeps volumes.  Whatever it is, bytes go out as far as it has
 * room, and what came in is given credit for when the tenant has taken it.
 */
#ifndef FLOTILLA_GATEWAY_LEG_H
#define FLOTILLA_GATEWAY_LEG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "scheduler/gateway/route.h"

struct client;
struct mux_event;
struct tls;
struct tunnel;
struct api_link;

struct leg {
	struct tunnel *tunnel; /* of a guest; NULL: none, or the API's */
	uint32_t stream;
	struct api_link *api;

	/* With TLS to the guest, and towards the API: what the tenant has not taken yet. */
	size_t unread_n;
	struct tls *tls;
	size_t sealed_n;   /* ciphertext that came, and was given no credit for yet */
	bool waits_to_end; /* until all ciphertext has gone out */
};

/* False when there is no memory or no room for another stream. */
bool leg_open_guest(struct client *client, struct tunnel *tunnel, bool is_tls);
bool leg_open_api(struct client *client);

/* How many of the bytes went out; if not all, request_on_writable is called when more can. */
size_t leg_write(struct client *client, const uint8_t *bytes, size_t bytes_n);

/* What leg_write surely takes now. None: request_on_writable is called when there is some. */
size_t leg_room(struct client *client);

/* n bytes that were told by response_on_data have gone on. */
void leg_consumed(struct client *client, size_t n);

/* Nothing more comes from the tenant. */
void leg_end(struct client *client);

/* Sends what was written. */
void leg_flush(struct client *client);

/* At any time; nothing is told any more. */
void leg_close(struct client *client);

/* How an exchange ends whose API, or whoever is in its place, is not there. */
enum outcome leg_api_away(const struct client *client);

/* leg_api.c: the API's kind of the above. */
size_t leg_api_write(struct client *client, const uint8_t *bytes, size_t bytes_n);
size_t leg_api_room(const struct client *client);
void leg_api_consumed(struct client *client);
void leg_api_end(struct client *client);
void leg_api_close(struct client *client);

#endif
