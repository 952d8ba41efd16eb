/* The server: socket, MHD's daemon, the loop, and clients that take too long. */
#include "scheduler/shell/api/http_internal.h"

#include "common/base/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
	http->closing = true;
	if (http->daemon) {
		MHD_run(http->daemon); /* lets answers out that are ready */
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
