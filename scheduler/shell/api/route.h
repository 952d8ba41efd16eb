/* The routes of routes.def, and how a request finds its own.  Pure. */
#ifndef FLOTILLA_API_ROUTE_H
#define FLOTILLA_API_ROUTE_H

#include "scheduler/shell/api/schema.h"
#include "scheduler/shell/api/target.h"

enum route_method { ROUTE_GET, ROUTE_POST, ROUTE_PUT, ROUTE_PATCH, ROUTE_DELETE, ROUTE_METHOD_N };

enum route_who { /* bits */
		 ROUTE_ANYONE = 0,
		 ROUTE_TENANT = 1,
		 ROUTE_OPERATOR = 2,
		 ROUTE_BOTH = 3,
		 ROUTE_GATEWAY = 4, /* who knows the fleet's key */
};

enum route_shape { ROUTE_ONE, ROUTE_MANY, ROUTE_TEXT, ROUTE_NOTHING };

enum route_id {
#define ROUTE(id, method, path, who, query, body, status, answer, shape, errors, summary)          \
	ROUTE_ID_##id,
#include "scheduler/shell/api/routes.def"
#undef ROUTE
	ROUTE_N,
};

enum { ROUTE_ERRORS_MAX = 8 };

struct route {
	const char *id;
	enum route_method method;
	const char *path; /* "/sandboxes/{sandboxID}/timeout" */
	enum route_who who;
	const struct schema *query, *body; /* &schema_none: there is none */
	int status;
	const struct schema *answer;
	enum route_shape shape;
	int errors[ROUTE_ERRORS_MAX]; /* 0 behind the last */
	const char *summary;
};

extern const struct route routes[ROUTE_N];

const char *route_method_name(enum route_method method);

/* Below /v1/: errors are problem documents. */
bool route_path_is_ours(const char *target);

/* A path has at most ROUTE_PARAMETERS_MAX {parameters}; their texts, decoded, in their order. */
enum { ROUTE_PARAMETERS_MAX = 2 };

struct route_match {
	const struct route *route; /* NULL: no such path, or not with that method */
	unsigned allowed;          /* methods of this path, as bits of enum route_method */
	char parameters[ROUTE_PARAMETERS_MAX][TARGET_SEGMENT_TEXT_MAX];
};

void route_find(const char *method, const struct target *target, struct route_match *out);

#endif
