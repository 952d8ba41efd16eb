/*
 * POST /sandboxes/{id}/fork: a snapshot in passing, and sandboxes that begin from it.
 *
 * Each of them is a create of its own, under the tenant's quota, and is answered for itself.  When
 * the last one is answered the snapshot is dropped; if we are not there then, whoever leads next
 * drops it, because it is marked.  So nothing of a fork is kept anywhere but in its sandboxes.
 */
#include "scheduler/shell/api/call.h"

#include "common/base/check.h"
#include "common/io/log.h"

#include <stdlib.h>
#include <string.h>

enum { FORKS_MAX = 100 };

/* Requests of forks are told from those that http_hold numbers. */
#define FORK_REQUEST (1ULL << 63)

struct fork_one {
	uint64_t request;
	json_t *result;          /* NULL: not answered yet */
	struct core_sandbox row; /* if it runs */
};

struct api_fork {
	struct api_fork *next;
	struct api_call *call; /* held until all are answered */
	struct id snapshot;
	size_t n, answered_n, mounted_n;
	struct fork_one ones[];
};

/* ---- the end ---- */

static void fork_drop_snapshot(struct api *api, const struct id *snapshot)
{
	struct core_event event = {.kind = CORE_EVENT_DROP_SNAPSHOT};

	event.kill.sandbox = *snapshot;
	event.kill.cause = CAUSE_PLATFORM;
	engine_step(api->engine, &event);
}

static void fork_free(struct api *api, struct api_fork *fork)
{
	struct api_fork **at = &api->forks;

	while (*at != fork)
		at = &(*at)->next;
	*at = fork->next;
	for (size_t i = 0; i < fork->n; i++)
		json_decref(fork->ones[i].result);
	free(fork);
}

static void fork_answer(struct api *api, struct api_fork *fork)
{
	struct api_call *call = fork->call;
	json_t *results = json_array();

	for (size_t i = 0; i < fork->n; i++)
		json_array_append(results, fork->ones[i].result);
	fork_free(api, fork);
	api_answer(call, results);
}

static void fork_on_mounted(struct api_call *call, const struct core_sandbox *row,
			    const char *problem);

/* The volumes of one after the other; most have none. */
static void fork_mount(struct api *api, struct api_fork *fork)
{
	while (fork->mounted_n < fork->n && id_is_empty(&fork->ones[fork->mounted_n].row.id))
		fork->mounted_n++;
	if (fork->mounted_n == fork->n)
		fork_answer(api, fork);
	else
		api_mounts_then(fork->call, &fork->ones[fork->mounted_n++].row, fork_on_mounted);
}

static void fork_on_mounted(struct api_call *call, const struct core_sandbox *row,
			    const char *problem)
{
	struct api_fork *fork = call->api->forks;

	/* It runs, and who keeps its volumes goes on trying. */
	if (problem)
		log_warn("api", "a fork goes on without its volumes for now",
			 LOG_TEXT("sandbox", row->id.text), LOG_TEXT("why", problem));
	while (fork && fork->call != call)
		fork = fork->next;
	if (fork)
		fork_mount(call->api, fork);
	else
		api_refuse(call, REFUSAL_STORE_UNAVAILABLE);
}

void api_forks_lost(struct api *api)
{
	while (api->forks)
		fork_free(api, api->forks);
}

/* ---- each of them ---- */

static json_t *fork_error(struct api_call *call, enum refusal refusal)
{
	return json_pack("{s:o}", "error", api_refusal_json(call, refusal));
}

static json_t *fork_result(struct api_call *call, const struct core_effect *reply,
			   struct core_sandbox *out_row)
{
	json_t *sandbox;
	struct err err;

	if (reply->reply.refusal != REFUSAL_NONE)
		return fork_error(call, reply->reply.refusal);
	*out_row = reply->reply.sandbox;
	sandbox = api_sandbox_json(call, &reply->reply.sandbox, &err);
	/* It runs, and is listed. */
	return sandbox ? json_pack("{s:o}", "sandbox", sandbox)
		       : fork_error(call, REFUSAL_STORE_UNAVAILABLE);
}

static bool fork_take(struct api_fork *fork, const struct core_effect *reply)
{
	for (size_t i = 0; i < fork->n; i++) {
		if (fork->ones[i].request != reply->reply.request || fork->ones[i].result)
			continue;
		fork->ones[i].result = fork_result(fork->call, reply, &fork->ones[i].row);
		fork->answered_n++;
		return true;
	}
	return false;
}

bool api_fork_on_reply(struct api *api, const struct core_effect *reply)
{
	struct api_fork *fork = api->forks;

	if (!(reply->reply.request & FORK_REQUEST))
		return false;
	while (fork && !fork_take(fork, reply))
		fork = fork->next;
	if (fork && fork->answered_n == fork->n) {
		fork_drop_snapshot(api, &fork->snapshot);
		fork_mount(api, fork);
	}
	return true;
}

/* JSON of what there is, or NULL; released. */
static char *fork_dump(json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

	CHECK(!json || text);
	json_decref(json);
	return text;
}

static char *fork_copy(const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	CHECK(!text || copy);
	return copy;
}

/* What the source was asked for at its create, as its forks have it too.  Its environment is in the
 * snapshot.  False: the call is ended. */
static bool fork_inherit(struct api_call *call, const struct id *source, struct core_event *event,
			 struct store_sandbox_extra *out)
{
	struct sqlite *reader = store_reader(call->api->store);
	struct store_sandbox sandbox;
	json_t *network, *mounts;
	struct err err;
	int got = -1;

	if (sqlite_bind(reader, STORE_READ_SANDBOX, SQL(SQL_TEXT(source->text)), &err) == 0)
		got = sqlite_next(reader, STORE_READ_SANDBOX, &err);
	if (got == 1) {
		store_sandbox_row(call->api->store, STORE_READ_SANDBOX, &sandbox);
		event->create.on_limit = sandbox.row.on_limit;
		out->auto_resume = sandbox.auto_resume;
		out->metadata = fork_copy(sandbox.metadata);
		sqlite_reset(reader, STORE_READ_SANDBOX);
		got = api_network_read(call, source, &network, &err) ? -1 : 1;
		out->network = got == 1 ? fork_dump(network) : NULL;
		if (got == 1)
			got = api_mounts_read(call, source, &mounts, &err) ? -1 : 1;
		out->mounts = got == 1 ? fork_dump(mounts) : NULL;
	}
	if (got == 1)
		return true;
	if (got == 0)
		api_refuse(call, REFUSAL_SANDBOX_UNKNOWN);
	else
		api_fail_store(call, &err);
	return false;
}

static void fork_begin_one(struct api_fork *fork, size_t i, struct core_event event,
			   const struct store_sandbox_extra *inherited)
{
	struct api *api = fork->call->api;
	struct store_sandbox_extra extra = {
		.auto_resume = inherited->auto_resume,
		.metadata = fork_copy(inherited->metadata),
		.network = fork_copy(inherited->network),
		.mounts = fork_copy(inherited->mounts),
	};

	fork->ones[i].request = event.create.request = FORK_REQUEST | ++api->fork_requests_n;
	event.create.sandbox = api_make_id("i");
	engine_create(api->engine, &event, &extra);
}

/* The snapshot is there. */
static void fork_on_snapshot(struct api_call *call, const struct core_effect *reply)
{
	const struct core_sandbox *row = &reply->reply.sandbox;
	size_t n = (size_t)api_int(call->body, "count", 1);
	struct core_event event = {.kind = CORE_EVENT_CREATE};
	struct store_sandbox_extra inherited = {0};
	struct api *api = call->api;
	struct api_fork *fork;

	event.create.tenant = call->tenant;
	event.create.snapshot = row->id;
	event.create.timeout_s = (uint32_t)api_int(call->body, "timeout", 0);
	if (!fork_inherit(call, &row->source, &event, &inherited)) {
		fork_drop_snapshot(api, &row->id);
		goto done;
	}
	fork = calloc(1, sizeof(*fork) + n * sizeof(fork->ones[0]));
	CHECK(fork);
	fork->call = call;
	fork->snapshot = row->id;
	fork->n = n;
	fork->next = api->forks;
	api->forks = fork;
	/* Answers are told later, even those that are a no. */
	for (size_t i = 0; i < n; i++)
		fork_begin_one(fork, i, event, &inherited);
done:
	free(inherited.metadata);
	free(inherited.network);
	free(inherited.mounts);
}

void api_sandbox_fork(struct api_call *call)
{
	struct core_event event = {.kind = CORE_EVENT_SNAPSHOT};
	int64_t count = api_int(call->body, "count", 1);
	struct store_sandbox_extra extra = {0};
	uint32_t timeout_s;

	if (count < 1 || count > FORKS_MAX) {
		api_fail(call, 400, "invalid_request", "",
			 "count: should be at least 1 and at most %d", FORKS_MAX);
		return;
	}
	if (!api_limit_creates(call) || !api_timeout(call, "timeout", &timeout_s) ||
	    !api_needs_engine(call) || !api_sandbox_of(call, &event.snapshot.sandbox))
		return;
	event.snapshot.tenant = call->tenant;
	event.snapshot.snapshot = api_make_id("s");
	event.snapshot.transient = true;
	event.snapshot.request = api_wait(call, fork_on_snapshot);
	engine_create(call->api->engine, &event, &extra);
}
