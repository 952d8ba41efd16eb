/* Request targets: split, decoded, routed, their query checked. */
#include "scheduler/shell/api/route.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const methods[] = {"GET", "POST", "DELETE", "PATCH"};
	char *text = malloc(n + 1);
	struct problems problems = {0};
	struct route_match match;
	struct target target;
	json_t *query;

	memcpy(text, data, n);
	text[n] = 0;
	for (size_t i = 0; i < 4 && target_split(text, &target); i++) {
		route_find(methods[i], &target, &match);
		if (!match.route)
			continue;
		problems.n = 0;
		query = schema_parse_query(match.route->query, target.query, &problems);
		if (!query)
			continue;
		schema_check(match.route->query, query, "query", &problems);
		json_decref(query);
	}
	free(text);
	return 0;
}
