/*
 * Lets paused sandboxes go on when somebody wants to reach them: the scheduler is asked, once for
 * all who wait, and they wait until the sandbox's shim has bound, or the scheduler says no.  It is
 * asked for every sandbox that has no tunnel, since only it knows which ones are paused; so what is
 * asked at once is bounded, and a sandbox that there is not costs one question.
 */
#include "scheduler/gateway/gateway.h"

#include "common/base/check.h"
#include "common/io/http_client.h"
#include "common/io/log.h"

#include <stdlib.h>

enum { WAKES_MAX = 256 };

struct wake {
	struct list link;
	struct gateway *gateway;
	struct id sandbox;
};

struct wakes {
	struct http_client *http;
	struct list under_way; /* struct wake, link */
	size_t n;
};

int wakes_open(struct gateway *gateway, struct err *err)
{
	struct http_client_options options = {0};

	if (!gateway->options->api_backend.host[0])
		return 0;
	gateway->wakes = calloc(1, sizeof(*gateway->wakes));
	CHECK(gateway->wakes);
	list_init(&gateway->wakes->under_way);
	return http_client_open(&gateway->wakes->http, gateway->loop, &options, err);
}

void wakes_close(struct gateway *gateway)
{
	struct wakes *wakes = gateway->wakes;
	struct list *link;

	if (!wakes)
		return;
	http_client_close(wakes->http);
	while ((link = list_first(&wakes->under_way))) {
		list_remove(link);
		free(LIST_OBJECT(link, struct wake, link));
	}
	free(wakes);
	gateway->wakes = NULL;
}

/* ROUTED: it goes on, or is about to. */
static enum outcome judge(const struct http_client_answer *answer)
{
	switch (answer->status) {
	case 204:
	case 409: /* somebody else lets it go on, or it is being paused: it binds, or time ends it
		   */
		return OUTCOME_ROUTED;
	case 401:
	case 403:
	case 404:
		return OUTCOME_NOT_FOUND;
	case 402:
	case 429:
		return OUTCOME_WAKE_QUOTA;
	default:
		return OUTCOME_WAKE_AWAY;
	}
}

static void on_done(void *data, const struct http_client_answer *answer)
{
	struct wake *wake = data;
	struct gateway *gateway = wake->gateway;
	struct id sandbox = wake->sandbox;
	enum outcome outcome = judge(answer);

	list_remove(&wake->link);
	gateway->wakes->n--;
	free(wake);
	if (outcome == OUTCOME_WAKE_AWAY)
		log_warn("gateway", "a sandbox was not resumed", LOG_TEXT("sandbox", sandbox.text),
			 LOG_INT("status", answer->status));
	if (outcome != OUTCOME_ROUTED)
		clients_on_refused(gateway, &sandbox, outcome);
}

static bool is_under_way(const struct wakes *wakes, const struct id *sandbox)
{
	for (const struct list *link = list_first(&wakes->under_way); link;
	     link = list_next(&wakes->under_way, link))
		if (id_equal(&LIST_OBJECT(link, struct wake, link)->sandbox, sandbox))
			return true;
	return false;
}

bool wake_begin(struct gateway *gateway, const struct id *sandbox)
{
	struct wakes *wakes = gateway->wakes;
	char token[ENVD_TOKEN_TEXT_MAX], address[ADDRESS_TEXT_MAX], url[ADDRESS_TEXT_MAX + 96];
	struct http_client_header header = {"X-Wake-Token", token};
	struct http_client_request request = {.method = "POST",
					      .url = url,
					      .headers = &header,
					      .headers_n = 1,
					      .total_ms = (uint32_t)gateway->options->wake_ms,
					      .body_max = 64 * 1024,
					      .on_done = on_done};
	struct http_client_call *call;
	struct wake *wake;
	struct err err;

	if (!wakes)
		return false;
	if (is_under_way(wakes, sandbox))
		return true;
	if (wakes->n == WAKES_MAX)
		return false;
	wake = calloc(1, sizeof(*wake));
	CHECK(wake);
	*wake = (struct wake){.gateway = gateway, .sandbox = *sandbox};
	request.data = wake;
	fleet_key_wake_token(&gateway->key, sandbox, token);
	address_format(&gateway->options->api_backend, address);
	snprintf(url, sizeof(url), "http://%s/v1/sandboxes/%s/wake", address, sandbox->text);
	if (http_client_start(wakes->http, &request, &call, &err)) {
		log_error("gateway", "cannot ask the scheduler", LOG_ERR(&err));
		free(wake);
		return false;
	}
	list_append(&wakes->under_way, &wake->link);
	wakes->n++;
	return true;
}
