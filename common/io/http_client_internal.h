/* Shared by the two halves of the HTTP client: http_client.c has the loop, http_call.c one call. */
#ifndef FLOTILLA_IO_HTTP_CLIENT_INTERNAL_H
#define FLOTILLA_IO_HTTP_CLIENT_INTERNAL_H

#include "common/base/list.h"
#include "common/io/http_client.h"

#include <curl/curl.h>

struct http_client {
	uv_loop_t *loop;
	CURLM *multi;
	uv_timer_t *timer; /* freed by its own close callback */
	struct list calls; /* all there are */
	struct list watchers;
	char *ca_file; /* or NULL */
	/* libcurl must not be re-entered from its own callbacks, and nothing freed under the feet
	 * of a callback: what is asked for meanwhile is done at the end of it. */
	bool in_curl;
	unsigned depth;
	bool closed;
};

enum http_call_state {
	HTTP_CALL_WAITING, /* started from within libcurl: not given to it yet */
	HTTP_CALL_RUNNING,
	HTTP_CALL_ENDING,    /* on_done is being called */
	HTTP_CALL_CANCELLED, /* from within libcurl: to be freed at the end of it */
};

struct http_client_call {
	struct list link;
	struct http_client *client;
	enum http_call_state state;
	CURL *easy;
	struct curl_slist *lines;
	char *target; /* "POST http://host/path", for faults */
	char curl_text[CURL_ERROR_SIZE];
	struct err fault; /* ours, rather than libcurl's; empty: none */

	char *head; /* name NUL value NUL, again and again */
	size_t head_n;
	struct http_client_header headers[HTTP_CLIENT_HEADERS_MAX];
	size_t headers_n;
	bool head_is_whole;

	uint8_t *body;
	size_t body_n, body_room, body_max;

	http_client_done_cb on_done;
	http_client_head_cb on_head;
	http_client_body_cb on_body;
	void *data;
};

/* A call with its easy handle, not given to the multi yet. NULL and err: it cannot be one. */
struct http_client_call *http_call_make(struct http_client *client,
					const struct http_client_request *request, struct err *err);
/* What libcurl's code has made of it, told to on_done. */
void http_call_tell(struct http_client_call *call, CURLcode code);
void http_call_free(struct http_client_call *call);

#endif
