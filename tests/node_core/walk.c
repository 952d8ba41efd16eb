#include "tests/node_core/walk.h"

#include <string.h>

static struct walk_shim *find(struct walk *walk, uint64_t vm)
{
	for (size_t i = 0; i < WALK_SHIMS; i++)
		if (walk->shims[i].state != WALK_NONE && walk->shims[i].vm == vm)
			return &walk->shims[i];
	return NULL;
}

static bool is_over(const struct walk *walk, struct mono lease)
{
	return lease.ns && lease.ns <= walk->host->now.ns;
}

static struct mono last_ran(const struct walk *walk, const struct walk_shim *shim)
{
	return shim->frozen.ns ? shim->frozen : walk->host->now;
}

/* ---- what the core wants ---- */

static void take_start(struct walk *walk, uint64_t vm)
{
	size_t i = 0;

	CHECK(!find(walk, vm));
	while (i < WALK_SHIMS && walk->shims[i].state != WALK_NONE)
		i++;
	CHECK(i < WALK_SHIMS);
	walk->shims[i] = (struct walk_shim){.state = WALK_STARTING, .vm = vm};
}

static void take_claim(struct walk *walk, const struct node_effect *effect)
{
	struct walk_shim *shim = find(walk, effect->claim.vm);

	CHECK(shim && shim->state == WALK_READY);
	CHECK(!is_over(walk, effect->claim.lease_mono));
	CHECK(effect->claim.order.attempt >= walk->lost_below);
	shim->state = WALK_CLAIMING;
	shim->claim = effect->claim.order;
	shim->lease = effect->claim.lease_mono;
}

static void thaw(struct walk *walk, struct walk_shim *shim)
{
	shim->resumed.ns += walk->host->now.ns - shim->frozen.ns;
	shim->frozen.ns = 0;
	walk->thaws_n++;
}

/* As a shim does; one that is still being claimed does not hear it. */
static void take_lease(struct walk *walk, struct mono lease)
{
	CHECK(!is_over(walk, lease));
	for (size_t i = 0; i < WALK_SHIMS; i++) {
		struct walk_shim *shim = &walk->shims[i];
		if (shim->state == WALK_CLAIMING || shim->state == WALK_RUNS)
			CHECK(shim->claim.attempt >= walk->lost_below);
		if (shim->state != WALK_RUNS || shim->killed)
			continue;
		if (!shim->lease.ns || !lease.ns || lease.ns > shim->lease.ns)
			shim->lease = lease;
		if (shim->frozen.ns)
			thaw(walk, shim);
	}
}

static void take(struct walk *walk, const struct node_effect *effect)
{
	struct walk_shim *shim;

	if (effect->kind == NODE_EFFECT_VM_START)
		take_start(walk, effect->start.vm);
	if (effect->kind == NODE_EFFECT_VM_CLAIM)
		take_claim(walk, effect);
	if (effect->kind == NODE_EFFECT_LEASE)
		take_lease(walk, effect->lease_mono);
	if (effect->kind == NODE_EFFECT_VM_KILL && (shim = find(walk, effect->kill.vm)))
		shim->killed = true;
	if (effect->kind == NODE_EFFECT_VM_FORGET)
		CHECK(!find(walk, effect->vm));
}

/* Each interval goes on from the last, and the end has all that ran. */
static void look_at_records(struct walk *walk)
{
	for (; walk->records_n < walk->host->records_n; walk->records_n++) {
		const struct wire_record *record = &walk->host->records[walk->records_n];
		if (record->kind == WIRE_RECORD_REFUSED)
			continue;
		CHECK(record->from_ms == walk->told_ms[record->attempt]);
		CHECK(record->at_wall_ns <= walk->host->wall.ns);
		walk->told_ms[record->attempt] = record->to_ms;
		if (record->kind != WIRE_RECORD_ENDED)
			continue;
		CHECK(record->to_ms == walk->ran_ms[record->attempt]);
		walk->ended_n++;
	}
}

static void settle(void *arg)
{
	struct walk *walk = arg;
	struct node_effect log[HOST_LOG];
	size_t n = walk->host->log_n;

	memcpy(log, walk->host->log, n * sizeof(log[0]));
	host_forget_log(walk->host);
	for (size_t i = 0; i < n; i++)
		take(walk, &log[i]);
	look_at_records(walk);
}

void walk_open(struct walk *walk, uint64_t seed)
{
	*walk = (struct walk){.rng = {seed}, .host = host_open()};
	walk->host->on_step = settle;
	walk->host->on_step_arg = walk;
}

/* ---- what shims do ---- */

static void meter(struct walk *walk, const struct walk_shim *shim)
{
	host_metered_since(walk->host, shim->vm, last_ran(walk, shim), shim->resumed);
}

void walk_pass(struct walk *walk, int64_t ms)
{
	host_pass(walk->host, ms);
	for (size_t i = 0; i < WALK_SHIMS; i++) {
		struct walk_shim *shim = &walk->shims[i];
		if (shim->state != WALK_RUNS || shim->frozen.ns || !is_over(walk, shim->lease))
			continue;
		shim->frozen = shim->lease;
		if (!rng_one_in(&walk->rng, 4))
			meter(walk, shim);
	}
}

static void end(struct walk *walk, struct walk_shim *shim)
{
	struct walk_shim was = *shim;

	shim->state = WALK_NONE;
	if (was.state == WALK_RUNS)
		walk->ran_ms[was.claim.attempt] =
			(uint64_t)mono_ms_since(last_ran(walk, &was), was.resumed);
	host_ended_since(walk->host, was.vm, CAUSE_VM_FAULT, last_ran(walk, &was),
			 was.state == WALK_RUNS ? was.resumed : (struct mono){0});
}

static void claimed(struct walk *walk, struct walk_shim *shim)
{
	bool ok = !is_over(walk, shim->lease) && !rng_one_in(&walk->rng, 8);

	if (ok) {
		shim->state = WALK_RUNS;
		shim->resumed = walk->host->now;
	}
	host_claimed(walk->host, shim->vm, shim->claim.attempt, ok);
}

void walk_shim(struct walk *walk)
{
	size_t first = rng_below(&walk->rng, WALK_SHIMS), i = 0;
	struct walk_shim *shim;

	while (i < WALK_SHIMS && walk->shims[(first + i) % WALK_SHIMS].state == WALK_NONE)
		i++;
	if (i == WALK_SHIMS)
		return;
	shim = &walk->shims[(first + i) % WALK_SHIMS];
	if (shim->killed || rng_one_in(&walk->rng, 30)) {
		end(walk, shim);
	} else if (shim->state == WALK_STARTING) {
		shim->state = WALK_READY;
		host_vm_ready(walk->host, shim->vm);
	} else if (shim->state == WALK_CLAIMING) {
		claimed(walk, shim);
	} else if (shim->state == WALK_RUNS) {
		meter(walk, shim);
	}
}

static void adopt(struct walk *walk, const struct walk_shim *shim)
{
	struct node_event event = host_found(shim->vm, WIRE_SHIM_READY);

	if (shim->state == WALK_STARTING)
		event.adopted.state = WIRE_SHIM_WARMING;
	if (shim->state == WALK_RUNS) {
		event = host_found_claimed(shim->vm, &shim->claim, shim->resumed);
		event.adopted.end_mono = mono_add_ms(walk->host->now, 300000);
	} else if (shim->state == WALK_CLAIMING) {
		event.adopted.claim = &shim->claim;
	}
	if (event.adopted.claim)
		event.adopted.payload = host_keep_payload(walk->host, shim->claim.attempt);
	host_step(walk->host, &event);
}

void walk_restart(struct walk *walk)
{
	host_restart(walk->host);
	for (size_t i = 0; i < WALK_SHIMS; i++) {
		walk->shims[i].killed = false;
		if (walk->shims[i].state != WALK_NONE)
			adopt(walk, &walk->shims[i]);
	}
	host_step(walk->host, &(struct node_event){.kind = NODE_EVENT_READY});
}
