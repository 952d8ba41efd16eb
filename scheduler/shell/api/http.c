#include "scheduler/shell/api/http.h"

#include "common/base/check.h"

#include <errno.h>
#include <microhttpd.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	HTTP_BACKLOG = 512,
	HTTP_HEAD_MAX = 16 * 1024, /* request line and headers, and room for an answer's head */
	HTTP_DRAIN_MAX = 8 << 20,  /* of a body that is too long: then the connection is cut */
	HTTP_SWEEP_MS = 1000,
	HTTP_HELD_BITS = 20,
};

struct http_connection {
	struct http_connection *next, *prev;
	int fd;
	uint64_t since_ms; /* of the last sign of good will: opened, or a request completed */
	struct http_request *request; /* NULL between two */
};

struct http_header_line {
	const char *name;
	char value[HTTP_HEADER_TEXT_MAX];
};

struct http_request {
	struct http *http;
	struct MHD_Connection *connection;
	struct http_connection *link; /* NULL until the head is complete */
	const char *method;
	char *target;
	char *body;
	size_t body_n, body_cap;
	size_t drained_n; /* bytes thrown away, because the body is too long */
	bool begun, too_long;
	char id[HTTP_REQUEST_ID_MAX];
	void *data;
	/* held */
	uint64_t number;
	bool held;
	/* answered */
	bool answered;
	int status;
	const char *type;
	char *answer;
	size_t answer_n;
	struct http_header_line headers[HTTP_HEADERS_MAX];
	size_t headers_n;
};

struct http {
	struct MHD_Daemon *daemon;
	struct http_options options;
	int listen_fd;
	struct address address;
	uv_poll_t *poll; /* this and the timers are freed by their close callbacks */
	uv_timer_t *timeout, *sweep;
	struct http_connection connections; /* a ring */
	bool resumed, running;
	struct http_request **held; /* by slot: number & mask */
	uint32_t held_cap;
	uint64_t generation;
	struct http_counts counts;
};

/* ---- the loop ---- */

static void http_on_timeout(uv_timer_t *timer);

static void http_run(struct http *http)
{
	MHD_UNSIGNED_LONG_LONG wait_ms;

	CHECK(!http->running);
	http->running = true;
	do {
		http->resumed = false;
		MHD_run(http->daemon);
	} while (http->resumed);
	http->running = false;
	if (MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES)
		uv_timer_start(http->timeout, http_on_timeout, wait_ms, 0);
	else
		uv_timer_stop(http->timeout);
}

static void http_on_timeout(uv_timer_t *timer)
{
	http_run(timer->data);
}

static void http_on_poll(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	http_run(poll->data);
}

void http_flush(struct http *http)
{
	if (http->resumed && !http->running)
		http_run(http);
}

/*
 * A client may dribble its request or its reading of the answer for ever without ever being idle,
 * which is all that MHD's own timeout looks at.
 */
static void http_on_sweep(uv_timer_t *timer)
{
	struct http *http = timer->data;
	uint64_t now_ms = uv_now(timer->loop);
	struct http_connection *at;

	for (at = http->connections.next; at != &http->connections; at = at->next) {
		if (at->request && at->request->held)
			continue;
		/* Between requests a quiet connection is MHD's to close; one that outlives it is
		 * not quiet. */
		uint64_t patience_ms =
			(uint64_t)http->options.patience_s * (at->request ? 1000 : 2000);
		if (now_ms - at->since_ms < patience_ms)
			continue;
		http->counts.cut_off++;
		at->since_ms = now_ms;
		shutdown(at->fd, SHUT_RDWR);
	}
}

/* ---- held requests ---- */

uint64_t http_hold(struct http_request *request)
{
	struct http *http = request->http;
	uint32_t slot = 0;

	CHECK(!request->held && !request->answered);
	while (slot < http->held_cap && http->held[slot])
		slot++;
	CHECK(slot < http->held_cap); /* as many slots as connections */
	http->held[slot] = request;
	request->number = (++http->generation << HTTP_HELD_BITS) | slot;
	request->held = true;
	http->counts.held++;
	return request->number;
}

struct http_request *http_held(struct http *http, uint64_t number)
{
	uint64_t slot = number & ((1u << HTTP_HELD_BITS) - 1);
	struct http_request *request = slot < http->held_cap ? http->held[slot] : NULL;

	return request && request->number == number ? request : NULL;
}

struct http_request *http_any_held(struct http *http)
{
	for (uint32_t slot = 0; slot < http->held_cap; slot++)
		if (http->held[slot])
			return http->held[slot];
	return NULL;
}

static void http_release(struct http_request *request)
{
	request->http->held[request->number & ((1u << HTTP_HELD_BITS) - 1)] = NULL;
	request->held = false;
	request->http->counts.held--;
}

/* ---- answers ---- */

void http_add_header(struct http_request *request, const char *name, const char *value)
{
	struct http_header_line *line = &request->headers[request->headers_n];

	CHECK(request->headers_n < HTTP_HEADERS_MAX);
	request->headers_n++;
	line->name = name;
	snprintf(line->value, sizeof(line->value), "%s", value);
}

static enum MHD_Result http_queue(struct http_request *request)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		request->answer_n, request->answer ? request->answer : (char *)"",
		request->answer ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
	enum MHD_Result result;

	CHECK(response);
	request->answer = NULL; /* the response's */
	if (request->type)
		MHD_add_response_header(response, "Content-Type", request->type);
	MHD_add_response_header(response, "X-Request-Id", request->id);
	for (size_t i = 0; i < request->headers_n; i++)
		MHD_add_response_header(response, request->headers[i].name,
					request->headers[i].value);
	result = MHD_queue_response(request->connection, (unsigned)request->status, response);
	MHD_destroy_response(response);
	return result;
}

void http_answer(struct http_request *request, int status, const char *type, char *body,
		 size_t body_n)
{
	CHECK(!request->answered);
	request->answered = true;
	request->status = status;
	request->type = type;
	request->answer = body;
	request->answer_n = body_n;
	if (!request->held)
		return;
	http_release(request);
	if (request->link)
		request->link->since_ms = uv_now(request->http->timeout->loop);
	MHD_resume_connection(request->connection);
	request->http->resumed = true;
}

/* ---- requests ---- */

static void http_take_id(struct http_request *request)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "._-";
	const char *theirs = http_header(request, "X-Request-Id");
	size_t n = theirs ? strlen(theirs) : 0;
	uint8_t random[12];

	if (n > 0 && n < sizeof(request->id) && strspn(theirs, good) == n) {
		memcpy(request->id, theirs, n + 1);
		return;
	}
	randombytes_buf(random, sizeof(random));
	memcpy(request->id, "req_", 4);
	sodium_bin2hex(request->id + 4, sizeof(request->id) - 4, random, sizeof(random));
}

static void *http_on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
	struct http_request *request = calloc(1, sizeof(*request));

	CHECK(request);
	request->http = cls;
	request->connection = connection;
	request->target = strdup(uri);
	CHECK(request->target);
	return request;
}

static enum MHD_Result http_begin(struct http_request *request, const char *method)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	const char *length = http_header(request, "Content-Length");

	request->begun = true;
	request->method = method;
	request->link = info ? info->socket_context : NULL;
	if (request->link) {
		request->link->request = request;
		request->link->since_ms = uv_now(request->http->timeout->loop);
	}
	http_take_id(request);
	request->http->counts.requests++;
	/* Said early, so that a client that asked (Expect) need not send what nobody reads. */
	if (!length || strtoull(length, NULL, 10) <= request->http->options.body_max)
		return MHD_YES;
	request->too_long = true;
	request->http->options.on_request(request->http->options.data, request);
	CHECK(request->answered);
	return http_queue(request);
}

static enum MHD_Result http_take_body(struct http_request *request, const char *data, size_t *n)
{
	size_t need = request->body_n + *n;

	if (request->too_long || need > request->http->options.body_max) {
		request->too_long = true;
		request->drained_n += *n;
		*n = 0;
		return request->drained_n <= HTTP_DRAIN_MAX ? MHD_YES : MHD_NO;
	}
	if (need + 1 > request->body_cap) {
		request->body_cap = need * 2 + 256;
		request->body = realloc(request->body, request->body_cap);
		CHECK(request->body);
	}
	memcpy(request->body + request->body_n, data, *n);
	request->body_n = need;
	request->body[need] = 0;
	*n = 0;
	return MHD_YES;
}

static enum MHD_Result http_on_access(void *cls, struct MHD_Connection *connection, const char *url,
				      const char *method, const char *version,
				      const char *upload_data, size_t *upload_data_n,
				      void **request_cls)
{
	struct http_request *request = *request_cls;

	(void)cls;
	(void)connection;
	(void)url;
	(void)version;
	if (!request)
		return MHD_NO;
	if (!request->begun)
		return http_begin(request, method);
	if (*upload_data_n > 0)
		return http_take_body(request, upload_data, upload_data_n);
	if (!request->answered && !request->held)
		request->http->options.on_request(request->http->options.data, request);
	if (request->answered)
		return http_queue(request);
	CHECK(request->held);
	MHD_suspend_connection(connection);
	return MHD_YES;
}

static void http_on_completed(void *cls, struct MHD_Connection *connection, void **request_cls,
			      enum MHD_RequestTerminationCode code)
{
	struct http_request *request = *request_cls;

	(void)cls;
	(void)connection;
	(void)code;
	if (!request)
		return;
	CHECK(!request->held);
	if (request->link) {
		request->link->request = NULL;
		request->link->since_ms = uv_now(request->http->timeout->loop);
	}
	free(request->target);
	free(request->body);
	free(request->answer);
	free(request);
	*request_cls = NULL;
}

static void http_on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
			       enum MHD_ConnectionNotificationCode code)
{
	struct http *http = cls;
	struct http_connection *link = *socket_context;

	switch (code) {
	case MHD_CONNECTION_NOTIFY_STARTED:
		link = calloc(1, sizeof(*link));
		CHECK(link);
		link->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)
				   ->connect_fd;
		link->since_ms = uv_now(http->timeout->loop);
		link->next = http->connections.next;
		link->prev = &http->connections;
		link->next->prev = link->prev->next = link;
		http->counts.connections++;
		*socket_context = link;
		return;
	case MHD_CONNECTION_NOTIFY_CLOSED:
		link->next->prev = link->prev;
		link->prev->next = link->next;
		http->counts.connections--;
		free(link);
		*socket_context = NULL;
		return;
	}
}

/* ---- open and close ---- */

static int http_listen(struct http *http, struct err *err)
{
	struct sockaddr_storage at;
	socklen_t at_n = sizeof(at);
	int yes = 1;

	if (!address_to_sockaddr(&http->options.listen, &at))
		return err_set(err, "not a numeric address: %s", http->options.listen.host);
	http->listen_fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (http->listen_fd < 0)
		return err_errno(err, errno, "socket");
	setsockopt(http->listen_fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	at_n = at.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	if (bind(http->listen_fd, (struct sockaddr *)&at, at_n) ||
	    listen(http->listen_fd, HTTP_BACKLOG))
		return err_errno(err, errno, "bind");
	at_n = sizeof(at);
	if (getsockname(http->listen_fd, (struct sockaddr *)&at, &at_n) ||
	    !address_from_sockaddr((struct sockaddr *)&at, &http->address))
		return err_errno(err, errno, "getsockname");
	return 0;
}

static size_t http_keep_escapes(void *cls, struct MHD_Connection *connection, char *text)
{
	(void)cls;
	(void)connection;
	return strlen(text);
}

static int http_start(struct http *http, struct err *err)
{
	http->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, http_on_access, http,
		MHD_OPTION_LISTEN_SOCKET, http->listen_fd, MHD_OPTION_CONNECTION_LIMIT,
		http->options.connections_max, MHD_OPTION_CONNECTION_TIMEOUT,
		http->options.patience_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_HEAD_MAX,
		MHD_OPTION_URI_LOG_CALLBACK, http_on_uri, http, MHD_OPTION_NOTIFY_COMPLETED,
		http_on_completed, http, MHD_OPTION_NOTIFY_CONNECTION, http_on_connection, http,
		MHD_OPTION_UNESCAPE_CALLBACK, http_keep_escapes, NULL, MHD_OPTION_STRICT_FOR_CLIENT,
		1, MHD_OPTION_END);
	if (!http->daemon)
		return err_set(err, "libmicrohttpd does not start");
	http->listen_fd = -1; /* MHD closes it */
	return 0;
}

static void *http_handle(size_t n, struct http *http)
{
	uv_handle_t *handle = calloc(1, n);

	CHECK(handle);
	handle->data = http;
	return handle;
}

int http_open(struct http **out_http, uv_loop_t *loop, const struct http_options *options,
	      struct err *err)
{
	struct http *http = calloc(1, sizeof(*http));
	const union MHD_DaemonInfo *info;

	CHECK(http && options->connections_max < 1u << HTTP_HELD_BITS);
	http->options = *options;
	http->listen_fd = -1;
	http->connections.next = http->connections.prev = &http->connections;
	http->held_cap = options->connections_max + 1;
	http->held = calloc(http->held_cap, sizeof(struct http_request *));
	CHECK(http->held);
	http->timeout = http_handle(sizeof(*http->timeout), http);
	http->sweep = http_handle(sizeof(*http->sweep), http);
	uv_timer_init(loop, http->timeout);
	uv_timer_init(loop, http->sweep);
	if (http_listen(http, err) || http_start(http, err))
		goto fail;
	info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	CHECK(info && info->epoll_fd >= 0);
	http->poll = http_handle(sizeof(*http->poll), http);
	CHECK(uv_poll_init(loop, http->poll, info->epoll_fd) == 0);
	uv_poll_start(http->poll, UV_READABLE, http_on_poll);
	uv_timer_start(http->sweep, http_on_sweep, HTTP_SWEEP_MS, HTTP_SWEEP_MS);
	*out_http = http;
	return 0;
fail:
	http_close(http);
	return err_wrap(err, "api");
}

static void http_free_handle(uv_handle_t *handle)
{
	free(handle);
}

void http_close(struct http *http)
{
	struct http_request *request;

	if (!http)
		return;
	while ((request = http_any_held(http)) != NULL)
		http_answer(request, 503, NULL, NULL, 0);
	if (http->poll)
		uv_close((uv_handle_t *)http->poll, http_free_handle);
	if (http->daemon) {
		MHD_run(http->daemon);
		MHD_stop_daemon(http->daemon);
	}
	if (http->listen_fd >= 0)
		close(http->listen_fd);
	uv_close((uv_handle_t *)http->timeout, http_free_handle);
	uv_close((uv_handle_t *)http->sweep, http_free_handle);
	free(http->held);
	free(http);
}

/* ---- questions ---- */

struct address http_address(const struct http *http)
{
	return http->address;
}

struct http_counts http_count(const struct http *http)
{
	return http->counts;
}

const char *http_method(const struct http_request *request)
{
	return request->method;
}

const char *http_target(const struct http_request *request)
{
	return request->target;
}

const char *http_header(const struct http_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *http_body(const struct http_request *request, size_t *out_n)
{
	*out_n = request->body_n;
	return request->body ? request->body : "";
}

const char *http_request_id(const struct http_request *request)
{
	return request->id;
}

bool http_is_too_long(const struct http_request *request)
{
	return request->too_long;
}

void http_set_data(struct http_request *request, void *data)
{
	request->data = data;
}

void *http_data(const struct http_request *request)
{
	return request->data;
}
