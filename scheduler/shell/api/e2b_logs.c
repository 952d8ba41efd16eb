/* What sandboxes said: GET /v2/sandboxes/{id}/logs and /sandboxes/{id}/logs. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "common/base/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum log_level { LEVEL_DEBUG, LEVEL_INFO, LEVEL_WARN, LEVEL_ERROR, LEVEL_N };

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* Nothing that a process does is an error of the sandbox. */
static enum log_level level_of(int64_t event)
{
	return event == WIRE_LOG_STDERR || event == 0 ? LEVEL_WARN : LEVEL_INFO;
}

static const char *event_name(int64_t event)
{
	switch (event) {
	case WIRE_LOG_STDOUT:
		return "stdout";
	case WIRE_LOG_STDERR:
		return "stderr";
	case WIRE_LOG_STARTED:
		return "process_start";
	case WIRE_LOG_ENDED:
		return "process_end";
	default:
		return "lost";
	}
}

/* Of the current row. */
static json_t *entry_json(struct sqlite *reader, enum observations_read statement)
{
	int64_t event = sqlite_int(reader, statement, 1);
	json_t *fields =
		json_pack("{s:s,s:s}", "logger", "process", "event_type", event_name(event));
	char pid[24];

	snprintf(pid, sizeof(pid), "%lld", (long long)sqlite_int(reader, statement, 2));
	if (event)
		json_object_set_new(fields, "pid", json_string(pid));
	return json_pack("{s:o,s:s,s:s,s:o}", "timestamp",
			 api_time(sqlite_int(reader, statement, 0) * NS_PER_MS), "level",
			 level_names[level_of(event)], "message", sqlite_text(reader, statement, 3),
			 "fields", fields);
}

struct log_query {
	bool is_backward;
	int64_t cursor_ms, limit;
	const char *search; /* "": any */
	enum log_level level;
};

static json_t *log_rows(struct sqlite *reader, const struct id *sandbox,
			const struct log_query *query, struct err *err)
{
	enum observations_read statement = query->is_backward ? OBSERVATIONS_READ_LINES_BACKWARD
							      : OBSERVATIONS_READ_LINES_FORWARD;
	json_t *rows = json_array();
	int got = 0;

	/* There is nothing so bad. */
	if (query->level == LEVEL_ERROR)
		return rows;
	if (sqlite_bind(reader, statement,
			SQL(SQL_TEXT(sandbox->text), SQL_INT(query->cursor_ms),
			    SQL_INT(query->limit), SQL_TEXT(query->search),
			    SQL_INT(query->level == LEVEL_WARN)),
			err))
		got = -1;
	while (got >= 0 && (got = sqlite_next(reader, statement, err)) == 1)
		json_array_append_new(rows, entry_json(reader, statement));
	if (got == 0)
		return rows;
	json_decref(rows);
	return NULL;
}

/* False: the call is ended. */
static bool log_query_read(struct api_call *call, struct log_query *out)
{
	const char *direction = api_text(call->query, "direction");
	const char *level = api_text(call->query, "level");
	const char *search = api_text(call->query, "search");

	*out = (struct log_query){.search = search ? search : "",
				  .limit = api_int(call->query, "limit", 1000)};
	out->is_backward = direction && strcmp(direction, "backward") == 0;
	out->cursor_ms = api_int(call->query, "cursor", out->is_backward ? INT64_MAX : 0);
	if (direction && !out->is_backward && strcmp(direction, "forward") != 0) {
		api_fail(call, 400, "invalid_request", "",
			 "direction: should be forward or backward");
		return false;
	}
	while (level && out->level < LEVEL_N && strcmp(level, level_names[out->level]) != 0)
		out->level++;
	if (out->level < LEVEL_N)
		return true;
	api_fail(call, 400, "invalid_request", "", "level: should be debug, info, warn or error");
	return false;
}

void api_sandbox_logs_v2(struct api_call *call)
{
	struct log_query query;
	struct core_sandbox row;
	struct sqlite *reader;
	struct err err;
	json_t *rows;

	if (!log_query_read(call, &query))
		return;
	reader = api_observed(call, &row);
	if (!reader)
		return;
	rows = log_rows(reader, &row.id, &query, &err);
	if (rows)
		api_answer(call, json_pack("{s:o}", "logs", rows));
	else
		api_fail_store(call, &err);
}

/* {timestamp, line}: the entry as a line of JSON, which older clients take apart. */
static json_t *line_json(const json_t *entry)
{
	json_t *flat = json_deep_copy(json_object_get(entry, "fields"));
	char *text;
	json_t *out;

	json_object_set(flat, "timestamp", json_object_get(entry, "timestamp"));
	json_object_set(flat, "level", json_object_get(entry, "level"));
	json_object_set(flat, "message", json_object_get(entry, "message"));
	text = json_dumps(flat, JSON_COMPACT);
	CHECK(text);
	out = json_pack("{s:O,s:s}", "timestamp", json_object_get(entry, "timestamp"), "line",
			text);
	free(text);
	json_decref(flat);
	return out;
}

void api_sandbox_logs(struct api_call *call)
{
	const struct log_query query = {.search = "",
					.cursor_ms = api_int(call->query, "start", 0),
					.limit = api_int(call->query, "limit", 1000)};
	struct core_sandbox row;
	struct sqlite *reader = api_observed(call, &row);
	json_t *entries, *entry, *lines;
	struct err err;
	size_t i;

	if (!reader)
		return;
	entries = log_rows(reader, &row.id, &query, &err);
	if (!entries) {
		api_fail_store(call, &err);
		return;
	}
	lines = json_array();
	json_array_foreach(entries, i, entry) json_array_append_new(lines, line_json(entry));
	api_answer(call, json_pack("{s:o,s:o}", "logs", lines, "logEntries", entries));
}
