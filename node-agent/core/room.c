/* Amounts of what a node has to give, all four at once. */
#include "node-agent/core/state.h"

void room_add(struct wire_room *room, const struct wire_room *more)
{
	room->vcpus += more->vcpus;
	room->mem_mib += more->mem_mib;
	room->disk_mib += more->disk_mib;
	room->sandboxes += more->sandboxes;
}

void room_take(struct wire_room *room, const struct wire_room *less)
{
	CHECK(room->vcpus >= less->vcpus && room->mem_mib >= less->mem_mib);
	CHECK(room->disk_mib >= less->disk_mib && room->sandboxes >= less->sandboxes);
	room->vcpus -= less->vcpus;
	room->mem_mib -= less->mem_mib;
	room->disk_mib -= less->disk_mib;
	room->sandboxes -= less->sandboxes;
}

bool room_fits(const struct wire_room *capacity, const struct wire_room *used,
	       const struct wire_room *more)
{
	return (uint64_t)used->vcpus + more->vcpus <= capacity->vcpus &&
	       used->mem_mib + more->mem_mib <= capacity->mem_mib &&
	       used->disk_mib + more->disk_mib <= capacity->disk_mib &&
	       (uint64_t)used->sandboxes + more->sandboxes <= capacity->sandboxes;
}

struct wire_room room_of_sandbox(const struct node_sandbox *sandbox)
{
	return (struct wire_room){sandbox->vcpus, sandbox->mem_mib, sandbox->disk_mib, 1};
}

struct wire_room room_of_saved(const struct node_saved *saved)
{
	return (struct wire_room){saved->vcpus, saved->mem_mib, saved->disk_mib, 1};
}

struct wire_room room_of_claim(const struct claim *claim)
{
	return (struct wire_room){claim->order.vcpus, claim->order.mem_mib, claim->disk_mib, 1};
}
