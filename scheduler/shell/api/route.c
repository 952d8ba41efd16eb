#include "scheduler/shell/api/route.h"

#include <string.h>

/* clang-format off: a list being read */
#define E(status) status,
const struct route routes[ROUTE_N] = {
#define ROUTE(id, method, path, who, query, body, status, answer, shape, errors, summary)          \
	{#id,    ROUTE_##method,   path,          ROUTE_##who, &schema_##query, &schema_##body,    \
	 status, &schema_##answer, ROUTE_##shape, {errors 0},  summary},
#include "scheduler/shell/api/routes.def"
#undef ROUTE
};
#undef E
/* clang-format on */

const char *route_method_name(enum route_method method)
{
	switch (method) {
	case ROUTE_GET:
		return "GET";
	case ROUTE_POST:
		return "POST";
	case ROUTE_PUT:
		return "PUT";
	case ROUTE_PATCH:
		return "PATCH";
	case ROUTE_DELETE:
		return "DELETE";
	case ROUTE_METHOD_N:
		break;
	}
	return "";
}

bool route_path_is_ours(const char *target)
{
	return strncmp(target, "/v1/", 4) == 0;
}

static bool route_fits(const char *pattern, const struct target *target,
		       char out_parameters[ROUTE_PARAMETERS_MAX][TARGET_SEGMENT_TEXT_MAX])
{
	struct target wanted;
	size_t n = 0;

	if (!target_split(pattern, &wanted) || wanted.segments_n != target->segments_n)
		return false;
	for (size_t i = 0; i < wanted.segments_n; i++) {
		const struct target_segment *want = &wanted.segments[i];
		const struct target_segment *got = &target->segments[i];
		if (want->n > 0 && want->text[0] == '{') {
			if (n == ROUTE_PARAMETERS_MAX ||
			    !target_decode(got->text, got->n, false, out_parameters[n++],
					   TARGET_SEGMENT_TEXT_MAX))
				return false;
		} else if (want->n != got->n || memcmp(want->text, got->text, got->n) != 0) {
			return false;
		}
	}
	return true;
}

void route_find(const char *method, const struct target *target, struct route_match *out)
{
	char parameters[ROUTE_PARAMETERS_MAX][TARGET_SEGMENT_TEXT_MAX] = {""};

	*out = (struct route_match){0};
	for (size_t i = 0; i < ROUTE_N; i++) {
		const struct route *route = &routes[i];
		if (!route_fits(route->path, target, parameters))
			continue;
		out->allowed |= 1u << route->method;
		if (strcmp(route_method_name(route->method), method) != 0)
			continue;
		/* "/sandboxes/metrics" is not a sandbox. */
		if (out->route && !strchr(out->route->path, '{'))
			continue;
		out->route = route;
		memcpy(out->parameters, parameters, sizeof(parameters));
	}
}
