#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/io/http_world.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct connection {
	uv_tcp_t tcp;
	struct server *server;
	struct connection *next;
	char request[70000];
	size_t request_n;
	int requests_n;
};

struct written {
	uv_write_t write;
	bool closes;
};

static void on_connection_closed(uv_handle_t *handle)
{
	struct connection *connection = handle->data, **at = &connection->server->open;

	while (*at != connection)
		at = &(*at)->next;
	*at = connection->next;
	free(connection);
}

void connection_close(struct connection *connection)
{
	if (!uv_is_closing((uv_handle_t *)&connection->tcp))
		uv_close((uv_handle_t *)&connection->tcp, on_connection_closed);
}

static void on_written(uv_write_t *write, int status)
{
	struct written *written = (struct written *)(void *)write;

	(void)status;
	if (written->closes)
		connection_close(write->handle->data);
	free(written);
}

static void server_say(struct connection *connection, const char *text, bool closes)
{
	struct written *written = calloc(1, sizeof(*written));
	uv_buf_t buffer = uv_buf_init((char *)(uintptr_t)text, (unsigned)strlen(text));

	written->closes = closes;
	uv_write(&written->write, (uv_stream_t *)&connection->tcp, &buffer, 1, on_written);
}

/* True: it is whole. */
static bool server_take(struct connection *connection)
{
	char *end = strstr(connection->request, "\r\n\r\n");
	const char *length = strcasestr(connection->request, "\r\nContent-Length:");

	if (!end)
		return false;
	size_t whole_n = (size_t)(end + 4 - connection->request) +
			 (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
	return connection->request_n >= whole_n;
}

static void on_room(uv_handle_t *handle, size_t wanted, uv_buf_t *out)
{
	struct connection *connection = handle->data;

	(void)wanted;
	*out = uv_buf_init(connection->request + connection->request_n,
			   (unsigned)(sizeof(connection->request) - connection->request_n - 1));
}

static void on_request(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct connection *connection = stream->data;
	struct server *server = connection->server;

	(void)buffer;
	if (n < 0) {
		connection_close(connection);
		return;
	}
	connection->request_n += (size_t)n;
	connection->request[connection->request_n] = 0;
	if (!server_take(connection))
		return;
	snprintf(server->last, sizeof(server->last), "%.8000s", connection->request);
	server->requests_n++;
	connection->requests_n++;
	connection->request_n = 0;
	if (server->dead_from && connection->requests_n >= server->dead_from)
		connection_close(connection);
	else if (server->answer)
		server_say(connection, server->answer, server->closes);
}

static void on_client(uv_stream_t *listener, int status)
{
	struct server *server = listener->data;
	struct connection *connection = calloc(1, sizeof(*connection));

	assert_int_equal(status, 0);
	server->connections_n++;
	connection->server = server;
	connection->next = server->open;
	server->open = connection;
	uv_tcp_init(server->loop, &connection->tcp);
	connection->tcp.data = connection;
	assert_int_equal(uv_accept(listener, (uv_stream_t *)&connection->tcp), 0);
	uv_read_start((uv_stream_t *)&connection->tcp, on_room, on_request);
}

void world_open(struct world *world)
{
	struct sockaddr_in at;
	int at_n = sizeof(at);
	struct err err;

	alarm(60);
	memset(world, 0, sizeof(*world));
	uv_loop_init(&world->loop);
	world->server.loop = &world->loop;
	uv_tcp_init(&world->loop, &world->server.listener);
	world->server.listener.data = &world->server;
	uv_ip4_addr("127.0.0.1", 0, &at);
	uv_tcp_bind(&world->server.listener, (struct sockaddr *)&at, 0);
	assert_int_equal(uv_listen((uv_stream_t *)&world->server.listener, 64, on_client), 0);
	uv_tcp_getsockname(&world->server.listener, (struct sockaddr *)&at, &at_n);
	snprintf(world->url, sizeof(world->url), "http://127.0.0.1:%d/a/../b?q=1",
		 ntohs(at.sin_port));
	assert_int_equal(http_client_open(&world->client, &world->loop, NULL, &err), 0);
}

void world_close(struct world *world)
{
	http_client_close(world->client);
	if (!uv_is_closing((uv_handle_t *)&world->server.listener))
		uv_close((uv_handle_t *)&world->server.listener, NULL);
	for (struct connection *at = world->server.open; at; at = at->next)
		connection_close(at);
	uv_run(&world->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&world->loop), 0);
	alarm(0);
}

void on_done(void *data, const struct http_client_answer *answer)
{
	struct world *world = data;
	const char *header = http_client_answer_header(answer, "x-colour");

	uv_stop(&world->loop);
	world->done_n++;
	world->answer = *answer;
	snprintf(world->body, sizeof(world->body), "%.*s", (int)answer->body_n,
		 (const char *)answer->body);
	snprintf(world->header, sizeof(world->header), "%s", header ? header : "none");
}

struct http_client_request request_of(struct world *world)
{
	return (struct http_client_request){
		.url = world->url, .body_max = 1000, .on_done = on_done, .data = world};
}

void start(struct world *world, const struct http_client_request *request)
{
	struct err err;

	if (http_client_start(world->client, request, &world->call, &err))
		fail_msg("%s", err.text);
}

void await(struct world *world, int done_n)
{
	while (world->done_n < done_n)
		uv_run(&world->loop, UV_RUN_DEFAULT);
	assert_int_equal(world->done_n, done_n);
}

void ask(struct world *world, const struct http_client_request *request)
{
	start(world, request);
	await(world, world->done_n + 1);
}
