/* Nodes that are lost: when one may be given up, and that it is, once. */
#include "common/base/check.h"
#include "tests/sched_core/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

enum { LEASE_MS = 30000, LEASE_OVER_MS = 30000 + 2000 + 600 };

static struct world *world;
static struct world_node *one, *two;

static void open_fleet(bool several, uint32_t lease_ms)
{
	world = world_open();
	world->limits.lease_ms = lease_ms;
	world->stands_by = several;
	world_restart(world);
	world_fleet(world, 2);
	one = &world->nodes[0];
	two = &world->nodes[1];
	if (!several)
		return;
	world_lead(world);
	world_join(world, one);
	world_join(world, two);
	CHECK(core_role(world->core) == CORE_LEADING);
}

static int open_leader(void **state)
{
	(void)state;
	open_fleet(true, LEASE_MS);
	return 0;
}

static int open_alone(void **state)
{
	(void)state;
	open_fleet(false, 0);
	return 0;
}

static int close_fleet(void **state)
{
	(void)state;
	world_close(world);
	return 0;
}

/* Time passes in which the other node reports, and this one does not. */
static void pass_without(const struct world_node *silent, int64_t ms)
{
	for (; ms > 0; ms -= 2000) {
		world_pass(world, ms < 2000 ? ms : 2000);
		world_report(world, silent == one ? two : one);
	}
}

static void a_node_may_be_declared_lost_once_its_lease_is_over(void **state)
{
	(void)state;
	assert_int_equal(core_lost_below(world->core, &one->id), 0);
	pass_without(one, LEASE_OVER_MS - 1);
	assert_int_equal(core_lost_below(world->core, &one->id), 0);
	world_pass(world, 1);
	assert_true(core_lost_below(world->core, &one->id) > 0);
	assert_int_equal(core_lost_below(world->core, &two->id), 0);
	world_node_event(world, one, CORE_EVENT_NODE_SESSION); /* says nothing of what runs */
	assert_true(core_lost_below(world->core, &one->id) > 0);
	world_report(world, one);
	assert_int_equal(core_lost_below(world->core, &one->id), 0);
	assert_int_equal(core_lost_below(world->core, &(struct id){"nod_none"}), 0);
}

static void without_leases_silence_is_enough(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60);
	int64_t heard_ns;

	(void)state;
	world_report(world, one);
	heard_ns = world->wall.ns;
	pass_without(one, CORE_SILENT_MS - 1);
	assert_int_equal(world_lose(world, one), 0);
	world_lost(world, one, attempt + 1); /* somebody does not ask */
	assert_non_null(world_find(world, "i1"));
	world_pass(world, 60000);
	assert_true(world_lose(world, one) > attempt);
	assert_null(world_find(world, "i1"));
	assert_int_equal(world_stored(world, "i1")->cause, CAUSE_NODE_LOST);
	assert_int_equal(world_stored(world, "i1")->ended_at.ns, heard_ns);
}

static void a_new_leader_cannot_give_up_what_it_had_no_time_to_hear(void **state)
{
	(void)state;
	world_pass(world, 600000);
	world_restart(world);
	assert_int_equal(core_lost_below(world->core, &one->id), 0); /* a standby gives up none */
	world_pass(world, 600000);
	assert_int_equal(core_lost_below(world->core, &one->id), 0);
	world_lead(world);
	world_pass(world, LEASE_OVER_MS - 1);
	assert_int_equal(core_lost_below(world->core, &one->id), 0);
	world_pass(world, 1);
	assert_true(core_lost_below(world->core, &one->id) > 0);
}

static void a_lost_nodes_quota_comes_back_once(void **state)
{
	uint64_t first = world_run(world, "i1", 60), second = world_run(world, "i2", 60);
	int64_t over_ns = world->wall.ns + LEASE_OVER_MS * NS_PER_MS, lost_below;
	struct wire_record late;

	(void)state;
	assert_string_equal(world_find(world, "i2")->node.text, one->id.text);
	pass_without(one, 90000);
	assert_int_equal(world_held(world), 2);
	lost_below = (int64_t)world_lose(world, one);
	assert_true(lost_below > (int64_t)second && second > first);
	assert_int_equal(world_held(world), 0);
	assert_int_equal(world_used(world, one), 0);
	assert_null(world_find(world, "i1"));
	assert_int_equal(world_stored(world, "i1")->state, SANDBOX_ENDED);
	assert_int_equal(world_stored(world, "i1")->cause, CAUSE_NODE_LOST);
	assert_int_equal(world_stored(world, "i1")->ended_at.ns, over_ns);
	world_lost(world, one, (uint64_t)lost_below); /* the decisions are read again */
	assert_int_equal(world_held(world), 0);

	late = world_record(world, one, WIRE_RECORD_USAGE, "i1", first);
	late.to_ms = 700;
	world_send(world, one, &late);
	assert_int_equal(world->posted_n, 1);
	assert_int_equal(world_effects(world, CORE_EFFECT_SAVE_SANDBOX), 0);
	late = world_started(world, one, "i3", second + 1); /* begun, and not told in time */
	late.attempt = (uint64_t)lost_below - 1;
	world_send(world, one, &late);
	assert_null(world_find(world, "i3"));
	world_say(world, one, WIRE_RECORD_ENDED, "i1", first);
	assert_int_equal(world->posted_n, 2);
	assert_int_equal(world_held(world), 0);
	assert_int_equal(world_stored(world, "i1")->cause, CAUSE_NODE_LOST);
	world_restart(world);
	assert_int_equal(world_held(world), 0);
}

static void whoever_waited_for_a_lost_node_is_answered(void **state)
{
	uint64_t create, kill, extend;

	(void)state;
	world_run(world, "i1", 60);
	world_run(world, "i2", 60);
	kill = world_kill(world, "i1", "ten_a");
	extend = world_timeout(world, CORE_EVENT_EXTEND, "i2", "ten_a", 600);
	create = world_create(world, "i3", "ten_a", "base", 60);
	assert_string_equal(world_find(world, "i3")->node.text, two->id.text);
	world_lost(world, two, 1ULL << 40);
	world_lost(world, one, 1ULL << 40); /* decided in time, told late */
	assert_int_equal(world_reply(world, kill)->refusal, REFUSAL_NONE);
	assert_int_equal(world_reply(world, extend)->refusal, REFUSAL_SANDBOX_UNKNOWN);
	assert_int_equal(world_reply(world, create)->refusal, REFUSAL_PLACEMENT_TIMEOUT);
	assert_int_equal(world_stored(world, "i3")->refusal, REFUSAL_PLACEMENT_TIMEOUT);
	assert_int_equal(world_stored(world, "i3")->cause, CAUSE_NODE_LOST);
	assert_int_equal(world_held(world), 0);
}

static void cordon(const struct world_node *node)
{
	struct core_event event = {.kind = CORE_EVENT_NODE_SET};

	event.node.id = node->id;
	event.node.cordoned = true;
	world_step(world, &event);
}

/* Every replica must come to the same, whatever each of them heard in between. */
static void what_was_decided_is_carried_out_even_if_the_node_is_back(void **state)
{
	uint64_t attempt = world_run(world, "i1", 60), later;

	(void)state;
	world_report(world, one);
	later = world_run(world, "i2", 60);
	world_lost(world, one, attempt + 1);
	assert_null(world_find(world, "i1"));
	assert_non_null(world_find(world, "i2")); /* begun after the decision */
	assert_true(later > attempt);
	assert_int_equal(world_held(world), 1);
	world_lost(world, two, attempt + 1); /* awake, with room, and nothing to give up */
	cordon(one);
	assert_int_equal(
		world_reply(world, world_create(world, "i3", "ten_a", "base", 60))->refusal,
		REFUSAL_CAPACITY);
}

static void a_standby_gives_up_the_same(void **state)
{
	struct wire_record record = world_started(world, one, "i1", 5);

	(void)state;
	world_stand_by(world);
	world_send(world, one, &record);
	assert_int_equal(world_held(world), 1);
	world_lost(world, one, 6);
	assert_int_equal(world_held(world), 0);
	assert_int_equal(world_stored(world, "i1")->cause, CAUSE_NODE_LOST);
	assert_true(world_stored(world, "i1")->ended_at.ns >=
		    world_stored(world, "i1")->started_at.ns);
}

static void a_lost_node_is_placed_upon_when_it_has_ended_what_was_given_up(void **state)
{
	struct core_explanation why;
	struct core_node_view view;
	struct core_counts counts;
	uint64_t lost_below;

	(void)state;
	pass_without(one, 90000);
	lost_below = world_lose(world, one);
	world_join(world, one);
	assert_true(core_node_find(world->core, &one->id, &view));
	assert_int_equal(view.lost_below, lost_below);
	assert_int_equal(view.row.lost_below, lost_below);
	core_count(world->core, &counts);
	assert_int_equal(counts.nodes_lost, 1);
	core_explain(world->core, "base", &why);
	assert_int_equal(why.lost_n, 1);
	one->poll.lost_below = lost_below - 1;
	world_join(world, one);
	core_explain(world->core, "base", &why);
	assert_int_equal(why.lost_n, 1);
	one->poll.lost_below = lost_below;
	world_join(world, one);
	core_explain(world->core, "base", &why);
	assert_int_equal(why.fits_n, 2);
	core_count(world->core, &counts);
	assert_int_equal(counts.nodes_lost, 0);
	assert_true(world_run(world, "i1", 60) >= lost_below);
}

static void the_loss_survives_a_restart(void **state)
{
	struct core_node_view view;
	uint64_t lost_below;

	(void)state;
	pass_without(one, 90000);
	lost_below = world_lose(world, one);
	world_restart(world);
	assert_true(core_node_find(world->core, &one->id, &view));
	assert_int_equal(view.lost_below, lost_below);
}

static void a_nodes_decision_carries_its_loss(void **state)
{
	struct core_event event = {.kind = CORE_EVENT_NODE_SET};
	uint64_t attempt = world_run(world, "i1", 60);
	struct core_node_view view;

	(void)state;
	event.node.id = one->id;
	strcpy(event.node.name, "host");
	event.node.lost_below = attempt + 1;
	world_step(world, &event);
	assert_int_equal(world_held(world), 0);
	event.node.lost_below = 0; /* somebody who does not know */
	world_step(world, &event);
	event.node.id = world_id("nod_9"); /* a replica that reads it for the first time */
	event.node.lost_below = 77;
	world_step(world, &event);
	assert_true(core_node_find(world->core, &one->id, &view));
	assert_int_equal(view.lost_below, attempt + 1);
	assert_true(core_node_find(world->core, &event.node.id, &view));
	assert_int_equal(view.lost_below, 77);
}

static void more_than_fits_into_a_step_is_given_up_in_several(void **state)
{
	char id[16];

	(void)state;
	one->poll.capacity = (struct wire_room){200, 200000, 1000000, 200};
	world_offer(one, "only", 1, 512, 1024, 0);
	world_join(world, one);
	world_tenant(world, "ten_a", 200);
	for (unsigned i = 0; i < WORLD_SANDBOXES; i++) {
		snprintf(id, sizeof(id), "i%u", i);
		world_create(world, id, "ten_a", "only", 60);
	}
	world_lost(world, one, 1ULL << 40);
	assert_true(world_held(world) > 0); /* each has a row to save and somebody to tell */
	world_say(world, one, WIRE_RECORD_STARTED, "i79", world_find(world, "i79")->attempt);
	assert_int_equal(world_find(world, "i79")->state, SANDBOX_PLACING);
	world_pass(world, 0);
	assert_int_equal(world_held(world), 0);
	for (uint64_t request = 1; request <= WORLD_SANDBOXES; request++)
		assert_int_equal(world_reply(world, request)->refusal, REFUSAL_PLACEMENT_TIMEOUT);
}

#define LEADER(name) cmocka_unit_test_setup_teardown(name, open_leader, close_fleet)
#define ALONE(name)  cmocka_unit_test_setup_teardown(name, open_alone, close_fleet)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LEADER(a_node_may_be_declared_lost_once_its_lease_is_over),
		ALONE(without_leases_silence_is_enough),
		LEADER(a_new_leader_cannot_give_up_what_it_had_no_time_to_hear),
		LEADER(a_lost_nodes_quota_comes_back_once),
		LEADER(whoever_waited_for_a_lost_node_is_answered),
		LEADER(what_was_decided_is_carried_out_even_if_the_node_is_back),
		LEADER(a_standby_gives_up_the_same),
		LEADER(a_lost_node_is_placed_upon_when_it_has_ended_what_was_given_up),
		LEADER(the_loss_survives_a_restart),
		LEADER(a_nodes_decision_carries_its_loss),
		LEADER(more_than_fits_into_a_step_is_given_up_in_several),
	};

	return cmocka_run_group_tests_name("sched_core.lost", tests, NULL, NULL);
}
