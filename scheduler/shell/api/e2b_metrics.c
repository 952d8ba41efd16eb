/* What sandboxes used: GET /sandboxes/{id}/metrics and /sandboxes/metrics. */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "common/base/units.h"

#include <string.h>

enum {
	METRICS_READ_MAX = 20000, /* samples of a window that are looked at: the newest, */
	METRICS_TOLD_MAX = 1000,  /* and told: every so many-th */
	METRICS_IDS_MAX = 100,
};

bool api_owned(struct api_call *call, const struct id *id, struct core_sandbox *out)
{
	struct sqlite *reader = store_reader(call->api->store);
	struct store_sandbox sandbox;
	bool is_theirs = false;
	struct err err;

	if (sqlite_bind(reader, STORE_READ_SANDBOX, SQL(SQL_TEXT(id->text)), &err))
		return false;
	if (sqlite_next(reader, STORE_READ_SANDBOX, &err) == 1) {
		store_sandbox_row(call->api->store, STORE_READ_SANDBOX, &sandbox);
		*out = sandbox.row;
		is_theirs = out->started_at.ns != 0 &&
			    (call->is_operator || id_equal(&out->tenant, &call->tenant));
	}
	sqlite_reset(reader, STORE_READ_SANDBOX);
	return is_theirs;
}

struct sqlite *api_observed(struct api_call *call, struct core_sandbox *out_row)
{
	struct id id;

	if (!id_parse(call->parameter, strcspn(call->parameter, "-"), &id) ||
	    !api_owned(call, &id, out_row)) {
		api_refuse(call, REFUSAL_SANDBOX_UNKNOWN);
		return NULL;
	}
	return api_observations(call);
}

struct sqlite *api_observations(struct api_call *call)
{
	if (call->api->options.observations)
		return observations_reader(call->api->options.observations);
	api_fail(call, 503, "not_kept", "", "Samples and logs cannot be kept here now");
	return NULL;
}

static json_t *metric_json(struct sqlite *reader, enum observations_read statement)
{
	int64_t at_ms = sqlite_int(reader, statement, 0);

	return json_pack("{s:o,s:I,s:I,s:f,s:I,s:I,s:I,s:I,s:I}", "timestamp",
			 api_time(at_ms * NS_PER_MS), "timestampUnix", (json_int_t)(at_ms / 1000),
			 "cpuCount", (json_int_t)sqlite_int(reader, statement, 1), "cpuUsedPct",
			 (double)sqlite_int(reader, statement, 2) / 100, "memUsed",
			 (json_int_t)sqlite_int(reader, statement, 3), "memTotal",
			 (json_int_t)sqlite_int(reader, statement, 4), "memCache",
			 (json_int_t)sqlite_int(reader, statement, 5), "diskUsed",
			 (json_int_t)sqlite_int(reader, statement, 6), "diskTotal",
			 (json_int_t)sqlite_int(reader, statement, 7));
}

/* The rows of a statement that were told newest first, the other way round. */
json_t *api_reversed(json_t *rows)
{
	json_t *out = json_array();

	for (size_t i = json_array_size(rows); i > 0; i--)
		json_array_append(out, json_array_get(rows, i - 1));
	json_decref(rows);
	return out;
}

static int metrics_rows(struct sqlite *reader, const struct id *sandbox, int64_t from_ms,
			int64_t to_ms, json_t *rows, struct err *err)
{
	int64_t n, step, at = 0;
	int got;

	if (sqlite_get_int(reader, OBSERVATIONS_READ_SAMPLES_N,
			   SQL(SQL_TEXT(sandbox->text), SQL_INT(from_ms), SQL_INT(to_ms)), 0, &n,
			   err) ||
	    sqlite_bind(reader, OBSERVATIONS_READ_SAMPLES,
			SQL(SQL_TEXT(sandbox->text), SQL_INT(from_ms), SQL_INT(to_ms),
			    SQL_INT(METRICS_READ_MAX)),
			err))
		return -1;
	n = n < METRICS_READ_MAX ? n : METRICS_READ_MAX;
	step = n / METRICS_TOLD_MAX + 1;
	while ((got = sqlite_next(reader, OBSERVATIONS_READ_SAMPLES, err)) == 1)
		if (at++ % step == 0)
			json_array_append_new(rows, metric_json(reader, OBSERVATIONS_READ_SAMPLES));
	return got;
}

bool api_window(struct api_call *call, int64_t *out_from_ms, int64_t *out_to_ms)
{
	int64_t from_s = api_int(call->query, "start", 0);
	int64_t to_s = api_int(call->query, "end", engine_wall().ns / NS_PER_S + 1);

	*out_from_ms = from_s * 1000;
	*out_to_ms = to_s * 1000 + 999;
	if (from_s <= to_s)
		return true;
	api_fail(call, 400, "invalid_request", "", "start: should not be after end");
	return false;
}

void api_sandbox_metrics(struct api_call *call)
{
	struct core_sandbox row;
	struct sqlite *reader;
	int64_t from_ms, to_ms;
	struct err err;
	json_t *rows;

	if (!api_window(call, &from_ms, &to_ms))
		return;
	reader = api_observed(call, &row);
	if (!reader)
		return;
	rows = json_array();
	if (metrics_rows(reader, &row.id, from_ms, to_ms, rows, &err)) {
		json_decref(rows);
		api_fail_store(call, &err);
		return;
	}
	api_answer(call, api_reversed(rows));
}

/* The newest of each that is the caller's; those that are not are left out. */
static int metrics_of(struct api_call *call, struct sqlite *reader, const char *text, size_t n,
		      json_t *sandboxes, struct err *err)
{
	enum observations_read statement = OBSERVATIONS_READ_SAMPLE_NEWEST;
	struct core_sandbox row;
	struct id id;
	int got;

	if (memchr(text, '-', n)) /* and the client's id, as older clients say it */
		n = (size_t)((const char *)memchr(text, '-', n) - text);
	if (!id_parse(text, n, &id) || !api_owned(call, &id, &row))
		return 0;
	if (sqlite_bind(reader, statement, SQL(SQL_TEXT(id.text)), err))
		return -1;
	got = sqlite_next(reader, statement, err);
	if (got == 1)
		json_object_set_new(sandboxes, id.text, metric_json(reader, statement));
	sqlite_reset(reader, statement);
	return got < 0 ? -1 : 0;
}

void api_sandboxes_metrics(struct api_call *call)
{
	const char *ids = api_text(call->query, "sandbox_ids");
	struct sqlite *reader = api_observations(call);
	json_t *sandboxes;
	size_t ids_n = 0;
	struct err err;

	if (!reader)
		return;
	sandboxes = json_object();
	while (*ids) {
		size_t n = strcspn(ids, ",");
		if (++ids_n > METRICS_IDS_MAX) {
			json_decref(sandboxes);
			api_fail(call, 400, "invalid_request", "",
				 "sandbox_ids: should be at most %d", METRICS_IDS_MAX);
			return;
		}
		if (metrics_of(call, reader, ids, n, sandboxes, &err)) {
			json_decref(sandboxes);
			api_fail_store(call, &err);
			return;
		}
		ids += n + (ids[n] == ',');
	}
	api_answer(call, json_pack("{s:o}", "sandboxes", sandboxes));
}
