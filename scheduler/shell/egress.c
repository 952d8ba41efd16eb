/* See egress.h. */
#include "scheduler/shell/egress.h"

#include "common/base/check.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <jansson.h>
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

static size_t ranges_of(const json_t *list, struct wire_egress_range out[EGRESS_ENTRIES_MAX])
{
	json_t *entry;
	size_t i, n = 0;

	json_array_foreach((json_t *)list, i, entry)
	{
		if (n < EGRESS_ENTRIES_MAX && egress_range_parse(json_string_value(entry), &out[n]))
			n++;
	}
	return n;
}

static size_t names_of(const json_t *list, struct wire_egress_name out[EGRESS_ENTRIES_MAX])
{
	struct wire_egress_range range;
	json_t *entry;
	size_t i, n = 0;

	json_array_foreach((json_t *)list, i, entry)
	{
		if (n < EGRESS_ENTRIES_MAX && !egress_range_parse(json_string_value(entry), &range))
			snprintf(out[n++].name, sizeof(out[0].name), "%s",
				 json_string_value(entry));
	}
	return n;
}

size_t egress_encode(const char *network, uint8_t out_bytes[WIRE_EGRESS_MAX])
{
	json_t *json = network ? json_loads(network, 0, NULL) : NULL;
	const json_t *allow = json_object_get(json, "allowOut");
	struct wire_egress_range allowed[EGRESS_ENTRIES_MAX], denied[EGRESS_ENTRIES_MAX];
	struct wire_egress_name names[EGRESS_ENTRIES_MAX];
	struct wire_egress egress = {.allow = allowed, .deny = denied, .names = names};
	struct err err;
	size_t n = 0;

	/* api/network.c saw to it that all of it is good and fits. */
	egress.allow_n = ranges_of(allow, allowed);
	egress.names_n = names_of(allow, names);
	egress.deny_n = ranges_of(json_object_get(json, "denyOut"), denied);
	if (json_is_false(json_object_get(json, "allowInternetAccess"))) {
		/* All of them: what else is denied is in it. */
		denied[0] = (struct wire_egress_range){0, 0};
		egress.deny_n = 1;
	}
	json_decref(json);
	CHECK(wire_egress_encode(&egress, out_bytes, WIRE_EGRESS_MAX, &n, &err) == 0);
	return n;
}
