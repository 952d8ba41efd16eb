#include "node-agent/shell/vms_internal.h"

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

void vm_dir(const struct vms *vms, uint64_t number, char out_dir[PATH_MAX])
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

void vms_remove(struct vms *vms, struct vm *vm)
{
	struct vm **at = &vms->first;

	while (*at != vm)
		at = &(*at)->next;
	*at = vm->next;
	if (vm->client)
		shim_client_close(vm->client);
	free(vm);
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
	return 0;
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

/* Where its template is, and if it resumes what was saved. Fault: it cannot be started. */
static int vms_source(const struct vms *vms, const struct node_effect *effect,
		      struct vm_config *config, struct err *err)
{
	const struct vm_template *template_;
	struct vm_config saved;
	char dir[PATH_MAX];

	if (effect->start.resume) {
		vm_dir(vms, effect->start.resume, dir);
		if (vm_config_read(dir, &saved, err))
			return -1;
		memcpy(config->template_dir, saved.template_dir, sizeof(config->template_dir));
		snprintf(config->resume, sizeof(config->resume), "%.*s/%s", PATH_MAX - 32, dir,
			 VM_DIR_SAVED);
		config->resumes_cold = effect->start.cold;
		return 0;
	}
	template_ = templates_find(&vms->agent->templates, effect->start.template_id);
	if (!template_)
		return err_set(err, "its template is gone");
	snprintf(config->template_dir, sizeof(config->template_dir), "%s", template_->dir);
	return 0;
}

void vms_start(struct vms *vms, const struct node_effect *effect)
{
	struct vm *vm = vms_add(vms, effect->start.vm);
	struct shim_client_callbacks callbacks = vm_callbacks(vm);
	struct vm_config config = {.purpose = VM_PURPOSE_CLONE};
	char dir[PATH_MAX];
	struct err err;

	if (vms_source(vms, effect, &config, &err)) {
		log_error("agent", "cannot start a microVM", LOG_ERR(&err));
		vm_tell(vm, NODE_EVENT_VM_GONE);
		return;
	}
	snprintf(config.vm.text, sizeof(config.vm.text), "vm%" PRIu64, vm->number);
	config.warmth = effect->start.warm ? VM_WARMTH_HEALTH : VM_WARMTH_NONE;
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
	struct wire_order remembered = *order;
	struct vm *vm = vms_find(vms, effect->claim.vm);
	uint8_t blob[VM_CLAIM_BLOB_MAX];
	struct wire_shim_claim claim = {
		.sandbox = order->sandbox,
		.attempt = order->attempt,
		.incarnation = order->incarnation,
		.end_mono_ns = effect->claim.end_mono.ns,
		.ttl_ms = order->ttl_ms,
		.lease_mono_ns = effect->claim.lease_mono.ns,
		.on_limit = order->on_limit,
	};
	struct err err;

	snprintf(claim.egress_host, sizeof(claim.egress_host), "%s", vms->agent->egress);
	_Static_assert(WIRE_NOTE_MAX + 4096 <= VM_CLAIM_BLOB_MAX, "an order fits with its note");
	if (!vm || !vm->client)
		return; /* its end is on the way to the core */
	vm->attempt = order->attempt;
	if (payload) {
		claim.init = payload_init(payload);
		claim.ingress = payload_ingress(payload);
		claim.egress = payload_egress(payload);
		remembered.note = payload_note(payload);
		memcpy(claim.ticket, payload->ticket, sizeof(claim.ticket));
		snprintf(claim.gateway, sizeof(claim.gateway), "%s", payload->gateway);
		snprintf(vms->gateway, sizeof(vms->gateway), "%s", payload->gateway);
	}
	claim.claim.data = blob;
	CHECK(wire_order_encode(&remembered, blob, sizeof(blob), &claim.claim.n, &err) == 0);
	shim_client_claim(vm->client, &claim);
}

void vms_network(struct vms *vms, const struct node_effect *effect, const struct payload *payload)
{
	struct vm *vm = vms_find(vms, effect->network.vm);
	struct wire_shim_network network = {.change = effect->network.change};

	if (!vm || !vm->client || !payload)
		return;
	network.egress = payload_egress(payload);
	snprintf(network.egress_host, sizeof(network.egress_host), "%s", vms->agent->egress);
	shim_client_network(vm->client, &network);
}

void vms_deadline(struct vms *vms, const struct node_effect *effect)
{
	struct vm *vm = vms_find(vms, effect->deadline.vm);

	if (!vm || !vm->client)
		return;
	if (vm->end_ns)
		vm->end_ns = effect->deadline.end_mono.ns;
	shim_client_deadline(vm->client, effect->deadline.end_mono.ns);
}

void vms_lease(struct vms *vms, struct mono until, uint64_t attempts_from)
{
	for (struct vm *vm = vms->first; vm; vm = vm->next) {
		if (vm->client && vm->attempt && vm->attempt >= attempts_from && !vm->is_ending)
			shim_client_lease(vm->client, until.ns);
	}
}

void vms_meter(struct vms *vms, uint64_t number)
{
	struct vm *vm = vms_find(vms, number);

	if (vm && vm->client) {
		vm->metering = true;
		shim_client_ask(vm->client);
	}
}

void vms_save(struct vms *vms, const struct node_effect *effect)
{
	struct vm *vm = vms_find(vms, effect->save.vm);

	if (!vm || !vm->client)
		return; /* its end is on the way to the core */
	if (effect->save.how == WIRE_SAVE_SNAPSHOT) {
		vm->snapshot = effect->save.save;
		vm->into = effect->save.into;
	}
	shim_client_save(vm->client, effect->save.save, effect->save.how);
}

void vms_kill(struct vms *vms, const struct node_effect *effect)
{
	struct vm *vm = vms_find(vms, effect->kill.vm);

	if (!vm || !vm->client)
		return;
	vm->is_ending = true;
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
