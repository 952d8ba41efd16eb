/*
 * Which node.  The better of two nodes for one more sandbox of a template; total, so that equal
 * inputs place equally:
 *
 *   1. a node it fits on beats one it does not: awake, joined, not cordoned, not refusing, not
 *      leaving or in trouble, done with ending what was given up when it was declared lost, with
 * the template in its present shape, and with room in vCPUs, memory, disk and count
 *   2. one with a warm clone of the template beats one without
 *   3. less room wins, so that nodes are filled before others are opened.  Room is how many more
 *      sandboxes of the template fit, in classes: 1 to 7 each by itself, then 8-15, 16-31, 32-63
 *      and 64 or more (between two nodes that are as good as empty, the difference is not worth
 *      an order)
 *   4. the node that was enrolled first wins
 *
 * So each template has one set of nodes for every (warm or not, class), in the order of 2 and 3:
 * the best node is the smallest number in the first set that is not empty.  A node's sets are kept
 * right whenever its room changes, which costs as much as the node has templates, and no more when
 * there are more nodes.
 */
#include "scheduler/core/state.h"

#include <string.h>

/* 0..PLACE_CLASS_N-1, for room of at least 1. */
static unsigned room_class(uint64_t room)
{
	unsigned log2;

	if (room < 8)
		return (unsigned)room - 1;
	log2 = 63 - (unsigned)__builtin_clzll(room);
	return log2 < 6 ? log2 + 4 : PLACE_CLASS_N - 1;
}

static uint64_t times(uint64_t capacity, uint64_t used, uint64_t each, uint64_t most)
{
	uint64_t n;

	/* A node can report less than it has given out. */
	if (each == 0)
		return most;
	n = capacity > used ? (capacity - used) / each : 0;
	return n < most ? n : most;
}

uint64_t place_room(const struct node *node, const struct core_template *shape)
{
	const struct wire_room *capacity = &node->row.capacity, *used = &node->used;
	uint64_t room = times(capacity->sandboxes, used->sandboxes, 1, UINT64_MAX);

	room = times(capacity->vcpus, used->vcpus, shape->vcpus, room);
	room = times(capacity->mem_mib, used->mem_mib, shape->mem_mib, room);
	return times(capacity->disk_mib, used->disk_mib, shape->disk_mib, room);
}

bool place_may(const struct node *node)
{
	return node->awake && node->joined && !node->row.cordoned && !node->leaving &&
	       !node->trouble[0] && !lease_is_lost(node);
}

uint8_t place_rank_plus_1(const struct core *core, const struct node *node,
			  const struct offer *offer)
{
	uint64_t room;

	if (!offer->current || !place_may(node) || node->refusing)
		return 0;
	room = place_room(node, &core->templates[offer->template_].row);
	if (room == 0)
		return 0;
	return (uint8_t)(1 + room_class(room) + (offer->warm_n ? 0 : PLACE_CLASS_N));
}

static void offer_move(struct core *core, uint32_t node, struct offer *offer, uint8_t rank_plus_1)
{
	struct template_ *template_ = &core->templates[offer->template_];

	if (offer->rank_plus_1 == rank_plus_1)
		return;
	if (offer->rank_plus_1) {
		unsigned rank = offer->rank_plus_1 - 1u;
		bitset_remove(&template_->ranks[rank], node);
		if (bitset_is_empty(&template_->ranks[rank]))
			template_->ranks_filled &= ~(1u << rank);
	}
	if (rank_plus_1) {
		unsigned rank = rank_plus_1 - 1u;
		bitset_add(&template_->ranks[rank], node);
		template_->ranks_filled |= 1u << rank;
	}
	offer->rank_plus_1 = rank_plus_1;
}

void place_refresh(struct core *core, struct node *node)
{
	uint32_t slot = (uint32_t)(node - core->nodes);

	for (uint32_t i = 0; i < node->offer_n; i++) {
		struct offer *offer = &node->offers[i];
		offer_move(core, slot, offer, place_rank_plus_1(core, node, offer));
	}
}

static void offer_set_current(struct core *core, const struct node *node, struct offer *offer,
			      bool current)
{
	struct template_ *template_ = &core->templates[offer->template_];

	if (offer->current == current)
		return;
	offer->current = current;
	if (current) {
		template_->having_n++;
		template_->offering_n += node->joined;
	} else {
		template_->having_n--;
		template_->offering_n -= node->joined;
	}
}

void place_withdraw(struct core *core, struct node *node)
{
	for (uint32_t i = 0; i < node->offer_n; i++)
		offer_set_current(core, node, &node->offers[i], false);
	place_refresh(core, node);
}

void place_join(struct core *core, struct node *node, bool joined)
{
	if (node->joined == joined)
		return;
	node->joined = joined;
	for (uint32_t i = 0; i < node->offer_n; i++) {
		struct template_ *template_ = &core->templates[node->offers[i].template_];
		if (node->offers[i].current)
			template_->offering_n += joined ? 1u : UINT32_MAX;
	}
	place_refresh(core, node);
}

struct template_ *place_add_template(struct core *core, const struct core_template *row)
{
	uint32_t slot = pool_take(&core->template_pool);
	size_t bytes = bitset_bytes(core->limits.nodes);
	struct template_ *template_;

	if (slot == POOL_NONE)
		return NULL;
	template_ = &core->templates[slot];
	template_->row = *row;
	for (uint32_t rank = 0; rank < PLACE_RANK_N; rank++)
		bitset_init(&template_->ranks[rank],
			    core->rank_memory + (slot * (size_t)PLACE_RANK_N + rank) * bytes,
			    core->limits.nodes);
	index_add(&core->template_index, slot);
	transfer_template_added(core, template_);
	return template_;
}

static bool shape_equal(const struct core_template *a, const struct core_template *b)
{
	return a->vcpus == b->vcpus && a->mem_mib == b->mem_mib && a->disk_mib == b->disk_mib;
}

static void save_template(struct core *core, const struct template_ *template_)
{
	effect_add(core, CORE_EFFECT_SAVE_TEMPLATE)->template_ = template_->row;
}

/*
 * A template has one shape.  While it is rebuilt in another, node by node, the shape stays that
 * which some awake node offers; when no node does any more, the next report's is taken.
 */
static void report_offer(struct core *core, struct node *node, const struct wire_template *reported)
{
	struct core_template row = {.vcpus = reported->vcpus,
				    .mem_mib = reported->mem_mib,
				    .disk_mib = reported->disk_mib};
	struct template_ *template_ = find_template(core, reported->name);
	struct offer offer = {0};

	memcpy(row.name, reported->name, sizeof(row.name));
	if (!template_) {
		template_ = place_add_template(core, &row);
		if (!template_) {
			core->ignored_n++;
			return;
		}
		save_template(core, template_);
	} else if (template_->having_n == 0 && !shape_equal(&template_->row, &row)) {
		template_->row = row;
		save_template(core, template_);
	}
	offer.template_ = (uint16_t)(template_ - core->templates);
	for (uint32_t i = 0; i < node->offer_n; i++)
		if (node->offers[i].template_ == offer.template_)
			return; /* listed twice: the first counts */
	transfer_offered(template_, (uint32_t)(node - core->nodes));
	offer.warm_n = (uint16_t)(reported->warm_n < UINT16_MAX ? reported->warm_n : UINT16_MAX);
	node->offers[node->offer_n] = offer;
	offer_set_current(core, node, &node->offers[node->offer_n++],
			  shape_equal(&template_->row, &row));
}

void place_report(struct core *core, struct node *node, const struct wire_poll *poll)
{
	uint32_t slot = (uint32_t)(node - core->nodes);

	for (uint32_t i = 0; i < node->offer_n; i++) {
		offer_set_current(core, node, &node->offers[i], false);
		offer_move(core, slot, &node->offers[i], 0);
	}
	node->offer_n = 0;
	for (size_t i = 0; i < poll->templates_n && node->offer_n < CORE_NODE_TEMPLATES_MAX; i++)
		if (poll->templates[i].ready)
			report_offer(core, node, &poll->templates[i]);
	node->refusing = false;
	node->leaving = poll->leaving;
	memcpy(node->trouble, poll->trouble, sizeof(node->trouble));
	node->lost_carried = poll->lost_below;
	node->row.capacity = poll->capacity;
	place_refresh(core, node);
}

uint32_t place_pick(const struct template_ *template_, const uint32_t *refused_by,
		    uint32_t refused_n)
{
	for (uint32_t ranks = template_->ranks_filled; ranks; ranks &= ranks - 1) {
		const struct bitset *set = &template_->ranks[__builtin_ctz(ranks)];
		for (uint32_t node = bitset_next(set, 0); node != BITSET_NONE;
		     node = bitset_next(set, node + 1)) {
			bool refused = false;
			for (uint32_t i = 0; i < refused_n; i++)
				refused = refused || refused_by[i] == node;
			if (!refused)
				return node;
		}
	}
	return POOL_NONE;
}

void place_take_room(struct core *core, struct node *node, const struct core_sandbox *row)
{
	node->used.vcpus += row->vcpus;
	node->used.mem_mib += row->mem_mib;
	node->used.disk_mib += row->disk_mib;
	node->used.sandboxes++;
	place_refresh(core, node);
}

void place_give_room(struct core *core, struct node *node, const struct core_sandbox *row)
{
	CHECK(node->used.sandboxes > 0);
	CHECK(node->used.vcpus >= row->vcpus);
	CHECK(node->used.mem_mib >= row->mem_mib);
	CHECK(node->used.disk_mib >= row->disk_mib);
	node->used.vcpus -= row->vcpus;
	node->used.mem_mib -= row->mem_mib;
	node->used.disk_mib -= row->disk_mib;
	node->used.sandboxes--;
	place_refresh(core, node);
}

void place_take_warm(struct core *core, struct node *node, const char *template_)
{
	uint32_t slot = index_find(&core->template_index, template_);

	for (uint32_t i = 0; i < node->offer_n; i++)
		if (node->offers[i].template_ == slot && node->offers[i].warm_n > 0)
			node->offers[i].warm_n--;
}
