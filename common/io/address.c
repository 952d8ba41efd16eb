#include "common/io/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static bool port_parse(const char *text, uint16_t *out_port)
{
	unsigned port = 0;
	size_t n = strlen(text);

	if (n == 0 || n > 5)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		port = port * 10 + (unsigned)(*text - '0');
	}
	if (port > UINT16_MAX)
		return false;
	*out_port = (uint16_t)port;
	return true;
}

static bool host_is_plausible(const char *host, size_t n, bool bracketed)
{
	if (n == 0 || n >= ADDRESS_HOST_MAX || (bracketed && !memchr(host, ':', n)))
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = host[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		bool digit = c >= '0' && c <= '9';

		if (!letter && !digit && c != '.' && c != '-' && c != '_' &&
		    !(bracketed && (c == ':' || c == '%')))
			return false;
	}
	return true;
}

bool address_parse(const char *text, struct address *out)
{
	struct address address = {0};
	bool bracketed = text[0] == '[';
	const char *host = bracketed ? text + 1 : text;
	const char *end = bracketed ? strchr(host, ']') : strrchr(host, ':');
	const char *colon = bracketed && end ? end + 1 : end;

	if (!end || *colon != ':' || !port_parse(colon + 1, &address.port) ||
	    !host_is_plausible(host, (size_t)(end - host), bracketed))
		return false;
	memcpy(address.host, host, (size_t)(end - host));
	*out = address;
	return true;
}

void address_format(const struct address *address, char out_text[ADDRESS_TEXT_MAX])
{
	bool bracketed = strchr(address->host, ':') != NULL;

	snprintf(out_text, ADDRESS_TEXT_MAX, "%s%s%s:%u", bracketed ? "[" : "", address->host,
		 bracketed ? "]" : "", address->port);
}

bool address_to_sockaddr(const struct address *address, struct sockaddr_storage *out)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(address->port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(address->port)};

	if (inet_pton(AF_INET, address->host, &v4.sin_addr) == 1) {
		memset(out, 0, sizeof(*out));
		memcpy(out, &v4, sizeof(v4));
		return true;
	}
	if (inet_pton(AF_INET6, address->host, &v6.sin6_addr) == 1) {
		memset(out, 0, sizeof(*out));
		memcpy(out, &v6, sizeof(v6));
		return true;
	}
	return false;
}

bool address_from_sockaddr(const struct sockaddr *from, struct address *out)
{
	struct address address = {0};

	if (from->sa_family == AF_INET) {
		struct sockaddr_in v4;

		memcpy(&v4, from, sizeof(v4));
		inet_ntop(AF_INET, &v4.sin_addr, address.host, sizeof(address.host));
		address.port = ntohs(v4.sin_port);
	} else if (from->sa_family == AF_INET6) {
		struct sockaddr_in6 v6;

		memcpy(&v6, from, sizeof(v6));
		inet_ntop(AF_INET6, &v6.sin6_addr, address.host, sizeof(address.host));
		address.port = ntohs(v6.sin6_port);
	} else {
		return false;
	}
	*out = address;
	return true;
}
