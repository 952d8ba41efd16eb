#include "scheduler/shell/api/forward.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "scheduler/shell/api/door.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
	FORWARD_CONNECT_MS = 1000,
	FORWARD_TOTAL_MS = 60 * 1000, /* the leader's own patience ends before */
	FORWARD_LATE_MS = 5000,       /* for who does not lead any more, but may have the answer */
	FORWARD_ANSWER_MAX = 32 << 20,
	FORWARD_HEADERS_MAX = 64,
};

/* Says that a replica sent it, and which; a request goes from one replica to another only once. */
#define FORWARDED "X-Flotilla-Forwarded-By"
/* In an answer to such a request: nothing was done, because this is not the leader. */
#define NOT_LEADER "X-Flotilla-Not-Leader"

bool forward_was_forwarded(const struct api_call *call)
{
	return http_header(call->request, FORWARDED) != NULL;
}

void forward_refuse(struct api_call *call)
{
	http_add_header(call->request, NOT_LEADER, call->api->options.replica_name);
	api_refuse(call, REFUSAL_NO_LEADER);
}

/* ---- the request ---- */

struct forward_headers {
	struct http_client_header items[FORWARD_HEADERS_MAX];
	size_t n;
};

/* Those that are about one connection, or that the client makes itself. */
static bool is_of_connection(const char *name)
{
	static const char *const names[] = {
		"Connection",        "Content-Length",   "Expect",       "Host",
		"Keep-Alive",        "Proxy-Connection", "TE",           "Trailer",
		"Transfer-Encoding", "Upgrade",          "X-Request-Id", FORWARDED,
	};

	for (size_t i = 0; i < ARRAY_N(names); i++)
		if (strcasecmp(name, names[i]) == 0)
			return true;
	return false;
}

static void take_header(void *data, const char *name, const char *value)
{
	struct forward_headers *headers = data;

	/* Two places are kept for ours. */
	if (value && !is_of_connection(name) && headers->n < FORWARD_HEADERS_MAX - 2)
		headers->items[headers->n++] = (struct http_client_header){name, value};
}

/* ---- the answer ---- */

static void pass_headers(struct api_call *call, const struct http_client_answer *answer)
{
	static const char *const names[] = {
		"Content-Type",         "X-Next-Token",     "X-Total-Running", "Retry-After",
		"Idempotency-Replayed", "WWW-Authenticate", "Allow",
	};

	for (size_t i = 0; i < ARRAY_N(names); i++) {
		const char *value = http_client_answer_header(answer, names[i]);
		if (value)
			http_add_header(call->request, names[i], value);
	}
}

static void pass_answer(struct api_call *call, const struct http_client_answer *answer)
{
	char *body = malloc(answer->body_n + 1);

	CHECK(body);
	memcpy(body, answer->body, answer->body_n);
	pass_headers(call, answer);
	call->api->options.metrics->forwarded++;
	api_pass(call, answer->status, body, answer->body_n);
}

static void lost(struct api_call *call, const struct err *err)
{
	log_warn("api", "the leader was lost with a request of ours",
		 LOG_TEXT("request", http_request_id(call->request)), LOG_ERR(err));
	api_fail(call, 502, "outcome_unknown", "",
		 "The leader was lost while it had this request: whether it was carried out is "
		 "not known");
}

static void on_done(void *data, const struct http_client_answer *answer)
{
	struct api_call *call = data;
	struct api *api = call->api;

	call->forwarded = NULL;
	if (answer->status && !http_client_answer_header(answer, NOT_LEADER)) {
		pass_answer(call, answer);
	} else if (answer->status || !answer->sent) {
		door_again(call);
	} else if (door_is_repeatable(call)) {
		call->wait_until_ms = 0; /* the next leader is waited for from now on */
		door_again(call);
	} else {
		lost(call, &answer->err);
	}
	http_flush(api->http);
}

void forward_start(struct api_call *call, const struct ha_peer *leader)
{
	struct api *api = call->api;
	struct forward_headers headers = {.n = 0};
	struct http_client_request request = {
		.method = http_method(call->request),
		.connect_ms = FORWARD_CONNECT_MS,
		.total_ms = FORWARD_TOTAL_MS,
		.body_max = FORWARD_ANSWER_MAX,
		.once = !door_is_repeatable(call),
		.on_done = on_done,
		.data = call,
	};
	size_t url_n = strlen(leader->api) + strlen(http_target(call->request)) + sizeof("http://");
	char *url = malloc(url_n);
	struct err err;

	CHECK(url);
	snprintf(url, url_n, "http://%s%s", leader->api, http_target(call->request));
	http_each_header(call->request, take_header, &headers);
	headers.items[headers.n++] =
		(struct http_client_header){"X-Request-Id", http_request_id(call->request)};
	headers.items[headers.n++] =
		(struct http_client_header){FORWARDED, api->options.replica_name};
	snprintf(call->forwarded_to, sizeof(call->forwarded_to), "%s", leader->api);
	call->give_up_ms = 0;
	request.url = url;
	request.headers = headers.items;
	request.headers_n = headers.n;
	request.body = http_body(call->request, &request.body_n);
	http_hold(call->request);
	http_set_data(call->request, call);
	if (http_client_start(api->client, &request, &call->forwarded, &err)) {
		log_warn("api", "cannot forward", LOG_ERR(&err));
		api_fail(call, 400, "invalid_request", "", "This request cannot be forwarded: %s",
			 err.text);
	}
	free(url);
}

void forward_look(struct api *api)
{
	const struct ha_peer *leader =
		api->options.leader ? api->options.leader(api->options.data) : NULL;
	struct http_request *request;
	uint32_t slot = 0;

	while (leader && (request = http_next_held(api->http, &slot)) != NULL) {
		struct api_call *call = http_data(request);
		if (!call || !call->forwarded)
			continue;
		if (strcmp(call->forwarded_to, leader->api) == 0) {
			call->give_up_ms = 0;
			continue;
		}
		if (!door_is_repeatable(call)) {
			if (!call->give_up_ms)
				call->give_up_ms = uv_hrtime() / 1000000 + FORWARD_LATE_MS;
			continue;
		}
		http_client_cancel(call->forwarded);
		call->forwarded = NULL;
		call->wait_until_ms = 0;
		door_again(call);
	}
}

bool forward_give_up(struct api *api)
{
	uint64_t now_ms = uv_hrtime() / 1000000;
	struct http_request *request;
	uint32_t slot = 0;
	bool some_wait = false;

	while ((request = http_next_held(api->http, &slot)) != NULL) {
		struct api_call *call = http_data(request);
		struct err err;

		if (!call || !call->forwarded || !call->give_up_ms)
			continue;
		if (now_ms < call->give_up_ms) {
			some_wait = true;
			continue;
		}
		err_set(&err, "%s does not lead any more, and does not answer", call->forwarded_to);
		http_client_cancel(call->forwarded);
		call->forwarded = NULL;
		lost(call, &err);
	}
	return some_wait;
}
