/* See route.h.  Everything is read from the parsed head; nothing is kept. */
#include "scheduler/gateway/route.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "common/base/check.h"
#include "common/http/target.h"

enum { HOST_MAX = 256, PATH_MAX_DECODED = 2048 /* NUL included */ };

/* What the host does to its own guest agent; never for tenants. */
static const char *const internal_paths[] = {
	"/init",   "/freeze",  "/unfreeze", "/collapse",     "/fsfreeze",
	"/fsthaw", "/upgrade", "/sync",     "/observations",
};

/* Without the port, and without the brackets of an IPv6 address. */
static struct http_text host_name(struct http_text host)
{
	const char *colon;

	if (host.n && host.at[0] == '[') {
		const char *end = memchr(host.at, ']', host.n);

		if (end)
			return (struct http_text){host.at + 1, (size_t)(end - host.at - 1)};
		return host;
	}
	colon = host.n ? memchr(host.at, ':', host.n) : NULL;
	if (colon)
		host.n = (size_t)(colon - host.at);
	return host;
}

static bool is_address(struct http_text name)
{
	char text[HOST_MAX];
	struct in6_addr address;

	if (!http_text_copy(name, text, sizeof(text)))
		return false;
	return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

static bool read_port(struct http_text text, uint16_t *out_port)
{
	uint64_t port;

	if (text.n > 5 || !http_text_u64(text, &port) || port < 1 || port > UINT16_MAX)
		return false;
	*out_port = (uint16_t)port;
	return true;
}

/* Up to the first '-', in lower case when it comes from a host name; [a-z0-9]+ only. */
static bool read_sandbox(struct http_text text, bool is_folded, struct id *out_id)
{
	const char *dash = text.n ? memchr(text.at, '-', text.n) : NULL;
	struct id id = {{0}};

	if (dash)
		text.n = (size_t)(dash - text.at);
	if (!text.n || text.n >= ID_MAX)
		return false;
	for (size_t at = 0; at < text.n; at++) {
		char c = text.at[at];

		if (is_folded && c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')))
			return false;
		id.text[at] = c;
	}
	*out_id = id;
	return true;
}

static struct route refuse(enum outcome outcome)
{
	return (struct route){.outcome = outcome};
}

static struct route by_fields(const struct http_head *head)
{
	struct http_text sandbox = http_head_value(head, "e2b-sandbox-id");
	struct http_text port = http_head_value(head, "e2b-sandbox-port");
	struct route route = {.outcome = OUTCOME_ROUTED};

	if (!sandbox.n || !port.n)
		return refuse(OUTCOME_MISSING_HEADER);
	if (!read_port(port, &route.port))
		return refuse(OUTCOME_BAD_PORT);
	if (!read_sandbox(sandbox, false, &route.sandbox))
		return refuse(OUTCOME_BAD_SANDBOX);
	return route;
}

/* OUTCOME_BAD_HOST when the name has another shape than <port>-<id>.<anything>. */
static struct route by_host(struct http_text name)
{
	const char *dot = name.n ? memchr(name.at, '.', name.n) : NULL;
	const char *dash = name.n ? memchr(name.at, '-', name.n) : NULL;
	struct route route = {.outcome = OUTCOME_ROUTED};
	struct http_text port, sandbox;

	if (!dot || !dash || dash > dot || dash == name.at)
		return refuse(OUTCOME_BAD_HOST);
	port = (struct http_text){name.at, (size_t)(dash - name.at)};
	sandbox = (struct http_text){dash + 1, (size_t)(dot - dash - 1)};
	for (size_t at = 0; at < port.n; at++) {
		if (port.at[at] < '0' || port.at[at] > '9')
			return refuse(OUTCOME_BAD_HOST);
	}
	if (!read_port(port, &route.port))
		return refuse(OUTCOME_BAD_PORT);
	if (!read_sandbox(sandbox, true, &route.sandbox))
		return refuse(OUTCOME_BAD_SANDBOX);
	return route;
}

/*
 * The path as the laxest server might see it: decoded, without repeated or trailing slashes and dot
 * segments, so that no spelling of an internal path gets through.  False when it cannot be read, or
 * is longer than any path of envd's.
 */
static bool lax_path(struct http_text target, char out[PATH_MAX_DECODED + 1])
{
	char decoded[PATH_MAX_DECODED];
	struct http_text path, query;
	char *from = decoded, *segment;
	size_t n = 0;

	http_target_split(target, &path, &query);
	if (!http_percent_decode(path, false, decoded, sizeof(decoded)))
		return false;
	while ((segment = strsep(&from, "/\\"))) {
		size_t segment_n = strcspn(segment, ";");

		if (segment_n == 0 || (segment_n == 1 && segment[0] == '.'))
			continue;
		if (segment_n == 2 && !strncmp(segment, "..", 2)) {
			while (n && out[--n] != '/')
				;
			continue;
		}
		out[n++] = '/';
		memcpy(out + n, segment, segment_n);
		n += segment_n;
	}
	out[n] = '\0';
	return true;
}

static enum outcome judge_path(struct http_text target)
{
	char path[PATH_MAX_DECODED + 1];

	if (!lax_path(target, path))
		return OUTCOME_BAD_PATH;
	for (size_t at = 0; at < ARRAY_N(internal_paths); at++) {
		if (!strcasecmp(path, internal_paths[at]))
			return OUTCOME_INTERNAL;
	}
	return OUTCOME_ROUTED;
}

static bool is_volume_path(struct http_text target)
{
	static const char prefix[] = "/volumecontent/";

	return target.n >= sizeof(prefix) - 1 && !memcmp(target.at, prefix, sizeof(prefix) - 1);
}

struct route route_decide(const struct http_head *head, struct route_backends has)
{
	struct http_text name = host_name(http_head_value(head, "host"));
	bool is_shared = http_text_equal_nocase(name, "localhost") || is_address(name) ||
			 http_text_starts_nocase(name, "sandbox.");
	struct route route = is_shared ? by_fields(head) : by_host(name);

	bool is_api = http_text_starts_nocase(name, "api.");

	if (!http_head_find(head, "e2b-sandbox-id")) {
		if (has.volumes && is_volume_path(head->target) &&
		    (is_api || is_shared || route.outcome == OUTCOME_BAD_HOST))
			return (struct route){.outcome = OUTCOME_ROUTED, .is_volumes = true};
		if (has.api && is_api)
			return (struct route){.outcome = OUTCOME_ROUTED, .is_api = true};
	}
	if (route.outcome == OUTCOME_BAD_HOST) {
		route = by_fields(head);
		if (route.outcome == OUTCOME_MISSING_HEADER)
			return refuse(OUTCOME_BAD_HOST);
	}
	if (route.outcome == OUTCOME_ROUTED && route.port == ENVD_PORT)
		route.outcome = judge_path(head->target);
	return route;
}
