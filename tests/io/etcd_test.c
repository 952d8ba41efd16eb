/* The client against real etcd: what is answered, refused and unknown, and what a watch promises.
 */
#include "common/io/etcd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "tests/io/etcd_rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct world {
	struct etcd_rig rig;
	uv_loop_t loop;
	struct etcd *etcd;

	bool is_answered;
	struct etcd_answer answer; /* its kvs are copied: the first only */
	char key[64], value[64];

	struct etcd_watch *watch;
	char seen[1024]; /* "k1=v1 k2- " */
	int seen_n, broken_n, mended_n;
	bool is_lost;
	enum etcd_lost lost;
};

static void world_open_client(struct world *world, const char *endpoints, uint32_t answer_ms,
			      const char *ca_file)
{
	struct etcd_options options = {
		.endpoints = endpoints, .answer_ms = answer_ms, .ca_file = ca_file};
	struct err err;

	assert_int_equal(uv_loop_init(&world->loop), 0);
	if (etcd_open(&world->etcd, &world->loop, &options, &err))
		fail_msg("%s", err.text);
}

static void world_open(struct world *world, int members_n, const char *const *extra)
{
	alarm(120); /* a test that hangs ends */
	*world = (struct world){0};
	etcd_rig_open(&world->rig, members_n, extra);
	world_open_client(world, world->rig.endpoints, 0, NULL);
}

static void world_close(struct world *world)
{
	etcd_close(world->etcd);
	uv_run(&world->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&world->loop), 0);
	etcd_rig_close(&world->rig);
	alarm(0);
}

/* One turn of the loop.  UV_RUN_ONCE may tell something by a timer and then wait for ever:
 * callbacks stop the loop. */
static void turn(struct world *world)
{
	uv_run(&world->loop, UV_RUN_DEFAULT);
}

static void on_answer(void *data, const struct etcd_answer *answer)
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

static struct etcd_answer *await_answer(struct world *world)
{
	while (!world->is_answered)
		turn(world);
	world->is_answered = false;
	return &world->answer;
}

static struct etcd_answer *put(struct world *world, const char *key, const char *value,
			       int64_t lease)
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

static struct etcd_answer *get(struct world *world, const char *key)
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

static void on_lost(void *data, enum etcd_lost why, const struct err *err)
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

static void watch(struct world *world, const char *key, int64_t from)
{
	struct etcd_watch_callbacks callbacks = {
		.data = world, .on_events = on_events, .on_lost = on_lost, .on_broken = on_broken};

	world->watch = etcd_watch_open(world->etcd, key, true, from, &callbacks);
}

static void await_seen(struct world *world, int n)
{
	while (world->seen_n < n && !world->is_lost)
		turn(world);
	assert_int_equal(world->seen_n, n);
}

/* ---- requests ---- */

static void what_is_written_is_read_back_with_its_revisions(void **unused)
{
	struct world world;
	struct etcd_answer *answer;
	int64_t first;

	(void)unused;
	world_open(&world, 1, NULL);
	answer = put(&world, "/a/1", "one", 0);
	assert_int_equal(answer->outcome, ETCD_ANSWERED);
	assert_true(answer->succeeded);
	first = answer->revision;
	answer = put(&world, "/a/1", "uno", 0);
	assert_int_equal(answer->revision, first + 1);
	assert_int_equal(put(&world, "/a/2", "", 0)->outcome, ETCD_ANSWERED);
	answer = get(&world, "/a/1");
	assert_int_equal(answer->outcome, ETCD_ANSWERED);
	assert_int_equal(answer->kvs_n, 1);
	assert_string_equal(world.value, "uno");
	assert_int_equal(answer->count, 1);
	assert_int_equal(get(&world, "/a/3")->kvs_n, 0);

	struct etcd_range range = {.key = "/a/", .is_prefix = true, .limit = 1};
	etcd_range(world.etcd, &range, on_answer, &world);
	answer = await_answer(&world);
	assert_int_equal(answer->kvs_n, 1);
	assert_int_equal(answer->count, 2);
	assert_string_equal(world.key, "/a/1");
	range.after = "/a/1";
	etcd_range(world.etcd, &range, on_answer, &world);
	assert_int_equal(await_answer(&world)->kvs_n, 1);
	assert_string_equal(world.key, "/a/2");
	range = (struct etcd_range){.key = "/a/1", .revision = first};
	etcd_range(world.etcd, &range, on_answer, &world);
	await_answer(&world);
	assert_string_equal(world.value, "one");
	world_close(&world);
}

static void a_transaction_writes_only_when_its_compares_hold(void **unused)
{
	struct world world;
	struct etcd_answer *answer;

	(void)unused;
	world_open(&world, 1, NULL);
	struct etcd_compare absent = {.key = "/leader", .target = ETCD_TARGET_CREATE, .value = 0};
	struct etcd_op write = {.kind = ETCD_OP_PUT, .key = "/leader", .value = "me", .value_n = 2};
	struct etcd_op read = {.kind = ETCD_OP_RANGE, .range = {.key = "/leader"}};
	struct etcd_txn txn = {.compares = &absent,
			       .compares_n = 1,
			       .success = &write,
			       .success_n = 1,
			       .failure = &read,
			       .failure_n = 1};
	etcd_txn(world.etcd, &txn, on_answer, &world);
	answer = await_answer(&world);
	assert_true(answer->succeeded);
	int64_t created = answer->revision;
	write.value = "it";
	etcd_txn(world.etcd, &txn, on_answer, &world);
	answer = await_answer(&world);
	assert_int_equal(answer->outcome, ETCD_ANSWERED);
	assert_false(answer->succeeded);
	assert_int_equal(answer->kvs_n, 1);
	assert_string_equal(world.value, "me");
	absent.value = created;
	etcd_txn(world.etcd, &txn, on_answer, &world);
	assert_true(await_answer(&world)->succeeded);
	world_close(&world);
}

static void a_lease_takes_its_keys_along(void **unused)
{
	struct world world;
	struct etcd_answer *answer;
	int64_t lease;

	(void)unused;
	world_open(&world, 1, NULL);
	etcd_grant(world.etcd, 2000, on_answer, &world);
	answer = await_answer(&world);
	assert_int_equal(answer->outcome, ETCD_ANSWERED);
	lease = answer->lease;
	assert_true(lease != 0);
	assert_int_equal(answer->ttl_ms, 2000);
	put(&world, "/r/a", "1", lease);
	put(&world, "/r/b", "2", lease);
	get(&world, "/r/a");
	assert_int_equal(world.answer.kvs_n, 1);
	watch(&world, "/r/", 1);
	etcd_keep(world.etcd, lease, on_answer, &world);
	assert_int_equal(await_answer(&world)->ttl_ms, 2000);
	await_seen(&world, 4); /* two writes, and then two ends */
	assert_non_null(strstr(world.seen, "/r/a- "));
	assert_non_null(strstr(world.seen, "/r/b- "));
	etcd_keep(world.etcd, lease, on_answer, &world);
	answer = await_answer(&world);
	assert_int_equal(answer->outcome, ETCD_ANSWERED);
	assert_int_equal(answer->ttl_ms, 0);
	etcd_revoke(world.etcd, lease, on_answer, &world);
	answer = await_answer(&world);
	assert_int_equal(answer->outcome, ETCD_REFUSED);
	assert_int_equal(answer->code, ETCD_CODE_NOT_FOUND);
	answer = put(&world, "/r/a", "1", lease);
	assert_int_equal(answer->outcome, ETCD_REFUSED);
	world_close(&world);
}

/* ---- etcd in trouble ---- */

static void a_full_etcd_refuses_and_says_so(void **unused)
{
	static const char *const small[] = {"--quota-backend-bytes", "200000", NULL};
	static char large[20001];
	struct world world;
	struct etcd_answer *answer;

	(void)unused;
	world_open(&world, 1, small);
	etcd_grant(world.etcd, 60000, on_answer, &world);
	int64_t lease = await_answer(&world)->lease;
	memset(large, 'x', sizeof(large) - 1);
	do
		answer = put(&world, "/big", large, 0);
	while (answer->outcome == ETCD_ANSWERED);
	assert_int_equal(answer->outcome, ETCD_REFUSED);
	assert_int_equal(answer->code, ETCD_CODE_NO_SPACE);
	assert_non_null(strstr(answer->err.text, "space"));
	assert_int_equal(get(&world, "/big")->outcome, ETCD_ANSWERED);
	etcd_keep(world.etcd, lease, on_answer, &world);
	assert_int_equal(await_answer(&world)->ttl_ms, 60000);
	world_close(&world);
}

static void a_frozen_etcd_leaves_a_write_unknown_within_the_limit(void **unused)
{
	struct world world;
	struct etcd_answer *answer;

	(void)unused;
	world_open(&world, 1, NULL);
	put(&world, "/a", "1", 0);
	etcd_rig_signal(&world.rig, 0, SIGSTOP);
	uv_update_time(&world.loop);
	uint64_t began = uv_now(&world.loop);
	answer = put(&world, "/a", "2", 0);
	assert_int_equal(answer->outcome, ETCD_UNKNOWN);
	assert_true(answer->err.text[0]);
	assert_true(uv_now(&world.loop) - began >= 1900); /* and it ended at all */
	etcd_rig_signal(&world.rig, 0, SIGCONT);
	while (get(&world, "/a")->outcome != ETCD_ANSWERED)
		continue;
	world_close(&world);
}

static void an_etcd_that_is_not_there_has_got_nothing(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world, 1, NULL);
	etcd_rig_kill(&world.rig, 0);
	assert_int_equal(put(&world, "/a", "1", 0)->outcome, ETCD_UNSENT);
	assert_int_equal(get(&world, "/a")->outcome, ETCD_UNSENT);
	world_close(&world);
}

static void of_three_members_two_go_on_and_watches_with_them(void **unused)
{
	struct world world;
	struct etcd_answer *answer;

	(void)unused;
	world_open(&world, 3, NULL);
	watch(&world, "/w/", 1);
	put(&world, "/w/1", "a", 0);
	await_seen(&world, 1);
	/* The one that is used: everything moves on, and what is written moves with it. */
	etcd_rig_kill(&world.rig, 0);
	while ((answer = put(&world, "/w/2", "b", 0))->outcome != ETCD_ANSWERED)
		assert_int_not_equal(answer->outcome, ETCD_REFUSED);
	assert_string_not_equal(etcd_endpoint(world.etcd), world.rig.endpoints);
	while (world.seen_n < 2 || !strstr(world.seen, "/w/2=b"))
		turn(&world);
	/* Frozen, and its connections open: only requests can tell. */
	int now = strcmp(strrchr(etcd_endpoint(world.etcd), ':'),
			 strrchr(world.rig.endpoints, ':')) == 0
			  ? 2
			  : 1;
	etcd_rig_start(&world.rig, 0);
	etcd_rig_signal(&world.rig, now, SIGSTOP);
	while (put(&world, "/w/3", "c", 0)->outcome != ETCD_ANSWERED)
		continue;
	while (!strstr(world.seen, "/w/3=c"))
		turn(&world);
	assert_false(world.is_lost);
	world_close(&world);
}

static void tls_is_believed_by_the_ca_file_only(void **unused)
{
	struct world world = {0};
	char ca[96];

	(void)unused;
	alarm(120);
	etcd_rig_open_tls(&world.rig);
	snprintf(ca, sizeof(ca), "%s/tls.crt", world.rig.dir);
	world_open_client(&world, world.rig.endpoints, 0, ca);
	assert_int_equal(put(&world, "/a", "1", 0)->outcome, ETCD_ANSWERED);
	etcd_close(world.etcd);
	uv_run(&world.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&world.loop), 0);
	world_open_client(&world, world.rig.endpoints, 0, NULL);
	assert_int_equal(put(&world, "/a", "2", 0)->outcome, ETCD_UNSENT);
	assert_non_null(strstr(world.answer.err.text, "ertificate"));
	world_close(&world);
}

static void endpoints_that_cannot_be_any_are_refused(void **unused)
{
	static const char *const bad[] = {"", "127.0.0.1:2379", "http://", "http://a:1,b:2"};
	struct etcd *etcd;
	uv_loop_t loop;
	struct err err;

	(void)unused;
	uv_loop_init(&loop);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct etcd_options options = {.endpoints = bad[i]};

		assert_int_equal(etcd_open(&etcd, &loop, &options, &err), -1);
		assert_non_null(strstr(err.text, "endpoint"));
	}
	assert_int_equal(uv_loop_close(&loop), 0);
}

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

static void compact(struct world *world, int64_t revision)
{
	char command[512];

	snprintf(command, sizeof(command),
		 "ETCDCTL_API=3 etcdctl --endpoints %s compaction --physical %lld >/dev/null",
		 world->rig.endpoints, (long long)revision);
	assert_int_equal(system(command), 0);
}

static void a_watch_that_missed_what_was_compacted_says_so(void **unused)
{
	struct world world;
	int64_t revision = 0;

	char command[512];

	(void)unused;
	world_open(&world, 1, NULL);
	put(&world, "/w/1", "a", 0);
	watch(&world, "/w/", 1);
	await_seen(&world, 1);
	/* It does not hear us, as if the network were cut: nothing of the loop runs meanwhile. */
	etcd_rig_kill(&world.rig, 0);
	etcd_rig_start(&world.rig, 0);
	snprintf(
		command, sizeof(command),
		"for i in 1 2 3; do ETCDCTL_API=3 etcdctl --endpoints %s put /w/$i x >/dev/null || "
		"exit 1; done",
		world.rig.endpoints);
	assert_int_equal(system(command), 0);
	revision = world.answer.revision + 3;
	compact(&world, revision);
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
	uv_run(&world.loop, UV_RUN_DEFAULT);
	assert_null(world.etcd);
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
		cmocka_unit_test(what_is_written_is_read_back_with_its_revisions),
		cmocka_unit_test(a_transaction_writes_only_when_its_compares_hold),
		cmocka_unit_test(a_lease_takes_its_keys_along),
		cmocka_unit_test(a_full_etcd_refuses_and_says_so),
		cmocka_unit_test(a_frozen_etcd_leaves_a_write_unknown_within_the_limit),
		cmocka_unit_test(an_etcd_that_is_not_there_has_got_nothing),
		cmocka_unit_test(of_three_members_two_go_on_and_watches_with_them),
		cmocka_unit_test(tls_is_believed_by_the_ca_file_only),
		cmocka_unit_test(endpoints_that_cannot_be_any_are_refused),
		cmocka_unit_test(a_watch_tells_each_change_once_in_its_order_over_a_restart),
		cmocka_unit_test(a_watch_that_missed_what_was_compacted_says_so),
		cmocka_unit_test(a_watch_on_an_etcd_that_was_wiped_says_so),
		cmocka_unit_test(everything_can_be_closed_from_within_a_callback),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
