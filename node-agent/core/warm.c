/*
 * The pool of each template: how many microVMs wait ready to be claimed.
 *
 * As many as were claimed in this window of demand_ms or in the one before, whichever were more,
 * but at least the floor (none for builds of tenants) and at most the ceiling: so the pool covers a
 * burst as large as the last one, and is back at its floor two windows after the last claim.  Above
 * all it holds no more than what still fits the node beside its sandboxes: warm microVMs are the
 * first to go under pressure.
 *
 * Restores are what costs a claim its time (the processor is theirs for 100 ms and more), so a
 * refill never starts while a claim is on its way, nor in the moment after one.  Claims that find
 * the pool empty start restores for themselves, which are not warmed, and take whichever microVM
 * becomes ready first.
 */
#include "node-agent/core/state.h"

#include <string.h>

/* ---- templates ---- */

struct template_ *warm_find(struct node_core *core, const char *name)
{
	for (uint32_t slot = pool_next(&core->template_pool, 0); slot != POOL_NONE;
	     slot = pool_next(&core->template_pool, slot + 1))
		if (!core->templates[slot].gone && !strcmp(core->templates[slot].name, name))
			return &core->templates[slot];
	return NULL;
}

/* Claims that wait get the new content. */
static void inherit(struct node_core *core, struct template_ *heir, struct template_ *old)
{
	struct list *link;

	while ((link = list_first(&old->waiting))) {
		struct claim *claim = LIST_OBJECT(link, struct claim, waiting);
		if (claim->order.vcpus != heir->shape.vcpus ||
		    claim->order.mem_mib != heir->shape.mem_mib ||
		    claim->disk_mib != heir->shape.disk_mib)
			break;
		list_remove(link);
		list_append(&heir->waiting, link);
		claim->template_ = (uint32_t)(heir - core->templates);
		old->waiting_n--, old->claims_n--;
		heir->waiting_n++, heir->claims_n++;
	}
}

void warm_set(struct node_core *core, const struct node_event *event)
{
	struct template_ *old = warm_find(core, event->template_.name), *template_;
	uint32_t slot;

	if (old && !strcmp(old->id, event->template_.id))
		return;
	slot = pool_take(&core->template_pool);
	if (slot == POOL_NONE) {
		core->counts.ignored++;
		return;
	}
	template_ = &core->templates[slot];
	*template_ = (struct template_){
		.shape = {event->template_.vcpus, event->template_.mem_mib,
			  event->template_.disk_mib, 1},
	};
	memcpy(template_->name, event->template_.name, sizeof(template_->name));
	memcpy(template_->id, event->template_.id, sizeof(template_->id));
	list_init(&template_->ready);
	list_init(&template_->starting);
	list_init(&template_->waiting);
	core->news_changed = true;
	if (old) {
		old->gone = true;
		inherit(core, template_, old);
	}
}

void warm_gone(struct node_core *core, const char *name)
{
	struct template_ *template_ = warm_find(core, name);

	if (!template_)
		return;
	template_->gone = true;
	core->news_changed = true;
}

static struct vm *first_pooled(const struct template_ *template_)
{
	struct list *link = list_first(&template_->ready);

	if (!link)
		link = list_first(&template_->starting);
	return link ? LIST_OBJECT(link, struct vm, pooled) : NULL;
}

/* What is left of a template that is gone: microVMs nobody can want, claims nobody can serve. */
static void dissolve(struct node_core *core, struct template_ *template_)
{
	struct vm *vm;

	while (template_->waiting_n && node_effects_fit(core))
		claim_refuse_first(core, template_, REFUSAL_NO_COMPATIBLE_NODE);
	while ((vm = first_pooled(template_)) && node_effects_fit(core))
		vm_kill(core, vm, CAUSE_PLATFORM);
	if (template_->claims_n == 0 && !first_pooled(template_))
		pool_give(&core->template_pool, (uint32_t)(template_ - core->templates));
}

/* ---- how many ---- */

static uint32_t target_of(const struct node_core *core, const struct template_ *template_)
{
	uint32_t target = template_->claims_now_n;
	/* Tenants have many, and few that are in use: their pools follow demand alone. */
	uint32_t floor = template_name_is_builds(template_->name) ? 0 : core->limits.pool_floor;

	if (target < template_->claims_before_n)
		target = template_->claims_before_n;
	if (target > core->limits.pool_ceiling)
		target = core->limits.pool_ceiling;
	return target > floor ? target : floor;
}

/* Those beyond what waiting claims will take: the claims' own room is counted already. */
static uint32_t spare_n(const struct template_ *template_)
{
	uint32_t have_n = template_->ready_n + template_->starting_n;

	return have_n > template_->waiting_n ? have_n - template_->waiting_n : 0;
}

/* What sandboxes, claims and the pool would hold if all of the pool were claimed. */
static struct wire_room room_with_pool(const struct node_core *core)
{
	struct wire_room room = core->used;

	for (uint32_t slot = pool_next(&core->template_pool, 0); slot != POOL_NONE;
	     slot = pool_next(&core->template_pool, slot + 1)) {
		const struct template_ *template_ = &core->templates[slot];
		uint32_t n = template_->gone ? 0 : spare_n(template_);
		room.vcpus += n * template_->shape.vcpus;
		room.mem_mib += n * template_->shape.mem_mib;
		room.disk_mib += n * template_->shape.disk_mib;
		room.sandboxes += n;
	}
	return room;
}

void warm_demand(struct node_core *core, struct template_ *template_)
{
	if (core->limits.demand_ms)
		template_->claims_now_n++;
}

static void roll_window(struct node_core *core)
{
	int64_t window =
		core->limits.demand_ms ? core->now.ns / (core->limits.demand_ms * NS_PER_MS) : 0;

	if (window == core->window)
		return;
	for (uint32_t slot = pool_next(&core->template_pool, 0); slot != POOL_NONE;
	     slot = pool_next(&core->template_pool, slot + 1)) {
		struct template_ *template_ = &core->templates[slot];
		bool next = window == core->window + 1;
		template_->claims_before_n = next ? template_->claims_now_n : 0;
		template_->claims_now_n = 0;
	}
	core->window = window;
}

/* ---- starting and ending ---- */

static uint32_t restores_n(const struct node_core *core)
{
	return core->counts.vms[NODE_VM_STARTING] + core->counts.vms[NODE_VM_WARMING];
}

static bool start(struct node_core *core, struct template_ *template_, bool warm)
{
	struct vm *vm = vm_take(core, core->last_vm + 1);
	struct node_effect *effect;

	if (!vm)
		return false;
	vm->template_ = (uint32_t)(template_ - core->templates);
	vm_move(core, vm, NODE_VM_STARTING);
	effect = node_effect_add(core, NODE_EFFECT_VM_START);
	effect->start.vm = vm->number;
	memcpy(effect->start.template_, template_->name, sizeof(effect->start.template_));
	memcpy(effect->start.template_id, template_->id, sizeof(effect->start.template_id));
	effect->start.warm = warm;
	return true;
}

void warm_failed(struct node_core *core, struct template_ *template_)
{
	int64_t wait_ms = RETRY_MIN_MS;

	for (uint32_t i = 0; i < template_->fails_n && wait_ms < RETRY_MAX_MS; i++)
		wait_ms *= 2;
	template_->fails_n++;
	template_->retry_at =
		mono_add_ms(core->now, wait_ms < RETRY_MAX_MS ? wait_ms : RETRY_MAX_MS);
	core->counts.restores_failed++;
	claim_charge(core, template_);
}

bool warm_may_restore(const struct node_core *core)
{
	return restores_n(core) < core->limits.claim_restores_max;
}

/* The claims of this template: those that are ready take one (unless the lease is over: then both
 * wait), for the others one is started. */
static void serve(struct node_core *core, struct template_ *template_)
{
	claim_serve(core, template_);
	while (template_->ready_n + template_->starting_n < template_->waiting_n &&
	       warm_may_restore(core) && node_effects_fit(core))
		if (!start(core, template_, false))
			return;
}

/*
 * Which of two templates gives up a microVM first:
 *   1. one that has more than it should
 *   2. the one that has more
 *   3. the lower slot
 */
static struct template_ *pick_fatter(const struct node_core *core, struct template_ *a,
				     struct template_ *b)
{
	bool a_over = spare_n(a) > target_of(core, a), b_over = spare_n(b) > target_of(core, b);

	if (a_over != b_over)
		return a_over ? a : b;
	return spare_n(b) > spare_n(a) ? b : a;
}

/* Ends microVMs that no longer fit, or that are too many. False: there is none such. */
static bool trim_one(struct node_core *core)
{
	struct wire_room room = room_with_pool(core), none = {0};
	bool pressed = !room_fits(&core->limits.capacity, &room, &none);
	struct template_ *fattest = NULL;
	struct vm *vm;

	for (uint32_t slot = pool_next(&core->template_pool, 0); slot != POOL_NONE;
	     slot = pool_next(&core->template_pool, slot + 1)) {
		struct template_ *template_ = &core->templates[slot];
		if (template_->gone || spare_n(template_) == 0)
			continue;
		if (!pressed &&
		    (spare_n(template_) <= target_of(core, template_) || template_->ready_n == 0))
			continue;
		fattest = fattest ? pick_fatter(core, fattest, template_) : template_;
	}
	vm = fattest ? first_pooled(fattest) : NULL;
	if (vm)
		vm_kill(core, vm, CAUSE_PLATFORM);
	return vm != NULL;
}

static uint32_t lack_of(const struct node_core *core, const struct template_ *template_)
{
	uint32_t target = target_of(core, template_), have_n = spare_n(template_);

	return !template_->gone && have_n < target ? target - have_n : 0;
}

static bool must_wait(const struct node_core *core, const struct template_ *template_)
{
	return template_->fails_n && core->now.ns < template_->retry_at.ns;
}

/* Counted from the first claim only, so that a stream of claims does not put refills off for ever.
 */
void warm_pause(struct node_core *core)
{
	if (core->refill_at.ns <= core->now.ns)
		core->refill_at = mono_add_ms(core->now, NODE_REFILL_PAUSE_MS);
}

/* Starts one for the template that lacks most, of those that fit. False: there is none such. */
static bool refill_one(struct node_core *core)
{
	struct wire_room room = room_with_pool(core);
	struct template_ *thinnest = NULL;

	if (core->claim_pool.taken_n || restores_n(core) >= core->limits.restores_max ||
	    core->now.ns < core->refill_at.ns)
		return false;
	for (uint32_t slot = pool_next(&core->template_pool, 0); slot != POOL_NONE;
	     slot = pool_next(&core->template_pool, slot + 1)) {
		struct template_ *template_ = &core->templates[slot];
		if (!lack_of(core, template_) || must_wait(core, template_) ||
		    !room_fits(&core->limits.capacity, &room, &template_->shape))
			continue;
		if (!thinnest || lack_of(core, template_) > lack_of(core, thinnest))
			thinnest = template_;
	}
	return thinnest && start(core, thinnest, true);
}

void warm_settle(struct node_core *core)
{
	roll_window(core);
	for (uint32_t slot = pool_next(&core->template_pool, 0); slot != POOL_NONE;
	     slot = pool_next(&core->template_pool, slot + 1)) {
		if (core->templates[slot].gone)
			dissolve(core, &core->templates[slot]);
		else
			serve(core, &core->templates[slot]);
	}
	while (node_effects_fit(core) && trim_one(core))
		;
	while (node_effects_fit(core) && refill_one(core))
		;
}

void warm_deadline(const struct node_core *core, struct mono *out_at)
{
	int64_t window_ns = core->limits.demand_ms * NS_PER_MS;

	for (uint32_t slot = pool_next(&core->template_pool, 0); slot != POOL_NONE;
	     slot = pool_next(&core->template_pool, slot + 1)) {
		const struct template_ *template_ = &core->templates[slot];
		int64_t roll_ns = (core->window + 1) * window_ns;
		if ((template_->claims_now_n || template_->claims_before_n) && roll_ns < out_at->ns)
			out_at->ns = roll_ns;
		if (lack_of(core, template_) && core->now.ns < core->refill_at.ns &&
		    core->refill_at.ns < out_at->ns)
			*out_at = core->refill_at;
		if (lack_of(core, template_) && must_wait(core, template_) &&
		    template_->retry_at.ns < out_at->ns)
			*out_at = template_->retry_at;
	}
}
