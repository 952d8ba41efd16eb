/* See encode.h. */
#include "scheduler/shell/egress/encode.h"

#include "common/base/check.h"
#include "scheduler/shell/egress/addresses.h"
#include "scheduler/shell/egress/authority.h"
#include "scheduler/shell/egress/hidden.h"
#include "scheduler/shell/egress/placeholders.h"
#include "scheduler/shell/vault.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What an encoded message points into while it is made. */
struct parts {
	struct wire_egress_range allow[EGRESS_ENTRIES_MAX], deny[EGRESS_ENTRIES_MAX];
	struct wire_egress_name names[EGRESS_ENTRIES_MAX];
	struct wire_egress_rule rules[EGRESS_RULES_MAX];
	struct wire_egress_header headers[EGRESS_RULES_MAX][EGRESS_HEADERS_MAX];
	struct authority authority;
};

/* ---- what may be reached; api/network.c saw to it that all of it is good and fits ---- */

static size_t ranges_of(const json_t *list, struct wire_egress_range out[EGRESS_ENTRIES_MAX],
			size_t n)
{
	json_t *entry;
	size_t i;

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

static void take_reach(const json_t *network, struct parts *parts, struct wire_egress *out)
{
	const json_t *allow = json_object_get(network, "allowOut");
	const json_t *servers = json_object_get(network, "dnsServers");

	out->allow = parts->allow;
	out->deny = parts->deny;
	out->names = parts->names;
	out->allow_n = ranges_of(allow, parts->allow, 0);
	out->names_n = names_of(allow, parts->names);
	out->deny_n = ranges_of(json_object_get(network, "denyOut"), parts->deny, 0);
	if (json_is_false(json_object_get(network, "allowInternetAccess"))) {
		/* All of them: what else is denied is in it. */
		parts->deny[0] = (struct wire_egress_range){0, 0};
		out->deny_n = 1;
	}
	/* Servers of names count where names are allowed; with an empty list there are none. */
	if (out->names_n)
		out->allow_n = ranges_of(servers, parts->allow, out->allow_n);
	out->mute = servers && json_array_size(servers) == 0;
}

static void take_proxy(const json_t *proxy, struct wire_egress *out)
{
	const char *address = json_string_value(json_object_get(proxy, "address"));
	const char *user = json_string_value(json_object_get(proxy, "username"));
	const char *password = json_string_value(json_object_get(proxy, "password"));
	const json_t *tls = json_object_get(proxy, "tls");
	const char *name = json_string_value(json_object_get(tls, "serverName"));
	const char *trusted = json_string_value(json_object_get(tls, "caCert"));

	if (!address || !egress_is_endpoint(address, out->proxy_host, &out->proxy_port))
		return;
	snprintf(out->proxy_user, sizeof(out->proxy_user), "%s", user ? user : "");
	snprintf(out->proxy_password, sizeof(out->proxy_password), "%s", password ? password : "");
	out->proxy_tls = json_is_object(tls);
	snprintf(out->proxy_tls_name, sizeof(out->proxy_tls_name), "%s", name ? name : "");
	if (trusted)
		out->proxy_tls_ca = (struct wire_bytes){(const uint8_t *)trusted, strlen(trusted)};
}

/* ---- what requests get ---- */

static void header_fill(const struct placeholders *placeholders, const char *name,
			const char *value, struct wire_egress_header *out, struct err *out_problem)
{
	struct err err;
	char *filled = placeholders_fill(placeholders, value, &err);

	snprintf(out->name, sizeof(out->name), "%s", name);
	if (filled) {
		out->value = (struct wire_bytes){(const uint8_t *)filled, strlen(filled)};
		return;
	}
	snprintf(out->problem, sizeof(out->problem), "%.200s", err.text);
	if (!out_problem->text[0])
		err_set(out_problem, "%.100s: %s", name, err.text);
}

static void take_rules(const struct placeholders *placeholders, const json_t *rules,
		       struct parts *parts, struct wire_egress *out, struct err *out_problem)
{
	json_t *list, *value;
	const char *host, *field;

	out->rules = parts->rules;
	json_object_foreach((json_t *)rules, host, list)
	{
		struct wire_egress_rule *rule = &parts->rules[out->rules_n];
		json_t *headers = json_object_get(
			json_object_get(json_array_get(list, 0), "transform"), "headers");

		if (out->rules_n == EGRESS_RULES_MAX || !json_object_size(headers))
			continue;
		snprintf(rule->name, sizeof(rule->name), "%s", host);
		rule->headers = parts->headers[out->rules_n++];
		json_object_foreach(headers, field, value)
		{
			if (rule->headers_n < EGRESS_HEADERS_MAX)
				header_fill(placeholders, field, json_string_value(value),
					    &rule->headers[rule->headers_n++], out_problem);
		}
	}
}

static void rules_clear(struct wire_egress *egress, const char *problem)
{
	for (size_t i = 0; i < egress->rules_n; i++) {
		for (size_t j = 0; j < egress->rules[i].headers_n; j++) {
			struct wire_egress_header *header = &egress->rules[i].headers[j];

			vault_free((char *)header->value.data);
			header->value = (struct wire_bytes){0};
			snprintf(header->problem, sizeof(header->problem), "%s", problem);
		}
	}
}

static void take_authority(const struct egress_sources *sources, const struct id *tenant,
			   struct parts *parts, struct wire_egress *out)
{
	struct err err;

	if (!out->rules_n)
		return;
	CHECK(authority_make(sources->secrets, tenant, &parts->authority, &err) == 0);
	out->authority = (struct wire_bytes){(const uint8_t *)parts->authority.certificate,
					     parts->authority.certificate_n};
	out->authority_key = (struct wire_bytes){parts->authority.key, parts->authority.key_n};
}

/* ---- all of it ---- */

size_t egress_encode(const struct egress_sources *sources, const struct id *tenant,
		     const struct id *sandbox, const char *network,
		     uint8_t out_bytes[WIRE_EGRESS_MAX], struct err *out_problem)
{
	json_t *json = network ? json_loads(network, 0, NULL) : NULL;
	struct parts *parts = calloc(1, sizeof(*parts));
	struct placeholders placeholders = {.secrets = sources->secrets,
					    .store = sources->store,
					    .issuer = sources->issuer,
					    .tenant = *tenant,
					    .sandbox = *sandbox,
					    .now_s = sources->now_s};
	struct wire_egress egress = {0};
	struct err err;
	size_t n = 0;

	CHECK(parts);
	out_problem->text[0] = 0;
	if (json)
		(void)hidden_open(sources->secrets, tenant, json, out_problem);
	placeholders.tokens = json_object_get(json_object_get(json, "iam"), "tokens");
	take_reach(json, parts, &egress);
	take_proxy(json_object_get(json, "egressProxy"), &egress);
	take_rules(&placeholders, json_object_get(json, "rules"), parts, &egress, out_problem);
	take_authority(sources, tenant, parts, &egress);
	if (wire_egress_encode(&egress, out_bytes, WIRE_EGRESS_MAX, &n, &err)) {
		/* Secrets have become longer than they were. */
		err_set(out_problem, "all the rules with their secrets are too long");
		rules_clear(&egress, out_problem->text);
		CHECK(wire_egress_encode(&egress, out_bytes, WIRE_EGRESS_MAX, &n, &err) == 0);
	}
	rules_clear(&egress, "");
	explicit_bzero(parts, sizeof(*parts));
	free(parts);
	json_decref(json);
	return n;
}
