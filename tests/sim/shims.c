#include "tests/sim/shims_internal.h"

#include "tests/sim/agent.h"
#include "tests/sim/oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void shims_open(struct world *world, uint32_t host)
{
	world->vms[host] = calloc(1, sizeof(struct host_vms));
	CHECK(world->vms[host]);
}

void shims_close(struct world *world, uint32_t host)
{
	free(world->vms[host]->shims);
	free(world->vms[host]);
}

bool shim_is_alive(const struct shim *shim)
{
	return shim->resumed.ns && shim->state != WIRE_SHIM_ENDED;
}

bool shim_is_running(const struct world *world, uint32_t host, const struct shim *shim)
{
	return shim_is_alive(shim) && shim->freeze <= FREEZE_FREEZING &&
	       !(world->stopped & OF_SHIMS(host));
}

struct mono shims_resumed(const struct shim *shim)
{
	return (struct mono){shim->resumed.ns ? shim->resumed.ns - shim->ran_ns : 0};
}

struct mono shims_metered(const struct world *world, uint32_t host, const struct shim *shim)
{
	return shim->freeze == FREEZE_RUNS ? agent_mono(world, host) : shim->froze;
}

static struct shim *shims_add(struct world *world, uint32_t host)
{
	struct host_vms *vms = world->vms[host];
	struct shim *shim;

	if (vms->n == vms->cap) {
		vms->cap = vms->cap ? vms->cap * 2 : 32;
		vms->shims = realloc(vms->shims, vms->cap * sizeof(*vms->shims));
		CHECK(vms->shims);
	}
	shim = &vms->shims[vms->n++];
	memset(shim, 0, sizeof(*shim));
	return shim;
}

static struct shim *find(const struct world *world, uint32_t host, uint64_t number)
{
	struct host_vms *vms = world->vms[host];

	for (size_t i = 0; i < vms->n; i++)
		if (vms->shims[i].number == number)
			return &vms->shims[i];
	return NULL;
}

struct shim *shims_find_serial(const struct world *world, uint32_t host, uint64_t serial)
{
	struct host_vms *vms = world->vms[host];

	for (size_t i = 0; i < vms->n; i++)
		if (vms->shims[i].serial == serial)
			return &vms->shims[i];
	return NULL;
}

void shims_plan(struct world *world, uint32_t host, const struct shim *shim, int64_t in_ns,
		void (*fn)(struct world *world, const struct call *call))
{
	struct call call = {.fn = fn, .of = OF_SHIMS(host), .host = host, .a = shim->serial};

	world_plan(world, in_ns, call);
}

/* ---- words to the agent ---- */

/* A folder like that of a microVM that ended by a pause. */
static struct shim saved_folder(struct world *world, uint32_t host, uint64_t number)
{
	return (struct shim){.number = number,
			     .serial = ++world->totals.vms,
			     .state = WIRE_SHIM_ENDED,
			     .cause = CAUSE_PAUSE,
			     .saved = true,
			     .snapshot = true,
			     .how = WIRE_SAVE_SNAPSHOT,
			     .boot = agent_boot(world, host)};
}

uint32_t shims_content(const struct world *world, uint32_t host, uint64_t folder)
{
	const struct host_vms *vms = world->vms[host];

	for (size_t i = 0; i < vms->n; i++)
		if (vms->shims[i].number == folder && vms->shims[i].saved)
			return (uint32_t)vms->shims[i].serial;
	return 0;
}

void shims_copy(struct world *world, uint32_t host, uint64_t folder, uint64_t attempt)
{
	struct shim made = saved_folder(world, host, folder);

	made.claim.attempt = attempt;
	world->totals.moves++;
	*shims_add(world, host) = made;
}

/* The agent puts it there. */
static void move_snapshot(struct world *world, uint32_t host, struct shim *shim,
			  struct node_event *event)
{
	struct shim made = saved_folder(world, host, event->snapped.into);

	if (!event->snapped.ok)
		return;
	event->snapped.ok = shim->last_snapped == event->snapped.save && !shim->is_moved;
	if (!event->snapped.ok)
		return;
	shim->is_moved = true;
	made.claim.attempt = event->snapped.save;
	world->totals.snapshots++;
	/* This may move all of them. */
	*shims_add(world, host) = made;
}

static void on_told(struct world *world, const struct call *call)
{
	struct shim *shim = shims_find_serial(world, call->host, call->a);
	struct node_event *event = call->data;

	/* To an agent that is no more, or of a folder that is: nobody hears. */
	if (!shim || !shim->told || agent_life(world, call->host) != call->life)
		return;
	if (event->kind == NODE_EVENT_VM_SNAPPED)
		move_snapshot(world, call->host, shim, event);
	agent_step(world, call->host, call->data);
}

static void tell(struct world *world, uint32_t host, const struct shim *shim,
		 const struct node_event *event)
{
	struct call call = {.fn = on_told, .host = host, .a = shim->serial, .owned = true};

	if (!shim->told)
		return;
	call.of = OF_AGENT(host);
	call.life = agent_life(world, host);
	call.data = malloc(sizeof(*event));
	CHECK(call.data);
	memcpy(call.data, event, sizeof(*event));
	world_plan(world, world->shape.tell_ns, call);
}

static void tell_kind(struct world *world, uint32_t host, const struct shim *shim,
		      enum node_event_kind kind)
{
	struct node_event event = {.kind = kind, .vm = shim->number};

	tell(world, host, shim, &event);
}

static void tell_claimed(struct world *world, uint32_t host, const struct shim *shim,
			 uint64_t attempt, bool ok)
{
	struct node_event event = {.kind = NODE_EVENT_VM_CLAIMED};

	event.claimed.vm = shim->number;
	event.claimed.attempt = attempt;
	event.claimed.ok = ok;
	if (ok)
		event.claimed.resumed_mono = shim->resumed;
	tell(world, host, shim, &event);
}

/* ---- its end ---- */

void shims_end(struct world *world, uint32_t host, struct shim *shim, enum cause cause, bool gone)
{
	struct node_event event = {.kind = NODE_EVENT_VM_ENDED};

	if (shim->state == WIRE_SHIM_ENDED)
		return;
	world_say(world, "host %u vm %" PRIu64 " ends: cause %d%s", host, shim->number, (int)cause,
		  gone ? ", unseen" : "");
	oracle_stir(world);
	shim->state = WIRE_SHIM_ENDED;
	shim->ended = shims_metered(world, host, shim);
	shim->ended_ns = world->now_ns;
	shim->cause = cause;
	shim->gone = gone;
	oracle_ran(world, host, shim, gone);
	if (gone) {
		tell_kind(world, host, shim, NODE_EVENT_VM_GONE);
		return;
	}
	event.ended.vm = shim->number;
	event.ended.cause = cause;
	event.ended.at = shim->ended;
	event.ended.resumed_mono = shims_resumed(shim);
	event.ended.saved_how = shim->saved ? shim->how : 0;
	event.ended.saved_mib = shim->saved ? 40 : 0;
	tell(world, host, shim, &event);
}

/* ---- pauses ---- */

const struct shim *shims_find_saved(const struct world *world, uint32_t host, uint64_t attempt)
{
	const struct host_vms *vms = world->vms[host];

	for (size_t i = 0; i < vms->n; i++)
		if (vms->shims[i].saved && vms->shims[i].claim.attempt == attempt)
			return &vms->shims[i];
	return NULL;
}

static void pause(struct world *world, uint32_t host, struct shim *shim, enum wire_save_how how)
{
	shim->saved = true;
	shim->how = how;
	world->totals.pauses++;
	shims_end(world, host, shim, CAUSE_PAUSE, false);
}

static void tell_runs_on(struct world *world, uint32_t host, const struct shim *shim, uint64_t save)
{
	struct node_event event = {.kind = NODE_EVENT_VM_RUNS_ON};

	event.runs_on.vm = shim->number;
	event.runs_on.save = save;
	tell(world, host, shim, &event);
}

static void tell_snapped(struct world *world, uint32_t host, const struct shim *shim, uint64_t save,
			 uint64_t into, bool ok)
{
	struct node_event event = {.kind = NODE_EVENT_VM_SNAPPED};

	if (shim->into_life != agent_life(world, host))
		return;
	event.snapped.vm = shim->number;
	event.snapped.save = save;
	event.snapped.into = into;
	event.snapped.ok = ok;
	event.snapped.mib = 40;
	tell(world, host, shim, &event);
}

static void on_snapped(struct world *world, uint32_t host, struct shim *shim)
{
	uint64_t save = shim->save, into = shim->into;
	bool fails = world_chance(world, world->faults.save_fail);

	shim->save = shim->into = 0;
	if (!fails) {
		shim->last_snapped = save;
		shim->is_moved = false;
	}
	tell_snapped(world, host, shim, save, into, !fails);
}

static void on_saved(struct world *world, const struct call *call)
{
	struct shim *shim = shims_find_serial(world, call->host, call->a);
	uint64_t save;

	if (!shim || shim->state == WIRE_SHIM_ENDED)
		return;
	if (shim->into) {
		on_snapped(world, call->host, shim);
		return;
	}
	save = shim->save;
	shim->save = 0;
	if (world_chance(world, world->faults.save_fail))
		tell_runs_on(world, call->host, shim, save);
	else
		pause(world, call->host, shim, shim->how);
}

/* The folder that it is put into is the agent's: one that came back names another. */
static bool is_known_snapshot(struct world *world, uint32_t host, struct shim *shim,
			      const struct node_effect *effect)
{
	if (shim->save == effect->save.save) {
		shim->into = effect->save.into;
		return true;
	}
	if (shim->last_snapped != effect->save.save)
		return false;
	tell_snapped(world, host, shim, effect->save.save, effect->save.into, true);
	return true;
}

void shims_save(struct world *world, uint32_t host, const struct node_effect *effect)
{
	struct shim *shim = find(world, host, effect->save.vm);

	if (!shim || shim->state == WIRE_SHIM_ENDED)
		return;
	if (effect->save.into)
		shim->into_life = agent_life(world, host);
	if (effect->save.into ? is_known_snapshot(world, host, shim, effect)
			      : shim->save == effect->save.save)
		return;
	if (shim->state != WIRE_SHIM_CLAIMED || shim->save) {
		if (effect->save.into)
			tell_snapped(world, host, shim, effect->save.save, effect->save.into,
				     false);
		else
			tell_runs_on(world, host, shim, effect->save.save);
		return;
	}
	shim->save = effect->save.save;
	shim->into = effect->save.into;
	shim->how = effect->save.how;
	shims_plan(world, host, shim, world_between(world, MS(50), MS(600)), on_saved);
}

static void on_time_limit(struct world *world, const struct call *call)
{
	struct shim *shim = shims_find_serial(world, call->host, call->a);

	/* The limit may have been moved. */
	if (!shim || !shim->claim_taken || shim->state == WIRE_SHIM_ENDED ||
	    shim->end.ns > agent_mono(world, call->host).ns)
		return;
	if (shim->state == WIRE_SHIM_CLAIMED && shim->claim.on_limit &&
	    !world_chance(world, world->faults.save_fail)) {
		shim->by_limit = true;
		pause(world, call->host, shim,
		      shim->claim.on_limit == WIRE_ON_LIMIT_PAUSE ? WIRE_SAVE_PAUSE
								  : WIRE_SAVE_PAUSE_FILES);
	} else {
		shims_end(world, call->host, shim, CAUSE_TIMEOUT, false);
	}
}

static void set_limit(struct world *world, uint32_t host, struct shim *shim, struct mono end)
{
	shim->end = end;
	shims_plan(world, host, shim, clock_until_ns(agent_clock(world, host), world->now_ns, end),
		   on_time_limit);
}

/* ---- from its start to the pool ---- */

static void on_ready(struct world *world, const struct call *call)
{
	struct shim *shim = shims_find_serial(world, call->host, call->a);

	if (!shim || shim->state == WIRE_SHIM_ENDED)
		return;
	shim->state = WIRE_SHIM_READY;
	tell_kind(world, call->host, shim, NODE_EVENT_VM_READY);
}

static void on_restored(struct world *world, const struct call *call)
{
	struct shim *shim = shims_find_serial(world, call->host, call->a);
	bool warm = call->b != 0;

	if (!shim || shim->state == WIRE_SHIM_ENDED)
		return;
	if (world_chance(world, world->faults.restore_fail)) {
		shims_end(world, call->host, shim, CAUSE_VM_FAULT, world_chance(world, 500000));
		return;
	}
	shim->state = WIRE_SHIM_WARMING;
	tell_kind(world, call->host, shim, NODE_EVENT_VM_WARMING);
	shims_plan(world, call->host, shim, warm ? world_between(world, MS(40), MS(150)) : 0,
		   on_ready);
}

void shims_start(struct world *world, uint32_t host, const struct node_effect *effect)
{
	struct call call = {.fn = on_restored, .of = OF_SHIMS(host), .host = host};
	const struct shim *source = find(world, host, effect->start.resume);
	struct shim *shim;

	if (effect->start.resume && (!source || !source->saved))
		world_fail(world, "host %u: nothing is saved in folder %" PRIu64, host,
			   effect->start.resume);
	if (find(world, host, effect->start.vm))
		world_fail(world, "host %u: two microVMs with the number %" PRIu64, host,
			   effect->start.vm);
	shim = shims_add(world, host);
	shim->number = effect->start.vm;
	shim->serial = ++world->totals.vms;
	shim->state = WIRE_SHIM_RESTORING;
	shim->told = true;
	shim->resumes = effect->start.resume != 0;
	shim->cold = effect->start.cold;
	shim->boot = agent_boot(world, host);
	memcpy(shim->template_, effect->start.template_, sizeof(shim->template_));
	memcpy(shim->template_id, effect->start.template_id, sizeof(shim->template_id));
	call.a = shim->serial;
	call.b = effect->start.warm;
	world_plan(world, world_between(world, MS(60), MS(200)), call);
}

/* ---- the claim ---- */

static int64_t claim_ns(struct world *world)
{
	if (world_chance(world, world->faults.slow_claim))
		return world_between(world, MS(5), S(3));
	return world_between(world, NS_PER_MS / 4, MS(4));
}

static void on_claim_failed(struct world *world, const struct call *call)
{
	struct shim *shim = shims_find_serial(world, call->host, call->a);

	if (shim)
		shims_end(world, call->host, shim, CAUSE_VM_FAULT, false);
}

static void on_initialised(struct world *world, const struct call *call)
{
	struct shim *shim = shims_find_serial(world, call->host, call->a);

	if (!shim || shim->state == WIRE_SHIM_ENDED)
		return;
	if (world_chance(world, world->faults.claim_fail)) {
		tell_claimed(world, call->host, shim, shim->claim.attempt, false);
		shims_plan(world, call->host, shim, world_between(world, 0, MS(3)),
			   on_claim_failed);
		return;
	}
	shim->state = WIRE_SHIM_CLAIMED;
	tell_claimed(world, call->host, shim, shim->claim.attempt, true);
	shims_lease_look(world, call->host, shim);
}

static void on_resumed(struct world *world, const struct call *call)
{
	struct shim *shim = shims_find_serial(world, call->host, call->a);
	struct mono end;

	if (!shim || shim->state == WIRE_SHIM_ENDED)
		return;
	shim->resumed = agent_mono(world, call->host);
	end = mono_add_ms(shim->resumed, (int64_t)shim->claim.ttl_ms);
	if (end.ns < shim->end.ns)
		set_limit(world, call->host, shim, end);
	oracle_stir(world);
	shims_plan(world, call->host, shim, claim_ns(world), on_initialised);
}

static uint64_t rules_of(struct world *world, const struct note *bytes)
{
	static _Alignas(16) uint8_t lists[64];
	struct wire_arena arena = {lists, sizeof(lists), 0};
	struct wire_sandbox_note note = {0};
	char text[24];

	if (bytes->n && wire_sandbox_note_decode(bytes->bytes, bytes->n, &arena, &note, NULL))
		world_fail(world, "a note cannot be read");
	snprintf(text, sizeof(text), "%.*s", (int)note.network.n, (const char *)note.network.data);
	return note.network.n ? strtoull(text, NULL, 10) : 0;
}

void shims_claim(struct world *world, uint32_t host, const struct node_effect *effect,
		 const struct note *note)
{
	struct shim *shim = find(world, host, effect->claim.vm);

	if (!shim)
		return;
	if (shim->state != WIRE_SHIM_READY || shim->claim_taken ||
	    !shims_lease_begin(world, host, shim, effect->claim.lease_mono)) {
		tell_claimed(world, host, shim, effect->claim.order.attempt, false);
		return;
	}
	if (shim->resumes != (effect->claim.order.resume != 0) ||
	    shim->cold != effect->claim.order.cold)
		world_fail(world, "host %u: vm %" PRIu64 " is claimed for another beginning", host,
			   shim->number);
	oracle_claims(world, host, &effect->claim.order);
	shim->claim_taken = true;
	oracle_stir(world);
	shim->claim = effect->claim.order;
	shim->note = *note;
	shim->rules = rules_of(world, note);
	set_limit(world, host, shim, effect->claim.end_mono);
	shims_plan(world, host, shim, claim_ns(world), on_resumed);
}

/* ---- other wishes of the agent ---- */

void shims_deadline(struct world *world, uint32_t host, const struct node_effect *effect)
{
	struct shim *shim = find(world, host, effect->deadline.vm);

	if (shim && shim->claim_taken && shim->state != WIRE_SHIM_ENDED)
		set_limit(world, host, shim, effect->deadline.end_mono);
}

static void on_network(struct world *world, const struct call *call)
{
	struct node_event event = {.kind = NODE_EVENT_VM_NETWORK_SET};
	struct shim *shim = shims_find_serial(world, call->host, call->a);

	if (!shim || shim->state != WIRE_SHIM_CLAIMED || shim->change != call->b)
		return;
	event.network.vm = shim->number;
	event.network.change = shim->change;
	event.network.ok = !world_chance(world, world->faults.claim_fail);
	if (event.network.ok)
		shim->rules = shim->next_rules;
	tell(world, call->host, shim, &event);
}

void shims_network(struct world *world, uint32_t host, const struct node_effect *effect,
		   const struct note *note)
{
	struct shim *shim = find(world, host, effect->network.vm);
	struct call call = {.fn = on_network, .of = OF_SHIMS(host), .host = host};

	if (!shim || shim->state != WIRE_SHIM_CLAIMED)
		return;
	shim->change = effect->network.change;
	shim->next_rules = rules_of(world, note);
	call.a = shim->serial;
	call.b = shim->change;
	world_plan(world, claim_ns(world), call);
}

void shims_meter(struct world *world, uint32_t host, uint64_t number)
{
	struct node_event event = {.kind = NODE_EVENT_VM_METERED};
	const struct shim *shim = find(world, host, number);

	if (!shim || !shim_is_alive(shim))
		return;
	event.metered.vm = number;
	event.metered.at = shims_metered(world, host, shim);
	event.metered.resumed_mono = shims_resumed(shim);
	tell(world, host, shim, &event);
}

static void on_killed(struct world *world, const struct call *call)
{
	struct shim *shim = shims_find_serial(world, call->host, call->a);

	if (shim)
		shims_end(world, call->host, shim, (enum cause)call->b, false);
}

void shims_kill(struct world *world, uint32_t host, const struct node_effect *effect)
{
	const struct shim *shim = find(world, host, effect->kill.vm);
	struct call call = {.fn = on_killed, .of = OF_SHIMS(host), .host = host};

	if (!shim || shim->state == WIRE_SHIM_ENDED)
		return;
	call.b = effect->kill.cause;
	call.a = shim->serial;
	world_plan(world, world_between(world, MS(1), MS(10)), call);
}

void shims_forget(struct world *world, uint32_t host, uint64_t number)
{
	struct host_vms *vms = world->vms[host];
	struct shim *shim = find(world, host, number);

	if (!shim)
		return;
	if (shim->state != WIRE_SHIM_ENDED)
		world_fail(world, "host %u: vm %" PRIu64 " is forgotten while it lives", host,
			   number);
	if (shim->saved)
		oracle_discarded(world, host, shim);
	memmove(shim, shim + 1, (size_t)(vms->shims + --vms->n - shim) * sizeof(*shim));
}

/* ---- agents and boots come and go ---- */

static void on_adopted(struct world *world, const struct call *call)
{
	struct shim *shim = shims_find_serial(world, call->host, call->a);

	if (agent_life(world, call->host) != call->life)
		return;
	CHECK(shim);
	shim->told = true;
	agent_adopt(world, call->host, shim);
}

uint32_t shims_adopt(struct world *world, uint32_t host)
{
	struct host_vms *vms = world->vms[host];

	for (size_t i = 0; i < vms->n; i++) {
		struct call call = {.fn = on_adopted, .host = host, .a = vms->shims[i].serial};
		call.of = OF_AGENT(host) | OF_SHIMS(host);
		call.life = agent_life(world, host);
		world_plan(world, world_between(world, 0, MS(20)), call);
	}
	return (uint32_t)vms->n;
}

void shims_unhear(struct world *world, uint32_t host)
{
	struct host_vms *vms = world->vms[host];

	for (size_t i = 0; i < vms->n; i++)
		vms->shims[i].told = false;
}

void shims_reboot(struct world *world, uint32_t host)
{
	struct host_vms *vms = world->vms[host];
	size_t kept = 0;

	shims_unhear(world, host);
	for (size_t i = 0; i < vms->n; i++) {
		if (vms->shims[i].saved) {
			vms->shims[kept++] = vms->shims[i];
			continue;
		}
		shims_end(world, host, &vms->shims[i], CAUSE_NODE_RESTARTED, true);
		/* Also of those that had ended: nobody read their records. */
		oracle_ran(world, host, &vms->shims[i], true);
	}
	vms->n = kept;
}

void shims_fault(struct world *world, uint32_t host, bool gone)
{
	struct host_vms *vms = world->vms[host];
	struct shim *shim;

	if (vms->n == 0 || world->stopped & OF_SHIMS(host))
		return;
	shim = &vms->shims[rng_below(&world->rng, vms->n)];
	shims_end(world, host, shim, shim->resumed.ns ? CAUSE_OOM_GUEST : CAUSE_VM_FAULT, gone);
}
