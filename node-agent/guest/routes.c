/* The table of routes: see routes.h. */
#include "node-agent/guest/routes.h"

#include <time.h>

#include "common/base/check.h"
#include "node-agent/guest/connect.h"
#include "node-agent/guest/guest.h"
#include "node-agent/guest/signature.h"

static const struct route routes[] = {
#define ROUTE(method, path, kind, auth, handler)                                                   \
	{method, path, ROUTE_##kind, ROUTE_##auth, handler},
#include "node-agent/guest/routes.def"
#undef ROUTE
};

enum route_match route_find(struct http_text method, struct http_text path,
			    const struct route **out_route)
{
	enum route_match match = ROUTE_NO_PATH;

	if (http_text_equal(method, "HEAD"))
		method = http_text_of("GET");
	for (size_t i = 0; i < ARRAY_N(routes); i++) {
		if (!http_text_equal(path, routes[i].path))
			continue;
		match = ROUTE_NO_METHOD;
		if (http_text_equal(method, routes[i].method)) {
			*out_route = &routes[i];
			return ROUTE_FOUND;
		}
	}
	return match;
}

bool route_allows(const struct route *route, const char *token, struct http_text given)
{
	if (!token[0])
		return true;
	switch (route->auth) {
	case ROUTE_OPEN:
	case ROUTE_INIT:
		return true;
	case ROUTE_TOKEN:
	case ROUTE_FILES:
		return settings_token_equal(token, given);
	}
	return false;
}

/* What a request without the right token needs to be let in all the same: NULL when it has it, or
 * E2B's words. */
static const char *refusal(const struct conn *conn, const char *token, struct http_text given)
{
	if (conn->route->auth != ROUTE_FILES)
		return "unauthorized access, please provide a valid access token or method signing "
		       "if supported";
	if (given.n)
		return "access token present in header but does not match";
	return signature_check(conn->query, http_text_equal(conn->head.method, "POST"), token,
			       time(NULL));
}

void route_begin(struct conn *conn)
{
	const char *token = conn->guest->settings.token;
	struct http_text given;
	const char *problem;

	switch (route_find(conn->head.method, conn->path, &conn->route)) {
	case ROUTE_NO_PATH:
		conn_answer_error(conn, 404, "no such path");
		return;
	case ROUTE_NO_METHOD:
		conn_answer_error(conn, 405, "this path does not take that method");
		return;
	case ROUTE_FOUND:
		break;
	}
	given = http_head_value(&conn->head, "x-access-token");
	problem = route_allows(conn->route, token, given) ? NULL : refusal(conn, token, given);
	if (problem) {
		conn_answer_error(conn, 401, "%s", problem);
		return;
	}
	switch (conn->route->kind) {
	case ROUTE_UPLOAD:
		conn->route->handle(conn, NULL);
		return;
	case ROUTE_UNARY:
	case ROUTE_STREAM:
	case ROUTE_INPUT:
		connect_check_head(conn);
		return;
	case ROUTE_PLAIN:
	case ROUTE_JSON:
		return;
	}
}

void route_dispatch(struct conn *conn)
{
	json_t *request;

	switch (conn->route->kind) {
	case ROUTE_PLAIN:
	case ROUTE_JSON:
	case ROUTE_UPLOAD:
		conn->route->handle(conn, NULL);
		return;
	case ROUTE_INPUT:
		connect_messages(conn);
		return;
	case ROUTE_UNARY:
	case ROUTE_STREAM:
		request = connect_request(conn);
		if (request)
			conn->route->handle(conn, request);
		json_decref(request);
		return;
	}
}
