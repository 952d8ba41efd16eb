/* See rules.h. */
#include "node-agent/egress/rules.h"

#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

int egress_rules_read(struct egress_rules *rules, const struct wire_bytes *bytes, struct err *err)
{
	size_t lists_n = wire_arena_need(&wire_shape_egress);
	struct egress_rules fresh = {
		.bytes = malloc(bytes->n + 1), .lists = malloc(lists_n), .bytes_n = bytes->n};
	struct wire_arena arena = {fresh.lists, lists_n, 0};
	int status;

	CHECK(fresh.bytes && fresh.lists);
	if (bytes->n)
		memcpy(fresh.bytes, bytes->data, bytes->n);
	status = wire_egress_decode(fresh.bytes, bytes->n, &arena, &fresh.wire, err);
	egress_rules_free(status ? &fresh : rules);
	if (status == 0)
		*rules = fresh;
	return status;
}

void egress_rules_free(struct egress_rules *rules)
{
	if (rules->bytes)
		explicit_bzero(rules->bytes, rules->bytes_n);
	free(rules->bytes);
	free(rules->lists);
	explicit_bzero(rules, sizeof(*rules));
}

bool egress_rules_share_proxy(const struct egress_rules *one, const struct egress_rules *other)
{
	const struct wire_egress *a = &one->wire, *b = &other->wire;

	return strcmp(a->proxy_host, b->proxy_host) == 0 && a->proxy_port == b->proxy_port &&
	       strcmp(a->proxy_user, b->proxy_user) == 0 &&
	       strcmp(a->proxy_password, b->proxy_password) == 0 && a->proxy_tls == b->proxy_tls &&
	       strcmp(a->proxy_tls_name, b->proxy_tls_name) == 0 &&
	       a->proxy_tls_ca.n == b->proxy_tls_ca.n &&
	       (!a->proxy_tls_ca.n ||
		memcmp(a->proxy_tls_ca.data, b->proxy_tls_ca.data, a->proxy_tls_ca.n) == 0);
}

/* How good a rule is for the name: 0 is not at all, and its own is more than any "*.x". */
static size_t fit(const char *rule, const char *name, size_t name_n)
{
	size_t rule_n = strlen(rule);

	if (rule_n == name_n && strncasecmp(rule, name, name_n) == 0)
		return SIZE_MAX;
	if (strncmp(rule, "*.", 2) != 0 || name_n < rule_n ||
	    strncasecmp(rule + 1, name + name_n - (rule_n - 1), rule_n - 1) != 0)
		return 0;
	return rule_n;
}

const struct wire_egress_rule *egress_rules_find(const struct egress_rules *rules, const char *name)
{
	const struct wire_egress_rule *best = NULL;
	size_t name_n = strlen(name), best_fit = 0;

	if (name_n && name[name_n - 1] == '.')
		name_n--;
	for (size_t i = 0; name_n && i < rules->wire.rules_n; i++) {
		size_t found = fit(rules->wire.rules[i].name, name, name_n);

		if (found > best_fit) {
			best_fit = found;
			best = &rules->wire.rules[i];
		}
	}
	return best;
}
