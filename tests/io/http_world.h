/* A server that says, byte by byte, what a test wants it to say, and a client that asks it. Include
 * after cmocka.h. */
#ifndef FLOTILLA_TESTS_IO_HTTP_WORLD_H
#define FLOTILLA_TESTS_IO_HTTP_WORLD_H

#include "common/io/http_client.h"

#include <stdbool.h>
#include <uv.h>

/* One script for all connections. */
struct server {
	uv_loop_t *loop;
	uv_tcp_t listener;
	const char *answer; /* to each whole request; NULL: silence */
	bool closes;        /* after it */
	int dead_from;      /* this request of a connection and later ones: closed unanswered */
	int requests_n, connections_n;
	char last[8192]; /* the last request, whole */
	struct connection *open;
};

struct world {
	uv_loop_t loop;
	struct server server;
	struct http_client *client;
	char url[128];
	int done_n, heads_n, bodies_n;
	struct http_client_answer answer; /* the last one's plain members */
	char body[1024], header[128];
	struct http_client_call *call;
};

void world_open(struct world *world);
void world_close(struct world *world);

struct connection;
void connection_close(struct connection *connection);

/* A GET of world->url that ends in on_done, which keeps the answer in the world. */
struct http_client_request request_of(struct world *world);
void on_done(void *data, const struct http_client_answer *answer);
void start(struct world *world, const struct http_client_request *request);
/* Runs the loop until so many were told of in all, and no more. */
void await(struct world *world, int done_n);
void ask(struct world *world, const struct http_client_request *request);

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Colour: red\r\n\r\nhi"

#endif
