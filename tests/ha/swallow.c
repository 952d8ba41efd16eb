#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/ha/swallow.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "/flotilla/d/" in base64, which a transaction that writes a decision carries; what only reads has
 * another path, and one that settles has the leader's key in front. */
#define DECISION_MARK "\"request_put\":{\"key\":\"L2Zsb3RpbGxhL2Qv"

struct swallow_pair {
	struct swallow *swallow;
	struct swallow_pair *next;
	uv_tcp_t client, server; /* the server's side is connected at once */
	uv_connect_t connect;
	char *held; /* what the client has sent and etcd has not heard */
	size_t held_n;
	bool is_connected, is_swallowing, is_held;
	int closing_n;
};

struct swallow_write {
	uv_write_t write;
	char *bytes;
};

static void on_written(uv_write_t *write, int status)
{
	struct swallow_write *job = (struct swallow_write *)(void *)write;

	(void)status;
	free(job->bytes);
	free(job);
}

static void send_on(uv_tcp_t *to, const char *bytes, size_t n)
{
	struct swallow_write *job = malloc(sizeof(*job));

	if (uv_is_closing((uv_handle_t *)to) || n == 0) {
		free(job);
		return;
	}
	job->bytes = malloc(n);
	memcpy(job->bytes, bytes, n);
	uv_buf_t buffer = uv_buf_init(job->bytes, (unsigned)n);
	if (uv_write(&job->write, (uv_stream_t *)to, &buffer, 1, on_written)) {
		free(job->bytes);
		free(job);
	}
}

static void on_closed(uv_handle_t *handle)
{
	struct swallow_pair *pair = handle->data, **at;

	if (++pair->closing_n < 2)
		return;
	for (at = &pair->swallow->pairs; *at != pair;)
		at = &(*at)->next;
	*at = pair->next;
	free(pair->held);
	free(pair);
}

static void close_side(uv_tcp_t *side)
{
	if (!uv_is_closing((uv_handle_t *)side))
		uv_close((uv_handle_t *)side, on_closed);
}

static void on_room(uv_handle_t *handle, size_t wanted, uv_buf_t *out)
{
	static char room[65536];

	(void)handle;
	(void)wanted;
	*out = uv_buf_init(room, sizeof(room));
}

/* An answer that is late; the pair may be gone by then. */
struct swallow_late {
	uv_timer_t timer;
	struct swallow *swallow;
	struct swallow_pair *pair;
	size_t n;
	char *bytes;
};

static void on_late_closed(uv_handle_t *handle)
{
	struct swallow_late *late = (struct swallow_late *)(void *)handle;

	free(late->bytes);
	free(late);
}

static void on_late(uv_timer_t *timer)
{
	struct swallow_late *late = (struct swallow_late *)(void *)timer;

	for (struct swallow_pair *at = late->swallow->pairs; at; at = at->next)
		if (at == late->pair && !late->swallow->is_cut)
			send_on(&at->client, late->bytes, late->n);
	uv_close((uv_handle_t *)timer, on_late_closed);
}

static void send_late(struct swallow_pair *pair, const char *bytes, size_t n)
{
	struct swallow_late *late = malloc(sizeof(*late));

	*late = (struct swallow_late){.swallow = pair->swallow, .pair = pair, .n = n};
	late->bytes = malloc(n);
	memcpy(late->bytes, bytes, n);
	uv_timer_init(pair->swallow->loop, &late->timer);
	uv_timer_start(&late->timer, on_late, pair->swallow->delay_ms, 0);
}

static void on_answer(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
	struct swallow_pair *pair = stream->data;

	if (pair->swallow->is_cut)
		return;
	if (n > 0 && pair->swallow->delay_ms) {
		send_late(pair, bytes->base, (size_t)n);
		return;
	}
	if (pair->is_held && n != 0) {
		pair->swallow->released = true;
		uv_stop(pair->swallow->loop);
		close_side(&pair->server);
	} else if (pair->is_swallowing && n != 0) {
		close_side(&pair->client); /* carried out, and nobody hears of it */
		close_side(&pair->server);
	} else if (n > 0) {
		send_on(&pair->client, bytes->base, (size_t)n);
	} else if (n < 0) {
		close_side(&pair->client);
		close_side(&pair->server);
	}
}

static void flush(struct swallow_pair *pair)
{
	send_on(&pair->server, pair->held, pair->held_n);
	pair->held_n = 0;
}

static void swallow_it(struct swallow_pair *pair)
{
	struct swallow *swallow = pair->swallow;
	enum swallow_what what = swallow->next;

	swallow->next = SWALLOW_NOTHING;
	swallow->swallowed_n++;
	switch (what) {
	case SWALLOW_ANSWER:
		pair->is_swallowing = true;
		flush(pair);
		break;
	case SWALLOW_HOLD:
		pair->is_held = true;
		swallow->held = pair;
		close_side(&pair->client);
		break;
	case SWALLOW_REQUEST:
	case SWALLOW_NOTHING:
		close_side(&pair->client);
		close_side(&pair->server);
		break;
	}
}

/* Requests are passed on whole: until then it cannot be told what one is. */
static bool request_is_whole(const struct swallow_pair *pair)
{
	if (!pair->held_n)
		return false;
	const char *head_end = memmem(pair->held, pair->held_n, "\r\n\r\n", 4);
	const char *length = memmem(pair->held, pair->held_n, "Content-Length: ", 16);

	if (!head_end || !length)
		return false;
	size_t head_n = (size_t)(head_end + 4 - pair->held);
	return pair->held_n >= head_n + strtoul(length + 16, NULL, 10);
}

static void look(struct swallow_pair *pair)
{
	if (!pair->is_connected || !request_is_whole(pair))
		return;
	if (pair->swallow->next != SWALLOW_NOTHING &&
	    memmem(pair->held, pair->held_n, DECISION_MARK, strlen(DECISION_MARK)))
		swallow_it(pair);
	else
		flush(pair);
}

static void on_request(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
	struct swallow_pair *pair = stream->data;

	if (n < 0) {
		close_side(&pair->client);
		if (!pair->is_held)
			close_side(&pair->server);
		return;
	}
	if (pair->swallow->is_cut)
		return;
	pair->held = realloc(pair->held, pair->held_n + (size_t)n + 1);
	memcpy(pair->held + pair->held_n, bytes->base, (size_t)n);
	pair->held_n += (size_t)n;
	look(pair);
}

static void on_connected(uv_connect_t *connect, int status)
{
	struct swallow_pair *pair = connect->data;

	if (status < 0) {
		close_side(&pair->client);
		close_side(&pair->server);
		return;
	}
	pair->is_connected = true;
	uv_read_start((uv_stream_t *)&pair->server, on_room, on_answer);
	look(pair);
}

static void on_client(uv_stream_t *listener, int status)
{
	struct swallow *swallow = listener->data;
	struct swallow_pair *pair = calloc(1, sizeof(*pair));
	struct sockaddr_in at;

	assert_int_equal(status, 0);
	pair->swallow = swallow;
	pair->next = swallow->pairs;
	swallow->pairs = pair;
	uv_tcp_init(swallow->loop, &pair->client);
	uv_tcp_init(swallow->loop, &pair->server);
	pair->client.data = pair->server.data = pair->connect.data = pair;
	assert_int_equal(uv_accept(listener, (uv_stream_t *)&pair->client), 0);
	uv_ip4_addr("127.0.0.1", swallow->etcd_port, &at);
	uv_tcp_connect(&pair->connect, &pair->server, (struct sockaddr *)&at, on_connected);
	uv_read_start((uv_stream_t *)&pair->client, on_room, on_request);
}

void swallow_open(struct swallow *swallow, uv_loop_t *loop, uint16_t etcd_port)
{
	struct sockaddr_in at;
	int at_n = sizeof(at);

	*swallow = (struct swallow){.loop = loop, .etcd_port = etcd_port};
	uv_tcp_init(loop, &swallow->listener);
	swallow->listener.data = swallow;
	uv_ip4_addr("127.0.0.1", 0, &at);
	assert_int_equal(uv_tcp_bind(&swallow->listener, (struct sockaddr *)&at, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&swallow->listener, 64, on_client), 0);
	uv_tcp_getsockname(&swallow->listener, (struct sockaddr *)&at, &at_n);
	snprintf(swallow->endpoints, sizeof(swallow->endpoints), "http://127.0.0.1:%d",
		 ntohs(at.sin_port));
}

void swallow_mend(struct swallow *swallow)
{
	swallow->is_cut = false;
	for (struct swallow_pair *pair = swallow->pairs; pair; pair = pair->next) {
		close_side(&pair->client);
		close_side(&pair->server);
	}
}

void swallow_release(struct swallow *swallow)
{
	assert_non_null(swallow->held);
	flush(swallow->held);
	while (!swallow->released)
		uv_run(swallow->loop, UV_RUN_DEFAULT);
}

void swallow_close(struct swallow *swallow)
{
	uv_close((uv_handle_t *)&swallow->listener, NULL);
	for (struct swallow_pair *pair = swallow->pairs; pair; pair = pair->next) {
		close_side(&pair->client);
		close_side(&pair->server);
	}
}
