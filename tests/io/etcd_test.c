/* The client against real etcd: what is answered, refused and unknown. */
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
	etcd_grant(world.etcd, 5000, on_answer, &world);
	answer = await_answer(&world);
	assert_int_equal(answer->outcome, ETCD_ANSWERED);
	lease = answer->lease;
	assert_true(lease != 0);
	assert_int_equal(answer->ttl_ms, 5000);
	put(&world, "/r/a", "1", lease);
	put(&world, "/r/b", "2", lease);
	get(&world, "/r/a");
	assert_int_equal(world.answer.kvs_n, 1);
	watch(&world, "/r/", 1);
	etcd_keep(world.etcd, lease, on_answer, &world);
	assert_int_equal(await_answer(&world)->ttl_ms, 5000);
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
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
