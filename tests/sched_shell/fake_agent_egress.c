/*
 * What sandboxes may reach, as their nodes are told: a line each, of the sandbox and what follows
 * in JSON.
 */
#include "tests/sched_shell/fake_agent.h"

#include "common/base/check.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static json_t *text_of(const struct wire_bytes *bytes)
{
	return json_stringn(bytes->n ? (const char *)bytes->data : "", bytes->n);
}

static json_t *ranges_of(const struct wire_egress_range *ranges, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_sprintf("%u.%u.%u.%u/%u", ranges[i].address >> 24,
							 ranges[i].address >> 16 & 255,
							 ranges[i].address >> 8 & 255,
							 ranges[i].address & 255, ranges[i].bits));
	return list;
}

static json_t *rule_of(const struct wire_egress_rule *rule)
{
	json_t *headers = json_object();

	for (size_t i = 0; i < rule->headers_n; i++) {
		const struct wire_egress_header *header = &rule->headers[i];

		json_object_set_new(headers, header->name,
				    header->problem[0]
					    ? json_pack("{s:s}", "problem", header->problem)
					    : text_of(&header->value));
	}
	return headers;
}

void egress_write(const struct wire_order *order)
{
	static _Alignas(WIRE_ALIGN) uint8_t lists[256 * 1024];
	struct wire_arena arena = {lists, sizeof(lists), 0};
	FILE *file = options.egress ? fopen(options.egress, "a") : NULL;
	struct wire_egress egress;
	json_t *rules, *json;
	struct err err;

	if (!file)
		return;
	CHECK(wire_egress_decode(order->egress.data, order->egress.n, &arena, &egress, &err) == 0);
	rules = json_object();
	for (size_t i = 0; i < egress.rules_n; i++)
		json_object_set_new(rules, egress.rules[i].name, rule_of(&egress.rules[i]));
	json = json_pack("{s:o,s:o,s:o,s:b,s:s,s:i,s:s,s:s,s:b,s:s,s:o,s:o,s:i}", "allow",
			 ranges_of(egress.allow, egress.allow_n), "deny",
			 ranges_of(egress.deny, egress.deny_n), "rules", rules, "mute", egress.mute,
			 "proxy_host", egress.proxy_host, "proxy_port", egress.proxy_port,
			 "proxy_user", egress.proxy_user, "proxy_password", egress.proxy_password,
			 "proxy_tls", egress.proxy_tls, "proxy_tls_name", egress.proxy_tls_name,
			 "proxy_tls_ca", text_of(&egress.proxy_tls_ca), "authority",
			 text_of(&egress.authority), "key_n", (int)egress.authority_key.n);
	CHECK(json);
	fprintf(file, "%s ", order->sandbox.text);
	CHECK(json_dumpf(json, file, JSON_COMPACT) == 0);
	fputc('\n', file);
	json_decref(json);
	CHECK(fclose(file) == 0);
}
