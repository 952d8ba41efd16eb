/* What can be asked. Nothing here changes anything. */
#include "node-agent/core/state.h"

#include <string.h>

/* Claims, snapshots and rules that a leader before the present one ordered, and that are
 * unanswered. */
static uint32_t pending_n(const struct node_core *core)
{
	uint32_t n = 0;

	for (uint32_t slot = pool_next(&core->claim_pool, 0); slot != POOL_NONE;
	     slot = pool_next(&core->claim_pool, slot + 1))
		n += wire_attempt_epoch(core->claims[slot].order.attempt) < core->meta.epoch;
	for (uint32_t slot = pool_next(&core->saved_pool, 0); slot != POOL_NONE;
	     slot = pool_next(&core->saved_pool, slot + 1))
		n += core->saved[slot].maker != POOL_NONE &&
		     wire_attempt_epoch(core->saved[slot].row.attempt) < core->meta.epoch;
	for (uint32_t slot = pool_next(&core->vm_pool, 0); slot != POOL_NONE;
	     slot = pool_next(&core->vm_pool, slot + 1))
		n += network_is_pending(core, &core->vms[slot]);
	return n;
}

void node_core_report(const struct node_core *core, struct wire_poll *poll)
{
	CHECK(core->ready);
	poll->capacity = core->limits.capacity;
	poll->used = core->used;
	poll->epoch = core->meta.epoch;
	poll->end_seq = core->meta.next_seq;
	poll->pending_n = pending_n(core);
	poll->lost_below = core->lost_done;
}

size_t node_core_templates(const struct node_core *core,
			   struct wire_template out_templates[NODE_TEMPLATES_MAX])
{
	size_t n = 0;

	for (uint32_t slot = pool_next(&core->template_pool, 0);
	     slot != POOL_NONE && n < NODE_TEMPLATES_MAX;
	     slot = pool_next(&core->template_pool, slot + 1)) {
		const struct template_ *template_ = &core->templates[slot];
		struct wire_template *out = &out_templates[n];
		if (template_->gone)
			continue;
		memset(out, 0, sizeof(*out));
		memcpy(out->name, template_->name, sizeof(out->name));
		memcpy(out->template_id, template_->id, sizeof(out->template_id));
		out->vcpus = template_->shape.vcpus;
		out->mem_mib = (uint32_t)template_->shape.mem_mib;
		out->disk_mib = (uint32_t)template_->shape.disk_mib;
		out->warm_n = template_->ready_n;
		out->ready = true;
		n++;
	}
	return n;
}

struct node_meta node_core_meta(const struct node_core *core)
{
	return core->meta;
}

bool node_core_vm_next(const struct node_core *core, uint32_t *cursor,
		       struct node_vm_view *out_view)
{
	uint32_t slot = pool_next(&core->vm_pool, *cursor);
	const struct vm *vm;

	if (slot == POOL_NONE)
		return false;
	vm = &core->vms[slot];
	*out_view =
		(struct node_vm_view){vm->number, vm->state, vm->has_sandbox ? &vm->sandbox : NULL};
	*cursor = slot + 1;
	return true;
}

void node_core_count(const struct node_core *core, struct node_counts *out_counts)
{
	*out_counts = core->counts;
	out_counts->attempts_known = core->attempts.n;
	out_counts->saved = core->saved_pool.taken_n;
	out_counts->claims_waiting = 0;
	for (const struct list *link = list_first(&core->resumes); link;
	     link = list_next(&core->resumes, link))
		out_counts->claims_waiting++;
	for (uint32_t slot = pool_next(&core->template_pool, 0); slot != POOL_NONE;
	     slot = pool_next(&core->template_pool, slot + 1))
		out_counts->claims_waiting += core->templates[slot].waiting_n;
}

const char *node_event_name(enum node_event_kind kind)
{
	static const char *const names[] = {
#define EVENT(name, member, meaning) #name,
#include "node-agent/core/events.def"
#undef EVENT
	};

	CHECK(kind < ARRAY_N(names));
	return names[kind];
}

const char *node_effect_name(enum node_effect_kind kind)
{
	static const char *const names[] = {
#define EFFECT(name, member, class, meaning) #name,
#include "node-agent/core/effects.def"
#undef EFFECT
	};

	CHECK(kind < ARRAY_N(names));
	return names[kind];
}

enum node_effect_class node_effect_class(enum node_effect_kind kind)
{
	static const enum node_effect_class classes[] = {
#define EFFECT(name, member, class, meaning) NODE_CLASS_##class,
#include "node-agent/core/effects.def"
#undef EFFECT
	};

	CHECK(kind < ARRAY_N(classes));
	return classes[kind];
}

const char *node_vm_state_name(enum node_vm_state state)
{
	static const char *const names[] = {
#define STATE(name, text) text,
#include "node-agent/core/vm_states.def"
	};

	CHECK(state < ARRAY_N(names));
	return names[state];
}
