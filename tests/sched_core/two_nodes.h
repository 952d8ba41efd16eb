/*
 * A fleet of two nodes that can copy from each other, for tests of what is saved on the one and
 * goes on, or begins, on the other.
 */
#ifndef FLOTILLA_TESTS_SCHED_CORE_TWO_NODES_H
#define FLOTILLA_TESTS_SCHED_CORE_TWO_NODES_H

#include "tests/sched_core/world.h"

extern struct world *world;
extern struct world_node *one, *two;
extern struct wire_transfer said[2]; /* what each of them says of transfers */

/* Setups and the teardown of cmocka's. */
int two_nodes_open_alone(void **state);
int two_nodes_open_standby(void **state);
int two_nodes_close(void **state);

void cordon(struct world_node *node, bool cordoned);

/* It has been answered; with what. */
enum refusal refusal_of(uint64_t request);

/* The node reports that this transfer is so far; a FAILED one for this reason. */
void says(struct world_node *node, uint64_t number, enum wire_transfer_state state,
	  enum refusal refusal);

/* The order of this kind, if the node is given one. */
const struct wire_order *ordered(struct world_node *node, enum wire_order_kind kind);

#define ALONE(name)   cmocka_unit_test_setup_teardown(name, two_nodes_open_alone, two_nodes_close)
#define STANDBY(name) cmocka_unit_test_setup_teardown(name, two_nodes_open_standby, two_nodes_close)

#endif
