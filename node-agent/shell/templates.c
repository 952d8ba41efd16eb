#include "node-agent/shell/templates.h"

#include "common/base/check.h"
#include "common/io/log.h"
#include "node-agent/shell/agent.h"

#include <stdio.h>
#include <string.h>

int templates_open(struct templates *templates, const char *accel, struct err *err)
{
	memset(templates, 0, sizeof(*templates));
	CHECK(vm_accel_wish_parse(accel, &templates->wish));
	return vm_qemu_version(templates->qemu, err);
}

/* Proves KVM once, with the kernel of the first template that wants it: it takes seconds. */
static bool templates_kvm_works(struct templates *templates, const char *store_dir,
				const struct vm_template *template_)
{
	struct vm_template_files files;
	char reason[VM_ACCEL_REASON_MAX];
	enum vm_accel accel;
	struct err err;

	if (templates->kvm_is_known)
		return templates->kvm_works;
	if (vm_template_files(template_, &files, &err) ||
	    vm_accel_resolve(store_dir, files.kernel, templates->wish, &accel, reason, &err)) {
		log_warn("templates", "cannot tell whether KVM works", LOG_ERR(&err));
		return false;
	}
	templates->kvm_is_known = true;
	templates->kvm_works = accel == VM_ACCEL_KVM;
	log_info("templates", templates->kvm_works ? "KVM works" : "KVM is not used",
		 LOG_TEXT("reason", reason));
	return templates->kvm_works;
}

static bool templates_can_restore(struct templates *templates, const char *store_dir,
				  const struct vm_template *template_)
{
	struct err err;

	if (vm_template_check(template_, templates->qemu, &err)) {
		log_warn("templates", "not used", LOG_ERR(&err));
		return false;
	}
	if (template_->accel == VM_ACCEL_TCG)
		return templates->wish != VM_ACCEL_WISH_KVM;
	return templates->wish != VM_ACCEL_WISH_TCG &&
	       templates_kvm_works(templates, store_dir, template_);
}

static const struct vm_template *templates_by_name(const struct vm_template *items, size_t n,
						   const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(items[i].name, name) == 0)
			return &items[i];
	}
	return NULL;
}

const struct vm_template *templates_find(const struct templates *templates, const char *id)
{
	for (size_t i = 0; i < templates->n; i++) {
		if (strcmp(templates->items[i].id, id) == 0)
			return &templates->items[i];
	}
	return NULL;
}

static void templates_tell(struct agent *agent, enum node_event_kind kind,
			   const struct vm_template *template_)
{
	struct node_event event = {.kind = kind};

	memcpy(event.template_.name, template_->name, sizeof(event.template_.name));
	snprintf(event.template_.id, sizeof(event.template_.id), "%s", template_->id);
	event.template_.vcpus = template_->shape.vcpus;
	event.template_.mem_mib = template_->shape.mem_mib;
	event.template_.disk_mib = template_->shape.disk_mib;
	log_info("templates", kind == NODE_EVENT_TEMPLATE_SET ? "can be restored" : "is gone",
		 LOG_TEXT("template", template_->name), LOG_TEXT("id", template_->id));
	agent_step(agent, &event);
}

void templates_look(struct templates *templates, struct agent *agent)
{
	static struct vm_template before[NODE_TEMPLATES_MAX], found[NODE_TEMPLATES_MAX];
	const char *store_dir = agent->options->template_dir;
	size_t before_n = templates->n, found_n;
	struct err err;

	if (vm_store_list(store_dir, found, NODE_TEMPLATES_MAX, &found_n, &err)) {
		log_warn("templates", "cannot read the store", LOG_ERR(&err));
		return;
	}
	memcpy(before, templates->items, before_n * sizeof(*before));
	templates->n = 0;
	for (size_t i = 0; i < found_n; i++) {
		const struct vm_template *old = templates_by_name(before, before_n, found[i].name);
		bool is_known = old && strcmp(old->id, found[i].id) == 0;
		/* A snapshot never changes: what was judged once stays judged. */
		if (!is_known && !templates_can_restore(templates, store_dir, &found[i]))
			continue;
		templates->items[templates->n++] = found[i];
		if (!is_known)
			templates_tell(agent, NODE_EVENT_TEMPLATE_SET, &found[i]);
	}
	for (size_t i = 0; i < before_n; i++) {
		if (!templates_by_name(templates->items, templates->n, before[i].name))
			templates_tell(agent, NODE_EVENT_TEMPLATE_GONE, &before[i]);
	}
}

void templates_forget(struct templates *templates)
{
	templates->n = 0;
}
