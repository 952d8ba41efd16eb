/*
 * The client's part of SOCKS5 (RFC 1928, RFC 1929), until the way to a host is open.  Pure: what is
 * to be sent and how many bytes are wanted next, so that nothing is read of what comes behind.
 */
#ifndef FLOTILLA_EGRESS_SOCKS_H
#define FLOTILLA_EGRESS_SOCKS_H

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

enum {
	SOCKS_TEXT_MAX = 255,
	SOCKS_SAID_MAX = 3 + 2 * (SOCKS_TEXT_MAX + 1), /* the longest of what is sent at once */
	SOCKS_HEARD_MAX = 4 + 1 + SOCKS_TEXT_MAX + 2,
};

enum socks_step { SOCKS_METHOD, SOCKS_PASSWORD, SOCKS_REPLY, SOCKS_BOUND, SOCKS_OPEN };

struct socks {
	enum socks_step step;
	const char *user, *password; /* borrowed; "" for none */
	const char *name;            /* where to, borrowed; NULL: */
	uint32_t address;            /* IPv4, in host order */
	uint16_t port;
	uint8_t said[SOCKS_SAID_MAX]; /* to be sent now */
	size_t said_n;
	size_t wanted_n; /* bytes, all of them, for socks_hear */
};

/* Everything but what is to be sent is set. */
void socks_begin(struct socks *socks);

/* Exactly wanted_n bytes.  With OPEN the way is open; else there is more to send, or to hear.
 * Fault: it is refused, and why. */
int socks_hear(struct socks *socks, const uint8_t *bytes, struct err *err);

#endif
