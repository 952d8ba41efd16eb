/* The table of routes, who may use each, and the way from a request to its handler. */
#ifndef FLOTILLA_GUEST_ROUTES_H
#define FLOTILLA_GUEST_ROUTES_H

#include <jansson.h>

#include "node-agent/guest/conn.h"

enum route_kind {
	ROUTE_PLAIN,
	ROUTE_JSON,
	ROUTE_UPLOAD,
	ROUTE_UNARY,
	ROUTE_STREAM,
	ROUTE_INPUT,
};
enum route_auth { ROUTE_OPEN, ROUTE_TOKEN, ROUTE_FILES, ROUTE_INIT };

/* request: the message of UNARY and STREAM, each of INPUT's and NULL at their end, borrowed; NULL
 * for the other kinds. */
typedef void route_handler_fn(struct conn *conn, json_t *request);

struct route {
	const char *method;
	const char *path;
	enum route_kind kind;
	enum route_auth auth;
	route_handler_fn *handle;
};

#define ROUTE(method, path, kind, auth, handler) route_handler_fn handler;
#include "node-agent/guest/routes.def"
#undef ROUTE

enum route_match { ROUTE_FOUND, ROUTE_NO_PATH, ROUTE_NO_METHOD };

/* Pure. HEAD is found where GET is. */
enum route_match route_find(struct http_text method, struct http_text path,
			    const struct route **out_route);

/* Pure. token: the sandbox's, "" when it has none yet; given: the request's, may be empty. */
bool route_allows(const struct route *route, const char *token, struct http_text given);

/* Called by the connection: the head has come (finds the route, or answers). */
void route_begin(struct conn *conn);

/* Called by the connection: the gathered or ignored body is complete. */
void route_dispatch(struct conn *conn);

#endif
