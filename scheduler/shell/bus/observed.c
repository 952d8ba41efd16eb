/* What nodes tell of their sandboxes beside what counts: see observe/observations.h. */
#include "scheduler/shell/bus/internal.h"

#include "common/io/log.h"

/* A node may speak of the sandboxes that run on it, and of no others. */
static bool is_on(struct nodes *nodes, const struct node *node, const struct id *sandbox)
{
	const struct core *core = engine_core(nodes->engine);
	const struct core_sandbox *row = core ? core_sandbox_find(core, sandbox) : NULL;

	return row && id_equal(&row->node, &node->id);
}

void nodes_take_observed(struct nodes *nodes, struct node *node, const struct wire_bytes *body)
{
	struct wire_observed observed;
	struct err err;

	nodes->arena.used = 0;
	if (wire_observed_decode(body->data, body->n, &nodes->arena, &observed, &err)) {
		nodes->options.metrics->bus_refused++;
		log_warn("bus", "a node says what it must not", LOG_TEXT("node", node->id.text),
			 LOG_ERR(&err));
		return;
	}
	nodes->options.metrics->observed++;
	if (is_on(nodes, node, &observed.sandbox))
		observations_add(nodes->options.observations, &observed);
}

static bool change_of(const struct wire_record *record, const struct core_sandbox *row,
		      enum observed_event *out_type)
{
	bool is_moved = row && record->deadline_version > row->deadline_known;

	switch (record->kind) {
	case WIRE_RECORD_STARTED:
		*out_type = record->incarnation == 1 ? OBSERVED_CREATED : OBSERVED_RESUMED;
		return true;
	case WIRE_RECORD_ENDED:
		*out_type = record->cause == CAUSE_PAUSE ? OBSERVED_PAUSED : OBSERVED_KILLED;
		return true;
	case WIRE_RECORD_DISCARDED:
		*out_type = OBSERVED_KILLED;
		return !row || id_is_empty(&row->source); /* a snapshot was never alive */
	case WIRE_RECORD_USAGE:
		*out_type = OBSERVED_UPDATED;
		return is_moved && record->end_wall_ns;
	case WIRE_RECORD_REFUSED:
	case WIRE_RECORD_RUNS_ON:
	case WIRE_RECORD_KEPT:
	case WIRE_RECORD_HANDED_OVER:
		break;
	}
	return false;
}

void nodes_observe_record(struct nodes *nodes, const struct node *node,
			  const struct wire_record *record)
{
	const struct core *core = engine_core(nodes->engine);
	const struct core_sandbox *row = core ? core_sandbox_find(core, &record->sandbox) : NULL;
	struct observed_change change = {
		.node = node->id,
		.sandbox = record->sandbox,
		.tenant = record->tenant,
		.seq = record->seq,
		.incarnation = record->incarnation,
		.at_wall_ns = record->at_wall_ns,
		.template_ = record->template,
	};

	if (!change_of(record, row, &change.type))
		return;
	/* The node says up to when it ran, and not when the limit was moved. */
	if (change.type == OBSERVED_UPDATED) {
		change.until_wall_ns = record->end_wall_ns;
		change.at_wall_ns = engine_wall().ns;
	}
	observations_add_change(nodes->options.observations, &change);
}
