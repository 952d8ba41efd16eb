/* See ingress.h. */
#include "scheduler/shell/ingress.h"

#include "common/base/check.h"

#include <jansson.h>
#include <stdio.h>

enum { PORTS_MAX = 64 };

size_t ingress_encode(const char *network, uint8_t out_bytes[WIRE_INGRESS_MAX])
{
	json_t *json = json_loads(network, 0, NULL), *number;
	const char *host = json_string_value(json_object_get(json, "maskRequestHost"));
	struct wire_ingress ingress = {
		.private_traffic = json_is_false(json_object_get(json, "allowPublicTraffic")),
	};
	struct wire_port ports[PORTS_MAX];
	struct err err;
	size_t i, n = 0;

	/* api/network.c saw to it that all of it fits. */
	if (host)
		snprintf(ingress.mask_host, sizeof(ingress.mask_host), "%s", host);
	json_array_foreach(json_object_get(json, "httpsPorts"), i, number)
	{
		if (ingress.https_ports_n < PORTS_MAX)
			ports[ingress.https_ports_n++].number =
				(uint16_t)json_integer_value(number);
	}
	ingress.https_ports = ports;
	json_decref(json);
	if (!ingress.private_traffic && !ingress.mask_host[0] && !ingress.https_ports_n)
		return 0;
	CHECK(wire_ingress_encode(&ingress, out_bytes, WIRE_INGRESS_MAX, &n, &err) == 0);
	return n;
}
