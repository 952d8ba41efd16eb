/* The fleet's decisions: in order, once, fenced, over restarts and compactions of real etcd. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/ha/swallow.h"
#include "tests/ha/world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void decisions_come_to_all_in_their_order(void **unused)
{
	struct world world;
	struct replica *leader;
	char expected[REPLICA_LOG_MAX] = "";

	(void)unused;
	world_open(&world, 1, NULL);
	leader = replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(leader));
	for (int i = 1; i < 3; i++)
		replica_open(&world, i, &world.loop);
	for (int i = 0; i < 50; i++) {
		char id[32];

		snprintf(id, sizeof(id), "ten_%d", (i * 7) % 50); /* not in the order of keys */
		struct store_op op = tenant_op(id);
		decide(leader, &op);
		snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected),
			 "tenant:%s ", id);
	}
	AWAIT(&world.loop, leader->decided_n == 50);
	assert_int_equal(leader->refusal, REFUSAL_NONE);
	for (int i = 0; i < 3; i++) {
		/* In time or late: at the start all there is comes as a whole. */
		AWAIT(&world.loop, strstr(world.replicas[i].log, "ten_43 "));
		if (i == 0)
			assert_string_equal(world.replicas[i].log, expected);
		assert_int_equal(strlen(world.replicas[i].log), strlen(expected));
	}
	world_close(&world);
}

static void a_decision_is_answered_only_when_it_is_applied(void **unused)
{
	struct world world;
	struct replica *leader;

	(void)unused;
	world_open(&world, 1, NULL);
	leader = replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(leader));
	for (int i = 0; i < 5; i++) {
		char id[32];

		snprintf(id, sizeof(id), "ten_%d", i);
		decide_now(leader, id); /* asserts that it is in the store by then */
	}
	world_close(&world);
}

static void a_restarted_replica_gets_what_it_missed_and_nothing_twice(void **unused)
{
	struct world world;
	struct replica *leader, *other;

	(void)unused;
	world_open(&world, 1, NULL);
	leader = replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(leader));
	other = replica_open(&world, 1, &world.loop);
	decide_now(leader, "ten_a");
	AWAIT(&world.loop, strstr(other->log, "ten_a"));
	replica_kill(other);
	decide_now(leader, "ten_b");
	decide_now(leader, "ten_c");
	replica_open(&world, 1, &world.loop);
	AWAIT(&world.loop, strstr(other->log, "ten_c"));
	assert_string_equal(other->log, "tenant:ten_a tenant:ten_b tenant:ten_c ");
	assert_int_equal(other->whole_n, 1); /* its first start */
	decide_now(leader, "ten_d");
	AWAIT(&world.loop, strstr(other->log, "ten_d"));
	assert_int_equal(other->ops_n, 4);
	world_close(&world);
}

static void after_a_compaction_a_replica_gets_all_it_missed(void **unused)
{
	struct world world;
	struct replica *leader, *away;

	(void)unused;
	world_open(&world, 1, NULL);
	leader = replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(leader));
	away = replica_open(&world, 1, &world.other);
	decide_now(leader, "ten_a");
	AWAIT(&world.other, strstr(away->log, "ten_a"));
	/* Its loop stands still while etcd restarts: its watch is gone, and it comes back to a
	 * history that is gone too. */
	etcd_rig_kill(&world.rig, 0);
	etcd_rig_start(&world.rig, 0);
	decide_at_last(leader, "ten_b");
	decide_at_last(leader, "ten_c");
	decide_at_last(leader, "ten_d");
	world_etcdctl(
		&world,
		"compaction --physical $(ETCDCTL_API=3 etcdctl --endpoints %s get / -w fields "
		"| sed -n 's/\"Revision\" : //p')",
		world.rig.endpoints);
	AWAIT(&world.other, strstr(away->log, "ten_d"));
	assert_int_equal(away->whole_n, 2);
	for (int i = 0; i < 4; i++) {
		char id[] = {'t', 'e', 'n', '_', (char)('a' + i), ' ', 0};

		assert_non_null(strstr(away->log, id));
	}
	world_close(&world);
}

static void a_deposed_leader_cannot_write(void **unused)
{
	struct world world;
	struct replica *leader, *reader;

	(void)unused;
	world_open(&world, 1, NULL);
	leader = replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(leader));
	/* Its key goes away, and it does not know yet: only the fence is between it and etcd. */
	world_etcdctl(&world, "del " HA_KEY_LEADER);
	assert_true(replica_leads(leader));
	struct store_op op = tenant_op("ten_late");
	decide(leader, &op);
	AWAIT(&world.loop, leader->decided_n);
	assert_int_equal(leader->refusal, REFUSAL_NO_LEADER);
	AWAIT(&world.loop, leader->leads_n == 2); /* it is alone, and so leads again */
	decide_now(leader, "ten_a");
	reader = replica_open(&world, 1, &world.loop);
	AWAIT(&world.loop, reader->whole_n);
	assert_null(strstr(reader->log, "ten_late"));
	assert_non_null(strstr(reader->log, "ten_a"));
	world_close(&world);
}

/* ---- when nobody knows ---- */

static void with_one_swallowed(enum swallow_what what, bool again_late)
{
	struct world world;
	struct swallow swallow;
	struct replica *leader, *reader;

	world_open(&world, 1, NULL);
	swallow_open(&swallow, &world.loop, world.rig.client_port[0]);
	leader = &world.replicas[0];
	/* ha_check asks before the loop runs, and so before the proxy does: it goes on without. */
	world.endpoints = swallow.endpoints;
	replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(leader));
	decide_now(leader, "ten_a");
	swallow.next = what;
	struct store_op op = tenant_op("ten_b");
	decide(leader, &op);
	AWAIT(&world.loop, leader->decided_n == 2);
	assert_int_equal(swallow.swallowed_n, 1);
	assert_int_equal(leader->refusal, REFUSAL_NONE);
	decide_now(leader, "ten_c");
	/* Decided anew since: the old one must not come back over it. */
	op.tenant.credit_nano = 6;
	decide(leader, &op);
	AWAIT(&world.loop, leader->decided_n == 4);
	if (again_late)
		swallow_release(&swallow);
	decide_now(leader, "ten_d");
	assert_string_equal(leader->log,
			    "tenant:ten_a tenant:ten_b tenant:ten_c tenant:ten_b tenant:ten_d ");
	world.endpoints = world.rig.endpoints;
	reader = replica_open(&world, 1, &world.loop);
	AWAIT(&world.loop, reader->whole_n);
	assert_int_equal(reader->ops_n, 4);
	swallow_close(&swallow);
	world_close(&world);
}

static void a_decision_whose_answer_was_lost_is_found_out_to_be_there(void **unused)
{
	(void)unused;
	with_one_swallowed(SWALLOW_ANSWER, false);
}

static void a_decision_that_never_arrived_is_written_again(void **unused)
{
	(void)unused;
	with_one_swallowed(SWALLOW_REQUEST, false);
}

static void a_decision_that_arrives_late_changes_nothing_any_more(void **unused)
{
	(void)unused;
	with_one_swallowed(SWALLOW_HOLD, true);
}

/* ---- the network ---- */

static void a_leader_that_is_cut_off_ends_before_another_begins_and_follows_it_later(void **unused)
{
	struct world world;
	struct swallow swallow;
	struct replica *cut, *other;

	(void)unused;
	world_open(&world, 1, NULL);
	swallow_open(&swallow, &world.loop, world.rig.client_port[0]);
	world.endpoints = swallow.endpoints;
	cut = replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(cut));
	world.endpoints = world.rig.endpoints;
	other = replica_open(&world, 1, &world.loop);
	AWAIT(&world.loop, strcmp(other->leader, "r0") == 0);
	swallow.is_cut = true;
	struct store_op op = tenant_op("ten_lost");
	decide(cut, &op);
	/* on_lead asserts that nobody leads beside it. */
	AWAIT(&world.loop, replica_leads(other));
	AWAIT(&world.loop, cut->decided_n);
	assert_int_equal(cut->refusal, REFUSAL_NO_LEADER);
	assert_int_equal(cut->epoch, 0);
	decide_at_last(other, "ten_a");
	assert_null(strstr(cut->log, "ten_a"));
	swallow_mend(&swallow);
	AWAIT(&world.loop, strstr(cut->log, "ten_a") && strcmp(cut->leader, "r1") == 0);
	assert_null(strstr(cut->log, "ten_lost"));
	swallow_close(&swallow);
	world_close(&world);
}

static void a_slow_etcd_is_led_and_decides_slowly(void **unused)
{
	struct world world;
	struct swallow swallow;
	struct replica *leader = NULL;

	(void)unused;
	world_open(&world, 1, NULL);
	swallow_open(&swallow, &world.loop, world.rig.client_port[0]);
	world.endpoints = swallow.endpoints;
	swallow.delay_ms = 200;
	leader = replica_open(&world, 0, &world.loop);
	for (int i = 0; i < 5; i++) {
		char id[] = {'t', 'e', 'n', '_', (char)('a' + i), 0};

		decide_at_last(leader, id);
	}
	swallow_close(&swallow);
	world_close(&world);
}

/* ---- what is in etcd ---- */

static void what_cannot_be_read_is_left_out_and_stops_nothing(void **unused)
{
	struct world world;
	struct replica *leader;

	(void)unused;
	world_open(&world, 1, NULL);
	world_etcdctl(&world, "put /flotilla/d/tenant/ten_bad '{\"at\":1}'");
	leader = replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(leader));
	world_etcdctl(&world, "put /flotilla/d/future/x 1");
	decide_now(leader, "ten_a");
	assert_string_equal(leader->log, "tenant:ten_a ");
	world_close(&world);
}

static void a_whole_has_what_others_need_first_and_more_than_one_page(void **unused)
{
	struct world world;
	struct replica *leader, *reader;
	enum { MANY = 1203 };

	(void)unused;
	world_open(&world, 1, NULL);
	leader = replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(leader));
	struct store_op key = {.kind = STORE_OP_KEY};
	for (int i = 0; i < MANY; i++) {
		snprintf(key.key.id.text, sizeof(key.key.id.text), "key_%d", i);
		snprintf(key.key.name, sizeof(key.key.name), "k");
		memcpy(key.key.hash, &i, sizeof(i));
		decide(leader, &key);
	}
	struct store_op op = tenant_op("ten_a");
	decide(leader, &op);
	struct store_op plan = {.kind = STORE_OP_PLAN, .plan = {.name = "pro"}};
	decide(leader, &plan);
	AWAIT(&world.loop, leader->decided_n == MANY + 2);
	assert_int_equal(leader->refusal, REFUSAL_NONE);
	reader = replica_open(&world, 1, &world.loop);
	AWAIT(&world.loop, reader->whole_n);
	assert_int_equal(reader->ops_n, MANY + 2);
	assert_memory_equal(reader->log, "plan:pro tenant:ten_a key:", 26);
	world_close(&world);
}

static void a_token_leaves_etcd_when_it_expires(void **unused)
{
	struct world world;
	struct replica *leader, *reader;
	struct timespec now;

	(void)unused;
	world_open(&world, 1, NULL);
	leader = replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(leader));
	clock_gettime(CLOCK_REALTIME, &now);
	struct store_op token = {.kind = STORE_OP_TOKEN,
				 .token = {.hash = {1}, .expires_at = (now.tv_sec + 2) * NS_PER_S}};
	decide(leader, &token);
	AWAIT(&world.loop, leader->decided_n);
	assert_int_equal(leader->refusal, REFUSAL_NONE);
	assert_string_equal(leader->log, "token ");
	/* A new replica gets it no more, from some moment on. */
	reader = &world.replicas[1];
	do {
		replica_kill(reader);
		reader->revision = 0;
		reader->ops_n = reader->whole_n = 0;
		replica_open(&world, 1, &world.loop);
		AWAIT(&world.loop, reader->whole_n);
	} while (reader->ops_n);
	assert_string_equal(leader->log, "token ");
	world_close(&world);
}

static void close_on_decided(void *data, enum refusal refusal)
{
	struct replica *replica = data;

	assert_int_equal(refusal, REFUSAL_NONE);
	replica->decided_n++;
	uv_stop(replica->loop);
	replica_kill(replica);
}

static void a_replica_may_be_closed_from_within_its_callback(void **unused)
{
	struct world world;
	struct replica *leader;

	(void)unused;
	world_open(&world, 1, NULL);
	leader = replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(leader));
	struct store_op op = tenant_op("ten_a");
	ha_decide(leader->ha, &op, close_on_decided, leader);
	op = tenant_op("ten_b");
	decide(leader, &op); /* is not answered any more */
	AWAIT(&world.loop, leader->decided_n);
	uv_run(&world.loop, UV_RUN_DEFAULT);
	assert_int_equal(leader->decided_n, 1);
	world_close(&world);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decisions_come_to_all_in_their_order),
		cmocka_unit_test(a_decision_is_answered_only_when_it_is_applied),
		cmocka_unit_test(a_restarted_replica_gets_what_it_missed_and_nothing_twice),
		cmocka_unit_test(after_a_compaction_a_replica_gets_all_it_missed),
		cmocka_unit_test(a_deposed_leader_cannot_write),
		cmocka_unit_test(a_decision_whose_answer_was_lost_is_found_out_to_be_there),
		cmocka_unit_test(a_decision_that_never_arrived_is_written_again),
		cmocka_unit_test(a_decision_that_arrives_late_changes_nothing_any_more),
		cmocka_unit_test(
			a_leader_that_is_cut_off_ends_before_another_begins_and_follows_it_later),
		cmocka_unit_test(a_slow_etcd_is_led_and_decides_slowly),
		cmocka_unit_test(what_cannot_be_read_is_left_out_and_stops_nothing),
		cmocka_unit_test(a_whole_has_what_others_need_first_and_more_than_one_page),
		cmocka_unit_test(a_token_leaves_etcd_when_it_expires),
		cmocka_unit_test(a_replica_may_be_closed_from_within_its_callback),
	};

	signal(SIGPIPE, SIG_IGN);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
