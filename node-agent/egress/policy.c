/* See policy.h. */
#include "node-agent/egress/policy.h"

#include "common/base/check.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- ranges ---- */

/* A number of at most 10 digits that ends with the text or at one of `ends`; NULL: it is none, or
 * above max. */
static const char *number_parse(const char *text, const char *ends, uint32_t max, uint32_t *out)
{
	uint64_t value = 0;
	size_t n = 0;

	for (; isdigit((unsigned char)text[n]); n++) {
		value = value * 10 + (uint64_t)(text[n] - '0');
		if (n == 10 || value > max)
			return NULL;
	}
	/* "010" is eight to some and ten to others. */
	if (n == 0 || (n > 1 && text[0] == '0') || !strchr(ends, text[n]))
		return NULL;
	*out = (uint32_t)value;
	return text + n;
}

static const char *address_parse(const char *text, const char *ends, uint32_t *out_address)
{
	uint32_t address = 0, part;

	for (int i = 0; i < 4; i++) {
		text = number_parse(text, i < 3 ? "." : ends, 255, &part);
		if (!text || (i < 3 && *text != '.'))
			return NULL;
		address = address << 8 | part;
		text += i < 3;
	}
	*out_address = address;
	return text;
}

static uint32_t mask_of(uint32_t bits)
{
	return bits ? ~0u << (32 - bits) : 0;
}

bool egress_range_parse(const char *text, struct egress_range *out_range)
{
	struct egress_range range = {.bits = 32};

	text = address_parse(text, "/", &range.address);
	if (!text || (*text && !number_parse(text + 1, "", 32, &range.bits)))
		return false;
	range.address &= mask_of(range.bits);
	*out_range = range;
	return true;
}

bool egress_range_holds(const struct egress_range *range, uint32_t address)
{
	return ((address ^ range->address) & mask_of(range->bits)) == 0;
}

static bool any_holds(const struct egress_range *ranges, size_t n, uint32_t address)
{
	for (size_t i = 0; i < n; i++)
		if (egress_range_holds(&ranges[i], address))
			return true;
	return false;
}

/* ---- a tenant's rules ---- */

static void ranges_take(const struct wire_egress_range *ranges, size_t n, struct egress_range *out)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (struct egress_range){ranges[i].address & mask_of(ranges[i].bits),
					       ranges[i].bits};
}

int egress_policy_read(const struct wire_bytes *bytes, struct egress_policy *out_policy,
		       struct err *err)
{
	static _Alignas(WIRE_ALIGN) uint8_t lists[256 * 1024];
	struct wire_arena arena = {lists, sizeof(lists), 0};
	struct wire_egress rules;

	_Static_assert(EGRESS_NAME_MAX == sizeof(((struct wire_egress_name *)0)->name),
		       "a name fits");
	if (wire_egress_decode(bytes->data, bytes->n, &arena, &rules, err))
		return -1;
	memset(out_policy, 0, sizeof(*out_policy));
	out_policy->allow_n = rules.allow_n;
	out_policy->deny_n = rules.deny_n;
	out_policy->names_n = rules.names_n;
	out_policy->is_mute = rules.mute;
	out_policy->has_rules = rules.rules_n > 0;
	ranges_take(rules.allow, rules.allow_n, out_policy->allow);
	ranges_take(rules.deny, rules.deny_n, out_policy->deny);
	for (size_t i = 0; i < rules.names_n; i++)
		for (size_t c = 0; rules.names[i].name[c]; c++)
			out_policy->names[i][c] =
				(char)tolower((unsigned char)rules.names[i].name[c]);
	return 0;
}

static bool denies_all(const struct egress_policy *policy)
{
	for (size_t i = 0; i < policy->deny_n; i++)
		if (policy->deny[i].bits == 0)
			return true;
	return false;
}

bool egress_policy_is_closed(const struct egress_policy *policy)
{
	return denies_all(policy) && policy->allow_n == 0 && policy->names_n == 0;
}

/* ---- an operator's settings ---- */

static bool server_parse(const char *text, struct egress_server *out_server)
{
	uint32_t port = EGRESS_DNS_PORT;

	text = address_parse(text, ":", &out_server->address);
	if (!text || (*text && !number_parse(text + 1, "", UINT16_MAX, &port)) || port == 0)
		return false;
	out_server->port = (uint16_t)port;
	return true;
}

static bool setting_take(struct egress_host *host, const char *key, char *value)
{
	char *rest = NULL, *word;

	if (strcmp(key, "connections") == 0)
		return number_parse(value, "", EGRESS_CONNECTIONS_MAX, &host->connections_max) &&
		       host->connections_max;
	if (strcmp(key, "ca") == 0)
		return *value && (size_t)snprintf(host->trusted_path, EGRESS_PATH_MAX, "%s",
						  value) < EGRESS_PATH_MAX;
	if (strcmp(key, "dns") != 0 && strcmp(key, "open") != 0)
		return false;
	for (word = strtok_r(value, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
		if (key[0] == 'd') {
			if (host->servers_n == EGRESS_SERVERS_MAX ||
			    !server_parse(word, &host->servers[host->servers_n++]))
				return false;
		} else if (host->open_n == EGRESS_RANGES_MAX ||
			   !egress_range_parse(word, &host->open[host->open_n++])) {
			return false;
		}
	}
	return true;
}

int egress_host_parse(const char *text, struct egress_host *out_host, struct err *err)
{
	struct egress_host host = {.connections_max = EGRESS_CONNECTIONS_MAX,
				   .trusted_path = "/etc/ssl/certs/ca-certificates.crt"};
	char copy[EGRESS_HOST_TEXT_MAX], *rest = NULL, *setting, *value;

	if ((size_t)snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy))
		return err_set(err, "settings for the sandboxes' network: too long");
	for (setting = strtok_r(copy, ";", &rest); setting; setting = strtok_r(NULL, ";", &rest)) {
		value = strchr(setting, '=');
		if (value)
			*value++ = 0;
		if (!value || !setting_take(&host, setting, value))
			return err_set(err, "settings for the sandboxes' network: %.64s", setting);
	}
	*out_host = host;
	return 0;
}

/* ---- decisions ---- */

/*
 * Networks that are somebody's own: this host's, its neighbours', its cloud's.  A sandbox is a
 * stranger to all of them, so they are opened by an operator or not at all.
 */
static const struct egress_range closed[] = {
	{0x00000000, 8},  /* this network */
	{0x0a000000, 8},  /* private, RFC 1918; so too 172.16/12 and 192.168/16 */
	{0x64400000, 10}, /* carriers' */
	{0x7f000000, 8},  /* loopback */
	{0xa9fe0000, 16}, /* link-local: where clouds answer for their machines */
	{0xac100000, 12}, /* private */
	{0xc0000000, 24}, /* protocol assignments */
	{0xc0a80000, 16}, /* private */
	{0xc6120000, 15}, /* benchmarks */
	{0xe0000000, 3},  /* groups, reserved, broadcast */
};

bool egress_is_opened(const struct egress_host *host, uint32_t address)
{
	return any_holds(host->open, host->open_n, address);
}

bool egress_is_barred(const struct egress_host *host, uint32_t address)
{
	return any_holds(closed, ARRAY_N(closed), address) && !egress_is_opened(host, address);
}

/*
 * May this address be reached?  The first that fits decides:
 *   1. a closed network that the operator has not opened: no
 *   2. the tenant allows it: yes, whatever the tenant denies
 *   3. the tenant does not deny it: yes
 *   4. the tenant allows names: if it is asked for by one of them
 *   5. no
 */
enum egress_verdict egress_judge(const struct egress_policy *policy, const struct egress_host *host,
				 uint32_t address)
{
	if (egress_is_barred(host, address))
		return EGRESS_DENY;
	if (any_holds(policy->allow, policy->allow_n, address) ||
	    !any_holds(policy->deny, policy->deny_n, address))
		return EGRESS_ALLOW;
	return policy->names_n ? EGRESS_BY_NAME : EGRESS_DENY;
}

static bool name_fits(const char *rule, const char *name, size_t name_n)
{
	size_t rule_n = strlen(rule);

	if (strcmp(rule, "*") == 0)
		return true;
	if (strncmp(rule, "*.", 2) == 0) {
		/* ".x" at the end, and something before it */
		rule++, rule_n--;
		return name_n > rule_n && strncasecmp(name + name_n - rule_n, rule, rule_n) == 0;
	}
	return name_n == rule_n && strncasecmp(name, rule, rule_n) == 0;
}

bool egress_name_is_allowed(const struct egress_policy *policy, const char *name)
{
	size_t name_n = strlen(name);

	if (name_n && name[name_n - 1] == '.')
		name_n--;
	for (size_t i = 0; name_n && i < policy->names_n; i++)
		if (name_fits(policy->names[i], name, name_n))
			return true;
	return false;
}

bool egress_name_is_answered(const struct egress_policy *policy, const char *name)
{
	return !denies_all(policy) || (!policy->is_mute && egress_name_is_allowed(policy, name));
}
