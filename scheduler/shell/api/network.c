/* What a create asks for of `network`: checked, and brought into the form that is kept. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"

#include <ctype.h>
#include <string.h>

enum {
	NETWORK_HTTPS_PORTS_MAX = 64,
	NETWORK_ENVD_PORT = 49983,
};

static const char port_placeholder[] = "${PORT}";

/* A name or an IPv4 address, perhaps with a port, perhaps with "${PORT}" in it. */
static bool is_host(const char *text)
{
	size_t digits = 0;
	bool in_port = false;

	for (; *text; text++) {
		if (strncmp(text, port_placeholder, strlen(port_placeholder)) == 0) {
			text += strlen(port_placeholder) - 1;
			digits++;
		} else if (*text == ':' && !in_port) {
			in_port = true;
			digits = 0;
		} else if (in_port ? !isdigit((unsigned char)*text) || ++digits > 5
				   : !isalnum((unsigned char)*text) && !strchr("-._", *text)) {
			return false;
		}
	}
	return !in_port || digits;
}

static void check_https_ports(const json_t *ports, struct problems *problems)
{
	json_t *number;
	size_t i;

	if (!json_is_array(ports) || json_array_size(ports) > NETWORK_HTTPS_PORTS_MAX) {
		problems_add(problems, "body", "httpsPorts", "list_type",
			     "should be a list of at most %d ports", NETWORK_HTTPS_PORTS_MAX);
		return;
	}
	json_array_foreach((json_t *)ports, i, number)
	{
		json_int_t port = json_integer_value(number);

		if (port >= 1 && port <= UINT16_MAX && port != NETWORK_ENVD_PORT)
			continue;
		problems_add(problems, "body", "httpsPorts", "value_error",
			     "should have ports of 1 to 65535, without envd's %d",
			     NETWORK_ENVD_PORT);
		return;
	}
}

bool api_network_take(struct api_call *call, char **out_text)
{
	static const char *const kept[] = {"allowPublicTraffic", "maskRequestHost", "httpsPorts"};
	const json_t *asked = json_object_get(call->body, "network");
	const char *host = json_string_value(json_object_get(asked, "maskRequestHost"));
	const json_t *ports = json_object_get(asked, "httpsPorts");
	struct problems problems = {0};
	json_t *network;

	*out_text = NULL;
	if (host && !is_host(host))
		problems_add(&problems, "body", "maskRequestHost", "value_error",
			     "mask request host is not valid: %s", host);
	if (ports)
		check_https_ports(ports, &problems);
	if (problems.n) {
		api_fail_problems(call, &problems);
		return false;
	}
	network = json_object();
	for (size_t i = 0; i < ARRAY_N(kept); i++) {
		if (json_object_get(asked, kept[i]))
			json_object_set(network, kept[i], json_object_get(asked, kept[i]));
	}
	if (json_object_size(network)) {
		*out_text = json_dumps(network, JSON_COMPACT | JSON_SORT_KEYS);
		CHECK(*out_text);
		CHECK(strlen(*out_text) <= API_NETWORK_MAX);
	}
	json_decref(network);
	return true;
}

int api_network_read(struct api_call *call, const struct id *sandbox, json_t **out_network,
		     struct err *err)
{
	struct sqlite *reader = store_reader(call->api->store);
	int got;

	*out_network = NULL;
	if (sqlite_bind(reader, STORE_READ_SANDBOX_NETWORK, SQL(SQL_TEXT(sandbox->text)), err))
		return -1;
	got = sqlite_next(reader, STORE_READ_SANDBOX_NETWORK, err);
	if (got == 1) {
		*out_network =
			json_loads(sqlite_text(reader, STORE_READ_SANDBOX_NETWORK, 0), 0, NULL);
		sqlite_reset(reader, STORE_READ_SANDBOX_NETWORK);
	}
	return got < 0 ? -1 : 0;
}
