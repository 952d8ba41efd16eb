/* What a create asks for of `network`: checked, and brought into the form that is kept. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "scheduler/shell/egress/addresses.h"
#include "scheduler/shell/egress/encode.h"
#include "scheduler/shell/egress/hidden.h"

#include <ctype.h>
#include <sodium.h>
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
	return api_rules_check(call, asked);
}

static void keep(json_t *network, const json_t *from, const char *field, const char *as)
{
	json_t *value = json_object_get(from, field);

	if (value && !json_is_null(value))
		json_object_set(network, as, value);
}

/* What is asked for of what comes to the sandbox. */
static void keep_ingress(json_t *network, const json_t *asked)
{
	static const char *const kept[] = {"allowPublicTraffic", "maskRequestHost", "httpsPorts"};

	for (size_t i = 0; i < ARRAY_N(kept); i++)
		keep(network, asked, kept[i], kept[i]);
}

/* What is asked for of what leaves the sandbox. */
static void keep_egress(json_t *network, const json_t *asked, const json_t *iam)
{
	static const char *const kept[] = {"allowOut", "denyOut", "dnsServers", "egressProxy"};
	json_t *rules = api_rules_normal(json_object_get(asked, "rules"));

	for (size_t i = 0; i < ARRAY_N(kept); i++)
		keep(network, asked, kept[i], kept[i]);
	if (rules)
		json_object_set_new(network, "rules", rules);
	if (json_object_size(json_object_get(iam, "tokens")))
		json_object_set(network, "iam", (json_t *)iam);
}

/* Whether all that its rules name is there now. False: the call is ended. */
static bool check_filled(struct api_call *call, const char *network)
{
	const struct api_options *options = &call->api->options;
	const struct egress_sources sources = {
		.secrets = options->secrets, .store = call->api->store, .issuer = options->issuer};
	const struct id nobody = {{0}};
	uint8_t *bytes = malloc(WIRE_EGRESS_MAX);
	struct err problem;
	size_t n;

	CHECK(bytes);
	n = egress_encode(&sources, &call->tenant, &nobody, network, bytes, &problem);
	sodium_memzero(bytes, n);
	free(bytes);
	if (!problem.text[0])
		return true;
	api_fail(call, 400, "invalid_request", "", "rules: %s", problem.text);
	return false;
}

static size_t json_n(const json_t *json)
{
	return json ? json_dumpb(json, NULL, 0, JSON_COMPACT) : 0;
}

/* Takes over the reference.  False: it is too long, or names what is not there, and the call is
 * ended. */
static bool network_dump(struct api_call *call, json_t *network, char **out_text)
{
	size_t hidden_n = json_n(json_object_get(network, "rules")) +
			  json_n(json_object_get(network, "egressProxy")) +
			  json_n(json_object_get(network, "iam"));
	bool has_rules = json_object_get(network, "rules") != NULL;

	if (hidden_n > API_HIDDEN_MAX) {
		json_decref(network);
		api_fail(call, 400, "invalid_request", "",
			 "network: rules, egressProxy and iam should have at most %d bytes as JSON",
			 API_HIDDEN_MAX);
		return false;
	}
	hidden_seal(call->api->options.secrets, &call->tenant, network);
	*out_text = json_dumps(network, JSON_COMPACT | JSON_SORT_KEYS);
	CHECK(*out_text);
	json_decref(network);
	if (strlen(*out_text) > API_NETWORK_MAX)
		api_fail(call, 400, "invalid_request", "",
			 "network: should have at most %d bytes as JSON", API_NETWORK_MAX);
	else if (!has_rules || check_filled(call, *out_text))
		return true;
	free(*out_text);
	*out_text = NULL;
	return false;
}

bool api_network_take(struct api_call *call, char **out_text)
{
	const json_t *iam = json_object_get(call->body, "iam");
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
	if (!check_egress(call, asked) || !api_iam_check(call, iam))
		return false;
	network = json_object();
	keep_ingress(network, asked);
	keep_egress(network, asked, iam);
	keep(network, call->body, "allow_internet_access", "allowInternetAccess");
	if (json_object_size(network))
		return network_dump(call, network, out_text);
	json_decref(network);
	return true;
}

/* With its mounts and metadata they travel in one note. False: the call is ended. */
static bool check_note(struct api_call *call, const struct id *sandbox, const char *network)
{
	struct sqlite *reader = store_reader(call->api->store);
	size_t others_n = 0;
	struct err err;
	int got = -1;

	if (sqlite_bind(reader, STORE_READ_SANDBOX_EXTRA, SQL(SQL_TEXT(sandbox->text)), &err) == 0)
		got = sqlite_next(reader, STORE_READ_SANDBOX_EXTRA, &err);
	if (got == 1) {
		others_n = strlen(sqlite_text(reader, STORE_READ_SANDBOX_EXTRA, 1));
		sqlite_reset(reader, STORE_READ_SANDBOX_EXTRA);
		got = sqlite_bind(reader, STORE_READ_MOUNTS, SQL(SQL_TEXT(sandbox->text)), &err)
			      ? -1
			      : sqlite_next(reader, STORE_READ_MOUNTS, &err);
	}
	if (got == 1) {
		if (!sqlite_is_null(reader, STORE_READ_MOUNTS, 0))
			others_n += strlen(sqlite_text(reader, STORE_READ_MOUNTS, 0));
		sqlite_reset(reader, STORE_READ_MOUNTS);
	}
	if (got < 0)
		api_fail_store(call, &err);
	else if (strlen(network) + others_n > API_METADATA_MAX)
		api_fail(call, 400, "invalid_request", "",
			 "network: with its metadata it should have at most %d bytes as JSON",
			 API_METADATA_MAX);
	else
		return true;
	return false;
}

bool api_network_update(struct api_call *call, const struct id *sandbox, char **out_text)
{
	json_t *before, *network;
	struct err err;

	*out_text = NULL;
	if (!check_egress(call, call->body))
		return false;
	if (api_network_read(call, sandbox, &before, &err)) {
		api_fail_store(call, &err);
		return false;
	}
	/* What its tokens are for is set once. */
	if (before && hidden_open(call->api->options.secrets, &call->tenant, before, &err)) {
		json_decref(before);
		api_fail(call, 500, "internal", "", "%s", err.text);
		return false;
	}
	network = json_object();
	keep_ingress(network, before);
	keep_egress(network, call->body, json_object_get(before, "iam"));
	keep(network, call->body, "allow_internet_access", "allowInternetAccess");
	json_decref(before);
	if (!network_dump(call, network, out_text))
		return false;
	if (check_note(call, sandbox, *out_text))
		return true;
	free(*out_text);
	*out_text = NULL;
	return false;
}

void api_network_show(struct api_call *call, json_t *network)
{
	struct err err;

	if (call->is_operator)
		hidden_drop(network);
	else if (hidden_open(call->api->options.secrets, &call->tenant, network, &err))
		log_warn("api", "a sandbox's network cannot be shown", LOG_ERR(&err));
	json_object_del(network, "iam");
	json_object_del(json_object_get(network, "egressProxy"), "password");
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
