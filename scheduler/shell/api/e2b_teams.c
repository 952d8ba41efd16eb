/*
 * The tenant as E2B's clients know it, a team, and what it had running: GET /teams and
 * /teams/{id}/metrics[/max].
 *
 * What runs now is the core's to know; what ran before follows from the lifecycle events, walked
 * back from now.
 */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "common/base/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	TEAM_CHANGES_MAX = 50000, /* events that are walked; a window that has more begins later */
	TEAM_POINTS = 120,
	TEAM_STEP_MIN_MS = 10 * 1000,
};

static const int event_running[] = {
#define EVENT(number, upper, name, running) [number] = running,
#include "scheduler/shell/observe/events.def"
#undef EVENT
};

/* ---- /teams ---- */

void api_team_list(struct api_call *call)
{
	char slug[API_SLUG_MAX];
	struct store_tenant tenant;
	struct err err;

	if (store_tenant_find(call->api->store, &call->tenant, &tenant, &err) != 1) {
		api_refuse(call, REFUSAL_TENANT_UNKNOWN);
		return;
	}
	api_tenant_slug(&tenant, slug);
	api_answer(call, json_pack("[{s:s,s:s,s:s,s:s,s:b}]", "teamID", tenant.id.text, "name",
				   tenant.name, "slug", slug, "apiKey", "", "isDefault", 1));
}

/* ---- what ran ---- */

struct team_point {
	int64_t most; /* that ran at once */
	int64_t started;
};

struct team_history {
	int64_t from_ms, to_ms, step_ms;
	struct team_point points[TEAM_POINTS + 1];
	size_t points_n;
};

static size_t point_of(const struct team_history *history, int64_t at_ms)
{
	size_t at = (size_t)((at_ms - history->from_ms) / history->step_ms);

	return at < history->points_n ? at : history->points_n - 1;
}

/* So many ran from then to then. */
static void note_running(struct team_history *history, int64_t from_ms, int64_t to_ms, int64_t n)
{
	if (to_ms < history->from_ms || from_ms > history->to_ms)
		return;
	if (from_ms < history->from_ms)
		from_ms = history->from_ms;
	if (to_ms > history->to_ms)
		to_ms = history->to_ms;
	for (size_t i = point_of(history, from_ms); i <= point_of(history, to_ms); i++)
		if (history->points[i].most < n)
			history->points[i].most = n;
}

static int team_walk(struct sqlite *reader, const struct id *tenant, int64_t running,
		     struct team_history *history, struct err *err)
{
	enum observations_read statement = OBSERVATIONS_READ_CHANGES;
	int64_t until_ms = INT64_MAX;
	int got;

	if (sqlite_bind(reader, statement,
			SQL(SQL_TEXT(tenant->text), SQL_INT(history->from_ms),
			    SQL_INT(TEAM_CHANGES_MAX)),
			err))
		return -1;
	while ((got = sqlite_next(reader, statement, err)) == 1) {
		int64_t type = sqlite_int(reader, statement, 0);
		int64_t at_ms = sqlite_int(reader, statement, 1);
		note_running(history, at_ms, until_ms, running);
		until_ms = at_ms;
		running -= event_running[type];
		if (running < 0)
			running = 0; /* its start was before what is kept */
		if (type == OBSERVED_CREATED && at_ms <= history->to_ms)
			history->points[point_of(history, at_ms)].started++;
	}
	note_running(history, INT64_MIN, until_ms, running);
	return got;
}

/* False: the call is ended. */
static bool team_history(struct api_call *call, struct team_history *out)
{
	struct core_tenant_view view = {0};
	struct sqlite *reader;
	int64_t now_ms = engine_wall().ns / NS_PER_MS;
	struct err err;

	memset(out, 0, sizeof(*out));
	if (strcmp(call->parameter, call->tenant.text) != 0) {
		api_fail(call, 403, "forbidden", "", "You don't have access to this team");
		return false;
	}
	if (!api_needs_engine(call) || !api_window(call, &out->from_ms, &out->to_ms))
		return false;
	reader = api_observations(call);
	if (!reader)
		return false;
	if (!json_object_get(call->query, "start"))
		out->from_ms = now_ms - 3600 * 1000;
	if (out->to_ms > now_ms)
		out->to_ms = now_ms;
	if (out->from_ms > out->to_ms)
		return true; /* nothing has happened then */
	out->step_ms = (out->to_ms - out->from_ms) / TEAM_POINTS + 1;
	if (out->step_ms < TEAM_STEP_MIN_MS)
		out->step_ms = TEAM_STEP_MIN_MS;
	out->points_n = (size_t)((out->to_ms - out->from_ms) / out->step_ms) + 1;
	CHECK(out->points_n <= ARRAY_N(out->points));
	core_tenant_find(engine_core(call->api->engine), &call->tenant, &view);
	if (team_walk(reader, &call->tenant, view.concurrent, out, &err) == 0)
		return true;
	api_fail_store(call, &err);
	return false;
}

static double start_rate(const struct team_history *history, size_t i)
{
	return (double)history->points[i].started * 1000 / (double)history->step_ms;
}

void api_team_metrics(struct api_call *call)
{
	struct team_history *history = malloc(sizeof(*history));
	json_t *rows;

	CHECK(history);
	if (team_history(call, history)) {
		rows = json_array();
		for (size_t i = 0; i < history->points_n; i++) {
			int64_t at_ms = history->from_ms + (int64_t)i * history->step_ms;
			json_array_append_new(
				rows, json_pack("{s:o,s:I,s:I,s:f}", "timestamp",
						api_time(at_ms * NS_PER_MS), "timestampUnix",
						(json_int_t)(at_ms / 1000), "concurrentSandboxes",
						(json_int_t)history->points[i].most,
						"sandboxStartRate", start_rate(history, i)));
		}
		api_answer(call, rows);
	}
	free(history);
}

void api_team_metrics_max(struct api_call *call)
{
	const char *metric = api_text(call->query, "metric");
	bool is_rate = strcmp(metric, "sandbox_start_rate") == 0;
	struct team_history *history;
	double most = 0;
	size_t at = 0;

	if (!is_rate && strcmp(metric, "concurrent_sandboxes") != 0) {
		api_fail(call, 400, "invalid_request", "",
			 "metric: should be concurrent_sandboxes or sandbox_start_rate");
		return;
	}
	history = malloc(sizeof(*history));
	CHECK(history);
	if (team_history(call, history)) {
		for (size_t i = 0; i < history->points_n; i++) {
			double value =
				is_rate ? start_rate(history, i) : (double)history->points[i].most;
			if (value > most) {
				most = value;
				at = i;
			}
		}
		int64_t at_ms = history->from_ms + (int64_t)at * history->step_ms;
		api_answer(call,
			   json_pack("{s:o,s:I,s:f}", "timestamp", api_time(at_ms * NS_PER_MS),
				     "timestampUnix", (json_int_t)(at_ms / 1000), "value", most));
	}
	free(history);
}
