#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/io/etcd_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void world_open_client(struct world *world, const char *endpoints, uint32_t answer_ms,
		       const char *ca_file)
{
	struct etcd_options options = {
		.endpoints = endpoints, .answer_ms = answer_ms, .ca_file = ca_file};
	struct err err;

	assert_int_equal(uv_loop_init(&world->loop), 0);
	if (etcd_open(&world->etcd, &world->loop, &options, &err))
		fail_msg("%s", err.text);
}

void world_open(struct world *world, int members_n, const char *const *extra)
{
	alarm(120); /* a test that hangs ends */
	*world = (struct world){0};
	etcd_rig_open(&world->rig, members_n, extra);
	world_open_client(world, world->rig.endpoints, 0, NULL);
}

void world_close(struct world *world)
{
	etcd_close(world->etcd);
	uv_run(&world->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&world->loop), 0);
	etcd_rig_close(&world->rig);
	alarm(0);
}

/* One turn of the loop.  UV_RUN_ONCE may tell something by a timer and then wait for ever:
 * callbacks stop the loop. */
void turn(struct world *world)
{
	uv_run(&world->loop, UV_RUN_DEFAULT);
}

void on_answer(void *data, const struct etcd_answer *answer)
{
	struct world *world = data;

	assert_false(world->is_answered);
	uv_stop(&world->loop);
	world->is_answered = true;
	world->answer = *answer;
	world->key[0] = world->value[0] = 0;
	if (answer->kvs_n) {
		snprintf(world->key, sizeof(world->key), "%s", answer->kvs[0].key);
		snprintf(world->value, sizeof(world->value), "%s",
			 (const char *)answer->kvs[0].value);
	}
}

struct etcd_answer *await_answer(struct world *world)
{
	while (!world->is_answered)
		turn(world);
	world->is_answered = false;
	return &world->answer;
}

struct etcd_answer *put(struct world *world, const char *key, const char *value, int64_t lease)
{
	struct etcd_op op = {.kind = ETCD_OP_PUT,
			     .key = key,
			     .value = value,
			     .value_n = strlen(value),
			     .lease = lease};
	struct etcd_txn txn = {.success = &op, .success_n = 1};

	etcd_txn(world->etcd, &txn, on_answer, world);
	return await_answer(world);
}

struct etcd_answer *get(struct world *world, const char *key)
{
	struct etcd_range range = {.key = key};

	etcd_range(world->etcd, &range, on_answer, world);
	return await_answer(world);
}

static void on_events(void *data, const struct etcd_event *events, size_t n, int64_t revision)
{
	struct world *world = data;

	uv_stop(&world->loop);
	for (size_t i = 0; i < n; i++) {
		size_t used = strlen(world->seen);

		assert_true(events[i].kv.mod_revision <= revision);
		world->seen_n++;
		snprintf(world->seen + used, sizeof(world->seen) - used, "%s%s%s ",
			 events[i].kv.key, events[i].is_deleted ? "-" : "=",
			 (const char *)events[i].kv.value);
	}
}

void on_lost(void *data, enum etcd_lost why, const struct err *err)
{
	struct world *world = data;

	uv_stop(&world->loop);
	assert_true(err->text[0]);
	assert_false(world->is_lost);
	world->is_lost = true;
	world->lost = why;
}

static void on_broken(void *data, const struct err *err)
{
	struct world *world = data;

	uv_stop(&world->loop);
	if (err)
		world->broken_n++;
	else
		world->mended_n++;
}

void watch(struct world *world, const char *key, int64_t from)
{
	struct etcd_watch_callbacks callbacks = {
		.data = world, .on_events = on_events, .on_lost = on_lost, .on_broken = on_broken};

	world->watch = etcd_watch_open(world->etcd, key, true, from, &callbacks);
}

void await_seen(struct world *world, int n)
{
	while (world->seen_n < n && !world->is_lost)
		turn(world);
	assert_int_equal(world->seen_n, n);
}
