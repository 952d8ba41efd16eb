/* What a create asks for of `network`: checked, and brought into the form that is kept. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "scheduler/shell/egress.h"

#include <ctype.h>
#include <stdlib.h>
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

/* E2B's words. */
static const char domains_need_deny_all[] =
	"When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out "
	"to block all other traffic.";

static void check_list(const json_t *list, const char *field, struct problems *problems)
{
	json_t *entry;
	size_t i;
	bool is_good = json_is_array(list) && json_array_size(list) <= EGRESS_ENTRIES_MAX;

	json_array_foreach((json_t *)list, i, entry) is_good = is_good && json_is_string(entry);
	if (list && !json_is_null(list) && !is_good)
		problems_add(problems, "body", field, "list_type",
			     "should be a list of at most %d texts", EGRESS_ENTRIES_MAX);
}

/* False: the call is ended, in E2B's words where it has some. */
static bool check_egress(struct api_call *call, const json_t *asked)
{
	const json_t *allow = json_object_get(asked, "allowOut");
	const json_t *deny = json_object_get(asked, "denyOut");
	bool denies_all = false, has_names = false;
	struct problems problems = {0};
	struct wire_egress_range range;
	json_t *entry;
	size_t i;

	check_list(allow, "allowOut", &problems);
	check_list(deny, "denyOut", &problems);
	if (problems.n) {
		api_fail_problems(call, &problems);
		return false;
	}
	json_array_foreach((json_t *)deny, i, entry)
	{
		const char *text = json_string_value(entry);

		if (!egress_range_parse(text, &range)) {
			api_fail(call, 400, "invalid_request", "", "invalid denied CIDR %s", text);
			return false;
		}
		denies_all = denies_all || range.bits == 0;
	}
	json_array_foreach((json_t *)allow, i, entry)
	{
		const char *text = json_string_value(entry);

		if (egress_range_parse(text, &range))
			continue;
		has_names = true;
		/* Numbers and dots alone are no host's name. */
		if (!egress_is_name(text) || !text[strspn(text, "0123456789./:")]) {
			api_fail(call, 400, "invalid_request", "", "invalid allowed address %s",
				 text);
			return false;
		}
	}
	if (has_names && !denies_all) {
		api_fail(call, 400, "invalid_request", "", "%s", domains_need_deny_all);
		return false;
	}
	return true;
}

static void keep(json_t *network, const json_t *from, const char *field, const char *as)
{
	json_t *value = json_object_get(from, field);

	if (value && !json_is_null(value))
		json_object_set(network, as, value);
}

/* Takes over the reference. False: it is too long, and the call is ended. */
static bool network_dump(struct api_call *call, json_t *network, char **out_text)
{
	if (json_object_size(network)) {
		*out_text = json_dumps(network, JSON_COMPACT | JSON_SORT_KEYS);
		CHECK(*out_text);
	}
	json_decref(network);
	if (!*out_text || strlen(*out_text) <= API_NETWORK_MAX)
		return true;
	free(*out_text);
	*out_text = NULL;
	api_fail(call, 400, "invalid_request", "", "network: should have at most %d bytes as JSON",
		 API_NETWORK_MAX);
	return false;
}

bool api_network_take(struct api_call *call, char **out_text)
{
	static const char *const kept[] = {"allowPublicTraffic", "maskRequestHost", "httpsPorts",
					   "allowOut", "denyOut"};
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
	if (!check_egress(call, asked))
		return false;
	network = json_object();
	for (size_t i = 0; i < ARRAY_N(kept); i++)
		keep(network, asked, kept[i], kept[i]);
	keep(network, call->body, "allow_internet_access", "allowInternetAccess");
	return network_dump(call, network, out_text);
}

bool api_network_update(struct api_call *call, const struct id *sandbox, char **out_text)
{
	static const char *const kept[] = {"allowPublicTraffic", "maskRequestHost", "httpsPorts"};
	json_t *before, *network = json_object();
	struct sqlite *reader = store_reader(call->api->store);
	size_t metadata_n = 0;
	struct err err;

	*out_text = NULL;
	if (!check_egress(call, call->body)) {
		json_decref(network);
		return false;
	}
	if (api_network_read(call, sandbox, &before, &err) ||
	    sqlite_bind(reader, STORE_READ_SANDBOX_EXTRA, SQL(SQL_TEXT(sandbox->text)), &err)) {
		json_decref(network);
		api_fail_store(call, &err);
		return false;
	}
	if (sqlite_next(reader, STORE_READ_SANDBOX_EXTRA, &err) == 1) {
		metadata_n = strlen(sqlite_text(reader, STORE_READ_SANDBOX_EXTRA, 1));
		sqlite_reset(reader, STORE_READ_SANDBOX_EXTRA);
	}
	if (sqlite_bind(reader, STORE_READ_MOUNTS, SQL(SQL_TEXT(sandbox->text)), &err) == 0 &&
	    sqlite_next(reader, STORE_READ_MOUNTS, &err) == 1) {
		if (!sqlite_is_null(reader, STORE_READ_MOUNTS, 0))
			metadata_n += strlen(sqlite_text(reader, STORE_READ_MOUNTS, 0));
		sqlite_reset(reader, STORE_READ_MOUNTS);
	}
	for (size_t i = 0; i < ARRAY_N(kept); i++)
		keep(network, before, kept[i], kept[i]);
	json_decref(before);
	keep(network, call->body, "allowOut", "allowOut");
	keep(network, call->body, "denyOut", "denyOut");
	keep(network, call->body, "allow_internet_access", "allowInternetAccess");
	*out_text = json_dumps(network, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(network);
	CHECK(*out_text);
	/* With its mounts they travel in one note. */
	if (strlen(*out_text) <= API_NETWORK_MAX &&
	    strlen(*out_text) + metadata_n <= API_METADATA_MAX)
		return true;
	free(*out_text);
	*out_text = NULL;
	api_fail(call, 400, "invalid_request", "",
		 "network: should have at most %d bytes as JSON, and %d with its metadata",
		 API_NETWORK_MAX, API_METADATA_MAX);
	return false;
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
