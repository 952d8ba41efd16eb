/* What shims say, and what that means to the core. */
#include "node-agent/shell/vms_internal.h"

#include "common/io/log.h"
#include "node-agent/shell/agent.h"
#include "proto/reasons.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void vm_tell(struct vm *vm, enum node_event_kind kind)
{
	struct node_event event = {.kind = kind, .vm = vm->number};

	agent_step(vm->vms->agent, &event);
}

/* What the folder's clone was restored from. Unknown templates stay empty. */
static void vm_origin(struct vm *vm, struct node_event *event)
{
	struct vm_template template_;
	struct vm_config config;
	char dir[PATH_MAX];

	vm_dir(vm->vms, vm->number, dir);
	event->adopted.other_boot = !shim_dir_is_of_this_boot(dir);
	if (vm_config_read(dir, &config, NULL))
		return;
	event->adopted.resumes = config.resume[0] != 0;
	if (vm_template_read(config.template_dir, &template_, NULL))
		return;
	snprintf(event->adopted.template_, TEMPLATE_NAME_MAX, "%s", template_.name);
	snprintf(event->adopted.template_id, NODE_TEMPLATE_ID_MAX, "%s", template_.id);
}

static uint64_t mib_of(uint64_t bytes)
{
	return (bytes + (1 << 20) - 1) >> 20;
}

static void vms_adopted_one(struct vms *vms)
{
	struct node_event event = {.kind = NODE_EVENT_READY};

	if (--vms->adopting_n == 0)
		agent_step(vms->agent, &event);
}

/* So that running time is what passed since then, whatever it stood still in between. */
static struct mono resumed_as_if_never_frozen(const struct wire_shim_status *status)
{
	return (struct mono){status->resumed_mono_ns - (int64_t)status->ran_ns};
}

/* Frozen, it has not run since. */
static struct mono ran_until(const struct wire_shim_status *status, int64_t otherwise_ns)
{
	return (struct mono){status->frozen_mono_ns ? status->frozen_mono_ns : otherwise_ns};
}

static void vm_tell_adopted(struct vm *vm, const struct wire_shim_status *status)
{
	struct node_event event = {.kind = NODE_EVENT_ADOPTED};
	struct agent *agent = vm->vms->agent;
	struct wire_order claim;
	struct wire_arena arena = {0}; /* orders hold no lists */

	vm->adopting = false;
	vm->told = status->state;
	vm->attempt = status->attempt;
	vm->resumed = resumed_as_if_never_frozen(status);
	vm->frozen_ns = 0; /* the core has not heard of a freeze */
	event.adopted.vm = vm->number;
	event.adopted.state = status->state;
	vm_origin(vm, &event);
	if (status->claim.n &&
	    wire_order_decode(status->claim.data, status->claim.n, &arena, &claim, NULL) == 0) {
		event.adopted.claim = &claim;
		if (agent->core)
			event.adopted.payload = payloads_keep(&agent->payloads, &claim);
	}
	event.adopted.resumed_mono = vm->resumed;
	event.adopted.end_mono.ns = status->end_mono_ns;
	event.adopted.ended_mono = ran_until(status, status->ended_mono_ns);
	event.adopted.cause = status->cause;
	event.adopted.saved_how = status->saved_how;
	event.adopted.saved_mib = mib_of(status->saved_bytes);
	log_info("agent", "adopted", LOG_UINT("vm", vm->number), LOG_INT("state", status->state),
		 LOG_TEXT("sandbox", status->sandbox.text));
	agent_step(agent, &event);
	vms_adopted_one(vm->vms);
}

/* The shim speaks of a sandbox: a freeze or a thaw is told at once, other readings when wanted. */
static void vm_read(struct vm *vm, const struct wire_shim_status *status)
{
	struct node_event event = {.kind = NODE_EVENT_VM_METERED};
	struct mono resumed = resumed_as_if_never_frozen(status);
	bool changed = status->frozen_mono_ns != vm->frozen_ns || resumed.ns != vm->resumed.ns;

	vm->attempt = status->attempt;
	/* Its shim hung when the agent started, and may have missed the order. */
	if (vm->end_ns && vm->end_ns != status->end_mono_ns)
		shim_client_deadline(vm->client, vm->end_ns);
	vm->end_ns = 0;
	if (!status->at_mono_ns || (!changed && !vm->metering))
		return;
	vm->metering = false;
	vm->frozen_ns = status->frozen_mono_ns;
	vm->resumed = resumed;
	event.metered.vm = vm->number;
	event.metered.at = ran_until(status, status->at_mono_ns);
	event.metered.resumed_mono = resumed;
	agent_step(vm->vms->agent, &event);
}

static void vm_on_status(void *arg, const struct wire_shim_status *status)
{
	struct vm *vm = arg;

	if (vm->adopting)
		vm_tell_adopted(vm, status);
	switch (status->state) {
	case WIRE_SHIM_RESTORING:
	case WIRE_SHIM_ENDED: /* on_ended tells */
		return;
	case WIRE_SHIM_WARMING:
		if (vm->told == 0) {
			vm->told = WIRE_SHIM_WARMING;
			vm_tell(vm, NODE_EVENT_VM_WARMING);
		}
		return;
	case WIRE_SHIM_READY:
		if (vm->told == 0) /* it was faster than the connection to its shim */
			vm_tell(vm, NODE_EVENT_VM_WARMING);
		if (vm->told < WIRE_SHIM_READY) {
			vm->told = WIRE_SHIM_READY;
			vm_tell(vm, NODE_EVENT_VM_READY);
		}
		return;
	case WIRE_SHIM_CLAIMED:
		vm_read(vm, status);
		return;
	}
}

static void vm_on_claimed(void *arg, const struct wire_shim_claimed *claimed)
{
	struct node_event event = {.kind = NODE_EVENT_VM_CLAIMED};
	struct vm *vm = arg;

	vm->told = WIRE_SHIM_CLAIMED;
	vm->resumed.ns = claimed->resumed_mono_ns;
	event.claimed.vm = vm->number;
	event.claimed.attempt = claimed->attempt;
	event.claimed.ok = claimed->ok;
	event.claimed.resumed_mono.ns = claimed->resumed_mono_ns;
	if (!claimed->ok)
		log_warn("agent", "a claim failed", LOG_UINT("vm", vm->number),
			 LOG_TEXT("detail", claimed->detail));
	agent_step(vm->vms->agent, &event);
}

static void vm_on_snapped(struct vm *vm, const struct wire_shim_saved *saved)
{
	struct node_event event = {.kind = NODE_EVENT_VM_SNAPPED};
	char dir[PATH_MAX], new_dir[PATH_MAX];
	struct err err;
	struct id id;

	event.snapped.vm = vm->number;
	event.snapped.save = vm->snapshot;
	event.snapped.into = vm->into;
	event.snapped.ok = saved->ok;
	event.snapped.mib = mib_of(saved->bytes);
	vm_dir(vm->vms, vm->number, dir);
	vm_dir(vm->vms, vm->into, new_dir);
	snprintf(id.text, sizeof(id.text), "vm%" PRIu64, vm->into);
	if (!saved->ok)
		err_set(&err, "%s", saved->detail);
	else if (shim_dir_keep_snapshot(dir, vm->snapshot, &id, new_dir, &err))
		event.snapped.ok = false;
	if (!event.snapped.ok)
		log_warn("agent", "no snapshot was made", LOG_UINT("vm", vm->number),
			 LOG_ERR(&err));
	vm->snapshot = vm->into = 0;
	agent_step(vm->vms->agent, &event);
}

static void vm_on_saved(void *arg, const struct wire_shim_saved *saved)
{
	struct node_event event = {.kind = NODE_EVENT_VM_RUNS_ON};
	struct vm *vm = arg;

	if (vm->snapshot && saved->save == vm->snapshot) {
		vm_on_snapped(vm, saved);
		return;
	}
	/* Its end follows, and tells the rest; a snapshot that an agent before us wanted is ordered
	 * again, if it is still wanted. */
	if (saved->ok)
		return;
	log_warn("agent", "a sandbox could not be paused", LOG_UINT("vm", vm->number),
		 LOG_TEXT("detail", saved->detail));
	event.runs_on.vm = vm->number;
	event.runs_on.save = saved->save;
	agent_step(vm->vms->agent, &event);
}

static void vm_on_networked(void *arg, const struct wire_shim_networked *networked)
{
	struct node_event event = {.kind = NODE_EVENT_VM_NETWORK_SET};
	struct vm *vm = arg;

	if (!networked->ok)
		log_warn("agent", "a sandbox's network could not be changed",
			 LOG_UINT("vm", vm->number), LOG_TEXT("detail", networked->detail));
	event.network.vm = vm->number;
	event.network.change = networked->change;
	event.network.ok = networked->ok;
	agent_step(vm->vms->agent, &event);
}

static void vm_on_ended(void *arg, const struct wire_shim_status *end)
{
	struct node_event event = {.kind = NODE_EVENT_VM_ENDED};
	struct vm *vm = arg;

	shim_client_close(vm->client);
	vm->client = NULL;
	if (vm->adopting) {
		vm_tell_adopted(vm, end);
		return;
	}
	log_info("agent", "a microVM ended", LOG_UINT("vm", vm->number),
		 LOG_TEXT("sandbox", end->sandbox.text),
		 LOG_TEXT("cause", cause_info(end->cause)->name), LOG_TEXT("detail", end->detail));
	event.ended.vm = vm->number;
	event.ended.cause = end->cause;
	event.ended.at = ran_until(end, end->ended_mono_ns);
	event.ended.resumed_mono = resumed_as_if_never_frozen(end);
	event.ended.saved_how = end->saved_how;
	event.ended.saved_mib = mib_of(end->saved_bytes);
	agent_step(vm->vms->agent, &event);
}

static void vm_on_gone(void *arg, const char *why)
{
	struct vm *vm = arg;
	struct vms *vms = vm->vms;

	shim_client_close(vm->client);
	vm->client = NULL;
	log_warn("agent", "a microVM is gone and nobody saw its end", LOG_UINT("vm", vm->number),
		 LOG_TEXT("detail", why));
	if (vm->adopting) {
		/* As if the folder had not been there: what the journal says of it is lost. */
		char dir[PATH_MAX];
		vm_dir(vms, vm->number, dir);
		shim_dir_remove(dir);
		vms_remove(vms, vm);
		vms_adopted_one(vms);
		return;
	}
	vm_tell(vm, NODE_EVENT_VM_GONE);
}

static void vm_on_observed(void *arg, const struct wire_observed *observed)
{
	struct vm *vm = arg;

	observations_pass(&vm->vms->agent->observations, &vm->vms->agent->links, observed);
}

/* ---- shims that hang ---- */

static bool vm_find_row(const struct vm *vm, struct node_sandbox *out)
{
	const struct node_core *core = vm->vms->agent->core;
	struct node_vm_view view;
	uint32_t cursor = 0;

	while (core && node_core_vm_next(core, &cursor, &view)) {
		if (view.vm == vm->number && view.sandbox) {
			*out = *view.sandbox;
			return true;
		}
	}
	return false;
}

/*
 * It lives and says nothing.  A sandbox that the journal knows runs in it, as far as anybody knows,
 * and nobody else waits for its word.  Anything else in it was never told of, and is ended.
 */
static void vm_adopt_hung(struct vm *vm)
{
	struct node_event event = {.kind = NODE_EVENT_ADOPTED};
	struct wire_order claim = {.kind = WIRE_ORDER_CLAIM};
	struct node_sandbox row;

	vm->adopting = false;
	vm->told = WIRE_SHIM_CLAIMED;
	event.adopted.vm = vm->number;
	event.adopted.state = WIRE_SHIM_CLAIMED;
	if (vm_find_row(vm, &row)) {
		claim.sandbox = row.id;
		claim.tenant = row.tenant;
		claim.attempt = vm->attempt = row.attempt;
		claim.incarnation = row.incarnation;
		event.adopted.claim = &claim;
		event.adopted.resumed_mono = vm->resumed = row.resumed_mono;
		event.adopted.end_mono = row.end_mono;
		if (row.deadline_version)
			vm->end_ns = row.end_mono.ns;
	}
	log_warn("agent", "adopted, though its shim does not answer", LOG_UINT("vm", vm->number),
		 LOG_TEXT("sandbox", claim.sandbox.text));
	agent_step(vm->vms->agent, &event);
	vms_adopted_one(vm->vms);
}

static void vm_on_hung(void *arg, bool is_hung)
{
	struct vm *vm = arg;

	if (is_hung && vm->adopting && vm->vms->agent->core) {
		vm_adopt_hung(vm);
		return;
	}
	log_warn("agent", is_hung ? "a shim does not answer" : "a shim answers again",
		 LOG_UINT("vm", vm->number), LOG_UINT("attempt", vm->attempt));
}

struct shim_client_callbacks vm_callbacks(struct vm *vm)
{
	return (struct shim_client_callbacks){
		.on_status = vm_on_status,
		.on_claimed = vm_on_claimed,
		.on_ended = vm_on_ended,
		.on_gone = vm_on_gone,
		.on_observed = vm_on_observed,
		.on_hung = vm_on_hung,
		.on_saved = vm_on_saved,
		.on_networked = vm_on_networked,
		.arg = vm,
	};
}
