/* GET /v2/sandboxes and /sandboxes: from the store, which holds all that was told. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_FILTER_MAX = 4200 };

struct list_query {
	const char *template_; /* NULL: any */
	char template_text[TEMPLATE_NAME_MAX];
	char *metadata; /* JSON, malloc'ed */
	int64_t started_after_ns;
	bool oldest_first, nothing;
	bool running, paused; /* of which states */
	struct api_cursor after;
	int64_t limit;
};

/*
 * The filter is encoded three times over: the query was decoded already, here the whole is decoded
 * once more, split at & and =, and then each name and value.
 */
static bool list_metadata(const char *text, char **out_json)
{
	char whole[LIST_FILTER_MAX], name[LIST_FILTER_MAX], value[LIST_FILTER_MAX];
	const char *at = whole;
	json_t *object = json_object();
	struct target_pair pair;
	bool good = target_decode(text, strlen(text), true, whole, sizeof(whole));

	while (good && target_next_pair(&at, &pair))
		good = target_decode(pair.name, pair.name_n, true, name, sizeof(name)) &&
		       target_decode(pair.value, pair.value_n, true, value, sizeof(value)) &&
		       json_object_set_new(object, name, json_string(value)) == 0;
	*out_json = good ? json_dumps(object, JSON_COMPACT) : NULL;
	json_decref(object);
	return good;
}

/* "running,paused"; all of them unless it says. */
static bool list_states(const char *text, struct list_query *out)
{
	out->running = out->paused = text[0] == 0;
	while (*text) {
		size_t n = strcspn(text, ",");
		if (n == 7 && memcmp(text, "running", 7) == 0)
			out->running = true;
		else if (n == 6 && memcmp(text, "paused", 6) == 0)
			out->paused = true;
		else
			return false;
		text += n + (text[n] == ',');
	}
	return true;
}

static void list_fail(struct api_call *call, const char *field, const char *text)
{
	struct problems problems = {0};

	problems_add(&problems, "query", field, "value_error", "%s", text);
	api_fail_problems(call, &problems);
}

/* A tenant's template stands for all its builds. False: the call is ended. */
static bool list_template(struct api_call *call, const char *text, struct list_query *out)
{
	struct api_template found;
	int got = api_template_find(call, text, &found);

	out->nothing = got == 0;
	if (got == 1)
		snprintf(out->template_text, sizeof(out->template_text), "%s",
			 found.fleet ? found.fleet->name : found.own.id.text);
	return got >= 0;
}

/* False: the call is ended. */
static bool list_read_query(struct api_call *call, struct list_query *out)
{
	const char *metadata = api_text(call->query, "metadata");
	const char *states = api_text(call->query, "state");
	const char *template_ = api_text(call->query, "template");
	const char *after = api_text(call->query, "startedAfter");
	const char *order = api_text(call->query, "order");
	const char *token = api_text(call->query, "nextToken");

	out->limit = api_int(call->query, "limit", 100);
	out->oldest_first = order && strcmp(order, "asc") == 0;
	out->after.at_ns = out->oldest_first ? -1 : INT64_MAX;
	if (order && !out->oldest_first && strcmp(order, "desc") != 0) {
		list_fail(call, "order", "should be asc or desc");
	} else if (!list_states(states ? states : "", out)) {
		list_fail(call, "state", "should be running, paused, or both");
	} else if (token && token[0] && !api_cursor_parse(token, &out->after)) {
		list_fail(call, "nextToken", "is not one that was given out");
	} else if (!list_metadata(metadata ? metadata : "", &out->metadata)) {
		list_fail(call, "metadata", "should be URL-encoded name=value pairs");
	} else {
		if (after)
			CHECK(time_parse(after, &out->started_after_ns));
		out->template_ = template_ ? out->template_text : NULL;
		return !template_ || list_template(call, template_, out);
	}
	return false;
}

static json_t *list_row(struct api_call *call, const struct store_sandbox *sandbox)
{
	return api_listed_json(call, &sandbox->row, sandbox->metadata);
}

static bool list_rows(struct api_call *call, const struct list_query *query, json_t *rows,
		      struct err *err)
{
	const struct api_page page = {
		.statement = query->oldest_first ? STORE_READ_SANDBOXES_OLDEST
						 : STORE_READ_SANDBOXES_NEWEST,
		.limit = query->limit,
		.row_json = list_row,
	};

	return api_page_rows(call, &page,
			     SQL(SQL_TEXT(call->tenant.text), SQL_TEXT(query->template_),
				 SQL_INT(query->started_after_ns), SQL_TEXT(query->metadata),
				 SQL_INT(query->after.at_ns), SQL_TEXT(query->after.id.text),
				 SQL_INT(query->limit + 1), SQL_INT(query->running),
				 SQL_INT(query->paused)),
			     rows, err);
}

static bool list_count(struct api_call *call, struct err *err)
{
	int64_t running;
	char text[24];

	if (sqlite_get_int(store_reader(call->api->store), STORE_READ_RUNNING_COUNT,
			   SQL(SQL_TEXT(call->tenant.text)), 0, &running, err))
		return false;
	snprintf(text, sizeof(text), "%lld", (long long)running);
	http_add_header(call->request, "X-Total-Running", text);
	return true;
}

static void list(struct api_call *call, const struct list_query *query)
{
	json_t *rows = json_array();
	struct err err;

	if ((query->nothing || list_rows(call, query, rows, &err)) && list_count(call, &err)) {
		api_answer(call, rows);
		return;
	}
	json_decref(rows);
	api_fail_store(call, &err);
}

void api_sandbox_list_v2(struct api_call *call)
{
	struct list_query query = {0};

	if (!list_read_query(call, &query))
		return;
	list(call, &query);
	free(query.metadata);
}

void api_sandbox_list(struct api_call *call)
{
	struct list_query query = {0};

	if (!list_read_query(call, &query))
		return;
	query.limit = 1000;
	query.paused = false;
	list(call, &query);
	free(query.metadata);
}
