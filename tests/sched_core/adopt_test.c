/* What only a node's log knew: when a row is made of it, and of what. */
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

static void one_that_is_alone_adopts_what_it_lost_and_waits_for_no_tenant(void **state)
{
	struct wire_record record = world_started(world, one, "i1", 9);

	(void)state;
	world->stands_by = false;
	world_restart(world);
	record.tenant = world_id("ten_gone");
	world_send(world, one, &record);
	assert_int_equal(one->acked, record.seq + 1); /* nobody else could tell who that is */
	assert_null(world_find(world, "i1"));
	adopt(one, "i2", 10);
	assert_int_equal(world_find(world, "i2")->state, SANDBOX_RUNNING);
}

static void one_that_is_known_is_not_adopted(void **state)
{
	struct core_sandbox before;
	struct wire_record record;

	(void)state;
	adopt(one, "i1", 9);
	before = *world_find(world, "i1");
	record = world_started(world, two, "i1", 99); /* against every promise */
	world_send(world, two, &record);
	assert_int_equal(two->acked, record.seq + 1);
	assert_memory_equal(world_find(world, "i1"), &before, sizeof(before));
	assert_int_equal(world_held(world), 1);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, open_standby, close_standby)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(what_a_standby_never_heard_of_is_adopted_from_the_log),
		STORY(without_a_note_the_record_lets_guess),
		STORY(what_runs_counts_even_over_every_cap),
		STORY(a_start_of_a_tenant_not_known_yet_comes_again),
		STORY(a_start_without_a_tenant_stops_no_log),
		STORY(a_start_beyond_the_last_slot_comes_again),
		STORY(usage_and_ends_of_the_unknown_are_posted_and_adopt_nothing),
		STORY(a_crash_around_an_adoption_loses_and_doubles_nothing),
		STORY(one_that_is_alone_adopts_what_it_lost_and_waits_for_no_tenant),
		STORY(one_that_is_known_is_not_adopted),
	};

	return cmocka_run_group_tests_name("sched_core.adopt", tests, NULL, NULL);
}
