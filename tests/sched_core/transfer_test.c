/* Templates that are copied from node to node: what is wanted, who gets it, and when it is over. */
#include "common/base/check.h"
#include "tests/sched_core/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

static struct world *world;
static struct world_node *one, *two, *three;
static struct wire_transfer said[3][4];

/* Node one has "base" and room for 2; two and three have room and no template. */
static int open_fleet(uint32_t transfers_max, const char *everywhere)
{
	world = world_open();
	world->limits.transfers_max = transfers_max;
	world->limits.everywhere = everywhere;
	world_restart(world);
	world_tenant(world, "ten_a", 20);
	one = world_node(world, "nod_0", 2, 8192, 81920, 2);
	two = world_node(world, "nod_1", 8, 8192, 81920, 8);
	three = world_node(world, "nod_2", 8, 8192, 81920, 8);
	for (int i = 0; i < 3; i++) {
		strcpy(world->nodes[i].poll.platform, "tcg 7.2");
		world->nodes[i].poll.transfers = said[i];
	}
	memset(said, 0, sizeof(said));
	world_offer(one, "base", 1, 512, 1024, 2);
	world_report(world, one);
	return 0;
}

static int open_on_demand(void **state)
{
	(void)state;
	return open_fleet(4, NULL);
}

static int open_everywhere(void **state)
{
	(void)state;
	return open_fleet(4, "other,base");
}

static int open_without(void **state)
{
	(void)state;
	return open_fleet(0, "*");
}

static int close_fleet(void **state)
{
	(void)state;
	world_close(world);
	return 0;
}

static void says(struct world_node *node, uint64_t number, enum wire_transfer_state state)
{
	struct wire_transfer *transfer = said[node - world->nodes];

	*transfer = (struct wire_transfer){.number = number, .state = state, .bytes = 1000};
	strcpy(transfer->template_id, "content");
	memset(transfer->digest, 7, sizeof(transfer->digest));
	if (state == WIRE_TRANSFER_FAILED)
		transfer->refusal = REFUSAL_TRANSFER_LOST;
	node->poll.transfers_n = 1;
	world_report(world, node);
}

static uint32_t transfers_n(void)
{
	struct core_transfer_view view;
	uint32_t cursor = 0, n = 0;

	while (core_transfer_next(world->core, &cursor, &view))
		n++;
	return n;
}

/* The number of the order, which is of this kind. */
static uint64_t ordered(struct world_node *node, enum wire_order_kind kind)
{
	for (uint32_t i = 0; i < 4; i++) {
		const struct wire_order *order = world_poll(world, node);
		if (!order)
			return 0;
		if (order->kind == kind)
			return order->attempt;
	}
	return 0;
}

/* Both of the node's places are taken, so that the next create finds none. */
static void fill(void)
{
	world_run(world, "i1", 60);
	world_run(world, "i2", 60);
	assert_int_equal(
		world_reply(world, world_create(world, "i3", "ten_a", "base", 60))->refusal,
		REFUSAL_CAPACITY);
}

/* Up to where two is told to fetch; the number. */
static uint64_t offer(void)
{
	uint64_t number = ordered(one, WIRE_ORDER_SEND);

	assert_true(number != 0);
	world->woken[1] = false;
	says(one, number, WIRE_TRANSFER_SENDING);
	assert_true(world->woken[1]);
	return number;
}

static void a_template_that_found_no_room_goes_to_a_node_that_has_some(void **state)
{
	const struct wire_order *order;
	uint64_t number;

	(void)state;
	fill();
	assert_int_equal(transfers_n(), 0);
	world->woken[0] = false;
	world_report(world, two);
	assert_int_equal(transfers_n(), 1);
	assert_true(world->woken[0]);
	assert_null(world_poll(world, two)); /* there is nothing to fetch yet */
	number = offer();
	order = world_poll(world, two);
	assert_int_equal(order->kind, WIRE_ORDER_FETCH);
	assert_int_equal(order->attempt, number);
	assert_string_equal(order->template, "base");
	assert_string_equal(order->artefact, "content");
	assert_int_equal(order->digest[31], 7);
	assert_int_equal(order->bytes, 1000);
	says(two, number, WIRE_TRANSFER_FETCHING);
	assert_int_equal(transfers_n(), 1);
	world_offer(two, "base", 1, 512, 1024, 0);
	says(two, number, WIRE_TRANSFER_DONE);
	assert_int_equal(transfers_n(), 0);
	world_create(world, "i4", "ten_a", "base", 60);
	assert_true(id_equal(&world_find(world, "i4")->node, &two->id));
}

static void the_last_place_is_enough_to_want_more(void **state)
{
	(void)state;
	world_run(world, "i1", 60);
	world_report(world, two);
	assert_int_equal(transfers_n(), 0);
	world_run(world, "i2", 60);
	world_report(world, two);
	assert_int_equal(transfers_n(), 1);
	/* One node more at a time. */
	world_report(world, three);
	assert_int_equal(transfers_n(), 1);
}

static void what_found_room_again_is_not_wanted(void **state)
{
	(void)state;
	fill();
	world_say(world, one, WIRE_RECORD_ENDED, "i1", world_find(world, "i1")->attempt);
	world_report(world, one);
	world_report(world, two);
	assert_int_equal(transfers_n(), 0);
}

static void what_was_wanted_long_ago_is_not_any_more(void **state)
{
	(void)state;
	fill();
	world_pass(world, CORE_WANT_MS);
	world_report(world, one);
	world_report(world, two);
	assert_int_equal(transfers_n(), 0);
}

static void only_a_node_that_may_use_it_gets_it(void **state)
{
	struct core_event cordon = {.kind = CORE_EVENT_NODE_SET};

	(void)state;
	fill();
	strcpy(two->poll.platform, "kvm 7.2");
	world_report(world, two);
	assert_int_equal(transfers_n(), 0);
	two->poll.platform[0] = 0;
	world_report(world, two);
	assert_int_equal(transfers_n(), 0);
	strcpy(two->poll.platform, "tcg 7.2");
	strcpy(two->poll.trouble, "the disk is full");
	world_report(world, two);
	assert_int_equal(transfers_n(), 0);
	two->poll.trouble[0] = 0;
	two->poll.capacity.mem_mib = 100;
	world_report(world, two);
	assert_int_equal(transfers_n(), 0);
	two->poll.capacity.mem_mib = 8192;
	cordon.node.id = two->id;
	cordon.node.cordoned = true;
	world_step(world, &cordon);
	world_report(world, two);
	assert_int_equal(transfers_n(), 0);
	world_report(world, three);
	assert_int_equal(transfers_n(), 1);
}

static void what_shall_be_everywhere_goes_everywhere_two_at_a_time(void **state)
{
	uint64_t number;

	(void)state;
	world_report(world, two);
	world_report(world, three);
	assert_int_equal(transfers_n(), 2);
	world_report(world, two);
	assert_int_equal(transfers_n(), 2);
	number = offer();
	world_offer(two, "base", 1, 512, 1024, 0);
	says(two, number, WIRE_TRANSFER_DONE);
	assert_int_equal(transfers_n(), 1);
	world_report(world, two);
	assert_int_equal(transfers_n(), 1);
}

static void a_template_of_another_shape_by_that_name_is_left_alone(void **state)
{
	(void)state;
	world_offer(two, "base", 4, 512, 1024, 0);
	world_report(world, two);
	assert_int_equal(transfers_n(), 0);
}

static void without_leave_nothing_is_copied(void **state)
{
	(void)state;
	fill();
	world_report(world, two);
	assert_int_equal(transfers_n(), 0);
}

static void an_order_is_given_again_until_the_node_tells_of_it(void **state)
{
	uint64_t number;

	(void)state;
	fill();
	world_report(world, two);
	number = ordered(one, WIRE_ORDER_SEND);
	assert_int_equal(ordered(one, WIRE_ORDER_SEND), 0);
	world_pass(world, CORE_RESEND_MS);
	assert_int_equal(ordered(one, WIRE_ORDER_SEND), number);
	says(one, number, WIRE_TRANSFER_SENDING);
	world_pass(world, CORE_RESEND_MS);
	assert_int_equal(ordered(one, WIRE_ORDER_SEND), 0);
	assert_int_equal(ordered(two, WIRE_ORDER_FETCH), number);
	/* It was started anew, and knows nothing. */
	one->poll.transfers_n = 0;
	world->woken[0] = false;
	world_report(world, one);
	assert_true(world->woken[0]);
	assert_int_equal(ordered(one, WIRE_ORDER_SEND), number);
}

static void a_copy_of_which_nothing_moves_is_given_up_and_not_tried_again_at_once(void **state)
{
	uint64_t number;

	(void)state;
	fill();
	world_report(world, two);
	number = offer();
	ordered(two, WIRE_ORDER_FETCH);
	for (int i = 1; i <= 20; i++) {
		world_pass(world, 5000);
		said[1][0].done_bytes = (uint64_t)i;
		*said[1] = (struct wire_transfer){.number = number,
						  .state = WIRE_TRANSFER_FETCHING,
						  .done_bytes = (uint64_t)i};
		two->poll.transfers_n = 1;
		world_report(world, two);
		assert_int_equal(transfers_n(), 1); /* it moves, slowly */
	}
	world_pass(world, CORE_TRANSFER_MS);
	assert_int_equal(transfers_n(), 0);
	world_report(world, one);
	assert_int_equal(
		world_reply(world, world_create(world, "i5", "ten_a", "base", 60))->refusal,
		REFUSAL_CAPACITY);
	world_report(world, two);
	assert_int_equal(transfers_n(), 0);
	world_report(world, three); /* another one may */
	assert_int_equal(transfers_n(), 1);
}

static void a_node_that_failed_waits_longer_each_time(void **state)
{
	int64_t wait_ms = 30000;

	(void)state;
	for (int i = 0; i < 3; i++, wait_ms *= 2) {
		world_report(world, one);
		world_report(world, two);
		assert_int_equal(transfers_n(), 1);
		says(two, offer(), WIRE_TRANSFER_FAILED);
		assert_int_equal(transfers_n(), 0);
		world_pass(world, wait_ms - 1);
		world_report(world, one);
		world_report(world, two);
		assert_int_equal(transfers_n(), 0);
		world_pass(world, 1);
	}
}

static void a_source_that_fails_or_changes_ends_it(void **state)
{
	uint64_t number;

	(void)state;
	fill();
	world_report(world, two);
	number = ordered(one, WIRE_ORDER_SEND);
	says(one, number, WIRE_TRANSFER_FAILED);
	assert_int_equal(transfers_n(), 0);
	world_report(world, three);
	number = ordered(one, WIRE_ORDER_SEND);
	says(one, number, WIRE_TRANSFER_SENDING);
	says(one, number, WIRE_TRANSFER_SENDING);
	assert_int_equal(transfers_n(), 1);
	said[0][0].digest[0]++;
	world_report(world, one);
	assert_int_equal(transfers_n(), 0);
}

static void what_came_to_nothing_is_known_with_its_reason_the_newest_first(void **state)
{
	struct core_transfer_view view;
	uint32_t cursor = 0;

	(void)state;
	assert_false(core_transfer_failed_next(world->core, &cursor, &view));
	for (int i = 0; i < CORE_TRANSFERS_KEPT + 3; i++) {
		world_report(world, one);
		world_report(world, two);
		says(one, ordered(one, WIRE_ORDER_SEND), WIRE_TRANSFER_FAILED);
		world_pass(world, 3600000);
	}
	for (uint32_t i = 0; i < CORE_TRANSFERS_KEPT; i++) {
		uint64_t before = view.number;
		assert_true(core_transfer_failed_next(world->core, &cursor, &view));
		assert_true(i == 0 || view.number < before);
		assert_int_equal(view.refusal, REFUSAL_TRANSFER_LOST);
		assert_true(id_equal(&view.to, &two->id));
	}
	assert_false(core_transfer_failed_next(world->core, &cursor, &view));
}

static void a_restart_forgets_it_and_begins_again(void **state)
{
	uint64_t number;

	(void)state;
	world_report(world, two);
	number = offer();
	world_restart(world);
	assert_int_equal(transfers_n(), 0);
	world_report(world, one);
	says(two, number, WIRE_TRANSFER_FETCHING);
	assert_int_equal(transfers_n(), 1);
	assert_true(ordered(one, WIRE_ORDER_SEND) > number);
}

static void a_standby_copies_nothing(void **state)
{
	(void)state;
	world_stand_by(world);
	world_report(world, one);
	world_report(world, two);
	assert_int_equal(transfers_n(), 0);
	world_lead(world);
	world_join(world, one);
	world_join(world, two);
	assert_int_equal(transfers_n(), 0); /* not before all have joined */
	world_join(world, three);
	world_report(world, two);
	assert_true(transfers_n() > 0);
}

#define ON_DEMAND(name)  cmocka_unit_test_setup_teardown(name, open_on_demand, close_fleet)
#define EVERYWHERE(name) cmocka_unit_test_setup_teardown(name, open_everywhere, close_fleet)
#define WITHOUT(name)    cmocka_unit_test_setup_teardown(name, open_without, close_fleet)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_DEMAND(a_template_that_found_no_room_goes_to_a_node_that_has_some),
		ON_DEMAND(the_last_place_is_enough_to_want_more),
		ON_DEMAND(what_found_room_again_is_not_wanted),
		ON_DEMAND(what_was_wanted_long_ago_is_not_any_more),
		ON_DEMAND(only_a_node_that_may_use_it_gets_it),
		EVERYWHERE(what_shall_be_everywhere_goes_everywhere_two_at_a_time),
		EVERYWHERE(a_template_of_another_shape_by_that_name_is_left_alone),
		WITHOUT(without_leave_nothing_is_copied),
		ON_DEMAND(an_order_is_given_again_until_the_node_tells_of_it),
		ON_DEMAND(a_copy_of_which_nothing_moves_is_given_up_and_not_tried_again_at_once),
		EVERYWHERE(a_node_that_failed_waits_longer_each_time),
		ON_DEMAND(a_source_that_fails_or_changes_ends_it),
		EVERYWHERE(what_came_to_nothing_is_known_with_its_reason_the_newest_first),
		EVERYWHERE(a_restart_forgets_it_and_begins_again),
		EVERYWHERE(a_standby_copies_nothing),
	};

	return cmocka_run_group_tests_name("sched_core.transfer", tests, NULL, NULL);
}
