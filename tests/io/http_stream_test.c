/* Streams, and calls and clients that end from within their own callbacks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/io/http_world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- streams, and ends from within ---- */

#define CHUNKS                                                                                     \
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Colour: red\r\n\r\n"                   \
	"3\r\none\r\n3\r\ntwo\r\n"

static void on_head(void *data, const struct http_client_answer *answer)
{
	struct world *world = data;

	assert_int_equal(world->bodies_n, 0);
	assert_int_equal(answer->status, 200);
	assert_string_equal(http_client_answer_header(answer, "X-COLOUR"), "red");
	world->heads_n++;
}

static void on_body(void *data, const uint8_t *bytes, size_t n)
{
	struct world *world = data;

	uv_stop(&world->loop);
	assert_int_equal(world->heads_n, 1);
	world->bodies_n++;
	strncat(world->body, (const char *)bytes, n);
}

static struct http_client_request stream_of(struct world *world)
{
	struct http_client_request request = request_of(world);

	request.on_head = on_head;
	request.on_body = on_body;
	return request;
}

static void a_stream_is_told_as_it_comes_and_its_end_or_cut_after(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world);
	world.server.answer = CHUNKS;
	struct http_client_request request = stream_of(&world);
	start(&world, &request);
	while (strcmp(world.body, "onetwo") != 0)
		uv_run(&world.loop, UV_RUN_DEFAULT);
	assert_int_equal(world.done_n, 0);
	connection_close(world.server.open);
	await(&world, 1);
	assert_int_equal(world.answer.status, 200);
	assert_true(world.answer.cut);
	assert_true(world.answer.err.text[0]);

	world.server.answer = CHUNKS "0\r\n\r\n";
	world.heads_n = world.bodies_n = 0;
	world.body[0] = 0;
	start(&world, &request);
	await(&world, 2);
	assert_false(world.answer.cut);
	assert_int_equal(world.answer.err.text[0], 0);
	world_close(&world);
}

static void a_cancelled_call_is_never_told_of_again(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world);
	world.server.answer = OK;
	struct http_client_request request = request_of(&world);
	start(&world, &request);
	http_client_cancel(world.call); /* before anything */
	start(&world, &request);
	while (!world.server.requests_n)
		uv_run(&world.loop, UV_RUN_NOWAIT);
	http_client_cancel(world.call); /* while the answer is on its way */
	ask(&world, &request);
	assert_int_equal(world.done_n, 1);
	world_close(&world);
}

static void cancel_on_head(void *data, const struct http_client_answer *answer)
{
	struct world *world = data;

	(void)answer;
	world->heads_n++;
	http_client_cancel(world->call);
	http_client_cancel(world->call); /* harmless */
}

static void cancel_on_body(void *data, const uint8_t *bytes, size_t n)
{
	struct world *world = data;

	(void)bytes;
	(void)n;
	world->bodies_n++;
	http_client_cancel(world->call);
}

static void cancel_on_done(void *data, const struct http_client_answer *answer)
{
	http_client_cancel(((struct world *)data)->call);
	on_done(data, answer);
}

static void a_call_may_be_cancelled_from_its_own_callbacks(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world);
	world.server.answer = CHUNKS;
	struct http_client_request request = stream_of(&world);
	request.on_head = cancel_on_head;
	start(&world, &request);
	while (!world.heads_n)
		uv_run(&world.loop, UV_RUN_ONCE);
	request.on_head = NULL;
	request.on_body = cancel_on_body;
	start(&world, &request);
	while (!world.bodies_n)
		uv_run(&world.loop, UV_RUN_ONCE);
	world.server.answer = OK;
	request = request_of(&world);
	request.on_done = cancel_on_done;
	ask(&world, &request);
	assert_int_equal(world.heads_n + world.bodies_n + world.done_n, 3);
	world_close(&world);
}

static void start_on_body(void *data, const uint8_t *bytes, size_t n)
{
	struct world *world = data;
	struct http_client_request request = request_of(world);

	(void)bytes;
	(void)n;
	world->server.answer = OK;
	if (world->bodies_n++ == 0)
		start(world, &request);
}

static void start_on_done(void *data, const struct http_client_answer *answer)
{
	struct world *world = data;
	struct http_client_request request = request_of(world);

	on_done(data, answer);
	start(world, &request);
}

static void calls_may_be_started_from_callbacks(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world);
	world.server.answer = CHUNKS;
	struct http_client_request request = stream_of(&world);
	request.on_body = start_on_body;
	start(&world, &request);
	await(&world, 1);
	assert_string_equal(world.body, "hi");
	request = request_of(&world);
	request.on_done = start_on_done;
	start(&world, &request);
	await(&world, 2);
	await(&world, 3);
	world_close(&world);
}

static void close_on_body(void *data, const uint8_t *bytes, size_t n)
{
	struct world *world = data;

	(void)bytes;
	(void)n;
	uv_stop(&world->loop);
	world->bodies_n++;
	http_client_close(world->client);
	world->client = NULL;
}

static void close_on_done(void *data, const struct http_client_answer *answer)
{
	struct world *world = data;

	on_done(data, answer);
	http_client_close(world->client);
	world->client = NULL;
}

static void five_calls_and_closed_by_the_first(bool from_body)
{
	struct world world;

	world_open(&world);
	world.server.answer = from_body ? CHUNKS : OK;
	struct http_client_request request = request_of(&world);
	if (from_body)
		request.on_body = close_on_body;
	else
		request.on_done = close_on_done;
	for (int i = 0; i < 5; i++)
		start(&world, &request);
	while (world.client)
		uv_run(&world.loop, UV_RUN_DEFAULT);
	world_close(&world);
	assert_int_equal(world.done_n + world.bodies_n, 1);
}

static void the_client_may_be_closed_from_callbacks_with_calls_under_way(void **unused)
{
	(void)unused;
	five_calls_and_closed_by_the_first(false);
	five_calls_and_closed_by_the_first(true);
}

static void the_client_may_be_closed_before_a_call_has_begun(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world);
	struct http_client_request request = request_of(&world);
	for (int i = 0; i < 5; i++)
		start(&world, &request);
	world_close(&world);
	assert_int_equal(world.done_n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stream_is_told_as_it_comes_and_its_end_or_cut_after),
		cmocka_unit_test(a_cancelled_call_is_never_told_of_again),
		cmocka_unit_test(a_call_may_be_cancelled_from_its_own_callbacks),
		cmocka_unit_test(calls_may_be_started_from_callbacks),
		cmocka_unit_test(the_client_may_be_closed_from_callbacks_with_calls_under_way),
		cmocka_unit_test(the_client_may_be_closed_before_a_call_has_begun),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
