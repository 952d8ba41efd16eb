/* GET /observations?after=N: all that the host wants to know now and then, in one answer. */
#include <stdlib.h>
#include <string.h>

#include "node-agent/guest/guest.h"
#include "node-agent/guest/routes.h"

#define AFTER "after="

static uint64_t after_of(struct http_text query)
{
	char digits[24] = "";
	size_t n = query.n - (sizeof(AFTER) - 1);

	if (query.n < sizeof(AFTER) || memcmp(query.at, AFTER, sizeof(AFTER) - 1) != 0 ||
	    n >= sizeof(digits))
		return 0;
	memcpy(digits, query.at + sizeof(AFTER) - 1, n);
	return strtoull(digits, NULL, 10);
}

void observations_get(struct conn *conn, json_t *request)
{
	struct guest *guest = conn->guest;
	json_t *answer = logbook_json(&guest->logbook, after_of(conn->query));

	(void)request;
	json_object_set_new(answer, "metrics", metrics_json(&guest->observed));
	conn_answer_json(conn, 200, answer);
}
