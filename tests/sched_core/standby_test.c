/* A standby: what it takes, what it leaves to the leader, and what it knows by the nodes' logs. */
#include "common/base/check.h"
#include "tests/sched_core/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static struct world *world;
static struct world_node *one, *two;

static int open_standby(void **state)
{
	(void)state;
	world = world_open();
	world_stand_by(world);
	world_fleet(world, 2);
	one = &world->nodes[0];
	two = &world->nodes[1];
	return 0;
}

static int close_standby(void **state)
{
	(void)state;
	world_close(world);
	return 0;
}

static void send_started(const struct world_node *node, const struct wire_record *record,
			 int64_t created_ns, uint32_t timeout_s)
{
	struct core_event event = {.kind = CORE_EVENT_RECORD};

	event.record.node = node->id;
	event.record.record = record;
	event.record.created_at.ns = created_ns;
	event.record.timeout_s = timeout_s;
	world_step(world, &event);
}

static void adopt(struct world_node *node, const char *sandbox, uint64_t attempt)
{
	struct wire_record record = world_started(world, node, sandbox, attempt);

	world_send(world, node, &record);
}

static void a_standby_refuses_every_request(void **state)
{
	(void)state;
	adopt(one, "i1", 1ULL << 32 | 1);
	assert_int_equal(core_role(world->core), CORE_STANDBY);
	assert_int_equal(
		world_reply(world, world_create(world, "i2", "ten_a", "base", 60))->refusal,
		REFUSAL_NO_LEADER);
	assert_int_equal(world_reply(world, world_kill(world, "i1", "ten_a"))->refusal,
			 REFUSAL_NO_LEADER);
	for (int extend = 0; extend < 2; extend++)
		assert_int_equal(world_reply(world, world_timeout(world,
								  extend ? CORE_EVENT_EXTEND
									 : CORE_EVENT_SET_TIMEOUT,
								  "i1", "ten_a", 90))
					 ->refusal,
				 REFUSAL_NO_LEADER);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING);
	assert_int_equal(world_find(world, "i1")->deadline_version, 0);
	assert_null(world_find(world, "i2"));
}

/* It led once, and was stopped with one sandbox placing, one ending, and a limit unconfirmed. */
static void a_standby_gives_no_orders(void **state)
{
	struct core_counts counts;

	(void)state;
	world->stands_by = false;
	world_restart(world);
	world_report(world, one);
	world_run(world, "i1", 60);
	world_run(world, "i2", 60);
	world_create(world, "i3", "ten_a", "base", 60);
	world_kill(world, "i1", "ten_a");
	world_timeout(world, CORE_EVENT_EXTEND, "i2", "ten_a", 90);
	world_stand_by(world);
	memset(world->woken, 0, sizeof(world->woken));
	for (int i = 0; i < 20; i++) {
		world_report(world, one);
		assert_null(world_poll(world, one));
		world_node_event(world, one, CORE_EVENT_NODE_SESSION);
		assert_null(world_poll(world, one));
		world_pass(world, CORE_ATTEMPT_MS);
	}
	assert_false(world->woken[0]);
	core_count(world->core, &counts);
	assert_int_equal(counts.placing, 1);
	assert_int_equal(counts.ending, 1);
	assert_int_equal(counts.nodes_joined, 0);
}

static void what_a_standby_never_heard_of_is_adopted_from_the_log(void **state)
{
	struct wire_record record = world_started(world, one, "i1", 7ULL << 32 | 9);
	const struct core_sandbox *row;

	(void)state;
	record.deadline_version = 2;
	send_started(one, &record, world->wall.ns - 5, 77);
	assert_int_equal(world_effects(world, CORE_EFFECT_ADOPT_SANDBOX), 1);
	assert_int_equal(world_effects(world, CORE_EFFECT_SAVE_NODE), 1);
	row = world_find(world, "i1");
	assert_memory_equal(row, world_stored(world, "i1"), sizeof(*row));
	assert_int_equal(row->state, SANDBOX_RUNNING);
	assert_string_equal(row->tenant.text, "ten_a");
	assert_string_equal(row->node.text, one->id.text);
	assert_string_equal(row->template_, "base");
	assert_string_equal(row->plan, "pro");
	assert_int_equal(row->price_version, 3);
	assert_int_equal(row->vcpus, 1);
	assert_int_equal(row->mem_mib, 512);
	assert_int_equal(row->disk_mib, 1024);
	assert_int_equal(row->timeout_s, 77);
	assert_int_equal(row->attempt, 7ULL << 32 | 9);
	assert_int_equal(row->deadline_version, 2);
	assert_int_equal(row->deadline_known, 2);
	assert_int_equal(row->created_at.ns, world->wall.ns - 5);
	assert_int_equal(row->started_at.ns, record.at_wall_ns);
	assert_int_equal(row->end_at.ns, record.end_wall_ns);
	assert_int_equal(world_used(world, one), 1);
	assert_int_equal(world_held(world), 1);
	world_say(world, one, WIRE_RECORD_ENDED, "i1", 7ULL << 32 | 9);
	assert_null(world_find(world, "i1"));
	assert_int_equal(world_stored(world, "i1")->cause, CAUSE_TIMEOUT);
	assert_int_equal(world_used(world, one), 0);
	assert_int_equal(world_held(world), 0);
}

static void without_a_note_the_record_lets_guess(void **state)
{
	struct wire_record record = world_started(world, one, "i1", 9);

	(void)state;
	record.end_wall_ns = record.at_wall_ns + 60 * NS_PER_S - 1;
	world_send(world, one, &record);
	assert_int_equal(world_find(world, "i1")->timeout_s, 60);
	assert_int_equal(world_find(world, "i1")->created_at.ns, record.at_wall_ns);
	record = world_started(world, one, "i2", 10);
	record.end_wall_ns = INT64_MAX;
	record.at_wall_ns = INT64_MIN;
	world_send(world, one, &record);
	assert_int_equal(world_find(world, "i2")->timeout_s, UINT32_MAX);
	record = world_started(world, one, "i3", 11);
	record.end_wall_ns = 0;
	world_send(world, one, &record);
	assert_int_equal(world_find(world, "i3")->end_at.ns, record.at_wall_ns + NS_PER_S);
}

static void what_runs_counts_even_over_every_cap(void **state)
{
	char id[16];

	(void)state;
	world_tenant(world, "ten_a", 2);
	for (uint32_t i = 0; i < 12; i++) {
		snprintf(id, sizeof(id), "i%u", i);
		adopt(one, id, 10 + i);
	}
	assert_int_equal(world_held(world), 12);
	assert_int_equal(world_used(world, one), 12); /* it has 8 */
	world_restart(world);
	assert_int_equal(world_held(world), 12);
	for (uint32_t i = 0; i < 12; i++) {
		snprintf(id, sizeof(id), "i%u", i);
		world_say(world, one, WIRE_RECORD_ENDED, id, 10 + i);
	}
	assert_int_equal(world_held(world), 0);
}

static void a_start_of_a_tenant_not_known_yet_comes_again(void **state)
{
	struct wire_record record = world_started(world, one, "i1", 9), next;

	(void)state;
	record.tenant = world_id("ten_b");
	next = world_started(world, one, "i2", 10);
	world_send(world, one, &record);
	assert_int_equal(one->acked, record.seq);
	assert_true(one->resync);
	assert_null(world_find(world, "i1"));
	assert_int_equal(world_effects(world, CORE_EFFECT_SAVE_NODE), 0);
	world_send(world, one, &next); /* of the same poll */
	assert_int_equal(one->acked, record.seq);
	assert_null(world_find(world, "i2"));
	world_tenant(world, "ten_b", 5);
	world_send(world, one, &record);
	world_send(world, one, &next);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_RUNNING);
	assert_int_equal(one->acked, next.seq + 1);
	assert_false(one->resync);
}

static void a_start_without_a_tenant_stops_no_log(void **state)
{
	struct wire_record record = world_started(world, one, "i1", 9);
	struct core_counts counts;

	(void)state;
	record.tenant = (struct id){0};
	world_send(world, one, &record);
	assert_int_equal(one->acked, record.seq + 1);
	assert_null(world_find(world, "i1"));
	core_count(world->core, &counts);
	assert_int_equal(counts.ignored, 1);
}

static void a_start_beyond_the_last_slot_comes_again(void **state)
{
	struct wire_record record;
	char id[16];

	(void)state;
	for (uint32_t i = 0; i < WORLD_SANDBOXES; i++) {
		snprintf(id, sizeof(id), "i%u", i);
		adopt(one, id, 10 + i);
	}
	record = world_started(world, two, "ilast", 1000);
	world_send(world, two, &record);
	assert_true(two->resync);
	assert_null(world_find(world, "ilast"));
	world_say(world, one, WIRE_RECORD_ENDED, "i0", 10);
	world_send(world, two, &record);
	assert_non_null(world_find(world, "ilast"));
}

static void usage_and_ends_of_the_unknown_are_posted_and_adopt_nothing(void **state)
{
	(void)state;
	world_say(world, one, WIRE_RECORD_USAGE, "i1", 9);
	world_say(world, one, WIRE_RECORD_ENDED, "i1", 9);
	world_say(world, one, WIRE_RECORD_REFUSED, "i2", 10);
	assert_int_equal(world->posted_n, 2);
	assert_int_equal(world->adopted_n, 0);
	assert_int_equal(world->sandbox_n, 0);
}

static void a_standby_follows_the_limit_that_the_log_tells(void **state)
{
	int64_t end_ns = world->wall.ns + 500 * NS_PER_S;
	struct wire_record usage;

	(void)state;
	adopt(one, "i1", 9);
	usage = world_record(world, one, WIRE_RECORD_USAGE, "i1", 9);
	usage.deadline_version = 2;
	usage.end_wall_ns = end_ns;
	world_send(world, one, &usage);
	assert_int_equal(world_stored(world, "i1")->end_at.ns, end_ns);
	assert_int_equal(world_stored(world, "i1")->deadline_version, 2);
	assert_int_equal(world_stored(world, "i1")->deadline_known, 2);
	usage = world_record(world, one, WIRE_RECORD_USAGE, "i1", 9);
	usage.deadline_version = 2;
	usage.end_wall_ns = end_ns;
	world_send(world, one, &usage);
	assert_int_equal(world_effects(world, CORE_EFFECT_SAVE_SANDBOX), 0);
}

/* Ours was never confirmed, hence never granted; the leader after us gave the same version. */
static void a_limit_that_was_never_confirmed_gives_way_to_the_logs(void **state)
{
	int64_t end_ns = world->wall.ns + 300 * NS_PER_S;
	struct wire_record usage;
	uint64_t attempt;

	(void)state;
	world->stands_by = false;
	world_restart(world);
	world_report(world, one);
	attempt = world_run(world, "i1", 60);
	world_timeout(world, CORE_EVENT_EXTEND, "i1", "ten_a", 900);
	assert_int_equal(world_find(world, "i1")->deadline_version, 1);
	world_stand_by(world);
	usage = world_record(world, one, WIRE_RECORD_USAGE, "i1", attempt);
	usage.deadline_version = 1;
	usage.end_wall_ns = end_ns;
	world_send(world, one, &usage);
	assert_int_equal(world_find(world, "i1")->end_at.ns, end_ns);
	assert_int_equal(world_find(world, "i1")->deadline_known, 1);
}

static void the_log_settles_what_a_former_leader_left(void **state)
{
	uint64_t running, placing;

	(void)state;
	world->stands_by = false;
	world_restart(world);
	world_report(world, one);
	running = world_run(world, "i1", 60);
	world_create(world, "i2", "ten_a", "base", 60);
	placing = world_find(world, "i2")->attempt;
	world_create(world, "i3", "ten_a", "base", 60);
	assert_string_equal(world_find(world, "i3")->node.text, one->id.text);
	world_kill(world, "i1", "ten_a");
	world_stand_by(world);

	one->poll.epoch = world->epoch; /* no newer leader there yet: it may still say yes */
	one->poll.end_seq = one->seq;
	world_report(world, one);
	assert_int_equal(world_find(world, "i2")->state, SANDBOX_PLACING);
	one->poll.epoch = world->epoch + 1; /* heard of one, but has not answered all */
	one->poll.pending_n = 1;
	world_report(world, one);
	assert_int_equal(world_find(world, "i2")->state, SANDBOX_PLACING);
	one->poll.pending_n = 0;
	one->poll.end_seq = one->seq + 1; /* with the answer */
	world_report(world, one);
	assert_int_equal(world_find(world, "i2")->state, SANDBOX_PLACING);
	world_say(world, one, WIRE_RECORD_STARTED, "i2", placing);
	assert_int_equal(world_find(world, "i2")->state, SANDBOX_RUNNING);
	assert_null(world_find(world, "i3")); /* never began */
	assert_int_equal(world_stored(world, "i3")->refusal, REFUSAL_CANCELLED);
	assert_int_equal(world_stored(world, "i3")->cause, CAUSE_NONE);
	assert_int_equal(world_find(world, "i1")->state, SANDBOX_ENDING);
	world_say(world, one, WIRE_RECORD_ENDED, "i1", running);
	assert_null(world_find(world, "i1"));
	assert_int_equal(world_held(world), 1);
}

static void a_standby_restarts_as_it_was(void **state)
{
	struct core_sandbox before;

	(void)state;
	adopt(one, "i1", 9);
	before = *world_find(world, "i1");
	world_restart(world);
	assert_int_equal(core_role(world->core), CORE_STANDBY);
	assert_memory_equal(world_find(world, "i1"), &before, sizeof(before));
	adopt(one, "i2", 10);
	assert_int_equal(world_used(world, one), 2);
}

static void a_crash_around_an_adoption_loses_and_doubles_nothing(void **state)
{
	struct wire_record record = world_started(world, one, "i1", 9);

	(void)state;
	world->crash = WORLD_CRASH_BEFORE_COMMIT;
	world_send(world, one, &record);
	assert_null(world_find(world, "i1"));
	world->crash = WORLD_CRASH_AFTER_COMMIT;
	world_send(world, one, &record);
	assert_non_null(world_find(world, "i1"));
	world_send(world, one, &record);
	assert_int_equal(world_held(world), 1);
	assert_int_equal(one->acked, record.seq + 1);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_standby, close_standby)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(a_standby_refuses_every_request),
		STORY(a_standby_gives_no_orders),
		STORY(what_a_standby_never_heard_of_is_adopted_from_the_log),
		STORY(without_a_note_the_record_lets_guess),
		STORY(what_runs_counts_even_over_every_cap),
		STORY(a_start_of_a_tenant_not_known_yet_comes_again),
		STORY(a_start_without_a_tenant_stops_no_log),
		STORY(a_start_beyond_the_last_slot_comes_again),
		STORY(usage_and_ends_of_the_unknown_are_posted_and_adopt_nothing),
		STORY(a_standby_follows_the_limit_that_the_log_tells),
		STORY(a_limit_that_was_never_confirmed_gives_way_to_the_logs),
		STORY(the_log_settles_what_a_former_leader_left),
		STORY(a_standby_restarts_as_it_was),
		STORY(a_crash_around_an_adoption_loses_and_doubles_nothing),
	};

	return cmocka_run_group_tests_name("sched_core.standby", tests, NULL, NULL);
}
