#include "common/io/etcd_internal.h"

#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

enum { ETCD_ANSWER_MS = 2000, ETCD_CONNECT_MS = 1000 };

/* A request under way, at one endpoint after the other. */
struct etcd_call {
	struct list link;
	struct etcd *etcd;
	struct http_client_call *http;
	const char *path;
	char *body;
	bool repeats; /* carried out twice it is the same */
	size_t endpoint, tries_n;
	uint64_t until_ms; /* of uv_now */
	bool maybe_sent;   /* by an earlier try */
	etcd_answer_cb on_answer;
	void *data;
};

static void etcd_call_free(struct etcd_call *call)
{
	list_remove(&call->link);
	free(call->body);
	free(call);
}

/* ---- endpoints ---- */

static int etcd_take_endpoints(struct etcd *etcd, const char *text, struct err *err)
{
	for (const char *at = text; *at;) {
		size_t n = strcspn(at, ",");
		const char *next = at + n + (at[n] == ',');

		while (n && at[n - 1] == '/')
			n--;
		if (etcd->endpoints_n == ETCD_ENDPOINTS_MAX)
			return err_set(err, "etcd: more than %d endpoints", ETCD_ENDPOINTS_MAX);
		if ((strncmp(at, "http://", 7) != 0 || n < 8) &&
		    (strncmp(at, "https://", 8) != 0 || n < 9))
			return err_set(err, "etcd: \"%.*s\" is no endpoint: write http://HOST:2379",
				       (int)n, at);
		char *endpoint = strndup(at, n);
		CHECK(endpoint);
		etcd->endpoints[etcd->endpoints_n++] = endpoint;
		at = next;
	}
	return etcd->endpoints_n ? 0 : err_set(err, "etcd: there is no endpoint");
}

void etcd_leave(struct etcd *etcd, size_t endpoint)
{
	if (endpoint != etcd->current || etcd->endpoints_n == 1)
		return;
	etcd->current = (etcd->current + 1) % etcd->endpoints_n;
	for (struct list *link = list_first(&etcd->watches), *next; link; link = next) {
		next = list_next(&etcd->watches, link);
		etcd_watch_move((struct etcd_watch *)(void *)link, endpoint);
	}
}

const char *etcd_endpoint(const struct etcd *etcd)
{
	return etcd->endpoints[etcd->current];
}

int etcd_post(struct etcd *etcd, size_t endpoint, const char *path, const char *body,
	      struct http_client_request *request, struct http_client_call **out_call,
	      struct err *err)
{
	static const struct http_client_header headers[] = {{"Content-Type", "application/json"}};
	size_t n = strlen(etcd->endpoints[endpoint]) + strlen(path) + 1;
	char *url = malloc(n);

	CHECK(url);
	strcpy(url, etcd->endpoints[endpoint]);
	strcat(url, path);
	request->method = "POST";
	request->url = url;
	request->headers = headers;
	request->headers_n = ARRAY_N(headers);
	request->body = body;
	request->body_n = strlen(body);
	request->body_max = ETCD_ANSWER_MAX;
	int fault = http_client_start(etcd->http, request, out_call, err);
	free(url);
	return fault;
}

/* ---- requests ---- */

static void etcd_on_done(void *data, const struct http_client_answer *http);

static void etcd_try(struct etcd_call *call)
{
	struct etcd *etcd = call->etcd;
	uint64_t now_ms = uv_now(etcd->loop);
	uint32_t left_ms = call->until_ms > now_ms ? (uint32_t)(call->until_ms - now_ms) : 1;
	struct http_client_request request = {
		.once = !call->repeats,
		/* An endpoint that is not there must leave time for another. */
		.connect_ms = left_ms > 2 * ETCD_CONNECT_MS ? ETCD_CONNECT_MS : left_ms / 2 + 1,
		.total_ms = left_ms,
		.on_done = etcd_on_done,
		.data = call,
	};
	struct err err;

	call->endpoint = etcd->current;
	call->tries_n++;
	/* The endpoints were looked at when they were given: what fails now is the text itself. */
	if (etcd_post(etcd, call->endpoint, call->path, call->body, &request, &call->http, &err))
		check_broken(err.text, __FILE__, __LINE__);
}

/* What the gateway said, as an answer. */
static void etcd_read(const struct http_client_answer *http, struct etcd_kvs *kvs,
		      struct etcd_answer *out)
{
	json_error_t where;
	json_t *json;
	struct err err;

	if (!http->status) {
		out->outcome = http->sent ? ETCD_UNKNOWN : ETCD_UNSENT;
		out->err = http->err;
		return;
	}
	/* A lease that was kept is a stream of one message: what follows is white. */
	json = json_loadb((const char *)http->body, http->body_n, JSON_DISABLE_EOF_CHECK, &where);
	out->outcome = ETCD_UNKNOWN;
	if (etcd_json_refusal(json, &out->code, &out->err)) {
		if (etcd_code_is_final(out->code))
			out->outcome = ETCD_REFUSED;
	} else if (http->status != 200) {
		err_set(&out->err, "etcd answers with status %d", http->status);
	} else if (etcd_json_answer(json, kvs, out, &err)) {
		*out = (struct etcd_answer){.outcome = ETCD_UNKNOWN, .err = err};
	} else {
		out->outcome = ETCD_ANSWERED;
	}
	json_decref(json);
}

static void etcd_on_done(void *data, const struct http_client_answer *http)
{
	struct etcd_call *call = data;
	struct etcd *etcd = call->etcd;
	struct etcd_kvs kvs = {0};
	struct etcd_answer answer = {0};
	etcd_answer_cb on_answer = call->on_answer;
	void *user = call->data;

	etcd_read(http, &kvs, &answer);
	if (answer.outcome == ETCD_UNKNOWN || answer.outcome == ETCD_UNSENT) {
		etcd_leave(etcd, call->endpoint);
		call->maybe_sent |= answer.outcome == ETCD_UNKNOWN;
		if ((call->repeats || !call->maybe_sent) && call->tries_n < etcd->endpoints_n &&
		    uv_now(etcd->loop) < call->until_ms) {
			etcd_kvs_free(&kvs);
			etcd_try(call);
			return;
		}
		if (call->maybe_sent)
			answer.outcome = ETCD_UNKNOWN;
		err_wrap(&answer.err, "etcd");
	} else if (answer.outcome == ETCD_REFUSED) {
		err_wrap(&answer.err, "etcd refuses");
	}
	etcd_call_free(call);
	/* It may close etcd: nothing of it is looked at afterwards. */
	if (on_answer)
		on_answer(user, &answer);
	etcd_kvs_free(&kvs);
}

/* json is taken. */
static void etcd_ask(struct etcd *etcd, const char *path, json_t *json, bool repeats,
		     etcd_answer_cb on_answer, void *data)
{
	struct etcd_call *call = calloc(1, sizeof(*call));

	CHECK(call && json);
	call->etcd = etcd;
	call->path = path;
	call->body = json_dumps(json, JSON_COMPACT);
	CHECK(call->body);
	json_decref(json);
	call->repeats = repeats;
	uv_update_time(etcd->loop);
	call->until_ms = uv_now(etcd->loop) + etcd->answer_ms;
	call->on_answer = on_answer;
	call->data = data;
	list_append(&etcd->calls, &call->link);
	etcd_try(call);
}

void etcd_forget(struct etcd *etcd, const void *data)
{
	for (struct list *link = list_first(&etcd->calls); link;
	     link = list_next(&etcd->calls, link)) {
		struct etcd_call *call = LIST_OBJECT(link, struct etcd_call, link);

		if (call->data == data)
			call->on_answer = NULL;
	}
}

void etcd_range(struct etcd *etcd, const struct etcd_range *range, etcd_answer_cb on_answer,
		void *data)
{
	etcd_ask(etcd, "/v3/kv/range", etcd_json_range(range), true, on_answer, data);
}

void etcd_txn(struct etcd *etcd, const struct etcd_txn *txn, etcd_answer_cb on_answer, void *data)
{
	bool only_reads = true;

	for (size_t i = 0; i < txn->success_n; i++)
		only_reads &= txn->success[i].kind == ETCD_OP_RANGE;
	for (size_t i = 0; i < txn->failure_n; i++)
		only_reads &= txn->failure[i].kind == ETCD_OP_RANGE;
	etcd_ask(etcd, "/v3/kv/txn", etcd_json_txn(txn), only_reads, on_answer, data);
}

void etcd_grant(struct etcd *etcd, uint32_t ttl_ms, etcd_answer_cb on_answer, void *data)
{
	json_t *json = json_pack("{s:o}", "TTL", etcd_json_int((ttl_ms + 999) / 1000));

	etcd_ask(etcd, "/v3/lease/grant", json, false, on_answer, data);
}

void etcd_keep(struct etcd *etcd, int64_t lease, etcd_answer_cb on_answer, void *data)
{
	json_t *json = json_pack("{s:o}", "ID", etcd_json_int(lease));

	etcd_ask(etcd, "/v3/lease/keepalive", json, true, on_answer, data);
}

void etcd_revoke(struct etcd *etcd, int64_t lease, etcd_answer_cb on_answer, void *data)
{
	json_t *json = json_pack("{s:o}", "ID", etcd_json_int(lease));

	etcd_ask(etcd, "/v3/lease/revoke", json, true, on_answer, data);
}

/* ---- the client ---- */

int etcd_open(struct etcd **out, uv_loop_t *loop, const struct etcd_options *options,
	      struct err *err)
{
	struct http_client_options http = {.ca_file = options->ca_file};
	struct etcd *etcd = calloc(1, sizeof(*etcd));

	CHECK(etcd);
	etcd->loop = loop;
	list_init(&etcd->calls);
	list_init(&etcd->watches);
	etcd->answer_ms = options->answer_ms ? options->answer_ms : (uint32_t)ETCD_ANSWER_MS;
	if (etcd_take_endpoints(etcd, options->endpoints, err) ||
	    http_client_open(&etcd->http, loop, &http, err)) {
		etcd_close(etcd);
		return -1;
	}
	*out = etcd;
	return 0;
}

void etcd_close(struct etcd *etcd)
{
	struct list *link;

	if (!etcd)
		return;
	etcd_watch_free_all(etcd);
	http_client_close(etcd->http);
	while ((link = list_first(&etcd->calls)))
		etcd_call_free(LIST_OBJECT(link, struct etcd_call, link));
	for (size_t i = 0; i < etcd->endpoints_n; i++)
		free(etcd->endpoints[i]);
	free(etcd);
}
