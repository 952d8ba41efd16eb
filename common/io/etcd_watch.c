/* A watch: one streamed answer of lines of JSON, begun again where it was when it breaks. */
#include "common/io/etcd_internal.h"

#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

enum { ETCD_WATCH_PAUSE_MS = 100 };

struct etcd_watch {
	struct list link; /* the first member: etcd.c knows watches by it */
	struct etcd *etcd;
	char *key;
	bool is_prefix;
	struct etcd_watch_callbacks callbacks;
	int64_t next_revision;
	struct http_client_call *http; /* NULL: pausing, or lost */
	size_t endpoint;
	bool is_broken; /* on_broken was told so */
	bool is_lost;
	bool is_asking;    /* the majority, whether the store was set back */
	uv_timer_t *timer; /* freed by its own close callback */
	char *line;        /* what there is of it */
	size_t line_n, line_room;
	struct etcd_kvs kvs; /* of the line that is being told */
	/* A callback may close the watch that calls it. */
	unsigned busy;
	bool is_closed;
};

static void etcd_watch_start(struct etcd_watch *watch);
static void etcd_watch_break(struct etcd_watch *watch, const struct err *err);

static void etcd_watch_free(struct etcd_watch *watch)
{
	etcd_kvs_free(&watch->kvs);
	free(watch->line);
	free(watch->key);
	free(watch);
}

/* After a callback: true when it closed the watch. */
static bool etcd_watch_leave(struct etcd_watch *watch)
{
	watch->busy--;
	if (!watch->is_closed)
		return false;
	if (!watch->busy)
		etcd_watch_free(watch);
	return true;
}

static void etcd_watch_lose(struct etcd_watch *watch, enum etcd_lost why, const struct err *err)
{
	watch->is_lost = true;
	if (watch->http)
		http_client_cancel(watch->http);
	watch->http = NULL;
	watch->callbacks.on_lost(watch->callbacks.data, why, err);
}

/* ---- lines ---- */

static int etcd_watch_read_events(struct etcd_watch *watch, const json_t *list,
				  struct etcd_event **out, struct err *err)
{
	size_t n = json_array_size(list), i;
	const json_t *item;
	struct etcd_event *events = calloc(n + 1, sizeof(*events));

	CHECK(events);
	json_array_foreach(list, i, item)
	{
		const char *type = json_string_value(json_object_get(item, "type"));

		if (etcd_kvs_add(&watch->kvs, json_object_get(item, "kv"), err)) {
			free(events);
			return -1;
		}
		events[i].is_deleted = type && strcmp(type, "DELETE") == 0;
	}
	for (i = 0; i < n; i++)
		events[i].kv = watch->kvs.items[i];
	*out = events;
	return 0;
}

static int etcd_watch_tell(struct etcd_watch *watch, const json_t *result, struct err *err)
{
	const json_t *list = json_object_get(result, "events");
	int64_t revision = etcd_json_get_int(json_object_get(result, "header"), "revision", 0);
	size_t n = json_array_size(list), from = 0;
	struct etcd_event *events;

	etcd_kvs_free(&watch->kvs);
	if (etcd_watch_read_events(watch, list, &events, err))
		return -1;
	/* While it catches up, etcd sends what is old under a header that is new. */
	if (n)
		revision = events[n - 1].kv.mod_revision;
	while (from < n && events[from].kv.mod_revision < watch->next_revision)
		from++;
	if (revision >= watch->next_revision || from < n) {
		watch->next_revision = revision + 1;
		watch->callbacks.on_events(watch->callbacks.data, events + from, n - from,
					   revision);
	}
	free(events);
	return 0;
}

static void etcd_watch_on_majority(void *data, const struct etcd_answer *answer)
{
	struct etcd_watch *watch = data;
	struct err err;

	watch->is_asking = false;
	if (watch->is_lost)
		return;
	watch->busy++;
	if (answer->outcome != ETCD_ANSWERED) {
		/* Asked again when it is connected again. */
		if (watch->http) {
			http_client_cancel(watch->http);
			etcd_watch_break(watch, &answer->err);
		}
	} else if (answer->revision + 1 < watch->next_revision) {
		err_set(&err, "etcd is at revision %lld, and was at %lld before",
			(long long)answer->revision, (long long)watch->next_revision - 1);
		etcd_watch_lose(watch, ETCD_LOST_SET_BACK, &err);
	}
	etcd_watch_leave(watch);
}

static void etcd_watch_on_created(struct etcd_watch *watch, const json_t *result)
{
	int64_t revision = etcd_json_get_int(json_object_get(result, "header"), "revision", 0);
	struct etcd_range range = {.key = watch->key, .only_count = true};

	/* A member that was away says how far it is itself: what it has not got yet will come.
	 * Only the majority knows whether there is such a revision. */
	if (revision + 1 < watch->next_revision && !watch->is_asking) {
		watch->is_asking = true;
		etcd_range(watch->etcd, &range, etcd_watch_on_majority, watch);
	}
	if (watch->is_broken) {
		watch->is_broken = false;
		if (watch->callbacks.on_broken)
			watch->callbacks.on_broken(watch->callbacks.data, NULL);
	}
}

static void etcd_watch_on_cancelled(struct etcd_watch *watch, const json_t *result)
{
	const char *reason = json_string_value(json_object_get(result, "cancel_reason"));
	struct err err;

	if (json_object_get(result, "compact_revision")) {
		err_set(&err, "etcd is compacted up to revision %lld",
			(long long)etcd_json_get_int(result, "compact_revision", 0));
		etcd_watch_lose(watch, ETCD_LOST_COMPACTED, &err);
	} else {
		err_set(&err, "etcd ends the watch: %s", reason ? reason : "no reason given");
		etcd_watch_lose(watch, ETCD_LOST_REFUSED, &err);
	}
}

/* -1: what came is not a watch's, the connection is of no use. */
static int etcd_watch_take_line(struct etcd_watch *watch, const char *line, size_t n,
				struct err *err)
{
	json_error_t where;
	json_t *json = json_loadb(line, n, 0, &where);
	const json_t *result = json_object_get(json, "result");
	enum etcd_code code;
	int fault = 0;

	if (json_is_true(json_object_get(result, "canceled")))
		etcd_watch_on_cancelled(watch, result);
	else if (json_is_true(json_object_get(result, "created")))
		etcd_watch_on_created(watch, result);
	else if (result)
		fault = etcd_watch_tell(watch, result, err);
	else if (etcd_json_refusal(json, &code, err))
		fault = -1;
	else
		fault = err_set(err, "a line of the watch is not etcd's");
	json_decref(json);
	return fault;
}

/* ---- the connection ---- */

static void etcd_watch_on_timer(uv_timer_t *timer)
{
	etcd_watch_start(timer->data);
}

static void etcd_watch_break(struct etcd_watch *watch, const struct err *err)
{
	bool is_news = !watch->is_broken;
	size_t endpoint = watch->endpoint;

	watch->http = NULL;
	watch->is_broken = true;
	watch->endpoint = SIZE_MAX; /* nowhere: not moved by what follows */
	etcd_leave(watch->etcd, endpoint);
	uv_timer_start(watch->timer, etcd_watch_on_timer, is_news ? 0 : ETCD_WATCH_PAUSE_MS, 0);
	if (is_news && watch->callbacks.on_broken)
		watch->callbacks.on_broken(watch->callbacks.data, err);
}

static void etcd_watch_on_body(void *data, const uint8_t *bytes, size_t n)
{
	struct etcd_watch *watch = data;
	struct err err;

	watch->busy++;
	while (n && !watch->is_closed && !watch->is_lost && watch->http) {
		const uint8_t *end = memchr(bytes, '\n', n);
		size_t part_n = end ? (size_t)(end - bytes) : n;
		int fault = 0;

		if (watch->line_n + part_n + 1 > watch->line_room) {
			watch->line_room = (watch->line_n + part_n + 1) * 2;
			watch->line = realloc(watch->line, watch->line_room);
			CHECK(watch->line);
		}
		memcpy(watch->line + watch->line_n, bytes, part_n);
		watch->line_n += part_n;
		if (watch->line_n > ETCD_ANSWER_MAX) {
			fault = err_set(&err, "a line of the watch is too long");
		} else if (end) {
			size_t line_n = watch->line_n;

			watch->line_n = 0;
			if (line_n)
				fault = etcd_watch_take_line(watch, watch->line, line_n, &err);
		}
		if (fault && !watch->is_closed) {
			http_client_cancel(watch->http);
			etcd_watch_break(watch, &err);
		}
		part_n += end != NULL;
		bytes += part_n;
		n -= part_n;
	}
	etcd_watch_leave(watch);
}

static void etcd_watch_on_done(void *data, const struct http_client_answer *answer)
{
	struct etcd_watch *watch = data;
	struct err err;

	if (answer->err.text[0])
		err = answer->err;
	else
		err_set(&err, "etcd ended the connection (status %d)", answer->status);
	err_wrap(&err, "watch");
	watch->busy++;
	etcd_watch_break(watch, &err);
	etcd_watch_leave(watch);
}

static void etcd_watch_start(struct etcd_watch *watch)
{
	struct http_client_request request = {
		/* A watch has its connection for itself, and an end that it hears of. */
		.once = true,
		.connect_ms = 1000,
		.on_done = etcd_watch_on_done,
		.on_body = etcd_watch_on_body,
		.data = watch,
	};
	json_t *json = etcd_json_watch(watch->key, watch->is_prefix, watch->next_revision);
	char *body = json_dumps(json, JSON_COMPACT);
	struct err err;

	CHECK(body);
	uv_timer_stop(watch->timer);
	watch->line_n = 0;
	watch->endpoint = watch->etcd->current;
	if (etcd_post(watch->etcd, watch->endpoint, "/v3/watch", body, &request, &watch->http,
		      &err))
		check_broken(err.text, __FILE__, __LINE__);
	json_decref(json);
	free(body);
}

void etcd_watch_move(struct etcd_watch *watch, size_t from)
{
	if (!watch->http || watch->is_lost || watch->endpoint != from)
		return;
	http_client_cancel(watch->http);
	watch->http = NULL;
	etcd_watch_start(watch);
}

/* ---- the contract ---- */

struct etcd_watch *etcd_watch_open(struct etcd *etcd, const char *key, bool is_prefix,
				   int64_t from_revision,
				   const struct etcd_watch_callbacks *callbacks)
{
	struct etcd_watch *watch = calloc(1, sizeof(*watch));

	CHECK(watch);
	watch->etcd = etcd;
	watch->key = strdup(key);
	watch->is_prefix = is_prefix;
	watch->next_revision = from_revision > 0 ? from_revision : 1;
	watch->callbacks = *callbacks;
	watch->timer = calloc(1, sizeof(*watch->timer));
	CHECK(watch->key && watch->timer);
	CHECK(uv_timer_init(etcd->loop, watch->timer) == 0);
	watch->timer->data = watch;
	list_append(&etcd->watches, &watch->link);
	etcd_watch_start(watch);
	return watch;
}

static void etcd_watch_free_timer(uv_handle_t *handle)
{
	free(handle);
}

void etcd_watch_close(struct etcd_watch *watch)
{
	if (!watch || watch->is_closed)
		return;
	watch->is_closed = true;
	list_remove(&watch->link);
	if (watch->is_asking)
		etcd_forget(watch->etcd, watch);
	if (watch->http)
		http_client_cancel(watch->http);
	watch->http = NULL;
	uv_close((uv_handle_t *)watch->timer, etcd_watch_free_timer);
	if (!watch->busy)
		etcd_watch_free(watch);
}

void etcd_watch_free_all(struct etcd *etcd)
{
	struct list *link;

	while ((link = list_first(&etcd->watches)))
		etcd_watch_close((struct etcd_watch *)(void *)link);
}
