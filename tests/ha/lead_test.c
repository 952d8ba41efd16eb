/* Who leads: with real etcd, replicas that die, resign and freeze, and an etcd that has troubles.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/ha/world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct replica *await_leader(struct world *world)
{
	struct replica *leader = NULL;

	AWAIT(&world->loop, (leader = world_leader(world)) && replica_leads(leader));
	return leader;
}

static void one_leads_and_all_know_which(void **unused)
{
	struct world world;
	struct replica *leader;

	(void)unused;
	world_open(&world, 1, NULL);
	for (int i = 0; i < 3; i++)
		replica_open(&world, i, &world.loop);
	leader = await_leader(&world);
	assert_true(leader->epoch > 100); /* the fleet's base */
	for (int i = 0; i < 3; i++) {
		struct replica *replica = &world.replicas[i];

		AWAIT(&world.loop, strcmp(replica->leader, leader->options.self.name) == 0);
		assert_string_equal(ha_leader(replica->ha)->api, leader->options.self.api);
		assert_string_equal(ha_leader(replica->ha)->bus, leader->options.self.bus);
		assert_int_equal(replica->leads_n, replica == leader);
	}
	world_close(&world);
}

static void after_a_killed_leader_another_leads(void **unused)
{
	struct world world;
	struct replica *first, *second;

	(void)unused;
	world_open(&world, 1, NULL);
	for (int i = 0; i < 3; i++)
		replica_open(&world, i, &world.loop);
	first = await_leader(&world);
	uint64_t epoch = first->epoch;
	replica_kill(first);
	struct mono killed_at = world_now();
	second = await_leader(&world);
	assert_ptr_not_equal(first, second);
	assert_true(second->epoch > epoch);
	print_message("killed: another led after %lld ms\n",
		      (long long)mono_ms_since(second->led_at, killed_at));
	world_close(&world);
}

static void after_a_leader_that_resigned_another_leads_at_once(void **unused)
{
	struct world world;
	struct replica *first, *second;

	(void)unused;
	world_open(&world, 1, NULL);
	for (int i = 0; i < 2; i++)
		replica_open(&world, i, &world.loop);
	first = await_leader(&world);
	/* The other has a lease, and knows who leads. */
	second = &world.replicas[first == &world.replicas[0]];
	AWAIT(&world.loop, second->leader[0]);
	decide_now(first, "ten_a");
	AWAIT(&world.loop, strstr(second->log, "ten_a"));
	struct mono resigned_at = world_now();
	ha_resign(first->ha);
	assert_false(ha_leads(first->ha, world_now()));
	/* Also when it ends at once: the lease is given back all the same. */
	AWAIT(&world.loop, first->follows_n);
	replica_kill(first);
	assert_ptr_equal(await_leader(&world), second);
	print_message("resigned: another led after %lld ms\n",
		      (long long)mono_ms_since(second->led_at, resigned_at));
	world_close(&world);
}

static void a_frozen_leader_has_ended_before_another_begins(void **unused)
{
	struct world world;
	struct replica *frozen, *other;

	(void)unused;
	world_open(&world, 1, NULL);
	frozen = replica_open(&world, 0, &world.other);
	AWAIT(&world.other, replica_leads(frozen));
	other = replica_open(&world, 1, &world.loop);
	/* `other` alone runs from here: on_lead asserts that nobody leads beside it. */
	AWAIT(&world.loop, replica_leads(other));
	assert_int_not_equal(frozen->epoch, 0); /* it was not even told */
	assert_false(ha_leads(frozen->ha, world_now()));
	struct store_op op = tenant_op("ten_late");
	decide(frozen, &op);
	AWAIT(&world.other, frozen->decided_n);
	assert_int_equal(frozen->refusal, REFUSAL_NO_LEADER);
	AWAIT(&world.other, strcmp(frozen->leader, "r1") == 0);
	assert_int_equal(frozen->epoch, 0);
	assert_int_equal(frozen->follows_n, 1);
	assert_int_equal(frozen->ops_n, 0);
	world_close(&world);
}

static void who_cannot_write_does_not_lead_until_it_can(void **unused)
{
	struct world world;
	struct replica *sick, *well;

	(void)unused;
	world_open(&world, 1, NULL);
	sick = replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(sick));
	struct store_op op = tenant_op("ten_a");
	sick->refuse_writes_n = -1;
	decide(sick, &op);
	AWAIT(&world.loop, sick->follows_n && sick->decided_n);
	assert_int_equal(sick->refusal, REFUSAL_NO_LEADER);
	well = replica_open(&world, 1, &world.loop);
	AWAIT(&world.loop, replica_leads(well));
	assert_non_null(strstr(well->log, "ten_a"));
	/* It writes again, what it could not before comes again, and it may lead again. */
	sick->refuse_writes_n = 0;
	AWAIT(&world.loop, strstr(sick->log, "ten_a"));
	ha_set_fit(well->ha, false);
	AWAIT(&world.loop, well->follows_n && replica_leads(sick));
	world_close(&world);
}

static void a_leader_leads_on_while_etcd_restarts(void **unused)
{
	struct world world;
	struct replica *leader;

	(void)unused;
	world_open(&world, 1, NULL);
	for (int i = 0; i < 2; i++)
		replica_open(&world, i, &world.loop);
	leader = await_leader(&world);
	decide_now(leader, "ten_a");
	etcd_rig_kill(&world.rig, 0);
	etcd_rig_start(&world.rig, 0);
	/* Quick enough or not, which is the machine's: somebody leads, and decides. */
	for (;;) {
		struct store_op op = tenant_op("ten_b");

		leader = await_leader(&world);
		int before_n = leader->decided_n;
		decide(leader, &op);
		AWAIT(&world.loop, leader->decided_n > before_n);
		if (leader->refusal == REFUSAL_NONE)
			break;
	}
	for (int i = 0; i < 2; i++)
		AWAIT(&world.loop, strstr(world.replicas[i].log, "ten_b"));
	world_close(&world);
}

static void while_etcd_is_frozen_nobody_leads_for_longer_than_a_lease(void **unused)
{
	struct world world;
	struct replica *leader;

	(void)unused;
	world_open(&world, 1, NULL);
	for (int i = 0; i < 2; i++)
		replica_open(&world, i, &world.loop);
	leader = await_leader(&world);
	etcd_rig_signal(&world.rig, 0, SIGSTOP);
	struct store_op op = tenant_op("ten_a");
	decide(leader, &op);
	AWAIT(&world.loop, leader->follows_n && leader->decided_n);
	assert_int_equal(leader->refusal, REFUSAL_NO_LEADER);
	assert_null(world_leader(&world));
	etcd_rig_signal(&world.rig, 0, SIGCONT);
	decide_now(await_leader(&world), "ten_b");
	world_close(&world);
}

static void with_two_of_three_members_it_goes_on(void **unused)
{
	struct world world;

	(void)unused;
	world_open(&world, 3, NULL);
	for (int i = 0; i < 2; i++)
		replica_open(&world, i, &world.loop);
	decide_now(await_leader(&world), "ten_a");
	etcd_rig_kill(&world.rig, 0); /* the endpoint that all use */
	for (;;) {
		struct replica *leader = await_leader(&world);
		struct store_op op = tenant_op("ten_b");
		int before_n = leader->decided_n;

		decide(leader, &op);
		AWAIT(&world.loop, leader->decided_n > before_n);
		if (leader->refusal == REFUSAL_NONE)
			break;
	}
	for (int i = 0; i < 2; i++)
		AWAIT(&world.loop, strstr(world.replicas[i].log, "ten_b"));
	world_close(&world);
}

static void without_its_fleet_a_replica_refuses_to_start(void **unused)
{
	struct world world;
	struct err err;

	(void)unused;
	world_open(&world, 1, NULL);
	world_etcdctl(&world, "del " HA_KEY_FLEET);
	assert_int_equal(replica_try_open(&world, 0, &world.loop, &err), -1);
	assert_non_null(strstr(err.text, "flotilla ha init"));
	world_etcdctl(&world, "put " HA_KEY_FLEET " nonsense");
	assert_int_equal(replica_try_open(&world, 0, &world.loop, &err), -1);
	struct fleet other = {.fingerprint = {8}, .generation = 1};
	char *json = fleet_encode(&other);
	world_etcdctl(&world, "put " HA_KEY_FLEET " '%s'", json);
	free(json);
	assert_int_equal(replica_try_open(&world, 0, &world.loop, &err), -1);
	assert_non_null(strstr(err.text, "secrets"));
	world_close(&world);
}

static void a_replica_starts_without_etcd_and_leads_when_it_is_there(void **unused)
{
	struct world world;
	struct replica *replica;

	(void)unused;
	world_open(&world, 1, NULL);
	etcd_rig_kill(&world.rig, 0);
	replica = replica_open(&world, 0, &world.loop);
	uv_run(&world.loop, UV_RUN_NOWAIT);
	etcd_rig_start(&world.rig, 0);
	AWAIT(&world.loop, replica_leads(replica));
	world_close(&world);
}

static void a_fleet_key_that_vanished_ends_the_leading_until_it_is_back(void **unused)
{
	struct world world;
	struct replica *leader;

	(void)unused;
	world_open(&world, 1, NULL);
	leader = replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(leader));
	world_etcdctl(&world, "del " HA_KEY_FLEET);
	AWAIT(&world.loop, leader->follows_n);
	assert_string_equal(leader->leader, "");
	world_init_fleet(&world, 100, 1);
	AWAIT(&world.loop, replica_leads(leader));
	world_close(&world);
}

static void a_wiped_etcd_is_followed_and_led_again_once_initialised(void **unused)
{
	struct world world;
	struct replica *leader;

	(void)unused;
	world_open(&world, 1, NULL);
	leader = replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(leader));
	decide_now(leader, "ten_a");
	etcd_rig_kill(&world.rig, 0);
	etcd_rig_wipe(&world.rig, 0);
	etcd_rig_start(&world.rig, 0);
	AWAIT(&world.loop, leader->follows_n);
	assert_null(world_leader(&world));
	/* As `flotilla ha init` does: another generation, epochs above all there were. */
	world_init_fleet(&world, 1000, 2);
	AWAIT(&world.loop, replica_leads(leader));
	assert_true(leader->epoch > 1000);
	assert_int_equal(leader->whole_n, 2); /* what the old etcd had does not count */
	decide_now(leader, "ten_b");
	world_close(&world);
}

static void an_etcd_that_was_set_back_is_not_led(void **unused)
{
	struct world world;
	struct replica *leader;
	char command[256];

	(void)unused;
	world_open(&world, 1, NULL);
	leader = replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(leader));
	etcd_rig_kill(&world.rig, 0);
	snprintf(command, sizeof(command), "cp -r %s/m0 %s/old", world.rig.dir, world.rig.dir);
	assert_int_equal(system(command), 0);
	etcd_rig_start(&world.rig, 0);
	AWAIT(&world.loop, replica_leads(leader));
	decide_now(leader, "ten_a");
	decide_now(leader, "ten_b");
	replica_kill(leader);
	etcd_rig_kill(&world.rig, 0);
	etcd_rig_wipe(&world.rig, 0);
	snprintf(command, sizeof(command), "mv %s/old %s/m0", world.rig.dir, world.rig.dir);
	assert_int_equal(system(command), 0);
	etcd_rig_start(&world.rig, 0);
	/* A replica that knows more than etcd follows; one that is new cannot know, and leads: that
	 * is how long the refusal is seen to last. */
	leader->leads_n = 0;
	replica_open(&world, 0, &world.loop);
	replica_open(&world, 1, &world.loop);
	world.highest_epoch = 0;
	AWAIT(&world.loop, replica_leads(&world.replicas[1]));
	assert_int_equal(leader->leads_n, 0);
	world_close(&world);
}

static void used_up_epochs_are_not_led(void **unused)
{
	struct world world;
	struct replica *replica;

	(void)unused;
	world_open(&world, 1, NULL);
	world_init_fleet(&world, INT32_MAX - 3, 1);
	replica = replica_open(&world, 0, &world.loop);
	/* It gets the key, finds that it has no epoch for it, and gives it back. */
	AWAIT(&world.loop, replica->leaders_n > 0 && strcmp(replica->leader, "") == 0);
	assert_int_equal(replica->leads_n, 0);
	world_close(&world);
}

static void a_full_etcd_refuses_decisions_and_keeps_its_leader(void **unused)
{
	static const char *const small[] = {"--quota-backend-bytes", "200000", NULL};
	struct world world;
	struct replica *leader;

	(void)unused;
	world_open(&world, 1, small);
	leader = replica_open(&world, 0, &world.loop);
	AWAIT(&world.loop, replica_leads(leader));
	/* Filled beside us, since a leader that waits is none any more. */
	char command[512];
	snprintf(
		command, sizeof(command),
		"while head -c 20000 /dev/zero | tr '\\0' x | ETCDCTL_API=3 etcdctl --endpoints %s "
		"put /other >/dev/null 2>&1; do :; done &",
		world.rig.endpoints);
	assert_int_equal(system(command), 0);
	struct store_op op = tenant_op("ten_a");
	do {
		int before_n = leader->decided_n;

		decide(leader, &op);
		AWAIT(&world.loop, leader->decided_n > before_n);
	} while (leader->refusal == REFUSAL_NONE);
	assert_int_equal(leader->refusal, REFUSAL_STORE_UNAVAILABLE);
	assert_true(replica_leads(leader));
	world_close(&world);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_leads_and_all_know_which),
		cmocka_unit_test(after_a_killed_leader_another_leads),
		cmocka_unit_test(after_a_leader_that_resigned_another_leads_at_once),
		cmocka_unit_test(a_frozen_leader_has_ended_before_another_begins),
		cmocka_unit_test(who_cannot_write_does_not_lead_until_it_can),
		cmocka_unit_test(a_leader_leads_on_while_etcd_restarts),
		cmocka_unit_test(while_etcd_is_frozen_nobody_leads_for_longer_than_a_lease),
		cmocka_unit_test(with_two_of_three_members_it_goes_on),
		cmocka_unit_test(without_its_fleet_a_replica_refuses_to_start),
		cmocka_unit_test(a_replica_starts_without_etcd_and_leads_when_it_is_there),
		cmocka_unit_test(a_fleet_key_that_vanished_ends_the_leading_until_it_is_back),
		cmocka_unit_test(a_wiped_etcd_is_followed_and_led_again_once_initialised),
		cmocka_unit_test(an_etcd_that_was_set_back_is_not_led),
		cmocka_unit_test(used_up_epochs_are_not_led),
		cmocka_unit_test(a_full_etcd_refuses_decisions_and_keeps_its_leader),
	};

	signal(SIGPIPE, SIG_IGN);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
