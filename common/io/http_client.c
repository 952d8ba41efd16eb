#include "common/io/http_client_internal.h"

#include "common/base/check.h"

#include <stdlib.h>
#include <string.h>

/* A socket of libcurl that the loop looks after. */
struct http_watcher {
	uv_poll_t poll;
	struct list link;
	struct http_client *client;
	curl_socket_t socket;
};

static void http_free_timer(uv_handle_t *handle)
{
	free(handle);
}

static void http_free_watcher(uv_handle_t *handle)
{
	free(LIST_OBJECT((uv_poll_t *)handle, struct http_watcher, poll));
}

static void http_drop_watcher(struct http_watcher *watcher)
{
	list_remove(&watcher->link);
	uv_poll_stop(&watcher->poll);
	uv_close((uv_handle_t *)&watcher->poll, http_free_watcher);
}

/* ---- the end of a client ---- */

static void http_client_free(struct http_client *client)
{
	struct list *link;

	while ((link = list_first(&client->calls))) {
		struct http_client_call *call = LIST_OBJECT(link, struct http_client_call, link);

		curl_multi_remove_handle(client->multi, call->easy);
		http_call_free(call);
	}
	curl_multi_cleanup(client->multi);
	while ((link = list_first(&client->watchers)))
		http_drop_watcher(LIST_OBJECT(link, struct http_watcher, link));
	uv_close((uv_handle_t *)client->timer, http_free_timer);
	free(client->ca_file);
	free(client);
}

/* ---- in and out of libcurl ---- */

static void http_give(struct http_client *client, struct http_client_call *call)
{
	call->state = HTTP_CALL_RUNNING;
	CHECK(curl_multi_add_handle(client->multi, call->easy) == CURLM_OK);
}

/* What callbacks from within libcurl asked for. */
static void http_carry_out(struct http_client *client)
{
	struct list *link = list_first(&client->calls), *next;

	for (; link; link = next) {
		struct http_client_call *call = LIST_OBJECT(link, struct http_client_call, link);

		next = list_next(&client->calls, link);
		if (call->state == HTTP_CALL_WAITING) {
			http_give(client, call);
		} else if (call->state == HTTP_CALL_CANCELLED) {
			curl_multi_remove_handle(client->multi, call->easy);
			http_call_free(call);
		}
	}
}

static void http_tell_ends(struct http_client *client)
{
	const CURLMsg *message;
	int left_n;

	while (!client->closed && (message = curl_multi_info_read(client->multi, &left_n))) {
		CURL *easy = message->easy_handle;
		CURLcode code = message->data.result;
		char *private = NULL;

		curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
		struct http_client_call *call = (struct http_client_call *)(void *)private;
		call->state = HTTP_CALL_ENDING;
		curl_multi_remove_handle(client->multi, easy);
		http_call_tell(call, code);
		http_call_free(call);
	}
}

static void http_act(struct http_client *client, curl_socket_t socket, int events)
{
	int running_n;

	client->depth++;
	client->in_curl = true;
	curl_multi_socket_action(client->multi, socket, events, &running_n);
	client->in_curl = false;
	http_carry_out(client);
	http_tell_ends(client);
	if (--client->depth == 0 && client->closed)
		http_client_free(client);
}

static void http_on_poll(uv_poll_t *poll, int status, int events)
{
	struct http_watcher *watcher = LIST_OBJECT(poll, struct http_watcher, poll);
	int flags = status < 0 ? CURL_CSELECT_ERR : 0;

	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	http_act(watcher->client, watcher->socket, flags);
}

static int http_on_socket(CURL *easy, curl_socket_t socket, int what, void *user, void *of_socket)
{
	struct http_client *client = user;
	struct http_watcher *watcher = of_socket;
	int events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (watcher)
			http_drop_watcher(watcher);
		curl_multi_assign(client->multi, socket, NULL);
		return 0;
	}
	if (!watcher) {
		watcher = calloc(1, sizeof(*watcher));
		CHECK(watcher);
		watcher->client = client;
		watcher->socket = socket;
		CHECK(uv_poll_init_socket(client->loop, &watcher->poll, socket) == 0);
		list_append(&client->watchers, &watcher->link);
		curl_multi_assign(client->multi, socket, watcher);
	}
	if (what != CURL_POLL_OUT)
		events |= UV_READABLE;
	if (what != CURL_POLL_IN)
		events |= UV_WRITABLE;
	CHECK(uv_poll_start(&watcher->poll, events, http_on_poll) == 0);
	return 0;
}

static void http_on_timer(uv_timer_t *timer)
{
	http_act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int http_on_timeout(CURLM *multi, long ms, void *user)
{
	struct http_client *client = user;

	(void)multi;
	if (ms < 0)
		uv_timer_stop(client->timer);
	else
		uv_timer_start(client->timer, http_on_timer, (uint64_t)ms, 0);
	return 0;
}

/* ---- the contract ---- */

int http_client_open(struct http_client **out, uv_loop_t *loop,
		     const struct http_client_options *options, struct err *err)
{
	static bool is_initialised;

	if (!is_initialised && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return err_set(err, "libcurl does not start");
	is_initialised = true;
	struct http_client *client = calloc(1, sizeof(*client));
	CHECK(client);
	client->loop = loop;
	list_init(&client->calls);
	list_init(&client->watchers);
	client->multi = curl_multi_init();
	client->timer = calloc(1, sizeof(*client->timer));
	CHECK(client->multi && client->timer);
	CHECK(uv_timer_init(loop, client->timer) == 0);
	client->timer->data = client;
	if (options && options->ca_file && options->ca_file[0]) {
		client->ca_file = strdup(options->ca_file);
		CHECK(client->ca_file);
	}
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, http_on_socket);
	curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, http_on_timeout);
	curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
	*out = client;
	return 0;
}

void http_client_close(struct http_client *client)
{
	if (!client || client->closed)
		return;
	client->closed = true;
	for (struct list *link = list_first(&client->calls); link;
	     link = list_next(&client->calls, link)) {
		struct http_client_call *call = LIST_OBJECT(link, struct http_client_call, link);

		if (call->state != HTTP_CALL_ENDING)
			call->state = HTTP_CALL_CANCELLED;
	}
	if (client->depth == 0)
		http_client_free(client);
}

int http_client_start(struct http_client *client, const struct http_client_request *request,
		      struct http_client_call **out_call, struct err *err)
{
	CHECK(!client->closed);
	struct http_client_call *call = http_call_make(client, request, err);
	if (!call)
		return -1;
	list_append(&client->calls, &call->link);
	/* libcurl begins by its timer: nothing is called back from here. */
	if (client->in_curl)
		call->state = HTTP_CALL_WAITING;
	else
		http_give(client, call);
	if (out_call)
		*out_call = call;
	return 0;
}

void http_client_cancel(struct http_client_call *call)
{
	struct http_client *client = call->client;

	if (call->state == HTTP_CALL_ENDING || call->state == HTTP_CALL_CANCELLED)
		return;
	if (client->in_curl) {
		call->state = HTTP_CALL_CANCELLED;
		return;
	}
	curl_multi_remove_handle(client->multi, call->easy);
	http_call_free(call);
}
