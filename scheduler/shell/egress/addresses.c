/* See addresses.h. */
#include "scheduler/shell/egress/addresses.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL_MAX = 63, NAME_MAX_N = 253 };

bool egress_range_parse(const char *text, struct wire_egress_range *out_range)
{
	const char *slash = strchr(text, '/');
	size_t address_n = slash ? (size_t)(slash - text) : strlen(text);
	struct in_addr address;
	uint32_t bits = 32;
	char copy[16];

	if (address_n >= sizeof(copy))
		return false;
	snprintf(copy, sizeof(copy), "%.*s", (int)address_n, text);
	if (inet_pton(AF_INET, copy, &address) != 1)
		return false;
	if (slash) {
		size_t digits = strspn(slash + 1, "0123456789");

		if (digits < 1 || digits > 2 || slash[1 + digits] ||
		    (digits == 2 && slash[1] == '0'))
			return false;
		bits = (uint32_t)atoi(slash + 1);
		if (bits > 32)
			return false;
	}
	*out_range = (struct wire_egress_range){.address = ntohl(address.s_addr), .bits = bits};
	return true;
}

bool egress_is_name(const char *text)
{
	size_t label_n = 0, labels = 0;

	if (strcmp(text, "*") == 0)
		return true;
	if (strncmp(text, "*.", 2) == 0)
		text += 2;
	if (strlen(text) > NAME_MAX_N - 2)
		return false;
	for (;; text++) {
		if (*text == '.' || !*text) {
			if (label_n < 1 || label_n > LABEL_MAX)
				return false;
			labels++;
			label_n = 0;
			if (!*text)
				break;
		} else if (isalnum((unsigned char)*text) || *text == '-' || *text == '_') {
			label_n++;
		} else {
			return false;
		}
	}
	return labels > 0;
}

bool egress_is_endpoint(const char *text, char out_host[254], uint16_t *out_port)
{
	const char *colon = strrchr(text, ':');
	size_t host_n = colon ? (size_t)(colon - text) : 0, digits;
	struct wire_egress_range range;
	int port;

	if (host_n < 1 || host_n >= 254)
		return false;
	memcpy(out_host, text, host_n);
	out_host[host_n] = 0;
	digits = strspn(colon + 1, "0123456789");
	port = atoi(colon + 1);
	if (digits < 1 || digits > 5 || colon[1 + digits] || port < 1 || port > UINT16_MAX)
		return false;
	*out_port = (uint16_t)port;
	/* Numbers and dots alone are no host's name. */
	if (!out_host[strspn(out_host, "0123456789.")])
		return egress_range_parse(out_host, &range);
	return out_host[0] != '*' && egress_is_name(out_host);
}
