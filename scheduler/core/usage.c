/*
 * A node's journal, taken in exactly its order: a record is posted, acted upon and counted in one
 * step, hence in one transaction, so that none is lost and none is posted twice whatever is sent
 * again.
 */
#include "scheduler/core/state.h"

static void ack(struct core *core, const struct node *node, bool resync)
{
	struct core_effect *effect = effect_add(core, CORE_EFFECT_ACK);

	effect->ack.node = node->row.id;
	effect->ack.next_seq = node->row.next_seq;
	effect->ack.resync = resync;
}

static bool record_is_usage(const struct wire_record *record)
{
	switch (record->kind) {
	case WIRE_RECORD_USAGE:
	case WIRE_RECORD_ENDED:
		return true;
	case WIRE_RECORD_STARTED:
	case WIRE_RECORD_REFUSED:
	case WIRE_RECORD_RUNS_ON:
	case WIRE_RECORD_DISCARDED:
	case WIRE_RECORD_KEPT:
	case WIRE_RECORD_HANDED_OVER:
		return false;
	}
	return false;
}

void usage_record(struct core *core, struct node *node, const struct core_event *event)
{
	const struct wire_record *record = event->record.record;
	bool gap = record->seq > node->row.next_seq;

	lease_hear(core, node);
	if (record->seq != node->row.next_seq) {
		node->gaps_n += gap;
		ack(core, node, gap);
		return;
	}
	/* Another log must be heard first, its tenant is not known yet, or there is no slot: the
	 * node shall send it again. */
	if (move_is_ahead(core, node, record) || !adopt_record(core, node, event)) {
		ack(core, node, true);
		return;
	}
	node->row.next_seq++;
	effect_save_node(core, node);
	/* Posted whether or not the sandbox is still known here: what ran is owed. */
	if (record_is_usage(record)) {
		struct core_effect *effect = effect_add(core, CORE_EFFECT_POST_USAGE);
		effect->usage.node = node->row.id;
		effect->usage.record = *record;
		effect->usage.record.note = (struct wire_bytes){0}; /* borrowed: not to be kept */
	}
	if (record->kind == WIRE_RECORD_STARTED)
		move_started(core, node, record);
	if (!pause_follow(core, node, event))
		dispatch_answer(core, node, record);
	ack(core, node, false);
	join_refresh(core, node);
}
