/*
 * Addresses as people write them: "127.0.0.1:3000", "[::1]:3000", "scheduler.example:3003".
 * The host may be a name; resolving it is left to whoever dials.
 */
#ifndef FLOTILLA_IO_ADDRESS_H
#define FLOTILLA_IO_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
	ADDRESS_HOST_MAX = 254, /* bytes of storage, NUL included */
	ADDRESS_TEXT_MAX = 264, /* host, brackets, colon, port, NUL */
};

struct address {
	char host[ADDRESS_HOST_MAX]; /* without brackets; empty = no address given */
	uint16_t port;               /* 0 = the system picks one when listening */
};

/* False, and *out untouched, unless text is HOST:PORT with a port of 0..65535. */
bool address_parse(const char *text, struct address *out);

/* "host:port", an IPv6 host in brackets. */
void address_format(const struct address *address, char out_text[ADDRESS_TEXT_MAX]);

/* False when the host is not a numeric IPv4 or IPv6 address. */
bool address_to_sockaddr(const struct address *address, struct sockaddr_storage *out);

/* From a bound or connected socket; false for other families than IPv4 and IPv6. */
bool address_from_sockaddr(const struct sockaddr *from, struct address *out);

#endif
