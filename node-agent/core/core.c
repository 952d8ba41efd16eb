/* The step: hands each event to whose matter it is, then settles what is due.  And the memory that
 * everything lives in. */
#include "node-agent/core/state.h"

#include <string.h>

/* ---- memory ---- */

struct layout {
	char *base; /* NULL: only count */
	size_t used;
};

/* The next bytes of the layout, aligned to a cache line. */
static void *lay(struct layout *layout, size_t bytes)
{
	void *at = layout->base ? layout->base + layout->used : NULL;

	layout->used += (bytes + 63) & ~(size_t)63;
	return at;
}

static size_t lay_out(struct node_core *core, const struct node_limits *limits, char *base)
{
	struct layout layout = {base, 0};
	struct node_core parts = {.limits = *limits};
	const uint32_t templates_max = 2 * NODE_TEMPLATES_MAX; /* as many may be dissolving */
	void *vm_slots, *claim_slots, *template_slots, *saved_slots;
	void *due, *numbers, *attempts, *saved_numbers;

	lay(&layout, sizeof(struct node_core));
	vm_slots = lay(&layout, pool_bytes(limits->vms_max));
	claim_slots = lay(&layout, pool_bytes(limits->vms_max));
	template_slots = lay(&layout, pool_bytes(templates_max));
	saved_slots = lay(&layout, pool_bytes(limits->saved_max));
	due = lay(&layout, heap_bytes(limits->vms_max));
	numbers = lay(&layout, map_bytes(limits->vms_max));
	attempts = lay(&layout, map_bytes(limits->attempts_max));
	saved_numbers = lay(&layout, map_bytes(limits->saved_max));
	parts.vms = lay(&layout, limits->vms_max * sizeof(struct vm));
	parts.claims = lay(&layout, limits->vms_max * sizeof(struct claim));
	parts.templates = lay(&layout, templates_max * sizeof(struct template_));
	parts.saved = lay(&layout, limits->saved_max * sizeof(struct saved));
	parts.ring = lay(&layout, limits->attempts_max * sizeof(struct answered));
	if (!core)
		return layout.used;
	*core = parts;
	pool_init(&core->vm_pool, vm_slots, limits->vms_max);
	pool_init(&core->claim_pool, claim_slots, limits->vms_max);
	pool_init(&core->template_pool, template_slots, templates_max);
	heap_init(&core->meter_due, due, limits->vms_max);
	map_init(&core->vm_numbers, numbers, limits->vms_max);
	map_init(&core->attempts, attempts, limits->attempts_max);
	pool_init(&core->saved_pool, saved_slots, limits->saved_max);
	map_init(&core->saved_numbers, saved_numbers, limits->saved_max);
	list_init(&core->resumes);
	list_init(&core->resume_ready);
	return layout.used;
}

size_t node_core_size(const struct node_limits *limits)
{
	CHECK(limits->vms_max > 0 && limits->vms_max < 1u << 30);
	CHECK(limits->saved_max < 1u << 30);
	CHECK(limits->attempts_max / 2 > limits->vms_max + limits->saved_max &&
	      limits->attempts_max < 1u << 30);
	CHECK(limits->tick_ms > 0);
	CHECK(limits->replicas_n <= NODE_REPLICAS_MAX);
	CHECK(limits->restores_max > 0 && limits->claim_restores_max > 0);
	return lay_out(NULL, limits, NULL);
}

struct node_core *node_core_init(void *memory, const struct node_limits *limits)
{
	struct node_core *core = memory;

	lay_out(core, limits, memory);
	core->now.ns = core->house_at.ns = INT64_MIN;
	core->meta = (struct node_meta){.next_seq = 1};
	outbox_load(core, 1);
	return core;
}

/* ---- effects ---- */

struct node_effect *node_effect_add(struct node_core *core, enum node_effect_kind kind)
{
	struct node_effect *effect;

	CHECK(core->out->n < NODE_EFFECTS_MAX);
	effect = &core->out->items[core->out->n++];
	memset(effect, 0, sizeof(*effect));
	effect->kind = kind;
	return effect;
}

bool node_effects_fit(struct node_core *core)
{
	if (core->out->n + SETTLE_ROOM + FINAL_ROOM <= NODE_EFFECTS_MAX)
		return true;
	core->unfinished = true;
	return false;
}

/* What several things in a step may have changed is said once. */
static void say_changes(struct node_core *core)
{
	if (core->meta_changed) {
		node_effect_add(core, NODE_EFFECT_JOURNAL_META)->meta = core->meta;
		core->meta_acked = core->meta.acked_seq;
	}
	/* After the row that it is journaled in, hence committed with it. */
	if (core->epoch_changed)
		node_effect_add(core, NODE_EFFECT_EPOCH)->epoch = core->meta.epoch;
	if (core->records_changed)
		node_effect_add(core, NODE_EFFECT_RECORDS)->records.end_seq = core->meta.next_seq;
	if (core->news_changed)
		node_effect_add(core, NODE_EFFECT_NEWS);
	core->meta_changed = core->epoch_changed = false;
	core->records_changed = core->news_changed = false;
}

/* ---- the step ---- */

static void load_meta(struct node_core *core, const struct node_meta *meta)
{
	core->meta = *meta;
	if (core->meta.next_seq == 0)
		core->meta.next_seq = 1;
	outbox_load(core, meta->acked_seq ? meta->acked_seq : 1);
}

/* Of a leader that is none any more nothing counts, neither its orders nor its lease. */
static void answer_begins(struct node_core *core, const struct node_event *event)
{
	uint64_t epoch = event->answer.epoch;

	core->answer_stale = epoch < core->meta.epoch;
	core->counts.stale_answers += core->answer_stale;
	if (core->answer_stale)
		return;
	if (epoch > core->meta.epoch) {
		core->meta.epoch = epoch;
		core->meta_changed = core->epoch_changed = true;
	}
	lease_take(core, event->answer.lease_ms, event->answer.sent_at);
	lost_take(core, event->answer.lost_below);
}

static void hand_over(struct node_core *core, const struct node_event *event)
{
	switch (event->kind) {
	case NODE_EVENT_LOAD_META:
		load_meta(core, &event->meta);
		break;
	case NODE_EVENT_LOAD_ATTEMPT:
		attempt_load(core, event->attempt);
		break;
	case NODE_EVENT_LOAD_SAVED:
		saved_load(core, &event->saved);
		break;
	case NODE_EVENT_LOAD_SANDBOX:
		adopt_load(core, &event->sandbox);
		break;
	case NODE_EVENT_BOOT:
		memcpy(core->boot_id, event->boot.boot_id, sizeof(core->boot_id));
		core->booted = true;
		break;
	case NODE_EVENT_ADOPTED:
		adopt_folder(core, event);
		break;
	case NODE_EVENT_READY:
		core->ready = true;
		/* What earlier agents recorded may not have been sent. */
		core->records_changed = true;
		break;
	case NODE_EVENT_TEMPLATE_SET:
		warm_set(core, event);
		break;
	case NODE_EVENT_TEMPLATE_GONE:
		warm_gone(core, event->template_.name);
		break;
	case NODE_EVENT_ANSWER:
		answer_begins(core, event);
		break;
	case NODE_EVENT_ORDER:
		claim_order(core, event->order.order, event->order.payload);
		break;
	case NODE_EVENT_ACKED:
		outbox_acked(core, event);
		break;
	case NODE_EVENT_VM_WARMING:
		vm_warming(core, event->vm);
		break;
	case NODE_EVENT_VM_READY:
		vm_ready(core, event->vm);
		break;
	case NODE_EVENT_VM_CLAIMED:
		claim_answered(core, event);
		break;
	case NODE_EVENT_VM_METERED:
		vm_metered(core, event);
		break;
	case NODE_EVENT_VM_NETWORK_SET:
		network_set(core, event);
		break;
	case NODE_EVENT_VM_RUNS_ON:
		saved_runs_on(core, event);
		break;
	case NODE_EVENT_VM_SNAPPED:
		snapshot_answered(core, event);
		break;
	case NODE_EVENT_VM_ENDED:
		vm_ended(core, event);
		break;
	case NODE_EVENT_VM_GONE:
		vm_gone(core, event->vm);
		break;
	case NODE_EVENT_CARRY_OFFERED:
		carry_offered(core, event);
		break;
	case NODE_EVENT_CARRY_PROGRESS:
		carry_progress(core, event);
		break;
	case NODE_EVENT_CARRY_ARRIVED:
		carry_arrived(core, event);
		break;
	case NODE_EVENT_CARRY_ENDED:
		carry_ended(core, event);
		break;
	case NODE_EVENT_TICK:
		break;
	case NODE_EVENT_N:
		check_broken("a known event", __FILE__, __LINE__);
	}
}

void node_core_step(struct node_core *core, const struct node_event *event,
		    struct node_effects *out_effects)
{
	bool loading = event->kind <= NODE_EVENT_BOOT;

	CHECK(loading == !core->booted);
	CHECK(!core->booted || event->now.ns >= core->now.ns);
	out_effects->n = 0;
	core->out = out_effects;
	core->now = event->now;
	core->wall = event->wall;
	core->unfinished = false;
	hand_over(core, event);
	if (core->ready) {
		adopt_settle(core);
		saved_settle(core);
		lost_settle(core);
		lease_settle(core);
		resume_settle(core);
		warm_settle(core);
		meter_settle(core);
		outbox_settle(core);
	}
	if (core->booted)
		say_changes(core);
	core->out = NULL;
}

bool node_core_next_deadline(const struct node_core *core, struct mono *out_at)
{
	struct mono at = core->house_at;
	struct heap_entry first;

	if (!core->ready)
		return false;
	warm_deadline(core, &at);
	if (heap_first(&core->meter_due, &first) && first.key < at.ns)
		at.ns = first.key;
	if (core->unfinished)
		at = core->now;
	*out_at = at;
	return true;
}
