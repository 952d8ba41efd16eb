#include "node-agent/shell/vms.h"

#include "common/base/check.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "node-agent/shell/agent.h"
#include "proto/reasons.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VM_CLAIM_BLOB_MAX = 32768 };

struct vm {
	struct vms *vms;
	struct vm *next;
	uint64_t number;
	struct shim_client *client; /* NULL once its end was told */
	bool adopting;              /* found at the start, and not told yet */
	bool metering;              /* the core waits for VM_METERED */
	enum wire_shim_state told;  /* WARMING, READY: what the core heard last; 0: nothing */
};

static void vm_dir(const struct vms *vms, uint64_t number, char out_dir[PATH_MAX])
{
	snprintf(out_dir, PATH_MAX, "%.*s/vm%" PRIu64, PATH_MAX - 32, vms->dir, number);
}

static struct vm *vms_find(struct vms *vms, uint64_t number)
{
	struct vm *vm = vms->first;

	while (vm && vm->number != number)
		vm = vm->next;
	return vm;
}

static struct vm *vms_add(struct vms *vms, uint64_t number)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	CHECK(vm);
	vm->vms = vms;
	vm->number = number;
	vm->next = vms->first;
	vms->first = vm;
	return vm;
}

static void vms_remove(struct vms *vms, struct vm *vm)
{
	struct vm **at = &vms->first;

	while (*at != vm)
		at = &(*at)->next;
	*at = vm->next;
	if (vm->client)
		shim_client_close(vm->client);
	free(vm);
}

/* ---- what shims say ---- */

static void vm_tell(struct vm *vm, enum node_event_kind kind)
{
	struct node_event event = {.kind = kind, .vm = vm->number};

	agent_step(vm->vms->agent, &event);
}

/* The template that the folder's clone was restored from. Unknown ones stay empty. */
static void vm_template_of(struct vm *vm, char out_name[TEMPLATE_NAME_MAX],
			   char out_id[NODE_TEMPLATE_ID_MAX])
{
	struct vm_template template_;
	struct vm_config config;
	char dir[PATH_MAX];

	vm_dir(vm->vms, vm->number, dir);
	if (vm_config_read(dir, &config, NULL) ||
	    vm_template_read(config.template_dir, &template_, NULL))
		return;
	snprintf(out_name, TEMPLATE_NAME_MAX, "%s", template_.name);
	snprintf(out_id, NODE_TEMPLATE_ID_MAX, "%s", template_.id);
}

static void vms_adopted_one(struct vms *vms)
{
	struct node_event event = {.kind = NODE_EVENT_READY};

	if (--vms->adopting_n == 0)
		agent_step(vms->agent, &event);
}

static void vm_tell_adopted(struct vm *vm, const struct wire_shim_status *status)
{
	struct node_event event = {.kind = NODE_EVENT_ADOPTED};
	struct wire_order claim;
	struct wire_arena arena = {0}; /* orders hold no lists */

	vm->adopting = false;
	vm->told = status->state;
	event.adopted.vm = vm->number;
	event.adopted.state = status->state;
	vm_template_of(vm, event.adopted.template_, event.adopted.template_id);
	if (status->claim.n &&
	    wire_order_decode(status->claim.data, status->claim.n, &arena, &claim, NULL) == 0)
		event.adopted.claim = &claim;
	event.adopted.resumed_mono.ns = status->resumed_mono_ns;
	event.adopted.end_mono.ns = status->end_mono_ns;
	event.adopted.ended_mono.ns = status->ended_mono_ns;
	event.adopted.cause = status->cause;
	log_info("agent", "adopted", LOG_UINT("vm", vm->number), LOG_INT("state", status->state),
		 LOG_TEXT("sandbox", status->sandbox.text));
	agent_step(vm->vms->agent, &event);
	vms_adopted_one(vm->vms);
}

static void vm_on_status(void *arg, const struct wire_shim_status *status)
{
	struct vm *vm = arg;

	if (vm->adopting) {
		vm_tell_adopted(vm, status);
		return;
	}
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
		if (vm->metering && status->at_mono_ns) {
			struct node_event event = {.kind = NODE_EVENT_VM_METERED};
			vm->metering = false;
			event.metered.vm = vm->number;
			event.metered.at.ns = status->at_mono_ns;
			agent_step(vm->vms->agent, &event);
		}
		return;
	}
}

static void vm_on_claimed(void *arg, const struct wire_shim_claimed *claimed)
{
	struct node_event event = {.kind = NODE_EVENT_VM_CLAIMED};
	struct vm *vm = arg;

	vm->told = WIRE_SHIM_CLAIMED;
	event.claimed.vm = vm->number;
	event.claimed.attempt = claimed->attempt;
	event.claimed.ok = claimed->ok;
	event.claimed.resumed_mono.ns = claimed->resumed_mono_ns;
	if (!claimed->ok)
		log_warn("agent", "a claim failed", LOG_UINT("vm", vm->number),
			 LOG_TEXT("detail", claimed->detail));
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
	event.ended.at.ns = end->ended_mono_ns;
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

static struct shim_client_callbacks vm_callbacks(struct vm *vm)
{
	return (struct shim_client_callbacks){
		.on_status = vm_on_status,
		.on_claimed = vm_on_claimed,
		.on_ended = vm_on_ended,
		.on_gone = vm_on_gone,
		.arg = vm,
	};
}

/* ---- at a start ---- */

int vms_open(struct vms *vms, struct agent *agent, struct err *err)
{
	const char *bin_dir = agent->options->bin_dir;
	char self[PATH_MAX];
	ssize_t n;

	memset(vms, 0, sizeof(*vms));
	vms->agent = agent;
	snprintf(vms->dir, sizeof(vms->dir), "%s/vm", agent->options->run_dir);
	if (bin_dir[0]) {
		snprintf(vms->shim, sizeof(vms->shim), "%s/flotilla-shim", bin_dir);
	} else {
		n = readlink("/proc/self/exe", self, sizeof(self) - 1);
		if (n < 0)
			return err_set(err, "cannot tell where this program is; give --bin-dir");
		self[n] = 0;
		*strrchr(self, '/') = 0;
		snprintf(vms->shim, sizeof(vms->shim), "%.*s/flotilla-shim", PATH_MAX - 32, self);
	}
	if (access(vms->shim, X_OK))
		return err_set(err, "no program %s; give --bin-dir", vms->shim);
	return file_make_dirs(vms->dir, 0700, err);
}

static void vms_adopt_one(struct vms *vms, uint64_t number)
{
	struct vm *vm = vms_add(vms, number);
	struct shim_client_callbacks callbacks = vm_callbacks(vm);
	char dir[PATH_MAX];
	struct err err;

	vm_dir(vms, number, dir);
	vm->adopting = true;
	if (shim_client_adopt(vms->agent->loop, dir, &callbacks, &vm->client, &err)) {
		log_error("agent", "cannot look after a microVM found", LOG_TEXT("folder", dir),
			  LOG_ERR(&err));
		vms_remove(vms, vm);
		return;
	}
	vms->adopting_n++;
}

void vms_adopt(struct vms *vms)
{
	struct node_event ready = {.kind = NODE_EVENT_READY};
	DIR *dir = opendir(vms->dir);
	struct dirent *entry;
	uint64_t number;
	int used;

	while (dir && (entry = readdir(dir))) {
		if (sscanf(entry->d_name, "vm%" SCNu64 "%n", &number, &used) == 1 &&
		    entry->d_name[used] == 0)
			vms_adopt_one(vms, number);
	}
	if (dir)
		closedir(dir);
	if (vms->adopting_n == 0)
		agent_step(vms->agent, &ready);
}

/* ---- what the core wants ---- */

void vms_start(struct vms *vms, const struct node_effect *effect)
{
	const struct vm_template *template_ =
		templates_find(&vms->agent->templates, effect->start.template_id);
	struct vm *vm = vms_add(vms, effect->start.vm);
	struct shim_client_callbacks callbacks = vm_callbacks(vm);
	struct vm_config config = {.purpose = VM_PURPOSE_CLONE};
	char dir[PATH_MAX];
	struct err err;

	if (!template_) {
		vm_tell(vm, NODE_EVENT_VM_GONE);
		return;
	}
	snprintf(config.vm.text, sizeof(config.vm.text), "vm%" PRIu64, vm->number);
	config.warmth = effect->start.warm ? VM_WARMTH_HEALTH : VM_WARMTH_NONE;
	snprintf(config.template_dir, sizeof(config.template_dir), "%s", template_->dir);
	snprintf(config.gateway, sizeof(config.gateway), "%s", vms->gateway);
	vm_dir(vms, vm->number, dir);
	if (shim_client_start(vms->agent->loop, vms->shim, dir, &config, &callbacks, &vm->client,
			      &err)) {
		log_error("agent", "cannot start a microVM", LOG_ERR(&err));
		vm_tell(vm, NODE_EVENT_VM_GONE);
	}
}

void vms_claim(struct vms *vms, const struct node_effect *effect, const struct payload *payload)
{
	const struct wire_order *order = &effect->claim.order;
	struct vm *vm = vms_find(vms, effect->claim.vm);
	uint8_t blob[VM_CLAIM_BLOB_MAX];
	struct wire_shim_claim claim = {
		.sandbox = order->sandbox,
		.attempt = order->attempt,
		.incarnation = order->incarnation,
		.end_mono_ns = effect->claim.end_mono.ns,
		.ttl_ms = order->ttl_ms,
	};
	struct err err;

	if (!vm || !vm->client)
		return; /* its end is on the way to the core */
	if (payload) {
		claim.init = (struct wire_bytes){payload->init, payload->init_n};
		memcpy(claim.ticket, payload->ticket, sizeof(claim.ticket));
		snprintf(claim.gateway, sizeof(claim.gateway), "%s", payload->gateway);
		snprintf(vms->gateway, sizeof(vms->gateway), "%s", payload->gateway);
	}
	claim.claim.data = blob;
	CHECK(wire_order_encode(order, blob, sizeof(blob), &claim.claim.n, &err) == 0);
	shim_client_claim(vm->client, &claim);
}

void vms_deadline(struct vms *vms, const struct node_effect *effect)
{
	struct vm *vm = vms_find(vms, effect->deadline.vm);

	if (vm && vm->client)
		shim_client_deadline(vm->client, effect->deadline.end_mono.ns);
}

void vms_meter(struct vms *vms, uint64_t number)
{
	struct vm *vm = vms_find(vms, number);

	if (vm && vm->client) {
		vm->metering = true;
		shim_client_ask(vm->client);
	}
}

void vms_kill(struct vms *vms, const struct node_effect *effect)
{
	struct vm *vm = vms_find(vms, effect->kill.vm);

	if (vm && vm->client)
		shim_client_kill(vm->client, effect->kill.cause);
}

void vms_forget(struct vms *vms, uint64_t number)
{
	struct vm *vm = vms_find(vms, number);
	char dir[PATH_MAX];

	if (vm)
		vms_remove(vms, vm);
	vm_dir(vms, number, dir);
	shim_dir_remove(dir);
}

void vms_close(struct vms *vms)
{
	while (vms->first)
		vms_remove(vms, vms->first);
	vms->adopting_n = 0;
}
