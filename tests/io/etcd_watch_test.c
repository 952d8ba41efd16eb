/* What a watch promises, over restarts, compactions and worse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/io/etcd_world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- watches ---- */

static void a_watch_tells_each_change_once_in_its_order_over_a_restart(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world, 1, NULL);
	put(&world, "/w/1", "a", 0);
	put(&world, "/x/1", "not this", 0);
	watch(&world, "/w/", 1);
	await_seen(&world, 1);
	put(&world, "/w/2", "b", 0);
	await_seen(&world, 2);
	etcd_rig_kill(&world.rig, 0);
	while (!world.broken_n)
		turn(&world);
	etcd_rig_start(&world.rig, 0);
	put(&world, "/w/1", "c", 0);
	struct etcd_op gone = {.kind = ETCD_OP_DELETE, .key = "/w/2"};
	struct etcd_txn txn = {.success = &gone, .success_n = 1};
	etcd_txn(world.etcd, &txn, on_answer, &world);
	await_answer(&world);
	await_seen(&world, 4);
	assert_string_equal(world.seen, "/w/1=a /w/2=b /w/1=c /w/2- ");
	assert_int_equal(world.mended_n, 1);
	assert_int_equal(world.broken_n, 1);
	world_close(&world);
}

/* By etcd's own client, while nothing of the loop runs.  Its 5 s are too few on a slow disk. */
static void etcdctl(const struct world *world, const char *words)
{
	char command[512];

	snprintf(command, sizeof(command),
		 "ETCDCTL_API=3 etcdctl --command-timeout 60s --endpoints %s %s >/dev/null",
		 world->rig.endpoints, words);
	assert_int_equal(system(command), 0);
}

static void a_watch_that_missed_what_was_compacted_says_so(void **unused)
{
	struct world world;
	int64_t revision;
	char words[64];

	(void)unused;
	world_open(&world, 1, NULL);
	put(&world, "/w/1", "a", 0);
	watch(&world, "/w/", 1);
	await_seen(&world, 1);
	/* It does not hear us, as if the network were cut: nothing of the loop runs meanwhile. */
	etcd_rig_kill(&world.rig, 0);
	etcd_rig_start(&world.rig, 0);
	for (int i = 1; i <= 3; i++) {
		snprintf(words, sizeof(words), "put /w/%d x", i);
		etcdctl(&world, words);
	}
	revision = world.answer.revision + 3;
	snprintf(words, sizeof(words), "compaction --physical %lld", (long long)revision);
	etcdctl(&world, words);
	while (!world.is_lost)
		turn(&world);
	assert_int_equal(world.lost, ETCD_LOST_COMPACTED);
	assert_int_equal(world.seen_n, 1);
	struct etcd_range range = {.key = "/w/1", .revision = revision - 2};
	etcd_range(world.etcd, &range, on_answer, &world);
	assert_int_equal(await_answer(&world)->outcome, ETCD_REFUSED);
	assert_int_equal(world.answer.code, ETCD_CODE_REVISION);
	world_close(&world);
}

static void a_watch_on_an_etcd_that_was_wiped_says_so(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world, 1, NULL);
	for (int i = 0; i < 5; i++)
		put(&world, "/w/1", "a", 0);
	watch(&world, "/w/", 1);
	await_seen(&world, 5);
	etcd_rig_kill(&world.rig, 0);
	etcd_rig_wipe(&world.rig, 0);
	etcd_rig_start(&world.rig, 0);
	while (!world.is_lost)
		turn(&world);
	assert_int_equal(world.lost, ETCD_LOST_SET_BACK);
	world_close(&world);
}

/* ---- closing from within ---- */

static void close_all_on_answer(void *data, const struct etcd_answer *answer)
{
	struct world *world = data;

	assert_int_equal(answer->outcome, ETCD_ANSWERED);
	world->is_answered = true;
	etcd_close(world->etcd);
	world->etcd = NULL;
}

static void close_all_on_events(void *data, const struct etcd_event *events, size_t n,
				int64_t revision)
{
	struct world *world = data;

	(void)events;
	(void)revision;
	assert_int_equal(n, 1);
	world->seen_n++;
	etcd_close(world->etcd);
	world->etcd = NULL;
}

static void everything_can_be_closed_from_within_a_callback(void **unused)
{
	struct world world;
	struct etcd_range range = {.key = "/a"};

	(void)unused;
	world_open(&world, 1, NULL);
	put(&world, "/a", "1", 0);
	watch(&world, "/a", 1);
	etcd_range(world.etcd, &range, close_all_on_answer, &world);
	etcd_range(world.etcd, &range, on_answer, &world); /* is not called any more */
	while (world.etcd)                                 /* the watch may tell something first */
		turn(&world);
	uv_run(&world.loop, UV_RUN_DEFAULT);
	assert_true(world.is_answered);
	assert_int_equal(uv_loop_close(&world.loop), 0);

	world_open_client(&world, world.rig.endpoints, 0, NULL);
	struct etcd_watch_callbacks callbacks = {
		.data = &world, .on_events = close_all_on_events, .on_lost = on_lost};
	world.seen_n = 0;
	etcd_watch_open(world.etcd, "/a", false, 1, &callbacks);
	uv_run(&world.loop, UV_RUN_DEFAULT);
	assert_int_equal(world.seen_n, 1);
	world_close(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_watch_tells_each_change_once_in_its_order_over_a_restart),
		cmocka_unit_test(a_watch_that_missed_what_was_compacted_says_so),
		cmocka_unit_test(a_watch_on_an_etcd_that_was_wiped_says_so),
		cmocka_unit_test(everything_can_be_closed_from_within_a_callback),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
