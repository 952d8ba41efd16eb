/* What a tenant asks for of its sandbox's requests on their way out: checked. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "common/http/text.h"
#include "scheduler/shell/egress/addresses.h"
#include "scheduler/shell/egress/encode.h"
#include "scheduler/shell/egress/identity.h"

#include <ctype.h>
#include <string.h>

enum {
	SERVERS_MAX = 10,
	HEADER_NAME_MAX = 128, /* as proto/wire.def has it */
	HEADER_VALUE_MAX = 2048,
	TOKEN_NAME_MAX = 128,
};

static bool fail(struct api_call *call, const char *format, const char *text)
{
	api_fail(call, 400, "invalid_request", "", format, text);
	return false;
}

/* ---- servers of names, and the proxy ---- */

static bool check_servers(struct api_call *call, const json_t *network)
{
	const json_t *servers = json_object_get(network, "dnsServers");
	size_t allowed_n = json_array_size(json_object_get(network, "allowOut")), i;
	struct wire_egress_range range;
	json_t *entry;

	if (!servers)
		return true;
	if (!json_is_array(servers) || json_array_size(servers) > SERVERS_MAX)
		return fail(call, "dnsServers: should be a list of at most %s IPv4 addresses",
			    "10");
	json_array_foreach((json_t *)servers, i, entry)
	{
		const char *text = json_string_value(entry);

		if (!text || strchr(text, '/') || !egress_range_parse(text, &range))
			return fail(call, "dnsServers: invalid IPv4 address %s", text ? text : "");
	}
	if (allowed_n + json_array_size(servers) > EGRESS_ENTRIES_MAX)
		return fail(call, "dnsServers: with allowOut there should be at most %s entries",
			    "64");
	return true;
}

static bool check_proxy(struct api_call *call, const json_t *proxy)
{
	const char *address = json_string_value(json_object_get(proxy, "address"));
	const char *user = json_string_value(json_object_get(proxy, "username"));
	const json_t *tls = json_object_get(proxy, "tls");
	const char *name = json_string_value(json_object_get(tls, "serverName"));
	const char *trusted = json_string_value(json_object_get(tls, "caCert"));
	char host[254];
	uint16_t port;

	if (!proxy)
		return true;
	if (!egress_is_endpoint(address, host, &port))
		return fail(call, "egressProxy.address: should be HOST:PORT, not %s", address);
	if (json_object_get(proxy, "password") && !(user && *user))
		return fail(call, "egressProxy.password: is only valid with a username%s", "");
	if (tls && !json_is_true(json_object_get(tls, "enabled")) && json_object_size(tls) > 1)
		return fail(call,
			    "egressProxy.tls: when it is not enabled nothing else of it may "
			    "be set%s",
			    "");
	if (name && (*name == '*' || !egress_is_name(name)))
		return fail(call, "egressProxy.tls.serverName: is no name of a host: %s", name);
	if (trusted && !strstr(trusted, "-----BEGIN CERTIFICATE-----"))
		return fail(call, "egressProxy.tls.caCert: has no certificate in PEM%s", "");
	return true;
}

/* ---- rules ---- */

/* What says where a message ends, or is for one connection alone, is not a tenant's to set. */
static bool is_framing(const char *name)
{
	static const char *const framing[] = {
		"connection", "content-length",    "expect",
		"keep-alive", "proxy-connection",  "te",
		"trailer",    "transfer-encoding", "upgrade",
	};

	for (size_t i = 0; i < ARRAY_N(framing); i++)
		if (strcasecmp(name, framing[i]) == 0)
			return true;
	return false;
}

static bool is_header_name(const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < n; i++)
		if (!http_is_token_char((unsigned char)name[i]))
			return false;
	return n > 0 && n <= HEADER_NAME_MAX && !is_framing(name);
}

static bool is_header_value(const char *value)
{
	for (const char *at = value; *at; at++)
		if ((unsigned char)*at == 0x7f || ((unsigned char)*at < 0x20 && *at != '\t'))
			return false;
	return strlen(value) <= HEADER_VALUE_MAX;
}

static bool check_headers(struct api_call *call, const char *host, const json_t *headers)
{
	const char *name, *value;
	json_t *entry;

	if (!json_is_object(headers) || json_object_size(headers) > EGRESS_HEADERS_MAX)
		return fail(call, "rules: headers of %s should be an object of at most 20", host);
	json_object_foreach((json_t *)headers, name, entry)
	{
		value = json_string_value(entry);
		if (!is_header_name(name))
			return fail(call, "rules: %s cannot be set as a header", name);
		if (!value || strlen(value) != json_string_length(entry) || !is_header_value(value))
			return fail(call,
				    "rules: the value of %s should be text of at most 2048 bytes, "
				    "without line breaks",
				    name);
	}
	return true;
}

static bool check_rule(struct api_call *call, const char *host, const json_t *list)
{
	const json_t *rule = json_array_get(list, 0);
	const json_t *transform = json_object_get(rule, "transform");
	const json_t *headers = json_object_get(transform, "headers");

	if (strcmp(host, "*") == 0 || !egress_is_name(host) || !host[strspn(host, "0123456789./:")])
		return fail(call, "rules: invalid domain %s", host);
	if (!json_is_array(list) || json_array_size(list) > 1 || (rule && !json_is_object(rule)))
		return fail(call, "rules: there should be a list of one transform for %s", host);
	if (transform && !json_is_object(transform))
		return fail(call, "rules: the transform for %s should be an object", host);
	return !headers || check_headers(call, host, headers);
}

bool api_rules_check(struct api_call *call, const json_t *network)
{
	const json_t *rules = json_object_get(network, "rules");
	json_t *list, *normal;
	const char *host;
	size_t normal_n;

	if (!check_servers(call, network) ||
	    !check_proxy(call, json_object_get(network, "egressProxy")))
		return false;
	if (!rules)
		return true;
	if (!json_is_object(rules) || json_object_size(rules) > EGRESS_RULES_MAX)
		return fail(call, "rules: should be an object of at most %s domains", "10");
	json_object_foreach((json_t *)rules, host, list)
	{
		if (!check_rule(call, host, list))
			return false;
	}
	normal = api_rules_normal(rules);
	normal_n = json_object_size(normal);
	json_decref(normal);
	return normal_n == json_object_size(rules) ||
	       fail(call, "rules: a domain is there twice, in small letters and in large ones%s",
		    "");
}

json_t *api_rules_normal(const json_t *rules)
{
	json_t *normal, *list;
	const char *host;

	if (!json_object_size(rules))
		return NULL;
	normal = json_object();
	json_object_foreach((json_t *)rules, host, list)
	{
		char name[254];
		size_t n = 0;

		for (; host[n] && n < sizeof(name) - 1; n++)
			name[n] = (char)tolower((unsigned char)host[n]);
		name[n] = 0;
		json_object_set(normal, name, list);
	}
	return normal;
}

/* ---- identity ---- */

/* What could not stand in a placeholder. */
static bool is_token_name(const char *name)
{
	for (const char *at = name; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f || *at == '{' || *at == '}')
			return false;
	return *name && strlen(name) <= TOKEN_NAME_MAX;
}

bool api_iam_check(struct api_call *call, const json_t *iam)
{
	const json_t *tokens = json_object_get(iam, "tokens");
	const char *name, *audience, *type;
	json_t *token;

	if (!tokens)
		return true;
	if (!json_is_object(tokens) || json_object_size(tokens) > IDENTITY_TOKENS_MAX)
		return fail(call, "iam.tokens: should be an object of at most %s tokens", "5");
	json_object_foreach((json_t *)tokens, name, token)
	{
		audience = json_string_value(json_object_get(token, "audience"));
		type = json_string_value(json_object_get(token, "tokenType"));
		if (!is_token_name(name))
			return fail(call, "iam.tokens: invalid name '%s'", name);
		if (!audience || !*audience || strlen(audience) > IDENTITY_AUDIENCE_MAX)
			return fail(call,
				    "iam.tokens: %s should have an audience of 1 to 1024 bytes",
				    name);
		if (!type || strcmp(type, "JWT-SVID") != 0)
			return fail(call, "iam.tokens: the tokenType of %s should be JWT-SVID",
				    name);
	}
	if (json_object_size(tokens) && !call->api->options.issuer[0])
		return fail(call,
			    "iam: this fleet issues no identity tokens; its operator sets "
			    "identity-issuer or domain%s",
			    "");
	return true;
}
