/*
 * Lets paused sandboxes go on when somebody wants to reach them: the scheduler is asked, once for
 * all who wait, and they wait until the sandbox's shim has bound, or the scheduler says no.  It is
 * asked for every sandbox that has no tunnel, since only it knows which ones are paused; so what is
 * asked at once is bounded, and a sandbox that there is not costs one question.
 *
 * While somebody waits, a yes is asked for again: the scheduler hears of a sandbox's end, or that
 * it is paused, later than its tunnel is gone, and until then says that it runs.
 */
#include "scheduler/gateway/gateway.h"

#include "common/base/check.h"
#include "common/io/http_client.h"
#include "common/io/log.h"

#include <stdlib.h>

enum { WAKES_MAX = 256, AGAIN_MS = 250 };

struct wake {
	struct list link;
	struct gateway *gateway;
	struct id sandbox;
	bool is_asked; /* no answer yet */
};

struct wakes {
	struct http_client *http;
	struct list all; /* struct wake, link */
	size_t asked_n;
	uv_timer_t again; /* runs while there are any */
};

static void on_again(uv_timer_t *timer);

int wakes_open(struct gateway *gateway, struct err *err)
{
	struct http_client_options options = {0};

	if (!gateway->options->api_backend.host[0])
		return 0;
	gateway->wakes = calloc(1, sizeof(*gateway->wakes));
	CHECK(gateway->wakes);
	list_init(&gateway->wakes->all);
	uv_timer_init(gateway->loop, &gateway->wakes->again);
	gateway->wakes->again.data = gateway;
	return http_client_open(&gateway->wakes->http, gateway->loop, &options, err);
}

static void forget(struct wake *wake)
{
	list_remove(&wake->link);
	free(wake);
}

static void on_closed(uv_handle_t *timer)
{
	free((char *)timer - offsetof(struct wakes, again));
}

void wakes_close(struct gateway *gateway)
{
	struct wakes *wakes = gateway->wakes;
	struct list *link;

	if (!wakes)
		return;
	http_client_close(wakes->http);
	while ((link = list_first(&wakes->all)))
		forget(LIST_OBJECT(link, struct wake, link));
	uv_close((uv_handle_t *)&wakes->again, on_closed);
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

	wake->is_asked = false;
	gateway->wakes->asked_n--;
	if (outcome == OUTCOME_ROUTED)
		return;
	forget(wake);
	if (outcome == OUTCOME_WAKE_AWAY)
		log_warn("gateway", "a sandbox was not resumed", LOG_TEXT("sandbox", sandbox.text),
			 LOG_INT("status", answer->status));
	clients_on_refused(gateway, &sandbox, outcome);
}

static bool ask(struct gateway *gateway, struct wake *wake)
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
					      .data = wake,
					      .on_done = on_done};
	struct http_client_call *call;
	struct err err;

	fleet_key_wake_token(&gateway->key, &wake->sandbox, token);
	address_format(&gateway->options->api_backend, address);
	snprintf(url, sizeof(url), "http://%s/v1/sandboxes/%s/wake", address, wake->sandbox.text);
	if (http_client_start(wakes->http, &request, &call, &err)) {
		log_error("gateway", "cannot ask the scheduler", LOG_ERR(&err));
		return false;
	}
	wake->is_asked = true;
	wakes->asked_n++;
	return true;
}

static void on_again(uv_timer_t *timer)
{
	struct gateway *gateway = timer->data;
	struct wakes *wakes = gateway->wakes;
	struct list *link = list_first(&wakes->all);

	while (link) {
		struct wake *wake = LIST_OBJECT(link, struct wake, link);

		link = list_next(&wakes->all, link);
		if (wake->is_asked)
			continue;
		if (!clients_wait_for(gateway, &wake->sandbox))
			forget(wake);
		else if (wakes->asked_n < WAKES_MAX)
			ask(gateway, wake);
	}
	if (!list_first(&wakes->all))
		uv_timer_stop(timer);
}

static bool is_under_way(const struct wakes *wakes, const struct id *sandbox)
{
	for (const struct list *link = list_first(&wakes->all); link;
	     link = list_next(&wakes->all, link))
		if (id_equal(&LIST_OBJECT(link, struct wake, link)->sandbox, sandbox))
			return true;
	return false;
}

bool wake_begin(struct gateway *gateway, const struct id *sandbox)
{
	struct wakes *wakes = gateway->wakes;
	struct wake *wake;

	if (!wakes)
		return false;
	if (is_under_way(wakes, sandbox))
		return true;
	if (wakes->asked_n >= WAKES_MAX)
		return false;
	wake = calloc(1, sizeof(*wake));
	CHECK(wake);
	*wake = (struct wake){.gateway = gateway, .sandbox = *sandbox};
	if (!ask(gateway, wake)) {
		free(wake);
		return false;
	}
	list_append(&wakes->all, &wake->link);
	if (!uv_is_active((uv_handle_t *)&wakes->again))
		uv_timer_start(&wakes->again, on_again, AGAIN_MS, AGAIN_MS);
	return true;
}
